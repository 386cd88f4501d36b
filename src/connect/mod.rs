//! `hubgate connect`: finds a provider, says what hubgate must be registered as there, and registers it at Keycloak.
//!
//! Whether a provider will do is judged by the code that serves logins. Nothing is written anywhere unless `--register`
//! says so, and the client's secret goes into a file only.

mod address;
mod client;
mod hub;
mod keycloak;
mod register;
mod remark;
mod report;
mod search;
mod secret_file;

use std::io::{self, Read as _};
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;
use thiserror::Error;
use url::Url;
use zeroize::Zeroizing;

use crate::clock::Clock;
use crate::config::{self, ConfigError};
use crate::oidc::OidcError;
use crate::oidc::probe::Probe;
use crate::secret::{Secret, SecretError, SecretSource};

use self::hub::Hub;
use self::keycloak::Admin;
use self::remark::{Accepts, Level, Remark};
use self::report::{Registration, Report};

pub use self::keycloak::AdminError;
pub use self::secret_file::SecretFileError;

/// What to connect with what.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Options {
    /// The provider: `https://keycloak.example.org/realms/lab`, or the address of one of the realm's pages
    #[arg(value_name = "ISSUER", required_unless_present = "config")]
    pub issuer: Option<String>,
    /// The origin that browsers see: `https://hub.example.org`
    #[arg(long, value_name = "URL", required_unless_present = "config", conflicts_with = "config")]
    pub public_url: Option<Url>,
    /// A configuration that says the public URL, and what is known of the provider
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Which provider, where the configuration has several or will have
    #[arg(long, value_name = "NAME")]
    pub provider_name: Option<String>,
    /// The authorities that the provider's certificate may come from, in place of the system's
    #[arg(long, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// What hubgate is called at the provider [default: hubgate, or the configuration's]
    #[arg(long, value_name = "NAME")]
    pub client_id: Option<String>,
    /// A client whose access tokens may call the hub's API; may be given several times
    #[arg(long, value_name = "NAME")]
    pub api_client: Vec<String>,
    /// Allow a provider without TLS that is not on this machine
    #[arg(long)]
    pub insecure_http: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Register the client at Keycloak, or change the one that is there; needs an administrator's token
    #[arg(long, requires = "token")]
    pub register: bool,
    /// The file with an administrator's token; `-` is the standard input. Without --register, says what it would change
    #[arg(long, value_name = "FILE", group = "token")]
    pub admin_token_file: Option<PathBuf>,
    /// The environment variable with an administrator's token
    #[arg(long, value_name = "NAME", group = "token")]
    pub admin_token_env: Option<String>,
    /// Where Keycloak's administration is, if not beside its realms: `https://keycloak-admin.example.org`
    #[arg(long, value_name = "URL", requires = "token")]
    pub admin_url: Option<Url>,
    /// Where to put the client's secret; the file must not be there yet
    #[arg(long, value_name = "FILE", requires = "register")]
    pub secret_file: Option<PathBuf>,
}

/// It cannot be connected.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The configuration.
    #[error("cannot use the configuration")]
    Config(#[from] ConfigError),
    /// Neither a command line nor a configuration says where the provider is.
    #[error("nothing says where the provider is")]
    NoIssuer,
    /// The configuration has several, or none of that name.
    #[error("the configuration has the providers {}", names.join(", "))]
    WhichProvider {
        /// Their names.
        names: Vec<String>,
    },
    /// The hub's own address.
    #[error("{url} cannot be the hub's public URL")]
    PublicUrl {
        /// What was given.
        url: Url,
    },
    /// What was given as the provider.
    #[error("{text:?} is not the address of a provider")]
    Address {
        /// What was given.
        text: String,
    },
    /// No provider anywhere.
    #[error("no OpenID provider was found{}", places(tried))]
    NotFound {
        /// Where it was looked for, and why it is not there.
        tried: Vec<(Url, String)>,
    },
    /// No calls can be made.
    #[error(transparent)]
    Oidc(#[from] OidcError),
    /// No runtime.
    #[error("cannot start a runtime")]
    Runtime(#[source] io::Error),
    /// The administrator's token.
    #[error("cannot read the administrator's token")]
    Token(#[from] SecretError),
    /// The administrator's token, by the standard input.
    #[error("cannot read the administrator's token from the standard input")]
    Stdin(#[source] io::Error),
    /// Keycloak's administration.
    #[error("cannot register the client")]
    Admin(#[from] AdminError),
    /// The file for the client's secret.
    #[error("cannot keep the client's secret")]
    SecretFile(#[from] SecretFileError),
}

impl ConnectError {
    /// What to do.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Config(error) => error.remedy(),
            Self::WhichProvider { .. } => "choose one with --provider-name",
            Self::NoIssuer => "name it: hubgate connect https://keycloak.example.org/realms/lab …",
            Self::PublicUrl { .. } => "write scheme, host and port only: https://hub.example.org",
            Self::Address { .. } => "write it as https://keycloak.example.org/realms/lab",
            Self::NotFound { .. } => {
                "compare the realm's name; see whether the provider runs and can be reached from here; give --ca-file if \
                 its certificate comes from an authority of your own"
            }
            Self::Oidc(error) => error.remedy(),
            Self::Runtime(_) => "raise the limits of this account",
            Self::Token(error) => error.remedy(),
            Self::Stdin(_) => "pipe the token into hubgate, or name a file",
            Self::Admin(error) => error.remedy(),
            Self::SecretFile(error) => error.remedy(),
        }
    }

    /// Whether the command line or the configuration is wrong.
    pub fn is_configuration(&self) -> bool {
        matches!(
            self,
            Self::Config(_)
                | Self::NoIssuer
                | Self::WhichProvider { .. }
                | Self::PublicUrl { .. }
                | Self::Address { .. }
        )
    }
}

/// What is to be said, and whether people can sign in like this.
#[derive(Debug)]
pub struct Answer {
    /// For the standard output.
    pub text: String,
    /// Whether nothing is in the way.
    pub usable: bool,
}

/// Finds the provider, and does what the options say.
pub fn run(options: Options) -> Result<Answer, ConnectError> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(ConnectError::Runtime)?;
    let json = options.json;
    let report = runtime.block_on(connect(options, Clock::system()))?;
    let text = if json { report.json() } else { report.words() };
    Ok(Answer { text, usable: report.worst() < Level::Error })
}

async fn connect(options: Options, clock: Clock) -> Result<Report, ConnectError> {
    let mut hub = Hub::new(&options)?;
    // Read first: a token lives a minute, and whoever types it should not wait for a search.
    let token = token(&options)?;
    let timeout = hub.provider.timeout.0.max(TIMEOUT);
    let probe = Probe::new(hub.provider.ca_file.as_deref(), timeout, hub.provider.insecure_http)?;
    let mut found = search::find(&hub.issuer, &probe).await?;
    hub.learn(&found.issuer, found.elsewhere.then_some(&found.document), &found.description);
    let mut remarks = std::mem::take(&mut found.remarks);
    remarks.extend(found.description.judge(&Accepts {
        signatures: &hub.provider.signing_algorithms,
        client_authentication: hub.provider.client_authentication,
        insecure_http: hub.provider.insecure_http,
    }));
    remarks.push(remark::clock(found.date, clock.now(), hub.provider.clock_skew.0));
    if let Some(other) = hub.configured.as_ref().filter(|configured| **configured != found.issuer) {
        let what = format!("the configuration has another issuer: {other}");
        remarks.push(Remark::error("configuration", what, "write provider.issuer as below"));
    }
    if !remarks.iter().any(|remark| remark.level == Level::Error) {
        remarks.push(trial(&hub.provider, &probe).await);
    }
    let registration = match token {
        Some(token) => Some(registered(&options, &hub, &found, (&probe, &token)).await?),
        None => None,
    };
    Ok(Report { hub, found, remarks, registration })
}

/// Whether hubgate, so configured, would take this provider.
async fn trial(provider: &config::Provider, probe: &Probe) -> Remark {
    const ABOUT: &str = "trial";
    match probe.accept(provider).await {
        Ok(()) => Remark::good(ABOUT, "hubgate takes it, and has fetched its keys"),
        Err(error) => Remark::error(
            ABOUT,
            format!("hubgate would not take it: {}", search::why(&error)),
            error.remedy(),
        ),
    }
}

async fn registered(
    options: &Options,
    hub: &Hub,
    found: &search::Found,
    (probe, token): (&Probe, &Secret),
) -> Result<Registration, ConnectError> {
    let write = options.register;
    let not_keycloak = || AdminError::NotKeycloak { issuer: found.issuer.clone() };
    if !found.description.is_keycloak() {
        return Err(not_keycloak().into());
    }
    let realm = match &options.admin_url {
        Some(url) => {
            let realm = address::realm(&found.issuer).ok_or_else(not_keycloak)?;
            let base = url.as_str().trim_end_matches('/');
            address::administration(&format!("{base}/realms/{realm}"))
        }
        // Where it was found rather than where it says it is: that can be reached from here.
        None => address::administration(&address::issuer_of(&found.document)),
    };
    let admin = Admin::new(probe, realm.ok_or_else(not_keycloak)?, token)?;
    let registered = register::register(&admin, &hub.client, &hub.callers, write).await?;
    let mut secret_file = None;
    if let (Some(path), Some(id)) = (&options.secret_file, &registered.id) {
        let secret = admin.secret(id, &hub.client.id).await?;
        secret_file = Some((path.clone(), secret_file::write(path, &secret)?));
    }
    Ok(Registration { registered, write, secret_file })
}

/// The administrator's token, if one was given.
fn token(options: &Options) -> Result<Option<Secret>, ConnectError> {
    let given = match (&options.admin_token_file, &options.admin_token_env) {
        (Some(path), _) if path.as_os_str() == "-" => from_stdin()?,
        (Some(path), _) => SecretSource::File(path.clone()).read()?,
        (None, Some(name)) => SecretSource::Env(name.clone()).read()?,
        (None, None) => return Ok(None),
    };
    Ok(Some(access_token(&given)))
}

fn from_stdin() -> Result<Secret, ConnectError> {
    let mut text = Zeroizing::new(String::new());
    io::stdin().take(SecretSource::MAX_BYTES).read_to_string(&mut text).map_err(ConnectError::Stdin)?;
    Ok(Secret::new(text.trim()))
}

/// The token alone, also out of a token endpoint's whole answer.
fn access_token(given: &Secret) -> Secret {
    let parsed: Option<Value> = serde_json::from_str(given.expose()).ok();
    match parsed.as_ref().and_then(|answer| answer.get("access_token")).and_then(Value::as_str) {
        Some(token) => Secret::new(token),
        None => Secret::new(given.expose().trim()),
    }
}

fn places(tried: &[(Url, String)]) -> String {
    tried.iter().fold(String::new(), |text, (url, why)| text + "\n    " + url.as_str() + ": " + why)
}

/// Registering takes longer than a login's calls, and no browser waits for it.
const TIMEOUT: Duration = Duration::from_secs(30);
