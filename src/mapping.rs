//! Identity to user: which name, whether they may enter, and what they are granted. Pure.

use std::sync::Arc;

use serde_json::Value;
use thiserror::Error;

use crate::config::{self, Limit};
use crate::identity::Identity;
use crate::preset;
use crate::user::{self, Group, Limits, User, UserName, UserNameError};

/// The rules of the configuration, ready to judge.
#[derive(Debug, Clone)]
pub struct Mapping {
    providers: Vec<Claims>,
    rules: Vec<Rule>,
    profiles: Vec<Arc<str>>,
    routes: Vec<Arc<str>>,
    /// Claims that may stand in the environment of a workspace.
    told: Vec<String>,
}

/// Where a provider says what.
#[derive(Debug, Clone)]
struct Claims {
    provider: String,
    username: String,
    groups: String,
}

#[derive(Debug, Clone)]
struct Rule {
    rule: config::Rule,
    users: Vec<UserName>,
}

/// What the rules make of a person.
#[derive(Debug, PartialEq)]
pub struct Judgement {
    /// What each rule says, in the order of the configuration.
    pub verdicts: Vec<Verdict>,
    /// What comes of it.
    pub outcome: Result<User, MappingError>,
}

/// What one rule says of a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It matches, by these of its conditions: what it grants is theirs.
    Matches(Vec<Condition>),
    /// It counts only for people of other providers.
    OtherProvider,
    /// None of its conditions holds.
    NoMatch,
}

/// A condition of a rule that holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// It is for everybody.
    Everyone,
    /// It names the user.
    User,
    /// They are in this group.
    Group(String),
    /// They have this realm role.
    RealmRole(String),
    /// They have this role of a client.
    ClientRole(config::ClientRole),
}

/// Why an identity is no user of this hub.
#[derive(Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum MappingError {
    /// The provider did not say how the user is called.
    #[error("the provider sends no claim {claim:?} with text in it")]
    NoName {
        /// The claim that was looked for.
        claim: String,
    },
    /// The claim is an address that the provider has not seen to be theirs: whoever wrote it there could be anybody.
    #[error("the address in {claim:?} is not verified (email_verified)")]
    Unverified {
        /// The claim.
        claim: String,
    },
    /// The claim's text cannot be a name here.
    #[error("the claim {claim:?} cannot be a user name")]
    UnsafeName {
        /// The claim.
        claim: String,
        /// Why.
        source: UserNameError,
    },
    /// No rule lets this person in.
    #[error("no rule lets {name} in")]
    NotAllowed {
        /// The name they would have.
        name: UserName,
    },
    /// Rules let them in and grant no profile.
    #[error("the rules that let {name} in grant no profile")]
    NoProfile {
        /// The name they would have.
        name: UserName,
    },
}

impl MappingError {
    /// What an administrator can do.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::NotAllowed { .. } => "add a [[rule]] that matches this user",
            Self::NoProfile { .. } => "grant a profile in a [[rule]] that matches this user",
            Self::Unverified { .. } => {
                "let the provider verify the account's address, or choose another provider.username_claim"
            }
            Self::NoName { .. } | Self::UnsafeName { .. } => {
                "choose another provider.username_claim, or correct the account"
            }
        }
    }
}

impl Mapping {
    /// From the configuration's providers, rules, profiles and routes.
    pub fn new(
        providers: &[config::Provider],
        rules: &[config::Rule],
        profiles: &[config::Profile],
        routes: &[config::Route],
    ) -> Self {
        let rule = |rule: &config::Rule| Rule {
            users: rule.users.iter().filter_map(|name| UserName::normalise(name).ok()).collect(),
            rule: rule.clone(),
        };
        let claims = |provider: &config::Provider| Claims {
            provider: provider.name().to_owned(),
            username: provider.username_claim.clone(),
            groups: provider.groups_claim.clone(),
        };
        Self {
            providers: providers.iter().map(claims).collect(),
            rules: rules.iter().map(rule).collect(),
            profiles: profiles.iter().map(|profile| profile.name.as_str().into()).collect(),
            routes: routes.iter().map(|route| route.name.as_str().into()).collect(),
            told: profiles.iter().flat_map(preset::claims).map(str::to_owned).collect(),
        }
    }

    fn claims(&self, provider: &str) -> Option<&Claims> {
        self.providers.iter().find(|claims| claims.provider == provider)
    }

    /// The name that the claim chosen for this provider gives.
    pub fn name(&self, provider: &str, identity: &Identity) -> Result<UserName, MappingError> {
        let chosen = self.claims(provider).map_or("", |claims| &claims.username);
        let claim = || chosen.to_owned();
        let text = identity.claim(&[chosen]).and_then(|value| value.as_str());
        let text = text.ok_or_else(|| MappingError::NoName { claim: claim() })?;
        // OpenID Connect Core 1.0, section 5.7: people may write any address into their profile.
        let verified = || identity.claim(&["email_verified"]).and_then(Value::as_bool) == Some(true);
        if chosen == "email" && !verified() {
            return Err(MappingError::Unverified { claim: claim() });
        }
        UserName::normalise(text).map_err(|source| MappingError::UnsafeName { claim: claim(), source })
    }

    /// The user with all that the matching rules grant: administrator if one says so, the profiles of all, the
    /// highest of the limits. `provider` is who vouches for the identity.
    pub fn user(&self, provider: &str, identity: &Identity, name: UserName) -> Result<User, MappingError> {
        self.judge(provider, identity, name).outcome
    }

    /// The same, with what each rule says.
    pub fn judge(&self, provider: &str, identity: &Identity, name: UserName) -> Judgement {
        let verdict = |rule: &Rule| self.verdict(rule, provider, identity, &name);
        let verdicts: Vec<Verdict> = self.rules.iter().map(verdict).collect();
        let told = self.told.iter().map(String::as_str);
        let claims = user::Claims::read(&identity.claims, told);
        let outcome = self.grant(&verdicts, name, self.groups(provider, identity), claims);
        Judgement { verdicts, outcome }
    }

    /// The groups that a provider says somebody is in.
    pub fn groups(&self, provider: &str, identity: &Identity) -> Arc<[Group]> {
        let Some(claims) = self.claims(provider) else { return [].into() };
        let provider: Arc<str> = claims.provider.as_str().into();
        let group = |path: &str| Group { provider: Arc::clone(&provider), path: path.into() };
        identity.strings(&[&claims.groups]).into_iter().map(group).collect()
    }

    fn grant(
        &self,
        verdicts: &[Verdict],
        name: UserName,
        groups: Arc<[Group]>,
        claims: user::Claims,
    ) -> Result<User, MappingError> {
        let rules = self.rules.iter().zip(verdicts);
        let matching: Vec<&config::Rule> = rules
            .filter_map(|(rule, verdict)| matches!(verdict, Verdict::Matches(_)).then_some(&rule.rule))
            .collect();
        if matching.is_empty() {
            return Err(MappingError::NotAllowed { name });
        }
        let granted =
            |all: &[Arc<str>], list: fn(&config::Rule) -> &Option<Vec<String>>| -> Arc<[Arc<str>]> {
                let names = |rule: &config::Rule, name: &str| {
                    list(rule).as_ref().is_none_or(|list| list.iter().any(|listed| listed == name))
                };
                let granted = |name: &&Arc<str>| matching.iter().any(|rule| names(rule, name));
                all.iter().filter(granted).cloned().collect()
            };
        let profiles = granted(&self.profiles, |rule| &rule.profiles);
        if profiles.is_empty() {
            return Err(MappingError::NoProfile { name });
        }
        let memory = highest(matching.iter().filter_map(|rule| rule.memory), |a, b| a.0 >= b.0);
        let cpu = highest(matching.iter().filter_map(|rule| rule.cpu), |a, b| a.0 >= b.0);
        Ok(User {
            admin: matching.iter().any(|rule| rule.admin),
            profiles,
            routes: granted(&self.routes, |rule| &rule.routes),
            groups,
            claims,
            memory: memory.map(|limit| limit.value().map(|size| size.0)),
            cpu: cpu.map(|limit| limit.value().map(|cpu| cpu.0)),
            name,
        })
    }

    fn verdict(
        &self,
        Rule { rule, users }: &Rule,
        provider: &str,
        identity: &Identity,
        name: &UserName,
    ) -> Verdict {
        // Comes before whatever else may let somebody in: a group of one provider is no group of another.
        if !rule.providers.as_ref().is_none_or(|list| list.iter().any(|name| name == provider)) {
            return Verdict::OtherProvider;
        }
        let groups = self.claims(provider).map_or("", |claims| &claims.groups);
        let held = |wanted: &[String], path: &[&str], condition: fn(String) -> Condition| {
            let has = identity.strings(path);
            let held = wanted.iter().filter(|want| has.contains(&want.as_str()));
            held.map(|want| condition(want.clone())).collect::<Vec<_>>()
        };
        let client_role = |wanted: &&config::ClientRole| {
            let path = ["resource_access", wanted.client.as_str(), "roles"];
            identity.strings(&path).contains(&wanted.role.as_str())
        };
        let mut by = Vec::new();
        by.extend(rule.everyone.then_some(Condition::Everyone));
        by.extend(users.contains(name).then_some(Condition::User));
        by.extend(held(&rule.groups, &[groups], Condition::Group));
        by.extend(held(&rule.realm_roles, &["realm_access", "roles"], Condition::RealmRole));
        by.extend(rule.client_roles.iter().filter(client_role).cloned().map(Condition::ClientRole));
        if by.is_empty() { Verdict::NoMatch } else { Verdict::Matches(by) }
    }

    /// The claims of this provider that give the name and the groups.
    pub fn claims_of(&self, provider: &str) -> Option<(&str, &str)> {
        self.claims(provider).map(|claims| (claims.username.as_str(), claims.groups.as_str()))
    }
}

fn highest<T: Copy>(
    limits: impl Iterator<Item = Limit<T>>,
    at_least: impl Fn(&T, &T) -> bool,
) -> Option<Limit<T>> {
    limits.reduce(|a, b| match (a, b) {
        (Limit::Value(x), Limit::Value(y)) => Limit::Value(if at_least(&x, &y) { x } else { y }),
        (Limit::Unlimited, _) | (_, Limit::Unlimited) => Limit::Unlimited,
    })
}

impl User {
    /// What holds for this user in a profile: the rules' limits where they set one, else the profile's own.
    pub fn limits(&self, profile: &config::Profile) -> Limits {
        Limits {
            memory: self.memory.unwrap_or_else(|| profile.memory.value().map(|size| size.0)),
            cpu: self.cpu.unwrap_or_else(|| profile.cpu.value().map(|cpu| cpu.0)),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::config::{ClientRole, Cpu, Size};

    const MAIN: &str = "main";

    fn mapping(rules: Vec<config::Rule>) -> Mapping {
        Mapping {
            providers: vec![Claims {
                provider: MAIN.into(),
                username: "preferred_username".into(),
                groups: "groups".into(),
            }],
            rules: rules
                .into_iter()
                .map(|rule| Rule { users: vec![UserName::parse("alice").unwrap()], rule })
                .map(|mut rule| {
                    rule.users.retain(|_| !rule.rule.users.is_empty());
                    rule
                })
                .collect(),
            profiles: vec!["lab".into(), "qe".into()],
            routes: vec!["docs".into(), "grafana".into()],
            told: vec!["given_name".into(), "email".into()],
        }
    }

    fn identity(claims: Value) -> Identity {
        Identity {
            issuer: "https://kc.example/realms/r".into(),
            subject: "1".into(),
            sid: None,
            claims: claims.as_object().cloned().unwrap(),
        }
    }

    fn judge(rule: config::Rule, claims: Value) -> Result<User, MappingError> {
        let mapping = mapping(vec![rule]);
        mapping.user(MAIN, &identity(claims), UserName::parse("alice").unwrap())
    }

    fn strings(list: &[&str]) -> Vec<String> {
        list.iter().map(|&text| text.to_owned()).collect()
    }

    #[test]
    fn nobody_enters_until_a_rule_lets_them() {
        let nobody = MappingError::NotAllowed { name: UserName::parse("alice").unwrap() };
        let claims = json!({"groups": ["/lab"], "realm_access": {"roles": ["user"]}});
        let none = mapping(vec![]).user(MAIN, &identity(claims.clone()), UserName::parse("alice").unwrap());
        assert_eq!(none, Err(nobody));
        assert!(
            judge(config::Rule::default(), claims.clone()).is_err(),
            "a rule without a condition matches nobody"
        );
        for rule in [
            config::Rule { users: strings(&["Alice"]), ..Default::default() },
            config::Rule { groups: strings(&["/lab"]), ..Default::default() },
            config::Rule { realm_roles: strings(&["user"]), ..Default::default() },
            config::Rule { everyone: true, ..Default::default() },
        ] {
            assert!(judge(rule, claims.clone()).is_ok());
        }
    }

    #[test]
    fn a_group_is_its_whole_path_and_no_role() {
        let lab = || config::Rule { groups: strings(&["/lab"]), ..Default::default() };
        for claims in [
            json!({"groups": ["lab"]}),
            json!({"groups": ["/lab/alpha"]}),
            json!({"groups": "/lab"}),
            json!({"groups": null}),
            json!({"realm_access": {"roles": ["/lab"]}}),
            json!({}),
        ] {
            assert!(judge(lab(), claims.clone()).is_err(), "{claims}");
        }
        let empty = config::Rule { groups: strings(&[""]), ..Default::default() };
        assert!(judge(empty, json!({"groups": [""]})).is_err(), "an empty name matches nothing");
    }

    #[test]
    fn a_client_role_is_of_its_client() {
        let admin = ClientRole { client: "hub.prod".into(), role: "admin".into() };
        let rule = || config::Rule { client_roles: vec![admin.clone()], admin: true, ..Default::default() };
        assert!(judge(rule(), json!({"resource_access": {"hub.prod": {"roles": ["admin"]}}})).unwrap().admin);
        for claims in [
            json!({"resource_access": {"other": {"roles": ["admin"]}}}),
            json!({"resource_access": {"hub": {"prod": {"roles": ["admin"]}}}}),
            json!({"resource_access": {"hub.prod": {"roles": "admin"}}}),
        ] {
            assert!(judge(rule(), claims).is_err());
        }
    }

    #[test]
    fn a_rule_for_one_provider_lets_nobody_of_another_in() {
        let rule = config::Rule { everyone: true, providers: Some(strings(&["eth"])), ..Default::default() };
        let mapping = mapping(vec![rule]);
        let judge = |provider| {
            let claims = identity(json!({"groups": ["/lab"]}));
            mapping.user(provider, &claims, UserName::parse("alice").unwrap())
        };
        assert!(judge("eth").is_ok());
        assert!(judge(MAIN).is_err() && judge("").is_err());
    }

    #[test]
    fn grants_add_up() {
        let rules = vec![
            config::Rule {
                everyone: true,
                profiles: Some(strings(&["qe"])),
                memory: Some(Limit::Value(Size(1))),
                cpu: Some(Limit::Value(Cpu(2.0))),
                ..Default::default()
            },
            config::Rule {
                groups: strings(&["/lab"]),
                profiles: Some(strings(&["lab"])),
                memory: Some(Limit::Value(Size(3))),
                cpu: Some(Limit::Unlimited),
                ..Default::default()
            },
        ];
        let mapping = mapping(rules);
        let of = |claims| mapping.user(MAIN, &identity(claims), UserName::parse("bob").unwrap()).unwrap();
        let plain = of(json!({}));
        assert_eq!((&*plain.profiles[0], plain.memory, plain.cpu), ("qe", Some(Some(1)), Some(Some(2.0))));
        let lab = of(json!({"groups": ["/lab"]}));
        assert_eq!((lab.profiles.len(), lab.memory, lab.cpu), (2, Some(Some(3)), Some(None)));
        assert!(!lab.admin);
    }

    #[test]
    fn a_user_comes_with_what_their_workspaces_are_told_of_them_and_with_nothing_else() {
        let rule = config::Rule { everyone: true, ..Default::default() };
        let claims = json!({"given_name": "Anna", "email": "anna@epfl.ch", "phone_number": "+41"});
        let user = judge(rule, claims).unwrap();
        assert_eq!(user.claims.text("given_name"), Some("Anna"));
        assert_eq!((user.claims.text("email"), user.claims.text("phone_number")), (None, None));
    }

    #[test]
    fn an_address_that_is_not_verified_names_nobody() {
        let mut mapping = mapping(vec![]);
        mapping.providers[0].username = "email".into();
        let name = |claims| mapping.name(MAIN, &identity(claims));
        let verified = json!({"email": "Anna@EPFL.ch", "email_verified": true});
        assert_eq!(name(verified).unwrap().as_str(), "anna@epfl.ch");
        for odd in [json!(false), json!(null), json!("true"), json!(1)] {
            let claims = json!({"email": "anna@epfl.ch", "email_verified": odd});
            assert_eq!(name(claims), Err(MappingError::Unverified { claim: "email".into() }), "{odd}");
        }
        assert!(name(json!({"email": "anna@epfl.ch"})).is_err());
    }

    #[test]
    fn a_name_comes_from_a_claim_that_is_text() {
        let mapping = mapping(vec![]);
        assert_eq!(
            mapping.name(MAIN, &identity(json!({"preferred_username": "Anna@EPFL.ch"}))).unwrap().as_str(),
            "anna@epfl.ch"
        );
        for claims in [json!({}), json!({"preferred_username": 7}), json!({"preferred_username": ["a"]})] {
            assert!(matches!(mapping.name(MAIN, &identity(claims)), Err(MappingError::NoName { .. })));
        }
        let unsafe_name = mapping.name(MAIN, &identity(json!({"preferred_username": "../bob"})));
        assert!(matches!(unsafe_name, Err(MappingError::UnsafeName { .. })));
    }
}
