//! `/healthz`, `/readyz` and `/metrics`, on an address of their own.

use std::fmt;
use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::header::{CONTENT_TYPE, HOST, HeaderValue};
use http::uri::Authority;
use http::{Method, Request, Response, StatusCode};
use serde_json::json;

use crate::gateway::Body;
use crate::metrics::Metrics;
use crate::oidc::Providers;
use crate::spawner::Spawner;
use crate::store::Store;
use crate::tasks::Tasks;

/// Answers those who watch over the process.
#[derive(Debug)]
pub struct Admin {
    /// Ready when the keys of one are known.
    pub providers: Providers,
    /// Ready when it answers.
    pub spawner: Arc<dyn Spawner>,
    /// Ready when it answers.
    pub store: Store,
    /// Not ready while draining.
    pub tasks: Tasks,
    /// Shown.
    pub metrics: Metrics,
}

impl Admin {
    /// Answers a request of the operations listener.
    pub async fn handle<B>(&self, request: &Request<B>) -> Response<Body> {
        if !is_local(request) {
            return text(
                StatusCode::MISDIRECTED_REQUEST,
                "This listener answers to its own address only.\n".into(),
            );
        }
        if ![Method::GET, Method::HEAD].contains(request.method()) {
            return text(StatusCode::METHOD_NOT_ALLOWED, "Only GET.\n".into());
        }
        match request.uri().path() {
            "/healthz" => text(StatusCode::OK, "ok\n".into()),
            "/readyz" => self.ready().await,
            "/metrics" => self.metrics(),
            _ => text(StatusCode::NOT_FOUND, "Here are /healthz, /readyz and /metrics.\n".into()),
        }
    }

    async fn ready(&self) -> Response<Body> {
        let provider = self.providers.is_ready();
        let spawner = answers(self.spawner.ping()).await;
        let store = answers(self.store.ping()).await;
        let draining = self.tasks.stopping().is_cancelled();
        let ready = provider && spawner && store && !draining;
        let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        let parts = json!({ "ready": ready, "provider": provider, "spawner": spawner, "store": store, "draining": draining });
        let mut response = text(status, format!("{parts}\n"));
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response
    }

    fn metrics(&self) -> Response<Body> {
        match self.metrics.encode() {
            Ok(metrics) => {
                let mut response = text(StatusCode::OK, metrics);
                let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
                response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
                response
            }
            Err(fmt::Error) => {
                text(StatusCode::INTERNAL_SERVER_ERROR, "The metrics cannot be written.\n".into())
            }
        }
    }
}

/// Whether nobody's page asks through a browser: a page of `evil.example` whose name now leads here (DNS rebinding)
/// still sends its name as `Host`. An address in it is out of such a page's reach, and no `Host` at all is no browser.
fn is_local<B>(request: &Request<B>) -> bool {
    let mut hosts = request.headers().get_all(HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (None, _) => return true,
        (Some(host), None) => host.to_str().ok().and_then(|host| host.parse::<Authority>().ok()),
        (Some(_), Some(_)) => None,
    };
    let Some(host) = host.filter(|host| !host.as_str().contains('@')) else { return false };
    let name = host.host();
    let address = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    name.eq_ignore_ascii_case("localhost") || address.parse::<IpAddr>().is_ok()
}

/// Whether a part answers soon enough to be called ready.
async fn answers<E>(ping: impl Future<Output = Result<(), E>>) -> bool {
    matches!(tokio::time::timeout(PING_TIMEOUT, ping).await, Ok(Ok(())))
}

fn text(status: StatusCode, text: String) -> Response<Body> {
    let mut response = Response::new(Body::full(text));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

/// A probe that waits longer than this has given up.
const PING_TIMEOUT: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    fn asked_as(hosts: &[&str]) -> bool {
        let request = Request::builder().uri("/metrics");
        let request = hosts.iter().fold(request, |request, host| request.header(HOST, *host));
        is_local(&request.body(()).unwrap())
    }

    #[test]
    fn a_page_whose_name_was_bound_to_this_address_is_refused() {
        for host in ["localhost", "LOCALHOST:9180", "127.0.0.1:9180", "[::1]:9180", "10.0.0.7", "[::1]"] {
            assert!(asked_as(&[host]), "{host}");
        }
        for host in
            ["evil.example", "evil.example:9180", "localhost.evil.example", "user@localhost", "", "[", "a b"]
        {
            assert!(!asked_as(&[host]), "{host}");
        }
        assert!(!asked_as(&["localhost", "evil.example"]));
        assert!(asked_as(&[]));
    }
}
