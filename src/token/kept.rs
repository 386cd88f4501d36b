//! What a token's row holds sealed: what it may do, so that nobody who can write to the store makes it do more.

use serde::{Deserialize, Serialize};

use super::{ApiToken, Scopes};
use crate::clock::Timestamp;
use crate::store::ApiTokenRow;

#[derive(Serialize)]
struct Kept<'a> {
    version: u32,
    id: [u8; 8],
    owner: &'a str,
    scopes: String,
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
    scopes: String,
    pub(super) note: String,
    pub(super) created: Timestamp,
    expires: Timestamp,
}

/// The bytes to seal.
pub(super) fn plain(token: &ApiToken) -> Vec<u8> {
    let kept = Kept {
        version: VERSION,
        id: token.id.0,
        owner: token.owner.name.as_str(),
        scopes: token.made_for().to_string(),
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
    // A scope that this release does not know gives nothing.
    let known = |name: &&str| Scopes::parse([*name], None).is_ok();
    let scopes = Scopes::parse(opened.scopes.split(' ').filter(known), None).ok()?;
    let same = opened.version == VERSION
        && opened.id == row.id
        && opened.owner == row.owner.as_str()
        && opened.expires == row.expires;
    same.then_some((opened, scopes))
}

const VERSION: u32 = 1;
