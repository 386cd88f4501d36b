//! What is told of one person, as programs read it.

use serde::{Deserialize, Serialize};

/// Everything about one person.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    /// The name here; none can be made of what the provider says.
    pub user: Option<String>,
    /// It is theirs already, from their first login.
    pub known: bool,
    /// Who vouches for them, by the name in the configuration.
    pub provider: String,
    /// The same by its issuer.
    pub issuer: String,
    /// As whom.
    pub subject: String,
    /// When the provider last said this, in UTC.
    pub said: Option<String>,
    /// What the rules look at.
    pub claims: Claims,
    /// What each rule says of them.
    pub rules: Vec<RuleSays>,
    /// Why they may not enter.
    pub refused: Option<Refused>,
    /// What they have if they may.
    pub grants: Option<Grants>,
    /// Their API tokens, where those are known.
    pub tokens: Vec<TokenSays>,
    /// What they share with others, by links too, where that is known.
    #[serde(default)]
    pub shares: Vec<SharedSays>,
    /// What others share with them and with their groups.
    #[serde(default)]
    pub shared: Vec<SharedSays>,
}

/// What the provider says, as far as rules look at it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// `provider.username_claim`.
    pub name_claim: String,
    /// What is in it.
    pub name: Option<String>,
    /// `provider.groups_claim`.
    pub groups_claim: String,
    /// What is in it.
    pub groups: Vec<String>,
    /// It is a list, or not there: nothing else puts anybody in a group.
    pub groups_are_a_list: bool,
    /// Roles of the realm.
    pub realm_roles: Vec<String>,
    /// Roles of those clients that rules name.
    pub client_roles: Vec<(String, Vec<String>)>,
}

/// What one rule says of a person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleSays {
    /// Which, from 1.
    pub number: usize,
    /// Where it stands in the configuration.
    pub line: Option<usize>,
    /// Whether it is for them.
    pub matches: bool,
    /// By what; or why it cannot be.
    pub why: Vec<String>,
    /// What it gives to whoever it matches.
    pub grants: Vec<String>,
}

/// Why a person may not enter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// In a sentence.
    pub why: String,
    /// What to do about it.
    pub hint: String,
}

/// What the matching rules give together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Grants {
    /// They are an administrator.
    pub admin: bool,
    /// What they may start.
    pub profiles: Vec<Granted>,
    /// Which routes beside the hub are open to them, beside the public ones.
    #[serde(default)]
    pub routes: Vec<String>,
    /// What API tokens of theirs can do at most.
    pub scopes: Vec<String>,
}

/// A profile that somebody may start, as it is for them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Granted {
    /// Its name.
    pub profile: String,
    /// Its image.
    pub image: String,
    /// Bytes; `null`: no limit.
    pub memory: Option<u64>,
    /// Processors; `null`: no limit.
    pub cpu: Option<f64>,
    /// What the container is called; where there are none, nothing.
    pub container: Option<String>,
    /// What outlives it.
    pub volumes: Vec<Volume>,
}

/// A volume or folder that a workspace sees.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    /// A path of this machine, or a volume's name.
    pub source: String,
    /// Where the workspace sees it.
    pub target: String,
    /// It cannot write there.
    pub read_only: bool,
}

/// An API token, and what it is worth now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenSays {
    /// What it is called.
    pub id: String,
    /// What its owner wrote about it.
    pub note: String,
    /// What it may do now.
    pub scopes: Vec<String>,
    /// When it ends, in UTC.
    pub expires: String,
}

/// A server that its owner shares.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SharedSays {
    /// Whose it is.
    pub owner: String,
    /// Its name; the default one has none.
    pub server: String,
    /// `user`, `group`: all of it, or `link`: whoever has it.
    pub kind: String,
    /// Which user or group, or the ID of the link.
    pub with: String,
    /// `read`, or `full`.
    pub access: String,
    /// When it ends, in UTC; `null`: when it is revoked.
    pub expires: Option<String>,
}
