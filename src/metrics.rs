//! Every metric of the process: its name, help and labels. Labels are closed sets; never a user or a path.

use std::fmt;
use std::sync::Arc;

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

/// One label `kind`, from a closed set that the module that counts defines.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Kind {
    /// The value.
    pub kind: &'static str,
}

/// One label `result`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Outcome {
    /// `ok`, or what went wrong.
    pub result: &'static str,
}

/// A call to the container runtime.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Call {
    /// Which.
    pub call: &'static str,
    /// `ok`, or what went wrong.
    pub result: &'static str,
}

/// A request's route pattern and the first digit of its status.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Answer {
    /// `workspace`, `login`, `home`, …
    pub route: &'static str,
    /// `2xx`, …
    pub status: &'static str,
}

/// One label `state` of workspaces.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct State {
    /// `starting`, `ready`, `failing`, `stopping`.
    pub state: &'static str,
}

/// The process's metrics; a clone counts to the same.
#[derive(Clone)]
pub struct Metrics(Arc<Inner>);

/// The metrics themselves, by name without the `hubgate_`.
#[expect(missing_docs, reason = "each field's help text stands where it is registered")]
#[derive(Debug)]
pub struct Inner {
    registry: Registry,
    pub connections: Gauge,
    pub tls_handshakes: Family<Outcome, Counter>,
    pub certificate_reloads: Family<Outcome, Counter>,
    pub certificate_expiry: Gauge,
    pub requests: Family<Answer, Counter>,
    pub request_duration: Histogram,
    pub refusals: Family<Kind, Counter>,
    pub logins: Family<Outcome, Counter>,
    pub renewals: Family<Outcome, Counter>,
    pub provider_logouts: Family<Outcome, Counter>,
    pub sessions: Gauge,
    pub api_tokens: Gauge,
    pub workspaces: Family<State, Gauge>,
    pub workspace_start: Histogram,
    pub spawner_calls: Family<Call, Counter>,
    pub tunnels: Gauge,
    pub upstream_errors: Family<Kind, Counter>,
    pub insecure_options: Family<Kind, Gauge>,
    pub upstream_connections: Gauge,
}

impl Inner {
    fn register_edge(&self, registry: &mut Registry) {
        registry.register("connections", "Open connections from clients", self.connections.clone());
        registry.register("tls_handshakes", "TLS handshakes by result", self.tls_handshakes.clone());
        registry.register(
            "certificate_reloads",
            "Times certificates were read again",
            self.certificate_reloads.clone(),
        );
        registry.register_with_unit(
            "certificate_expiry_timestamp",
            "When the first certificate expires",
            Unit::Seconds,
            self.certificate_expiry.clone(),
        );
        registry.register("requests", "Requests answered", self.requests.clone());
        registry.register_with_unit(
            "request_duration",
            "From a request's head to its response's head",
            Unit::Seconds,
            self.request_duration.clone(),
        );
        registry.register("refusals", "Requests that hubgate itself refused", self.refusals.clone());
    }

    fn register_people(&self, registry: &mut Registry) {
        registry.register("logins", "Logins by result", self.logins.clone());
        registry.register("renewals", "Sessions renewed at the provider, by result", self.renewals.clone());
        registry.register(
            "provider_logouts",
            "Logout tokens from the provider, by result",
            self.provider_logouts.clone(),
        );
        registry.register("sessions", "Live sessions", self.sessions.clone());
        registry.register("api_tokens", "Live API tokens", self.api_tokens.clone());
    }

    fn register_workspaces(&self, registry: &mut Registry) {
        registry.register("workspaces", "Workspaces by state", self.workspaces.clone());
        registry.register_with_unit(
            "workspace_start",
            "How long workspaces took to be ready",
            Unit::Seconds,
            self.workspace_start.clone(),
        );
        registry.register("spawner_calls", "Calls to the container runtime", self.spawner_calls.clone());
        registry.register("tunnels", "Open websockets", self.tunnels.clone());
        registry.register(
            "upstream_errors",
            "Requests that a workspace did not answer",
            self.upstream_errors.clone(),
        );
        registry.register(
            "insecure_options",
            "Options in force that relax a protection",
            self.insecure_options.clone(),
        );
        registry.register(
            "upstream_connections",
            "Open connections to workspaces",
            self.upstream_connections.clone(),
        );
    }
}

impl Metrics {
    /// All at zero.
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("hubgate");
        registry.register(
            "build",
            "The running version",
            Info::new([("version", env!("CARGO_PKG_VERSION"))]),
        );
        let mut inner = Inner {
            connections: Gauge::default(),
            tls_handshakes: Family::default(),
            certificate_reloads: Family::default(),
            certificate_expiry: Gauge::default(),
            requests: Family::default(),
            request_duration: Histogram::new(exponential_buckets(0.001, 4.0, 8)),
            refusals: Family::default(),
            logins: Family::default(),
            renewals: Family::default(),
            provider_logouts: Family::default(),
            sessions: Gauge::default(),
            api_tokens: Gauge::default(),
            workspaces: Family::default(),
            workspace_start: Histogram::new(exponential_buckets(0.5, 2.0, 10)),
            spawner_calls: Family::default(),
            tunnels: Gauge::default(),
            upstream_errors: Family::default(),
            insecure_options: Family::default(),
            upstream_connections: Gauge::default(),
            registry: Registry::default(),
        };
        inner.register_edge(&mut registry);
        inner.register_people(&mut registry);
        inner.register_workspaces(&mut registry);
        inner.registry = registry;
        Self(Arc::new(inner))
    }

    /// The metrics in OpenMetrics text.
    pub fn encode(&self) -> Result<String, fmt::Error> {
        let mut buffer = String::new();
        text::encode(&mut buffer, &self.0.registry)?;
        Ok(buffer)
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl std::ops::Deref for Metrics {
    type Target = Inner;
    fn deref(&self) -> &Inner {
        &self.0
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}
