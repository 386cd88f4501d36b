//! `[provider]`, or `[[provider]]` for each of several: who people are.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use url::Url;

use super::units::Span;
use crate::secret::{Secret, SecretError, SecretSource};

/// `[provider]`: either `issuer`, or the three URLs.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provider {
    /// What it is called in rules, logs and addresses; needed where there are several.
    pub name: Option<String>,
    /// What people read where they choose among several; default: the name.
    pub title: Option<String>,
    /// A host name at which people sign in here and nowhere else; at `public.url` they choose among the others.
    pub host: Option<String>,
    /// Everything else is found from it (OpenID Connect Discovery 1.0).
    pub issuer: Option<String>,
    /// What it called itself before: whoever was known by that name of its is the same person now.
    #[serde(default)]
    pub former_issuers: Vec<String>,
    /// Where the issuer's description is read, when not below the issuer: an address inside, of a provider that calls
    /// itself by its public one.
    pub discovery_url: Option<Url>,
    /// Where browsers sign in.
    pub authorize_url: Option<Url>,
    /// Where codes become tokens.
    pub token_url: Option<Url>,
    /// Where the claims are.
    pub userdata_url: Option<Url>,
    /// Where browsers sign out; with `issuer` it is found.
    pub logout_url: Option<Url>,
    /// This hub's name at the provider.
    pub client_id: String,
    /// How hubgate proves at the provider that it is this client.
    #[serde(default)]
    pub client_authentication: ClientAuthentication,
    /// Its secret there.
    pub client_secret: Option<SecretSource>,
    /// Its private key (PEM), for `private_key_jwt`.
    pub client_key: Option<SecretSource>,
    /// What the provider calls that key (`kid`), if it has several.
    pub client_key_id: Option<String>,
    /// How that key signs, where it can in several ways.
    pub client_key_algorithm: Option<SigningAlgorithm>,
    /// The authorities that the provider's certificate may come from, in place of the system's.
    pub ca_file: Option<PathBuf>,
    /// What is asked for. With `issuer`, `openid` must be among them.
    #[serde(default = "Provider::default_scopes")]
    pub scopes: Vec<String>,
    /// Hands each request for a login to the provider directly, and sends browsers with no more than a reference to it
    /// (RFC 9126). Where the provider demands it, it is done anyway.
    #[serde(default)]
    pub pushed_requests: bool,
    /// How the provider's answer comes back.
    #[serde(default)]
    pub response_mode: ResponseMode,
    /// How well people must be authenticated: one of these must have been reached.
    #[serde(default)]
    pub acr_values: Vec<String>,
    /// Whoever signed in at the provider longer ago must do so again.
    pub max_age: Option<Span>,
    /// The identity providers behind Keycloak that `/hub/login?idp=…` may lead to.
    #[serde(default)]
    pub identity_provider_hints: Vec<String>,
    /// How the provider's tokens may be signed.
    #[serde(default = "Provider::default_signing_algorithms")]
    pub signing_algorithms: Vec<SigningAlgorithm>,
    /// Others than this client for whom an ID token may be, too.
    #[serde(default)]
    pub trusted_audiences: Vec<String>,
    /// The clients whose access tokens may call the hub's API.
    #[serde(default)]
    pub api_clients: Vec<String>,
    /// Whether a client may call the API as itself, by a token of its service account, as if that were a person.
    #[serde(default)]
    pub service_accounts: bool,
    /// The claim that names the user.
    #[serde(default = "Provider::default_username_claim")]
    pub username_claim: String,
    /// The claim with the user's groups.
    #[serde(default = "Provider::default_groups_claim")]
    pub groups_claim: String,
    /// How far the provider's clock may be from ours.
    #[serde(default = "Provider::default_clock_skew")]
    pub clock_skew: Span,
    /// How long one call to the provider may take.
    #[serde(default = "Provider::default_timeout")]
    pub timeout: Span,
    /// Allows a provider without TLS that is not on this machine.
    #[serde(default)]
    pub insecure_http: bool,
}

impl Provider {
    /// What `issuer`, `client_id` and `client_secret` alone say.
    pub fn of_issuer(
        issuer: impl Into<String>,
        client_id: impl Into<String>,
        client_secret: SecretSource,
    ) -> Self {
        Self {
            name: None,
            title: None,
            host: None,
            issuer: Some(issuer.into()),
            former_issuers: Vec::new(),
            discovery_url: None,
            authorize_url: None,
            token_url: None,
            userdata_url: None,
            logout_url: None,
            client_id: client_id.into(),
            client_authentication: ClientAuthentication::default(),
            client_secret: Some(client_secret),
            client_key: None,
            client_key_id: None,
            client_key_algorithm: None,
            ca_file: None,
            scopes: Self::default_scopes(),
            pushed_requests: false,
            response_mode: ResponseMode::default(),
            acr_values: Vec::new(),
            max_age: None,
            identity_provider_hints: Vec::new(),
            signing_algorithms: Self::default_signing_algorithms(),
            trusted_audiences: Vec::new(),
            api_clients: Vec::new(),
            service_accounts: false,
            username_claim: Self::default_username_claim(),
            groups_claim: Self::default_groups_claim(),
            clock_skew: Self::default_clock_skew(),
            timeout: Self::default_timeout(),
            insecure_http: false,
        }
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        self.name.as_deref().unwrap_or("main")
    }

    /// What hubgate proves with that it is this client: its secret, or its key.
    pub fn credential(&self) -> Result<Secret, SecretError> {
        let (key, source) = match self.client_authentication {
            ClientAuthentication::ClientSecretBasic | ClientAuthentication::ClientSecretPost => {
                ("provider.client_secret", &self.client_secret)
            }
            ClientAuthentication::PrivateKeyJwt => ("provider.client_key", &self.client_key),
        };
        source.as_ref().ok_or(SecretError::Missing { key })?.read()
    }

    fn default_scopes() -> Vec<String> {
        ["openid", "profile", "email"].map(str::to_owned).to_vec()
    }
    fn default_signing_algorithms() -> Vec<SigningAlgorithm> {
        vec![SigningAlgorithm::Rs256]
    }
    fn default_username_claim() -> String {
        "preferred_username".to_owned()
    }
    fn default_groups_claim() -> String {
        "groups".to_owned()
    }
    fn default_clock_skew() -> Span {
        Span::seconds(30)
    }
    fn default_timeout() -> Span {
        Span::seconds(10)
    }
}

/// How a client proves who it is (OpenID Connect Core 1.0, section 9).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientAuthentication {
    /// By its secret, in a header.
    #[default]
    ClientSecretBasic,
    /// By its secret, in the body.
    ClientSecretPost,
    /// By a statement that its private key signs: no secret is sent anywhere.
    PrivateKeyJwt,
}

/// How the provider's answer to a login comes back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResponseMode {
    /// In the address of the callback.
    #[default]
    Query,
    /// In a form that the browser sends to the callback.
    FormPost,
}

/// A way to sign a token (RFC 7518 section 3.1, RFC 8037). Never `none`, and never one whose key both sides know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[expect(missing_docs, reason = "the names are the standard's")]
pub enum SigningAlgorithm {
    #[serde(rename = "RS256")]
    Rs256,
    #[serde(rename = "RS384")]
    Rs384,
    #[serde(rename = "RS512")]
    Rs512,
    #[serde(rename = "PS256")]
    Ps256,
    #[serde(rename = "PS384")]
    Ps384,
    #[serde(rename = "PS512")]
    Ps512,
    #[serde(rename = "ES256")]
    Es256,
    #[serde(rename = "ES384")]
    Es384,
    #[serde(rename = "EdDSA")]
    EdDsa,
}
