//! What a token's row holds sealed: what it may do, so that nobody who can write to the store makes it do more.

use serde::{Deserialize, Serialize};

use super::{ApiToken, Filter, Scope, Scoped, Scopes};
use crate::clock::Timestamp;
use crate::store::ApiTokenRow;
use crate::user::UserName;

#[derive(Serialize)]
struct Kept<'a> {
    version: u32,
    id: [u8; 8],
    owner: &'a str,
    scopes: Vec<String>,
    note: &'a str,
    created: Timestamp,
    expires: Timestamp,
}

/// What was sealed.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Opened {
    version: u32,
    id: [u8; 8],
    owner: String,
    scopes: Written,
    pub(super) note: String,
    pub(super) created: Timestamp,
    expires: Timestamp,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    /// Of the first version, in which a scope of the owner's reached them alone, and nobody else by any filter.
    Line(String),
    List(Vec<String>),
}

impl Written {
    /// A scope that this release does not know gives nothing.
    fn scopes(&self, owner: &UserName) -> Scopes {
        let parse = |text: &str| Scoped::parse(text, Some(owner)).ok();
        match self {
            Self::Line(line) => {
                line.split(' ').filter_map(|text| parse(text).map(of_first_version)).collect()
            }
            Self::List(list) => list.iter().filter_map(|text| parse(text)).take(Scopes::MOST).collect(),
        }
    }
}

fn of_first_version(scoped: Scoped) -> Scoped {
    let owners = matches!(
        scoped.scope,
        Scope::Servers
            | Scope::ReadUsers
            | Scope::Tokens
            | Scope::Shares
            | Scope::ReadShares
            | Scope::UsersShares
            | Scope::ReadUsersShares
    );
    if owners { Scoped { filter: Some(Filter::Own), ..scoped } } else { scoped }
}

/// The bytes to seal.
pub(super) fn plain(token: &ApiToken) -> Vec<u8> {
    let kept = Kept {
        version: VERSION,
        id: token.id.0,
        owner: token.owner.name.as_str(),
        scopes: token.made_for().names(),
        note: token.note.as_str(),
        created: token.created,
        expires: token.expires,
    };
    #[expect(clippy::expect_used, reason = "strings and numbers: all are JSON")]
    serde_json::to_vec(&kept).expect("JSON")
}

/// What was sealed in `row`; `None` when another release wrote it, or the row says something else.
pub(super) fn open(row: &ApiTokenRow, plain: &[u8]) -> Option<(Opened, Scopes)> {
    let opened: Opened = serde_json::from_slice(plain).ok()?;
    let scopes = opened.scopes.scopes(&row.owner);
    let of_version = match &opened.scopes {
        Written::Line(_) => 1,
        Written::List(_) => VERSION,
    };
    let same = opened.version == of_version
        && opened.id == row.id
        && opened.owner == row.owner.as_str()
        && opened.expires == row.expires;
    same.then_some((opened, scopes))
}

const VERSION: u32 = 2;
