//! The demo's folder: certificate, client secret, homes, and the `config.toml` that people can read and learn from.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use cookie::time::{Duration, OffsetDateTime};
use rcgen::{CertificateParams, KeyPair};
use toml::Value;
use x509_parser::pem::Pem;

use super::DemoError;
use super::workspace::Workspace;
use crate::clock::Clock;
use crate::config;
use crate::seal;
use crate::secret::Secret;

/// What the certificate is for.
const NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// A certificate with less life than this is made anew.
const LEAST_LIFE: i64 = 7 * 86_400;

/// The folder; only its owner may look into it.
#[derive(Debug)]
pub(super) struct Folder(PathBuf);

/// What `config.toml` says.
#[derive(Debug)]
pub(super) struct Setting<'a> {
    pub(super) port: u16,
    pub(super) issuer: &'a str,
    pub(super) client_id: &'a str,
    pub(super) admin: &'a str,
    pub(super) workspace: &'a Workspace,
}

impl Folder {
    /// Makes it when it is not there.
    pub(super) fn open(path: &Path) -> Result<Self, DemoError> {
        make_folder(path)?;
        // The configuration names files by it, and workspaces run elsewhere.
        let path = path.canonicalize().map_err(|source| file_error(path, source))?;
        Ok(Self(path))
    }

    /// Where something stands in it.
    pub(super) fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// The certificate for `localhost`: the one that is there as long as it lives, so that a browser asks only once.
    pub(super) fn certificate(&self, clock: &Clock) -> Result<PathBuf, DemoError> {
        let (chain, key) = (self.join("certificate.pem"), self.join("certificate.key"));
        let now = i64::try_from(clock.now()).unwrap_or(i64::MAX);
        if key.exists() && expiry(&chain).is_some_and(|expiry| expiry - now > LEAST_LIFE) {
            return Ok(chain);
        }
        let mut wanted = CertificateParams::new(NAMES.map(str::to_owned))?;
        wanted.distinguished_name.push(rcgen::DnType::CommonName, "hubgate demo");
        if let Ok(today) = OffsetDateTime::from_unix_timestamp(now) {
            wanted.not_before = today - Duration::days(1);
            // Browsers accept no more than 398 days.
            wanted.not_after = today + Duration::days(390);
        }
        let pair = KeyPair::generate()?;
        let certificate = wanted.self_signed(&pair)?;
        self.write("certificate.key", &pair.serialize_pem())?;
        self.write("certificate.pem", &certificate.pem())?;
        Ok(chain)
    }

    /// The client's secret at the provider: made once.
    pub(super) fn client_secret(&self) -> Result<Secret, DemoError> {
        let path = self.join("client-secret");
        match fs::read_to_string(&path) {
            Ok(text) if !text.trim().is_empty() => Ok(Secret::new(text.trim())),
            Ok(_) => self.new_client_secret(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.new_client_secret(),
            Err(source) => Err(file_error(&path, source)),
        }
    }

    fn new_client_secret(&self) -> Result<Secret, DemoError> {
        let secret = seal::random_text::<32>();
        self.write("client-secret", &secret)?;
        Ok(Secret::new(secret))
    }

    /// The provider's port of the last time.
    pub(super) fn provider_port(&self) -> Option<u16> {
        fs::read_to_string(self.join("provider-port")).ok()?.trim().parse().ok()
    }

    /// Keeps the provider's port. On another port it is another issuer, whose users are other people than those whom
    /// the store knows: it begins anew.
    pub(super) fn keep_provider_port(&self, port: u16) -> Result<(), DemoError> {
        if self.provider_port() == Some(port) {
            return Ok(());
        }
        for name in ["hubgate.db", "hubgate.db-wal", "hubgate.db-shm"] {
            let path = self.join("state").join(name);
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(file_error(&path, error));
                }
                Ok(()) | Err(_) => {}
            }
        }
        self.write("provider-port", &port.to_string())
    }

    /// Writes `config.toml`, and says where it is.
    pub(super) fn write_config(&self, setting: &Setting<'_>) -> Result<PathBuf, DemoError> {
        self.write("config.toml", &written(&self.0, setting))?;
        Ok(self.join("config.toml"))
    }

    fn write(&self, name: &str, text: &str) -> Result<(), DemoError> {
        let path = self.join(name);
        // Replaced rather than written over: a file that is there may be somebody else's link, or readable by others.
        let new = self.join(&format!("{name}.new"));
        let write = || {
            match fs::remove_file(&new) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
            file.write_all(text.as_bytes())?;
            fs::rename(&new, &path)
        };
        write().map_err(|source| file_error(&path, source))
    }
}

fn make_folder(path: &Path) -> Result<(), DemoError> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|source| file_error(path, source))
}

fn file_error(path: &Path, source: io::Error) -> DemoError {
    DemoError::File { path: path.to_owned(), source }
}

/// When a certificate ends, in seconds since 1970; none for anything that is no certificate.
fn expiry(chain: &Path) -> Option<i64> {
    let text = fs::read(chain).ok()?;
    let pem = Pem::iter_from_buffer(&text).next()?.ok()?;
    Some(pem.parse_x509().ok()?.validity().not_after.timestamp())
}

fn written(folder: &Path, setting: &Setting<'_>) -> String {
    let Setting { port, issuer, client_id, admin, workspace } = setting;
    let quoted = |text: &str| Value::from(text).to_string();
    let path = |name: &str| quoted(&folder.join(name).to_string_lossy());
    let (chain, key, secret, state) =
        (path("certificate.pem"), path("certificate.key"), path("client-secret"), path("state"));
    // In a folder with a long name there is no room for a socket; the demo goes without.
    let socket =
        Some(folder.join("admin.sock")).filter(|path| path.as_os_str().len() <= config::Admin::LONGEST);
    let socket = socket.map_or_else(|| quoted("off"), |path| quoted(&path.to_string_lossy()));
    let operations = port.checked_add(1).unwrap_or(0);
    let (issuer, client_id, admin) = (quoted(issuer), quoted(client_id), quoted(admin));
    let workspace = workspace.config(&folder.join("homes"), quoted);
    format!(
        r#"# The configuration of `hubgate demo`, written anew each time it starts. A real one is in config.toml.example.

[public]
url = "https://localhost:{port}"
hsts = "0s"                     # localhost serves other things too

[listen]
https = ["127.0.0.1:{port}"]
http = []
operations = "127.0.0.1:{operations}"

[[certificate]]
chain = {chain}
key = {key}

# The demo's own provider; at an institute, a realm of Keycloak.
[provider]
issuer = {issuer}
client_id = {client_id}
client_secret = {{ file = {secret} }}

[admin]
socket = {socket}

[store]
folder = {state}

[[rule]]
everyone = true

[[rule]]
users = [{admin}]
admin = true

{workspace}
[log]
requests = false                # the terminal has users and passwords to show
"#
    )
}
