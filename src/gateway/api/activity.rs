//! When users and servers were active, as containers and programs report it.

use std::collections::HashMap;

use dashmap::DashMap;
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use serde::Deserialize;
use tracing::debug;

use super::access::REPORT;
use super::{shortened, wrong};
use crate::clock::{Timestamp, read};
use crate::gateway::caller::Caller;
use crate::gateway::refusal::Refusal;
use crate::gateway::{Body, Gateway, empty, form};
use crate::spawner::WorkspaceId;
use crate::user::UserName;
use crate::workspace::Workspaces;

/// What was reported of users; of servers, the workspaces know it.
#[derive(Debug, Default)]
pub(in crate::gateway) struct Reported(DashMap<UserName, Timestamp>);

/// A report, with times that are none of the future.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::gateway) struct Report {
    /// Of the user.
    pub(in crate::gateway) user: Option<Timestamp>,
    /// Of their servers, by name.
    pub(in crate::gateway) servers: HashMap<String, Timestamp>,
}

#[derive(Deserialize)]
struct Written {
    last_activity: Option<String>,
    #[serde(default)]
    servers: HashMap<String, WrittenServer>,
}

#[derive(Deserialize)]
struct WrittenServer {
    last_activity: String,
}

impl Reported {
    fn note(&self, name: &UserName, when: Timestamp) {
        let mut last = self.0.entry(name.clone()).or_default();
        *last = when.max(*last);
    }

    /// Whoever has the name next was never active.
    pub(super) fn forget(&self, name: &UserName) {
        self.0.remove(name);
    }

    pub(super) fn each(&self, mut note: impl FnMut(&UserName, Timestamp)) {
        self.0.iter().for_each(|entry| note(entry.key(), *entry.value()));
    }
}

impl Report {
    /// The report in a body that came at `now`.
    pub(in crate::gateway) fn read(bytes: &[u8], now: Timestamp) -> Result<Self, &'static str> {
        let written: Written = serde_json::from_slice(bytes).map_err(|_error| "not a report of activity")?;
        if written.last_activity.is_none() && written.servers.is_empty() {
            return Err("body must contain at least one of last_activity or servers");
        }
        let time = |text: &str| {
            let when = read(text).ok_or("last_activity must be a time")?;
            // Time zones are mistaken by whole hours; what is off by less is a clock.
            if when > now + LEAD { Err("last_activity is in the future") } else { Ok(when.min(now)) }
        };
        let user = written.last_activity.as_deref().map(time).transpose()?;
        let server = |(name, server): (String, WrittenServer)| Ok((name, time(&server.last_activity)?));
        let servers = written.servers.into_iter().map(server).collect::<Result<_, &'static str>>()?;
        Ok(Self { user, servers })
    }
}

impl Gateway {
    /// `/users/<name>/activity`.
    pub(super) async fn api_report(
        &self,
        request: Request<Incoming>,
        caller: &Caller,
        name: &UserName,
    ) -> Result<Response<Body>, Refusal> {
        self.allow(caller, (name, None), &REPORT, &request).await?;
        if caller.name() != name {
            self.created(name).await?;
        }
        Ok(self.take_report(&form::read(request).await?, name, |_id| true, Workspaces::note_activity))
    }

    /// Takes a report of `name`, and of those of their servers that whoever reports may speak of.
    pub(in crate::gateway) fn take_report(
        &self,
        bytes: &[u8],
        name: &UserName,
        speaks_of: impl Fn(&WorkspaceId) -> bool,
        note: fn(&Workspaces, &WorkspaceId, Timestamp),
    ) -> Response<Body> {
        let report = match Report::read(bytes, self.0.clock.now()) {
            Ok(report) => report,
            Err(message) => return wrong(message),
        };
        let theirs = self.0.workspaces.of(name);
        let mut moved = Vec::new();
        for (server, when) in report.servers {
            let Some(id) = theirs.iter().find(|id| id.server.as_str() == server && speaks_of(id)) else {
                let message = format!("No such server '{}' for user {name}", shortened(&server));
                return wrong(&message);
            };
            moved.push((id, when));
        }
        for (id, when) in moved {
            note(&self.0.workspaces, id, when);
        }
        if let Some(when) = report.user {
            self.1.reported.note(name, when);
        }
        debug!(user = %name, "activity reported");
        empty(StatusCode::OK)
    }
}

/// How far ahead of ours a clock may be, in seconds: JupyterHub's measure.
const LEAD: u64 = 59 * 60;

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = 1_750_000_000;

    #[test]
    fn a_report_says_something_and_nothing_of_the_future() {
        let read = |text: &str| Report::read(text.as_bytes(), NOW);
        let of_user = read(r#"{"last_activity": "2025-06-15T15:06:30Z"}"#).unwrap();
        assert_eq!(of_user, Report { user: Some(NOW - 10), servers: HashMap::new() });
        let ahead = read(r#"{"servers": {"": {"last_activity": "2025-06-15T16:05:40Z"}}}"#).unwrap();
        assert_eq!(ahead.servers[""], NOW, "a clock may be ahead, and counts as now");
        for wrong in [
            "",
            "[]",
            "{}",
            r#"{"servers": {}}"#,
            r#"{"last_activity": 7}"#,
            r#"{"last_activity": "2025-06-15T16:05:41Z"}"#,
            r#"{"servers": {"": {"last_activity": "2125-06-15T16:05:40Z"}}}"#,
            r#"{"servers": {"": {}}}"#,
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
