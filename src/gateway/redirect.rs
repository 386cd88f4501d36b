//! From plain HTTP to the hub's own addresses: only to look at pages, never with what was sent.

use std::borrow::Cow;

use http::header::{ALLOW, HOST, LOCATION};
use http::{HeaderValue, Method, Request, Response, StatusCode};

use super::hosts::{Hosts, Origin};
use super::{Body, empty};

/// Redirects to the hub's origins.
#[derive(Debug)]
pub struct Redirect {
    hosts: Hosts,
}

impl Redirect {
    /// To these origins.
    pub fn new(hosts: Hosts) -> Self {
        Self { hosts }
    }

    /// The same path with TLS: at the host that was asked for if it is one of ours, else at the main one. What is not GET or HEAD was sent in the clear already:
    /// to repeat it would hide that.
    pub fn handle<B>(&self, request: &Request<B>) -> Response<Body> {
        if ![Method::GET, Method::HEAD].contains(request.method()) {
            let mut response = Response::new(Body::full("This is plain HTTP; use https.\n"));
            *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        let path = request.uri().path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
        let path = if path.starts_with('/') && path.is_ascii() { path } else { "/" };
        let mut response = empty(StatusCode::PERMANENT_REDIRECT);
        match HeaderValue::from_str(&format!("{}{path}", self.origin(request).origin)) {
            Ok(location) => {
                response.headers_mut().insert(LOCATION, location);
            }
            Err(_unprintable) => *response.status_mut() = StatusCode::BAD_REQUEST,
        }
        response
    }

    fn origin<B>(&self, request: &Request<B>) -> Cow<'_, Origin> {
        let host = request.headers().get(HOST).and_then(|host| host.to_str().ok());
        // Here the port is another one.
        let name = host.map(|host| host.split_once(':').map_or(host, |(name, _)| name));
        name.and_then(|name| self.hosts.named(name)).unwrap_or(Cow::Borrowed(self.hosts.main()))
    }
}
