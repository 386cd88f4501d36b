//! Which kind an image is, and what shows it.

use crate::config::{Preset, Profile};
use crate::spawner::Image;

/// A preset, and how it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Which.
    pub preset: Preset,
    /// What shows it, in words.
    pub why: String,
}

/// The kind of an image: what the profile says, or what the image shows.
pub fn find(profile: &Profile, image: &Image) -> Found {
    let found = |preset, why: String| Found { preset, why };
    if let Some(preset) = profile.preset {
        return found(preset, "the profile says so".to_owned());
    }
    let command = profile.command.as_ref().unwrap_or(&image.command);
    let all = || command.iter().chain(&image.command);
    let word = |part: &str| all().find(|word| word.contains(part));
    let variable = |start: &str| {
        let names = image.environment.iter().filter_map(|line| Some(line.split_once('=')?.0));
        names.into_iter().find(|name| name.starts_with(start))
    };
    if let Some(word) = word("my_my_init") {
        return found(Preset::AiidalabClassic, format!("its command is {word}"));
    }
    if let Some(name) = variable("AIIDALAB_") {
        return match word("my_init") {
            Some(word) => found(
                Preset::AiidalabClassic,
                format!("its command is {word}, and it has {name} in its environment"),
            ),
            None => {
                found(Preset::AiidalabFullStack, format!("it has {name} in its environment{}", starts(word)))
            }
        };
    }
    let stacks = word("start-notebook").or_else(|| word("start-singleuser"));
    if let Some(word) = stacks {
        if profile.image.contains("pyiron") {
            return found(Preset::Pyiron, format!("its command is {word}, and pyiron is in its name"));
        }
        if let Some(name) = variable("OMPI_MCA_").or_else(|| variable("PYIRON")) {
            return found(
                Preset::Pyiron,
                format!("its command is {word}, and it has {name} in its environment"),
            );
        }
        return found(Preset::DockerStacks, format!("its command is {word}"));
    }
    if let Some(word) = word("jupyter") {
        return found(Preset::Jupyter, format!("its command has {word}"));
    }
    if variable("NB_UID").is_some() && variable("NB_USER").is_some() {
        let why = "it has NB_USER and NB_UID in its environment, as docker-stacks have";
        return found(Preset::DockerStacks, why.to_owned());
    }
    if let Some(word) = PROGRAMS.iter().find_map(|program| word(program)) {
        return found(Preset::Web, format!("its command has {word}"));
    }
    match image.ports.as_slice() {
        &[port] if port != 8888 => {
            let why = format!("nothing in its command is Jupyter's, and it exposes port {port} alone");
            found(Preset::Web, why)
        }
        _ => found(Preset::Jupyter, "nothing shows what it is: it is taken for a Jupyter server".to_owned()),
    }
}

fn starts<'w>(word: impl Fn(&str) -> Option<&'w String>) -> String {
    word("start-").map(|word| format!(", and its command is {word}")).unwrap_or_default()
}

/// Programs that people put behind a hub and that are not Jupyter.
const PROGRAMS: [&str; 8] =
    ["rserver", "code-server", "openvscode-server", "streamlit", "gunicorn", "uvicorn", "shiny", "panel"];
