//! Users who are expected before they come, and those who are forgotten. Who somebody is and what they may, the provider
//! and the rules say.

use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde_json::Value;
use tracing::info;

use super::access::Act;
use super::model::{Manner, Person};
use super::range::Range;
use super::{body, problem, shortened, wrong};
use crate::gateway::caller::Caller;
use crate::gateway::hosts::Origin;
use crate::gateway::page::json;
use crate::gateway::refusal::Refusal;
use crate::gateway::{Body, Gateway, empty};
use crate::share::With;
use crate::token::Scope;
use crate::user::UserName;
use crate::workspace::State;

/// What is said of users who are expected.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    #[serde(default)]
    usernames: Vec<String>,
    admin: Option<bool>,
    name: Option<String>,
}

impl Gateway {
    /// `POST /users`: expects several, those who are known already left out.
    pub(super) async fn api_expect_users(
        &self,
        request: Request<Incoming>,
        caller: &Caller,
        at: &Origin,
    ) -> Result<Response<Body>, Refusal> {
        self.allow_hub(caller, MAKE, &request)?;
        let asked: Asked = body(request).await?;
        if asked.usernames.is_empty() {
            return Ok(wrong("Must specify at least one user to create"));
        }
        let (names, invalid): (Vec<_>, Vec<_>) = asked
            .usernames
            .iter()
            .map(|text| UserName::normalise(text).map_err(|_error| text))
            .partition(Result::is_ok);
        if let Some(Err(first)) = invalid.first() {
            return Ok(wrong(&format!("Invalid username: {}", shortened(first))));
        }
        let names: Vec<_> = names.into_iter().flatten().collect();
        // A scope may be for some users.
        let range = self.range(caller).await?;
        if !names.iter().all(|name| range.has(MAKE, name)) {
            return Err(Refusal::NoSuch("user"));
        }
        let all = format!("All {} users already exist", names.len());
        self.expect(&range, &asked, names, at, |made| (!made.is_empty()).then(|| made.into()).ok_or(all))
            .await
    }

    /// `/users/<name>`, to expect, change or forget them.
    pub(super) async fn api_change_user(
        &self,
        request: Request<Incoming>,
        caller: &Caller,
        at: &Origin,
        segment: &str,
    ) -> Result<Response<Body>, Refusal> {
        let text = percent_decode_str(segment).decode_utf8().map_err(|_no_text| Refusal::NoSuch("user"))?;
        let posts = *request.method() == Method::POST;
        // Only who is not there yet is named in any spelling.
        let name = if posts { UserName::normalise(&text) } else { UserName::from_path_segment(segment) };
        let forgets = request.method() == Method::DELETE;
        let act = if forgets { &FORGET } else { &EXPECT };
        let Ok(name) = name else {
            self.allow_hub(caller, act.others, &request)?;
            return if posts {
                Ok(wrong(&format!("Invalid username: {}", shortened(&text))))
            } else {
                Err(Refusal::NoSuch("user"))
            };
        };
        let range = self.allow(caller, (&name, None), act, &request).await?;
        if forgets {
            return self.forget_user(caller, &name).await;
        }
        if *request.method() == Method::PATCH {
            return self.change_user(request, &range, at, &name).await;
        }
        let asked: Asked = body(request).await?;
        let exists = format!("User {name} already exists");
        self.expect(&range, &asked, vec![name], at, |made| made.into_iter().next().ok_or(exists)).await
    }

    async fn expect(
        &self,
        range: &Range<'_>,
        asked: &Asked,
        names: Vec<UserName>,
        at: &Origin,
        answer: impl FnOnce(Vec<Value>) -> Result<Value, String>,
    ) -> Result<Response<Body>, Refusal> {
        if asked.admin == Some(true) {
            return Ok(wrong(ADMIN));
        }
        if names.len().saturating_add(self.0.people.count_expected().await?) > MOST {
            return Ok(wrong("Too many users are expected who have never come"));
        }
        let mut made = Vec::new();
        for (name, since) in self.0.people.expect(&names).await? {
            info!(event = "user_expected", user = %name, by = %range.caller().name(), "an administrator expects a user");
            // The provider has said nothing of them.
            let groups = self.group_names(&name, None);
            let person = Person { name, created: Some(since), user: None, groups };
            made.push(self.user_model(&person, None, Manner { range, identity: false, stopped: false, at }));
        }
        Ok(match answer(made) {
            Ok(made) => json(StatusCode::CREATED, &made),
            Err(exists) => problem(StatusCode::CONFLICT, &exists),
        })
    }

    /// What could be changed is not the hub's to change.
    async fn change_user(
        &self,
        request: Request<Incoming>,
        range: &Range<'_>,
        at: &Origin,
        name: &UserName,
    ) -> Result<Response<Body>, Refusal> {
        let created = self.created(name).await?;
        let asked: Asked = body(request).await?;
        let person = self.recalled(name.clone(), created).await?;
        let is_admin = person.user.as_ref().is_some_and(|user| user.admin);
        if asked.name.is_some_and(|new| new != name.as_str()) {
            return Ok(wrong(NAME));
        }
        if asked.admin.is_some_and(|admin| admin != is_admin) {
            return Ok(wrong(ADMIN));
        }
        let last = self.activity(Some(name)).get(name).copied();
        Ok(json(
            StatusCode::OK,
            &self.user_model(&person, last, Manner { range, identity: false, stopped: false, at }),
        ))
    }

    /// Forgets somebody: their servers stop, and what they have here ends. Homes stay.
    async fn forget_user(&self, caller: &Caller, name: &UserName) -> Result<Response<Body>, Refusal> {
        if caller.name() == name {
            return Ok(wrong("Cannot delete yourself!"));
        }
        self.created(name).await?;
        let servers = self.0.workspaces.of(name);
        for id in &servers {
            let what = match self.0.workspaces.state(id) {
                Some(State::Stopping) => "stopping",
                Some(State::Starting(_)) => "starting",
                Some(State::Ready(_) | State::Failing(_)) | None => continue,
            };
            return Ok(wrong(&format!("{name}'s server is in the process of {what}, please wait.")));
        }
        info!(event = "user_forgotten", user = %name, by = %caller.name(), "an administrator has a user forgotten");
        // First whatever could begin something new in their name.
        self.end_all_of(name, caller.name()).await?;
        self.0.api_tokens.revoke_all(name).await?;
        self.0.shares.end_all_of(name).await?;
        self.0.shares.end_with(&With::User(name.clone())).await?;
        if let Err(error) = self.0.groups.forget(name, caller.name().as_str()).await {
            return super::own_groups::refused(error);
        }
        for id in &servers {
            if id.server.is_default() {
                self.0.workspaces.stop(id);
            } else {
                self.0.workspaces.stop_and_remove(id).await?;
            }
        }
        self.0.people.forget(name).await?;
        // Whoever signed in meanwhile did so as the one who is forgotten.
        self.end_all_of(name, caller.name()).await?;
        self.0.api_tokens.revoke_all(name).await?;
        self.1.reported.forget(name);
        Ok(empty(StatusCode::NO_CONTENT))
    }
}

const NAME: &str = "Names are the login service's: change it there";
const ADMIN: &str = "Who administers is for the rules of the hub's configuration to say";

/// The most who are expected and have not come.
const MOST: usize = 10_000;

const MAKE: &[Scope] = &[Scope::AdminUsers];

const EXPECT: Act = Act { own: MAKE, others: MAKE };

const FORGET: Act = Act { own: &[Scope::DeleteUsers], others: &[Scope::DeleteUsers] };
