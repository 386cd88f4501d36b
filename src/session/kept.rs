//! What a session's row holds sealed: who it is, and the provider's tokens.

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{Proof, Session};
use crate::clock::Timestamp;
use crate::identity::Identity;
use crate::oidc::Tokens;
use crate::secret::Secret;
use crate::store::SessionRow;

/// The name and the time are in the row as well; sealed, they cannot be changed there.
#[derive(Serialize)]
struct Closed<'a> {
    version: u32,
    user: &'a str,
    created: Timestamp,
    provider: &'a str,
    identity: &'a Identity,
    proof: &'a Proof,
    id_token: Option<&'a str>,
    access_token: Option<&'a str>,
    refresh_token: Option<&'a str>,
    issued: Option<Timestamp>,
    expires: Option<Timestamp>,
    refresh_expires: Option<Timestamp>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Opened {
    version: u32,
    user: String,
    created: Timestamp,
    provider: Option<String>,
    identity: Identity,
    proof: Option<Proof>,
    id_token: Option<String>,
    access_token: Option<String>,
    refresh_token: Option<String>,
    issued: Option<Timestamp>,
    expires: Option<Timestamp>,
    refresh_expires: Option<Timestamp>,
}

/// What was sealed.
pub(super) struct Kept {
    /// `None`: there was only one then.
    pub(super) provider: Option<String>,
    pub(super) identity: Identity,
    /// Nothing, where it was not kept yet: what a renewal has said since is not of the login.
    pub(super) proof: Proof,
    pub(super) tokens: Tokens,
}

/// The bytes to seal.
pub(super) fn plain(session: &Session) -> Zeroizing<Vec<u8>> {
    let standing = session.standing();
    let tokens = &standing.tokens;
    let kept = Closed {
        version: VERSION,
        user: session.name.as_str(),
        created: session.created,
        provider: &session.provider,
        identity: &standing.identity,
        proof: &session.proof,
        id_token: tokens.id_token.as_ref().map(Secret::expose),
        access_token: tokens.access_token.as_ref().map(Secret::expose),
        refresh_token: tokens.refresh_token.as_ref().map(Secret::expose),
        issued: tokens.issued,
        expires: tokens.expires,
        refresh_expires: tokens.refresh_expires,
    };
    #[expect(clippy::expect_used, reason = "strings, numbers and JSON values with string keys: all are JSON")]
    Zeroizing::new(serde_json::to_vec(&kept).expect("JSON"))
}

/// What was sealed in `row`; `None` when another release wrote it, or the row says something else.
pub(super) fn open(row: &SessionRow, plain: Vec<u8>) -> Option<Kept> {
    let plain = Zeroizing::new(plain);
    let opened: Opened = serde_json::from_slice(&plain).ok()?;
    let tokens = Tokens {
        id_token: opened.id_token.map(Secret::new),
        access_token: opened.access_token.map(Secret::new),
        refresh_token: opened.refresh_token.map(Secret::new),
        issued: opened.issued,
        expires: opened.expires,
        refresh_expires: opened.refresh_expires,
    };
    let same = opened.version == VERSION
        && opened.user == row.user.as_str()
        && opened.created == row.created
        && opened.identity.issuer == row.issuer
        && opened.identity.subject == row.subject
        && opened.identity.sid == row.sid;
    let proof = opened.proof.unwrap_or_default();
    same.then_some(Kept { provider: opened.provider, identity: opened.identity, proof, tokens })
}

const VERSION: u32 = 1;
