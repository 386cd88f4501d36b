//! What images need: which kind an image is, found from what it says of itself, and what that kind brings. Pure.
//!
//! A preset only fills in what the profile leaves open.

mod find;

use std::time::Duration;

use crate::config::{self, Choice, Mode, Preset, Profile, StartOption};
use crate::spawner::Image;

pub use find::{Found, find};

/// What a profile and its preset say together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settled {
    /// Where users land, under their own path.
    pub default_url: String,
    /// How long a start may take.
    pub start_timeout: Duration,
    /// How long a stop may take, its commands included.
    pub stop_timeout: Duration,
    /// What is run before the stop signal, one after the other.
    pub stop_commands: Vec<Vec<String>>,
    /// Who runs these; `None`: whoever the container runs as.
    pub stop_user: Option<String>,
    /// What may be chosen at a start.
    pub options: Vec<StartOption>,
    /// Where the image keeps what must outlive the container.
    pub home: Option<String>,
}

/// What a profile means with this preset.
pub fn settle(profile: &Profile, preset: Preset) -> Settled {
    let default = defaults(preset);
    let commands = || default.stop_commands.iter().map(|words| owned(words)).collect();
    Settled {
        default_url: profile
            .default_url
            .clone()
            .unwrap_or_else(|| first_page(profile, default.url).to_owned()),
        start_timeout: profile.start_timeout.map_or(default.start_timeout, |span| span.0),
        stop_timeout: profile.stop_timeout.map_or(default.stop_timeout, |span| span.0),
        stop_commands: profile.stop_commands.clone().unwrap_or_else(commands),
        stop_user: profile.stop_user.clone().or_else(|| stop_user(profile, preset)),
        options: options(profile, preset),
        home: home(profile, preset),
    }
}

/// The preset of a profile whose image has not been looked at yet: what it says, or what the image's name lets expect.
pub fn expected(profile: &Profile) -> Preset {
    let image = profile.image.to_ascii_lowercase();
    profile.preset.unwrap_or_else(|| {
        if image.contains("aiidalab-docker-stack") {
            Preset::AiidalabClassic
        } else if image.contains("aiidalab") {
            Preset::AiidalabFullStack
        } else {
            Preset::Jupyter
        }
    })
}

/// How the workspace and hubgate know each other, and why.
pub fn mode(profile: &Profile, preset: Preset, image: &Image) -> (Mode, String) {
    if let Some(mode) = profile.mode {
        return (mode, "the profile says so".to_owned());
    }
    let command = profile.command.as_ref().unwrap_or(&image.command);
    let hub = |word: &&String| word.contains("jupyterhub-singleuser") || word.contains("start-singleuser");
    match command.iter().find(hub).filter(|_| preset != Preset::Web) {
        Some(word) => (Mode::Hub, format!("its command has {word}, which calls a hub")),
        None => (Mode::Token, "nothing in its command calls a hub".to_owned()),
    }
}

/// Where the image's server listens, and why.
pub fn port(profile: &Profile, preset: Preset, image: &Image) -> (u16, &'static str) {
    match (profile.port, image.ports.as_slice()) {
        (Some(port), _) => (port, "the profile says so"),
        (None, &[port]) if preset == Preset::Web => (port, "it exposes no other"),
        (None, _) => (JUPYTER_PORT, "Jupyter's own"),
    }
}

/// What is in a workspace's environment beside what every one gets; values have placeholders.
pub fn environment(
    preset: Preset,
    mode: Mode,
    image: &Image,
    profile: &Profile,
) -> Vec<(&'static str, &'static str)> {
    let mut environment = Vec::new();
    if mode == Mode::Hub && runs_notebook_6(preset, image, profile) {
        environment.push(("JUPYTERHUB_SINGLEUSER_APP", NOTEBOOK_6));
    }
    match preset {
        Preset::AiidalabFullStack => environment.extend(AIIDA_USER),
        Preset::AiidalabClassic => environment.extend(CLASSIC_AIIDA_USER),
        Preset::Jupyter | Preset::DockerStacks | Preset::Pyiron | Preset::Web => {}
    }
    environment
}

/// The claims that may stand in the environment of this profile's workspaces, whatever its image turns out to be.
pub fn claims(profile: &Profile) -> impl Iterator<Item = &str> {
    let own = AIIDA_USER.into_iter().flat_map(|(_, value)| config::claims_in(value));
    own.chain(profile.environment.values().flat_map(|value| config::claims_in(value)))
}

/// Whether the server is the classic Notebook, whose options have another name.
pub fn runs_notebook_6(preset: Preset, image: &Image, profile: &Profile) -> bool {
    match preset {
        Preset::AiidalabFullStack => program(profile, Some(image)) == Some("notebook"),
        Preset::AiidalabClassic => true,
        Preset::Jupyter | Preset::DockerStacks | Preset::Pyiron | Preset::Web => false,
    }
}

/// By which names a server that takes arguments knows its options.
pub fn applications(preset: Preset, image: &Image, profile: &Profile) -> &'static [&'static str] {
    if runs_notebook_6(preset, image, profile) {
        return &["NotebookApp"];
    }
    match program(profile, Some(image)) {
        // Version 6 knows only its own name, and from 7 on it is Jupyter Server's: each warns of the other one.
        Some("notebook") => &["ServerApp", "NotebookApp"],
        _ => &["ServerApp"],
    }
}

/// What `start-notebook` runs, or the command itself: `jupyter lab`, `jupyter notebook`, `jupyter nbclassic`.
fn program<'p>(profile: &'p Profile, image: Option<&'p Image>) -> Option<&'p str> {
    let own = profile.command.as_deref();
    let words = own.or(image.map(|image| image.command.as_slice())).unwrap_or_default();
    let named = words.iter().position(|word| word == "jupyter" || word.ends_with("/jupyter"));
    if let Some(word) = named.and_then(|at| words.get(at + 1)) {
        return Some(word);
    }
    if let Some(program) = words.iter().find_map(|word| word.rsplit('/').next()?.strip_prefix("jupyter-")) {
        return Some(program);
    }
    let said = profile.environment.get(STACKS_PROGRAM).map(String::as_str);
    said.or_else(|| image?.variable(STACKS_PROGRAM))
}

/// Where users land: where the image's own program leads, if the profile chooses another than `JupyterLab`.
fn first_page(profile: &Profile, usual: &'static str) -> &'static str {
    let words = profile.command.iter().flatten();
    let hub = profile.mode == Some(Mode::Hub) || words.into_iter().any(|word| word.contains("singleuser"));
    match program(profile, None) {
        // Under a hub, it is not what runs.
        Some("notebook" | "nbclassic" | "retro") if usual == LAB && !hub => "/",
        _ => usual,
    }
}

/// The path whose answer says that the server is up, where `base` is the workspace's own.
pub fn readiness(profile: &Profile, preset: Preset, base: &str) -> String {
    match (preset, profile.strip_path) {
        (Preset::Web, true) => "/".to_owned(),
        (Preset::Web, false) => base.to_owned(),
        (_, true) => "/api".to_owned(),
        (_, false) => format!("{base}api"),
    }
}

/// The file that tells a server which takes no arguments what others get as arguments. Whoever reads it is `owner`.
pub fn settings_file(preset: Preset, profile: &Profile) -> Option<(&'static str, (u32, u32))> {
    let number = |name: &str| profile.environment.get(name).and_then(|value| value.parse().ok());
    let owner = (number("NB_UID").unwrap_or(1000), number("NB_GID").unwrap_or(1000));
    (preset == Preset::AiidalabClassic).then_some(("/etc/jupyter/jupyter_notebook_config.json", owner))
}

/// Who must run what stops the services inside, where the container begins as somebody else.
fn stop_user(profile: &Profile, preset: Preset) -> Option<String> {
    let said = |name: &str, default: &str| {
        profile.environment.get(name).cloned().unwrap_or_else(|| default.to_owned())
    };
    match preset {
        // The broker is root's, and the user's database and daemon are stopped from there, too.
        Preset::AiidalabClassic => Some("root".to_owned()),
        Preset::AiidalabFullStack if begins_as_root(profile) => Some(said("NB_USER", "jovyan")),
        Preset::Jupyter | Preset::DockerStacks | Preset::AiidalabFullStack | Preset::Pyiron | Preset::Web => {
            None
        }
    }
}

/// The profile's options, and those of the preset that it has not replaced by its own.
fn options(profile: &Profile, preset: Preset) -> Vec<StartOption> {
    let own = matches!(preset, Preset::AiidalabFullStack | Preset::AiidalabClassic).then(factory_reset);
    let is_new = |option: &StartOption| !profile.option.iter().any(|other| other.name == option.name);
    profile.option.iter().cloned().chain(own.filter(is_new)).collect()
}

fn factory_reset() -> StartOption {
    let choice = |value: &str, title: &str| Choice { value: value.to_owned(), title: Some(title.to_owned()) };
    StartOption {
        name: "factory_reset".to_owned(),
        title: Some("Reset".to_owned()),
        environment: "AIIDALAB_FACTORY_RESET".to_owned(),
        choices: vec![
            choice("", "Nothing"),
            choice("1", "Installed apps and software (~/apps and ~/.local)"),
            choice("2", "Everything: the whole home, data included"),
        ],
    }
}

/// Whether the profile has the container begin as root.
pub fn begins_as_root(profile: &Profile) -> bool {
    let user = profile.user.as_deref().unwrap_or_default();
    matches!(user.split(':').next(), Some("0" | "root"))
}

fn home(profile: &Profile, preset: Preset) -> Option<String> {
    let of = |variable: &str, default: &str| {
        let name = profile.environment.get(variable).filter(|_| begins_as_root(profile));
        Some(format!("/home/{}", name.map_or(default, String::as_str)))
    };
    match preset {
        Preset::AiidalabClassic => Some("/home/aiida".to_owned()),
        Preset::DockerStacks | Preset::Pyiron => of("NB_USER", "jovyan"),
        Preset::AiidalabFullStack => Some("/home/jovyan".to_owned()),
        Preset::Jupyter | Preset::Web => None,
    }
}

/// What a preset brings.
struct Defaults {
    url: &'static str,
    start_timeout: Duration,
    stop_timeout: Duration,
    stop_commands: &'static [&'static [&'static str]],
}

fn defaults(preset: Preset) -> Defaults {
    let plain = Defaults {
        url: LAB,
        start_timeout: Duration::from_mins(3),
        stop_timeout: Duration::from_secs(10),
        stop_commands: &[],
    };
    match preset {
        Preset::Jupyter | Preset::DockerStacks | Preset::Pyiron => plain,
        Preset::Web => Defaults { url: "/", ..plain },
        // Its first start makes a database and installs apps from the network.
        Preset::AiidalabClassic => Defaults {
            url: AIIDALAB_START,
            start_timeout: Duration::from_mins(10),
            stop_timeout: Duration::from_mins(2),
            stop_commands: CLASSIC_STOP,
        },
        Preset::AiidalabFullStack => Defaults {
            url: AIIDALAB_START,
            start_timeout: Duration::from_mins(10),
            stop_timeout: Duration::from_mins(2),
            stop_commands: FULL_STACK_STOP,
        },
    }
}

/// What works goes first, then what it works with: calculations are lost when their broker or
/// database goes before them.
const FULL_STACK_STOP: &[&[&str]] = &[
    &["verdi", "daemon", "stop"],
    // The services are in an environment of their own, which is on the path of no other program.
    &["bash", "-c", "PATH=/opt/conda/envs/aiida-core-services/bin:$PATH exec rabbitmqctl stop"],
    &["bash", "-c", "PATH=/opt/conda/envs/aiida-core-services/bin:$PATH exec pg_ctl -m fast stop"],
];
/// The same, in images of conda and in the older ones of Ubuntu's packages. `su` gives each its own home and, by the
/// image's profile, its own path.
const CLASSIC_STOP: &[&[&str]] = &[
    // AiiDA waits for less time than its worker may take; the second call finds it gone.
    &["sh", "-c", "exec su -c 'verdi daemon stop || { sleep 3; verdi daemon stop; }' \"$SYSTEM_USER\""],
    &["sh", "-c", "PATH=/opt/conda/envs/rmq/bin:$PATH exec rabbitmqctl stop"],
    &[
        "sh",
        "-c",
        "PATH=/opt/conda/envs/pgsql/bin:$(echo /usr/lib/postgresql/*/bin):$PATH; \
         exec su -c \"PATH=$PATH exec pg_ctl -m fast stop -D /home/$SYSTEM_USER/.postgresql\" \"$SYSTEM_USER\"",
    ],
];
/// Whose the data are: `AiiDA` asks when its profile is made, at the first start.
const AIIDA_USER: [(&str, &str); 4] = [
    ("AIIDA_USER_EMAIL", "{claim:email}"),
    ("AIIDA_USER_FIRST_NAME", "{claim:given_name}"),
    ("AIIDA_USER_LAST_NAME", "{claim:family_name}"),
    ("AIIDA_USER_INSTITUTION", "{claim:organization}"),
];
/// The same for images up to 22.08.
const CLASSIC_AIIDA_USER: [(&str, &str); 4] = [
    ("USER_EMAIL", "{claim:email}"),
    ("USER_FIRST_NAME", "{claim:given_name}"),
    ("USER_LAST_NAME", "{claim:family_name}"),
    ("USER_INSTITUTION", "{claim:organization}"),
];
const LAB: &str = "/lab";
const STACKS_PROGRAM: &str = "DOCKER_STACKS_JUPYTER_CMD";
const AIIDALAB_START: &str = "/apps/apps/home/start.ipynb";
const NOTEBOOK_6: &str = "notebook.notebookapp.NotebookApp";
const JUPYTER_PORT: u16 = 8888;

fn owned(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

#[cfg(test)]
mod tests;
