//! Containers that a JupyterHub's `DockerSpawner` started, and that run on under hubgate.
//!
//! They carry no labels of ours, and labels cannot be added to them: whose they are is said by their name and by the
//! environment that the engine was given when it made them. Whoever works in one owns all that is inside, so nothing of
//! that is asked. What does not fit in every part stays a stranger's.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};

use bollard::models::{ContainerInspectResponse, ContainerSummary};
use bollard::query_parameters::{ListContainersOptionsBuilder, RenameContainerOptionsBuilder};
use thiserror::Error;
use tracing::{info, warn};
use url::Url;

use super::container::{self, USER};
use super::engine::{Connected, PROMPT, SLOW};
use super::{Docker, Names, inspect, is_running, labels_of, remove};
use crate::clock;
use crate::config::Mode;
use crate::logging::cause;
use crate::secret::Secret;
use crate::server_name::ServerName;
use crate::spawner::{Adopted, Heir, Running, SpawnError, WorkspaceId};
use crate::user::UserName;

/// Which of them hubgate takes over.
#[derive(Debug)]
pub(super) struct Adoption {
    heir: Heir,
    names: Names,
    network: String,
    /// By the engine's id: those that are hubgate's now, and those of which the log has said why they are not.
    seen: Mutex<HashMap<String, Option<WorkspaceId>>>,
}

/// Why a container that a JupyterHub started is not taken over.
#[derive(Debug, Error)]
enum Unfit {
    #[error("{variable} is {said:?}, and at this hub it would be {expected:?}")]
    Variable { variable: &'static str, said: String, expected: String },
    #[error("its name, its user and its server do not belong together")]
    Owner,
    #[error("its JUPYTERHUB_API_TOKEN is none of a JupyterHub's")]
    Token,
    #[error("JUPYTERHUB_SERVICE_URL is {0:?}, which names no port and path of its server")]
    Service(String),
    #[error("no profile has its image {0:?}")]
    Image(String),
    #[error("it has no address on the network {0}")]
    Network(String),
}

impl Unfit {
    fn remedy(&self) -> &'static str {
        match self {
            Self::Variable { variable: API_URL, .. } => {
                "set hub_api.url to what the container says, and hub_api.listen to the address that this leads to"
            }
            Self::Variable { variable: HOST | CALLBACK, .. } => {
                "let public.url and public.user_domain be what the JupyterHub had"
            }
            Self::Image(_) => "add a [[profile]] with this image, or stop the container",
            Self::Network(_) => "set spawner.docker.network to the network that the JupyterHub used",
            Self::Variable { .. } | Self::Owner | Self::Token | Self::Service(_) => {
                "stop the container: its user's next start makes one of hubgate's"
            }
        }
    }
}

const API_URL: &str = "JUPYTERHUB_API_URL";
const HOST: &str = "JUPYTERHUB_HOST";
const CALLBACK: &str = "JUPYTERHUB_OAUTH_CALLBACK_URL";
const TOKEN: &str = "JUPYTERHUB_API_TOKEN";
const SERVICE_URL: &str = "JUPYTERHUB_SERVICE_URL";

/// JupyterHub's own have 32 characters. An empty one would be anybody's.
const TOKEN_BYTES: std::ops::RangeInclusive<usize> = 16..=256;

/// What a JupyterHub told a container, as the engine has it.
struct Told<'a>(HashMap<&'a str, &'a str>);

impl<'a> Told<'a> {
    /// Of a container that a JupyterHub made, and not hubgate. One that says the same thing twice is none: which one the
    /// programs inside saw cannot be known.
    fn of(found: &'a ContainerInspectResponse) -> Option<Self> {
        if labels_of(found).is_some_and(|labels| labels.contains_key(USER)) {
            return None;
        }
        let lines = found.config.as_ref()?.env.as_ref()?.iter();
        let mut told = HashMap::new();
        for (name, value) in lines.filter_map(|line| line.split_once('=')) {
            if name.starts_with("JUPYTERHUB_") && told.insert(name, value).is_some() {
                return None;
            }
        }
        told.contains_key("JUPYTERHUB_USER").then_some(Self(told))
    }

    fn says(&self, variable: &str) -> &'a str {
        self.0.get(variable).copied().unwrap_or_default()
    }

    fn must_say(&self, variable: &'static str, expected: &str) -> Result<(), Unfit> {
        let said = self.says(variable);
        if said == expected {
            return Ok(());
        }
        Err(Unfit::Variable { variable, said: cut(said), expected: expected.to_owned() })
    }
}

impl Adoption {
    pub(super) fn new(heir: Heir, names: Names, network: String) -> Self {
        Self { heir, names, network, seen: Mutex::default() }
    }

    /// Whose container it is, if a JupyterHub made it for the workspace whose name it has here. What it says of the hub
    /// counts only while it runs: an ended one is its user's all the same.
    pub(super) fn owner(&self, found: &ContainerInspectResponse) -> Option<WorkspaceId> {
        let told = Told::of(found)?;
        let owner = self.owner_of(found, &told).ok()?;
        let fits = !is_running(found) || self.running_of(found, &told, &owner).is_ok();
        fits.then_some(owner)
    }

    /// What is known of it while it runs.
    pub(super) fn running(&self, found: &ContainerInspectResponse) -> Option<Running> {
        let running = self.judge(found)?.ok()?;
        self.note(&running.instance, Some(running.id.clone()));
        Some(running)
    }

    /// The workspace of a container that was taken over, for events: they have its labels and its name, and no environment.
    pub(super) fn known(&self, container: &str) -> Option<WorkspaceId> {
        self.seen().get(container).cloned().flatten()
    }

    fn judge(&self, found: &ContainerInspectResponse) -> Option<Result<Running, Unfit>> {
        let told = Told::of(found)?;
        let owner = self.owner_of(found, &told);
        Some(owner.and_then(|owner| self.running_of(found, &told, &owner)))
    }

    fn owner_of(&self, found: &ContainerInspectResponse, told: &Told<'_>) -> Result<WorkspaceId, Unfit> {
        let user = UserName::parse(told.says("JUPYTERHUB_USER")).map_err(|_error| Unfit::Owner)?;
        let server = ServerName::parse(told.says("JUPYTERHUB_SERVER_NAME")).map_err(|_error| Unfit::Owner)?;
        let id = WorkspaceId { user, server };
        let name = found.name.as_deref().unwrap_or_default().trim_start_matches('/');
        if name != self.names.of(&id) || !id.is_client(told.says("JUPYTERHUB_CLIENT_ID")) {
            return Err(Unfit::Owner);
        }
        told.must_say("JUPYTERHUB_SERVICE_PREFIX", &id.path())?;
        Ok(id)
    }

    fn running_of(
        &self,
        found: &ContainerInspectResponse,
        told: &Told<'_>,
        id: &WorkspaceId,
    ) -> Result<Running, Unfit> {
        told.must_say("JUPYTERHUB_BASE_URL", "/")?;
        told.must_say(API_URL, self.heir.hub_api.as_deref().unwrap_or_default())?;
        let (host, origin) = self.heir.origins(&id.user);
        told.must_say(HOST, host)?;
        told.must_say(CALLBACK, &format!("{origin}{}oauth_callback", id.path()))?;
        let token = told.says(TOKEN);
        let plain = token.bytes().all(|b| b.is_ascii_graphic());
        if !plain || !TOKEN_BYTES.contains(&token.len()) {
            return Err(Unfit::Token);
        }
        let image = found.config.as_ref().and_then(|config| config.image.as_deref()).unwrap_or_default();
        let profile = self.heir.profile(image).ok_or_else(|| Unfit::Image(cut(image)))?;
        let port =
            port(told.says(SERVICE_URL), id).ok_or_else(|| Unfit::Service(cut(told.says(SERVICE_URL))))?;
        let networks = found.network_settings.as_ref().and_then(|settings| settings.networks.as_ref());
        let address = container::address_on(&self.network, networks);
        let address = address.ok_or_else(|| Unfit::Network(self.network.clone()))?;
        Ok(Running {
            id: id.clone(),
            // No two containers ever have the same, and it can be read again.
            instance: found.id.as_deref().filter(|id| !id.is_empty()).ok_or(Unfit::Owner)?.into(),
            profile,
            mode: Mode::Hub,
            preset: None,
            address: SocketAddr::new(address, port),
            // The other hub may have kept it when it had stopped, and started it again.
            made: found.state.as_ref().and_then(|state| clock::read(state.started_at.as_deref()?)),
            adopted: Some(Adopted { token: Secret::new(token) }),
        })
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, HashMap<String, Option<WorkspaceId>>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers whether it is news.
    fn note(&self, container: &str, workspace: Option<WorkspaceId>) -> bool {
        let before = self.seen().insert(container.to_owned(), workspace.clone());
        before != Some(workspace)
    }

    fn forget_all_but(&self, running: &HashSet<&str>) {
        self.seen().retain(|container, _| running.contains(container.as_str()));
    }
}

impl Docker {
    /// What runs of a JupyterHub's and is to be taken over. Of what is not, the log says why, once.
    pub(super) async fn list_adopted(&self, engine: &Connected) -> Result<Vec<Running>, SpawnError> {
        let Some(adoption) = &self.adoption else { return Ok(Vec::new()) };
        let filters = HashMap::from([("status", vec!["running"])]);
        let options = ListContainersOptionsBuilder::new().filters(&filters).build();
        let listed =
            engine.call("list containers", PROMPT, |client| client.list_containers(Some(options))).await?;
        let ids: HashSet<&str> = listed.iter().filter_map(|summary| summary.id.as_deref()).collect();
        adoption.forget_all_but(&ids);
        let mut adopted = Vec::new();
        for summary in listed.iter().filter(|summary| self.could_be_adopted(summary)) {
            let id = summary.id.as_deref().unwrap_or_default();
            let found = match inspect(engine, id).await {
                Ok(found) => found,
                Err(error @ SpawnError::Unreachable { .. }) => return Err(error),
                Err(error) => {
                    warn!(
                        container = id,
                        error = cause(&error),
                        "a container cannot be understood, and is passed over"
                    );
                    continue;
                }
            };
            match found.filter(is_running).and_then(|found| adoption.judge(&found)) {
                Some(Ok(running)) => {
                    adoption.note(id, Some(running.id.clone()));
                    adopted.push(running);
                }
                Some(Err(unfit)) if adoption.note(id, None) => {
                    let name = summary.names.iter().flatten().next().map_or(id, String::as_str);
                    warn!(event = "container_not_adopted", container = name.trim_start_matches('/'), reason = %unfit, remedy = unfit.remedy(), "a container of a JupyterHub is not taken over");
                }
                Some(Err(_)) | None => {}
            }
        }
        Ok(adopted)
    }

    fn could_be_adopted(&self, summary: &ContainerSummary) -> bool {
        let ours = summary.labels.as_ref().is_some_and(|labels| labels.contains_key(USER));
        let mut names = summary.names.iter().flatten();
        !ours && names.any(|name| self.names.begin(name))
    }

    /// Makes room for another container of this name. One that a JupyterHub made is kept under another name: what its user
    /// saved outside volumes is in it, and JupyterHub would have started it again. Where it removes its containers when
    /// they stop, so does hubgate.
    pub(super) async fn make_room(
        &self,
        engine: &Connected,
        found: &ContainerInspectResponse,
        name: &str,
    ) -> Result<(), SpawnError> {
        let container = found.id.as_deref().unwrap_or(name);
        let ours = labels_of(found).is_some_and(|labels| labels.contains_key(USER));
        let host = found.host_config.as_ref();
        let is_kept = !ours && host.and_then(|host| host.auto_remove) != Some(true);
        if !is_kept {
            return remove(engine, container, name).await;
        }
        let aside = format!("{name}.{}", container.chars().take(12).collect::<String>());
        let options = RenameContainerOptionsBuilder::new().name(&aside).build();
        let doing = format!("rename container {name}");
        engine.find(&doing, SLOW, |client| client.rename_container(container, options)).await?;
        info!(
            event = "container_set_aside",
            container = name,
            renamed = aside,
            "a JupyterHub's container has ended and is kept under another name"
        );
        Ok(())
    }
}

/// Where the server of a container listens: `http://0.0.0.0:8888/user/alice/`, in older versions without an address.
fn port(service: &str, id: &WorkspaceId) -> Option<u16> {
    let rest = service.strip_prefix("http://")?;
    let (authority, path) = rest.split_at(rest.find('/')?);
    if path != id.path() {
        return None;
    }
    let authority =
        if authority.starts_with(':') { format!("0.0.0.0{authority}") } else { authority.to_owned() };
    let url = Url::parse(&format!("http://{authority}/")).ok()?;
    url.port_or_known_default().filter(|port| *port > 0)
}

/// As much of a text as a log line needs.
fn cut(text: &str) -> String {
    text.chars().take(200).collect()
}
