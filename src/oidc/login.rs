//! One login: the authorization URL; code and state become an identity.

use std::fmt;

use oauth2::basic::BasicClient;
use oauth2::{
    AuthUrl, ClientId, CsrfToken, EndpointNotSet, EndpointSet, PkceCodeChallenge, RedirectUrl, Scope,
};
use openidconnect::Nonce;
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq as _;
use url::Url;

use super::answer::Answer;
use super::claims::Occasion;
use super::discovery::{Iss, Known};
use super::{Client, OidcError, Provider, Tokens};
use crate::identity::Identity;

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
    pub async fn begin(&self, _want: &Want) -> Result<(Url, Login), OidcError> {
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
            Ok(code) => code,
            Err((error, description)) => {
                return Err(OidcError::Refused { error: error.clone(), description: description.clone() });
            }
        };
        let grant = [
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", self.0.client.callback.as_str()),
            ("code_verifier", &login.verifier),
        ];
        let response = self.exchange(&known, &grant).await?;
        let access_token = response.access_token.expose();
        let identity = match &known.keys {
            Some(keys) => {
                let id_token = (response.id_token.as_ref())
                    .ok_or_else(|| OidcError::untrusted("there is no ID token in its answer", None))?;
                let occasion = Occasion::Login { nonce: &login.nonce };
                self.identity(&known, keys, occasion, id_token.expose(), access_token).await?
            }
            None => self.identity_by_userinfo(&known, access_token).await?,
        };
        let issued = self.issued(known.keys.is_some().then_some(&identity.claims));
        Ok((identity, response.tokens(issued)))
    }

    fn oauth(&self, known: &Known) -> Result<OauthClient, OidcError> {
        let Client { id, callback, .. } = &self.0.client;
        let url = |error| OidcError::settings("an endpoint is no URL", error);
        Ok(BasicClient::new(ClientId::new(id.clone()))
            .set_auth_uri(AuthUrl::new(known.authorize.to_string()).map_err(url)?)
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

type OauthClient = BasicClient<EndpointSet, EndpointNotSet, EndpointNotSet, EndpointNotSet, EndpointNotSet>;

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
