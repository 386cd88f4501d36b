//! What `hubgate connect` says: for people, and for programs.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::client::{Client, Mapper};
use super::hub::Hub;
use super::register::{FULL_SCOPE_OFF, Outcome, Registered};
use super::remark::{Level, Remark};
use super::search::Found;

/// All that was found and done.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) hub: Hub,
    pub(super) found: Found,
    pub(super) remarks: Vec<Remark>,
    pub(super) registration: Option<Registration>,
}

/// What was done at Keycloak.
#[derive(Debug)]
pub(super) struct Registration {
    pub(super) registered: Registered,
    /// Whether anything could be changed; else it says what would be.
    pub(super) write: bool,
    /// The file with the secret, and whether it is new.
    pub(super) secret_file: Option<(PathBuf, bool)>,
}

impl Report {
    /// The worst of all remarks.
    pub(super) fn worst(&self) -> Level {
        self.all_remarks().map(|remark| remark.level).max().unwrap_or(Level::Good)
    }

    fn all_remarks(&self) -> impl Iterator<Item = &Remark> {
        let at_the_client =
            self.registration.iter().flat_map(|registration| &registration.registered.remarks);
        self.remarks.iter().chain(at_the_client)
    }

    /// For people.
    pub(super) fn words(&self) -> String {
        let mut text = String::new();
        heading(&mut text, "The issuer");
        line(&mut text, &self.found.issuer);
        heading(&mut text, "What it says of itself");
        for remark in self.all_remarks() {
            remark_line(&mut text, remark);
        }
        match &self.registration {
            Some(registration) => self.registration_words(registration, &mut text),
            None => self.by_hand(&mut text),
        }
        heading(&mut text, "For config.toml");
        text.push_str(&self.hub.section());
        printable(&text)
    }

    fn by_hand(&self, text: &mut String) {
        let Self { hub: Hub { client, callers, .. }, found, .. } = self;
        let keycloak = found.description.is_keycloak();
        heading(
            text,
            if keycloak { "Register this client (Clients, Create client)" } else { "Register this client" },
        );
        settings(text, &client_settings(client));
        if keycloak {
            heading(
                text,
                &format!(
                    "Add these mappers (Client scopes, {}-dedicated, Configure a new mapper)",
                    client.id
                ),
            );
            mapper_lines(text, &client.mappers());
            line(text, &format!("Full scope allowed: {FULL_SCOPE_OFF}."));
            let whose = if callers.is_empty() {
                "each client whose tokens call the hub's API".to_owned()
            } else {
                callers.join(", ")
            };
            heading(text, &format!("And these to {whose}, if access tokens shall open the hub's API"));
            mapper_lines(text, &client.caller_mappers());
        } else {
            heading(text, "Let it put these claims into the ID token or userinfo");
            settings(
                text,
                &[
                    (client.groups_claim.clone(), "the user's groups, as a list of texts".to_owned()),
                    ("realm_access.roles".to_owned(), "roles, if rules use realm_roles".to_owned()),
                ],
            );
        }
    }

    fn registration_words(&self, registration: &Registration, text: &mut String) {
        let Registration { registered, write, secret_file } = registration;
        let id = &self.hub.client.id;
        let title = match (registered.outcome, write) {
            (Outcome::Unchanged, _) => format!("The client {id} is as it should be: nothing was changed"),
            (Outcome::Created, true) => format!("The client {id} was registered"),
            (Outcome::Changed, true) => format!("The client {id} was changed"),
            (Outcome::Created, false) => format!("The client {id} is not registered; --register would do it"),
            (Outcome::Changed, false) => {
                format!("The client {id} is not as it should be; --register would change it")
            }
        };
        heading(text, &title);
        for change in &registered.changes {
            line(text, change);
        }
        match secret_file {
            Some((path, true)) => line(text, &format!("its secret is in {}", path.display())),
            Some((path, false)) => line(text, &format!("its secret was in {} already", path.display())),
            None if *write => {
                line(text, "its secret is at Keycloak; --secret-file FILE writes it into a file");
            }
            None => {}
        }
    }

    /// For programs.
    pub(super) fn json(&self) -> String {
        let Self { hub, found, remarks, registration } = self;
        let registration = registration.as_ref().map(|Registration { registered, write, secret_file }| {
            json!({
                "outcome": match registered.outcome {
                    Outcome::Created => "created",
                    Outcome::Changed => "changed",
                    Outcome::Unchanged => "unchanged",
                },
                "written": write,
                "changes": registered.changes,
                "remarks": registered.remarks,
                "secret_file": secret_file.as_ref().map(|(path, _new)| path.display().to_string()),
            })
        });
        let made = |mappers: Vec<Mapper>| mappers.iter().map(Mapper::representation).collect::<Vec<Value>>();
        let report = json!({
            "issuer": found.issuer,
            "discovery_url": found.elsewhere.then(|| found.document.as_str()),
            "remarks": remarks,
            "client": hub.client.representation(),
            "api_client_mappers": made(hub.client.caller_mappers()),
            "toml": hub.section(),
            "registration": registration,
        });
        format!("{report:#}\n")
    }
}

/// In the words of Keycloak's console.
fn client_settings(client: &Client) -> Vec<(String, String)> {
    let after_logout = client.after_logout();
    let back = client.backchannel_logout();
    let front = format!("off; if you switch it on: {}, with session required", client.frontchannel_logout());
    [
        ("Client type", "OpenID Connect"),
        ("Client ID", client.id.as_str()),
        (
            "Client authentication",
            if client.by_key { "on, with Signed JWT" } else { "on (a confidential client)" },
        ),
        (
            "Authentication flow",
            "Standard flow only: direct access grants, implicit flow and service accounts off",
        ),
        ("PKCE method", "S256"),
        ("Valid redirect URIs", client.callback.as_str()),
        ("Valid post logout redirect URIs", after_logout.as_str()),
        ("Web origins", "none"),
        ("Front channel logout", front.as_str()),
        ("Backchannel logout URL", back.as_str()),
        ("Backchannel logout session required", "on"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .to_vec()
}

fn mapper_lines(text: &mut String, mappers: &[Mapper]) {
    let lines: Vec<(String, String)> =
        mappers.iter().map(|mapper| (mapper.title.to_owned(), mapper.words())).collect();
    settings(text, &lines);
}

fn settings(text: &mut String, settings: &[(String, String)]) {
    let width = settings.iter().map(|(name, _)| name.chars().count()).max().unwrap_or_default();
    for (name, value) in settings {
        line(text, &format!("{name:<width$}  {value}"));
    }
}

fn heading(text: &mut String, title: &str) {
    if !text.is_empty() {
        text.push('\n');
    }
    text.push_str(title);
    text.push('\n');
}

fn line(text: &mut String, words: &str) {
    text.push_str("  ");
    text.push_str(words);
    text.push('\n');
}

fn remark_line(text: &mut String, remark: &Remark) {
    let level = match remark.level {
        Level::Good => "good",
        Level::Note => "note",
        Level::Warning => "warning",
        Level::Error => "error",
    };
    line(text, &format!("{level:<8} {}", remark.what));
    if let Some(remedy) = remark.remedy {
        line(text, &format!("{:<8} hint: {remedy}", ""));
    }
}

/// What a provider writes must not steer the terminal, nor show itself in another order.
fn printable(text: &str) -> String {
    let steers = |c: char| {
        (c.is_control() && c != '\n')
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let mut clean = String::with_capacity(text.len());
    for c in text.chars() {
        if steers(c) {
            clean.extend(c.escape_unicode());
        } else {
            clean.push(c);
        }
    }
    clean
}
