//! The hub that is to be connected, from the command line and the configuration: its addresses, and what is known of its
//! provider beforehand.

use std::path::{Path, PathBuf};

use url::Url;

use super::client::Client;
use super::remark::Description;
use super::{ConnectError, Options};
use crate::config::{self, ClientAuthentication, Config, Provider};
use crate::secret::SecretSource;

/// What is known beforehand.
#[derive(Debug)]
pub(super) struct Hub {
    /// What to look for.
    pub(super) issuer: String,
    pub(super) client: Client,
    /// Clients whose access tokens may call the hub's API.
    pub(super) callers: Vec<String>,
    /// The provider's section, as it is or as it will be.
    pub(super) provider: Provider,
    /// The issuer that the configuration has.
    pub(super) configured: Option<String>,
}

impl Hub {
    /// What the command line says goes before what the configuration says.
    pub(super) fn new(options: &Options) -> Result<Self, ConnectError> {
        let loaded = options.config.as_deref().map(config::load).transpose()?;
        let (origin, callback, mut provider) = match (loaded, &options.public_url) {
            (Some(loaded), _) => configured(&loaded.config, options.provider_name.as_deref())?,
            (None, Some(url)) => described(options, url)?,
            (None, None) => return Err(ConnectError::NoIssuer),
        };
        let configured = options.config.as_ref().and(provider.issuer.clone());
        // Where the configuration reads the description, it can be read; at the issuer, perhaps not from here.
        let described =
            || provider.discovery_url.as_ref().filter(|_| configured.is_some()).map(Url::to_string);
        let issuer = options.issuer.clone().or_else(described).or_else(|| configured.clone());
        let issuer = issuer.ok_or(ConnectError::NoIssuer)?;
        if let Some(id) = &options.client_id {
            provider.client_id.clone_from(id);
        }
        if let Some(path) = &options.ca_file {
            provider.ca_file = Some(absolute(path));
        }
        if let Some(path) = &options.secret_file {
            provider.client_secret = Some(SecretSource::File(absolute(path)));
        }
        provider.insecure_http |= options.insecure_http;
        for caller in &options.api_client {
            if !provider.api_clients.contains(caller) {
                provider.api_clients.push(caller.clone());
            }
        }
        let client = Client {
            id: provider.client_id.clone(),
            origin,
            callback,
            groups_claim: provider.groups_claim.clone(),
            by_key: provider.client_authentication == ClientAuthentication::PrivateKeyJwt,
        };
        Ok(Self { issuer, client, callers: provider.api_clients.clone(), provider, configured })
    }

    /// Fills in what was found. What a configuration says of signatures is for its administrators to change.
    pub(super) fn learn(&mut self, issuer: &str, elsewhere: Option<&Url>, description: &Description) {
        self.provider.issuer = Some(issuer.to_owned());
        if let Some(document) = elsewhere {
            self.provider.discovery_url = Some(document.clone());
        }
        let offered = description.signatures();
        if self.configured.is_none()
            && !offered.is_empty()
            && !offered.iter().any(|algorithm| self.provider.signing_algorithms.contains(algorithm))
        {
            self.provider.signing_algorithms = offered;
        }
    }

    /// `[provider]`, as far as it is not the default or concerns what was found.
    pub(super) fn section(&self) -> String {
        let Self { provider, .. } = self;
        let usual = unnamed();
        let header = if provider.name.is_some() { "[[provider]]" } else { "[provider]" };
        let mut lines = vec![header.to_owned()];
        let mut add = |key: &str, value: toml::Value| lines.push(format!("{key} = {value}"));
        if let Some(name) = &provider.name {
            add("name", name.as_str().into());
        }
        if let Some(host) = &provider.host {
            add("host", host.as_str().into());
        }
        add("issuer", provider.issuer.as_deref().unwrap_or_default().into());
        if let Some(url) = &provider.discovery_url {
            add("discovery_url", url.as_str().into());
        }
        add("client_id", provider.client_id.as_str().into());
        if provider.client_authentication != ClientAuthentication::default() {
            add("client_authentication", text(&provider.client_authentication));
        }
        if let Some(source) = &provider.client_secret {
            add("client_secret", place(source));
        }
        if let Some(source) = &provider.client_key {
            add("client_key", place(source));
        }
        if let Some(path) = &provider.ca_file {
            add("ca_file", path.display().to_string().into());
        }
        if provider.signing_algorithms != usual.signing_algorithms {
            add("signing_algorithms", text(&provider.signing_algorithms));
        }
        if provider.groups_claim != usual.groups_claim {
            add("groups_claim", provider.groups_claim.as_str().into());
        }
        if !provider.api_clients.is_empty() {
            add("api_clients", text(&provider.api_clients));
        }
        if provider.insecure_http {
            add("insecure_http", true.into());
        }
        lines.push(String::new());
        lines.join("\n")
    }
}

/// As the configuration has it.
fn configured(config: &Config, name: Option<&str>) -> Result<(Url, Url, Provider), ConnectError> {
    let provider = match (name, &*config.provider) {
        (None, [only]) => Some(only),
        (None, _) => None,
        (Some(name), all) => all.iter().find(|provider| provider.name() == name),
    };
    let provider = provider.ok_or_else(|| ConnectError::WhichProvider {
        names: config.provider.iter().map(|provider| provider.name().to_owned()).collect(),
    })?;
    Ok((config.origin_of(provider), config.callback_of(provider), provider.clone()))
}

/// As it will be, with nothing but the command line to go by.
fn described(options: &Options, url: &Url) -> Result<(Url, Url, Provider), ConnectError> {
    let more =
        url.path() != "/" || url.query().is_some() || url.fragment().is_some() || !url.username().is_empty();
    if url.scheme() != "https" || !url.has_host() || more || url.password().is_some() {
        return Err(ConnectError::PublicUrl { url: url.clone() });
    }
    let mut provider = unnamed();
    provider.issuer.clone_from(&options.issuer);
    provider.name.clone_from(&options.provider_name);
    let callback = match &options.provider_name {
        Some(name) => at(url, &format!("{CALLBACK}/{name}")),
        None => at(url, CALLBACK),
    };
    Ok((url.clone(), callback, provider))
}

fn unnamed() -> Provider {
    Provider::of_issuer("", "hubgate", SecretSource::Credential("oidc-client-secret".to_owned()))
}

/// This path of the hub.
pub(super) fn at(origin: &Url, path: &str) -> Url {
    let mut url = origin.clone();
    url.set_path(path);
    url
}

fn place(source: &SecretSource) -> toml::Value {
    let (kind, place) = match source {
        SecretSource::File(path) => ("file", path.display().to_string()),
        SecretSource::Env(name) => ("env", name.clone()),
        SecretSource::Credential(name) => ("credential", name.clone()),
    };
    toml::Table::from_iter([(kind.to_owned(), place.into())]).into()
}

/// A value as the configuration writes it.
fn text(value: &impl serde::Serialize) -> toml::Value {
    toml::Value::try_from(value).unwrap_or_else(|_unwritable| toml::Value::from(""))
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

const CALLBACK: &str = "/hub/oauth_callback";
