//! The REST API of the public listeners, in JupyterHub's forms and status codes: users, their servers and tokens, and
//! what administrators see of the hub. What containers ask is in `jupyterhub`.

mod access;
pub(in crate::gateway) mod activity;
mod groups;
mod hub;
mod known_users;
pub(in crate::gateway) mod model;
mod own_groups;
mod page;
mod progress;
mod range;
mod servers;
mod sessions;
mod share_codes;
mod shares;
mod tokens;
mod users;

use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use percent_encoding::percent_decode_str;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use self::access::known;
use super::authorize::Permit;
use super::hosts::Origin;
use super::page::json;
use super::refusal::Refusal;
use super::{Body, Gateway, empty, form};
use crate::routes::{ApiPath, Resource};
use crate::server_name::ServerName;
use crate::spawner::WorkspaceId;
use crate::user::UserName;

impl Gateway {
    /// Whatever is below `/hub/api` on the public listeners, but logins.
    pub(super) async fn api(
        &self,
        request: Request<Incoming>,
        permit: &Permit,
        at: &Origin,
        path: ApiPath<'_>,
    ) -> Result<Response<Body>, Refusal> {
        if path.resource == Resource::Health {
            return Ok(empty(StatusCode::OK));
        }
        if path.resource == Resource::OpenApi {
            return Ok(hub::openapi());
        }
        let caller = known(permit)?;
        if path.resource.is_about_shares() && !self.0.shares.enabled() {
            return Err(Refusal::NotFound);
        }
        let looks = request.method() == Method::GET;
        match path.resource {
            Resource::Caller => self.api_own(caller, at).await,
            Resource::Users if looks => self.api_users(&request, caller, at).await,
            Resource::Users => self.api_expect_users(request, caller, at).await,
            Resource::User if looks => self.api_user_of(&request, caller, at, &owner(path)?).await,
            Resource::User => self.api_change_user(request, caller, at, path.name).await,
            Resource::Server | Resource::NamedServer => {
                self.api_server(request, caller, at, named(path)?).await
            }
            Resource::Progress | Resource::NamedProgress => {
                self.api_progress(&request, caller, &named(path)?).await
            }
            Resource::Activity => self.api_report(request, caller, &owner(path)?).await,
            Resource::Tokens => self.api_tokens(request, caller, &owner(path)?).await,
            Resource::Token => self.api_token_of(&request, caller, &owner(path)?, path.item).await,
            Resource::UserSessions => self.api_sessions_of(&request, caller, &owner(path)?).await,
            Resource::Sessions => self.api_sessions(&request, caller).await,
            Resource::Session => self.api_end_session(&request, caller, path.name).await,
            Resource::Groups if looks => self.api_groups(&request, caller, at).await,
            Resource::Groups => self.api_make_groups(request, caller).await,
            Resource::Group if looks => self.api_group(&request, caller, path.name).await,
            Resource::Group => self.api_change_group(request, caller, path.name).await,
            Resource::GroupUsers => self.api_group_users(request, caller, path.name).await,
            Resource::GroupProperties => self.api_group_properties(request, caller, path.name).await,
            // Containers say so, on their own listener.
            Resource::Port => Err(Refusal::NotYours),
            Resource::Services => self.api_services(&request, caller),
            Resource::Service => self.api_service(&request, caller),
            Resource::Info => self.api_info(&request, caller),
            Resource::Proxy => self.api_proxy(&request, caller, at).await,
            Resource::Shutdown => self.api_shutdown(request, caller).await,
            Resource::Shares => self.api_shares(&request, caller, at, &owner(path)?).await,
            Resource::ServerShares => self.api_shares_of(request, caller, at, named(path)?).await,
            Resource::ShareCodes => self.api_codes(&request, caller, at, &owner(path)?).await,
            Resource::ServerShareCodes => self.api_codes_of(request, caller, at, named(path)?).await,
            Resource::UserShared => self.api_shared_with(&request, caller, at, &owner(path)?).await,
            Resource::UserSharedServer => self.api_shared_one(&request, caller, at, path).await,
            Resource::GroupShared => self.api_shared_with_group(&request, caller, at, path.name),
            Resource::GroupSharedServer => self.api_group_shared_one(&request, caller, at, path).await,
            Resource::Health
            | Resource::OpenApi
            | Resource::Root
            | Resource::Authorize
            | Resource::OauthToken
            | Resource::DeviceAuthorization => Err(Refusal::NotFound),
        }
    }
}

/// The user whom an address names.
fn owner(path: ApiPath<'_>) -> Result<UserName, Refusal> {
    UserName::from_path_segment(path.name).map_err(|_no_name| Refusal::NoSuch("user"))
}

/// The name of the group that an address names.
fn group_path(segment: &str) -> Result<String, Refusal> {
    let path = percent_decode_str(segment).decode_utf8().map_err(|_no_text| Refusal::NoSuch("group"))?;
    Ok(path.into_owned())
}

/// The server that an address names, whether it is there or not.
fn named(path: ApiPath<'_>) -> Result<WorkspaceId, Refusal> {
    let user = owner(path)?;
    let server = ServerName::parse(path.item).map_err(|_no_name| Refusal::NoSuch("server"))?;
    Ok(WorkspaceId { user, server })
}

/// The JSON object in a body; nothing at all is an empty one.
async fn body<T: DeserializeOwned + Default>(request: Request<Incoming>) -> Result<T, Refusal> {
    let bytes = form::read(request).await?;
    if bytes.is_empty() {
        return Ok(T::default());
    }
    let wrong = |_error| Refusal::BadRequest("not the JSON it should be");
    let object: Map<String, Value> = serde_json::from_slice(&bytes).map_err(wrong)?;
    serde_json::from_value(Value::Object(object)).map_err(wrong)
}

/// An error as JupyterHub writes it.
pub(in crate::gateway) fn problem(status: StatusCode, message: &str) -> Response<Body> {
    json(status, &json!({ "status": status.as_u16(), "message": message }))
}

/// The same of a request that cannot be done as it was written.
fn wrong(message: &str) -> Response<Body> {
    problem(StatusCode::BAD_REQUEST, message)
}

/// As much of what somebody sent as an answer repeats.
fn shortened(text: &str) -> String {
    text.chars().take(80).collect()
}

/// Puts the members of one JSON object into another.
pub(in crate::gateway) fn merge(into: &mut Value, from: Value) {
    if let (Some(into), Value::Object(from)) = (into.as_object_mut(), from) {
        into.extend(from);
    }
}
