//! What administrators see of the hub itself, and its end.

use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tracing::{info, warn};

use super::page::Page;
use super::{body, problem, wrong};
use crate::clock::utc;
use crate::gateway::caller::Caller;
use crate::gateway::hosts::Origin;
use crate::gateway::jupyterhub::VERSION;
use crate::gateway::page::json;
use crate::gateway::refusal::Refusal;
use crate::gateway::{Body, Gateway, empty};
use crate::logging::cause;
use crate::token::Scope;
use crate::workspace::State;

/// What JupyterHub lets one say about its end.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ShutdownOptions {
    servers: Option<bool>,
    proxy: Option<bool>,
}

/// The description of the REST API.
pub(super) fn openapi() -> Response<Body> {
    let mut response = Response::new(Body::full(OPENAPI));
    crate::gateway::page::never_stored(response.headers_mut());
    let kind = http::HeaderValue::from_static("application/json");
    response.headers_mut().insert(http::header::CONTENT_TYPE, kind);
    response
}

impl Gateway {
    /// `/info`.
    pub(super) fn api_info<B>(
        &self,
        request: &Request<B>,
        caller: &Caller,
    ) -> Result<Response<Body>, Refusal> {
        self.allow_hub(caller, &[Scope::ReadHub], request)?;
        let version = env!("CARGO_PKG_VERSION");
        let answer = json!({
            "version": VERSION, "python": null, "sys_executable": null,
            "spawner": { "class": "hubgate.Spawner", "version": version },
            "authenticator": { "class": "hubgate.OpenIDConnect", "version": version },
        });
        Ok(json(StatusCode::OK, &answer))
    }

    /// `/services`: programs that other hubs run beside themselves. Here there are none.
    pub(super) fn api_services<B>(
        &self,
        request: &Request<B>,
        caller: &Caller,
    ) -> Result<Response<Body>, Refusal> {
        self.allow_hub(caller, SERVICES, request)?;
        Ok(json(StatusCode::OK, &json!({})))
    }

    /// `/services/<name>`: none is there, and none is made.
    pub(super) fn api_service<B>(
        &self,
        request: &Request<B>,
        caller: &Caller,
    ) -> Result<Response<Body>, Refusal> {
        self.allow_hub(caller, SERVICES, request)?;
        if *request.method() == Method::POST {
            let message = "No service is made by REST: what is beside the hub is in its configuration";
            return Ok(wrong(message));
        }
        Err(Refusal::NoSuch("service"))
    }

    /// `/proxy`: where requests go, as configurable-http-proxy would say it; asking to check it looks at what runs.
    pub(super) async fn api_proxy<B: Sync>(
        &self,
        request: &Request<B>,
        caller: &Caller,
        at: &Origin,
    ) -> Result<Response<Body>, Refusal> {
        self.allow_hub(caller, &[Scope::Proxy], request)?;
        if *request.method() == Method::PATCH {
            return Ok(wrong("The hub is its own proxy, and takes no other"));
        }
        if *request.method() == Method::POST {
            return match self.0.workspaces.reconcile().await {
                Ok(()) => Ok(empty(StatusCode::OK)),
                Err(error) => {
                    warn!(error = cause(&error), remedy = error.remedy(), "cannot list workspaces");
                    Ok(problem(StatusCode::SERVICE_UNAVAILABLE, "The container service does not answer"))
                }
            };
        }
        let page = Page::of(request)?;
        let routes = self.proxy_routes(at);
        let total = routes.len();
        let routes: Map<_, _> = page.cut(routes).into_iter().collect();
        Ok(page.answer(Value::Object(routes), total, request.uri(), at))
    }

    fn proxy_routes(&self, at: &Origin) -> Vec<(String, Value)> {
        let hub = json!({ "routespec": "/", "target": at.origin, "data": { "hub": true } });
        let mut routes = vec![("/".to_owned(), hub)];
        for (id, state) in self.0.workspaces.all() {
            let State::Ready(ready) = state else { continue };
            let path = id.path();
            let data = json!({
                "user": id.user.as_str(), "server_name": id.server.as_str(),
                "last_activity": utc(ready.activity.last()),
            });
            let target = format!("http://{}", ready.pool.upstream().address);
            routes.push((path.clone(), json!({ "routespec": path, "target": target, "data": data })));
        }
        routes
    }

    /// `/shutdown`: as SIGTERM would.
    pub(super) async fn api_shutdown(
        &self,
        request: Request<Incoming>,
        caller: &Caller,
    ) -> Result<Response<Body>, Refusal> {
        self.allow_hub(caller, &[Scope::Shutdown], &request)?;
        let options: ShutdownOptions = body(request).await?;
        if options.servers == Some(true) {
            return Ok(wrong("Servers outlive the hub: stop them one by one"));
        }
        if options.proxy == Some(false) {
            return Ok(wrong("The hub is its own proxy: it cannot stay"));
        }
        info!(event = "shutdown_ordered", by = %caller.name(), "an administrator stops the hub");
        self.0.tasks.stop();
        Ok(json(StatusCode::ACCEPTED, &json!({ "message": "Shutting down Hub" })))
    }
}

/// To look for services.
const SERVICES: &[Scope] = &[Scope::ReadHub, Scope::ListServices, Scope::ReadServices];

const OPENAPI: &str = include_str!("openapi.json");
