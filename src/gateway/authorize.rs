//! Route and session become a permit, or a refusal. Pure; the only maker of a [`Permit`].

use std::sync::Arc;

use http::Method;

use super::head::Head;
use super::local_path::LocalPath;
use super::refusal::Refusal;
use crate::routes::{Endpoint, Route};
use crate::session::Session;

/// Proof that a request may have what it asks for.
#[derive(Debug)]
pub(super) struct Permit {
    session: Option<Arc<Session>>,
    target: Target,
}

/// What a permit is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    /// One of hubgate's own pages; which may look at the session for itself.
    Own,
    /// The session's user's workspace.
    Workspace {
        /// The path lacks the slash behind the name.
        bare: bool,
    },
}

impl Permit {
    pub(super) fn target(&self) -> Target {
        self.target
    }

    pub(super) fn session(&self) -> Option<&Arc<Session>> {
        self.session.as_ref()
    }
}

/// Judges a request.
pub(super) fn authorize(head: &Head<'_, '_>, session: Option<Arc<Session>>) -> Result<Permit, Refusal> {
    match &head.route {
        Route::Unknown => Err(Refusal::NotFound),
        Route::Own(endpoint) => {
            if needs_session(&head.route) && session.is_none() {
                return Err(login_required(head));
            }
            // A form of ours sent by a page of somebody else's.
            if *head.method == Method::POST
                && (head.cross_site || !head.same_origin)
                && !is_for_strangers(*endpoint)
            {
                return Err(Refusal::CrossSite);
            }
            Ok(Permit { session, target: Target::Own })
        }
        Route::Workspace { owner, bare } => {
            let Some(session) = session else { return Err(login_required(head)) };
            if session.name.as_str() != owner {
                return Err(Refusal::NotYours);
            }
            check_site(head)?;
            Ok(Permit { session: Some(session), target: Target::Workspace { bare: *bare } })
        }
    }
}

/// The container takes hubgate's word for the user and asks no further: that no other site is behind a request is
/// for hubgate to see. Browsers send `Origin` with every websocket; one without is none of theirs.
fn check_site(head: &Head<'_, '_>) -> Result<(), Refusal> {
    let safe = [Method::GET, Method::HEAD, Method::OPTIONS].contains(head.method);
    let refused = if head.upgrade { head.cross_site || !head.same_origin } else { !safe && head.cross_site };
    if refused { Err(Refusal::CrossSite) } else { Ok(()) }
}

fn login_required(head: &Head<'_, '_>) -> Refusal {
    Refusal::LoginRequired { next: head.navigation.then(|| LocalPath::or_root(Some(head.target))) }
}

/// Whether others than pages of ours may send something there.
fn is_for_strangers(endpoint: Endpoint<'_>) -> bool {
    // The provider is no browser: what it sends is signed.
    matches!(endpoint, Endpoint::CspReport | Endpoint::BackchannelLogout)
}

/// Whether nothing is to be had there without a session.
pub(super) fn needs_session(route: &Route<'_>) -> bool {
    let endpoint = match route {
        Route::Own(endpoint) => endpoint,
        Route::Workspace { .. } => return true,
        Route::Unknown => return false,
    };
    match endpoint {
        Endpoint::Root
        | Endpoint::Home
        | Endpoint::Spawn(_)
        | Endpoint::HubUser(_)
        | Endpoint::UserRedirect(_)
        | Endpoint::ApiAuthorize => true,
        Endpoint::Login
        | Endpoint::Callback(_)
        | Endpoint::Logout
        | Endpoint::BackchannelLogout
        | Endpoint::FrontchannelLogout
        | Endpoint::Logo
        | Endpoint::ApiRoot
        | Endpoint::ApiToken
        | Endpoint::ApiUser
        | Endpoint::ApiUsers(_)
        | Endpoint::CspReport => false,
    }
}
