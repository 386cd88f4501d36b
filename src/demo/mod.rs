//! `hubgate demo`: everything on one machine, to try out. A provider with two users, a certificate for localhost, and
//! notebooks in containers where Docker is, else as child processes.
//!
//! Only the surroundings are the demo's. hubgate itself is the product: it reads a `config.toml` and serves it.

mod folder;
mod form;
mod page;
mod provider;
mod serve;
mod tokens;
mod workspace;

use std::env;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use thiserror::Error;
use url::Url;

use crate::app::{self, AppError};
use crate::clock::Clock;
use crate::config::{self, Config, ConfigError};
use crate::seal;
use crate::secret::Secret;
use folder::{Folder, Setting};
use provider::{Client, Person, Provider};
use serve::Door;
use workspace::Workspace;

/// What the demo is made of.
#[derive(Debug, Clone, PartialEq, Eq, clap::Args)]
pub struct Options {
    /// The port on localhost that browsers open
    #[arg(long, value_name = "PORT", default_value_t = 8443, value_parser = clap::value_parser!(u16).range(1..))]
    pub port: u16,
    /// Where certificate, config.toml, users' homes and state are kept [default: ~/.cache/hubgate-demo]
    #[arg(long, value_name = "FOLDER")]
    pub folder: Option<PathBuf>,
    /// A Python virtual environment with JupyterLab, for machines without Docker
    #[arg(long, value_name = "FOLDER")]
    pub jupyter: Option<PathBuf>,
    /// The image of users' containers; Docker fetches it when it is not there
    #[arg(long, value_name = "IMAGE")]
    pub image: Option<String>,
    /// A program in place of JupyterLab, as a child process, which listens on {port}
    #[arg(last = true, value_name = "COMMAND", conflicts_with = "image")]
    pub command: Vec<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self { port: 8443, folder: None, jupyter: None, image: None, command: Vec::new() }
    }
}

/// The demo cannot run.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DemoError {
    /// There is no home folder to put the demo's own into.
    #[error("there is no home folder for the demo's files")]
    Home,
    /// A file or folder of the demo.
    #[error("cannot use {}", .path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// No certificate for localhost.
    #[error("cannot make a certificate for localhost")]
    Certificate(#[from] rcgen::Error),
    /// No key for the provider.
    #[error("cannot make the provider's signing key")]
    Key,
    /// No port or thread for the provider.
    #[error("cannot start the demo's provider")]
    Provider(#[source] io::Error),
    /// Docker cannot be asked.
    #[error("cannot start a runtime")]
    Runtime(#[source] io::Error),
    /// Neither an image nor a virtual environment.
    #[error("there is nothing to start for users")]
    Nothing,
    /// No `JupyterLab` where it should be.
    #[error("there is no JupyterLab at {}", .path.display())]
    Jupyter {
        /// The program that was looked for.
        path: PathBuf,
    },
    /// The configuration that the demo wrote.
    #[error("cannot use the demo's own configuration")]
    Config(#[from] ConfigError),
    /// hubgate itself.
    #[error(transparent)]
    App(#[from] AppError),
}

impl DemoError {
    /// What to do.
    pub fn remedy(&self) -> Option<&'static str> {
        Some(match self {
            Self::Home => "say where with --folder",
            Self::File { .. } => "give a folder of your own with --folder",
            Self::Certificate(_) | Self::Key => "run it again; this machine's randomness or libraries failed",
            Self::Provider(_) | Self::Runtime(_) => {
                "close other programs, or raise the limits of this account"
            }
            Self::Nothing | Self::Jupyter { .. } => {
                "run `make demo`, or give a virtual environment with JupyterLab (--jupyter FOLDER), an image (--image \
                 IMAGE) or a command (-- COMMAND …)"
            }
            Self::Config(_) => "look at config.toml in the demo's folder",
            Self::App(error) => return error.remedy(),
        })
    }
}

/// Runs the demo until it is told to stop.
pub fn run(options: Options) -> Result<(), DemoError> {
    let clock = Clock::system();
    let path = match &options.folder {
        Some(folder) => folder.clone(),
        None => env::home_dir().ok_or(DemoError::Home)?.join(".cache").join("hubgate-demo"),
    };
    let folder = Folder::open(&path)?;
    let workspace = Workspace::choose(&options)?;
    folder.certificate(&clock)?;
    // The port of the last time, while it is free: then sessions of the last time go on.
    let door = Door::bind(folder.provider_port()).or_else(|_taken| Door::bind(None));
    let door = door.map_err(DemoError::Provider)?;
    let port = door.port().map_err(DemoError::Provider)?;
    folder.keep_provider_port(port)?;

    let people = people();
    let issuer = format!("http://127.0.0.1:{port}");
    let client = Client { id: CLIENT, secret: folder.client_secret()?, callback: callback(options.port) };
    let provider = Provider::new(issuer.clone(), client, people.clone(), clock);
    let provider = provider.map_err(|_unspecified| DemoError::Key)?;

    let setting = Setting {
        port: options.port,
        issuer: &issuer,
        client_id: CLIENT,
        admin: people.first().map_or("", |person| person.name),
        workspace: &workspace,
    };
    let file = folder.write_config(&setting)?;
    let config = usable(&file)?;
    door.open(provider).map_err(DemoError::Provider)?;
    let text = welcome(&people, options.port, port, &file.display().to_string(), &workspace);
    // Whoever has closed the terminal has the demo without its words.
    io::stdout().lock().write_all(text.as_bytes()).unwrap_or_default();
    Ok(app::run(config, None)?)
}

/// The configuration, judged as anybody's.
fn usable(file: &Path) -> Result<Config, ConfigError> {
    let loaded = config::load(file)?;
    let findings = config::check(&loaded);
    if findings.is_empty() { Ok(loaded.config) } else { Err(ConfigError::Findings(findings)) }
}

/// hubgate's name at the provider.
const CLIENT: &str = "hubgate-demo";

#[expect(clippy::expect_used, reason = "a number between constants leaves them a URL")]
fn callback(port: u16) -> Url {
    Url::parse(&format!("https://localhost:{port}/hub/oauth_callback")).expect("a URL")
}

/// An administrator, and a user.
fn people() -> Vec<Person> {
    let person = |name, full_name, groups| Person { name, full_name, groups, password: password() };
    vec![person("alice", "Alice Adams", &["/demo/teachers"]), person("bob", "Bob Brown", &["/demo/students"])]
}

/// Sixty random bits, in letters and digits that look like no others.
fn password() -> Secret {
    const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let letters =
        seal::random::<12>().map(|byte| LETTERS.get(usize::from(byte % 32)).map_or('x', |&c| char::from(c)));
    let mut text = String::new();
    for (at, letter) in letters.into_iter().enumerate() {
        if at > 0 && at % 4 == 0 {
            text.push('-');
        }
        text.push(letter);
    }
    Secret::new(text)
}

fn welcome(people: &[Person], port: u16, provider: u16, config: &str, workspace: &Workspace) -> String {
    let line = |(person, role): (&Person, &str)| {
        format!("      {:<8}{}   ({role})", person.name, person.password.expose())
    };
    let users = people.iter().zip(["administrator", "user"]).map(line).collect::<Vec<_>>().join("\n");
    let (workspace, afterwards) = match workspace {
        Workspace::Container { image } => {
            let names: Vec<_> = people.iter().map(|person| format!("{CLIENT}-{}", person.name)).collect();
            let remove = format!("docker rm -f {} (they run on until then)", names.join(" "));
            (format!("containers of {image}"), remove)
        }
        Workspace::Process { .. } => {
            let nothing = "nothing runs on, and the homes stay";
            (
                "child processes WITHOUT ANY PROTECTION between users or from them".to_owned(),
                nothing.to_owned(),
            )
        }
    };
    format!(
        "
  ==========================================================================
    THIS IS A DEMO. It is for this machine only: NOT FOR THE INTERNET.
  ==========================================================================

    Open      https://localhost:{port}
              The browser warns of the certificate, which the demo has made itself.

    Sign in as
{users}

    Notebooks run as {workspace}.
    Configuration   {config}
    Metrics         http://127.0.0.1:{metrics}/metrics
    From elsewhere  ssh -L {port}:localhost:{port} -L {provider}:127.0.0.1:{provider} THIS-MACHINE
    Stop            Ctrl-C
    Afterwards      {afterwards}

",
        metrics = port.saturating_add(1),
    )
}
