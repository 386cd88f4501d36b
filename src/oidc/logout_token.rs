//! Logout tokens (OpenID Connect Back-Channel Logout 1.0): what the provider sends when a session ends there.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use serde_json::{Map, Value};
use thiserror::Error;

use super::claims::time;
use super::discovery::Known;
use super::jwt::Jwt;
use super::keys::Source;
use super::{OidcError, Provider};
use crate::clock::Timestamp;

/// One that is verified, and was not seen before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogoutToken {
    /// The provider.
    pub issuer: String,
    /// Whose sessions end.
    pub subject: Option<String>,
    /// Which of the provider's sessions ends; `None`: all of the subject's.
    pub sid: Option<String>,
    /// Its own name.
    pub jti: String,
    /// When it was issued.
    pub issued: Timestamp,
    /// When it expires.
    pub expires: Timestamp,
    /// Whether what was allowed for the time after logout (offline access) ends as well.
    pub offline: bool,
}

/// A logout token that changes nothing.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LogoutTokenError {
    /// Anybody can have made it up, as far as is known.
    #[error(transparent)]
    Unverified(OidcError),
    /// The provider has signed it.
    #[error(transparent)]
    Verified(OidcError),
}

impl LogoutTokenError {
    /// What is wrong with it.
    pub fn reason(&self) -> &OidcError {
        let (Self::Unverified(error) | Self::Verified(error)) = self;
        error
    }
}

impl From<LogoutTokenError> for OidcError {
    fn from(error: LogoutTokenError) -> Self {
        let (LogoutTokenError::Unverified(error) | LogoutTokenError::Verified(error)) = error;
        error
    }
}

impl Provider {
    /// Verifies a logout token (sections 2.4 and 2.6). One that is not in order changes nothing; each counts once.
    pub async fn logout_token(&self, token: &str) -> Result<LogoutToken, LogoutTokenError> {
        let known = self.known().await.map_err(LogoutTokenError::Unverified)?;
        let claims = self.logout_claims(&known, token).await.map_err(LogoutTokenError::Unverified)?;
        self.logout(&known, claims).map_err(LogoutTokenError::Verified)
    }

    /// What it says, once its signature is verified.
    async fn logout_claims(&self, known: &Known, token: &str) -> Result<Map<String, Value>, OidcError> {
        if token.len() > LONGEST {
            return Err(OidcError::untrusted("its logout token is too long", None));
        }
        let jwt = Jwt::parse(token)?;
        let keys = known.keys.as_ref().ok_or_else(|| OidcError::Settings {
            what: "logout tokens need provider.issuer".to_owned(),
            source: None,
        })?;
        // Older ones are called JWT, or nothing.
        if !matches!(jwt.media_type().as_deref(), None | Some("jwt" | "logout+jwt")) {
            return Err(OidcError::untrusted(OTHER_KIND, jwt.media_type()));
        }
        Ok(keys.verify(&jwt, Source::Anybody, &self.0.http, &self.0.clock).await?.claims)
    }

    fn logout(&self, known: &Known, claims: Map<String, Value>) -> Result<LogoutToken, OidcError> {
        let claims = with_expiry(claims)?;
        let expected = self.expected(known);
        expected.check_issuer(&claims)?;
        expected.check_audience(&claims)?;
        expected.check_time(&claims)?;
        expected.check_age(&claims)?;
        let token = LogoutToken::read(&known.issuer, &claims)?;
        self.0.used.once(&token, expected.now, expected.skew)?;
        Ok(token)
    }
}

impl LogoutToken {
    /// What only logout tokens have, and must have.
    fn read(issuer: &str, claims: &Map<String, Value>) -> Result<Self, OidcError> {
        let refuse = |what| Err(OidcError::untrusted(what, None));
        if claims.get("typ").is_some_and(|kind| kind.as_str() != Some("Logout")) {
            return refuse(OTHER_KIND);
        }
        let events = claims.get("events").and_then(Value::as_object);
        let Some(events) = events.filter(|events| events.get(EVENT).is_some_and(Value::is_object)) else {
            return refuse("its logout token is not about a logout (events)");
        };
        // So that an ID token is none, even where it would have all the rest.
        if claims.contains_key("nonce") {
            return refuse("its logout token has a nonce, as ID tokens have");
        }
        let name = |name| match claims.get(name) {
            None => Ok(None),
            Some(Value::String(text)) if (1..=LONGEST_NAME).contains(&text.len()) => Ok(Some(text.clone())),
            Some(_) => Err(OidcError::untrusted("its logout token has a name that is none", None)),
        };
        let (subject, sid) = (name("sub")?, name("sid")?);
        if subject.is_none() && sid.is_none() {
            return refuse("its logout token says neither whose session ends (sub) nor which (sid)");
        }
        let Some(jti) = name("jti")? else {
            return refuse("its logout token has no name of its own (jti)");
        };
        let (Some(since), Some(until)) = (time(claims, "iat")?, time(claims, "exp")?) else {
            return refuse("its logout token has no time");
        };
        Ok(Self {
            issuer: issuer.to_owned(),
            subject,
            sid,
            jti,
            issued: since,
            expires: until,
            offline: events.get(REVOKE_OFFLINE) == Some(&Value::Bool(true)),
        })
    }
}

/// `exp` is demanded since the final text of the specification; Keycloak before 23 does not send it. Then it is what
/// the specification advises, and Keycloak does since.
fn with_expiry(mut claims: Map<String, Value>) -> Result<Map<String, Value>, OidcError> {
    if let (None, Some(iat)) = (time(&claims, "exp")?, time(&claims, "iat")?) {
        claims.insert("exp".to_owned(), iat.saturating_add(LIFETIME).into());
    }
    Ok(claims)
}

/// The logout tokens that have been seen, until they expire: `jti`, and when it may be forgotten.
#[derive(Debug, Default)]
pub(super) struct Used(Mutex<HashMap<String, Timestamp>>);

impl Used {
    /// Remembers a token; one that is remembered already is refused (section 2.6, step 9).
    fn once(&self, token: &LogoutToken, now: Timestamp, skew: u64) -> Result<(), OidcError> {
        let mut used = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        used.retain(|_, until| *until > now);
        if used.contains_key(&token.jti) {
            return Err(OidcError::untrusted("its logout token has been used before", None));
        }
        if used.len() >= MOST_USED
            && let Some(first) = used.iter().min_by_key(|(_, until)| **until).map(|(jti, _)| jti.clone())
        {
            used.remove(&first);
        }
        let until = token.expires.saturating_add(skew);
        used.insert(token.jti.clone(), until);
        Ok(())
    }
}

const OTHER_KIND: &str = "its logout token is a token of another kind";
/// The member of `events`.
const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";
/// Keycloak's own member of it.
const REVOKE_OFFLINE: &str = "revoke_offline_access";
/// Seconds that a logout token counts when it does not say.
const LIFETIME: u64 = 120;
/// The longest logout token, in bytes.
const LONGEST: usize = 16 * 1024;
/// The longest `sub`, `sid` and `jti`, in bytes.
const LONGEST_NAME: usize = 255;
/// Logout tokens that are remembered. Only the provider can make one, so this is more than an attacker can use up.
const MOST_USED: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remembered_is_bounded_and_forgotten_in_time() {
        let used = Used::default();
        let token = |number: usize| LogoutToken {
            issuer: "https://kc.example/realms/r".to_owned(),
            subject: None,
            sid: Some("s".to_owned()),
            jti: number.to_string(),
            issued: 1000,
            expires: 1120 + u64::try_from(number).unwrap(),
            offline: false,
        };
        for number in 0..MOST_USED + 10 {
            used.once(&token(number), 1000, 30).unwrap();
        }
        assert_eq!(used.0.lock().unwrap().len(), MOST_USED);
        used.once(&token(MOST_USED + 9), 1000, 30).unwrap_err();
        used.once(&token(0), 1000, 30).unwrap();
        used.once(&token(MOST_USED * 2), u64::MAX, 30).unwrap();
        assert_eq!(used.0.lock().unwrap().len(), 1, "the others have expired");
    }
}
