//! Why a person may enter or not, and with what: `mapping` judges, this tells. Pure.

mod person;
mod words;

use serde_json::Value;

use crate::clock::{Timestamp, utc};
use crate::config::{self, Config};
use crate::identity::Identity;
use crate::mapping::{Condition, Mapping, Verdict};
use crate::server_name::ServerName;
use crate::spawner::{WorkspaceId, container_name};
use crate::spelling::distance;
use crate::token::Scopes;
use crate::user::{User, UserName};
use crate::workspace::mounts;

pub use person::{Claims, Explanation, Granted, Grants, Refused, RuleSays, SharedSays, TokenSays, Volume};

/// What is looked at: rules, profiles, and how things are called on this machine.
#[derive(Debug, Clone)]
pub struct Explainer {
    mapping: Mapping,
    providers: Vec<String>,
    rules: Vec<config::Rule>,
    profiles: Vec<config::Profile>,
    spawner: config::Spawner,
}

/// A person whom a provider has described.
#[derive(Debug, Clone, Copy)]
pub struct Described<'a> {
    /// Which provider, by its name in the configuration.
    pub provider: &'a str,
    /// What it says.
    pub identity: &'a Identity,
    /// What they are called here already; of whoever has never been here, nothing.
    pub name: Option<&'a UserName>,
    /// When it said so.
    pub at: Option<Timestamp>,
    /// It has disabled their account since.
    pub barred: bool,
}

impl Explainer {
    /// By this configuration.
    pub fn new(config: &Config) -> Self {
        Self {
            mapping: Mapping::new(&config.provider, &config.rule, &config.profile, &config.route),
            providers: config.provider.iter().map(|provider| provider.name().to_owned()).collect(),
            rules: config.rule.clone(),
            profiles: config.profile.clone(),
            spawner: config.spawner.clone(),
        }
    }

    /// The providers' names, in the order of the configuration.
    pub fn providers(&self) -> &[String] {
        &self.providers
    }

    /// The judging.
    pub fn mapping(&self) -> &Mapping {
        &self.mapping
    }

    /// Everything about one person but their tokens and shares.
    pub fn person(&self, who: Described<'_>) -> Explanation {
        let named = match who.name {
            Some(name) => Ok(name.clone()),
            None => self.mapping.name(who.provider, who.identity),
        };
        let mut told = Explanation {
            user: named.as_ref().ok().map(UserName::to_string),
            known: who.name.is_some(),
            provider: who.provider.to_owned(),
            issuer: who.identity.issuer.clone(),
            subject: who.identity.subject.clone(),
            said: who.at.map(utc),
            claims: self.claims(who.provider, who.identity),
            rules: Vec::new(),
            refused: None,
            grants: None,
            tokens: Vec::new(),
            shares: Vec::new(),
            shared: Vec::new(),
        };
        let outcome = named.and_then(|name| {
            let judgement = self.mapping.judge(who.provider, who.identity, name);
            let rules = self.rules.iter().zip(&judgement.verdicts).enumerate();
            told.rules = rules.map(|(at, (rule, verdict))| says(at + 1, rule, verdict)).collect();
            judgement.outcome
        });
        match outcome {
            Ok(user) if who.barred => {
                let why = format!(
                    "the rules would let {} in, but the provider has disabled the account",
                    user.name
                );
                told.refused = Some(Refused { why, hint: BARRED.to_owned() });
            }
            Ok(user) => told.grants = Some(self.grants(&user)),
            Err(error) => {
                let why = match std::error::Error::source(&error) {
                    Some(cause) => format!("{error}: {cause}"),
                    None => error.to_string(),
                };
                told.refused = Some(Refused { why, hint: error.remedy().to_owned() });
            }
        }
        told
    }

    /// What the rules look at, as the provider says it.
    fn claims(&self, provider: &str, identity: &Identity) -> Claims {
        let (name, groups) = self.mapping.claims_of(provider).unwrap_or_default();
        let strings = |path: &[&str]| identity.strings(path).into_iter().map(str::to_owned).collect();
        let mut clients: Vec<&str> = Vec::new();
        for role in self.rules.iter().flat_map(|rule| &rule.client_roles) {
            if !clients.contains(&role.client.as_str()) {
                clients.push(&role.client);
            }
        }
        let of_client = |client: &&str| {
            let roles: Vec<String> = strings(&["resource_access", client, "roles"]);
            (!roles.is_empty()).then(|| ((*client).to_owned(), roles))
        };
        Claims {
            name_claim: name.to_owned(),
            name: identity
                .claim(&[name])
                .map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned)),
            groups_claim: groups.to_owned(),
            groups: strings(&[groups]),
            groups_are_a_list: identity.claim(&[groups]).is_none_or(Value::is_array),
            realm_roles: strings(&["realm_access", "roles"]),
            client_roles: clients.iter().filter_map(of_client).collect(),
        }
    }

    fn grants(&self, user: &User) -> Grants {
        let granted =
            self.profiles.iter().filter(|profile| user.profiles.iter().any(|name| **name == profile.name));
        Grants {
            admin: user.admin,
            profiles: granted.map(|profile| self.granted(user, profile)).collect(),
            routes: user.routes.iter().map(ToString::to_string).collect(),
            scopes: Scopes::of(user).names(),
        }
    }

    fn granted(&self, user: &User, profile: &config::Profile) -> Granted {
        let id = WorkspaceId { user: user.name.clone(), server: ServerName::default() };
        let limits = user.limits(profile);
        let containers = self.spawner.kind == config::SpawnerKind::Docker;
        let volume = |mount: crate::spawner::Mount| Volume {
            source: mount.source,
            target: mount.target,
            read_only: mount.read_only,
        };
        Granted {
            profile: profile.name.clone(),
            image: profile.image.clone(),
            memory: limits.memory,
            cpu: limits.cpu,
            container: containers
                .then(|| container_name(&self.spawner.docker.prefix, &id, self.spawner.escape)),
            volumes: mounts(profile, &id, self.spawner.escape).into_iter().map(volume).collect(),
        }
    }
}

/// Names like one that nobody has, the nearest first.
pub fn near<'n>(wanted: &str, names: impl IntoIterator<Item = &'n UserName>) -> Vec<&'n UserName> {
    let most = wanted.chars().count().div_ceil(3);
    let likeness = |name: &'n UserName| {
        let holds =
            wanted.chars().count() > 2 && (name.as_str().contains(wanted) || wanted.contains(name.as_str()));
        let distance = distance(wanted, name.as_str());
        (holds || distance <= most).then_some((distance, name))
    };
    let mut found: Vec<_> = names.into_iter().filter_map(likeness).collect();
    found.sort_unstable();
    found.into_iter().take(MOST_NAMES).map(|(_, name)| name).collect()
}

fn says(number: usize, rule: &config::Rule, verdict: &Verdict) -> RuleSays {
    let (matches, why) = match verdict {
        Verdict::Matches(by) => (true, by.iter().map(condition).collect()),
        Verdict::OtherProvider => {
            (false, vec![format!("is for {} only", rule.providers.as_deref().unwrap_or_default().join(", "))])
        }
        Verdict::NoMatch => (false, Vec::new()),
    };
    RuleSays { number, line: rule.line, matches, why, grants: given(rule) }
}

fn condition(condition: &Condition) -> String {
    match condition {
        Condition::Everyone => "everyone".to_owned(),
        Condition::User => "the user's name".to_owned(),
        Condition::Group(group) => format!("group {group:?}"),
        Condition::RealmRole(role) => format!("realm role {role:?}"),
        Condition::ClientRole(config::ClientRole { client, role }) => {
            format!("role {role:?} of client {client:?}")
        }
    }
}

/// What a rule gives to whoever it matches.
fn given(rule: &config::Rule) -> Vec<String> {
    let mut given = vec![match &rule.profiles {
        None => "all profiles".to_owned(),
        Some(list) if list.is_empty() => "no profile".to_owned(),
        Some(list) => format!("profiles {}", list.join(", ")),
    }];
    given.extend(rule.routes.as_ref().map(|list| match list.as_slice() {
        [] => "no route".to_owned(),
        list => format!("routes {}", list.join(", ")),
    }));
    given.extend(rule.admin.then(|| "administration".to_owned()));
    given.extend(
        rule.memory.map(|limit| format!("memory {}", words::memory(limit.value().map(|size| size.0)))),
    );
    given.extend(rule.cpu.map(|limit| format!("processors {}", words::cpu(limit.value().map(|cpu| cpu.0)))));
    given
}

/// What helps whoever is barred.
const BARRED: &str = "enable the account at the provider; from their next login on they may enter, and their API tokens count again";

/// So many are proposed.
const MOST_NAMES: usize = 5;

#[cfg(test)]
mod tests;
