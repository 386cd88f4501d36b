//! What we are at the provider, and how we show it there.

use std::sync::Arc;

use arc_swap::ArcSwap;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use http::{Method, Request};
use url::{Url, form_urlencoded};

use super::assertion::Signer;
use super::discovery::Known;
use super::http::place;
use super::{OidcError, Provider};
use crate::clock::Timestamp;
use crate::config::{self, ClientAuthentication};
use crate::secret::Secret;

/// Our registration.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) id: String,
    proof: ArcSwap<Proof>,
    pub(super) callback: Url,
    pub(super) scopes: Vec<String>,
}

/// How we show that we are the client (OpenID Connect Core 1.0, section 9).
#[derive(Debug)]
enum Proof {
    Basic(Secret),
    Post(Secret),
    Key(Signer),
}

impl Client {
    /// `credential` is the secret or the key, as the configuration's method needs it.
    pub(super) fn new(
        config: &config::Provider,
        callback: Url,
        credential: Secret,
    ) -> Result<Self, OidcError> {
        let proof = ArcSwap::from_pointee(Proof::new(config, credential)?);
        Ok(Self { id: config.client_id.clone(), proof, callback, scopes: config.scopes.clone() })
    }

    /// A call that only we may make: a form, with our proof for `audience`. Its answer is JSON.
    fn post(
        &self,
        endpoint: &Url,
        audience: &str,
        now: Timestamp,
        parameters: &[(&str, &str)],
    ) -> Result<Request<Vec<u8>>, OidcError> {
        let proof = self.proof.load_full();
        let mut body = form_urlencoded::Serializer::new(String::new());
        body.extend_pairs(parameters);
        let named = parameters.iter().any(|(name, _)| *name == "client_id");
        if !named && !matches!(*proof, Proof::Basic(_)) {
            body.append_pair("client_id", &self.id);
        }
        match &*proof {
            Proof::Basic(_) => {}
            Proof::Post(secret) => {
                body.append_pair("client_secret", secret.expose());
            }
            Proof::Key(signer) => {
                let assertion = signer.assertion(&self.id, audience, now)?;
                body.append_pair("client_assertion_type", ASSERTION_TYPE)
                    .append_pair("client_assertion", &assertion);
            }
        }
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(endpoint.as_str())
            .header(ACCEPT, HeaderValue::from_static("application/json"))
            .header(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"))
            .body(body.finish().into_bytes())
            .map_err(|source| OidcError::settings(format!("{} cannot be asked", place(endpoint)), source))?;
        if let Proof::Basic(secret) = &*proof {
            request.headers_mut().insert(AUTHORIZATION, self.basic(secret)?);
        }
        Ok(request)
    }

    /// RFC 6749 section 2.3.1: both are encoded as in a form first, so that a colon in the name does not end it.
    fn basic(&self, secret: &Secret) -> Result<HeaderValue, OidcError> {
        let encode = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
        let both = format!("{}:{}", encode(&self.id), encode(secret.expose()));
        let mut value = HeaderValue::from_str(&format!("Basic {}", STANDARD.encode(both)))
            .map_err(|_private| OidcError::settings("provider.client_secret cannot be sent", NotAHeader))?;
        value.set_sensitive(true);
        Ok(value)
    }
}

impl Proof {
    fn new(config: &config::Provider, credential: Secret) -> Result<Self, OidcError> {
        Ok(match config.client_authentication {
            ClientAuthentication::ClientSecretBasic => Self::Basic(credential),
            ClientAuthentication::ClientSecretPost => Self::Post(credential),
            ClientAuthentication::PrivateKeyJwt => {
                let (id, algorithm) = (config.client_key_id.clone(), config.client_key_algorithm);
                Self::Key(Signer::new(&credential, id, algorithm)?)
            }
        })
    }
}

impl Provider {
    /// Shows from now on by another secret or key that we are the client. One that cannot be used changes nothing.
    pub fn renew_credential(&self, config: &config::Provider, credential: Secret) -> Result<(), OidcError> {
        self.0.client.proof.store(Arc::new(Proof::new(config, credential)?));
        Ok(())
    }

    /// A call to one of the provider's endpoints that only we may make. Its answer is JSON.
    pub(super) fn authenticated(
        &self,
        known: &Known,
        endpoint: &Url,
        parameters: &[(&str, &str)],
    ) -> Result<Request<Vec<u8>>, OidcError> {
        self.0.client.post(endpoint, known.audience(), self.0.clock.now(), parameters)
    }
}

/// RFC 7523 section 2.2.
const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// Says nothing of the secret.
#[derive(Debug, thiserror::Error)]
#[error("it does not fit into a header")]
struct NotAHeader;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::SecretSource;

    #[test]
    fn a_name_and_a_secret_of_any_characters_are_told_apart() {
        let (id, secret) = ("hub:é/1 %2f", "s:e%c+r ét&=");
        let config = config::Provider::of_issuer("", id, SecretSource::Env(String::new()));
        let callback = Url::parse("https://hub.example/cb").unwrap();
        let client = Client::new(&config, callback, Secret::new(secret)).unwrap();
        let endpoint = Url::parse("https://kc.example/token").unwrap();
        let request = client.post(&endpoint, "https://kc.example", 0, &[("a", "b")]).unwrap();
        let header = request.headers()[AUTHORIZATION].to_str().unwrap().strip_prefix("Basic ").unwrap();
        let text = String::from_utf8(STANDARD.decode(header).unwrap()).unwrap();
        let (name, password) = text.split_once(':').unwrap();
        let decode = |part: &str| {
            let mut pairs = form_urlencoded::parse(part.as_bytes()).into_owned();
            pairs.next().map(|(name, _)| name)
        };
        assert_eq!((decode(name).as_deref(), decode(password).as_deref()), (Some(id), Some(secret)));
        assert!(request.headers()[AUTHORIZATION].is_sensitive());
        assert_eq!(request.body(), b"a=b", "the secret is there once");
    }
}
