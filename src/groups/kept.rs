//! What the row of a group holds sealed: nobody who can write to the store puts themselves into one.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::OwnGroup;
use crate::seal::Sealer;
use crate::store::GroupRow;
use crate::user::{GroupName, UserName};

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    version: u32,
    users: Vec<String>,
    properties: Map<String, Value>,
}

/// The row of a group.
pub(super) fn row(group: &OwnGroup, sealer: &Sealer) -> GroupRow {
    let users = group.users.iter().map(UserName::to_string).collect();
    let kept = Kept { version: VERSION, users, properties: group.properties.clone() };
    #[expect(clippy::expect_used, reason = "strings, numbers and JSON values with string keys: all are JSON")]
    let plain = serde_json::to_vec(&kept).expect("JSON");
    GroupRow { name: group.name.to_string(), sealed: sealer.seal(&context(group.name.as_str()), &plain) }
}

/// What was sealed in a row; `None` when it was sealed elsewhere or changed, or another release wrote it.
pub(super) fn open(row: &GroupRow, sealer: &Sealer) -> Option<OwnGroup> {
    let plain = sealer.open(&context(&row.name), &row.sealed)?;
    let kept: Kept = serde_json::from_slice(&plain).ok()?;
    let users = kept.users.iter().map(|name| UserName::parse(name)).collect::<Result<_, _>>().ok()?;
    let group = OwnGroup { name: GroupName::parse(&row.name).ok()?, users, properties: kept.properties };
    (kept.version == VERSION).then_some(group)
}

/// Properties as they are kept.
pub(super) fn noted(properties: &Map<String, Value>) -> String {
    Value::Object(properties.clone()).to_string()
}

fn context(name: &str) -> String {
    format!("group:{name}")
}

const VERSION: u32 = 1;
