//! What was found out, in words. Names come from a file that anybody may have written: what a terminal would obey is
//! escaped.

use std::fmt::Write as _;
use std::path::Path;

use super::apply::Written;
use super::judge::{Judged, Person, ServerThere};

/// The report, with the lines of a configuration at its end.
pub(super) fn words(database: &Path, judged: &Judged, written: Option<&Written>) -> String {
    let mut text = String::new();
    let running =
        judged.users.iter().flat_map(|person| &person.servers).filter(|server| server.running).count();
    line(
        &mut text,
        &format!(
            "{}: {}, {}, {running} servers that run",
            database.display(),
            counted(judged.users.len(), "user"),
            counted(judged.groups.len(), "group"),
        ),
    );
    line(&mut text, "\nusers");
    for person in &judged.users {
        line(&mut text, &format!("  {}", of(person)));
        for remark in &person.remarks {
            line(&mut text, &format!("    ! {remark}"));
        }
    }
    if !judged.groups.is_empty() {
        line(&mut text, "\ngroups");
        for group in &judged.groups {
            line(&mut text, &format!("  {}: {}", shown(&group.name), counted(group.members, "member")));
        }
        line(&mut text, "  Here, rules read the groups that a provider tells of, and no others.");
        line(
            &mut text,
            "  --apply makes these groups of the hub's own: to share servers with, and to be asked for by the API.",
        );
    }
    stays(&mut text, judged);
    if let Some(written) = written {
        said(&mut text, written);
    }
    configuration(&mut text, judged);
    text
}

fn of(person: &Person) -> String {
    let mut words = vec![shown(&person.name)];
    if person.admin {
        words.push("administrator".to_owned());
    }
    if !person.groups.is_empty() {
        let groups: Vec<_> = person.groups.iter().map(|group| shown(group)).collect();
        words.push(format!("in {}", groups.join(" and ")));
    }
    words.extend(person.servers.iter().filter_map(server));
    words.join(", ")
}

/// Worth a word if it runs or has a name.
fn server(server: &ServerThere) -> Option<String> {
    let name =
        if server.name.is_empty() { "server".to_owned() } else { format!("server {}", shown(&server.name)) };
    match (&server.container, server.running) {
        (Some(container), true) => Some(format!("{name} runs as {container}")),
        (None, true) => Some(format!("{name} runs")),
        (_, false) => (!server.name.is_empty()).then_some(name),
    }
}

/// What has no counterpart here.
fn stays(text: &mut String, judged: &Judged) {
    line(text, "\nwhat stays there");
    line(
        text,
        &format!(
            "  {} of users: the database has only their hashes; people make new ones at /hub/token",
            counted(usize::try_from(judged.tokens).unwrap_or_default(), "API token"),
        ),
    );
    line(text, "  sessions: everybody signs in once, at the provider");
    let services = usize::try_from(judged.services).unwrap_or_default();
    if services > 0 {
        line(
            text,
            &format!(
                "  {}: what is beside the hub is a [[route]], and what works by itself needs an API token",
                counted(services, "service"),
            ),
        );
    }
    line(
        text,
        "  users themselves: each is known here from their first login on, by the name that their provider says; --apply makes\n  them people who are expected: others can share with them before they come",
    );
}

/// What was written.
fn said(text: &mut String, written: &Written) {
    line(text, "\nwritten into the store");
    line(
        text,
        &format!("  {} more expected, {}", counted(written.users, "user"), counted(written.groups, "group")),
    );
    for name in &written.left_out {
        line(text, &format!("  ! not the group {}: a group cannot have this name", shown(name)));
    }
}

/// What to add so that the same people find the same things.
fn configuration(text: &mut String, judged: &Judged) {
    line(text, "\nto add to config.toml, where it does not say so already");
    let naming = judged.containers.as_ref();
    let legacy = naming.is_some_and(|naming| naming.legacy);
    if legacy || judged.named_servers > 0 {
        line(text, "[spawner]");
    }
    if legacy {
        line(text, "escape = \"legacy\"");
    }
    if judged.named_servers > 0 {
        line(text, &format!("named_servers = {}", judged.named_servers));
    }
    if let Some(naming) = naming {
        if naming.others > 0 {
            line(
                text,
                &format!(
                    "# {} named in another way, which hubgate does not know",
                    counted(naming.others, "container")
                ),
            );
        }
        line(text, &format!("[spawner.docker]\nprefix = \"{}\"", naming.prefix));
        if judged.users.iter().flat_map(|person| &person.servers).any(|server| server.running) {
            line(
                text,
                "# For what runs; hub_api.url, the network and a profile with its image must fit, too.",
            );
            line(text, "#adopt_jupyterhub = true");
        }
    }
    rule(text, "# Who had an account there.", &judged.names(false), "");
    rule(text, "# Who was an administrator there.", &judged.names(true), "admin = true\n");
}

fn rule(text: &mut String, why: &str, names: &[&str], grant: &str) {
    if names.is_empty() {
        return;
    }
    // Nothing in a user's name means anything in TOML.
    let list: Vec<String> = names.iter().map(|name| format!("    \"{name}\",\n")).collect();
    line(text, format!("{why}\n[[rule]]\nusers = [\n{}]\n{grant}", list.concat()).trim_end());
}

fn line(text: &mut String, words: &str) {
    // Writing to a string does not fail.
    let _always = writeln!(text, "{words}");
}

/// As it is, but for what is not to be printed.
fn shown(text: &str) -> String {
    text.escape_debug().to_string()
}

fn counted(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}
