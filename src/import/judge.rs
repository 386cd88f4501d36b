//! What becomes of each thing that another hub knows. Pure: nothing is taken that is not understood.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;
use serde_json::Value;

use super::database::{Known, Server};
use crate::config::Escape;
use crate::server_name::ServerName;
use crate::spawner::{WorkspaceId, container_name};
use crate::user::UserName;

/// Everything, judged.
#[derive(Debug, Serialize)]
pub(super) struct Judged {
    pub(super) users: Vec<Person>,
    pub(super) groups: Vec<Group>,
    /// How its containers are called, where its servers are containers.
    pub(super) containers: Option<Naming>,
    /// Named servers that the user with the most of them has.
    pub(super) named_servers: usize,
    pub(super) tokens: i64,
    pub(super) services: i64,
}

/// Somebody who may sign in there.
#[derive(Debug, Serialize)]
pub(super) struct Person {
    /// As it is there; any text.
    pub(super) name: String,
    /// As it would be here, if it can be.
    pub(super) here: Option<UserNameText>,
    pub(super) admin: bool,
    pub(super) groups: Vec<String>,
    pub(super) servers: Vec<ServerThere>,
    /// What somebody must see to.
    pub(super) remarks: Vec<String>,
}

/// A user's name of ours, in an answer.
pub(super) type UserNameText = String;

/// A group there, with its members.
#[derive(Debug, Serialize)]
pub(super) struct Group {
    pub(super) name: String,
    pub(super) members: usize,
}

/// A server there.
#[derive(Debug, Serialize)]
pub(super) struct ServerThere {
    /// Empty for the one without a name.
    pub(super) name: String,
    pub(super) running: bool,
    pub(super) container: Option<String>,
}

/// How containers are called.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub(super) struct Naming {
    pub(super) prefix: String,
    pub(super) legacy: bool,
    /// Containers whose names are another way.
    pub(super) others: usize,
}

impl Judged {
    pub(super) fn new(known: Known) -> Self {
        let mut groups_of: HashMap<i64, Vec<String>> = HashMap::new();
        let mut members: BTreeMap<String, usize> = known.groups.into_iter().map(|name| (name, 0)).collect();
        for (group, member) in known.members {
            *members.entry(group.clone()).or_default() += 1;
            groups_of.entry(member).or_default().push(group);
        }
        let mut servers_of: HashMap<i64, Vec<ServerThere>> = HashMap::new();
        for server in known.servers {
            servers_of.entry(server.owner).or_default().push(there(server));
        }
        let mut users: Vec<Person> = known
            .users
            .into_iter()
            .map(|user| {
                let groups = groups_of.remove(&user.id).unwrap_or_default();
                person(user.name, user.admin, groups, servers_of.remove(&user.id).unwrap_or_default())
            })
            .collect();
        tell_apart(&mut users);
        let named = |person: &Person| person.servers.iter().filter(|server| !server.name.is_empty()).count();
        Self {
            containers: naming(&users),
            named_servers: users.iter().map(named).max().unwrap_or_default(),
            users,
            groups: members.into_iter().map(|(name, members)| Group { name, members }).collect(),
            tokens: known.tokens,
            services: known.services,
        }
    }

    /// Names of those who can come as they are; administrators alone, or all.
    pub(super) fn names(&self, admins: bool) -> Vec<&str> {
        let wanted = self.users.iter().filter(|person| person.admin || !admins);
        let mut names: Vec<&str> = wanted.filter_map(|person| person.here.as_deref()).collect();
        names.sort_unstable();
        names.dedup();
        names
    }
}

fn there(server: Server) -> ServerThere {
    let state: Value = serde_json::from_str(&server.state).unwrap_or_default();
    let container = state.get("object_name").and_then(Value::as_str).filter(|name| is_container(name));
    ServerThere { container: container.map(str::to_owned), name: server.name, running: server.running }
}

fn person(name: String, admin: bool, groups: Vec<String>, servers: Vec<ServerThere>) -> Person {
    let mut remarks = Vec::new();
    let here = match UserName::normalise(&name) {
        Ok(here) if here.as_str() == name => Some(here.to_string()),
        Ok(here) => {
            remarks.push(format!(
                "is written {here} here: what is named after the other writing, such as a volume, must be renamed"
            ));
            Some(here.to_string())
        }
        Err(error) => {
            remarks.push(format!("cannot come under this name: {error}"));
            None
        }
    };
    for server in &servers {
        if let Err(error) = ServerName::parse(&server.name) {
            remarks.push(format!("a server cannot have its name here: {error}"));
        }
    }
    Person { name, here, admin, groups, servers, remarks }
}

/// Two there who would be one here: whoever comes first would have what is the other's.
fn tell_apart(users: &mut [Person]) {
    let mut count: HashMap<String, usize> = HashMap::new();
    for here in users.iter().filter_map(|person| person.here.as_ref()) {
        *count.entry(here.clone()).or_default() += 1;
    }
    for person in users {
        let shared = person.here.as_ref().filter(|here| count.get(*here).is_some_and(|count| *count > 1));
        if let Some(here) = shared {
            person
                .remarks
                .push(format!("would be {here} here, as somebody else would: rename one of them first"));
            person.here = None;
        }
    }
}

/// The prefix and the escaping that explain the most names of containers.
fn naming(users: &[Person]) -> Option<Naming> {
    let mut votes: BTreeMap<Naming, usize> = BTreeMap::new();
    let mut all = 0_usize;
    for person in users {
        let Ok(user) = UserName::parse(&person.name) else { continue };
        for server in &person.servers {
            let (Some(container), Ok(name)) = (&server.container, ServerName::parse(&server.name)) else {
                continue;
            };
            all += 1;
            let id = WorkspaceId { user: user.clone(), server: name };
            for (legacy, how) in [(false, Escape::Current), (true, Escape::Legacy)] {
                let prefix = container.strip_suffix(&container_name("", &id, how));
                if let Some(prefix) = prefix.filter(|prefix| is_container(prefix)) {
                    let naming = Naming { prefix: prefix.to_owned(), legacy, others: 0 };
                    *votes.entry(naming).or_default() += 1;
                }
            }
        }
    }
    // Where both explain as much, the newer one, which comes first, is hubgate's own.
    let (naming, explained) = votes.into_iter().rev().max_by_key(|(_, count)| *count)?;
    Some(Naming { others: all - explained, ..naming })
}

/// What an engine takes for a container's name, or for the beginning of one.
fn is_container(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
    name.len() <= 255
        && name.bytes().all(plain)
        && name.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::database::User;

    fn judged(users: &[&str], containers: &[(i64, &str, &str)]) -> Judged {
        let user = |(id, name): (i64, &&str)| User { id, name: (*name).to_owned(), admin: false };
        let server = |(owner, name, container): &(i64, &str, &str)| Server {
            owner: *owner,
            name: (*name).to_owned(),
            running: true,
            state: format!("{{\"object_id\":\"x\",\"object_name\":\"{container}\"}}"),
        };
        Judged::new(Known {
            users: (0..).zip(users).map(user).collect(),
            servers: containers.iter().map(server).collect(),
            ..Known::default()
        })
    }

    #[test]
    fn two_who_would_be_one_here_are_told_apart_by_an_administrator() {
        let judged = judged(&["Alice", "alice", "jose\u{301}", "bob"], &[]);
        assert_eq!(judged.names(false), ["bob", "josé"]);
        let remarks: Vec<_> = judged.users.iter().map(|person| person.remarks.len()).collect();
        assert_eq!(remarks, [2, 1, 1, 0]);
    }

    #[test]
    fn names_of_containers_say_how_they_are_made() {
        let naming =
            |containers: &[(i64, &str, &str)]| judged(&["alice", "a-b", "a.b"], containers).containers;
        let expected =
            |prefix: &str, legacy, others| Some(Naming { prefix: prefix.to_owned(), legacy, others });
        assert_eq!(naming(&[(0, "", "jupyter-alice")]), expected("jupyter", false, 0));
        assert_eq!(naming(&[(0, "", "lab-x-alice"), (1, "", "lab-x-a-b")]), expected("lab-x", true, 0));
        assert_eq!(naming(&[(2, "gpu", "jupyter-a-2eb--gpu")]), expected("jupyter", false, 0));
        assert_eq!(naming(&[(2, "", "jupyter-a_2Eb")]), expected("jupyter", true, 0));
        assert_eq!(naming(&[(0, "", "jupyter-alice"), (2, "", "lab")]), expected("jupyter", false, 1));
        assert_eq!(naming(&[(0, "", "../alice"), (1, "", "-a-b")]), None);
    }
}
