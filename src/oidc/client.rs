//! What we are at the provider, and how we show it there.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use http::{Method, Request};
use url::{Url, form_urlencoded};

use super::OidcError;
use super::http::place;
use crate::secret::Secret;

/// Our registration.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) id: String,
    pub(super) secret: Secret,
    pub(super) callback: Url,
    pub(super) scopes: Vec<String>,
}

impl Client {
    /// A call that only we may make: a form, with our proof. Its answer is JSON.
    pub(super) fn post(
        &self,
        endpoint: &Url,
        parameters: &[(&str, &str)],
    ) -> Result<Request<Vec<u8>>, OidcError> {
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish();
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(endpoint.as_str())
            .header(ACCEPT, HeaderValue::from_static("application/json"))
            .header(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"))
            .body(body.into_bytes())
            .map_err(|source| OidcError::settings(format!("{} cannot be asked", place(endpoint)), source))?;
        request.headers_mut().insert(AUTHORIZATION, self.basic()?);
        Ok(request)
    }

    /// `client_secret_basic`. RFC 6749 section 2.3.1: both are encoded as in a form first, so that a colon in the name
    /// does not end it.
    fn basic(&self) -> Result<HeaderValue, OidcError> {
        let encode = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
        let both = format!("{}:{}", encode(&self.id), encode(self.secret.expose()));
        let mut value = HeaderValue::from_str(&format!("Basic {}", STANDARD.encode(both)))
            .map_err(|_private| OidcError::settings("provider.client_secret cannot be sent", NotAHeader))?;
        value.set_sensitive(true);
        Ok(value)
    }
}

/// Says nothing of the secret.
#[derive(Debug, thiserror::Error)]
#[error("it does not fit into a header")]
struct NotAHeader;
