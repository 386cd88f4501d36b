//! What a login asks of the provider: by the browser, or handed over beforehand (PAR, RFC 9126).

use oauth2::basic::BasicClient;
use oauth2::{AuthUrl, ClientId, CsrfToken, PkceCodeChallenge, PkceCodeVerifier, RedirectUrl, Scope};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use url::Url;

use super::discovery::Known;
use super::exchange::answered;
use super::{Login, OidcError, Provider};
use crate::config::{self, ResponseMode};
use crate::seal::random_text;

/// What is wanted of a login; by default, an ordinary one.
#[derive(Debug, Clone, Default)]
pub struct Want {
    /// The provider may show no page: whoever is not signed in there already is refused.
    pub prompt_none: bool,
    /// A stronger or fresher proof than an ordinary login's.
    pub step_up: Option<StepUp>,
    /// The identity provider behind Keycloak to go to. One that the configuration does not list is left out.
    pub idp_hint: Option<String>,
    /// Whom the login page may suggest.
    pub login_hint: Option<String>,
}

/// How a person must be authenticated for what they are about to do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepUp {
    /// One of these must have been reached, the best first. Empty: those of the configuration.
    pub acr_values: Vec<String>,
    /// So many seconds ago at most. `None`: as the configuration says.
    pub max_age: Option<u64>,
}

/// What the configuration says of every login.
#[derive(Debug)]
pub(super) struct Requests {
    pushed: bool,
    response_mode: ResponseMode,
    acr_values: Vec<String>,
    /// Seconds.
    max_age: Option<u64>,
    identity_provider_hints: Vec<String>,
}

impl Requests {
    pub(super) fn new(config: &config::Provider) -> Self {
        Self {
            pushed: config.pushed_requests,
            response_mode: config.response_mode,
            acr_values: config.acr_values.clone(),
            max_age: config.max_age.map(|age| age.0.as_secs()),
            identity_provider_hints: config.identity_provider_hints.clone(),
        }
    }
}

impl Provider {
    /// Begins a login: where to send the browser, and what must come back with it.
    pub async fn begin(&self, want: &Want) -> Result<(Url, Login), OidcError> {
        let known = self.known().await?;
        self.is_there(&known).await?;
        let step_up = want.step_up.clone().unwrap_or_default();
        let requests = &self.0.requests;
        let login = Login {
            state: random_text::<RANDOM_BYTES>(),
            nonce: random_text::<RANDOM_BYTES>(),
            verifier: random_text::<RANDOM_BYTES>(),
            issuer: known.issuer.clone(),
            acr_values: Some(step_up.acr_values)
                .filter(|values| !values.is_empty())
                .unwrap_or_else(|| requests.acr_values.clone()),
            max_age: step_up.max_age.or(requests.max_age),
        };
        let url = self.address(&known, want, &login);
        let url = match pushed(requests.pushed, &known)? {
            Some(endpoint) => self.push(&known, endpoint, &url).await?,
            None => url,
        };
        Ok((url, login))
    }

    /// How the answer will come back.
    pub fn response_mode(&self) -> ResponseMode {
        self.0.requests.response_mode
    }

    /// The whole request, as a browser would carry it.
    fn address(&self, known: &Known, want: &Want, login: &Login) -> Url {
        let client = &self.0.client;
        let verifier = PkceCodeVerifier::new(login.verifier.clone());
        let oauth = BasicClient::new(ClientId::new(client.id.clone()))
            .set_auth_uri(AuthUrl::from_url(known.authorize.clone()))
            .set_redirect_uri(RedirectUrl::from_url(client.callback.clone()));
        let mut request = oauth
            .authorize_url(|| CsrfToken::new(login.state.clone()))
            .set_pkce_challenge(PkceCodeChallenge::from_code_verifier_sha256(&verifier))
            .add_scopes(client.scopes.iter().cloned().map(Scope::new));
        for (name, value) in self.extras(known, want, login) {
            request = request.add_extra_param(name, value);
        }
        request.url().0
    }

    /// What OAuth 2.0 alone does not know.
    fn extras(&self, known: &Known, want: &Want, login: &Login) -> Vec<(&'static str, String)> {
        let client = &self.0.client;
        let mut all = Vec::new();
        if known.keys.is_some() {
            all.push(("nonce", login.nonce.clone()));
        }
        if self.0.requests.response_mode == ResponseMode::FormPost {
            all.push(("response_mode", "form_post".to_owned()));
        }
        if want.prompt_none {
            all.push(("prompt", "none".to_owned()));
        } else if client.scopes.iter().any(|scope| scope == "offline_access") {
            // Section 11: without it the scope is ignored.
            all.push(("prompt", "consent".to_owned()));
        }
        if !login.acr_values.is_empty() {
            all.push(("acr_values", login.acr_values.join(" ")));
        }
        if let Some(age) = login.max_age {
            all.push(("max_age", age.to_string()));
        }
        let listed = |hint: &&String| self.0.requests.identity_provider_hints.contains(hint);
        if let Some(hint) = want.idp_hint.as_ref().filter(listed) {
            all.push(("kc_idp_hint", hint.clone()));
        }
        if let Some(hint) = &want.login_hint {
            all.push(("login_hint", hint.clone()));
        }
        all
    }

    /// Hands the request over, and gets what browsers are to carry in its place: good once, and not for long.
    async fn push(&self, known: &Known, endpoint: &Url, address: &Url) -> Result<Url, OidcError> {
        // What the endpoint's own address has is not ours to hand over.
        let own = known.authorize.query_pairs().count();
        let all: Vec<_> = address.query_pairs().skip(own).collect();
        let pairs: Vec<_> = all.iter().map(|(name, value)| (&**name, &**value)).collect();
        let request = self.authenticated(known, endpoint, &pairs)?;
        let response = Box::pin(self.0.http.json(request)).await?;
        let fields = answered(response.status(), response.body())?;
        let reference = (fields.get("request_uri").and_then(Value::as_str))
            .filter(|reference| (1..=LONGEST_REFERENCE).contains(&reference.len()))
            .ok_or_else(|| OidcError::untrusted("it took a request and gave no request_uri for it", None))?;
        let mut url = known.authorize.clone();
        url.query_pairs_mut()
            .append_pair("client_id", &self.0.client.id)
            .append_pair("request_uri", reference);
        Ok(url)
    }
}

/// Where requests are handed over, if they are.
fn pushed(wanted: bool, known: &Known) -> Result<Option<&Url>, OidcError> {
    match &known.pushed {
        Some(endpoint) if wanted || known.pushed_required => Ok(Some(endpoint)),
        None if wanted || known.pushed_required => Err(OidcError::Settings {
            what: "requests are to be pushed, and it has no pushed_authorization_request_endpoint".to_owned(),
            source: None,
        }),
        Some(_) | None => Ok(None),
    }
}

/// 256 bits.
const RANDOM_BYTES: usize = 32;
/// The longest reference to a pushed request, in bytes: it goes into an address.
const LONGEST_REFERENCE: usize = 1024;
