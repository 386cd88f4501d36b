//! What an administrator asks of a provider before hubgate is its client: its description as it is, whether logins would
//! take it, and its administration. Every call keeps to the limits of logins.

use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use http::header::DATE;
use http::{Request, Response};
use serde_json::{Map, Value};
use url::Url;

use super::answer::error_text;
use super::discovery::Description;
use super::http::{Http, place};
use super::{Detail, OidcError, get};
use crate::clock::Timestamp;
use crate::config;

/// A connection to a provider of which nothing is known yet.
#[derive(Debug)]
pub struct Probe(Http);

/// A description as it was found: nobody has judged it.
#[derive(Debug, Clone)]
pub struct Found {
    /// All its members.
    pub members: Map<String, Value>,
    /// The time there, where the answer says it.
    pub date: Option<Timestamp>,
}

impl Probe {
    /// Trusts the authorities in `ca_file`, or else the system's; without `insecure`, plain HTTP goes to this machine
    /// only.
    pub fn new(ca_file: Option<&Path>, timeout: Duration, insecure: bool) -> Result<Self, OidcError> {
        Http::new(ca_file, timeout, insecure).map(Self)
    }

    /// Whether secrets may go there; `name` is what the address is called in the error.
    pub fn check(&self, name: &str, url: &Url) -> Result<(), OidcError> {
        self.0.check(name, url)
    }

    /// Reads the description at this address.
    pub async fn describe(&self, document: &Url) -> Result<Found, OidcError> {
        let response = self.0.json(get(document)?).await?;
        if !response.status().is_success() {
            return Err(OidcError::Settings {
                what: format!("{} is not there", place(document)),
                source: Some(Detail(format!("it answers {}", response.status())).into()),
            });
        }
        let members = serde_json::from_slice(response.body()).map_err(|source| {
            OidcError::settings(format!("{} is not the description of a provider", place(document)), source)
        })?;
        Ok(Found { members, date: date(&response) })
    }

    /// Whether logins could use the provider that this configuration describes, keys included: by the code that serves
    /// them.
    pub async fn accept(&self, config: &config::Provider) -> Result<(), OidcError> {
        Description::new(config, &self.0)?.resolve(&self.0).await.map(drop)
    }

    /// One call, whatever its answer is made of, with a status of 2xx or 4xx.
    pub async fn call(&self, request: Request<Vec<u8>>) -> Result<Response<Vec<u8>>, OidcError> {
        self.0.call(request).await
    }
}

/// Why Keycloak refuses, as far as the body of its answer says so: cut and cleaned.
pub fn reason(body: &[u8]) -> Option<String> {
    let body: Value = serde_json::from_slice(body).ok()?;
    let text = |name| body.get(name).and_then(Value::as_str);
    ["errorMessage", "error_description", "error"].into_iter().find_map(text).map(error_text)
}

fn date(response: &Response<Vec<u8>>) -> Option<Timestamp> {
    let text = response.headers().get(DATE)?.to_str().ok()?;
    let time = httpdate::parse_http_date(text).ok()?;
    time.duration_since(UNIX_EPOCH).ok().map(|since| since.as_secs())
}
