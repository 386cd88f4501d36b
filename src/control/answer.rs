//! Carries out orders.

use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;
use tracing::info;

use super::order::Order;
use super::unanswered::Unanswered;
use super::wire::Ended;
use super::{Control, Peer};
use crate::session::{Listed, Session, ShortId};

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
        }
    }

    fn listed(&self, mut sessions: Vec<Arc<Session>>) -> Vec<Listed> {
        sessions.sort_by(|a, b| (&a.name, a.created, a.id).cmp(&(&b.name, b.created, b.id)));
        sessions.iter().map(|session| self.0.sessions.listed(session)).collect()
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
