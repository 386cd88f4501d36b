//! One login: the authorization URL; code and state become an identity.

use std::fmt;
use std::sync::Arc;

use http::header::{AUTHORIZATION, HeaderValue};
use oauth2::basic::{
    BasicErrorResponse, BasicRevocationErrorResponse, BasicTokenIntrospectionResponse, BasicTokenType,
};
use oauth2::{
    AuthUrl, AuthorizationCode, ClientId, ClientSecret, CsrfToken, ExtraTokenFields, PkceCodeChallenge,
    PkceCodeVerifier, RedirectUrl, RequestTokenError, Scope, StandardRevocableToken, StandardTokenResponse,
    TokenResponse as _, TokenUrl,
};
use openidconnect::Nonce;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use subtle::ConstantTimeEq as _;
use tracing::debug;
use url::Url;

use super::answer::{Answer, error_code, error_text};
use super::claims::{Expected, check_access_token, merge, subject};
use super::discovery::{Iss, Known};
use super::http::media_type;
use super::jwt::Jwt;
use super::keys::Keys;
use super::{Client, OidcError, Provider, Tokens, get};
use crate::identity::Identity;
use crate::secret::Secret;

/// What a login attempt must remember, sealed in the browser's cookie.
#[derive(Clone, Serialize, Deserialize)]
pub struct Login {
    /// Comes back with the answer; also names the attempt's cookie.
    pub state: String,
    /// Comes back in the ID token.
    pub nonce: String,
    /// Proves to the token endpoint that we began (RFC 7636).
    pub verifier: String,
    /// Whom the browser was sent to (RFC 9700 section 4.4.2).
    pub issuer: String,
}

impl Provider {
    /// Begins a login: where to send the browser, and what must come back with it.
    pub async fn begin(&self) -> Result<(Url, Login), OidcError> {
        let known = self.known().await?;
        let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
        let nonce = Nonce::new_random_len(RANDOM_BYTES);
        let client = self.oauth(&known)?;
        let mut request = client
            .authorize_url(|| CsrfToken::new_random_len(RANDOM_BYTES))
            .set_pkce_challenge(challenge)
            .add_scopes(self.0.client.scopes.iter().cloned().map(Scope::new));
        if known.keys.is_some() {
            request = request.add_extra_param("nonce", nonce.secret().clone());
        }
        let (url, state) = request.url();
        let login = Login {
            state: state.into_secret(),
            nonce: nonce.secret().clone(),
            verifier: verifier.into_secret(),
            issuer: known.issuer.clone(),
        };
        Ok((url, login))
    }

    /// Ends a login: checks everything, and says who it is.
    pub async fn finish(&self, login: &Login, answer: &Answer) -> Result<(Identity, Tokens), OidcError> {
        if !bool::from(login.state.as_bytes().ct_eq(answer.state.as_bytes())) {
            return Err(OidcError::Mismatch("its state is another's"));
        }
        let known = self.known().await?;
        if login.issuer != known.issuer {
            return Err(OidcError::Mismatch("it began at another provider"));
        }
        check_iss(&known, answer)?;
        let code = match &answer.outcome {
            Ok(code) => code.clone(),
            Err((error, description)) => {
                return Err(OidcError::Refused { error: error.clone(), description: description.clone() });
            }
        };
        let response = self.exchange(&known, code, &login.verifier).await?;
        let access_token = response.access_token().secret();
        let id_token = response.extra_fields().id_token.as_deref();
        let identity = match &known.keys {
            Some(keys) => {
                let id_token = id_token
                    .ok_or_else(|| OidcError::untrusted("there is no ID token in its answer", None))?;
                self.identity(&known, keys, login, id_token, access_token).await?
            }
            None => self.identity_by_userinfo(&known, access_token).await?,
        };
        let tokens = Tokens {
            id_token: id_token.map(Secret::new),
            access_token: Some(Secret::new(access_token)),
            refresh_token: response.refresh_token().map(|token| Secret::new(token.secret())),
        };
        Ok((identity, tokens))
    }

    async fn exchange(
        &self,
        known: &Known,
        code: String,
        verifier: &str,
    ) -> Result<TokenResponse, OidcError> {
        let client = self.oauth(known)?;
        // Owns what it uses: a closure that borrows makes a future that cannot go to another thread (rust-lang/rust
        // issue 110338).
        let provider = Arc::clone(&self.0);
        let send = move |request| {
            let provider = Arc::clone(&provider);
            async move { provider.http.json(request).await }
        };
        let request = client
            .exchange_code(AuthorizationCode::new(code))
            .set_pkce_verifier(PkceCodeVerifier::new(verifier.to_owned()));
        let response = Box::pin(request.request_async(&send)).await.map_err(token_error)?;
        // Anything else needs a proof with each use, which we could not give.
        if *response.token_type() != BasicTokenType::Bearer {
            return Err(OidcError::untrusted("its access token is not a bearer token", None));
        }
        Ok(response)
    }

    /// Who the ID token says it is, with what userinfo and the access token add.
    async fn identity(
        &self,
        known: &Known,
        keys: &Keys,
        login: &Login,
        id_token: &str,
        access_token: &str,
    ) -> Result<Identity, OidcError> {
        let expected = Expected {
            issuer: &known.issuer,
            client: &self.0.client.id,
            nonce: &login.nonce,
            now: self.0.clock.now(),
            skew: self.0.skew,
        };
        let jwt = Jwt::parse(id_token)?;
        // `logout+jwt` and `at+jwt` are signed by the same keys.
        if !matches!(jwt.media_type().as_deref(), None | Some("jwt")) {
            return Err(OidcError::untrusted("its ID token is a token of another kind", jwt.media_type()));
        }
        let verified = keys.verify(&jwt, &self.0.http, &self.0.clock).await?;
        expected.check(&verified.claims)?;
        check_access_token(&verified, access_token)?;
        let subject = subject(&verified.claims)?.to_owned();
        let sid = verified.claims.get("sid").and_then(Value::as_str).map(str::to_owned);
        let mut claims = verified.claims;
        if let Some(userinfo) = &known.userinfo {
            let userinfo = self.userinfo(userinfo, access_token).await?;
            // Section 5.3.2: else one person's profile could be put under another's name.
            if userinfo.get("sub").and_then(Value::as_str) != Some(&subject) {
                return Err(OidcError::untrusted("its userinfo is about somebody else", None));
            }
            claims = merge(claims, userinfo);
        }
        for (name, value) in keycloak_roles(&expected, keys, access_token, &subject) {
            claims.entry(name).or_insert(value);
        }
        Ok(Identity { issuer: known.issuer.clone(), subject, sid, claims })
    }

    /// OAuth 2.0 without OpenID Connect: whose access token it is, is all there is to know.
    async fn identity_by_userinfo(&self, known: &Known, access_token: &str) -> Result<Identity, OidcError> {
        let claims = match &known.userinfo {
            Some(userinfo) => self.userinfo(userinfo, access_token).await?,
            None => Map::new(),
        };
        let subject = subject(&claims)?.to_owned();
        Ok(Identity { issuer: known.issuer.clone(), subject, sid: None, claims })
    }

    async fn userinfo(&self, url: &Url, access_token: &str) -> Result<Map<String, Value>, OidcError> {
        let mut bearer = HeaderValue::from_str(&format!("Bearer {access_token}"))
            .map_err(|_private| OidcError::untrusted("its access token is malformed", None))?;
        bearer.set_sensitive(true);
        let mut request = get(url)?;
        request.headers_mut().insert(AUTHORIZATION, bearer);
        let response = self.0.http.call(request).await?;
        let body = response.body();
        if !response.status().is_success() {
            return Err(refusal(body).unwrap_or(OidcError::Refused {
                error: "userinfo".to_owned(),
                description: Some(format!("it answers {}", response.status())),
            }));
        }
        if media_type(&response).as_deref() == Some("application/jwt") {
            return Err(OidcError::Settings {
                what: "userinfo is signed (application/jwt); let the client get it as plain JSON (Keycloak: user info signed response algorithm)".to_owned(),
                source: None,
            });
        }
        match serde_json::from_slice(body) {
            Ok(Value::Object(claims)) => Ok(claims),
            Ok(_) => Err(OidcError::untrusted("its userinfo is not a JSON object", None)),
            Err(source) => Err(OidcError::unreachable(super::http::place(url), source)),
        }
    }

    fn oauth(&self, known: &Known) -> Result<OauthClient, OidcError> {
        let Client { id, secret, callback, .. } = &self.0.client;
        let url = |error| OidcError::settings("an endpoint is no URL", error);
        Ok(oauth2::Client::new(ClientId::new(id.clone()))
            // client_secret_basic: RFC 6749 section 2.3.1.
            .set_client_secret(ClientSecret::new(secret.expose().to_owned()))
            .set_auth_uri(AuthUrl::new(known.authorize.to_string()).map_err(url)?)
            .set_token_uri(TokenUrl::new(known.token.to_string()).map_err(url)?)
            .set_redirect_uri(RedirectUrl::new(callback.to_string()).map_err(url)?))
    }
}

// Whoever knows the verifier and the state can end the login elsewhere.
impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").field("issuer", &self.issuer).finish_non_exhaustive()
    }
}

/// RFC 9207 section 2.4, by simple string comparison; errors are answers too.
fn check_iss(known: &Known, answer: &Answer) -> Result<(), OidcError> {
    match (known.iss, answer.iss.as_deref()) {
        (Iss::Unknown, _) | (Iss::IfPresent, None) => Ok(()),
        (Iss::Required, None) => Err(OidcError::Mismatch(
            "it does not say which provider it comes from (iss), as this one promises (Keycloak: \"Exclude Issuer From Authentication Response\" must be off)",
        )),
        (Iss::Required | Iss::IfPresent, Some(iss)) if iss == known.issuer => Ok(()),
        (Iss::Required | Iss::IfPresent, Some(_)) => {
            Err(OidcError::Mismatch("it comes from another provider"))
        }
    }
}

/// Keycloak writes roles into the access token only, unless it is told otherwise. They count if the token is signed by
/// the same keys, for us, about the same person. Anything else is another service's business.
fn keycloak_roles(
    expected: &Expected<'_>,
    keys: &Keys,
    access_token: &str,
    subject: &str,
) -> impl Iterator<Item = (String, Value)> {
    let ours = |claims: &Map<String, Value>| {
        let is = |name: &str, wanted: &str| claims.get(name).and_then(Value::as_str) == Some(wanted);
        is("typ", "Bearer")
            && is("azp", expected.client)
            // Lightweight tokens have no `sub`.
            && (is("sub", subject) || !claims.contains_key("sub"))
            && expected.check_issuer(claims).is_ok()
            && expected.check_time(claims).is_ok()
    };
    let claims =
        Jwt::parse(access_token).ok().and_then(|jwt| keys.verify_now(&jwt)).map(|verified| verified.claims);
    let claims = claims.filter(ours);
    if claims.is_none() {
        debug!("the access token says nothing about roles");
    }
    claims.into_iter().flatten().filter(|(name, _)| name == "realm_access" || name == "resource_access")
}

/// The error in a body, as RFC 6749 section 5.2 writes it.
fn refusal(body: &[u8]) -> Option<OidcError> {
    let response: BasicErrorResponse = serde_json::from_slice(body).ok()?;
    Some(refused(&response))
}

fn refused(response: &BasicErrorResponse) -> OidcError {
    OidcError::Refused {
        error: error_code(response.error().as_ref()),
        description: response.error_description().map(|text| error_text(text)),
    }
}

fn token_error(error: RequestTokenError<OidcError, BasicErrorResponse>) -> OidcError {
    const WHAT: &str = "the answer of its token endpoint is malformed";
    match error {
        RequestTokenError::Request(error) => error,
        RequestTokenError::ServerResponse(response) => refused(&response),
        // The cause may show tokens; where it was found does not.
        RequestTokenError::Parse(error, body) => {
            refusal(&body).unwrap_or_else(|| OidcError::untrusted(WHAT, Some(format!("at {}", error.path()))))
        }
        RequestTokenError::Other(detail) => OidcError::untrusted(WHAT, Some(detail)),
    }
}

type OauthClient = oauth2::Client<
    BasicErrorResponse,
    TokenResponse,
    BasicTokenIntrospectionResponse,
    StandardRevocableToken,
    BasicRevocationErrorResponse,
    oauth2::EndpointSet,
    oauth2::EndpointNotSet,
    oauth2::EndpointNotSet,
    oauth2::EndpointNotSet,
    oauth2::EndpointSet,
>;

type TokenResponse = StandardTokenResponse<IdToken, BasicTokenType>;

/// What OpenID Connect adds to a token response.
#[derive(Deserialize, Serialize)]
struct IdToken {
    id_token: Option<String>,
}

impl ExtraTokenFields for IdToken {}

// oauth2 asks for one.
impl fmt::Debug for IdToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

/// 256 bits.
const RANDOM_BYTES: u32 = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_is_not_printed() {
        let text = || "canary".to_owned();
        let login = Login { state: text(), nonce: text(), verifier: text(), issuer: "https://kc".to_owned() };
        assert!(!format!("{login:?}").contains("canary"));
    }
}
