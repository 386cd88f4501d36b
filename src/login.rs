//! `hubgate login`: signs a program in at a hub, by a code that its user confirms in a browser (RFC 8628).
//!
//! What the hub says is shown on a terminal and written to a file: neither may be more than it should be.

mod token_file;

use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use http::header::CONTENT_TYPE;
use http::{Method, Request, StatusCode};
use serde::Deserialize;
use thiserror::Error;
use tokio::time::{Instant, sleep};
use url::Url;

use self::token_file::TokenFile;
use crate::oidc::probe::Probe;
use crate::oidc::{BoxError, OidcError};
use crate::secret::Secret;

/// Where to sign in, for what, and where the token goes.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// The hub: `https://hub.example.org`
    #[arg(value_name = "URL")]
    pub hub: Url,
    /// What the program may do, for example access:servers or servers!server=alice/gpu; may be given several times
    /// [default: what it takes to work with one's own server]
    #[arg(long, value_name = "SCOPE")]
    pub scope: Vec<String>,
    /// What the program is called on the page where you confirm it
    #[arg(long, value_name = "NAME", default_value = "hubgate login")]
    pub name: String,
    /// The authorities that the hub's certificate may come from, in place of the system's
    #[arg(long, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// Write the token into this file, which only you can read; one that is there is replaced
    #[arg(long, value_name = "FILE", required_unless_present = "print", conflicts_with = "print")]
    pub file: Option<PathBuf>,
    /// Print the token
    #[arg(long)]
    pub print: bool,
}

/// There is no token.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LoginError {
    /// No address of a hub.
    #[error("{url} is not the address of a hub: {why}")]
    Address {
        /// What was given, as far as it is shown.
        url: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// It cannot be asked.
    #[error("the hub at {url} cannot be asked")]
    Unreachable {
        /// Where.
        url: Url,
        /// Why.
        source: BoxError,
    },
    /// It answers, but not as a hub does.
    #[error("what answers at {url} does not let programs in as hubgate does")]
    NoHub {
        /// Where.
        url: Url,
    },
    /// It says no.
    #[error("the hub refuses: {error}")]
    Refused {
        /// RFC 6749 error code, letters only.
        error: String,
    },
    /// The person said no.
    #[error("the answer in the browser was no")]
    Denied,
    /// Nobody answered.
    #[error("nobody confirmed the code in time")]
    Expired,
    /// The token cannot be kept.
    #[error("cannot write {}", .path.display())]
    Write {
        /// Where.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// No runtime.
    #[error("cannot start a runtime")]
    Runtime(#[source] std::io::Error),
}

impl LoginError {
    /// What to do.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Address { .. } => "write it as https://hub.example.org",
            Self::Unreachable { .. } => {
                "see whether it can be reached from here; give --ca-file if its certificate comes from an authority of \
                 your own"
            }
            Self::NoHub { .. } => "compare the address with the one in your browser",
            Self::Refused { .. } => "compare the scopes with those on the hub's page /hub/token",
            Self::Denied | Self::Expired => "start again, and confirm the code in your browser",
            Self::Write { .. } => "name a file in a folder that you may write to",
            Self::Runtime(_) => "raise the limits of this account",
        }
    }

    /// Whether the command line is wrong.
    pub fn is_configuration(&self) -> bool {
        matches!(self, Self::Address { .. })
    }
}

/// What the hub says to the first question.
#[derive(Debug, Deserialize)]
struct Begun {
    device_code: String,
    user_code: String,
    verification_uri: Url,
    verification_uri_complete: Option<Url>,
    expires_in: u64,
    interval: Option<u64>,
}

/// What it says to all that follow.
#[derive(Debug, Deserialize)]
struct Polled {
    access_token: Option<String>,
    error: Option<String>,
}

/// Signs in. With `--print`, the token is the answer.
pub fn run(options: Options) -> Result<Option<Secret>, LoginError> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(LoginError::Runtime)?;
    runtime.block_on(async {
        let hub = Hub::new(&options)?;
        // Made first: nobody should confirm what then has no place.
        let file = options.file.as_deref().map(TokenFile::make).transpose()?;
        let token = hub.sign_in(&options).await?;
        match file {
            Some(file) => file.keep(&token).map(|()| None),
            None => Ok(Some(token)),
        }
    })
}

/// The hub, as seen from here.
struct Hub {
    url: Url,
    calls: Probe,
}

impl Hub {
    fn new(options: &Options) -> Result<Self, LoginError> {
        let url = options.hub.clone();
        // A password that stands in it is not repeated.
        let shown = format!("{}://{}", url.scheme(), url.host_str().unwrap_or_default());
        let wrong = |why| LoginError::Address { url: shown.clone(), why };
        let secret = !url.username().is_empty() || url.password().is_some();
        if secret || url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
            return Err(wrong("it is more than scheme, host and port"));
        }
        let calls =
            Probe::new(options.ca_file.as_deref(), TIMEOUT, false).map_err(|error| failed(&url, error))?;
        calls.check("the hub", &url).map_err(|_insecure| wrong("tokens are sent over https only"))?;
        Ok(Self { url, calls })
    }

    async fn sign_in(&self, options: &Options) -> Result<Secret, LoginError> {
        let scope = options.scope.join(" ");
        let asked = [("client_id", options.name.as_str()), ("scope", &scope)];
        let (status, body) = self.post("/hub/api/oauth2/device_authorization", &asked).await?;
        let begun: Begun = match serde_json::from_slice(&body) {
            Ok(begun) if status == StatusCode::OK => begun,
            _ => return Err(self.refusal(&body)),
        };
        let code = Some(begun.user_code.as_str()).filter(|code| is_plain(code, MOST_CODE));
        let code = code.ok_or_else(|| LoginError::NoHub { url: self.url.clone() })?;
        tell(&begun, code);
        self.wait(options, &begun).await
    }

    async fn wait(&self, options: &Options, begun: &Begun) -> Result<Secret, LoginError> {
        let end = Instant::now() + Duration::from_secs(begun.expires_in.min(LONGEST));
        let mut pause = Duration::from_secs(begun.interval.unwrap_or(5).clamp(1, 60));
        let asked = [
            ("grant_type", "urn:ietf:params:oauth:grant-type:device_code"),
            ("client_id", options.name.as_str()),
            ("device_code", begun.device_code.as_str()),
        ];
        while Instant::now() + pause < end {
            sleep(pause).await;
            // A hub that is away for a moment still knows the code, or says that it does not.
            let Ok((_, body)) = self.post("/hub/api/oauth2/token", &asked).await else { continue };
            let Ok(polled) = serde_json::from_slice::<Polled>(&body) else { continue };
            if let Some(token) = polled.access_token.filter(|token| is_plain(token, MOST_TOKEN)) {
                return Ok(Secret::new(token));
            }
            match polled.error.as_deref() {
                Some("authorization_pending") => {}
                Some("slow_down") => pause += Duration::from_secs(5),
                Some("access_denied") => return Err(LoginError::Denied),
                Some("expired_token") => return Err(LoginError::Expired),
                _ => return Err(self.refusal(&body)),
            }
        }
        Err(LoginError::Expired)
    }

    async fn post(&self, path: &str, fields: &[(&str, &str)]) -> Result<(StatusCode, Vec<u8>), LoginError> {
        let mut url = self.url.clone();
        url.set_path(path);
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let request = Request::builder()
            .method(Method::POST)
            .uri(url.as_str())
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(body.into_bytes())
            .map_err(|source| LoginError::Unreachable { url: self.url.clone(), source: source.into() })?;
        let response = self.calls.call(request).await.map_err(|error| failed(&self.url, error))?;
        Ok((response.status(), response.into_body()))
    }

    fn refusal(&self, body: &[u8]) -> LoginError {
        let polled: Option<Polled> = serde_json::from_slice(body).ok();
        match polled.and_then(|polled| polled.error).filter(|error| is_plain(error, MOST_CODE)) {
            Some(error) => LoginError::Refused { error },
            None => LoginError::NoHub { url: self.url.clone() },
        }
    }
}

/// A call says "provider" of whom it asks, and here it is a hub: only its causes are told.
fn failed(url: &Url, error: OidcError) -> LoginError {
    let source = if let OidcError::Unreachable { source, .. } = error { source } else { error.into() };
    LoginError::Unreachable { url: url.clone(), source }
}

/// Nothing that a terminal or a header takes for more than text.
fn is_plain(text: &str, most: usize) -> bool {
    !text.is_empty()
        && text.len() <= most
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'~' | b'+' | b'/' | b'='))
}

/// Says what to do, apart from where a token is printed.
fn tell(begun: &Begun, code: &str) {
    let page = &begun.verification_uri;
    let directly = begun.verification_uri_complete.as_ref();
    let directly = directly.map(|url| format!("or open {url} and compare it\n")).unwrap_or_default();
    let text = format!(
        "Open {page} in your browser and type the code {code}\n{directly}Waiting for your answer there …\n"
    );
    // Whoever closed it does not want to read it.
    drop(std::io::stderr().write_all(text.as_bytes()));
}

const TIMEOUT: Duration = Duration::from_secs(30);

/// Seconds; a code that is good for longer is not waited for.
const LONGEST: u64 = 3600;

const MOST_CODE: usize = 64;
const MOST_TOKEN: usize = 8192;
