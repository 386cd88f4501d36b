//! `config.toml`, read once: every section, key and default.
//!
//! Sections are plain data that parts take over at start; nothing reads the file again. Unknown keys are refused,
//! durations and sizes carry their unit, and a secret is named by where it is kept.

mod admin;
mod check;
mod hub_api;
mod load;
mod placeholder;
mod ports;
mod profile;
mod provider;
mod route;
mod sharing;
mod units;
mod user_domain;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use url::Url;

pub use admin::Admin;
pub use check::{Finding, check};
pub use hub_api::HubApi;
pub use load::{ConfigError, Loaded, load, parse};
pub use placeholder::{Piece, claims_in, pieces};
pub use ports::Ports;
pub use profile::{Choice, HubLogin, Mode, Preset, Profile, StartOption, StoppedStatus, Volume};
pub use provider::{ClientAuthentication, Provider, ResponseMode, SigningAlgorithm};
pub use route::Route;
pub use sharing::Sharing;
pub use units::{Cpu, Limit, Size, Span};
pub use user_domain::UserDomain;

/// The whole file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// How browsers reach the hub.
    pub public: Public,
    /// Where hubgate listens.
    #[serde(default)]
    pub listen: Listen,
    /// Certificates; the server name of a handshake chooses among them, the first is for clients that send none.
    #[serde(default)]
    pub certificate: Vec<Certificate>,
    /// The OpenID provider, or several: `[provider]` is the only one, `[[provider]]` one of many.
    pub provider: Vec<Provider>,
    /// How long a login lasts.
    #[serde(default)]
    pub session: Session,
    /// What programs need to work in a user's name.
    #[serde(default)]
    pub api: Api,
    /// Whether users let each other into their workspaces.
    #[serde(default)]
    pub sharing: Sharing,
    /// How administrators reach the hub that runs.
    #[serde(default)]
    pub admin: Admin,
    /// What must survive a restart.
    #[serde(default)]
    pub store: Store,
    /// Who may enter, and with what. Nobody enters until a rule lets them.
    #[serde(default)]
    pub rule: Vec<Rule>,
    /// What users may start.
    #[serde(default)]
    pub profile: Vec<Profile>,
    /// What is beside the hub at its address.
    #[serde(default)]
    pub route: Vec<Route>,
    /// What runs workspaces.
    #[serde(default)]
    pub spawner: Spawner,
    /// The API that containers in `hub` mode call.
    #[serde(default)]
    pub hub_api: HubApi,
    /// Deadlines and limits of the forwarding side.
    #[serde(default)]
    pub forward: Forward,
    /// What is logged, and how.
    #[serde(default)]
    pub log: Log,
}

impl Config {
    /// The origin at which people sign in at this provider.
    pub fn origin_of(&self, provider: &Provider) -> Url {
        let mut url = self.public.url.clone();
        if let Some(host) = &provider.host
            && url.set_host(Some(host)).is_err()
        {
            // `check` finds it before anything is built.
            url = self.public.url.clone();
        }
        url
    }

    /// Where this provider sends browsers back to: the redirect URI that is registered there. Providers that share a
    /// host have a path each, so that the answer of one is never taken for another's (RFC 9700 section 4.4.2.2).
    pub fn callback_of(&self, provider: &Provider) -> Url {
        let mut url = self.origin_of(provider);
        let alone = self.provider.iter().filter(|other| other.host == provider.host).count() == 1;
        let path = if alone { CALLBACK.to_owned() } else { format!("{CALLBACK}/{}", provider.name()) };
        url.set_path(&path);
        url
    }

    /// The options in force that relax a protection: for the log at start, and a metric.
    pub fn insecure_options(&self) -> Vec<&'static str> {
        let process = self.spawner.kind == SpawnerKind::InsecureProcess;
        let options = [
            (self.provider.iter().any(|provider| provider.insecure_http), "provider.insecure_http"),
            (process, "spawner.kind = insecure_process"),
            (self.hub_api.insecure_anywhere, "hub_api.insecure_anywhere"),
        ];
        options.into_iter().filter(|(set, _)| *set).map(|(_, name)| name).collect()
    }
}

/// Where the file is, if nothing says another place.
pub const PATH: &str = "/etc/hubgate/config.toml";

/// The path of the callback.
const CALLBACK: &str = "/hub/oauth_callback";

/// `[public]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Public {
    /// The origin that browsers see: `https://hub.example.org`, with no path. Redirect URIs are built from it, never
    /// from a request.
    pub url: Url,
    /// `"*.hub.example.org"`: each user's servers are at a host name of their own below it, where a page of theirs is
    /// another site's to everybody else's. Default: all are at `url`.
    pub user_domain: Option<UserDomain>,
    /// `max-age` of Strict-Transport-Security; `"unlimited"` is not allowed, `"0s"` sends none.
    #[serde(default = "Public::default_hsts")]
    pub hsts: Span,
    /// A sentence for error pages: whom to ask.
    pub contact: Option<String>,
}

impl Public {
    fn default_hsts() -> Span {
        Span(Duration::from_hours(180 * 24))
    }
}

/// `[listen]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Listen {
    /// TLS listeners.
    pub https: Vec<SocketAddr>,
    /// Plain listeners, which only redirect to `public.url`.
    pub http: Vec<SocketAddr>,
    /// `/healthz`, `/readyz`, `/metrics`.
    pub operations: Option<SocketAddr>,
    /// Worker runtimes, each on a thread of its own. Default: one a core.
    pub workers: Option<usize>,
    /// Connections at once, all listeners together.
    pub connections: usize,
    /// Connections at once from one address; many users may sit behind one.
    pub connections_per_client: usize,
    /// Until the TLS handshake is done.
    pub handshake_timeout: Span,
    /// Until a request's head has arrived; also how long an HTTP/1.1 connection may idle between requests.
    pub header_timeout: Span,
    /// How long a connection may stay without a request.
    pub idle_timeout: Span,
    /// How long the body of a request may pause where nobody is known: at routes that are open to all. See
    /// [`Forward::body_timeout`].
    pub body_timeout: Span,
    /// Bytes of a request's head.
    pub header_size: Size,
    /// Fields in a request's head.
    pub header_count: usize,
    /// How long open requests may go on after SIGTERM. Websockets are closed at once: meanwhile nobody could connect,
    /// and browsers open them again by themselves.
    pub drain_timeout: Span,
    /// How long websockets and other open requests may go on in the old process after an upgrade, before they are cut off.
    pub handover_timeout: Span,
}

impl Default for Listen {
    fn default() -> Self {
        let any = |port| SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port);
        Self {
            https: vec![any(443)],
            http: vec![any(80)],
            operations: Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9180)),
            workers: None,
            connections: 16_384,
            connections_per_client: 1024,
            handshake_timeout: Span::seconds(10),
            header_timeout: Span::seconds(15),
            idle_timeout: Span::seconds(75),
            body_timeout: Span::seconds(60),
            header_size: Size::kibibytes(64),
            header_count: 100,
            drain_timeout: Span::seconds(30),
            handover_timeout: Span::seconds(24 * 3600),
        }
    }
}

/// `[[certificate]]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    /// PEM: the certificate and its chain, as certbot's `fullchain.pem`.
    pub chain: PathBuf,
    /// PEM: its private key. Only its owner may read it.
    pub key: PathBuf,
}

/// `[session]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Session {
    /// A session without a request for so long is over.
    pub idle_timeout: Span,
    /// A session is over so long after its login, whatever happens in it.
    pub absolute_timeout: Span,
    /// How long a person may take at the provider's login page.
    pub login_timeout: Span,
    /// How old the provider's word may be: so long after a role is lost, a user disabled or a session ended there, it
    /// is so here, websockets included. Access tokens that expire sooner are renewed sooner.
    pub refresh_interval: Span,
    /// How long sessions go on while the provider cannot be asked.
    pub outage_grace: Span,
}

impl Default for Session {
    fn default() -> Self {
        Self {
            idle_timeout: Span::seconds(12 * 3600),
            absolute_timeout: Span::seconds(7 * 86_400),
            login_timeout: Span::seconds(600),
            refresh_interval: Span::seconds(300),
            outage_grace: Span::seconds(8 * 3600),
        }
    }
}

/// `[api]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Api {
    /// How long an API token lives whose owner does not say.
    pub token_lifetime: Span,
    /// The longest that an API token may live.
    pub token_lifetime_max: Span,
}

impl Default for Api {
    fn default() -> Self {
        Self { token_lifetime: Span::seconds(30 * 86_400), token_lifetime_max: Span::seconds(90 * 86_400) }
    }
}

/// `[store]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Store {
    /// Holds `hubgate.db` and `key`, the key that seals cookies and tokens. Only hubgate may read it.
    pub folder: PathBuf,
}

impl Default for Store {
    fn default() -> Self {
        Self { folder: PathBuf::from("/var/lib/hubgate") }
    }
}

/// `[[rule]]`: whom it matches (any of its conditions, at one of its providers), and what it grants.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rule {
    /// Only whoever signed in at one of these providers; without the key, at any.
    pub providers: Option<Vec<String>>,
    /// User names, normalised as the users' own.
    pub users: Vec<String>,
    /// Group paths, exactly as the provider writes them: `/lab/alpha`.
    pub groups: Vec<String>,
    /// Realm roles.
    pub realm_roles: Vec<String>,
    /// Roles of a client.
    pub client_roles: Vec<ClientRole>,
    /// Everybody whom the provider signs in.
    pub everyone: bool,
    /// Grants: is an administrator.
    pub admin: bool,
    /// Grants these profiles; without the key, all.
    pub profiles: Option<Vec<String>>,
    /// Grants these routes; without the key, all.
    pub routes: Option<Vec<String>>,
    /// Grants this much memory in place of the profile's.
    pub memory: Option<Limit<Size>>,
    /// Grants so many processors in place of the profile's.
    pub cpu: Option<Limit<Cpu>>,
    /// Where it stands in the file.
    #[serde(skip)]
    pub(crate) line: Option<usize>,
}

/// A role that a client of the realm defines.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientRole {
    /// The client's id; it may hold dots and slashes.
    pub client: String,
    /// The role's name.
    pub role: String,
}

/// `[spawner]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Spawner {
    /// What runs workspaces.
    pub kind: SpawnerKind,
    /// Names of containers and volumes: how a user name is written in them.
    pub escape: Escape,
    /// How many servers with names of their own each user may have, beside the default one.
    pub named_servers: u32,
    /// Settings of the Docker spawner.
    pub docker: Docker,
}

/// What runs workspaces.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SpawnerKind {
    /// Containers, by the Docker Engine API.
    #[default]
    Docker,
    /// Child processes of hubgate, all as one Unix user: for trying hubgate out, not for people who do not trust
    /// each other.
    #[serde(rename = "insecure_process")]
    InsecureProcess,
}

/// How a user name is written where only `[a-z0-9-]` may stand.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Escape {
    /// As DockerSpawner 12 and later: `-` and lower-case hexadecimal.
    #[default]
    Current,
    /// As DockerSpawner 11 and earlier: `_` and upper-case hexadecimal, `-` kept.
    Legacy,
}

/// `[spawner.docker]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Docker {
    /// The engine's socket.
    pub socket: PathBuf,
    /// The network of the workspaces; made when it is not there.
    pub network: String,
    /// Begins the names of containers.
    pub prefix: String,
    /// Names that containers know beside those of their network, as `name:address`; the address `host-gateway` is
    /// where `hub_api` listens, or this machine.
    pub hosts: Vec<String>,
    /// Containers that a JupyterHub's `DockerSpawner` started and that run are taken over, where their names and what
    /// they were told fit this hub in every part.
    pub adopt_jupyterhub: bool,
    /// How often running workspaces are compared with the engine's list.
    pub reconcile_interval: Span,
    /// Fetches images of profiles that the engine has not, one after the other, as soon as hubgate runs. Without it, an
    /// image is fetched when somebody starts it.
    pub prepull: bool,
    /// How long a pull may go without any progress. As long as it moves, it may take its time.
    pub pull_idle_timeout: Span,
}

impl Default for Docker {
    fn default() -> Self {
        Self {
            socket: PathBuf::from("/var/run/docker.sock"),
            network: "hubgate".to_owned(),
            prefix: "hubgate".to_owned(),
            hosts: Vec::new(),
            adopt_jupyterhub: false,
            reconcile_interval: Span::seconds(30),
            prepull: true,
            pull_idle_timeout: Span::seconds(600),
        }
    }
}

/// `[forward]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Forward {
    /// Until a connection to a workspace is made.
    pub connect_timeout: Span,
    /// Until a workspace has begun its answer. Some compute for hours before they say a word.
    pub response_timeout: Limit<Span>,
    /// How long the body of a user's request may pause.
    pub body_timeout: Limit<Span>,
    /// How long an unused connection to a workspace is kept.
    pub idle_timeout: Span,
    /// Unused connections kept to one workspace by one worker.
    pub idle_connections: usize,
    /// A websocket without a byte in either direction for so long is closed.
    pub tunnel_timeout: Limit<Span>,
}

impl Default for Forward {
    fn default() -> Self {
        Self {
            connect_timeout: Span::seconds(5),
            response_timeout: Limit::Value(A_DAY),
            body_timeout: Limit::Value(A_DAY),
            idle_timeout: Span::seconds(50),
            idle_connections: 16,
            tunnel_timeout: Limit::Unlimited,
        }
    }
}

const A_DAY: Span = Span::seconds(24 * 60 * 60);

/// `[log]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// For people or for programs.
    pub format: LogFormat,
    /// `error`, `warn`, `info`, `debug`, or `tracing-subscriber` directives.
    pub filter: String,
    /// One line a request.
    pub requests: bool,
}

impl Default for Log {
    fn default() -> Self {
        Self { format: LogFormat::Text, filter: "info".to_owned(), requests: true }
    }
}

/// How a log line is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}
