//! Logins under way: each is remembered in a sealed cookie of the browser that began it.

use http::header::{HeaderMap, HeaderValue, SET_COOKIE};
use serde::{Deserialize, Serialize};

use super::Gateway;
use crate::clock::Timestamp;
use crate::config::ResponseMode;
use crate::cookies;
use crate::oidc;
use crate::session::SessionId;

/// A login under way, as its sealed cookie holds it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Attempt {
    /// At which provider: its name.
    pub(super) provider: String,
    pub(super) login: oidc::Login,
    pub(super) next: String,
    pub(super) begun: Timestamp,
    /// Begun again by itself, because the provider asked for it: at most once.
    pub(super) again: bool,
    /// The session that this browser had then. An answer that comes by a form of the provider's brings no cookie that
    /// would tell. Nobody can put somebody else's here: it is sealed, and is from a cookie that opens that session.
    pub(super) leaves: Option<SessionId>,
}

/// Attempts are known for so many times the time they are good for: whoever comes back late from the provider is sent
/// there again, and then to where they wanted to go.
const KEPT: u64 = 12;

/// More login attempts at once than tabs that anybody finishes; the oldest go first.
const MOST_ATTEMPTS: usize = 5;

impl Gateway {
    pub(super) fn attempt(&self, headers: &HeaderMap, name: &str) -> Option<Attempt> {
        self.open_attempt(name, cookies::find(headers, name)?)
    }

    fn open_attempt(&self, name: &str, sealed: &str) -> Option<Attempt> {
        let plain = self.0.sealer.open(name, sealed)?;
        let attempt: Attempt = serde_json::from_slice(&plain).ok()?;
        let age = self.0.clock.now().saturating_sub(attempt.begun);
        (age <= self.0.login_timeout.as_secs().saturating_mul(KEPT)).then_some(attempt)
    }

    /// Whether a person took too long for it.
    pub(super) fn is_late(&self, attempt: &Attempt) -> bool {
        self.0.clock.now().saturating_sub(attempt.begun) > self.0.login_timeout.as_secs()
    }

    /// A `Set-Cookie` that remembers an attempt, and comes back with its answer.
    pub(super) fn remember(&self, mut attempt: Attempt, mode: ResponseMode) -> HeaderValue {
        let name = attempt_cookie(&attempt.login.state);
        let age = self.0.login_timeout.saturating_mul(u32::try_from(KEPT).unwrap_or(u32::MAX));
        let seal =
            |attempt: &Attempt| self.0.sealer.seal(&name, &serde_json::to_vec(attempt).unwrap_or_default());
        let mut sealed = seal(&attempt);
        // Rather the front page after the login than no login.
        if name.len() + sealed.len() > cookies::LARGEST {
            "/".clone_into(&mut attempt.next);
            sealed = seal(&attempt);
        }
        match mode {
            ResponseMode::Query => cookies::set(&name, &sealed, Some(age)),
            ResponseMode::FormPost => cookies::set_for_posts(&name, &sealed, Some(age)),
        }
    }

    /// Keeps the newest attempts of this browser, so that its cookies stay few.
    pub(super) fn drop_old_attempts(&self, request: &HeaderMap, response: &mut HeaderMap) {
        let of_login = |(name, _): &(&str, &str)| name.starts_with(cookies::LOGIN_PREFIX) && is_token(name);
        let mut attempts: Vec<(Timestamp, &str)> = cookies::pairs(request)
            .filter(of_login)
            .map(|(name, sealed)| (self.open_attempt(name, sealed).map_or(0, |attempt| attempt.begun), name))
            .collect();
        attempts.sort_unstable();
        let too_many = (attempts.len() + 1).saturating_sub(MOST_ATTEMPTS);
        let stale = |(at, (begun, _)): &(usize, &(Timestamp, &str))| *begun == 0 || *at < too_many;
        let clear: Vec<HeaderValue> =
            attempts.iter().enumerate().filter(stale).map(|(_, (_, name))| cookies::clear(name)).collect();
        for cookie in clear {
            response.append(SET_COOKIE, cookie);
        }
    }
}

/// The attempt's cookie: named after its state, so that several tabs do not meet.
pub(super) fn attempt_cookie(state: &str) -> String {
    use base64::Engine as _;
    let digest = crate::seal::sha256(state.as_bytes());
    let short = digest.get(..9).unwrap_or_default();
    format!("{}{}", cookies::LOGIN_PREFIX, base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(short))
}

/// Only names that we could have given are written back.
pub(super) fn is_token(name: &str) -> bool {
    name.len() < 64 && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
}
