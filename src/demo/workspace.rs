//! What the demo's users get: a container where Docker is, else a child process.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bollard::{API_DEFAULT_VERSION, Docker};
use tokio::runtime;
use tokio::time::timeout;

use super::{DemoError, Options};

/// Images that are taken when they are here; none of them is fetched.
const IMAGES: [&str; 3] =
    ["hubgate-demo/lab", "quay.io/jupyter/minimal-notebook", "quay.io/jupyter/base-notebook"];

/// Where Docker is looked for.
const SOCKET: &str = "/var/run/docker.sock";

/// How long Docker may take to say what it has.
const DEADLINE: Duration = Duration::from_secs(5);

/// What every workspace of the demo is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Workspace {
    /// A container of this image.
    Container { image: String },
    /// A child process: `JupyterLab`, or a command of the caller's; with a folder of programs for its terminals.
    Process { command: Vec<String>, programs: Option<PathBuf> },
}

impl Workspace {
    /// What the options say, or else the safest that this machine has.
    pub(super) fn choose(options: &Options) -> Result<Self, DemoError> {
        if !options.command.is_empty() {
            return Ok(Self::Process { command: options.command.clone(), programs: None });
        }
        if let Some(image) = &options.image {
            return Ok(Self::Container { image: image.clone() });
        }
        if let Some(image) = local_image()? {
            return Ok(Self::Container { image });
        }
        let folder = options.jupyter.as_deref().ok_or(DemoError::Nothing)?;
        jupyter(folder)
    }

    /// Its part of `config.toml`.
    pub(super) fn config(&self, homes: &Path, quoted: impl Fn(&str) -> String) -> String {
        match self {
            Self::Container { image } => format!(
                r#"[spawner.docker]
network = "hubgate-demo"
prefix = "hubgate-demo"

[[profile]]
name = "lab"
title = "JupyterLab"
image = {}
mode = "token"
pids = 1024

[[profile.volume]]              # the home outlives the container
source = "hubgate-demo-{{username}}"
target = "/home/jovyan"
"#,
                quoted(image)
            ),
            Self::Process { command, programs } => {
                let command = command.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(", ");
                let path = programs.as_ref().map_or_else(String::new, |programs| {
                    let path = format!("{}:/usr/local/bin:/usr/bin:/bin", programs.display());
                    format!("environment = {{ PATH = {} }}\n", quoted(&path))
                });
                let home = quoted(&format!("{}/{{username}}", homes.display()));
                format!(
                    r#"[spawner]
kind = "insecure_process"       # every workspace runs as the user who started the demo

[[profile]]
name = "lab"
title = "JupyterLab"
mode = "token"
command = [{command}]
{path}
[[profile.volume]]              # the first one is the home
source = {home}
target = "/home"
"#
                )
            }
        }
    }
}

/// `JupyterLab` of a virtual environment.
fn jupyter(folder: &Path) -> Result<Workspace, DemoError> {
    let programs = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned()).join("bin");
    let program = programs.join("jupyter-lab");
    if !program.is_file() {
        return Err(DemoError::Jupyter { path: program });
    }
    let mut command = vec![program.display().to_string()];
    if rustix::process::geteuid().is_root() {
        command.push("--ServerApp.allow_root=True".to_owned());
    }
    Ok(Workspace::Process { command, programs: Some(programs) })
}

/// The first of [`IMAGES`] that Docker has; none when there is no Docker.
fn local_image() -> Result<Option<String>, DemoError> {
    let Ok(docker) = Docker::connect_with_unix(SOCKET, DEADLINE.as_secs(), API_DEFAULT_VERSION) else {
        return Ok(None);
    };
    let runtime = runtime::Builder::new_current_thread().enable_all().build().map_err(DemoError::Runtime)?;
    let search = async {
        for image in IMAGES {
            if docker.inspect_image(image).await.is_ok() {
                return Some(image.to_owned());
            }
        }
        None
    };
    Ok(runtime.block_on(async { timeout(DEADLINE, search).await.ok().flatten() }))
}
