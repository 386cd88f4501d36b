//! What a profile says of its image's programs: presets, stop commands, paths.

use std::collections::BTreeSet;

use super::Findings;
use crate::config::{Config, Mode, Preset, Profile, SpawnerKind, placeholder};

pub(super) fn check(findings: &mut Findings<'_>, config: &Config, key: &str, profile: &Profile) {
    claims(findings, key, profile);
    stop_commands(findings, config, key, profile);
    options(findings, key, profile);
    if profile.strip_path && profile.mode == Some(Mode::Hub) {
        findings.add(
            &format!("{key}.strip_path"),
            "cannot be: what expects a hub knows its own path",
            "take it out, or write mode = \"token\"",
        );
    }
    if profile.preset == Some(Preset::Web) && profile.mode == Some(Mode::Hub) {
        findings.add(
            &format!("{key}.mode"),
            "cannot be: preset \"web\" is for programs that know no hub",
            "take mode out, or write preset = \"jupyter\"",
        );
    }
    let in_token_mode = profile.mode == Some(Mode::Token) || profile.preset == Some(Preset::Web);
    if in_token_mode && profile.environment.contains_key("JUPYTERHUB_API_TOKEN") {
        findings.add(
            &format!("{key}.environment"),
            "sets JUPYTERHUB_API_TOKEN, which makes images look for a hub",
            "take it out, or write mode = \"hub\"",
        );
    }
}

/// Claims are for variables: what stands in a command is seen by `ps`, and read by shells.
fn claims(findings: &mut Findings<'_>, key: &str, profile: &Profile) {
    if profile.environment.values().any(|value| !placeholder::is_whole(value)) {
        findings.add(
            &format!("{key}.environment"),
            "has a placeholder that names no claim",
            "write {claim:email}, with a claim's name as the provider sends it",
        );
    }
    let commands = profile.command.iter().chain(profile.stop_commands.iter().flatten());
    if commands.flatten().any(|word| word.contains(placeholder::OPEN)) {
        findings.add(
            &format!("{key}.command"),
            "has a claim in it, which is not filled in: others see commands",
            "put it into environment, and let the command read that variable",
        );
    }
}

fn stop_commands(findings: &mut Findings<'_>, config: &Config, key: &str, profile: &Profile) {
    let commands = profile.stop_commands.as_deref().unwrap_or_default();
    let list = format!("{key}.stop_commands");
    if !commands.is_empty() && config.spawner.kind == SpawnerKind::InsecureProcess {
        findings.add(&list, "cannot be run: a process has no inside", "take them out");
    }
    if commands.len() > MOST_COMMANDS {
        findings.add(
            &list,
            "too many: each has its share of stop_timeout",
            format!("write at most {MOST_COMMANDS}, or one script"),
        );
    }
    for (index, _) in
        commands.iter().enumerate().filter(|(_, words)| words.first().is_none_or(String::is_empty))
    {
        findings.add(
            &format!("{list}[{index}]"),
            "names no program",
            "write program and arguments: [\"verdi\", \"daemon\", \"stop\"]",
        );
    }
    let plain = |user: &str| {
        user.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
            && user.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | ':'))
    };
    if profile.stop_user.as_deref().is_some_and(|user| !plain(user)) {
        findings.add(
            &format!("{key}.stop_user"),
            "neither a user of the image nor uid:gid",
            "write \"jovyan\" or \"1000:100\"",
        );
    }
}

fn options(findings: &mut Findings<'_>, key: &str, profile: &Profile) {
    let mut names = BTreeSet::new();
    for (index, option) in profile.option.iter().enumerate() {
        let key = format!("{key}.option[{index}]");
        let letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        let plain = option.name.starts_with(|c: char| c.is_ascii_lowercase())
            && option.name.len() <= 40
            && option.name.bytes().all(letter);
        if !plain || RESERVED.contains(&option.name.as_str()) {
            findings.add(
                &format!("{key}.name"),
                "not usable in forms and links",
                format!("write at most 40 of a-z, 0-9 and `_`, and none of {}", RESERVED.join(", ")),
            );
        }
        if !names.insert(option.name.as_str()) {
            findings.add(&format!("{key}.name"), "another option has this name", "give each its own");
        }
        if option.environment.is_empty() || option.environment.contains(['=', '\0']) {
            findings.add(&format!("{key}.environment"), "not a variable", "write its name alone");
        }
        let mut values = BTreeSet::new();
        let again = option.choices.iter().any(|choice| !values.insert(choice.value.as_str()));
        if option.choices.is_empty()
            || again
            || option.choices.iter().any(|choice| choice.value.contains('\0'))
        {
            findings.add(
                &format!("{key}.choices"),
                "there must be some, each with a value of its own",
                "write [{ value = \"4\", title = \"Four\" }, { value = \"8\" }]",
            );
        }
    }
}

/// Fields that forms, links and the API have beside a profile's options.
const RESERVED: [&str; 8] =
    ["profile", "image", "next", "server", "action", "form_token", "display_name", "user_options"];

/// Commands before one stop.
const MOST_COMMANDS: usize = 10;
