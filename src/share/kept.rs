//! What the rows of shares and codes hold sealed: nobody who can write to the store lets themselves in.

use std::collections::BTreeSet;
use std::sync::Mutex;

use serde::{Deserialize, Serialize};

use super::code::{Code, CodeId};
use super::grant::{Fresh, Share, ShareId};
use super::terms::{Access, Terms, With};
use crate::clock::Timestamp;
use crate::seal::Sealer;
use crate::server_name::ServerName;
use crate::spawner::WorkspaceId;
use crate::store::{ShareCodeRow, ShareRow};
use crate::user::{Group, UserName};

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeptShare {
    version: u32,
    owner: String,
    server: String,
    user: Option<String>,
    /// The provider's name, and the path.
    group: Option<(String, String)>,
    access: String,
    expires: Option<Timestamp>,
    by: String,
    created: Timestamp,
    since: Timestamp,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeptCode {
    version: u32,
    id: [u8; 8],
    owner: String,
    server: String,
    access: String,
    expires: Timestamp,
    share_expires: Option<Timestamp>,
    by: String,
    created: Timestamp,
    #[serde(default)]
    refused: Vec<String>,
    accepted: u64,
    last_accepted: Timestamp,
}

/// The row of a share.
pub(super) fn share_row(share: &Share, sealer: &Sealer) -> ShareRow {
    let (terms, of) = (share.terms(), &share.of);
    let (user, group) = match &share.with {
        With::User(name) => (Some(name.to_string()), None),
        With::Group(group) => (None, Some((group.provider.to_string(), group.path.to_string()))),
    };
    let kept = KeptShare {
        version: VERSION,
        owner: of.user.to_string(),
        server: of.server.as_str().to_owned(),
        user,
        group,
        access: terms.access.name().to_owned(),
        expires: terms.expires,
        by: share.by.to_string(),
        created: share.created,
        since: share.since(),
    };
    let (owner, server) = (of.user.clone(), of.server.clone());
    ShareRow { id: share.id.0, owner, server, sealed: sealer.seal(&share_context(share.id), &plain(&kept)) }
}

/// What was sealed in a row; `None` when it was sealed elsewhere or changed, or another release wrote it.
pub(super) fn open_share(row: &ShareRow, sealer: &Sealer) -> Option<Fresh> {
    let id = ShareId(row.id);
    let kept: KeptShare = parse(&sealer.open(&share_context(id), &row.sealed)?)?;
    let with = match (&kept.user, &kept.group) {
        (Some(name), None) => With::User(UserName::parse(name).ok()?),
        (None, Some((provider, path))) => {
            With::Group(Group { provider: provider.as_str().into(), path: path.as_str().into() })
        }
        (Some(_), Some(_)) | (None, None) => return None,
    };
    let of = workspace(&kept.owner, &kept.server)?;
    let same = kept.version == VERSION && of.user == row.owner && of.server == row.server;
    let terms = Terms { access: Access::parse(&kept.access)?, expires: kept.expires };
    let by = UserName::parse(&kept.by).ok()?;
    let KeptShare { created, since, .. } = kept;
    same.then_some(Fresh { id, of, with, by, created, terms, since, rests: false })
}

/// The row of a code.
pub(super) fn code_row(code: &Code, sealer: &Sealer) -> ShareCodeRow {
    let of = &code.of;
    let kept = KeptCode {
        version: VERSION,
        id: code.id.0,
        owner: of.user.to_string(),
        server: of.server.as_str().to_owned(),
        access: code.access.name().to_owned(),
        expires: code.expires,
        share_expires: code.share_expires,
        by: code.by.to_string(),
        created: code.created,
        refused: code.refused().iter().map(ToString::to_string).collect(),
        accepted: code.accepted(),
        last_accepted: code.last_accepted().unwrap_or_default(),
    };
    let text = sealer.seal(&code_context(&code.hash), &plain(&kept));
    let (owner, server) = (of.user.clone(), of.server.clone());
    ShareCodeRow { id: code.id.0, hash: code.hash, owner, server, sealed: text }
}

/// What was sealed in a row of a code.
pub(super) fn open_code(row: &ShareCodeRow, sealer: &Sealer) -> Option<Code> {
    let kept: KeptCode = parse(&sealer.open(&code_context(&row.hash), &row.sealed)?)?;
    let of = workspace(&kept.owner, &kept.server)?;
    let same =
        kept.version == VERSION && kept.id == row.id && of.user == row.owner && of.server == row.server;
    let refused: BTreeSet<_> =
        kept.refused.iter().map(|name| UserName::parse(name)).collect::<Result<_, _>>().ok()?;
    let code = Code {
        id: CodeId(row.id),
        hash: row.hash,
        of,
        access: Access::parse(&kept.access)?,
        by: UserName::parse(&kept.by).ok()?,
        created: kept.created,
        expires: kept.expires,
        share_expires: kept.share_expires,
        refused: Mutex::new(refused),
        accepted: kept.accepted.into(),
        last_accepted: kept.last_accepted.into(),
        ended: false.into(),
    };
    same.then_some(code)
}

fn workspace(owner: &str, server: &str) -> Option<WorkspaceId> {
    Some(WorkspaceId { user: UserName::parse(owner).ok()?, server: ServerName::parse(server).ok()? })
}

fn plain(kept: &impl Serialize) -> Vec<u8> {
    #[expect(clippy::expect_used, reason = "strings and numbers: all are JSON")]
    serde_json::to_vec(kept).expect("JSON")
}

fn parse<'p, T: Deserialize<'p>>(plain: &'p [u8]) -> Option<T> {
    serde_json::from_slice(plain).ok()
}

fn share_context(id: ShareId) -> String {
    format!("share:{id}")
}

fn code_context(hash: &[u8; 32]) -> String {
    format!("share code:{}", crate::seal::hex(hash))
}

const VERSION: u32 = 1;
