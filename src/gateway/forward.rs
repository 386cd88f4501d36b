//! From a permit to a workspace: which of its owner's, at which of its ports, and what it is told.

use futures_util::future::BoxFuture;
use http::{HeaderValue, Method, Request, Response};
use hyper::body::Incoming;

use super::caller::Caller;
use super::head::{Connection, Head};
use super::hosts::Origin;
use super::poll::is_poll;
use super::port::PortPath;
use super::refusal::Refusal;
use super::visit::{Visit, name_value};
use super::{Body, Gateway, slash};
use crate::config::Preset;
use crate::forward::{About, Authorization, ForwardError};
use crate::routes::Route;
use crate::spawner::WorkspaceId;
use crate::workspace::State;

/// Where a path below a user's leads.
#[derive(Debug)]
pub(super) struct Place<'h> {
    at: &'h Origin,
    id: WorkspaceId,
    port: Option<PortPath>,
    /// It lacks the slash at its end that relative links depend on.
    pub(super) bare: bool,
    /// A page may ask it by itself.
    poll: bool,
}

impl Gateway {
    /// Which of their own workspaces a request is for.
    pub(super) fn own_workspace(&self, head: &Head<'_, '_>, caller: Option<&Caller>) -> Option<WorkspaceId> {
        let Route::Workspace { owner, below, .. } = &head.route else { return None };
        let caller = caller.filter(|caller| caller.name().as_str() == owner)?;
        Some(self.0.workspaces.at(caller.name(), below))
    }

    /// Reads the path of a request for a workspace.
    pub(super) fn place<'h>(head: &Head<'_, 'h>, id: WorkspaceId, bare: bool) -> Place<'h> {
        let below = head.route.below();
        let server = id.server.as_str();
        let bare = bare || (!id.server.is_default() && below == server);
        let below = if server.is_empty() { below } else { below.get(server.len() + 1..).unwrap_or_default() };
        let (path, query) =
            head.target.split_once('?').map_or((head.target, None), |(path, query)| (path, Some(query)));
        let poll = is_poll(head.method, below, query);
        Place { at: head.at, id, port: PortPath::find(path, below), bare, poll }
    }

    pub(super) async fn forward(
        &self,
        connection: &Connection,
        request: Request<Incoming>,
        (caller, visit): (&Caller, Option<&Visit>),
        place: Place<'_>,
        navigation: bool,
    ) -> Result<Response<Body>, Refusal> {
        let ready = match (self.0.workspaces.state(&place.id), visit) {
            (Some(State::Ready(ready)), _) => ready,
            (other, Some(visit)) => return Err(Self::nobody_home(&request, visit, other)),
            (other, None) => return self.not_ready(place.at, &request, caller, &place.id, other, navigation),
        };
        let rights = caller.rights();
        let visitor = match visit {
            None if !rights.grants(&ready.profile) => return Err(Refusal::NotGranted),
            None => None,
            // What may be looked at is known of Jupyter's servers only.
            Some(visit) if visit.looks_only() && ready.preset == Preset::Web => {
                return Err(Refusal::LooksOnly);
            }
            Some(visit) => {
                let lifeline = visit.granted.lifeline(&rights.lifeline).ok_or(Refusal::NotYours)?;
                Some((name_value(caller.name()), lifeline))
            }
        };
        let visitor = visitor.as_ref();
        // Whatever a program is known by here never reaches the container.
        let pass = self.pass(caller, &ready);
        let said = pass.as_ref().or(ready.authorization.as_ref());
        let session_id = self.session_id(caller, &ready);
        // Whoever only looks keeps nobody's server from being stopped as idle; a page of theirs asks without end.
        let uses = visit.is_none_or(|visit| !visit.looks_only());
        // Where a server can be asked what it does, no page that is only open keeps it.
        let poll = uses && place.poll && ready.may_be_asked();
        let about = About {
            client: &connection.client_value,
            host: &place.at.host_value,
            user: Some(visitor.map_or(&ready.user, |(name, _)| name)),
            authorization: said.map_or(Authorization::Kept, Authorization::Replaced),
            session_id: session_id.as_deref(),
            prefix: ready.prefix.as_ref(),
            lifeline: visitor.map_or(&rights.lifeline, |(_, lifeline)| lifeline),
            activity: (uses && !poll).then_some(&ready.activity),
            worker: connection.worker,
        };
        if let Some((path, pool)) =
            place.port.as_ref().and_then(|path| Some((path, self.0.workspaces.door(&ready, path.port)?)))
        {
            if path.bare && *request.method() == Method::GET {
                return Ok(slash(&request));
            }
            // What the server is told is not for whatever else listens in the container.
            let own = if caller.session().is_some() { Authorization::Kept } else { Authorization::Removed };
            let prefix = path.prefix.as_deref().map(HeaderValue::from_str).transpose();
            let prefix = prefix.map_err(|_no_value| Refusal::BadPath)?;
            let about = About { authorization: own, prefix: prefix.as_ref(), ..about };
            // Boxed, so that what few requests need takes no room in all.
            let sent: BoxFuture<'_, _> = Box::pin(self.0.forwarder.send(request, &pool, about));
            return match sent.await {
                Err(ForwardError::Connect { .. }) => {
                    // The container may be gone, and its address another's.
                    self.0.workspaces.suspect(&ready);
                    Err(Refusal::NothingAtPort(path.port))
                }
                other => {
                    let response = other?;
                    ready.doors.keep(path.port, &pool);
                    Ok(response.map(Body::Forwarded))
                }
            };
        }
        match self.0.forwarder.send(request, &ready.pool, about).await {
            Ok(response) => {
                if poll && response.status().is_success() {
                    ready.activity.note_poll();
                }
                Ok(response.map(Body::Forwarded))
            }
            Err(error) => {
                if matches!(error, ForwardError::Connect { .. }) {
                    self.0.workspaces.suspect(&ready);
                }
                Err(error.into())
            }
        }
    }
}
