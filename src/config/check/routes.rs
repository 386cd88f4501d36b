//! What is beside the hub.

use std::collections::BTreeSet;

use super::Findings;
use crate::config::{Config, Route};

pub(super) fn check(findings: &mut Findings<'_>, config: &Config) {
    let mut names = BTreeSet::new();
    let mut paths = BTreeSet::new();
    for (index, entry) in config.route.iter().enumerate() {
        let key = format!("route[{index}]");
        if !names.insert(entry.name.as_str()) {
            findings.add(
                &format!("{key}.name"),
                "another route has this name",
                "give each a name of its own",
            );
        }
        if !paths.insert(entry.path.as_str()) {
            findings.add(&format!("{key}.path"), "another route begins there", "give each a path of its own");
        }
        route(findings, config, &key, entry);
    }
    for (index, rule) in config.rule.iter().enumerate() {
        for (at, name) in rule.routes.iter().flatten().enumerate() {
            if !config.route.iter().any(|route| route.name == *name) {
                let known: Vec<_> = config.route.iter().map(|route| route.name.as_str()).collect();
                findings.add(
                    &format!("rule[{index}].routes[{at}]"),
                    "there is no such route",
                    format!("the routes are {}", known.join(", ")),
                );
            }
        }
    }
}

fn route(findings: &mut Findings<'_>, config: &Config, key: &str, route: &Route) {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    if route.name.is_empty() || !route.name.bytes().all(plain) {
        findings.add(&format!("{key}.name"), "not a name", "write letters, digits, `-`, `_` and `.`");
    }
    let segments: Vec<_> = route.path.trim_matches('/').split('/').collect();
    let whole = route.path == format!("/{}/", segments.join("/"));
    let fine =
        |segment: &&str| !segment.is_empty() && !segment.starts_with('.') && segment.bytes().all(plain);
    if !whole || !segments.iter().all(fine) {
        findings.add(
            &format!("{key}.path"),
            "not a path that begins and ends with one `/`",
            "write \"/registry/\", in letters, digits, `-`, `_` and `.`",
        );
    }
    let first = segments.first().map(|segment| segment.to_ascii_lowercase());
    if matches!(first.as_deref(), Some("hub" | "user")) {
        findings.add(&format!("{key}.path"), "belongs to the hub", "begin with something else");
    }
    match (&route.folder, route.upstream) {
        (Some(folder), None) if !folder.is_absolute() => {
            findings.add(&format!("{key}.folder"), "not an absolute path", "begin with `/`");
        }
        (Some(_), None) | (None, Some(_)) => {}
        (Some(_), Some(_)) | (None, None) => {
            findings.add(key, "needs either a folder or an upstream", "add one of the two keys");
        }
    }
    if route.strip_path && route.folder.is_some() {
        findings.add(&format!("{key}.strip_path"), "is for upstreams", "leave the key out");
    }
    if route.containers && !route.public {
        findings.add(
            &format!("{key}.containers"),
            "the hub API does not know who asks, so only what is public can be there",
            "add `public = true`, or leave the key out",
        );
    }
    if !route.environment.is_empty() && !route.containers {
        findings.add(
            &format!("{key}.environment"),
            "containers do not find this route",
            "add `containers = true`, or leave the key out",
        );
    }
    for (name, below) in &route.environment {
        let segments = below.split('/');
        let whole =
            !below.starts_with('/') && segments.clone().all(|s| !s.starts_with('.') && s.bytes().all(plain));
        if !is_variable(name) || !whole {
            findings.add(
                &format!("{key}.environment"),
                format!("{name:?} is no variable with a path below the route"),
                "write { AIIDALAB_REGISTRY = \"api/v1\" }",
            );
        }
    }
    if route.containers && config.hub_api.listen.is_none() {
        findings.add(&format!("{key}.containers"), "there is no hub API", "set hub_api.listen");
    }
}

/// A name that a shell reads, too.
fn is_variable(name: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_';
    name.bytes().next().is_some_and(letter) && name.bytes().all(|byte| letter(byte) || byte.is_ascii_digit())
}
