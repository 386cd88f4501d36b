//! From plain HTTP to the hub's own address: only to look at pages, never with what was sent.

use http::header::{ALLOW, LOCATION};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use url::Url;

use super::{Body, empty};

/// Redirects to one origin.
#[derive(Debug)]
pub struct Redirect {
    origin: String,
}

impl Redirect {
    /// To this origin.
    pub fn new(public: &Url) -> Self {
        Self { origin: public.origin().ascii_serialization() }
    }

    /// The same path with TLS, whatever host was asked for. What is not GET or HEAD was sent in the clear already:
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
        match HeaderValue::from_str(&format!("{}{path}", self.origin)) {
            Ok(location) => {
                response.headers_mut().insert(LOCATION, location);
            }
            Err(_unprintable) => *response.status_mut() = StatusCode::BAD_REQUEST,
        }
        response
    }
}
