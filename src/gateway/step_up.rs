//! A better proof than an ordinary login's, for what administrators do to others: who lacks it signs in again, and comes
//! back. The session that begins then is a new one, with an id of its own.

use http::{HeaderMap, Response};

use super::caller::Caller;
use super::local_path::LocalPath;
use super::program::ProgramRefusal;
use super::refusal::Refusal;
use super::{Body, Gateway};
use crate::oidc::Want;
use crate::session::{Proof, Session};
use crate::token::Scopes;
use crate::user::User;

impl Gateway {
    /// Whether a person has proved well enough, and recently enough, who they are.
    pub(super) fn is_proven(&self, session: &Session) -> bool {
        self.suffices(&session.proof, &session.provider)
    }

    /// A program is told what is missing; it cannot sign in.
    pub(super) fn check_proof(&self, caller: &Caller) -> Result<(), Refusal> {
        let is_proven = match caller {
            Caller::Session(session) => self.is_proven(session),
            Caller::Bearer(bearer) => self.suffices(&bearer.proof, &bearer.right.provider),
            // Asked for when its scopes were given: see [`Gateway::grantable`].
            Caller::Token(_) => true,
        };
        match &self.0.step_up {
            Some(wanted) if !is_proven => Err(ProgramRefusal::Proof(wanted.clone()).into()),
            Some(_) | None => Ok(()),
        }
    }

    fn suffices(&self, proof: &Proof, provider: &str) -> bool {
        let Some(wanted) = &self.0.step_up else { return true };
        let skew = self.0.providers.find(provider).map_or(0, crate::oidc::Provider::clock_skew);
        proof.reaches(wanted, self.0.clock.now(), skew)
    }

    /// Sends a person to the provider that vouches for them; they come back to `next`.
    pub(super) async fn prove(
        &self,
        headers: &HeaderMap,
        session: &Session,
        next: &LocalPath,
    ) -> Result<Response<Body>, Refusal> {
        // A provider that says yes and does not keep its word must not send anybody round for ever.
        self.check_rounds(headers)?;
        let want = Want { step_up: self.0.step_up.clone(), ..Want::default() };
        self.begin_login(headers, &session.provider, next, &want, None).await
    }

    /// What a person may give away to a program: what reaches other users only with that proof, or a token would be the
    /// way around it.
    pub(super) fn grantable(&self, session: &Session) -> Scopes {
        let user = User {
            admin: session.standing().user.admin && self.is_proven(session),
            ..session.standing().user.clone()
        };
        self.held(&user)
    }

    /// All that somebody could give away now: what the rules grant them, and what others share with them.
    pub(super) fn held(&self, user: &User) -> Scopes {
        let servers = if self.0.hosts.has_users() { self.0.shares.servers_with(user) } else { Vec::new() };
        Scopes::of(user).with_visits(servers)
    }
}
