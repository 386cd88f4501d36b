//! Carries out orders.

use std::collections::HashMap;
use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;
use tracing::info;

use super::order::Order;
use super::unanswered::Unanswered;
use super::wire::{Begun, Ended, User, Workspace};
use super::{Control, Peer};
use crate::clock::utc;
use crate::explain::{Described, TokenSays, near};
use crate::session::{Listed, Session, ShortId};
use crate::spawner::WorkspaceId;
use crate::store::PersonRow;
use crate::token::ApiToken;
use crate::user::UserName;
use crate::workspace::State;

impl Control {
    pub(super) async fn perform(&self, order: Order, peer: Peer) -> Result<Value, Unanswered> {
        let sessions = &self.0.sessions;
        match order {
            Order::ListSessions(None) => Ok(shown(self.listed(sessions.all()))),
            Order::ListSessions(Some(name)) => Ok(shown(self.listed(sessions.of(&name)))),
            Order::EndSession(id) => {
                let session = sessions.called(id).ok_or(Unanswered::NoSession(id))?;
                self.end(vec![session], peer).await
            }
            Order::EndSessionsOf(name) => self.end(sessions.of(&name), peer).await,
            Order::ListUsers => self.users().await,
            Order::Explain(name) => self.explain(&name).await,
            Order::ListWorkspaces => Ok(shown(self.workspaces())),
            Order::StopWorkspace(name) => self.stop(&name, peer),
        }
    }

    fn listed(&self, mut sessions: Vec<Arc<Session>>) -> Vec<Listed> {
        sessions.sort_by(|a, b| (&a.name, a.created, a.id).cmp(&(&b.name, b.created, b.id)));
        sessions.iter().map(|session| self.0.sessions.listed(session)).collect()
    }

    async fn users(&self) -> Result<Value, Unanswered> {
        let mut counts: HashMap<UserName, usize> = HashMap::new();
        for session in self.0.sessions.all() {
            *counts.entry(session.name.clone()).or_default() += 1;
        }
        let user = |person: PersonRow| User {
            sessions: counts.get(&person.name).copied().unwrap_or_default(),
            tokens: self.0.api_tokens.of(&person.name).len(),
            workspace: self.state(&person.name).map(|state| state.label().to_owned()),
            name: person.name.to_string(),
            issuer: person.issuer,
            created: utc(person.created),
        };
        Ok(shown(self.0.people.all().await?.into_iter().map(user).collect::<Vec<_>>()))
    }

    async fn explain(&self, name: &UserName) -> Result<Value, Unanswered> {
        let Some(known) = self.0.people.recall(name).await? else {
            let names: Vec<UserName> =
                self.0.people.all().await?.into_iter().map(|person| person.name).collect();
            if names.contains(name) {
                return Err(Unanswered::Undescribed(name.clone()));
            }
            let near = near(name.as_str(), &names).into_iter().cloned().collect();
            return Err(Unanswered::Nobody { name: name.clone(), near });
        };
        let described = Described {
            provider: &known.provider,
            identity: &known.identity,
            name: Some(name),
            at: Some(known.at),
        };
        let mut told = self.0.explainer.person(described);
        let token = |token: &Arc<ApiToken>| TokenSays {
            id: token.id.to_string(),
            note: token.note.to_string(),
            scopes: token.scopes().iter().map(|scope| scope.name().to_owned()).collect(),
            expires: utc(token.expires),
        };
        told.tokens = self.0.api_tokens.of(name).iter().map(token).collect();
        Ok(shown(told))
    }

    fn workspaces(&self) -> Vec<Workspace> {
        let workspace = |(id, state): (WorkspaceId, State)| Workspace {
            user: id.user.to_string(),
            state: state.label().to_owned(),
            profile: state.profile().map(ToString::to_string),
        };
        self.0.workspaces.all().into_iter().map(workspace).collect()
    }

    fn state(&self, name: &UserName) -> Option<State> {
        self.0.workspaces.state(&self.0.workspaces.id(name))
    }

    fn stop(&self, name: &UserName, peer: Peer) -> Result<Value, Unanswered> {
        if !matches!(self.state(name), Some(State::Ready(_) | State::Stopping)) {
            return Err(Unanswered::NoWorkspace(name.clone()));
        }
        self.0.workspaces.stop(&self.0.workspaces.id(name));
        info!(event = "workspace_stop_ordered", user = %name, by = %peer, "an administrator stops a workspace");
        Ok(shown(Begun { state: "stopping".to_owned() }))
    }

    async fn end(&self, ending: Vec<Arc<Session>>, peer: Peer) -> Result<Value, Unanswered> {
        let result = self.0.sessions.end_each(&ending).await;
        for session in &ending {
            info!(event = "session_ended", user = %session.name, session = %ShortId::of(&session.id), by = %peer, "an administrator ended a session");
        }
        result?;
        Ok(shown(Ended { ended: ending.len() }))
    }
}

fn shown(answer: impl Serialize) -> Value {
    #[expect(clippy::expect_used, reason = "structs of strings and numbers: all are JSON")]
    serde_json::to_value(answer).expect("JSON")
}
