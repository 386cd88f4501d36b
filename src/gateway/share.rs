//! `/hub/share`: with whom the user shares their servers, and what others share with them.

use std::sync::Arc;

use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;

use super::authorize::Permit;
use super::form::Form;
use super::home::signed_in;
use super::hosts::Origin;
use super::page::{Action, Input, Page, Row};
use super::refusal::Refusal;
use super::tokens::{date, lifetimes, refuse_scripts};
use super::{Body, Gateway, see_other};
use crate::clock::Timestamp;
use crate::secret::Secret;
use crate::session::Session;
use crate::share::{Access, Code, CodeId, NewCode, NewShare, Share, ShareError, ShareId, Terms, With};
use crate::spawner::WorkspaceId;
use crate::user::{Group, User, UserName};
use crate::workspace::State;

/// Where it is.
pub(super) const PAGE: &str = "/hub/share";

impl Gateway {
    /// Lists, shares, makes links, revokes.
    pub(super) async fn share(
        &self,
        request: Request<Incoming>,
        permit: &Permit,
        at: &Origin,
    ) -> Result<Response<Body>, Refusal> {
        let session = signed_in(permit)?;
        if !self.0.shares.enabled() {
            return Err(Refusal::NotFound);
        }
        refuse_scripts(request.headers())?;
        match *request.method() {
            Method::GET => Ok(self.share_page(session, None)),
            Method::POST => {
                let form = Form::of_body(request).await?;
                form.check(&self.page_token(session, PAGE))?;
                self.act_on_shares(session, &form, at).await
            }
            _ => Err(Refusal::Method),
        }
    }

    async fn act_on_shares(
        &self,
        session: &Arc<Session>,
        form: &Form,
        at: &Origin,
    ) -> Result<Response<Body>, Refusal> {
        match form.one("action") {
            Some("share") => return self.share_on_page(session, form, at).await,
            Some("revoke") => {
                if let Some(share) = self.their_share(session, form) {
                    self.0.shares.end(&share).await?;
                }
            }
            Some("narrow") => {
                if let Some(share) = self.their_share(session, form) {
                    self.0.shares.narrow(&share).await?;
                }
            }
            Some("revoke-link") => {
                let id = form.one("id").and_then(CodeId::parse);
                let codes = self.0.shares.codes_of(&session.name);
                if let Some(code) = codes.into_iter().find(|code| Some(code.id) == id) {
                    self.0.shares.end_code(&code).await?;
                }
            }
            Some("leave") => {
                let with = With::User(session.name.clone());
                let id = form.one("id").and_then(ShareId::parse);
                let shares = self.0.shares.with_only(&with);
                if let Some(share) = shares.iter().find(|share| Some(share.id) == id) {
                    self.0.shares.leave(share).await?;
                }
            }
            _ => return Err(Refusal::BadRequest("an action that is not known")),
        }
        Ok(see_other(PAGE))
    }

    fn their_share(&self, session: &Session, form: &Form) -> Option<Arc<Share>> {
        let id = form.one("id").and_then(ShareId::parse)?;
        self.0.shares.of(&session.name).into_iter().find(|share| share.id == id)
    }

    async fn share_on_page(
        &self,
        session: &Arc<Session>,
        form: &Form,
        at: &Origin,
    ) -> Result<Response<Body>, Refusal> {
        let complain = |what| Ok(self.share_page(session, Some(what)));
        let Some((of, access, expires)) = self.chosen_share(session, form) else {
            return complain("Choose a server, how much to share, and for how long.");
        };
        let by = session.name.clone();
        let with = match form.one("with").unwrap_or_default() {
            LINK => {
                // What is chosen is how long they may come, not only how long they may take to accept.
                let new = NewCode { of, access, expires, share_expires: expires, by };
                return self.link_on_page(session, new, at).await;
            }
            USER => {
                let name = UserName::normalise(form.one("user").unwrap_or_default()).ok();
                let known = match &name {
                    Some(name) => self.0.people.find(name).await?.is_some(),
                    None => false,
                };
                let Some(name) = name.filter(|_| known) else {
                    return complain("There is no user of this name here. Send them a link instead.");
                };
                With::User(name)
            }
            other => {
                let standing = session.standing();
                let path = other.strip_prefix(GROUP).unwrap_or_default();
                let groups = self.groups_of_user(&standing.user);
                let group = groups.into_iter().find(|group| *group.path == *path);
                let Some(group) = group else { return complain("Choose a group that you are in.") };
                With::Group(group)
            }
        };
        match self.0.shares.make(NewShare { of, with, access, expires, by }).await {
            Ok(share) => {
                self.check_kept(&share.of).await?;
                Ok(see_other(PAGE))
            }
            Err(ShareError::Store(error)) => Err(error.into()),
            Err(ShareError::Own { .. }) => complain("It is yours already."),
            Err(ShareError::TooMany { .. }) => {
                complain("You share with as many as you can. Revoke some first.")
            }
            Err(_refused) => complain("Choose a shorter time."),
        }
    }

    async fn link_on_page(
        &self,
        session: &Arc<Session>,
        new: NewCode,
        at: &Origin,
    ) -> Result<Response<Body>, Refusal> {
        let complain = |what| Ok(self.share_page(session, Some(what)));
        match self.0.shares.make_code(new).await {
            Ok((secret, code)) => {
                self.check_kept(&code.of).await?;
                Ok(self.link_shown_once(session, &secret, &code, at))
            }
            Err(ShareError::Store(error)) => Err(error.into()),
            Err(ShareError::TooManyCodes { .. }) => {
                complain("You have as many links as you can. Revoke some first.")
            }
            Err(_refused) => complain("Choose a shorter time."),
        }
    }

    /// What a form says of what is to be shared: a server of theirs, how much of it, and until when.
    fn chosen_share(
        &self,
        session: &Session,
        form: &Form,
    ) -> Option<(WorkspaceId, Access, Option<Timestamp>)> {
        let server = form.one("server")?;
        let of = self.0.workspaces.of(&session.name).into_iter().find(|id| id.server.as_str() == server)?;
        let access = form.one("access").and_then(Access::parse)?;
        let expires = match form.one("lifetime")? {
            FOR_EVER => None,
            seconds => Some(self.0.clock.now().saturating_add(seconds.parse::<u64>().ok()?)),
        };
        Some((of, access, expires))
    }

    fn share_page(&self, session: &Arc<Session>, complaint: Option<&str>) -> Response<Body> {
        let token = self.page_token(session, PAGE);
        let shares = &self.0.shares;
        let mut rows: Vec<_> = shares.of(&session.name).iter().map(|share| given(share, &token)).collect();
        rows.extend(shares.codes_of(&session.name).iter().map(|code| link(code, &token)));
        rows.extend(self.shared_with(session).into_iter().map(|(share, row)| Row {
            actions: row.actions.into_iter().chain(leave(session, &share, &token)).collect(),
            ..row
        }));
        let what = "Whoever you share a server with can see all that is in it. With full access they work in it as you do: they run programs, and change your files.";
        let page = Page {
            title: "Sharing".to_owned(),
            paragraphs: std::iter::once(what).chain(complaint).map(str::to_owned).collect(),
            rows,
            actions: vec![self.share_form(session, &token)],
            user: Some(session.name.to_string()),
            ..Page::default()
        };
        self.1.pages.render(if complaint.is_some() { StatusCode::BAD_REQUEST } else { StatusCode::OK }, &page)
    }

    fn share_form(&self, session: &Session, token: &Secret) -> Action {
        let option = |value: &str, words: &str| (value.to_owned(), words.to_owned());
        let servers = self.0.workspaces.of(&session.name);
        let mut inputs = Vec::new();
        let mut fields = vec![("action", "share")];
        if servers.len() > 1 {
            let options = servers.iter().map(|id| option(id.server.as_str(), &server_name(id))).collect();
            inputs.push(Input::Select { name: "server".into(), label: "Server".into(), options });
        } else {
            fields.push(("server", ""));
        }
        let mut with = vec![option(USER, "a user, by name"), option(LINK, "whoever has a link")];
        let standing = session.standing();
        let group = |group: &Group| option(&format!("{GROUP}{group}"), &format!("everybody in {group}"));
        with.extend(self.groups_of_user(&standing.user).iter().map(group));
        inputs.push(Input::Select { name: "with".into(), label: "With".into(), options: with });
        let (value, length) = (String::new(), UserName::MAX_BYTES);
        inputs.push(Input::Text { name: "user", label: "User name", value, length });
        let access = [Access::Read, Access::Full].map(|access| option(access.name(), may(access)));
        inputs.push(Input::Select {
            name: "access".into(),
            label: "They may".into(),
            options: access.into(),
        });
        let most = self.0.shares.lifetime_max();
        let mut options = lifetimes(most.unwrap_or(u64::MAX));
        options.extend(most.is_none().then(|| option(FOR_EVER, "until you revoke it")));
        inputs.push(Input::Select { name: "lifetime".into(), label: "For".into(), options });
        Action::form_of(token, "Share", PAGE, &fields).asking(inputs)
    }

    /// What others share with whoever is signed in.
    pub(super) fn shared_with(&self, session: &Session) -> Vec<(Arc<Share>, Row)> {
        if !self.0.shares.enabled() {
            return Vec::new();
        }
        let shares = self.0.shares.with(&session.standing().user);
        let row = |share: Arc<Share>| {
            let terms = share.terms();
            let by_group = match &share.with {
                With::User(_) => String::new(),
                With::Group(group) => format!(", as all of {group}"),
            };
            let runs = matches!(self.0.workspaces.state(&share.of), Some(State::Ready(_)));
            let stopped = (!runs).then(|| "It does not run now: to start it is its owner's.".to_owned());
            let what = format!("You may {}{by_group}, {}.", may(terms.access), until(terms));
            let row = Row {
                title: format!("Shared with you: {}", whose(&share.of)),
                lines: std::iter::once(what).chain(stopped).collect(),
                actions: vec![Action::link("Open", &self.address_of(&share.of))],
            };
            (share, row)
        };
        shares.into_iter().map(row).collect()
    }

    /// To be asked once something of a workspace is shared: what was taken away meanwhile is shared with nobody, and neither
    /// is another of its name.
    pub(super) async fn check_kept(&self, id: &WorkspaceId) -> Result<(), Refusal> {
        if self.0.workspaces.keeps(id) {
            return Ok(());
        }
        self.0.shares.forget(id).await?;
        Err(Refusal::NoSuch("server"))
    }

    /// Which groups somebody is in: the provider's, and the hub's own that none of those hides.
    pub(super) fn groups_of_user(&self, user: &User) -> Vec<Group> {
        let own = self.0.groups.of(&user.name);
        let own = own.iter().map(|name| Group::own(name.as_str()));
        user.groups.iter().cloned().chain(own).collect()
    }

    /// Where a workspace is found: a path, or a whole address where its owner has a host of their own.
    pub(super) fn address_of(&self, id: &WorkspaceId) -> String {
        let there = self.0.hosts.of_user(&id.user).map(|there| there.origin).unwrap_or_default();
        format!("{there}{}", id.path())
    }

    fn link_shown_once(
        &self,
        session: &Session,
        secret: &Secret,
        code: &Code,
        at: &Origin,
    ) -> Response<Body> {
        let page = Page {
            title: "Your new link".to_owned(),
            paragraphs: vec![
                "Copy it now: it is shown this once. Whoever has it, and may sign in here, can accept it."
                    .to_owned(),
                format!(
                    "At {} they may {}, {}.",
                    whose(&code.of),
                    may(code.access),
                    until(self.0.shares.offer(code))
                ),
                format!("It can be accepted until {}.", date(code.expires)),
            ],
            shown: Some(format!("{}{}", at.origin, accept_path(secret))),
            actions: vec![Action::link("Done", PAGE)],
            user: Some(session.name.to_string()),
            ..Page::default()
        };
        self.1.pages.render(StatusCode::OK, &page)
    }
}

/// The address that accepts a code.
pub(super) fn accept_path(code: &Secret) -> String {
    // Of base64url's letters, none has a meaning in a query.
    format!("{}?code={}", super::accept::PAGE, code.expose())
}

/// What a share lets somebody do, after "may".
pub(super) fn may(access: Access) -> &'static str {
    match access {
        Access::Read => "look, and change nothing",
        Access::Full => "work in it, as its owner does",
    }
}

/// Until when, in words.
pub(super) fn until(terms: Terms) -> String {
    terms.expires.map_or_else(|| "until it is revoked".to_owned(), |end| format!("until {}", date(end)))
}

/// A server by its owner's name and its own.
pub(super) fn whose(id: &WorkspaceId) -> String {
    if id.server.is_default() {
        format!("the server of {}", id.user)
    } else {
        format!("the server {} of {}", id.server, id.user)
    }
}

fn server_name(id: &WorkspaceId) -> String {
    if id.server.is_default() { "your server".to_owned() } else { id.server.to_string() }
}

fn given(share: &Share, token: &Secret) -> Row {
    let terms = share.terms();
    let id = share.id.to_string();
    let form = |label: &str, action: &str| {
        Action::form_of(token, label, PAGE, &[("action", action), ("id", &id)]).second()
    };
    let narrow = (terms.access == Access::Full).then(|| form("Only look", "narrow"));
    Row {
        title: match &share.with {
            With::User(name) => name.to_string(),
            With::Group(group) => format!("Everybody in {group}"),
        },
        lines: vec![format!(
            "{}: they may {}, {}.",
            capital(&server_name(&share.of)),
            may(terms.access),
            until(terms)
        )],
        actions: narrow.into_iter().chain([form("Revoke", "revoke")]).collect(),
    }
}

fn link(code: &Code, token: &Secret) -> Row {
    let accepted = match code.accepted() {
        0 => "not accepted yet".to_owned(),
        1 => "accepted once".to_owned(),
        times => format!("accepted {times} times"),
    };
    let id = code.id.to_string();
    let what = format!("{}: whoever accepts it may {}.", capital(&server_name(&code.of)), may(code.access));
    let when =
        format!("made {}, can be accepted until {}, {accepted}", date(code.created), date(code.expires));
    Row {
        title: "A link".to_owned(),
        lines: [what, when].into_iter().chain(refused(code)).collect(),
        actions: vec![
            Action::form_of(token, "Revoke", PAGE, &[("action", "revoke-link"), ("id", &id)]).second(),
        ],
    }
}

/// Whom a link lets in no more.
fn refused(code: &Code) -> Option<String> {
    let refused = code.refused();
    let named: Vec<_> = refused.iter().take(NAMED).map(UserName::as_str).collect();
    let more = refused.len().saturating_sub(named.len());
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let taken = "from whom you have taken back what they had";
    (!named.is_empty()).then(|| format!("It does not let in {}{more}, {taken}.", named.join(", ")))
}

/// Whoever something is shared with by name can give it back.
fn leave(session: &Session, share: &Share, token: &Secret) -> Option<Action> {
    let id = share.id.to_string();
    let own = share.with == With::User(session.name.clone());
    own.then(|| Action::form_of(token, "Leave", PAGE, &[("action", "leave"), ("id", &id)]).second())
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

/// Names that a page lists.
const NAMED: usize = 5;

/// With whom: a name in another field, whoever has a link, or a group.
const USER: &str = "user";
const LINK: &str = "link";
const GROUP: &str = "group:";

/// In place of seconds.
const FOR_EVER: &str = "unlimited";
