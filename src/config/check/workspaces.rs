//! Who may start what, and what it runs on.

use std::collections::BTreeSet;
use std::path::Path;

use super::{Findings, images};
use crate::config::units::{Cpu, Limit, Size};
use crate::config::{Config, Escape, HubLogin, Mode, Profile, Rule, SpawnerKind, Volume};
use crate::user::UserName;

pub(super) fn check(findings: &mut Findings<'_>, config: &Config) {
    if config.rule.is_empty() {
        findings.add(
            "rule",
            "missing: nobody could enter",
            "add [[rule]] with users, groups, roles or `everyone = true`",
        );
    }
    for (index, entry) in config.rule.iter().enumerate() {
        rule(findings, config, &format!("rule[{index}]"), entry);
    }
    if config.profile.is_empty() {
        findings.add(
            "profile",
            "missing: nobody could start anything",
            "add [[profile]] with name and image",
        );
    }
    let mut names = BTreeSet::new();
    for (index, entry) in config.profile.iter().enumerate() {
        let key = format!("profile[{index}]");
        if !names.insert(entry.name.as_str()) {
            findings.add(
                &format!("{key}.name"),
                "another profile has this name",
                "give each a name of its own",
            );
        }
        profile(findings, config, &key, entry);
    }
    docker(findings, config);
    hub_api(findings, config);
}

fn rule(findings: &mut Findings<'_>, config: &Config, key: &str, rule: &Rule) {
    let conditions = [&rule.users, &rule.groups, &rule.realm_roles];
    let any =
        rule.everyone || !rule.client_roles.is_empty() || conditions.iter().any(|list| !list.is_empty());
    if !any {
        findings.add(
            key,
            "matches nobody",
            "add users, groups, realm_roles, client_roles, or `everyone = true`",
        );
    }
    for (index, name) in rule.users.iter().enumerate() {
        if let Err(error) = UserName::normalise(name) {
            findings.add(
                &format!("{key}.users[{index}]"),
                format!("no user name: {error}"),
                "write it as the provider does",
            );
        }
    }
    for (list, entries) in [("groups", &rule.groups), ("realm_roles", &rule.realm_roles)] {
        for (index, _) in entries.iter().enumerate().filter(|(_, entry)| entry.is_empty()) {
            findings.add(&format!("{key}.{list}[{index}]"), "empty", "write its name, or take it out");
        }
    }
    let nameless = |role: &crate::config::ClientRole| role.client.is_empty() || role.role.is_empty();
    for (index, _) in rule.client_roles.iter().enumerate().filter(|(_, role)| nameless(role)) {
        findings.add(&format!("{key}.client_roles[{index}]"), "empty", "write both client and role");
    }
    for (index, name) in rule.providers.iter().flatten().enumerate() {
        if !config.provider.iter().any(|provider| provider.name() == name) {
            let known: Vec<_> = config.provider.iter().map(crate::config::Provider::name).collect();
            findings.add(
                &format!("{key}.providers[{index}]"),
                "there is no such provider",
                format!("the providers are {}", known.join(", ")),
            );
        }
    }
    if let Some(profiles) = &rule.profiles {
        granted(findings, config, &format!("{key}.profiles"), profiles);
    }
    limits(findings, key, rule.memory.and_then(Limit::value), rule.cpu.and_then(Limit::value));
}

fn granted(findings: &mut Findings<'_>, config: &Config, key: &str, profiles: &[String]) {
    if profiles.is_empty() {
        findings.add(key, "grants nothing", "name profiles, or leave the key out: all");
    }
    for (index, name) in profiles.iter().enumerate() {
        if !config.profile.iter().any(|profile| profile.name == *name) {
            let known: Vec<_> = config.profile.iter().map(|profile| profile.name.as_str()).collect();
            findings.add(
                &format!("{key}[{index}]"),
                "there is no such profile",
                format!("the profiles are {}", known.join(", ")),
            );
        }
    }
}

fn profile(findings: &mut Findings<'_>, config: &Config, key: &str, profile: &Profile) {
    if !is_name(&profile.name) {
        findings.add(
            &format!("{key}.name"),
            "not usable in labels and URLs",
            "write at most 63 letters, digits, `-`, `_` and `.`, and what users read in `title`",
        );
    }
    match config.spawner.kind {
        SpawnerKind::Docker => image(findings, key, profile),
        SpawnerKind::InsecureProcess => {
            if profile.command.is_none() {
                findings.add(
                    &format!("{key}.command"),
                    "missing, and a process has no image to take it from",
                    "add `command = [\"jupyter\", \"lab\", …]`",
                );
            }
        }
    }
    let network = config.spawner.docker.network.as_str();
    let shared =
        config.spawner.kind == SpawnerKind::InsecureProcess || network == "host" || network.contains(':');
    if shared && !profile.ports.is_empty() {
        findings.add(
            &format!("{key}.ports"),
            "would be ports of this machine: the servers have no addresses of their own",
            "leave the key out, or give containers a network of their own (spawner.docker.network)",
        );
    }
    if profile.command.as_ref().is_some_and(|command| command.first().is_none_or(String::is_empty)) {
        findings.add(
            &format!("{key}.command"),
            "names no program",
            "write program and arguments, or leave the key out",
        );
    }
    if profile.default_url.as_deref().is_some_and(|url| !is_path(url)) {
        findings.add(&format!("{key}.default_url"), "not a path", "begin with one `/`: \"/lab\"");
    }
    if profile.user.as_deref().is_some_and(|user| user != "root" && !is_owner(user)) {
        findings.add(&format!("{key}.user"), "not uid:gid", "write two numbers: \"1000:100\", or \"root\"");
    }
    if profile.pids == Limit::Value(0) {
        findings.add(&format!("{key}.pids"), "nothing could run", "write how many, for example 4096");
    }
    let bad = |name: &&String| name.is_empty() || name.contains(['=', '\0']);
    if profile.environment.keys().any(|name| bad(&name)) {
        findings.add(&format!("{key}.environment"), "holds a name that cannot be", "write NAME = \"value\"");
    }
    limits(findings, key, profile.memory.value(), profile.cpu.value());
    for (name, span) in [("start_timeout", profile.start_timeout), ("stop_timeout", profile.stop_timeout)] {
        if let Some(span) = span {
            findings.positive(&format!("{key}.{name}"), span);
        }
    }
    images::check(findings, config, key, profile);
    volumes(findings, key, &profile.volume, config.spawner.escape);
    access_token(findings, key, profile);
    if profile.mode == Some(Mode::Token) && profile.hub_login == HubLogin::Header {
        findings.add(
            &format!("{key}.hub_login"),
            "of no use: in mode \"token\" there is no hub to sign in at",
            "take it out, or write mode = \"hub\"",
        );
    }
    if profile.mode == Some(Mode::Hub) && config.hub_api.listen.is_none() {
        findings.add(
            "hub_api.listen",
            format!("missing, and {key}.mode = \"hub\" calls it"),
            "write an address that containers reach: their network's gateway, with a port",
        );
    }
}

fn image(findings: &mut Findings<'_>, key: &str, profile: &Profile) {
    let image = &profile.image;
    if image.is_empty() || image.contains(|c: char| c.is_whitespace() || c.is_control()) {
        findings.add(
            &format!("{key}.image"),
            if image.is_empty() { "missing" } else { "not an image" },
            "write \"quay.io/jupyter/scipy-notebook:2025-03-14\"",
        );
    }
    if profile.port == Some(0) {
        findings.add(&format!("{key}.port"), "not a port", "write where the image listens, for example 8888");
    }
}

fn limits(findings: &mut Findings<'_>, key: &str, memory: Option<Size>, cpu: Option<Cpu>) {
    if memory.is_some_and(|memory| memory < LEAST_MEMORY) {
        findings.add(
            &format!("{key}.memory"),
            "no container runs in so little",
            "write at least \"6MiB\", usually \"2GiB\"",
        );
    }
    if cpu.is_some_and(|cpu| cpu < LEAST_CPU) {
        findings.add(&format!("{key}.cpu"), "no container runs on so little", "write at least \"0.01 cpu\"");
    }
}

fn volumes(findings: &mut Findings<'_>, key: &str, volumes: &[Volume], how: Escape) {
    let mut targets = BTreeSet::new();
    for (index, volume) in volumes.iter().enumerate() {
        let key = format!("{key}.volume[{index}]");
        let climbs = |path: &str| path.split('/').any(|part| part == "..");
        if !volume.target.starts_with('/')
            || volume.target.trim_matches('/').is_empty()
            || climbs(&volume.target)
        {
            findings.add(
                &format!("{key}.target"),
                "not a folder of the container",
                "write an absolute path: \"/home/jovyan\"",
            );
        }
        if !targets.insert(volume.target.trim_end_matches('/')) {
            findings.add(
                &format!("{key}.target"),
                "another volume is mounted there",
                "give each a target of its own",
            );
        }
        if !is_source(&volume.source) || climbs(&volume.source) {
            findings.add(
                &format!("{key}.source"),
                "neither a volume's name nor an absolute path",
                "write \"hubgate-home-{username}\" or \"/srv/homes/{username}\"; only {username}, {raw_username} and {servername} are filled in",
            );
        }
        if !keeps_servers_apart(&volume.source, how) {
            findings.add(
                &format!("{key}.source"),
                "a user and a server together could read like another user",
                "set {servername} off by `/` or `.`, as \"hubgate-{username}.{servername}\"",
            );
        }
        if !is_owner(&volume.owner) {
            findings.add(&format!("{key}.owner"), "not uid:gid", "write two numbers: \"1000:100\"");
        }
    }
}

fn access_token(findings: &mut Findings<'_>, key: &str, profile: &Profile) {
    let owner_key = format!("{key}.access_token_owner");
    if profile.access_token_owner.as_deref().is_some_and(|owner| !is_owner(owner)) {
        findings.add(&owner_key, "not uid:gid", "write two numbers: \"1000:100\"");
    }
    let Some(file) = &profile.access_token_file else {
        if profile.access_token_owner.is_some() {
            findings.add(&owner_key, "there is no file to own", "add access_token_file, or take it out");
        }
        return;
    };
    let key = format!("{key}.access_token_file");
    let advice = "write one in a folder of its own: \"/run/hubgate/access_token\"";
    let plain = |part: &str| !matches!(part, "" | "." | "..") && !part.contains(char::is_control);
    let parts = || file.split('/').skip(1);
    if !file.starts_with('/') || !parts().all(plain) || parts().count() < 2 || file.len() > LONGEST_PATH {
        findings.add(&key, "not the path of a file in a folder", advice);
        return;
    }
    // Mounted anew at each start, over whatever was put there.
    if let Some(system) = parts().next().filter(|first| matches!(*first, "proc" | "sys" | "dev")) {
        findings.add(&key, format!("/{system} is the kernel's"), advice);
    }
    let around = |volume: &&Volume| Path::new(file).starts_with(&volume.target);
    if let Some(volume) = profile.volume.iter().find(around) {
        findings.add(
            &key,
            format!("in {}, which outlives the container: a token must not", volume.target),
            advice,
        );
    }
}

/// Bytes that the archive for the engine has room for.
const LONGEST_PATH: usize = 100;

fn docker(findings: &mut Findings<'_>, config: &Config) {
    let docker = &config.spawner.docker;
    for (key, name) in
        [("spawner.docker.network", &docker.network), ("spawner.docker.prefix", &docker.prefix)]
    {
        if !is_name(name) {
            findings.add(key, "not a name that Docker takes", "write letters, digits, `-`, `_` and `.`");
        }
    }
    for (index, host) in docker.hosts.iter().enumerate() {
        let known = |address: &str| address == "host-gateway" || address.parse::<std::net::IpAddr>().is_ok();
        if !host.split_once(':').is_some_and(|(name, address)| is_name(name) && known(address)) {
            findings.add(
                &format!("spawner.docker.hosts[{index}]"),
                "not a name with its address",
                "write \"registry:host-gateway\", or an IP address behind the colon",
            );
        }
    }
    if docker.adopt_jupyterhub && config.hub_api.listen.is_none() {
        findings.add(
            "spawner.docker.adopt_jupyterhub",
            "what a JupyterHub started could not find its hub",
            "set hub_api.listen, and hub_api.url to what the containers were told",
        );
    }
    findings.positive("spawner.docker.reconcile_interval", docker.reconcile_interval);
    findings.positive("spawner.docker.pull_idle_timeout", docker.pull_idle_timeout);
}

fn hub_api(findings: &mut Findings<'_>, config: &Config) {
    let api = &config.hub_api;
    let all = api.listen.is_some_and(|address| address.ip().is_unspecified());
    if api.url.is_some() && api.listen.is_none() {
        findings.add(
            "hub_api.listen",
            "missing, and hub_api.url points to it",
            "write an address that containers reach",
        );
    }
    if api.url.is_none() && all {
        findings.add(
            "hub_api.url",
            "missing, and no container can call an address for all",
            "write what containers call",
        );
    }
    if api.is_anywhere() && !api.insecure_anywhere && (api.url.is_some() || !all) {
        findings.add(
            "hub_api.listen",
            "not an address of this machine's own networks: others than containers would reach it, in the clear",
            "write the gateway of the containers' network (`docker network inspect`), or hub_api.insecure_anywhere = true",
        );
    }
    if let Some(url) = &api.url
        && !(matches!(url.scheme(), "http" | "https") && url.path().ends_with("/hub/api"))
    {
        findings.add("hub_api.url", "not the URL of a hub's API", "write \"http://172.18.0.1:8081/hub/api\"");
    }
}

/// What Docker takes as a name, and what needs no escaping anywhere else.
fn is_name(name: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    name.len() <= 63
        && name.bytes().all(letter)
        && name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric())
}

fn is_path(path: &str) -> bool {
    path.starts_with('/')
        && !path.starts_with("//")
        && !path.contains(|c: char| c.is_control() || c.is_whitespace() || c == '\\')
}

/// `uid:gid`
fn is_owner(owner: &str) -> bool {
    let number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u32>().is_ok();
    owner.split_once(':').is_some_and(|(uid, gid)| number(uid) && number(gid))
}

/// A name of a volume or an absolute path. A brace that is left is a placeholder that nobody fills in, so all users
/// would share one folder.
fn is_source(source: &str) -> bool {
    // The default server has no name.
    let filled = source.replace("{username}", "u").replace("{raw_username}", "u").replace("{servername}", "");
    let plain = !filled.contains(|c: char| matches!(c, '{' | '}' | ':') || c.is_control());
    plain && (filled.starts_with('/') || is_name(&filled))
}

/// Whether no user with one server has the volume of another user, or of another server: what stands before
/// `{servername}` is in no name as it is written there.
fn keeps_servers_apart(source: &str, how: Escape) -> bool {
    let mut parts = source.split("{servername}");
    let before = parts.next().unwrap_or_default();
    let rest: Vec<_> = parts.collect();
    let off = before.ends_with('/')
        || (!before.contains("{raw_username}")
            && (before.ends_with('.') || (how == Escape::Current && before.ends_with("--"))));
    rest.is_empty() || (off && rest.len() == 1 && !rest.concat().contains("username}"))
}

/// Docker refuses less.
const LEAST_MEMORY: Size = Size::kibibytes(6 * 1024);
const LEAST_CPU: Cpu = Cpu(0.01);
