//! Sets of scopes: what a token was made for, and what somebody may give away.
//!
//! Whatever decides asks [`Scopes::reach`], which looks at the token's scopes and at its owner at once: no token is worth
//! more than its owner is now.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};
use thiserror::Error;

use super::filter::{Filter, Target};
use super::{Right, Scope, absent};
use crate::server_name::ServerName;
use crate::user::{User, UserName};

/// A scope, and whom it reaches.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Scoped {
    /// What may be done.
    pub scope: Scope,
    /// To whom; `None`: to everybody whom the owner may do it to.
    pub filter: Option<Filter>,
}

/// A set of scopes, in order, none of them within another of the same name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scopes(Arc<[Scoped]>);

/// Scopes that cannot be read.
#[derive(Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum ScopeError {
    /// A name that means nothing.
    #[error("there is no such scope")]
    Unknown,
    /// JupyterHub's name of something that nobody may do here.
    #[error("no token has the scope {name}: {why}")]
    Absent {
        /// Its name.
        name: &'static str,
        /// The reason.
        why: &'static str,
    },
    /// A filter that is none, or narrows nothing there.
    #[error(
        "there is no such filter for this scope: it is !user, !user=NAME, !group=NAME, !server=NAME/SERVER or !service=NAME, where the scope is about users, groups, servers or what is beside the hub"
    )]
    Filter,
    /// More than [`Scopes::MOST`].
    #[error("a token has at most {} scopes", Scopes::MOST)]
    TooMany,
}

/// Whether scopes let something be done to a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Yes.
    Reaches,
    /// To others, but not to this one.
    Elsewhere,
    /// To nobody.
    Lacks,
}

impl Scoped {
    /// Reads one scope of `owner`.
    pub fn parse(text: &str, owner: Option<&UserName>) -> Result<Self, ScopeError> {
        let (name, filter) = text.split_once('!').map_or((text, None), |(name, filter)| (name, Some(filter)));
        let scope = Scope::named(name).ok_or_else(|| unknown(name))?;
        let filter =
            filter.map(|filter| Filter::parse(filter, owner).ok_or(ScopeError::Filter)).transpose()?;
        let narrows = filter.as_ref().is_none_or(|filter| scope.takes(filter));
        if narrows { Ok(Self { scope, filter }) } else { Err(ScopeError::Filter) }
    }

    /// As it is written.
    pub fn name(&self) -> Cow<'static, str> {
        match &self.filter {
            None => self.scope.name().into(),
            Some(filter) => format!("{}!{filter}", self.scope.name()).into(),
        }
    }

    /// What a person reads.
    pub fn meaning(&self) -> Cow<'static, str> {
        let whole = self.scope.meaning();
        match &self.filter {
            None => whole.into(),
            Some(Filter::Own) if self.scope.own_meaning().is_some() => {
                self.scope.own_meaning().unwrap_or(whole).into()
            }
            Some(filter) => format!("{whole}, {}", filter.meaning()).into(),
        }
    }

    /// Whether it gives all that the other does.
    fn covers(&self, other: &Self, owner: &UserName) -> bool {
        let reaches = match (&self.filter, &other.filter) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(one), Some(two)) => one.covers(two, owner),
        };
        reaches && self.scope.includes(other.scope)
    }

    /// Whether it gives a scope for a target, whatever its owner may.
    fn reaches(&self, scope: Scope, target: &Target<'_>, holder: &Right) -> bool {
        // A group itself is another thing than whoever is in it.
        let meant = matches!(target, Target::Group(_)) == scope.is_about_groups();
        let narrow = |filter: &Filter| meant && scope.takes(filter) && filter.reaches(target, holder);
        self.scope.includes(scope) && self.filter.as_ref().is_none_or(narrow)
    }
}

impl Scopes {
    /// The most that one token has.
    pub const MOST: usize = 64;

    /// None.
    pub fn none() -> Self {
        Self::default()
    }

    /// What whoever does not choose gets: to work with their own server, and to visit. Not to make tokens.
    pub fn ordinary() -> Self {
        let own = |scope| Scoped { scope, filter: Some(Filter::Own) };
        let visits = Scoped { scope: Scope::AccessServers, filter: None };
        [visits, own(Scope::Servers), own(Scope::ReadUsers)].into_iter().collect()
    }

    /// All that everybody could give away, about what is their own, and what is beside the hub.
    pub fn own() -> Self {
        Scope::ALL.into_iter().filter(|scope| !scope.is_admin()).map(own).collect()
    }

    /// JupyterHub's `self`: what is one's own, but not to share it.
    fn oneself() -> Self {
        let own = OWN.into_iter().map(|scope| Scoped { scope, filter: Some(Filter::Own) });
        own.collect()
    }

    /// All that `user` could give away now, but for what others share with them.
    pub fn of(user: &User) -> Self {
        if !user.admin {
            return Self::own();
        }
        // Administrators come into nobody's workspace by being one.
        let everybody =
            |scope| Scoped { scope, filter: (scope == Scope::AccessServers).then_some(Filter::Own) };
        Scope::ALL.into_iter().map(everybody).collect()
    }

    /// What a person chooses from: wholes of what is their own; of administrators, also what reaches others.
    pub fn choices(admin: bool) -> Vec<Scoped> {
        let whole = |scope: &Scope| !scope.is_admin() && !scope.is_part();
        let visits = |scoped: Scoped| Scoped {
            filter: scoped.filter.filter(|_| scoped.scope != Scope::AccessServers),
            ..scoped
        };
        let own = Scope::ALL.into_iter().filter(whole).map(|scope| visits(own(scope)));
        let others = Scope::ALL.into_iter().filter(|scope| scope.is_admin() || scope.reaches_others_alone());
        let others = others.filter(|_| admin).map(|scope| Scoped { scope, filter: None });
        own.chain(others).collect()
    }

    /// The same, with the servers of others that they may come to.
    pub fn with_visits(&self, servers: impl IntoIterator<Item = (UserName, ServerName)>) -> Self {
        let visit = |(user, server)| Scoped {
            scope: Scope::AccessServers,
            filter: Some(Filter::Server(user, server)),
        };
        self.iter().cloned().chain(servers.into_iter().map(visit)).collect()
    }

    /// Reads the scopes of `owner`; one that is not known is refused, not left out. JupyterHub's `self` is many.
    pub fn parse<'t>(
        texts: impl IntoIterator<Item = &'t str>,
        owner: Option<&UserName>,
    ) -> Result<Self, ScopeError> {
        let parse = |text: &str| match text {
            "self" => Ok(Self::oneself()),
            text => Scoped::parse(text, owner).map(|scoped| Self([scoped].into())),
        };
        let parsed: Vec<_> = texts.into_iter().map(parse).collect::<Result<_, _>>()?;
        let scopes: Self = parsed.iter().flat_map(Self::iter).cloned().collect();
        if scopes.0.len() > Self::MOST { Err(ScopeError::TooMany) } else { Ok(scopes) }
    }

    /// Reads what [`fmt::Display`] writes: names between spaces, as OAuth has it (RFC 6749 section 3.3).
    pub fn parse_words(text: &str, owner: Option<&UserName>) -> Result<Self, ScopeError> {
        let words = text.split(' ').filter(|word| !word.is_empty());
        let decoded = words.map(|word| percent_decode_str(word).decode_utf8());
        let decoded: Vec<_> = decoded.collect::<Result<_, _>>().map_err(|_no_text| ScopeError::Unknown)?;
        Self::parse(decoded.iter().map(|word| &**word), owner)
    }

    /// The same of whoever turned out to be the owner.
    pub fn of_owner(&self, owner: &UserName) -> Self {
        let of_owner = |Scoped { scope, filter }: Scoped| Scoped {
            scope,
            filter: filter.map(|filter| filter.of_owner(Some(owner))),
        };
        self.iter().cloned().map(of_owner).collect()
    }

    /// Whether one of `scopes` may be done to a target by a token of this holder.
    pub fn reach(&self, scopes: &[Scope], target: &Target<'_>, holder: &Right) -> Reach {
        // What only administrators have is dead as long as its owner is none.
        let live = || self.iter().filter(|entry| holder.user.admin || !entry.scope.is_admin());
        let reaches = |scope: &Scope| {
            may(*scope, target, &holder.user) && live().any(|entry| entry.reaches(*scope, target, holder))
        };
        if scopes.iter().any(reaches) {
            return Reach::Reaches;
        }
        let has = |scope: &Scope| live().any(|entry| entry.scope.includes(*scope));
        if scopes.iter().any(has) { Reach::Elsewhere } else { Reach::Lacks }
    }

    /// Whether a token of this owner may do anything to what is not theirs, but come to it.
    pub fn reaches_others(&self, owner: &User) -> bool {
        let beyond = |filter: &Filter| match filter {
            Filter::Own | Filter::Service(_) => false,
            Filter::User(name) | Filter::Server(name, _) => *name != owner.name,
            Filter::Group(_) => true,
        };
        let comes = |scope: Scope| matches!(scope, Scope::AccessServers | Scope::AccessServices);
        let others = |entry: &Scoped| !comes(entry.scope) && entry.filter.as_ref().is_none_or(beyond);
        owner.admin && self.iter().any(others)
    }

    /// The servers that they name to come to.
    pub fn visits(&self) -> Vec<(UserName, ServerName)> {
        let access = self.iter().filter(|entry| entry.scope == Scope::AccessServers);
        let server = |entry: &Scoped| match &entry.filter {
            Some(Filter::Server(user, server)) => Some((user.clone(), server.clone())),
            Some(Filter::Own | Filter::User(_) | Filter::Group(_) | Filter::Service(_)) | None => None,
        };
        access.filter_map(server).collect()
    }

    /// Whether it depends on groups whom they reach.
    pub fn name_groups(&self) -> bool {
        self.iter().any(|entry| matches!(entry.filter, Some(Filter::Group(_))))
    }

    /// Whether one of them does of a group of this name.
    pub fn name_group(&self, name: &str) -> bool {
        let names = |filter: &Filter| matches!(filter, Filter::Group(named) if named.as_str() == name);
        self.iter().any(|entry| entry.filter.as_ref().is_some_and(names))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What of these somebody gives who has `held`: what reaches beyond is narrowed, and what is not theirs left out.
    pub fn and(&self, held: &Self, owner: &UserName) -> Self {
        self.iter().flat_map(|wanted| held.narrowed(wanted, owner)).collect()
    }

    /// The same, but `None` where something is wanted that is not theirs to give. Without a filter, as much is meant as
    /// there is, and that is settled now: a token does not grow with its owner.
    pub fn given_by(&self, held: &Self, owner: &UserName) -> Option<Self> {
        let given = |wanted| Some(held.narrowed(wanted, owner)).filter(|given| !given.is_empty());
        let given: Vec<_> = self.iter().map(given).collect::<Option<_>>()?;
        let given: Self = given.into_iter().flatten().collect();
        (given.0.len() <= Self::MOST).then_some(given)
    }

    /// What of these is within one that is wanted.
    fn narrowed(&self, wanted: &Scoped, owner: &UserName) -> Vec<Scoped> {
        let visits = wanted.scope == Scope::AccessServers && wanted.filter.is_none();
        let has = |scope: Scope| self.iter().any(|held| held.scope.includes(scope));
        // Wherever its owner may come: who shares what with them changes by the day.
        let all = self.iter().any(|held| held.covers(wanted, owner)) || visits && has(wanted.scope);
        if all {
            return vec![wanted.clone()];
        }
        if wanted.filter.is_some() {
            return Vec::new();
        }
        let parts = self.iter().filter(|held| held.scope.includes(wanted.scope));
        let filters =
            parts.filter_map(|held| held.filter.as_ref().filter(|filter| wanted.scope.takes(filter)));
        filters.map(|filter| Scoped { scope: wanted.scope, filter: Some(filter.clone()) }).collect()
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &Scoped> {
        self.0.iter()
    }

    /// Each as it is written.
    pub fn names(&self) -> Vec<String> {
        self.iter().map(|entry| entry.name().into_owned()).collect()
    }

    /// As JupyterHub's clients read them: every part by its own name, and the owner by theirs.
    pub fn expanded(&self, owner: &UserName) -> Vec<String> {
        let mut names = Vec::new();
        for entry in self.iter() {
            let parts = Scope::ALL.into_iter().filter(|part| entry.scope.includes(*part));
            for scope in parts {
                let filter = match &entry.filter {
                    Some(Filter::Own) => Some(Filter::User(owner.clone())),
                    other => other.clone(),
                };
                if filter.as_ref().is_none_or(|filter| scope.takes(filter)) {
                    names.push(Scoped { scope, filter });
                }
            }
        }
        names.into_iter().collect::<Self>().names()
    }
}

/// Whether somebody may do something, whatever tokens they have.
pub(super) fn may(scope: Scope, target: &Target<'_>, user: &User) -> bool {
    match target {
        Target::User { name, .. } if **name == user.name => user.admin || !scope.is_admin(),
        // Who may come to another's server is for shares to say.
        Target::User { .. } => user.admin || scope == Scope::AccessServers,
        Target::Service(name) => {
            scope == Scope::AccessServices && user.routes.iter().any(|granted| **granted == **name)
        }
        Target::Group(_) | Target::Hub => user.admin,
    }
}

/// A scope as everybody has it.
fn own(scope: Scope) -> Scoped {
    Scoped { scope, filter: scope.takes(&Filter::Own).then_some(Filter::Own) }
}

fn unknown(name: &str) -> ScopeError {
    absent::why(name).map_or(ScopeError::Unknown, |(name, why)| ScopeError::Absent { name, why })
}

impl FromIterator<Scoped> for Scopes {
    fn from_iter<I: IntoIterator<Item = Scoped>>(scopes: I) -> Self {
        let mut all: Vec<_> = scopes.into_iter().collect();
        all.sort_unstable();
        all.dedup();
        // Sorted, what reaches everybody comes before what does not.
        all.dedup_by(|later, first| later.scope == first.scope && first.filter.is_none());
        Self(all.into())
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        scopes.into_iter().map(|scope| Scoped { scope, filter: None }).collect()
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, entry) in self.iter().enumerate() {
            write!(f, "{}{}", if at == 0 { "" } else { " " }, utf8_percent_encode(&entry.name(), NO_WORD))?;
        }
        Ok(())
    }
}

/// What `self` brings of its own, parts and all.
const OWN: [Scope; 7] = [
    Scope::ReadUsers,
    Scope::UsersShares,
    Scope::ReadShares,
    Scope::Activity,
    Scope::Servers,
    Scope::Tokens,
    Scope::AccessServers,
];

/// What cannot be in one word of a list of scopes (RFC 6749 section 3.3); names of groups can hold it.
const NO_WORD: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'\\').add(b'%');

#[cfg(test)]
mod tests;
