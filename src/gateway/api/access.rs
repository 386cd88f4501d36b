//! Who may do what to whom by the REST API.
//!
//! Of somebody else there is nothing for whoever may do nothing to others, whether they exist or not. An administrator's
//! own browser is the one place where a notebook's code could ask in their name: so a session's request about others
//! must show what only the page `/hub/admin` was given; a program needs the scope.

use http::{HeaderMap, HeaderName, Method, Request};

use super::Gateway;
use super::range::Range;
use crate::gateway::admin::PAGE;
use crate::gateway::authorize::Permit;
use crate::gateway::caller::Caller;
use crate::gateway::program::ProgramRefusal;
use crate::gateway::refusal::Refusal;
use crate::gateway::tokens::refuse_scripts;
use crate::secret::Secret;
use crate::server_name::ServerName;
use crate::token::{Reach, Scope, Target};
use crate::user::{Group, UserName};

/// What an act needs: one of these scopes, for what is the caller's own, and for what is somebody else's.
#[derive(Debug)]
pub(super) struct Act {
    pub(super) own: &'static [Scope],
    pub(super) others: &'static [Scope],
}

/// To look at a user; what is seen is for a `Range` to say.
pub(super) const LOOK: Act = Act {
    own: &[
        Scope::ReadUsers,
        Scope::ReadServers,
        Scope::ReadUsersName,
        Scope::ReadUsersGroups,
        Scope::ReadActivity,
        Scope::ReadRolesUsers,
    ],
    others: &[
        Scope::ReadUsers,
        Scope::ReadServers,
        Scope::ReadUsersName,
        Scope::ReadUsersGroups,
        Scope::ReadActivity,
        Scope::ReadRolesUsers,
        Scope::ReadGroups,
    ],
};

/// To see how a server is, and how its start goes.
pub(super) const WATCH: Act =
    Act { own: &[Scope::Servers, Scope::ReadServers, Scope::ReadUsers], others: &[Scope::ReadServers] };

/// To start a server.
pub(super) const START: Act =
    Act { own: &[Scope::Servers, Scope::StartServers], others: &[Scope::AdminServers, Scope::StartServers] };

/// To stop one, and to take it away.
pub(super) const STOP: Act = Act {
    own: &[Scope::Servers, Scope::DeleteServers],
    others: &[Scope::AdminServers, Scope::DeleteServers],
};

/// To say when somebody was active.
pub(super) const REPORT: Act = Act { own: &[Scope::Activity], others: &[Scope::Activity] };

/// To list tokens.
pub(super) const READ_TOKENS: Act =
    Act { own: &[Scope::Tokens, Scope::ReadTokens], others: &[Scope::AdminUsers, Scope::ReadTokens] };

/// To make and revoke them.
pub(super) const TOKENS: Act = Act { own: &[Scope::Tokens], others: &[Scope::AdminUsers, Scope::Tokens] };

/// To share, and to take that back.
pub(super) const SHARES: Act = Act { own: &[Scope::Shares], others: &[Scope::AdminUsers, Scope::Shares] };

/// To see with whom something is shared.
pub(super) const READ_SHARES: Act =
    Act { own: &[Scope::ReadShares], others: &[Scope::AdminUsers, Scope::ReadShares] };

/// To see what is shared with somebody.
pub(super) const READ_SHARED: Act =
    Act { own: &[Scope::ReadUsersShares], others: &[Scope::AdminUsers, Scope::ReadUsersShares] };

/// To give back what is shared with somebody.
pub(super) const LEAVE_SHARES: Act =
    Act { own: &[Scope::UsersShares], others: &[Scope::AdminUsers, Scope::UsersShares] };

/// To see and end somebody's sessions.
pub(super) const SESSIONS: &[Scope] = &[Scope::AdminSessions];

/// To see what is shared with a group.
pub(super) const READ_GROUPS_SHARES: &[Scope] = &[Scope::ReadGroupsShares, Scope::AdminUsers];

/// To take it back.
pub(super) const GROUPS_SHARES: &[Scope] = &[Scope::GroupsShares, Scope::AdminUsers];

impl Gateway {
    /// Whether a caller may do this to a user, or to a server of theirs. Answers what else of that user they reach.
    pub(super) async fn allow<'c, B: Sync>(
        &self,
        caller: &'c Caller,
        (owner, server): (&UserName, Option<&ServerName>),
        act: &Act,
        request: &Request<B>,
    ) -> Result<Range<'c>, Refusal> {
        let own = caller.name() == owner;
        let scopes = if own { act.own } else { act.others };
        if !own && !caller.reaches_others() {
            return Err(Refusal::NoSuch("user"));
        }
        let range = self.range_of(caller, owner).await?;
        let what = if own && server.is_some() { "server" } else { "user" };
        check_reach(caller, range.to(scopes, owner, server), scopes, what)?;
        if !own {
            self.check_administrator(caller, request.method(), request.headers())?;
        }
        Ok(range)
    }

    /// The same of a group.
    pub(super) fn allow_group<B>(
        &self,
        caller: &Caller,
        group: &Group,
        scopes: &[Scope],
        request: &Request<B>,
    ) -> Result<(), Refusal> {
        check_reach_of_group(caller, group, scopes)?;
        self.check_administrator(caller, request.method(), request.headers())
    }

    /// Whether a caller may do what is about nobody's own: one of these scopes allows it. Where a list is asked for, it
    /// holds what they reach.
    pub(super) fn allow_hub<B>(
        &self,
        caller: &Caller,
        scopes: &[Scope],
        request: &Request<B>,
    ) -> Result<(), Refusal> {
        match caller.reach(scopes, &Target::Hub) {
            Reach::Reaches | Reach::Elsewhere => {
                self.check_administrator(caller, request.method(), request.headers())
            }
            Reach::Lacks => Err(lacks(caller, scopes)),
        }
    }

    /// Whether a caller who has the scopes may see and change what is other people's.
    pub(super) fn check_administrator(
        &self,
        caller: &Caller,
        method: &Method,
        headers: &HeaderMap,
    ) -> Result<(), Refusal> {
        let Caller::Session(session) = caller else { return self.check_proof(caller) };
        if !session.standing().user.admin {
            return Err(Refusal::NotFound);
        }
        refuse_scripts(headers)?;
        self.check_proof(caller)?;
        check_shown(method, headers, &self.page_token(session, PAGE))
    }
}

/// Of one of several groups, once the request as a whole is allowed: a scope may be for some groups.
pub(super) fn check_reach_of_group(caller: &Caller, group: &Group, scopes: &[Scope]) -> Result<(), Refusal> {
    check_reach(caller, caller.reach(scopes, &Target::Group(group)), scopes, "group")
}

/// Refuses whoever does not reach `what` by these scopes. As JupyterHub: whether there is such a one is told to nobody
/// who could do nothing to it.
pub(super) fn check_reach(
    caller: &Caller,
    reach: Reach,
    scopes: &[Scope],
    what: &'static str,
) -> Result<(), Refusal> {
    match reach {
        Reach::Reaches => Ok(()),
        Reach::Elsewhere => Err(Refusal::NoSuch(what)),
        Reach::Lacks => Err(lacks(caller, scopes)),
    }
}

/// Why somebody is refused who has none of these. A person is not told of scopes.
fn lacks(caller: &Caller, scopes: &[Scope]) -> Refusal {
    match scopes.first() {
        Some(first) if caller.session().is_none() => ProgramRefusal::Scope(*first).into(),
        Some(_) | None => Refusal::NotFound,
    }
}

pub(super) fn known(permit: &Permit) -> Result<&Caller, Refusal> {
    permit.caller().ok_or(Refusal::LoginRequired { next: None })
}

/// What changes something comes with what a page of ours was given: a cookie alone is sent by whoever makes a browser
/// send it.
pub(super) fn check_shown(method: &Method, headers: &HeaderMap, token: &Secret) -> Result<(), Refusal> {
    let shown = headers.get(FORM_TOKEN).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if *method == Method::GET || token.matches(shown) { Ok(()) } else { Err(Refusal::CrossSite) }
}

const FORM_TOKEN: HeaderName = HeaderName::from_static("x-form-token");
