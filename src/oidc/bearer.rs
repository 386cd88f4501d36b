//! Access tokens of API callers (RFC 6750), as Keycloak issues them: verified here, without asking it each time.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};
use thiserror::Error;

use super::claims::{Expected, audience, session, subject, time};
use super::jwt::Jwt;
use super::keys::Source;
use super::{OidcError, Provider};
use crate::identity::Identity;

/// An access token opens nothing here. What it says is for whoever sent it, and shows nothing but what they sent.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BearerError {
    /// It cannot be known now: the provider is away.
    #[error("the access token cannot be verified now")]
    Unavailable(#[source] OidcError),
    /// Longer than any token that a provider makes for people.
    #[error("the access token is longer than 16 KiB")]
    Long,
    /// An ID token, a refresh token, one that needs a proof, …
    #[error("this is not a bearer access token: {0}")]
    Kind(&'static str),
    /// It was valid once.
    #[error("the access token has expired")]
    Expired,
    /// It is not the provider's, or not valid now.
    #[error("the access token is not valid")]
    Invalid(#[source] OidcError),
    /// It was not issued for us.
    #[error(
        "the access token is not for this hub: its audience lacks {client:?} (Keycloak: give the client {azp:?} a mapper of the type Audience, with {client:?} as Included Client Audience and Add to access token on)"
    )]
    Audience {
        /// Our client ID.
        client: String,
        /// For whom it was issued.
        azp: String,
    },
    /// It was issued for a client that may not call.
    #[error("the client {azp:?} may not call this hub")]
    Client {
        /// For whom it was issued.
        azp: String,
    },
    /// It is no person's.
    #[error("the access token is a service account's, not a person's")]
    ServiceAccount,
    /// It does not say whose it is.
    #[error(
        "the access token does not say whose it is: sub is missing (Keycloak: give the client the scope \"basic\")"
    )]
    Nobody,
}

impl Provider {
    /// Verifies an access token that somebody calls us with, and says whose it is.
    pub async fn bearer(&self, token: &str) -> Result<Identity, BearerError> {
        if token.len() > LONGEST {
            return Err(BearerError::Long);
        }
        let jwt = Jwt::parse(token).map_err(BearerError::Invalid)?;
        let media_type = jwt.media_type();
        let known = self.known().await.map_err(BearerError::Unavailable)?;
        let keys = known.keys.as_ref().ok_or_else(|| {
            BearerError::Unavailable(OidcError::Settings {
                what: "access tokens of API callers need provider.issuer".to_owned(),
                source: None,
            })
        })?;
        let claims = match keys.verify(&jwt, Source::Anybody, &self.0.http, &self.0.clock).await {
            Ok(verified) => verified.claims,
            Err(error @ OidcError::Untrusted { .. }) => return Err(BearerError::Invalid(error)),
            Err(error) => return Err(BearerError::Unavailable(error)),
        };
        let expected = self.expected(&known);
        expected.check_issuer(&claims).map_err(BearerError::Invalid)?;
        check_kind(media_type.as_deref(), &claims)?;
        let exp = time(&claims, "exp").map_err(BearerError::Invalid)?;
        if exp.is_some_and(|exp| exp.saturating_add(expected.skew) <= expected.now) {
            return Err(BearerError::Expired);
        }
        expected.check_time(&claims).map_err(BearerError::Invalid)?;
        self.check_caller(&expected, &claims)?;
        if is_service_account(media_type.as_deref(), &claims) && !self.0.service_accounts {
            return Err(BearerError::ServiceAccount);
        }
        let subject = match subject(&claims) {
            Ok(subject) => subject.to_owned(),
            Err(_) if !claims.contains_key("sub") => return Err(BearerError::Nobody),
            Err(error) => return Err(BearerError::Invalid(error)),
        };
        let sid = session(&claims);
        Ok(Identity { issuer: known.issuer.clone(), subject, sid, claims })
    }

    /// For us, and by one of those who may call. Both are needed: a token for us that another client got hold of (by
    /// token exchange, or because its audience is too wide) is not ours to accept.
    fn check_caller(&self, expected: &Expected<'_>, claims: &Map<String, Value>) -> Result<(), BearerError> {
        let text = |name: &str| claims.get(name).and_then(Value::as_str);
        // RFC 9068 calls it `client_id`.
        let azp = text("azp").or_else(|| text("client_id")).unwrap_or_default();
        if !audience(claims).unwrap_or_default().contains(&expected.client) {
            return Err(BearerError::Audience { client: expected.client.to_owned(), azp: shown(azp) });
        }
        if azp == expected.client || self.0.api_clients.iter().any(|client| client == azp) {
            Ok(())
        } else {
            Err(BearerError::Client { azp: shown(azp) })
        }
    }
}

/// The issuer that a token names, whoever made it up: tells whom to ask about it, and nothing else.
pub(super) fn issuer(token: &str) -> Option<String> {
    if token.len() > LONGEST {
        return None;
    }
    let [_header, payload, _signature] = *token.split('.').collect::<Vec<_>>() else { return None };
    let claims: Map<String, Value> = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()?;
    claims.get("iss").and_then(Value::as_str).map(str::to_owned)
}

impl BearerError {
    /// What an administrator can do.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Unavailable(error) => error.remedy(),
            Self::Long => {
                "give fewer roles and groups to the client at the provider (Keycloak: \"Full scope allowed\" off)"
            }
            Self::Kind(_) | Self::Expired | Self::Invalid(_) => {
                "get a new access token from the provider, and send that"
            }
            Self::Audience { .. } => {
                "at the provider, add an audience mapper for provider.client_id to the client that gets the token"
            }
            Self::Client { .. } => {
                "list the client in provider.api_clients, if it may call in the name of people"
            }
            Self::ServiceAccount => {
                "let a person's token be used, or set provider.service_accounts, if a service account may be a user"
            }
            Self::Nobody => "give the client the scope \"basic\" at the provider",
        }
    }

    /// A label for metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Unavailable(_) => "unavailable",
            Self::Long => "long",
            Self::Kind(_) => "kind",
            Self::Expired => "expired",
            Self::Invalid(_) => "invalid",
            Self::Audience { .. } => "audience",
            Self::Client { .. } => "client",
            Self::ServiceAccount => "service_account",
            Self::Nobody => "nobody",
        }
    }
}

/// All tokens of a provider are signed by the same keys, so a token must say that it is an access token: Keycloak does
/// by the claim `typ`, RFC 9068 by the header's.
fn check_kind(media_type: Option<&str>, claims: &Map<String, Value>) -> Result<(), BearerError> {
    match (media_type, claims.get("typ").map(Value::as_str)) {
        (None | Some("jwt" | "at+jwt"), Some(Some("Bearer"))) | (Some("at+jwt"), None) => {}
        (None | Some("jwt" | "at+jwt"), Some(Some("ID"))) => {
            return Err(BearerError::Kind("it is an ID token"));
        }
        _ => return Err(BearerError::Kind("it is a token of another kind")),
    }
    if claims.contains_key("events") {
        return Err(BearerError::Kind("it is a token of another kind"));
    }
    // RFC 7800: whoever stole it can send it as well, but not the proof, which we could not check.
    if claims.contains_key("cnf") {
        return Err(BearerError::Kind("it needs a proof of its key with each use"));
    }
    Ok(())
}

/// Tokens by the client's own secret. Keycloak names them `service-account-…`, which nobody should be called; others
/// name the client itself as the subject.
fn is_service_account(media_type: Option<&str>, claims: &Map<String, Value>) -> bool {
    let text = |name: &str| claims.get(name).and_then(Value::as_str);
    let client = text("client_id").or_else(|| text("clientId"));
    text("preferred_username").is_some_and(|name| name.to_lowercase().starts_with("service-account-"))
        || (client.is_some() && client == text("sub"))
        // RFC 9068 tokens of people name the client, too.
        || (client.is_some() && text("sid").is_none() && media_type != Some("at+jwt"))
}

/// A name from a token, as an error may show it.
fn shown(name: &str) -> String {
    name.chars().take(64).collect()
}

/// The longest access token, in bytes.
const LONGEST: usize = 16 * 1024;
