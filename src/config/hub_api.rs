//! `[hub_api]`: where containers find the hub.

use std::net::{IpAddr, SocketAddr};

use serde::Deserialize;
use url::Url;

use super::{Config, Mode};

/// `[hub_api]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HubApi {
    /// An address that containers reach: the gateway of their network. It need not exist yet at start.
    pub listen: Option<SocketAddr>,
    /// The URL that containers are told; default: `http://<listen>/hub/api`.
    pub url: Option<Url>,
    /// Lets `listen` be an address that others than containers reach, in the clear: all of this machine's, or a public one.
    pub insecure_anywhere: bool,
}

impl HubApi {
    /// Whether more than this machine's own networks reach it.
    pub(super) fn is_anywhere(&self) -> bool {
        self.listen.is_some_and(|address| !is_own(address.ip()))
    }

    /// Where containers reach it: `http://172.18.0.1:8081/hub/api`.
    pub fn url(&self) -> Option<String> {
        let listen = || self.listen.map(|address| format!("http://{address}/hub/api"));
        self.url.as_ref().map(|url| url.as_str().trim_end_matches('/').to_owned()).or_else(listen)
    }
}

/// Loopback, link-local and private addresses (RFC 1918, 6598, 4193), which containers' networks have.
fn is_own(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            let [first, second, ..] = v4.octets();
            let shared = first == 100 && (64..128).contains(&second);
            v4.is_private() || v4.is_loopback() || v4.is_link_local() || shared
        }
        IpAddr::V6(v6) => v6.is_unique_local() || v6.is_loopback() || v6.is_unicast_link_local(),
    }
}

impl Config {
    /// Where the hub API listens, if anything in a container may call it: an image in mode `hub`, one whose mode is found
    /// when it is seen, a JupyterHub's container that is taken over, or a program that wants a route.
    pub fn hub_api_address(&self) -> Option<SocketAddr> {
        let images = self.profile.iter().any(|profile| profile.mode != Some(Mode::Token));
        let routes = self.route.iter().any(|route| route.containers);
        let adopted = self.spawner.docker.adopt_jupyterhub;
        self.hub_api.listen.filter(|_| images || routes || adopted)
    }

    /// `[spawner.docker] hosts` with the address that `host-gateway` stands for: where the hub API listens. What an engine
    /// takes for it, the gateway of its first network, is where nothing listens for containers of another.
    pub fn docker_hosts(&self) -> Vec<String> {
        let listen =
            self.hub_api.listen.map(|address| address.ip()).filter(|address| !address.is_unspecified());
        let settled = |host: &String| match (listen, host.strip_suffix(":host-gateway")) {
            (Some(address), Some(name)) => format!("{name}:{address}"),
            _ => host.clone(),
        };
        self.spawner.docker.hosts.iter().map(settled).collect()
    }

    /// Variables of every container, with URLs of routes as containers reach them.
    pub fn route_environment(&self) -> Vec<(String, String)> {
        let Some(api) = self.hub_api.url() else { return Vec::new() };
        let origin = api.trim_end_matches("/hub/api");
        let routes = self.route.iter().filter(|route| route.containers);
        let urls = routes.flat_map(|route| {
            let url = move |below: &str| format!("{origin}{}{below}", route.path);
            route.environment.iter().map(move |(name, below)| (name.clone(), url(below)))
        });
        urls.collect()
    }
}
