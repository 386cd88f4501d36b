//! `hubgate check --image`: what hubgate finds in an image, why, and what that means for the profiles that use it.

use std::fmt::Write as _;

use thiserror::Error;

use crate::config::{Config, Mode, Preset, Profile, SpawnerKind};
use crate::metrics::Metrics;
use crate::preset::{self, Settled};
use crate::spawner::{self, Image, SpawnError};

/// What is said of an image.
#[derive(Debug)]
pub struct Answer {
    /// To be printed.
    pub text: String,
    /// Every profile that uses it can work.
    pub usable: bool,
}

/// Nothing can be said of an image.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ImageError {
    /// Workspaces are no containers.
    #[error("spawner.kind is \"insecure_process\", which runs no images")]
    NoImages,
    /// The engine does not have it.
    #[error(
        "the image {image} is not here; until it is, it is taken for {guess} by its name alone, which is a guess"
    )]
    Missing {
        /// Its name.
        image: String,
        /// The preset that the name lets expect.
        guess: &'static str,
    },
    /// The engine could not be asked.
    #[error("cannot look at the image")]
    Spawn(#[from] SpawnError),
    /// There is nothing to run the question with.
    #[error("cannot start")]
    Runtime(#[from] std::io::Error),
}

impl ImageError {
    /// What an administrator can do.
    pub fn remedy(&self) -> Option<&'static str> {
        match self {
            Self::NoImages => Some("write spawner.kind = \"docker\""),
            Self::Missing { .. } => Some("pull it first: `docker pull` with its name; or correct the name"),
            Self::Spawn(error) => Some(error.remedy()),
            Self::Runtime(_) => None,
        }
    }

    /// Whether trying again cannot help.
    pub fn is_configuration(&self) -> bool {
        matches!(self, Self::Missing { .. } | Self::NoImages)
    }
}

/// Asks the configured engine for an image and says what it is.
pub fn run(config: &Config, name: &str) -> Result<Answer, ImageError> {
    if config.spawner.kind != SpawnerKind::Docker {
        return Err(ImageError::NoImages);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (image, exposure) = runtime.block_on(async {
        let spawner = spawner::open(&config.spawner, None, Metrics::new());
        Ok::<_, SpawnError>((spawner.find_image(name).await?, spawner.exposure().await?))
    })?;
    let guess = || silent(name).map_or(Preset::Jupyter, |profile| preset::expected(&profile)).name();
    let image = image.ok_or_else(|| ImageError::Missing { image: name.to_owned(), guess: guess() })?;
    let mut answer = describe(config, name, &image);
    if let Some(exposure) = exposure {
        line(&mut answer, "warning", &format!("{exposure}; {}", exposure.remedy));
    }
    Ok(answer)
}

/// What is found, for each profile that uses the image, or for one that says nothing.
fn describe(config: &Config, name: &str, image: &Image) -> Answer {
    let mut answer = Answer { text: String::new(), usable: true };
    line(&mut answer, "image", name);
    let mut used = config.profile.iter().filter(|profile| profile.image == name).peekable();
    if used.peek().is_none() {
        line(&mut answer, "profile", "none uses it; this is what one gets that says nothing else");
        if let Some(profile) = silent(name) {
            of_profile(&mut answer, config, &profile, image);
        }
    }
    for profile in used {
        answer.text.push('\n');
        line(&mut answer, "profile", &profile.name);
        of_profile(&mut answer, config, profile, image);
    }
    answer
}

fn of_profile(answer: &mut Answer, config: &Config, profile: &Profile, image: &Image) {
    let found = preset::find(profile, image);
    let (mode, why) = preset::mode(profile, found.preset, image);
    let (port, whose) = preset::port(profile, found.preset, image);
    let settled = preset::settle(profile, found.preset);
    let mode_name = match mode {
        Mode::Token => "token",
        Mode::Hub => "hub",
    };
    line(answer, "preset", &format!("{} ({})", found.preset.name(), found.why));
    if profile.preset.is_none() {
        let guess = preset::expected(profile).name();
        line(
            answer,
            "before its pull",
            &format!("{guess} (a guess from its name; what it is counts once it is here)"),
        );
    }
    line(answer, "mode", &format!("{mode_name} ({why})"));
    let command = profile.command.as_ref().unwrap_or(&image.command);
    line(answer, "command", &command.join(" "));
    line(answer, "port", &format!("{port} ({whose})"));
    let user = profile.user.as_deref().unwrap_or(&image.user);
    line(answer, "user", if user.is_empty() { "root" } else { user });
    line(answer, "home", settled.home.as_deref().or_else(|| image.variable("HOME")).unwrap_or("not known"));
    line(answer, "default_url", &settled.default_url);
    line(answer, "start_timeout", &format!("{} s", settled.start_timeout.as_secs()));
    line(answer, "stop_timeout", &format!("{} s", settled.stop_timeout.as_secs()));
    for command in &settled.stop_commands {
        let by = settled.stop_user.as_ref().map(|user| format!(" (as {user})")).unwrap_or_default();
        line(answer, "before the stop", &format!("{}{by}", command.join(" ")));
    }
    line(answer, "health check", &health(image));
    let own = overrides(profile);
    line(answer, "profile says", &if own.is_empty() { "nothing of this".to_owned() } else { own.join(", ") });
    for (what, remedy) in warnings(profile, image, mode, &settled) {
        line(answer, "warning", &format!("{what}; {remedy}"));
    }
    if mode == Mode::Hub && config.hub_api.listen.is_none() {
        answer.usable = false;
        line(
            answer,
            "error",
            "it looks for a hub, finds none, and ends; set hub_api.listen, or mode = \"token\"",
        );
    }
}

/// A profile that says nothing but the image's name.
fn silent(name: &str) -> Option<Profile> {
    let table = toml::Table::from_iter([
        ("name".to_owned(), toml::Value::from("new")),
        ("image".to_owned(), toml::Value::from(name)),
    ]);
    table.try_into().ok()
}

fn line(answer: &mut Answer, what: &str, said: &str) {
    // Writing to a string does not fail. What an image says of itself may hold anything.
    let said: String = said.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let _always = writeln!(answer.text, "{what:<16} {said}");
}

fn health(image: &Image) -> String {
    let check = image.health.get(1..).unwrap_or_default().join(" ");
    if check.is_empty() {
        "none".to_owned()
    } else if check.contains("JUPYTERHUB_SERVICE_PREFIX") || !check.contains("8888") {
        format!("{check} (it reads what hubgate sets)")
    } else {
        format!("{check} (it may say \"unhealthy\" of a server below a path, which changes nothing here)")
    }
}

/// The keys with which a profile goes its own way.
fn overrides(profile: &Profile) -> Vec<&'static str> {
    let said = [
        ("preset", profile.preset.is_some()),
        ("mode", profile.mode.is_some()),
        ("command", profile.command.is_some()),
        ("port", profile.port.is_some()),
        ("user", profile.user.is_some()),
        ("default_url", profile.default_url.is_some()),
        ("start_timeout", profile.start_timeout.is_some()),
        ("stop_timeout", profile.stop_timeout.is_some()),
        ("stop_commands", profile.stop_commands.is_some()),
        ("strip_path", profile.strip_path),
    ];
    said.into_iter().filter(|(_, is_said)| *is_said).map(|(name, _)| name).collect()
}

/// What will not go as somebody may think, with what to do.
fn warnings(profile: &Profile, image: &Image, mode: Mode, settled: &Settled) -> Vec<(String, String)> {
    let mut warnings = Vec::new();
    let preset = preset::find(profile, image).preset;
    if let Some(home) = &settled.home {
        homes(&mut warnings, profile, image, home);
    } else if profile.volume.is_empty() {
        let what = "it has no volume: what users save ends with the container";
        warnings
            .push((what.to_owned(), "add [[profile.volume]] with the image's home as its target".to_owned()));
    }
    let quiet = preset::settle(&Profile { start_timeout: None, ..profile.clone() }, preset);
    if settled.start_timeout < quiet.start_timeout {
        let usual = quiet.start_timeout.as_secs();
        warnings.push((
            format!("start_timeout is shorter than such images may need ({usual} s)"),
            "take it out, or raise it".to_owned(),
        ));
    }
    let guessed = preset::settle(profile, preset::expected(profile));
    if (&guessed.default_url, &guessed.options) != (&settled.default_url, &settled.options) {
        let page = &guessed.default_url;
        warnings.push((
            format!("its name does not tell what it is: a start that pulls it leads to {page}"),
            format!("write preset = \"{}\"", preset.name()),
        ));
    }
    let app = profile.environment.get("JUPYTERHUB_SINGLEUSER_APP").map(String::as_str);
    let own = image.variable("DOCKER_STACKS_JUPYTER_CMD") == Some("notebook");
    if mode == Mode::Hub && own && app.is_none() && !preset::runs_notebook_6(preset, image, profile) {
        warnings.push((
            "it may run the classic Notebook, which is not told of its hub".to_owned(),
            "set JUPYTERHUB_SINGLEUSER_APP = \"notebook.notebookapp.NotebookApp\" in environment".to_owned(),
        ));
    }
    let program = image.variable("DOCKER_STACKS_JUPYTER_CMD").filter(|program| *program != "lab");
    let lands = profile.default_url.is_none() && settled.default_url == "/lab";
    if let (Mode::Token, Some(program), true) = (mode, program, lands) {
        warnings.push((
            format!("it runs {program}, and users land at /lab"),
            "write default_url = \"/\", or \"/tree\"".to_owned(),
        ));
    }
    let renames = ["NB_USER", "NB_UID", "NB_GID"].iter().any(|name| profile.environment.contains_key(*name));
    let is_root = preset::begins_as_root(profile)
        || (profile.user.is_none() && matches!(image.user.as_str(), "" | "root" | "0"));
    if renames && !is_root {
        warnings.push((
            "NB_USER, NB_UID and NB_GID count only where the container begins as root".to_owned(),
            "write user = \"root\"".to_owned(),
        ));
    }
    warnings
}

fn homes(warnings: &mut Vec<(String, String)>, profile: &Profile, image: &Image, home: &str) {
    let at_home = |target: &str| std::path::Path::new(home).starts_with(target);
    let Some(volume) = profile.volume.iter().find(|volume| at_home(&volume.target)) else {
        let elsewhere = profile.volume.iter().find(|volume| volume.target.starts_with("/home/"));
        warnings.push(match elsewhere {
            Some(volume) => (
                format!("a volume is at {}, and the image's home is {home}: what users save ends with the container", volume.target),
                format!("write target = \"{home}\""),
            ),
            None => (
                format!("no volume is at its home {home}: what users save ends with the container"),
                format!("add [[profile.volume]] with target = \"{home}\""),
            ),
        });
        return;
    };
    let uid = profile
        .environment
        .get("NB_UID")
        .map(String::as_str)
        .or_else(|| image.variable("NB_UID"))
        .unwrap_or("1000");
    if volume.owner.split(':').next() != Some(uid) {
        warnings.push((
            format!(
                "a new volume at {} belongs to {}, and the image's user is {uid}",
                volume.target, volume.owner
            ),
            format!("write owner = \"{uid}:…\" with the image's group"),
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(keys: &str, name: &str, image: &Image) -> Answer {
        let text =
            format!("public.url = \"https://hub.example\"\n[[provider]]\nclient_id = \"hub\"\n{keys}\n");
        describe(&toml::from_str(&text).unwrap(), name, image)
    }

    fn full_stack() -> Image {
        let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect();
        Image {
            command: words(&["tini", "-g", "--", "start.sh", "start-notebook.sh"]),
            entrypoint: 4,
            environment: words(&[
                "AIIDALAB_HOME=/home/jovyan",
                "DOCKER_STACKS_JUPYTER_CMD=notebook",
                "NB_UID=1000",
                "HOME=/home/jovyan",
            ]),
            user: "1000".to_owned(),
            health: words(&["CMD-SHELL", "wget http://localhost:8888${JUPYTERHUB_SERVICE_PREFIX:-/}api"]),
            ..Image::default()
        }
    }

    fn has(answer: &Answer, what: &str, said: &str) {
        let found = answer.text.lines().any(|line| line.starts_with(what) && line.contains(said));
        assert!(found, "{what}: {said} in\n{}", answer.text);
    }

    #[test]
    fn what_an_image_is_is_told_with_what_shows_it() {
        let answer = answer("", "ghcr.io/aiidalab/full-stack:1", &full_stack());
        assert!(answer.usable);
        for (what, said) in [
            ("image", "ghcr.io/aiidalab/full-stack:1"),
            ("profile", "none uses it"),
            ("preset", "aiidalab-full-stack (it has AIIDALAB_HOME in its environment"),
            ("before its pull", "aiidalab-full-stack (a guess from its name"),
            ("mode", "token (nothing in its command calls a hub)"),
            ("command", "start-notebook.sh"),
            ("port", "8888"),
            ("user", "1000"),
            ("home", "/home/jovyan"),
            ("default_url", "/apps/apps/home/start.ipynb"),
            ("start_timeout", "600 s"),
            ("stop_timeout", "120 s"),
            ("before the stop", "verdi daemon stop"),
            ("before the stop", "pg_ctl -m fast stop"),
            ("health check", "it reads what hubgate sets"),
            ("warning", "no volume is at its home /home/jovyan"),
        ] {
            has(&answer, what, said);
        }
    }

    #[test]
    fn each_profile_hears_what_will_not_go_as_it_thinks() {
        let profile = |more: &str| format!("[[profile]]\nname = \"a\"\nimage = \"a:1\"\n{more}");
        for (more, warning) in [
            (
                "volume = [{ source = \"v\", target = \"/home/aiida\" }]",
                "a volume is at /home/aiida, and the image's home is /home/jovyan",
            ),
            (
                "volume = [{ source = \"v\", target = \"/home/jovyan\", owner = \"1234:100\" }]",
                "belongs to 1234:100, and the image's user is 1000",
            ),
            ("start_timeout = \"60s\"", "start_timeout is shorter"),
            ("environment = { NB_UID = \"7\" }", "count only where the container begins as root"),
            ("preset = \"docker-stacks\"\nmode = \"hub\"", "it may run the classic Notebook"),
            ("", "its name does not tell what it is: a start that pulls it leads to /lab"),
            ("preset = \"docker-stacks\"", "it runs notebook, and users land at /lab"),
        ] {
            has(&answer(&profile(more), "a:1", &full_stack()), "warning", warning);
        }
        let good = "volume = [{ source = \"v\", target = \"/home/jovyan\" }]";
        let good =
            answer(&profile(&format!("preset = \"aiidalab-full-stack\"\n{good}")), "a:1", &full_stack());
        assert!(!good.text.contains("warning"), "{}", good.text);
        has(&good, "profile says", "preset");
        assert!(!good.text.contains("guess"), "the profile says what it is: {}", good.text);
        let own = answer(&profile("port = 80\ndefault_url = \"/lab\""), "a:1", &full_stack());
        has(&own, "profile says", "port, default_url");
    }

    #[test]
    fn an_image_that_looks_for_a_hub_needs_one() {
        let profile = "[[profile]]\nname = \"a\"\nimage = \"a:1\"\nmode = \"hub\"\n";
        let lost = answer(profile, "a:1", &full_stack());
        assert!(!lost.usable);
        has(&lost, "error", "set hub_api.listen");
        let found = answer(&format!("{profile}[hub_api]\nlisten = \"10.0.0.1:81\"\n"), "a:1", &full_stack());
        assert!(found.usable, "{}", found.text);
    }

    #[test]
    fn what_an_image_says_does_not_reach_the_terminal_as_it_is() {
        let odd = Image { command: vec!["x\u{1b}[2J\nforged: yes".to_owned()], ..Image::default() };
        let answer = answer("", "odd:1", &odd);
        assert!(!answer.text.contains('\u{1b}') && !answer.text.contains("\nforged"), "{:?}", answer.text);
    }
}
