//! What is wrong across sections: everything that can be known without a network.

mod admin;
mod files;
mod images;
mod provider;
mod routes;
mod sharing;
mod workspaces;

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use super::units::{Limit, Size, Span};
use super::{Config, Loaded, Provider};

/// One thing that is wrong, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The file.
    pub path: String,
    /// The line it stands on, from 1; where the key is missing, the line of its section; none where that is too.
    pub line: Option<usize>,
    /// The key: `provider.client_secret`.
    pub key: String,
    /// What is wrong. Never a secret's value.
    pub what: String,
    /// What to write instead.
    pub remedy: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        write!(f, ": {}: {}; {}", self.key, self.what, self.remedy)
    }
}

/// Everything that is wrong with a configuration that parses, the files and secrets it names included.
pub fn check(loaded: &Loaded) -> Vec<Finding> {
    let mut findings = Findings { loaded, list: Vec::new(), provider: None };
    all_rules(&mut findings, &loaded.config);
    files::check(&mut findings, &loaded.config);
    findings.sorted()
}

/// Everything that is wrong whatever the machine it runs on.
pub(super) fn rules(loaded: &Loaded) -> Vec<Finding> {
    let mut findings = Findings { loaded, list: Vec::new(), provider: None };
    all_rules(&mut findings, &loaded.config);
    findings.sorted()
}

fn all_rules(findings: &mut Findings<'_>, config: &Config) {
    public(findings, config);
    user_domain(findings, config);
    listen(findings, config);
    addresses(findings, config);
    provider::check(findings, config);
    session(findings, config);
    api(findings, config);
    admin::check(findings, config);
    sharing::check(findings, config);
    forward(findings, config);
    log(findings, config);
    workspaces::check(findings, config);
    routes::check(findings, config);
}

/// What was found so far.
struct Findings<'l> {
    loaded: &'l Loaded,
    list: Vec<Finding>,
    /// Which of several is meant by `provider`.
    provider: Option<usize>,
}

impl Findings<'_> {
    fn add(&mut self, key: &str, what: impl Into<String>, remedy: impl Into<String>) {
        let finding = match (self.provider, key.strip_prefix("provider.")) {
            (Some(index), Some(rest)) => {
                self.loaded.finding(&format!("provider[{index}].{rest}"), what, remedy)
            }
            (Some(_), None) | (None, _) => self.loaded.finding(key, what, remedy),
        };
        self.list.push(finding);
    }

    /// Judges each provider; its keys are written as of the only one.
    fn each_provider(&mut self, config: &Config, judge: impl Fn(&mut Self, &Provider)) {
        for (index, provider) in config.provider.iter().enumerate() {
            self.provider = Some(index);
            judge(self, provider);
        }
        self.provider = None;
    }

    fn positive(&mut self, key: &str, span: Span) {
        if span.0.is_zero() {
            self.add(key, "no time at all", "write how long, for example \"30s\"");
        }
    }

    fn sorted(mut self) -> Vec<Finding> {
        self.list.sort_by_key(|finding| finding.line);
        self.list
    }
}

fn public(findings: &mut Findings<'_>, config: &Config) {
    let url = &config.public.url;
    if url.scheme() != "https" || !url.has_host() {
        findings.add(
            "public.url",
            "not an https URL",
            "write \"https://hub.example.org\": browsers keep cookies and passkeys safe only with TLS",
        );
    }
    let extra = url.path() != "/" || url.query().is_some() || url.fragment().is_some();
    if extra || !url.username().is_empty() || url.password().is_some() {
        findings.add(
            "public.url",
            "more than an origin",
            "write scheme, host and port only: \"https://hub.example.org\"",
        );
    }
}

/// A host of the hub's that is a user's as well would be whose it is by its path alone.
fn user_domain(findings: &mut Findings<'_>, config: &Config) {
    let Some(domain) = &config.public.user_domain else { return };
    if config.public.url.host_str().is_some_and(|host| domain.covers(host)) {
        findings.add(
            "public.user_domain",
            "covers public.url, which could then be the host of a user of that name",
            format!(
                "write \"*.{}\", or another name below",
                config.public.url.host_str().unwrap_or_default()
            ),
        );
    }
    // Whoever comes to a user's host is asked for at one host of the hub's.
    if config.provider.iter().any(|provider| provider.host.is_some()) {
        findings.add(
            "public.user_domain",
            "does not go with provider.host",
            "let people choose their provider at one host: leave provider.host out",
        );
    }
}

fn listen(findings: &mut Findings<'_>, config: &Config) {
    let listen = &config.listen;
    if !listen.https.is_empty() && config.certificate.is_empty() {
        findings.add(
            "certificate",
            "missing, and listen.https needs one",
            "add [[certificate]] with chain and key",
        );
    }
    if listen.workers.is_some_and(|workers| !WORKERS.contains(&workers)) {
        findings.add("listen.workers", "out of range", "write 1 to 1024, or leave it out: one a core");
    }
    if listen.connections == 0 {
        findings.add(
            "listen.connections",
            "nobody could connect",
            "write how many at once, for example 16384",
        );
    }
    if listen.connections_per_client == 0 || listen.connections_per_client > listen.connections {
        findings.add("listen.connections_per_client", "out of range", "write 1 to listen.connections");
    }
    if !HEADER_SIZE.contains(&listen.header_size) {
        findings.add("listen.header_size", "out of range", "write \"8KiB\" to \"1MiB\"");
    }
    if !HEADER_COUNT.contains(&listen.header_count) {
        findings.add("listen.header_count", "out of range", "write 16 to 1000: browsers send about 20");
    }
    findings.positive("listen.handshake_timeout", listen.handshake_timeout);
    findings.positive("listen.header_timeout", listen.header_timeout);
    findings.positive("listen.idle_timeout", listen.idle_timeout);
    findings.positive("listen.body_timeout", listen.body_timeout);
}

/// No two listeners may want one address. Port 0 is whatever is free.
fn addresses(findings: &mut Findings<'_>, config: &Config) {
    let listen = &config.listen;
    let numbered = |name: &'static str, list: &[SocketAddr]| {
        let key = move |(index, address): (usize, &SocketAddr)| (format!("listen.{name}[{index}]"), *address);
        list.iter().enumerate().map(key).collect::<Vec<_>>()
    };
    let mut all = numbered("https", &listen.https);
    all.extend(numbered("http", &listen.http));
    all.extend(listen.operations.map(|address| ("listen.operations".to_owned(), address)));
    all.extend(config.hub_api.listen.map(|address| ("hub_api.listen".to_owned(), address)));
    for (at, (key, address)) in all.iter().enumerate() {
        if let Some((other, _)) = all.iter().take(at).find(|(_, earlier)| overlap(*earlier, *address)) {
            findings.add(
                key,
                format!("the same address as {other}"),
                "give each listener an address or a port of its own",
            );
        }
    }
}

fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let any = one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() == other.port()
        && one.port() != 0
        && one.is_ipv4() == other.is_ipv4()
        && (any || one.ip() == other.ip())
}

fn session(findings: &mut Findings<'_>, config: &Config) {
    let session = &config.session;
    findings.positive("session.idle_timeout", session.idle_timeout);
    findings.positive("session.login_timeout", session.login_timeout);
    findings.positive("session.refresh_interval", session.refresh_interval);
    if session.absolute_timeout < session.idle_timeout {
        findings.add(
            "session.absolute_timeout",
            "shorter than session.idle_timeout, which then never applies",
            "write at least as much as idle_timeout",
        );
    }
    // Browsers keep no cookie longer (RFC 6265bis section 5.5).
    if session.absolute_timeout > LONGEST_SESSION {
        findings.add(
            "session.absolute_timeout",
            "longer than browsers keep a cookie",
            "write at most \"400days\"",
        );
    }
}

fn api(findings: &mut Findings<'_>, config: &Config) {
    let api = &config.api;
    findings.positive("api.token_lifetime", api.token_lifetime);
    if api.token_lifetime_max < api.token_lifetime {
        findings.add(
            "api.token_lifetime_max",
            "shorter than api.token_lifetime",
            "write at least as much as token_lifetime",
        );
    }
}

fn forward(findings: &mut Findings<'_>, config: &Config) {
    let forward = &config.forward;
    findings.positive("forward.connect_timeout", forward.connect_timeout);
    findings.positive("forward.idle_timeout", forward.idle_timeout);
    for (key, limit) in [
        ("forward.response_timeout", forward.response_timeout),
        ("forward.body_timeout", forward.body_timeout),
        ("forward.tunnel_timeout", forward.tunnel_timeout),
    ] {
        if let Limit::Value(span) = limit {
            findings.positive(key, span);
        }
    }
}

fn log(findings: &mut Findings<'_>, config: &Config) {
    if tracing_subscriber::EnvFilter::builder().parse(&config.log.filter).is_err() {
        findings.add("log.filter", "not a filter", "write \"info\", or \"info,hubgate::oidc=debug\"");
    }
}

const WORKERS: std::ops::RangeInclusive<usize> = 1..=1024;
const HEADER_SIZE: std::ops::RangeInclusive<Size> = Size::kibibytes(8)..=Size::kibibytes(1024);
const HEADER_COUNT: std::ops::RangeInclusive<usize> = 16..=1000;
const LONGEST_SESSION: Span = Span(Duration::from_hours(400 * 24));
