//! What the provider says of itself (OpenID Connect Discovery 1.0), or what the configuration says of it.

use openidconnect::core::{
    CoreAuthDisplay, CoreClaimName, CoreClaimType, CoreClientAuthMethod, CoreGrantType, CoreJsonWebKey,
    CoreJweContentEncryptionAlgorithm, CoreJweKeyManagementAlgorithm, CoreJwsSigningAlgorithm as Algorithm,
    CoreResponseMode, CoreResponseType, CoreSubjectIdentifierType,
};
use openidconnect::{AdditionalProviderMetadata, ProviderMetadata};
use serde::{Deserialize, Serialize};
use tracing::warn;
use url::Url;

use super::http::{Http, place};
use super::jwt::algorithms;
use super::keys::Keys;
use super::{Detail, OidcError, get};
use crate::config;

/// How the configuration describes the provider.
#[derive(Debug)]
pub(super) enum Description {
    /// By its issuer, as written.
    Issuer { issuer: String, document: Url, algorithms: Vec<Algorithm> },
    /// By three URLs: OAuth 2.0 without OpenID Connect.
    Explicit { authorize: Url, token: Url, userinfo: Url },
}

/// What there is to know of the provider.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) issuer: String,
    pub(super) authorize: Url,
    pub(super) token: Url,
    pub(super) userinfo: Option<Url>,
    pub(super) logout: Option<Url>,
    /// RFC 7009.
    pub(super) revocation: Option<Url>,
    /// Where requests can be handed over (RFC 9126).
    pub(super) pushed: Option<Url>,
    /// It takes no others.
    pub(super) pushed_required: bool,
    pub(super) iss: Iss,
    /// `None`: it is described by URLs, and its ID tokens are not looked at.
    pub(super) keys: Option<Keys>,
}

/// What its answers must say of who sends them (RFC 9207).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Iss {
    /// It always says it.
    Required,
    /// It may leave it out.
    IfPresent,
    /// We do not know its issuer.
    Unknown,
}

impl Known {
    /// For whom a proof of who we are is (RFC 7523 section 3): the issuer, where we know it. Keycloak takes it at all of
    /// its endpoints.
    pub(super) fn audience(&self) -> &str {
        if self.iss == Iss::Unknown { self.token.as_str() } else { &self.issuer }
    }
}

impl Description {
    /// From the configuration, if it can be used safely.
    pub(super) fn new(config: &config::Provider, http: &Http) -> Result<Self, OidcError> {
        match (&config.issuer, &config.authorize_url, &config.token_url, &config.userdata_url) {
            (Some(issuer), None, None, None) => {
                if !config.scopes.iter().any(|scope| scope == "openid") {
                    return Err(unusable("provider.scopes lacks \"openid\", which provider.issuer needs"));
                }
                let document = document(issuer, config.discovery_url.as_ref(), http)?;
                let algorithms = algorithms(&config.signing_algorithms);
                Ok(Self::Issuer { issuer: issuer.clone(), document, algorithms })
            }
            (None, Some(authorize), Some(token), Some(userinfo)) => {
                http.check("provider.authorize_url", authorize)?;
                http.check("provider.token_url", token)?;
                http.check("provider.userdata_url", userinfo)?;
                Ok(Self::Explicit {
                    authorize: authorize.clone(),
                    token: token.clone(),
                    userinfo: userinfo.clone(),
                })
            }
            _ => Err(unusable(
                "either provider.issuer is needed, or provider.authorize_url, token_url and userdata_url",
            )),
        }
    }

    /// Whether the configuration calls it so. Described by URLs, it has no name there.
    pub(super) fn is_issuer(&self, issuer: &str) -> bool {
        match self {
            Self::Issuer { issuer: own, .. } => own == issuer,
            Self::Explicit { .. } => false,
        }
    }

    /// What it calls itself, as far as that is known without asking it.
    pub(super) fn issuer(&self) -> &str {
        match self {
            Self::Issuer { issuer, .. } => issuer,
            Self::Explicit { authorize, .. } => realm(authorize).unwrap_or(authorize.as_str()),
        }
    }

    /// Asks the provider for what the configuration does not say.
    pub(super) async fn resolve(&self, http: &Http) -> Result<Known, OidcError> {
        match self {
            Self::Issuer { issuer, document, algorithms } => {
                discover(issuer, document, algorithms.clone(), http).await
            }
            Self::Explicit { authorize, token, userinfo } => Ok(Known {
                issuer: self.issuer().to_owned(),
                authorize: authorize.clone(),
                token: token.clone(),
                userinfo: Some(userinfo.clone()),
                logout: None,
                revocation: None,
                pushed: None,
                pushed_required: false,
                iss: if realm(authorize).is_some() { Iss::IfPresent } else { Iss::Unknown },
                keys: None,
            }),
        }
    }
}

/// Keycloak's issuer, from its authorization endpoint.
fn realm(authorize: &Url) -> Option<&str> {
    authorize.as_str().strip_suffix(KEYCLOAK_AUTHORIZE)
}

/// Where the description is read: below the issuer, or where the configuration says.
fn document(issuer: &str, elsewhere: Option<&Url>, http: &Http) -> Result<Url, OidcError> {
    let mut url =
        Url::parse(issuer).map_err(|source| OidcError::settings("provider.issuer is no URL", source))?;
    http.check("provider.issuer", &url)?;
    if url.query().is_some() {
        return Err(unusable("provider.issuer has a query, which an issuer cannot have"));
    }
    if let Some(url) = elsewhere {
        http.check("provider.discovery_url", url)?;
        return Ok(url.clone());
    }
    // Discovery 1.0 section 4.1: a slash at the end is taken away first.
    let path = format!("{}/.well-known/openid-configuration", url.path().trim_end_matches('/'));
    url.set_path(&path);
    Ok(url)
}

async fn discover(
    issuer: &str,
    document: &Url,
    algorithms: Vec<Algorithm>,
    http: &Http,
) -> Result<Known, OidcError> {
    let response = http.json(get(document)?).await?;
    if !response.status().is_success() {
        return Err(OidcError::Settings {
            what: format!("{} is not there", place(document)),
            source: Some(Detail(format!("it answers {}", response.status())).into()),
        });
    }
    let metadata = read(response.body(), issuer, document, &algorithms, http)?;
    let keys = Keys::fetch(metadata.jwks_uri().url().clone(), algorithms, http).await?;
    Known::new(&metadata, keys)
}

impl Known {
    /// From a description that was read.
    pub(super) fn new(metadata: &Metadata, keys: Keys) -> Result<Self, OidcError> {
        let extra = metadata.additional_metadata();
        Ok(Self {
            issuer: metadata.issuer().to_string(),
            authorize: metadata.authorization_endpoint().url().clone(),
            token: token_endpoint(metadata)?.clone(),
            userinfo: metadata.userinfo_endpoint().map(|userinfo| userinfo.url().clone()),
            logout: extra.end_session_endpoint.clone(),
            revocation: extra.revocation_endpoint.clone(),
            pushed: extra.pushed_authorization_request_endpoint.clone(),
            pushed_required: extra.require_pushed_authorization_requests,
            iss: if extra.authorization_response_iss_parameter_supported {
                Iss::Required
            } else {
                Iss::IfPresent
            },
            keys: Some(keys),
        })
    }
}

/// Those of other flows than ours may lack one.
fn token_endpoint(metadata: &Metadata) -> Result<&Url, OidcError> {
    let endpoint = metadata.token_endpoint().ok_or_else(|| unusable("it has no token_endpoint"))?;
    Ok(endpoint.url())
}

/// A description that can be used safely.
pub(super) fn read(
    body: &[u8],
    issuer: &str,
    document: &Url,
    algorithms: &[Algorithm],
    http: &Http,
) -> Result<Metadata, OidcError> {
    let metadata: Metadata = serde_json::from_slice(body).map_err(|source| {
        OidcError::settings(format!("{} is not the description of a provider", place(document)), source)
    })?;
    let found = metadata.issuer().as_str();
    if found != issuer {
        return Err(unusable(format!(
            "it calls itself {found:?}, but provider.issuer is {issuer:?}; they must be the same, to the last slash"
        )));
    }
    check_pkce(metadata.additional_metadata().code_challenge_methods_supported.as_deref())?;
    let userinfo = metadata.userinfo_endpoint().map(openidconnect::UserInfoUrl::url);
    let extra = metadata.additional_metadata();
    http.check("authorization_endpoint", metadata.authorization_endpoint().url())?;
    http.check("token_endpoint", token_endpoint(&metadata)?)?;
    http.check("jwks_uri", metadata.jwks_uri().url())?;
    for (name, url) in [
        ("userinfo_endpoint", userinfo),
        ("end_session_endpoint", extra.end_session_endpoint.as_ref()),
        ("revocation_endpoint", extra.revocation_endpoint.as_ref()),
        ("pushed_authorization_request_endpoint", extra.pushed_authorization_request_endpoint.as_ref()),
    ] {
        url.map_or(Ok(()), |url| http.check(name, url))?;
    }
    let signs = metadata.id_token_signing_alg_values_supported();
    if !signs.iter().any(|algorithm| algorithms.contains(algorithm)) {
        return Err(unusable(format!(
            "it signs ID tokens by {signs:?}, and provider.signing_algorithms has none of these"
        )));
    }
    Ok(metadata)
}

/// RFC 9700 section 2.1.1. Whoever lists nothing may well support it: S256 is sent in any case.
fn check_pkce(methods: Option<&[String]>) -> Result<(), OidcError> {
    let lists = |wanted: &str| methods.unwrap_or_default().iter().any(|method| method == wanted);
    if lists("S256") {
        return Ok(());
    }
    if lists("plain") {
        return Err(unusable("it supports PKCE by \"plain\" only, which protects nothing"));
    }
    warn!(
        "the provider does not say that it supports PKCE (S256): a stolen code is then stopped by the nonce only"
    );
    Ok(())
}

fn unusable(what: impl Into<String>) -> OidcError {
    OidcError::Settings { what: what.into(), source: None }
}

pub(super) type Metadata = ProviderMetadata<
    Extra,
    CoreAuthDisplay,
    CoreClientAuthMethod,
    CoreClaimName,
    CoreClaimType,
    CoreGrantType,
    CoreJweContentEncryptionAlgorithm,
    CoreJweKeyManagementAlgorithm,
    CoreJsonWebKey,
    CoreResponseMode,
    CoreResponseType,
    CoreSubjectIdentifierType,
>;

/// What openidconnect does not know of.
#[derive(Debug, Clone, Deserialize, Serialize)]
pub(super) struct Extra {
    /// RFC 8414.
    code_challenge_methods_supported: Option<Vec<String>>,
    /// RFC 9207.
    #[serde(default)]
    authorization_response_iss_parameter_supported: bool,
    /// RP-Initiated Logout 1.0.
    end_session_endpoint: Option<Url>,
    /// RFC 7009.
    revocation_endpoint: Option<Url>,
    /// RFC 9126.
    pushed_authorization_request_endpoint: Option<Url>,
    /// RFC 9126.
    #[serde(default)]
    require_pushed_authorization_requests: bool,
}

impl AdditionalProviderMetadata for Extra {}

/// What follows the issuer in Keycloak's authorization endpoint.
const KEYCLOAK_AUTHORIZE: &str = "/protocol/openid-connect/auth";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_pkce_alone_is_refused() {
        let methods = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert!(check_pkce(Some(&methods(&["plain", "S256"]))).is_ok());
        assert!(check_pkce(None).is_ok());
        assert!(check_pkce(Some(&[])).is_ok());
        assert!(check_pkce(Some(&methods(&["plain"]))).is_err());
    }
}
