//! What the pages of a start offer its owner: to cancel it, and to start again what was cancelled.

use http::Request;

use super::caller::Caller;
use super::home::spawn_path_back_to;
use super::page::Action;
use super::{Gateway, Origin, with_query};
use crate::spawner::WorkspaceId;

impl Gateway {
    /// At a host of a user's own, whose pages are its server's too, there is no form of the hub's: a link leads to it.
    pub(super) fn cancelling(at: &Origin, caller: &Caller, id: &WorkspaceId) -> Vec<Action> {
        let action = match caller.session() {
            Some(session) if at.label.is_none() => {
                let fields = [("action", "stop"), ("server", id.server.as_str())];
                Action::form(session, "Cancel", "/hub/home", &fields).second()
            }
            Some(_) | None => Action::link("Cancel on your home page", "/hub/home"),
        };
        vec![action]
    }

    /// What may be started in its place, and then leads back here.
    pub(super) fn starting_again<B>(
        &self,
        at: &Origin,
        request: &Request<B>,
        caller: &Caller,
        id: &WorkspaceId,
    ) -> Vec<Action> {
        let here = with_query(request.uri().path(), request);
        match caller.session() {
            Some(session) if at.label.is_none() => self.choices(session, id, &here),
            Some(_) | None => {
                vec![Action::link("Start", &spawn_path_back_to(id, &here))]
            }
        }
    }
}
