//! What goes on after a login, as Keycloak does it: refreshes, revocation, ends of sessions.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Grant, Provider, State, random};

/// What a realm can be set to.
#[derive(Default)]
pub(super) struct Rules {
    /// *Revoke Refresh Token*, with no reuse.
    pub(super) rotation: bool,
    /// Seconds.
    pub(super) access_lifetime: Option<u64>,
    pub(super) refresh_lifetime: Option<u64>,
    pub(super) not_before: u64,
    /// Disabled users, by `sub`.
    disabled: BTreeSet<String>,
}

/// A browser's login, or what was allowed for the time after it.
pub(super) struct Session {
    grant: Grant,
    /// The refresh token that was issued last.
    current: String,
    /// Why it is over.
    over: Option<&'static str>,
}

/// A refresh token.
pub(super) struct Refresh {
    sid: String,
    issued: u64,
    /// `None`: never.
    expires: Option<u64>,
}

impl Provider {
    /// Uses each refresh token once, and takes a second use for theft: the session loses its client.
    pub fn rotate_refresh_tokens(&self) {
        self.state().rules.rotation = true;
    }

    /// How many seconds access tokens and refresh tokens live.
    pub fn set_lifetimes(&self, access: u64, refresh: u64) {
        let mut state = self.state();
        state.rules.access_lifetime = Some(access);
        state.rules.refresh_lifetime = Some(refresh);
    }

    /// Revokes all tokens that were issued before this time: *Not Before*.
    pub fn set_not_before(&self, time: u64) {
        self.state().rules.not_before = time;
    }

    /// Ends one of its sessions, as an administrator can.
    pub fn end_session(&self, sid: &str) {
        if let Some(session) = self.state().online.get_mut(sid) {
            session.over = Some("Session not active");
        }
    }

    /// Ends all of its sessions, as a restart without persistent sessions does.
    pub fn forget_sessions(&self) {
        for session in self.state().online.values_mut() {
            session.over = Some("Session not active");
        }
    }

    /// Disables the user of this name.
    pub fn disable(&self, name: &str) {
        self.state().rules.disabled.insert(format!("f:ldap:{name}"));
    }

    /// How many of its sessions are not over.
    pub fn open_sessions(&self) -> usize {
        self.state().online.values().filter(|session| session.over.is_none()).count()
    }

    /// A refresh token for a session, which is made if there is none yet; and for how many seconds.
    pub(super) fn issue_refresh_token(&self, grant: &Grant) -> (String, u64) {
        let now = self.now();
        let mut state = self.state();
        let offline = grant.scopes.split(' ').any(|scope| scope == "offline_access");
        let lifetime = if offline { 0 } else { state.rules.refresh_lifetime.unwrap_or(1800) };
        let token = random();
        let expires = (lifetime > 0).then_some(now + lifetime);
        state.refresh_tokens.insert(token.clone(), Refresh { sid: grant.sid.clone(), issued: now, expires });
        let session = state.online.entry(grant.sid.clone()).or_insert_with(|| Session {
            grant: grant.clone(),
            current: String::new(),
            over: None,
        });
        session.current.clone_from(&token);
        (token, lifetime)
    }

    /// What a refresh token stands for, with what is true of the person now; or why it stands for nothing.
    pub(super) fn use_refresh_token(&self, token: &str) -> Result<Grant, &'static str> {
        let now = self.now();
        let mut state = self.state();
        let State { refresh_tokens, online, rules, people, .. } = &mut *state;
        let refresh = refresh_tokens.get(token).ok_or("Invalid refresh token")?;
        if refresh.expires.is_some_and(|expires| expires <= now) {
            return Err("Token is not active");
        }
        let session = online.get_mut(&refresh.sid).ok_or("Session not active")?;
        let sub = session.grant.user.claims.get("sub").and_then(Value::as_str).unwrap_or_default();
        if rules.disabled.contains(sub) {
            return Err("User disabled");
        }
        if let Some(reason) = session.over {
            return Err(reason);
        }
        if refresh.issued < rules.not_before {
            return Err("Stale token");
        }
        if rules.rotation && session.current != token {
            session.over = Some("Session doesn't have required client");
            return Err("Maximum allowed refresh token reuse exceeded");
        }
        // Until the next is issued, so that a second use at the same time finds it used.
        session.current.clear();
        let mut grant = session.grant.clone();
        if let Some(user) = people.get(sub) {
            grant.user = user.clone();
        }
        // Keycloak does not repeat it since 25.
        grant.nonce = None;
        Ok(grant)
    }

    /// Takes a refresh token back, with its session.
    pub(super) fn revoke(&self, token: &str) {
        let mut state = self.state();
        let sid = state.refresh_tokens.get(token).map(|refresh| refresh.sid.clone());
        if let Some(session) = sid.and_then(|sid| state.online.get_mut(&sid)) {
            session.over = Some("Offline user session not found");
        }
    }

    /// Whether an access token of this session still opens userinfo.
    pub(super) fn is_over(&self, sid: &str) -> bool {
        self.state().online.get(sid).is_some_and(|session| session.over.is_some())
    }
}
