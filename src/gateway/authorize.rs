//! Route and caller become a permit, or a refusal. Pure; the only maker of a [`Permit`].

use std::sync::Arc;

use http::Method;

use super::beside::Neighbour;
use super::caller::Caller;
use super::head::Head;
use super::local_path::LocalPath;
use super::program::ProgramRefusal;
use super::refusal::Refusal;
use super::visit::Visit;
use crate::routes::{Endpoint, Route, only_shows};
use crate::session::Session;
use crate::spawner::WorkspaceId;
use crate::token::Scope;

/// Proof that a request may have what it asks for.
#[derive(Debug)]
pub(super) struct Permit {
    caller: Option<Caller>,
    target: Target,
    visit: Option<Visit>,
    workspace: Option<WorkspaceId>,
}

/// What a permit is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    /// One of hubgate's own pages; which may look at the caller for itself.
    Own,
    /// A program or a folder beside the hub.
    Beside,
    /// The caller's own workspace, or the one that they visit.
    Workspace {
        /// The path lacks the slash behind the name.
        bare: bool,
    },
}

impl Permit {
    pub(super) fn target(&self) -> Target {
        self.target
    }

    pub(super) fn caller(&self) -> Option<&Caller> {
        self.caller.as_ref()
    }

    /// The workspace, if it is another user's.
    pub(super) fn visit(&self) -> Option<&Visit> {
        self.visit.as_ref()
    }

    /// Which workspace it is for. It is the one that was judged: what a path means may change while a request is on its
    /// way, with the names of its owner's servers.
    pub(super) fn workspace(&self) -> Option<&WorkspaceId> {
        self.workspace.as_ref()
    }

    /// The session, if a browser asks.
    pub(super) fn session(&self) -> Option<&Arc<Session>> {
        self.caller.as_ref().and_then(Caller::session)
    }
}

/// Judges a request.
pub(super) fn authorize(
    head: &Head<'_, '_>,
    neighbour: Option<&Arc<Neighbour>>,
    caller: Option<Caller>,
    visit: Option<Visit>,
    own: Option<WorkspaceId>,
) -> Result<Permit, Refusal> {
    match &head.route {
        Route::Unknown => match neighbour {
            Some(neighbour) => beside(head, neighbour, caller),
            None => Err(Refusal::NotFound),
        },
        Route::Own(endpoint) => {
            let admitted = match needs(*endpoint) {
                Needs::Nobody => true,
                Needs::Person => caller.as_ref().is_some_and(|caller| caller.session().is_some()),
                Needs::Anybody => caller.is_some(),
            };
            if !admitted {
                return Err(login_required(head));
            }
            check_own_site(head, *endpoint, caller.as_ref())?;
            Ok(Permit { caller, target: Target::Own, visit: None, workspace: None })
        }
        Route::Workspace { owner, bare, below } => {
            let Some(caller) = caller else { return Err(login_required(head)) };
            if caller.name().as_str() != owner {
                let visit = visit.as_ref().ok_or(Refusal::NotYours)?;
                let looks = is_safe(head.method) && !head.upgrade && only_shows(visit.below(below));
                if visit.looks_only() && !looks {
                    return Err(Refusal::LooksOnly);
                }
            }
            let workspace = visit.as_ref().map(|visit| visit.id.clone()).or(own).ok_or(Refusal::NotYours)?;
            if !caller.may_enter(&workspace) {
                return Err(ProgramRefusal::Scope(Scope::AccessServers).into());
            }
            check_site(head, &caller)?;
            let target = Target::Workspace { bare: *bare };
            Ok(Permit { caller: Some(caller), target, visit, workspace: Some(workspace) })
        }
    }
}

/// What is beside the hub is for whoever it is granted to, or for everybody.
fn beside(
    head: &Head<'_, '_>,
    neighbour: &Arc<Neighbour>,
    caller: Option<Caller>,
) -> Result<Permit, Refusal> {
    if !neighbour.public {
        let Some(caller) = &caller else { return Err(login_required(head)) };
        if !neighbour.is_open_to(caller) {
            return Err(Refusal::RouteNotGranted);
        }
        if !caller.may_enter_beside(neighbour.name()) {
            return Err(ProgramRefusal::Scope(Scope::AccessServices).into());
        }
    }
    if let Some(caller) = &caller {
        check_site(head, caller)?;
    }
    Ok(Permit { caller, target: Target::Beside, visit: None, workspace: None })
}

/// A form of ours sent by a page of somebody else's. What programs send needs no proof of where it comes from, because no
/// browser adds their tokens by itself; but a browser that says that another site is behind it is not served either.
fn check_own_site(
    head: &Head<'_, '_>,
    endpoint: Endpoint<'_>,
    caller: Option<&Caller>,
) -> Result<(), Refusal> {
    let free = is_for_strangers(endpoint) || is_safe(head.method);
    let program = caller.is_some_and(|caller| caller.session().is_none());
    let without_cookies = program || matches!(endpoint, Endpoint::ApiToken | Endpoint::ApiDevice);
    let refused = !free && (head.cross_site || !(head.same_origin || without_cookies));
    if refused { Err(Refusal::CrossSite) } else { Ok(()) }
}

fn is_safe(method: &Method) -> bool {
    [Method::GET, Method::HEAD, Method::OPTIONS].contains(method)
}

/// The container takes hubgate's word for the user and asks no further: that no other site is behind a request is
/// for hubgate to see. Browsers send `Origin` with every websocket and whatever may change something; a request without
/// is none of theirs, and a program has a token.
fn check_site(head: &Head<'_, '_>, caller: &Caller) -> Result<(), Refusal> {
    let proven = head.same_origin || caller.session().is_none();
    // All users' hosts are one site to a browser: what a page at one of them loads from another brings the cookies along.
    let loaded = head.at.label.is_some() && head.cross_site && !head.navigation;
    let free = is_safe(head.method) && !head.upgrade && !loaded;
    let refused = !free && (head.cross_site || !proven);
    if refused { Err(Refusal::CrossSite) } else { Ok(()) }
}

fn login_required(head: &Head<'_, '_>) -> Refusal {
    Refusal::LoginRequired { next: head.navigation.then(|| LocalPath::or_root(Some(head.target))) }
}

/// Whether others than pages of ours may send something there. The provider is no browser: what it sends is signed. Where
/// it was asked to (`response_mode`), a page of its own sends browsers back by a form: the cookie of the login says whether
/// this browser began it.
fn is_for_strangers(endpoint: Endpoint<'_>) -> bool {
    matches!(endpoint, Endpoint::CspReport | Endpoint::BackchannelLogout | Endpoint::Callback(_))
}

/// Whether nothing is to be had there without a session or a token.
pub(super) fn needs_caller(route: &Route<'_>, neighbour: Option<&Arc<Neighbour>>) -> bool {
    match route {
        Route::Own(endpoint) => needs(*endpoint) != Needs::Nobody,
        Route::Workspace { .. } => true,
        Route::Unknown => neighbour.is_some_and(|neighbour| !neighbour.public),
    }
}

/// Who may come to an endpoint at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Needs {
    /// There is something for everybody.
    Nobody,
    /// A page: somebody with a browser.
    Person,
    /// Somebody, or a program of theirs.
    Anybody,
}

fn needs(endpoint: Endpoint<'_>) -> Needs {
    match endpoint {
        Endpoint::Root
        | Endpoint::Home
        | Endpoint::Spawn(_)
        | Endpoint::UserRedirect(_)
        | Endpoint::Tokens
        | Endpoint::Share
        | Endpoint::AcceptShare
        | Endpoint::Device
        | Endpoint::Admin
        | Endpoint::Enter
        | Endpoint::ApiAuthorize => Needs::Person,
        Endpoint::Api(path) if path.resource.is_open() => Needs::Nobody,
        Endpoint::Api(_) | Endpoint::HubUser(_) => Needs::Anybody,
        Endpoint::Login
        | Endpoint::Entered
        | Endpoint::Callback(_)
        | Endpoint::Logout
        | Endpoint::BackchannelLogout
        | Endpoint::FrontchannelLogout
        | Endpoint::Logo
        | Endpoint::ApiRoot
        | Endpoint::Health
        | Endpoint::ApiToken
        | Endpoint::ApiDevice
        | Endpoint::CspReport => Needs::Nobody,
    }
}
