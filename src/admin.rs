//! `/healthz`, `/readyz` and `/metrics`, on an address of their own.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use http::header::{CONTENT_TYPE, HOST, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use serde_json::json;

use crate::gateway::Body;
use crate::metrics::Metrics;
use crate::oidc::Provider;
use crate::spawner::Spawner;
use crate::store::Store;
use crate::tasks::Tasks;

/// Answers those who watch over the process.
#[derive(Debug)]
pub struct Admin {
    /// Where it listens: what a request's Host must say.
    pub address: SocketAddr,
    /// Ready when its keys are known.
    pub provider: Provider,
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
        if !self.is_host(request) {
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
        let provider = self.provider.is_ready();
        let spawner = self.spawner.ping().await.is_ok();
        let store = self.store.ping().await.is_ok();
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

    /// A page in somebody's browser must not read this by a name of its own (DNS rebinding): an address, or localhost.
    fn is_host<B>(&self, request: &Request<B>) -> bool {
        let host = request.headers().get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        let name = host.parse::<SocketAddr>().map_or(host, |_address| "");
        let name = name.strip_suffix(&format!(":{}", self.address.port())).unwrap_or(name);
        name.is_empty() || name == "localhost" || name.parse::<std::net::IpAddr>().is_ok()
    }
}

fn text(status: StatusCode, text: String) -> Response<Body> {
    let mut response = Response::new(Body::full(text));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}
