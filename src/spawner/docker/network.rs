//! The network of the workspaces: made so that they do not reach each other, or looked at when it was there.

use std::collections::HashMap;

use bollard::models::{NetworkCreateRequest, NetworkInspect};

use super::Docker;
use super::engine::{Connected, PROMPT, SLOW, refused_with};
use crate::spawner::{Exposure, SpawnError};

impl Docker {
    /// Makes the network unless there is one of that name, whoever made it.
    pub(super) async fn ensure_network(&self, engine: &Connected) -> Result<(), SpawnError> {
        let name = self.network.as_str();
        if matches!(name, "bridge" | "host") {
            return Ok(());
        }
        let _one_at_a_time = self.network_check.acquire().await;
        if self.find_network(engine).await?.is_some() {
            return Ok(());
        }
        // Workspaces must not reach each other: whoever is in one could attack its neighbours' servers.
        let apart = (BETWEEN.to_owned(), "false".to_owned());
        let request = NetworkCreateRequest {
            name: name.to_owned(),
            driver: Some("bridge".to_owned()),
            options: (!engine.podman).then(|| HashMap::from([apart])),
            labels: Some(HashMap::from([("io.hubgate.network".to_owned(), name.to_owned())])),
            ..NetworkCreateRequest::default()
        };
        let doing = format!("create network {name}");
        match engine.call(&doing, SLOW, |client| client.create_network(request)).await {
            Err(error) if refused_with(&error, 409) => Ok(()),
            result => result.map(drop),
        }
    }

    /// Whether workspaces reach each other on it.
    pub(super) async fn find_exposure(&self) -> Result<Option<Exposure>, SpawnError> {
        let exposed = |why, remedy| Ok(Some(Exposure { network: self.network.clone(), why, remedy }));
        if !self.has_own_address() {
            return exposed("they have the addresses of something else", ANOTHER);
        }
        let engine = self.engine.connect().await?;
        if engine.podman {
            return exposed("podman cannot keep them apart", PODMAN);
        }
        match self.find_network(&engine).await? {
            Some(network) if !keeps_apart(&network) => {
                exposed("it was made without keeping them apart", MAKE)
            }
            Some(_) | None => Ok(None),
        }
    }

    /// "host" and "container:…" are networks of something else.
    pub(super) fn has_own_address(&self) -> bool {
        self.network != "host" && !self.network.contains(':')
    }

    async fn find_network(&self, engine: &Connected) -> Result<Option<NetworkInspect>, SpawnError> {
        let name = self.network.as_str();
        let doing = format!("find network {name}");
        engine.find(&doing, PROMPT, |client| client.inspect_network(name, None)).await
    }
}

/// As far as Docker says. Of networks of other drivers it says nothing.
fn keeps_apart(network: &NetworkInspect) -> bool {
    let said = network.options.as_ref().and_then(|options| options.get(BETWEEN));
    network.driver.as_deref() == Some("bridge") && said.is_some_and(|said| said == "false")
}

/// Whether containers on a bridge reach each other.
const BETWEEN: &str = "com.docker.network.bridge.enable_icc";

const ANOTHER: &str = "let spawner.docker.network be a network of the workspaces' own";
const PODMAN: &str = "run Docker where users must not reach each other's containers; here only tokens keep them apart, and whoever may look at a shared server could do more";
const MAKE: &str = "remove the network while no server runs (`docker network rm`), and hubgate makes it anew; or make it with `-o com.docker.network.bridge.enable_icc=false`";
