//! Who makes a request: a person, by the session of their browser, or a program in their name, by a token.
//!
//! A program's token goes before the cookie of the same person; of two persons, none is believed.

use std::sync::Arc;

use tokio_util::task::task_tracker::TaskTrackerToken;

use super::Gateway;
use super::bearers::Bearer;
use super::credential::Credential;
use super::head::Head;
use super::program::ProgramRefusal;
use super::refusal::Refusal;
use crate::forward::Lifeline;
use crate::identity::Identity;
use crate::seal::sha256;
use crate::session::Session;
use crate::spawner::WorkspaceId;
use crate::token::{ApiToken, Reach, Right, Scope, Scoped, Scopes, Target};
use crate::user::{User, UserName};

/// Whoever makes a request, and is known.
#[derive(Debug, Clone)]
pub(super) enum Caller {
    /// A browser.
    Session(Arc<Session>),
    /// A program with an API token of this hub.
    Token(Arc<ApiToken>),
    /// A program with a provider's access token.
    Bearer(Arc<Bearer>),
}

/// What a caller may do at this moment.
#[derive(Debug)]
pub(super) struct Rights {
    profiles: Arc<[Arc<str>]>,
    /// What is open on the word of these hangs on this.
    pub(super) lifeline: Arc<Lifeline>,
}

impl Caller {
    /// In whose name.
    pub(super) fn name(&self) -> &UserName {
        match self {
            Self::Session(session) => &session.name,
            Self::Token(token) => &token.owner.name,
            Self::Bearer(bearer) => &bearer.right.user.name,
        }
    }

    /// Who that is, and what the rules grant them now.
    pub(super) fn user(&self) -> User {
        self.right().user
    }

    /// The same, with who vouches for them.
    pub(super) fn right(&self) -> Right {
        match self {
            Self::Session(session) => {
                Right { provider: Arc::clone(&session.provider), user: session.standing().user.clone() }
            }
            Self::Token(token) => Right::clone(&token.owner.right()),
            Self::Bearer(bearer) => bearer.right.clone(),
        }
    }

    /// What it may do, to be told. A person may do whatever is theirs.
    pub(super) fn scopes(&self) -> Scopes {
        match self {
            Self::Session(session) => Scopes::of(&session.standing().user),
            Self::Token(token) => token.scopes(),
            Self::Bearer(bearer) => bearer.scopes(),
        }
    }

    /// Whether it may do one of these at this moment.
    pub(super) fn reach(&self, scopes: &[Scope], target: &Target<'_>) -> Reach {
        match self {
            Self::Session(_) => self.right().reach(scopes, target),
            Self::Token(token) => token.reach(scopes, target),
            Self::Bearer(bearer) => bearer.reach(scopes, target),
        }
    }

    /// Whether its token lets it come to a workspace that its owner may come to. By groups nobody comes: an
    /// administrator holds no key to the workspaces of a group.
    pub(super) fn may_enter(&self, id: &WorkspaceId) -> bool {
        let Self::Token(token) = self else { return true };
        let target = Target::User { name: &id.user, server: Some(&id.server), groups: &[] };
        token.reach(&[Scope::AccessServers], &target) == Reach::Reaches
    }

    /// Whether it may come to what is beside the hub under this name, which is nobody's server: a scope for some servers
    /// opens it to no one.
    pub(super) fn may_enter_beside(&self, name: &str) -> bool {
        let Self::Token(token) = self else { return true };
        let all = |entry: &Scoped| entry.scope == Scope::AccessServers && entry.filter.is_none();
        token.made_for().iter().any(all)
            || token.reach(&[Scope::AccessServices], &Target::Service(name)) == Reach::Reaches
    }

    /// Whether whom it reaches depends on who is in which group.
    pub(super) fn names_groups(&self) -> bool {
        matches!(self, Self::Token(token) if token.made_for().name_groups())
    }

    /// Whether it depends on who is in a group of this name.
    pub(super) fn names_group(&self, name: &str) -> bool {
        matches!(self, Self::Token(token) if token.made_for().name_group(name))
    }

    /// Whether it may do anything to others.
    pub(super) fn reaches_others(&self) -> bool {
        match self {
            Self::Session(session) => session.standing().user.admin,
            Self::Token(token) => token.made_for().reaches_others(&token.owner.right().user),
            Self::Bearer(bearer) => bearer.right.user.admin,
        }
    }

    /// What forwarding looks at.
    pub(super) fn rights(&self) -> Rights {
        match self {
            Self::Session(session) => {
                let standing = session.standing();
                Rights {
                    profiles: Arc::clone(&standing.user.profiles),
                    lifeline: Arc::clone(&standing.lifeline),
                }
            }
            Self::Token(token) => {
                // The lifeline first: a right that is lost in between cuts it.
                let lifeline = token.lifeline();
                Rights { profiles: Arc::clone(&token.owner.right().user.profiles), lifeline }
            }
            Self::Bearer(bearer) => Rights {
                profiles: Arc::clone(&bearer.right.user.profiles),
                lifeline: Arc::clone(&bearer.lifeline),
            },
        }
    }

    /// The session, if it is a browser.
    pub(super) fn session(&self) -> Option<&Arc<Session>> {
        match self {
            Self::Session(session) => Some(session),
            Self::Token(_) | Self::Bearer(_) => None,
        }
    }

    /// A closed set of names for the log.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Session(_) => "session",
            Self::Token(_) => "api_token",
            Self::Bearer(_) => "access_token",
        }
    }

    fn provider(&self) -> Arc<str> {
        match self {
            Self::Session(session) => Arc::clone(&session.provider),
            Self::Token(token) => Arc::clone(&token.owner.right().provider),
            Self::Bearer(bearer) => Arc::clone(&bearer.right.provider),
        }
    }
}

impl Rights {
    /// Whether a workspace that runs this profile may be used.
    pub(super) fn grants(&self, profile: &str) -> bool {
        self.profiles.iter().any(|granted| &**granted == profile)
    }
}

impl Gateway {
    /// Who makes a request, given the session of its cookie. A token that is sent and not good is refused, whatever
    /// the cookie says: whoever relied on it must hear of it.
    pub(super) async fn caller(
        &self,
        head: &Head<'_, '_>,
        credential: Credential<'_>,
        session: Option<Arc<Session>>,
    ) -> Result<Option<Caller>, Refusal> {
        let program = match credential {
            Credential::None => None,
            Credential::ApiToken(text) => {
                let token = self.0.api_tokens.find(text).map(Caller::Token);
                Some(token.ok_or(ProgramRefusal::BadToken)?)
            }
            Credential::Jwt(text) => self.bearer(text).await?.map(Caller::Bearer),
        };
        let Some(program) = program else { return Ok(session.map(Caller::Session)) };
        // At a host of one provider, whoever another one vouches for is nobody.
        if !head.at.providers.contains(&program.provider()) {
            return Err(ProgramRefusal::BadToken.into());
        }
        if session.is_some_and(|session| session.name != *program.name()) {
            return Err(ProgramRefusal::TwoCallers.into());
        }
        Ok(Some(program))
    }

    /// `None`: it is a token of somebody else's, and none of the hub's business.
    async fn bearer(&self, text: &str) -> Result<Option<Arc<Bearer>>, Refusal> {
        let hash = sha256(text.as_bytes());
        if let Some(bearer) = self.known_bearer(&hash) {
            return Ok(Some(bearer));
        }
        // Its signature is good still.
        if self.0.bearers.was_ended(&hash) {
            return Err(ProgramRefusal::BadToken.into());
        }
        let Some((name, provider)) = self.0.providers.named_by(text) else { return Ok(None) };
        let identity = provider.bearer(text).await?;
        let user = self.admit_program(name, &identity).await?;
        let right = Right { provider: Arc::clone(name), user };
        let bearer = self.0.bearers.keep(hash, right, &identity).ok_or(ProgramRefusal::Busy)?;
        // Looked at once it can be found: a logout that comes from now on finds it.
        let (vouched, issued) = bearer.vouched();
        if self.0.sessions.was_ended(vouched, issued) || self.is_barred(&bearer.right.user.name).await? {
            self.0.bearers.end(&bearer);
            return Err(ProgramRefusal::BadToken.into());
        }
        Ok(Some(bearer))
    }

    /// Whether the provider has said since their last login that they may not enter any more.
    async fn is_barred(&self, name: &UserName) -> Result<bool, Refusal> {
        Ok(self.0.people.recall(name).await?.is_some_and(|known| known.barred))
    }

    /// The access token of this hash, if it was verified and still counts.
    pub(super) fn known_bearer(&self, hash: &[u8; 32]) -> Option<Arc<Bearer>> {
        let not_before = |name: &str, subject: &str| {
            self.0.providers.find(name).map_or(u64::MAX, |provider| provider.not_before_of(subject))
        };
        self.0.bearers.find(hash, not_before)
    }

    /// Ends the access tokens that somebody's programs have called with: they need new ones from the provider.
    pub fn end_access_tokens_of(&self, name: &UserName) {
        self.0.bearers.end_of(name);
    }

    /// Lets go of all access tokens, and of what is open for them: another process knows nothing of them.
    pub fn leave_access_tokens(&self) {
        self.0.bearers.end_where(|_bearer| true);
    }

    /// To be held by whoever changes something beside requests: see [`crate::tasks::Tasks::writing`].
    pub fn writing(&self) -> TaskTrackerToken {
        self.0.tasks.writing()
    }

    /// Which user an access token speaks for. What it says is less than what a login says, so nothing of it is kept.
    async fn admit_program(&self, provider: &str, identity: &Identity) -> Result<User, Refusal> {
        if let Some(name) = self.0.people.name_of(identity).await? {
            return Ok(self.0.mapping.user(provider, identity, name)?);
        }
        let wanted = self.0.mapping.name(provider, identity)?;
        // Judged before the name is taken: whoever may not enter reserves none.
        self.0.mapping.user(provider, identity, wanted.clone())?;
        let now = self.0.clock.now();
        let name = self.0.store.name_user(&identity.issuer, &identity.subject, &wanted, now).await?;
        Ok(self.0.mapping.user(provider, identity, name)?)
    }
}
