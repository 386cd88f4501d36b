//! Calls to the provider: TLS always verified, deadlines, bounded bodies, no redirects followed.

use std::fmt;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use url::{Host, Url};

use super::{Detail, OidcError};

/// The connection to the provider.
pub(super) struct Http {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    timeout: Duration,
    insecure: bool,
    /// When it last answered; `None`: it did not when it was last asked.
    heard: Mutex<Option<Instant>>,
}

impl Http {
    /// Trusts the authorities in `ca_file`, or else the system's. Without `insecure`, plain HTTP goes to this machine
    /// only.
    pub(super) fn new(ca_file: Option<&Path>, timeout: Duration, insecure: bool) -> Result<Self, OidcError> {
        let tls =
            ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
                .with_safe_default_protocol_versions()
                .map_err(|source| OidcError::settings("TLS cannot be set up", source))?
                .with_root_certificates(authorities(ca_file)?)
                .with_no_client_auth();
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        // Nothing is kept open between logins: a code can be sent only once, so it must not be lost on a connection
        // that the provider has just closed.
        let client = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(connector);
        Ok(Self { client, timeout, insecure, heard: Mutex::default() })
    }

    /// Whether tokens and secrets may go there.
    pub(super) fn check(&self, name: &str, url: &Url) -> Result<(), OidcError> {
        let secure = url.scheme() == "https" || (url.scheme() == "http" && (self.insecure || loopback(url)));
        if !secure {
            return Err(OidcError::Settings {
                what: format!("{name} is {}, which is not https", place(url)),
                source: None,
            });
        }
        // RFC 6749 section 3.1 and 3.2: endpoints have no fragment; a password in a URL ends up in logs.
        if url.fragment().is_some() || !url.username().is_empty() || url.password().is_some() {
            return Err(OidcError::Settings {
                what: format!("{name} is {} with a user or a fragment", place(url)),
                source: None,
            });
        }
        Ok(())
    }

    /// One call, whose answer must be JSON, with a status of 2xx or 4xx.
    pub(super) async fn json(&self, request: Request<Vec<u8>>) -> Result<Response<Vec<u8>>, OidcError> {
        let address = address(&request);
        let response = self.call(request).await?;
        match media_type(&response) {
            // JSON or not is then seen when it is parsed.
            None => Ok(response),
            Some(kind) if kind == "application/json" || kind.ends_with("+json") => Ok(response),
            Some(kind) => Err(OidcError::unreachable(
                address,
                Detail(format!("it answers {} with {kind:?}, not JSON", response.status())),
            )),
        }
    }

    /// One call, whatever its answer is made of, with a status of 2xx or 4xx.
    pub(super) async fn call(&self, request: Request<Vec<u8>>) -> Result<Response<Vec<u8>>, OidcError> {
        let address = address(&request);
        let exchange = async {
            let request = request.map(|body| Full::new(Bytes::from(body)));
            let (head, body) = self
                .client
                .request(request)
                .await
                .map_err(|source| OidcError::unreachable(&address, source))?
                .into_parts();
            let status = head.status;
            let outage = status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS;
            // A redirect is not followed: whoever can place one would be handed the code and the client's secret.
            if outage || !(status.is_success() || status.is_client_error()) {
                return Err(OidcError::unreachable(&address, Detail(format!("it answers {status}"))));
            }
            let body = Limited::new(body, BODY)
                .collect()
                .await
                .map_err(|source| OidcError::Unreachable { address: address.clone(), source })?;
            Ok(Response::from_parts(head, Vec::from(body.to_bytes())))
        };
        let answer = tokio::time::timeout(self.timeout, exchange)
            .await
            .map_err(|source| OidcError::unreachable(&address, source))
            .flatten();
        *self.heard() = answer.is_ok().then(Instant::now);
        answer
    }

    /// Whether anybody answers there. What they answer does not matter, unless it is a proxy that finds nobody.
    pub(super) async fn is_there(&self, url: &Url) -> Result<(), OidcError> {
        let address = place(url);
        let question = Request::head(url.as_str()).body(Full::default());
        let question = question.map_err(|source| OidcError::unreachable(&address, source))?;
        let answer = tokio::time::timeout(self.timeout, self.client.request(question)).await;
        let result = match answer {
            Ok(Ok(answer)) if AWAY.contains(&answer.status()) => {
                Err(OidcError::unreachable(&address, Detail(format!("it answers {}", answer.status()))))
            }
            Ok(Ok(_answer)) => Ok(()),
            Ok(Err(source)) => Err(OidcError::unreachable(&address, source)),
            Err(source) => Err(OidcError::unreachable(&address, source)),
        };
        *self.heard() = result.is_ok().then(Instant::now);
        result
    }

    /// Whether it answered when it was last asked, and not longer ago than this.
    pub(super) fn heard_within(&self, time: Duration) -> bool {
        self.heard().is_some_and(|heard| heard.elapsed() < time)
    }

    fn heard(&self) -> MutexGuard<'_, Option<Instant>> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http")
            .field("timeout", &self.timeout)
            .field("insecure", &self.insecure)
            .finish_non_exhaustive()
    }
}

/// What proxies say when there is nobody behind them.
const AWAY: [StatusCode; 3] =
    [StatusCode::BAD_GATEWAY, StatusCode::SERVICE_UNAVAILABLE, StatusCode::GATEWAY_TIMEOUT];

/// The largest answer that is read.
const BODY: usize = 1024 * 1024;

/// The media type of a body, without parameters, in lower case.
pub(super) fn media_type(response: &Response<Vec<u8>>) -> Option<String> {
    let value = response.headers().get(CONTENT_TYPE)?;
    let text = value.to_str().unwrap_or_default();
    Some(text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase())
}

/// A URL as logs may show it: without its query.
pub(super) fn place(url: &Url) -> String {
    format!("{}{}", url.origin().ascii_serialization(), url.path())
}

fn address(request: &Request<Vec<u8>>) -> String {
    let uri = request.uri();
    // Not the authority: it may hold a password.
    let port = uri.port_u16().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}://{}{port}{}", uri.scheme_str().unwrap_or("?"), uri.host().unwrap_or("?"), uri.path())
}

fn loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => {
            address.is_loopback() || address.to_ipv4_mapped().as_ref().is_some_and(Ipv4Addr::is_loopback)
        }
        None => false,
    }
}

fn authorities(ca_file: Option<&Path>) -> Result<RootCertStore, OidcError> {
    let mut store = RootCertStore::empty();
    let Some(path) = ca_file else {
        // Single files of the system's store that cannot be read, or that hold something odd, spoil no others.
        store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        return Ok(store);
    };
    let unusable = |source: super::BoxError| OidcError::Settings {
        what: format!("{} holds no usable certificates", path.display()),
        source: Some(source),
    };
    for certificate in CertificateDer::pem_file_iter(path).map_err(|error| unusable(error.into()))? {
        let certificate = certificate.map_err(|error| unusable(error.into()))?;
        store.add(certificate).map_err(|error| unusable(error.into()))?;
    }
    if store.is_empty() { Err(unusable(Detail("it is empty".to_owned()).into())) } else { Ok(store) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_goes_to_this_machine_only() {
        let http = Http::new(None, Duration::from_secs(1), false).unwrap();
        for good in [
            "https://kc.example/a",
            "http://127.0.0.1:8080/",
            "http://[::1]/",
            "http://localhost:1/",
            "http://kc.localhost/",
        ] {
            http.check("issuer", &Url::parse(good).unwrap()).unwrap();
        }
        for bad in [
            "http://kc.example/",
            "http://10.0.0.1/",
            "http://localhost.example/",
            "ftp://localhost/",
            "http://0.0.0.0/",
            "https://kc.example/#f",
            "https://u:p@kc.example/",
        ] {
            assert!(http.check("issuer", &Url::parse(bad).unwrap()).is_err(), "{bad}");
        }
        let http = Http::new(None, Duration::from_secs(1), true).unwrap();
        http.check("issuer", &Url::parse("http://kc.example/").unwrap()).unwrap();
    }

    #[test]
    fn an_error_names_the_port_and_neither_password_nor_query() {
        let request = Request::get("https://u:p@kc.example:8443/realms/lab?code=x").body(Vec::new()).unwrap();
        assert_eq!(address(&request), "https://kc.example:8443/realms/lab");
        let request = Request::get("https://kc.example/realms/lab").body(Vec::new()).unwrap();
        assert_eq!(address(&request), "https://kc.example/realms/lab");
    }

    #[test]
    fn an_authority_file_without_certificates_is_refused() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
        let error = Http::new(Some(Path::new(file)), Duration::from_secs(1), false).unwrap_err();
        assert!(error.to_string().contains("no usable certificates"), "{error}");
        assert!(Http::new(Some(Path::new("/does/not/exist")), Duration::from_secs(1), false).is_err());
    }
}
