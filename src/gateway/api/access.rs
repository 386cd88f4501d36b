//! Who may do what to whom by the REST API.
//!
//! Of somebody else there is nothing for whoever may do nothing to others, whether they exist or not. An administrator's
//! own browser is the one place where a notebook's code could ask in their name: so a session's request about others
//! must show what only the page `/hub/admin` was given; a program needs the scope.

use http::{HeaderMap, HeaderName, Method, Request};

use super::Gateway;
use crate::gateway::admin::PAGE;
use crate::gateway::authorize::Permit;
use crate::gateway::caller::Caller;
use crate::gateway::program::ProgramRefusal;
use crate::gateway::refusal::Refusal;
use crate::gateway::tokens::refuse_scripts;
use crate::secret::Secret;
use crate::token::{Scope, Scopes};
use crate::user::UserName;

/// What an act needs: one of these scopes, for what is the caller's own, and for what is somebody else's.
#[derive(Debug)]
pub(super) struct Act {
    own: &'static [Scope],
    others: &'static [Scope],
}

/// To look at a user; what is seen is for a [`View`] to say.
pub(super) const LOOK: Act = Act {
    own: &[Scope::ReadUsers, Scope::ReadOwnServers, Scope::Servers],
    others: &[
        Scope::AdminUsers,
        Scope::ListUsers,
        Scope::ReadActivity,
        Scope::ReadServers,
        Scope::AdminServers,
        Scope::ReadGroups,
    ],
};

/// To see how a server is, and how its start goes.
pub(super) const WATCH: Act = Act {
    own: &[Scope::Servers, Scope::ReadOwnServers, Scope::ReadUsers],
    others: &[Scope::ReadServers, Scope::AdminServers],
};

/// To start a server.
pub(super) const START: Act = Act {
    own: &[Scope::Servers, Scope::StartOwnServers],
    others: &[Scope::AdminServers, Scope::StartServers],
};

/// To stop one, and to take it away.
pub(super) const STOP: Act = Act {
    own: &[Scope::Servers, Scope::DeleteOwnServers],
    others: &[Scope::AdminServers, Scope::DeleteServers],
};

/// To say when somebody was active.
pub(super) const REPORT: Act =
    Act { own: &[Scope::OwnActivity], others: &[Scope::Activity, Scope::AdminUsers] };

/// To list, make and revoke tokens.
pub(super) const TOKENS: Act = Act { own: &[Scope::Tokens], others: &[Scope::AdminUsers] };

/// To share, and to take that back.
pub(super) const SHARES: Act = Act { own: &[Scope::Shares], others: &[Scope::AdminUsers] };

/// To see with whom something is shared.
pub(super) const READ_SHARES: Act =
    Act { own: &[Scope::ReadShares, Scope::Shares], others: &[Scope::AdminUsers] };

/// To see what is shared with somebody.
pub(super) const READ_SHARED: Act =
    Act { own: &[Scope::ReadUsersShares, Scope::UsersShares], others: &[Scope::AdminUsers] };

/// To give back what is shared with somebody.
pub(super) const LEAVE_SHARES: Act = Act { own: &[Scope::UsersShares], others: &[Scope::AdminUsers] };

/// To see what is shared with a group.
pub(super) const READ_GROUPS_SHARES: &[Scope] =
    &[Scope::ReadGroupsShares, Scope::GroupsShares, Scope::AdminUsers];

/// To take it back.
pub(super) const GROUPS_SHARES: &[Scope] = &[Scope::GroupsShares, Scope::AdminUsers];

/// What a caller sees of a user.
#[expect(clippy::struct_excessive_bools, reason = "each is a part of a user that scopes of its own show")]
#[derive(Debug, Clone, Copy)]
pub(super) struct View {
    /// When they came here, and what they may start.
    pub(super) person: bool,
    pub(super) groups: bool,
    pub(super) activity: bool,
    pub(super) servers: bool,
}

impl View {
    /// Of whoever calls.
    pub(super) fn of_own(scopes: Scopes) -> Self {
        let all = scopes.contains(Scope::ReadUsers);
        let servers = scopes.contains_any(WATCH.own);
        Self { person: all, groups: all, activity: all, servers }
    }

    /// Of somebody else.
    pub(super) fn of_others(scopes: Scopes) -> Self {
        Self {
            person: scopes.contains(Scope::AdminUsers),
            groups: scopes.contains_any(&[Scope::AdminUsers, Scope::ReadGroups]),
            activity: scopes.contains_any(&[Scope::AdminUsers, Scope::ReadActivity]),
            servers: scopes.contains_any(WATCH.others),
        }
    }
}

impl Gateway {
    /// Whether a caller may do this to what is `owner`'s.
    pub(super) fn allow<B>(
        &self,
        caller: &Caller,
        owner: &UserName,
        act: &Act,
        request: &Request<B>,
    ) -> Result<(), Refusal> {
        if caller.name() == owner {
            return need(caller, act.own);
        }
        if !caller.scopes().reaches_others() {
            return Err(Refusal::NoSuch("user"));
        }
        self.check_administrator(caller, act.others, request.method(), request.headers())
    }

    /// Whether a caller may do what is about nobody's own: one of these scopes allows it.
    pub(super) fn allow_hub<B>(
        &self,
        caller: &Caller,
        scopes: &[Scope],
        request: &Request<B>,
    ) -> Result<(), Refusal> {
        self.check_administrator(caller, scopes, request.method(), request.headers())
    }

    /// Whether a caller may see and change what is other people's.
    pub(super) fn check_administrator(
        &self,
        caller: &Caller,
        scopes: &[Scope],
        method: &Method,
        headers: &HeaderMap,
    ) -> Result<(), Refusal> {
        let Caller::Session(session) = caller else {
            need(caller, scopes)?;
            return self.check_proof(caller);
        };
        if !session.standing().user.admin {
            return Err(Refusal::NotFound);
        }
        refuse_scripts(headers)?;
        self.check_proof(caller)?;
        check_shown(method, headers, &self.page_token(session, PAGE))
    }
}

pub(super) fn known(permit: &Permit) -> Result<&Caller, Refusal> {
    permit.caller().ok_or(Refusal::LoginRequired { next: None })
}

/// One of these scopes; the first is the one that is asked for.
pub(super) fn need(caller: &Caller, scopes: &[Scope]) -> Result<(), Refusal> {
    match scopes.first() {
        Some(first) if !caller.scopes().contains_any(scopes) => Err(ProgramRefusal::Scope(*first).into()),
        Some(_) | None => Ok(()),
    }
}

/// What changes something comes with what a page of ours was given: a cookie alone is sent by whoever makes a browser
/// send it.
pub(super) fn check_shown(method: &Method, headers: &HeaderMap, token: &Secret) -> Result<(), Refusal> {
    let shown = headers.get(FORM_TOKEN).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if *method == Method::GET || token.matches(shown) { Ok(()) } else { Err(Refusal::CrossSite) }
}

const FORM_TOKEN: HeaderName = HeaderName::from_static("x-form-token");
