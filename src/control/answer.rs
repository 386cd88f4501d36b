//! Carries out orders.

use std::collections::HashMap;
use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;
use tracing::info;

use super::order::{Order, WantedToken};
use super::unanswered::Unanswered;
use super::wire::{Begun, Ended, NewToken, Token, User, Workspace};
use super::{Control, Peer};
use crate::clock::utc;
use crate::explain::{Described, TokenSays, near};
use crate::people::Known;
use crate::session::{Listed, Session, ShortId};
use crate::spawner::WorkspaceId;
use crate::store::PersonRow;
use crate::token::{ApiToken, Right, Scopes, TokenError, TokenId};
use crate::user::UserName;
use crate::workspace::State;

impl Control {
    pub(super) async fn perform(&self, order: Order, peer: Peer) -> Result<Value, Unanswered> {
        let sessions = &self.0.sessions;
        // An upgrade waits for all others.
        let _writing = (order != Order::Upgrade).then(|| self.0.gateway.writing());
        match order {
            Order::ListSessions(None) => Ok(shown(self.listed(sessions.all()))),
            Order::ListSessions(Some(name)) => Ok(shown(self.listed(sessions.of(&name)))),
            Order::EndSession(id) => {
                let session = sessions.called(id).ok_or(Unanswered::NoSession(id))?;
                self.end(vec![session], peer).await
            }
            Order::EndSessionsOf(name) => {
                self.0.gateway.end_access_tokens_of(&name);
                self.end(sessions.of(&name), peer).await
            }
            Order::ListUsers => self.users().await,
            Order::Explain(name) => self.explain(&name).await,
            Order::ListTokens(None) => Ok(shown(tokens(&self.0.api_tokens.all()))),
            Order::ListTokens(Some(name)) => Ok(shown(tokens(&self.0.api_tokens.of(&name)))),
            Order::MakeToken(name, wanted) => self.make_token(&name, wanted, peer).await,
            Order::RevokeToken(id) => self.revoke(id, peer).await,
            Order::RevokeTokensOf(name) => {
                let ended = self.0.api_tokens.revoke_all(&name).await?;
                info!(event = "api_tokens_revoke_ordered", user = %name, by = %peer, "an administrator revokes tokens");
                Ok(shown(Ended { ended }))
            }
            Order::ListShares(owner) => Ok(self.list_shares(owner.as_ref())),
            Order::EndShare(id) => self.end_share(id, peer).await,
            Order::EndShareCode(id) => self.end_code(id, peer).await,
            Order::EndSharesOf(owner) => self.end_shares_of(&owner, peer).await,
            Order::ListWorkspaces => Ok(shown(self.workspaces())),
            Order::StopWorkspace(name) => self.stop(&name, peer),
            Order::Upgrade => self.upgrade(peer).await,
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

    async fn make_token(
        &self,
        name: &UserName,
        wanted: WantedToken,
        peer: Peer,
    ) -> Result<Value, Unanswered> {
        let known = self.known(name).await?;
        let user = self.0.explainer.mapping().user(&known.provider, &known.identity, name.clone());
        let user = user.map_err(|source| Unanswered::MayNotEnter { name: name.clone(), source })?;
        // In the words of what others share with them, too.
        let held = Scopes::of(&user).with_visits(self.0.shares.servers_with(&user));
        let scopes = wanted.scopes.given_by(&held, name);
        let scopes = scopes.ok_or_else(|| Unanswered::Token(TokenError::Scopes { owner: name.clone() }))?;
        let right = Right { provider: known.provider.into(), user };
        // In seconds from now, whatever the clock of whoever asks says.
        let expires = wanted.lifetime.map(|seconds| self.0.clock.now().saturating_add(seconds));
        let new = crate::token::NewToken { scopes, note: wanted.note, expires };
        let (secret, token) = self.0.api_tokens.create(right, new).await?;
        info!(event = "api_token_ordered", user = %name, token = %token.id, by = %peer, "an administrator made a token");
        Ok(shown(NewToken {
            token: secret.expose().to_owned(),
            id: token.id.to_string(),
            scopes: token.scopes().names(),
            expires: utc(token.expires),
        }))
    }

    async fn revoke(&self, id: TokenId, peer: Peer) -> Result<Value, Unanswered> {
        let token = self.0.api_tokens.called(id).ok_or(Unanswered::NoToken(id))?;
        self.0.api_tokens.revoke(&token).await?;
        info!(event = "api_token_revoke_ordered", user = %token.owner.name, token = %id, by = %peer, "an administrator revokes a token");
        Ok(shown(Ended { ended: 1 }))
    }

    async fn explain(&self, name: &UserName) -> Result<Value, Unanswered> {
        let known = self.known(name).await?;
        let described = Described {
            provider: &known.provider,
            identity: &known.identity,
            name: Some(name),
            at: Some(known.at),
            barred: known.barred,
        };
        let mut told = self.0.explainer.person(described);
        let token = |token: &Arc<ApiToken>| TokenSays {
            id: token.id.to_string(),
            note: token.note.to_string(),
            scopes: token.scopes().names(),
            expires: utc(token.expires),
        };
        told.tokens = self.0.api_tokens.of(name).iter().map(token).collect();
        // Whoever may not enter comes to nobody's server, and nobody to theirs.
        if told.grants.is_some()
            && self.0.shares.enabled()
            && let Ok(user) = self.0.explainer.mapping().user(&known.provider, &known.identity, name.clone())
        {
            (told.shares, told.shared) = self.explained_shares(&user);
        }
        Ok(shown(told))
    }

    /// What a provider last said of somebody.
    async fn known(&self, name: &UserName) -> Result<Known, Unanswered> {
        let Some(known) = self.0.people.recall(name).await? else {
            let names: Vec<UserName> =
                self.0.people.all().await?.into_iter().map(|person| person.name).collect();
            if names.contains(name) {
                return Err(Unanswered::Undescribed(name.clone()));
            }
            let near = near(name.as_str(), &names).into_iter().cloned().collect();
            return Err(Unanswered::Nobody { name: name.clone(), near });
        };
        Ok(known)
    }

    fn workspaces(&self) -> Vec<Workspace> {
        let workspace = |(id, state): (WorkspaceId, State)| Workspace {
            user: id.user.to_string(),
            server: id.server.to_string(),
            state: state.label().to_owned(),
            profile: state.profile().map(ToString::to_string),
        };
        self.0.workspaces.all().into_iter().map(workspace).collect()
    }

    fn state(&self, name: &UserName) -> Option<State> {
        self.0.workspaces.state(&self.0.workspaces.id(name))
    }

    fn stop(&self, id: &WorkspaceId, peer: Peer) -> Result<Value, Unanswered> {
        let runs = |state: &State| matches!(state, State::Starting(_) | State::Ready(_) | State::Stopping);
        if !self.0.workspaces.state(id).as_ref().is_some_and(runs) {
            return Err(Unanswered::NoWorkspace(id.clone()));
        }
        self.0.workspaces.stop(id);
        info!(event = "workspace_stop_ordered", workspace = %id, by = %peer, "an administrator stops a workspace");
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

fn tokens(tokens: &[Arc<ApiToken>]) -> Vec<Token> {
    let token = |token: &Arc<ApiToken>| Token {
        id: token.id.to_string(),
        user: token.owner.name.to_string(),
        note: token.note.to_string(),
        scopes: token.scopes().names(),
        created: utc(token.created),
        expires: utc(token.expires),
        last_used: token.last_used().map(utc),
    };
    tokens.iter().map(token).collect()
}

pub(super) fn shown(answer: impl Serialize) -> Value {
    #[expect(clippy::expect_used, reason = "structs of strings and numbers: all are JSON")]
    serde_json::to_value(answer).expect("JSON")
}
