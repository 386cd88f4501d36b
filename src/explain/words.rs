//! The same for people.

use std::fmt::Write as _;

use super::person::{Claims, Explanation, Granted, Grants, RuleSays, SharedSays};

impl Explanation {
    /// For a terminal: whatever a provider says is quoted.
    pub fn words(&self) -> String {
        let mut text = String::new();
        let who = self.user.as_deref().unwrap_or("this person");
        match &self.refused {
            None => add(&mut text, format_args!("{who} may enter.")),
            Some(refused) => {
                add(&mut text, format_args!("{who} may not enter: {}.", refused.why));
                add(&mut text, format_args!("  hint: {}", refused.hint));
            }
        }
        text.push('\n');
        self.add_claims(&mut text);
        if !self.rules.is_empty() {
            text.push_str("\nRules\n");
            self.rules.iter().for_each(|rule| add(&mut text, format_args!("{}", rule_words(rule))));
        }
        if let Some(grants) = &self.grants {
            add_grants(&mut text, grants);
        }
        for token in &self.tokens {
            let scopes =
                if token.scopes.is_empty() { "nothing now".to_owned() } else { token.scopes.join(" ") };
            add(
                &mut text,
                format_args!("  API token {} {:?}: {scopes}; until {}", token.id, token.note, token.expires),
            );
        }
        self.shares.iter().for_each(|share| add(&mut text, format_args!("  {}", shares_words(share))));
        self.shared.iter().for_each(|share| add(&mut text, format_args!("  {}", shared_words(share))));
        text
    }

    fn add_claims(&self, text: &mut String) {
        let Claims { name_claim, name, groups_claim, groups, groups_are_a_list, .. } = &self.claims;
        let said = name.as_ref().map_or_else(|| "is not there".to_owned(), |name| format!("says {name:?}"));
        let kept = if self.known { "theirs since the first login; " } else { "" };
        add(text, format_args!("  name          {kept}the claim {name_claim:?} {said}"));
        let when = self.said.as_ref().map_or_else(String::new, |when| format!(", which said this at {when}"));
        add(text, format_args!("  provider      {} ({:?}){when}", self.provider, self.issuer));
        add(text, format_args!("  subject       {:?}", self.subject));
        if *groups_are_a_list {
            add(text, format_args!("  groups        {} (in the claim {groups_claim:?})", list(groups)));
        } else {
            add(text, format_args!("  groups        none: the claim {groups_claim:?} is no list"));
        }
        add(text, format_args!("  realm roles   {}", list(&self.claims.realm_roles)));
        for (client, roles) in &self.claims.client_roles {
            add(text, format_args!("  client roles  {} of {client:?}", list(roles)));
        }
    }
}

fn shares_words(share: &SharedSays) -> String {
    let with = match share.kind.as_str() {
        "group" => format!("all of {:?}", share.with),
        "link" => format!("whoever has the link {}", share.with),
        _ => share.with.clone(),
    };
    format!("shares {} with {with}, {}; {}", server(share), share.access, until(share))
}

fn shared_words(share: &SharedSays) -> String {
    let group = if share.kind == "group" { format!(", as all of {:?}", share.with) } else { String::new() };
    format!("is let into {} of {}{group}, {}; {}", server(share), share.owner, share.access, until(share))
}

fn server(share: &SharedSays) -> String {
    if share.server.is_empty() { "the server".to_owned() } else { format!("the server {}", share.server) }
}

fn until(share: &SharedSays) -> String {
    share.expires.as_ref().map_or_else(|| "until it is revoked".to_owned(), |end| format!("until {end}"))
}

fn rule_words(rule: &RuleSays) -> String {
    let line = rule.line.map_or_else(String::new, |line| format!(" (line {line})"));
    let grants = rule.grants.join(", ");
    let why = rule.why.join(" and ");
    match (rule.matches, rule.why.is_empty()) {
        (true, _) => format!("  {}{line}: matches by {why}; gives {grants}", rule.number),
        (false, true) => format!("  {}{line}: does not match", rule.number),
        (false, false) => format!("  {}{line}: does not match: it {why}", rule.number),
    }
}

fn add_grants(text: &mut String, grants: &Grants) {
    text.push_str("\nGrants\n");
    add(text, format_args!("  administrator: {}", if grants.admin { "yes" } else { "no" }));
    grants.profiles.iter().for_each(|granted| add_granted(text, granted));
    if !grants.routes.is_empty() {
        add(text, format_args!("  routes: {}", grants.routes.join(" ")));
    }
    add(text, format_args!("  API tokens may have: {}", grants.scopes.join(" ")));
}

fn add_granted(text: &mut String, granted: &Granted) {
    let (memory, cpu) = (memory(granted.memory), cpu(granted.cpu));
    add(text, format_args!("  profile {}: memory {memory}, processors {cpu}", granted.profile));
    if let Some(container) = &granted.container {
        add(text, format_args!("    container {container} of {}", granted.image));
    }
    for volume in &granted.volumes {
        let read_only = if volume.read_only { ", which it cannot change" } else { "" };
        add(text, format_args!("    {} at {}{read_only}", volume.source, volume.target));
    }
}

fn list(texts: &[String]) -> String {
    if texts.is_empty() {
        return "none".to_owned();
    }
    texts.iter().map(|text| format!("{text:?}")).collect::<Vec<_>>().join(", ")
}

pub(super) fn memory(bytes: Option<u64>) -> String {
    let Some(bytes) = bytes else { return "unlimited".to_owned() };
    let units = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
    let whole = units.into_iter().find(|(power, _)| bytes > 0 && bytes % (1 << power) == 0);
    whole.map_or_else(|| format!("{bytes}B"), |(power, unit)| format!("{}{unit}", bytes >> power))
}

pub(super) fn cpu(count: Option<f64>) -> String {
    count.map_or_else(|| "unlimited".to_owned(), |count| format!("{count}"))
}

fn add(text: &mut String, line: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _always = writeln!(text, "{line}");
}
