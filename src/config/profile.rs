//! `[[profile]]`: what users may start.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::ports::Ports;
use super::units::{Cpu, Limit, Size, Span};

/// How a workspace and hubgate know each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// An ordinary Jupyter server (or any web program) behind a token that hubgate adds.
    Token,
    /// An image that expects a JupyterHub: it calls hubgate's hub API.
    Hub,
}

/// How a workspace in mode `hub` learns who opens it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HubLogin {
    /// As at a JupyterHub: it sends the browser to hubgate and gets it back with a code.
    #[default]
    OAuth,
    /// hubgate says so in each request's `Authorization`, and the workspace asks it once whether that is true.
    Header,
}

/// What a page that is still open is told when its server does not run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "u16")]
pub enum StoppedStatus {
    /// 424: JupyterLab 3.2 and later offer to start it again.
    #[default]
    FailedDependency,
    /// 503: all that older ones understand.
    Unavailable,
}

impl TryFrom<u16> for StoppedStatus {
    type Error = &'static str;

    fn try_from(status: u16) -> Result<Self, Self::Error> {
        match status {
            424 => Ok(Self::FailedDependency),
            503 => Ok(Self::Unavailable),
            _ => Err("write 424, or 503 for images with a JupyterLab before 3.2"),
        }
    }
}

/// What kind of image it is: what it needs to run, and how it likes to be stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Preset {
    /// A Jupyter server.
    Jupyter,
    /// An image of docker-stacks, or one built on them.
    DockerStacks,
    /// `AiiDAlab` up to 22.08: begins as root, takes no arguments.
    AiidalabClassic,
    /// `AiiDAlab` since 2022.1001: its database and its message broker are inside.
    AiidalabFullStack,
    /// pyiron's images.
    Pyiron,
    /// Any other program that speaks HTTP.
    Web,
}

impl Preset {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Jupyter,
        Self::DockerStacks,
        Self::AiidalabClassic,
        Self::AiidalabFullStack,
        Self::Pyiron,
        Self::Web,
    ];

    /// As it is written in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Jupyter => "jupyter",
            Self::DockerStacks => "docker-stacks",
            Self::AiidalabClassic => "aiidalab-classic",
            Self::AiidalabFullStack => "aiidalab-full-stack",
            Self::Pyiron => "pyiron",
            Self::Web => "web",
        }
    }

    /// The one that is written so.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|preset| preset.name() == name)
    }
}

/// `[[profile]]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// Its name in rules, labels and URLs.
    pub name: String,
    /// What users read; default: the name.
    pub title: Option<String>,
    /// The image. With the process spawner it is not used.
    #[serde(default)]
    pub image: String,
    /// What the image needs beyond the defaults. Found from the image when not said.
    pub preset: Option<Preset>,
    /// In place of the image's command. `{base_url}`, `{port}`, `{username}` and `{default_url}` are filled in.
    pub command: Option<Vec<String>>,
    /// Added to the image's environment, with the same placeholders, and `{claim:NAME}` for what the provider says of the
    /// user. A variable whose claim is not there, or is no short text, is left alone.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    /// Found from the image when not said.
    pub mode: Option<Mode>,
    /// How a workspace in mode `hub` learns who opens it.
    #[serde(default)]
    pub hub_login: HubLogin,
    /// The status of an answer to a page or a program whose server does not run.
    #[serde(default)]
    pub stopped_status: StoppedStatus,
    /// The port its server listens on. When not said: 8888, or the only one that the image of a web program exposes.
    pub port: Option<u16>,
    /// The program sees paths without `/user/<name>`, for those that know no base URL.
    #[serde(default)]
    pub strip_path: bool,
    /// Other ports that its owner reaches at `/user/<name>/proxy/<port>/`: `"any"`, or numbers and ranges. Default: none.
    #[serde(default)]
    pub ports: Ports,
    /// Where users land, under their own path. When not said, the preset's: `/lab` for most.
    pub default_url: Option<String>,
    /// Who runs in the container (`uid:gid`), when not the image's own user.
    pub user: Option<String>,
    /// What may be chosen at each start.
    #[serde(default)]
    pub option: Vec<StartOption>,
    /// Home and other folders that outlive the container.
    #[serde(default)]
    pub volume: Vec<Volume>,
    /// Where the container finds its owner's access token of the provider, which hubgate keeps fresh: an absolute path,
    /// in a folder of its own. Default: nowhere.
    pub access_token_file: Option<String>,
    /// Who may read that file (`uid:gid`), when it is not whoever runs in the container.
    pub access_token_owner: Option<String>,
    /// Memory of a workspace.
    #[serde(default = "Limit::unlimited")]
    pub memory: Limit<Size>,
    /// Processors of a workspace.
    #[serde(default = "Limit::unlimited")]
    pub cpu: Limit<Cpu>,
    /// Processes and threads in a workspace.
    #[serde(default = "Profile::default_pids")]
    pub pids: Limit<u64>,
    /// How long a start may take, once its image is here. When not said, the preset's: 3 minutes for most.
    pub start_timeout: Option<Span>,
    /// How long a stop may take, the commands before the stop signal included. When not said, the preset's: 10 seconds
    /// for most.
    pub stop_timeout: Option<Span>,
    /// What is run in the container before the stop signal, one after the other. When not said, the preset's.
    pub stop_commands: Option<Vec<Vec<String>>>,
    /// Who runs these, when it is not whoever the container runs as.
    pub stop_user: Option<String>,
}

impl Profile {
    fn default_pids() -> Limit<u64> {
        Limit::Value(4096)
    }
}

/// `[[profile.option]]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StartOption {
    /// Its name in forms, links and the API.
    pub name: String,
    /// What users read; default: the name.
    pub title: Option<String>,
    /// The variable that holds the chosen value during that start.
    pub environment: String,
    /// What may be chosen; the first is taken when nothing is.
    pub choices: Vec<Choice>,
}

/// One of an option's choices.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Choice {
    /// The variable's value. An empty one leaves the variable as it is without.
    pub value: String,
    /// What users read; default: the value.
    pub title: Option<String>,
}

/// `[[profile.volume]]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Volume {
    /// A volume's name or a path on the host, with `{username}` (escaped) or `{raw_username}`, and
    /// `{servername}`, which is empty for the default server.
    pub source: String,
    /// Where the workspace sees it.
    pub target: String,
    /// `uid:gid` of a folder that hubgate makes.
    #[serde(default = "Volume::default_owner")]
    pub owner: String,
    /// Cannot be written from the workspace.
    #[serde(default)]
    pub read_only: bool,
}

impl Volume {
    fn default_owner() -> String {
        "1000:100".to_owned()
    }
}
