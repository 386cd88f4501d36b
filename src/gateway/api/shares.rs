//! Shares, for programs: what is shared with whom, and the other way round.

use std::sync::Arc;

use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use serde::Deserialize;
use serde_json::{Value, json};
use tracing::info;

use super::access::{GROUPS_SHARES, LEAVE_SHARES, READ_GROUPS_SHARES, READ_SHARED, READ_SHARES, SHARES};
use super::page::Page;
use super::{body, group_path, owner, problem, shortened, wrong};
use crate::clock::{Timestamp, utc};
use crate::gateway::caller::Caller;
use crate::gateway::hosts::Origin;
use crate::gateway::page::json;
use crate::gateway::refusal::Refusal;
use crate::gateway::{Body, Gateway, empty};
use crate::routes::ApiPath;
use crate::server_name::ServerName;
use crate::share::{Access, NewShare, Share, ShareError, With};
use crate::spawner::WorkspaceId;
use crate::token::{Reach, Scope, Target};
use crate::user::{Group, UserName};
use crate::workspace::State;

/// JupyterHub's form of granting and revoking, and what we add to it: `access` and `expires_in`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Asked {
    user: Option<String>,
    group: Option<String>,
    scopes: Option<Vec<String>>,
    access: Option<String>,
    expires_in: Option<i64>,
}

impl Gateway {
    /// `/shares/<owner>`: all that somebody shares.
    pub(super) async fn api_shares<B: Sync>(
        &self,
        request: &Request<B>,
        caller: &Caller,
        at: &Origin,
        owner: &UserName,
    ) -> Result<Response<Body>, Refusal> {
        self.allow(caller, (owner, None), &READ_SHARES, request).await?;
        self.check_known(caller, owner).await?;
        self.share_list(request, self.0.shares.of(owner), at)
    }

    /// `/shares/<owner>/<server>`.
    pub(super) async fn api_shares_of(
        &self,
        request: Request<Incoming>,
        caller: &Caller,
        at: &Origin,
        id: WorkspaceId,
    ) -> Result<Response<Body>, Refusal> {
        let act = if request.method() == Method::GET { &READ_SHARES } else { &SHARES };
        self.allow(caller, (&id.user, Some(&id.server)), act, &request).await?;
        self.check_there(caller, &id).await?;
        let theirs = || self.0.shares.of(&id.user).into_iter().filter(|share| share.of == id);
        match *request.method() {
            Method::GET => self.share_list(&request, theirs().collect(), at),
            Method::POST => self.api_share(request, caller, at, id).await,
            Method::PATCH => self.api_unshare(request, caller, at, &id).await,
            Method::DELETE => {
                tell_order(caller, &id);
                self.0.shares.end_of(&id).await?;
                Ok(empty(StatusCode::NO_CONTENT))
            }
            _ => Err(Refusal::Method),
        }
    }

    async fn api_share(
        &self,
        request: Request<Incoming>,
        caller: &Caller,
        at: &Origin,
        id: WorkspaceId,
    ) -> Result<Response<Body>, Refusal> {
        if let Some(refused) = may_give(caller, &id) {
            return Ok(refused);
        }
        let asked: Asked = body(request).await?;
        let access = match asked_access(asked.access.as_deref(), asked.scopes.as_deref(), &id) {
            Ok(access) => access,
            Err(message) => return Ok(wrong(&message)),
        };
        let with = match self.with(&asked, caller).await? {
            Ok(with) => with,
            Err(message) => return Ok(wrong(&message)),
        };
        let Ok(expires) = self.in_seconds(asked.expires_in) else { return Ok(wrong(NO_TIME)) };
        let new = NewShare { of: id, with, access, expires, by: caller.name().clone() };
        match self.0.shares.make(new).await {
            Ok(share) => {
                self.check_kept(&share.of).await?;
                Ok(json(StatusCode::OK, &self.share_model(&share, at)))
            }
            Err(ShareError::Store(error)) => Err(error.into()),
            Err(refused) => Ok(wrong(&refused.to_string())),
        }
    }

    /// With whom: a user who has been here, or a group that the caller is in; administrators share with any group.
    async fn with(&self, asked: &Asked, caller: &Caller) -> Result<Result<With, String>, Refusal> {
        match (&asked.user, &asked.group) {
            (Some(user), None) => {
                let name = UserName::parse(user).ok();
                let known = match &name {
                    Some(name) => self.0.people.find(name).await?.is_some(),
                    None => false,
                };
                let name = name.filter(|_| known).map(With::User);
                Ok(name.ok_or_else(|| format!("No such user: {}", shortened(user))))
            }
            (None, Some(path)) => {
                let right = caller.right();
                let none = || format!("No such group, or you are not in it: {}", shortened(path));
                let of_provider = Group { provider: right.provider, path: path.as_str().into() };
                let mut theirs = self.groups_of_user(&right.user).into_iter();
                if let Some(group) = theirs.find(|group| *group.path == **path) {
                    return Ok(Ok(With::Group(group)));
                }
                if right.user.admin && self.is_group(&of_provider).await? {
                    return Ok(Ok(With::Group(of_provider)));
                }
                let own = self.0.groups.all().iter().any(|group| group.name.as_str() == path);
                Ok(if right.user.admin && own { Ok(With::Group(Group::own(path))) } else { Err(none()) })
            }
            (Some(_), Some(_)) | (None, None) => Ok(Err("Say one of user and group".to_owned())),
        }
    }

    /// Whether somebody is in a group, as their provider last said.
    pub(in crate::gateway) async fn is_group(&self, group: &Group) -> Result<bool, Refusal> {
        let everybody = self.0.people.everybody().await?;
        let mut theirs = everybody.iter().filter(|(_, known)| *known.provider == *group.provider);
        Ok(theirs.any(|(_, known)| self.told_groups(known).contains(group)))
    }

    /// What is revoked is what is named; nothing named is everything.
    async fn api_unshare(
        &self,
        request: Request<Incoming>,
        caller: &Caller,
        at: &Origin,
        id: &WorkspaceId,
    ) -> Result<Response<Body>, Refusal> {
        let asked: Asked = body(request).await?;
        let named = match (&asked.user, &asked.group) {
            (Some(name), None) => ("user", name),
            (None, Some(path)) => ("group", path),
            (Some(_), Some(_)) | (None, None) => {
                return Ok(wrong("Say one of user and group"));
            }
        };
        let named_scopes = asked.scopes.as_deref().unwrap_or_default();
        let shared: Vec<_> =
            named_scopes.iter().filter(|scope| !is_never_shared(scope, id)).cloned().collect();
        let taken = if asked.access.is_none() && named_scopes.is_empty() {
            Ok(Some(Access::Read))
        } else if asked.access.is_none() && shared.is_empty() {
            Ok(None)
        } else {
            asked_access(asked.access.as_deref(), Some(&shared), id).map(Some)
        };
        let taken = match taken {
            Ok(taken) => taken,
            Err(message) => return Ok(wrong(&message)),
        };
        let matches = |share: &&Arc<Share>| {
            share.of == *id && (share.with.kind(), share.with.name()) == (named.0, named.1)
        };
        let Some(share) = self.0.shares.of(&id.user).iter().find(matches).cloned() else {
            return Ok(json(StatusCode::OK, &json!({})));
        };
        if let Some(taken) = taken {
            tell_order(caller, id);
            if taken == Access::Read {
                self.0.shares.end(&share).await?;
                return Ok(json(StatusCode::OK, &json!({})));
            }
            self.0.shares.narrow(&share).await?;
        }
        Ok(json(StatusCode::OK, &self.share_model(&share, at)))
    }

    /// `/users/<name>/shared`: what others share with somebody, and with their groups.
    pub(super) async fn api_shared_with<B: Sync>(
        &self,
        request: &Request<B>,
        caller: &Caller,
        at: &Origin,
        name: &UserName,
    ) -> Result<Response<Body>, Refusal> {
        self.allow(caller, (name, None), &READ_SHARED, request).await?;
        let user = if caller.name() == name {
            Some(caller.user())
        } else {
            let created = self.created(name).await?;
            self.recalled(name.clone(), created).await?.user
        };
        let shares = match user {
            Some(user) => self.0.shares.with(&user),
            None => self.0.shares.with_only(&With::User(name.clone())),
        };
        self.share_list(request, shares, at)
    }

    /// `/users/<name>/shared/<owner>/<server>`: one of them, which whoever has it may give back.
    pub(super) async fn api_shared_one<B: Sync>(
        &self,
        request: &Request<B>,
        caller: &Caller,
        at: &Origin,
        path: ApiPath<'_>,
    ) -> Result<Response<Body>, Refusal> {
        let name = owner(path)?;
        let act = if request.method() == Method::GET { &READ_SHARED } else { &LEAVE_SHARES };
        self.allow(caller, (&name, None), act, request).await?;
        let with = With::User(name);
        self.one_share(request, caller, at, path, |share| share.with == with).await
    }

    /// `/groups/<name>/shared`.
    pub(super) fn api_shared_with_group<B: Sync>(
        &self,
        request: &Request<B>,
        caller: &Caller,
        at: &Origin,
        segment: &str,
    ) -> Result<Response<Body>, Refusal> {
        let path = group_path(segment)?;
        self.allow_group(caller, &group_of(caller, &path), READ_GROUPS_SHARES, request)?;
        let shares = self.0.shares.all(|share| is_with_group(share, &path, caller, READ_GROUPS_SHARES));
        self.share_list(request, shares, at)
    }

    /// `/groups/<name>/shared/<owner>/<server>`.
    pub(super) async fn api_group_shared_one<B: Sync>(
        &self,
        request: &Request<B>,
        caller: &Caller,
        at: &Origin,
        path: ApiPath<'_>,
    ) -> Result<Response<Body>, Refusal> {
        let scopes = if request.method() == Method::GET { READ_GROUPS_SHARES } else { GROUPS_SHARES };
        let group = group_path(path.name)?;
        self.allow_group(caller, &group_of(caller, &group), scopes, request)?;
        self.one_share(request, caller, at, path, |share| is_with_group(share, &group, caller, scopes)).await
    }

    async fn one_share<B: Sync>(
        &self,
        request: &Request<B>,
        caller: &Caller,
        at: &Origin,
        path: ApiPath<'_>,
        matches: impl Fn(&Share) -> bool,
    ) -> Result<Response<Body>, Refusal> {
        let none = || Refusal::NoSuch("share");
        let owner = UserName::from_path_segment(path.item).map_err(|_no_name| none())?;
        let server = ServerName::parse(path.part).map_err(|_no_name| none())?;
        let id = WorkspaceId { user: owner, server };
        let theirs = self.0.shares.of(&id.user);
        let share = theirs.iter().find(|share| share.of == id && matches(share)).ok_or_else(none)?;
        match *request.method() {
            Method::GET => Ok(json(StatusCode::OK, &self.share_model(share, at))),
            Method::DELETE => {
                if share.with == With::User(caller.name().clone()) {
                    self.0.shares.leave(share).await?;
                } else {
                    tell_order(caller, &id);
                    self.0.shares.end(share).await?;
                }
                Ok(empty(StatusCode::NO_CONTENT))
            }
            _ => Err(Refusal::Method),
        }
    }

    fn share_list<B>(
        &self,
        request: &Request<B>,
        shares: Vec<Arc<Share>>,
        at: &Origin,
    ) -> Result<Response<Body>, Refusal> {
        let page = Page::enclosed(request)?;
        let total = shares.len();
        let models = page.cut(shares).iter().map(|share| self.share_model(share, at)).collect();
        Ok(page.answer(models, total, request.uri(), at))
    }

    fn share_model(&self, share: &Share, at: &Origin) -> Value {
        let terms = share.terms();
        let named = json!({ "name": share.with.name() });
        let (user, group) = match share.with {
            With::User(_) => (named, Value::Null),
            With::Group(_) => (Value::Null, named),
        };
        json!({
            "server": self.shared_server(&share.of, at), "scopes": scopes(terms.access, &share.of),
            "access": terms.access.name(), "kind": share.with.kind(), "user": user, "group": group,
            "created_at": utc(share.created), "expires_at": terms.expires.map(utc),
        })
    }

    /// As much of a server as whoever it is shared with may know.
    pub(super) fn shared_server(&self, id: &WorkspaceId, at: &Origin) -> Value {
        let ready = matches!(self.0.workspaces.state(id), Some(State::Ready(_)));
        let there = self.0.hosts.of_user(&id.user);
        let there = there.as_ref().unwrap_or(at);
        json!({
            "user": { "name": id.user.as_str() }, "name": id.server.as_str(), "url": self.address_of(id),
            "full_url": format!("{}{}", there.origin, id.path()), "ready": ready,
        })
    }

    /// When so many seconds are over.
    pub(super) fn in_seconds(&self, seconds: Option<i64>) -> Result<Option<Timestamp>, ()> {
        let Some(seconds) = seconds else { return Ok(None) };
        let seconds = u64::try_from(seconds).ok().filter(|seconds| *seconds >= SHORTEST).ok_or(())?;
        Ok(Some(self.0.clock.now().saturating_add(seconds)))
    }
}

/// What is shared lasts, also when what asked for it is over: people share on a page that no script reads, programs with a
/// token that is made for it, and nobody what is another's.
pub(super) fn may_give(caller: &Caller, id: &WorkspaceId) -> Option<Response<Body>> {
    let message = if caller.name() != &id.user {
        "Only its owner shares a server"
    } else if matches!(caller, Caller::Token(_)) {
        return None;
    } else {
        "Share at /hub/share, or with an API token that has the scope shares"
    };
    Some(problem(StatusCode::FORBIDDEN, message))
}

/// How much is meant: by our word, or by JupyterHub's scopes, which may name this server and nothing else.
pub(super) fn asked_access(
    access: Option<&str>,
    scopes: Option<&[String]>,
    id: &WorkspaceId,
) -> Result<Access, String> {
    let said = access.map(|text| Access::parse(text).ok_or("access is \"read\" or \"full\"")).transpose()?;
    let mut by_scopes = None;
    for scope in scopes.unwrap_or_default() {
        let (name, filter) = scope.split_once('!').map_or((scope.as_str(), None), |(n, f)| (n, Some(f)));
        let this = format!("server={}/{}", id.user, id.server);
        let one = SCOPES.iter().find(|(written, _)| *written == name && filter.is_none_or(|f| f == this));
        let (_, one) = one.ok_or_else(|| format!("Not a scope that can be shared: {}", shortened(scope)))?;
        by_scopes = by_scopes.max(Some(*one));
    }
    match (said, by_scopes) {
        (Some(said), Some(meant)) if said != meant => {
            Err("access and scopes say different things".to_owned())
        }
        (said, meant) => Ok(said.or(meant).unwrap_or(Access::Full)),
    }
}

/// Whether a scope is one that a JupyterHub shares of this server and nobody does here: taken back, it is as it was.
fn is_never_shared(scope: &str, id: &WorkspaceId) -> bool {
    let (name, filter) = scope.split_once('!').unwrap_or((scope, ""));
    let this = format!("server={}/{}", id.user, id.server);
    NEVER_SHARED.contains(&name) && (filter.is_empty() || filter == this)
}

/// What a share gives, as JupyterHub writes it.
pub(super) fn scopes(access: Access, id: &WorkspaceId) -> Vec<String> {
    let given = SCOPES.iter().filter(|(_, one)| *one <= access);
    given.map(|(name, _)| format!("{name}!server={}/{}", id.user, id.server)).collect()
}

/// An administrator revokes what is another's.
pub(super) fn tell_order(caller: &Caller, id: &WorkspaceId) {
    if caller.name() != &id.user {
        info!(event = "share_end_ordered", owner = %id.user, server = id.server.as_str(), by = %caller.name(), "somebody else than the owner ends a share");
    }
}

/// Whether something is shared with a group of this path, which the caller reaches by these scopes.
fn is_with_group(share: &Share, path: &str, caller: &Caller, scopes: &[Scope]) -> bool {
    let reaches = |group: &Group| caller.reach(scopes, &Target::Group(group)) == Reach::Reaches;
    matches!(&share.with, With::Group(group) if *group.path == *path && reaches(group))
}

/// Of the groups of this path, the one of whoever vouches for the caller is meant by their filters, or the hub's own.
fn group_of(caller: &Caller, path: &str) -> Group {
    Group { provider: caller.right().provider, path: path.into() }
}

const SCOPES: [(&str, Access); 2] = [("read:servers", Access::Read), ("access:servers", Access::Full)];

const NEVER_SHARED: [&str; 6] =
    ["servers", "start:servers", "delete:servers", "shares", "read:shares", "read:users:activity"];

/// Seconds; JupyterHub's bound.
const SHORTEST: u64 = 60;

pub(super) const NO_TIME: &str = "expires_in must be at least 60 seconds";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_of_jupyterhubs_say_how_much_is_shared_of_this_server_only() {
        let id = WorkspaceId {
            user: UserName::parse("alice").unwrap(),
            server: ServerName::parse("gpu").unwrap(),
        };
        let asked = |access, scopes: &[&str]| {
            let scopes: Vec<_> = scopes.iter().map(ToString::to_string).collect();
            asked_access(access, Some(&scopes), &id)
        };
        assert_eq!(asked(None, &[]), Ok(Access::Full), "as JupyterHub has it");
        assert_eq!(asked(None, &["access:servers"]), Ok(Access::Full));
        assert_eq!(asked(Some("read"), &["read:servers!server=alice/gpu"]), Ok(Access::Read));
        for access in [Access::Read, Access::Full] {
            let written = scopes(access, &id);
            assert_eq!(asked_access(None, Some(&written), &id), Ok(access), "{written:?}");
        }
        for wrong in
            ["access:servers!server=bob/gpu", "access:servers!user=alice", "servers", "", "admin:users"]
        {
            assert!(asked(None, &[wrong]).is_err(), "{wrong}");
        }
        assert!(asked(Some("write"), &[]).is_err());
        assert!(asked(Some("read"), &["access:servers"]).is_err());
    }
}
