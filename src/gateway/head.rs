//! A request's head, read once: for which host, on which route, how it was made.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;

use super::hosts::{Hosts, Origin};
use super::refusal::Refusal;
use crate::routes::{ApiPath, Route};
use http::header::{ACCEPT, CONNECTION, HOST, HeaderMap, HeaderName, HeaderValue, ORIGIN, UPGRADE};
use http::{Method, Request, Version};

/// Where a request came in.
#[derive(Debug, Clone)]
pub struct Connection {
    /// Who connected.
    pub client: SocketAddr,
    /// Their address, ready as a header value.
    pub client_value: HeaderValue,
    /// The server name of the TLS handshake.
    pub server_name: Option<Arc<str>>,
    /// The TLS version, when there is TLS.
    pub tls: Option<&'static str>,
    /// The worker runtime that holds the connection.
    pub worker: usize,
}

/// What a request is, as far as deciding about it goes.
#[expect(clippy::struct_excessive_bools, reason = "each is a question of its own about the request")]
#[derive(Debug)]
pub(super) struct Head<'a, 'h> {
    pub route: Route<'a>,
    /// The origin it is for.
    pub at: &'h Origin,
    /// Path and query, as they came.
    pub target: &'a str,
    pub method: &'a Method,
    /// A person opens a page: the only thing that may begin a login or a start.
    pub navigation: bool,
    /// Asks for an upgrade; whether properly is for `forward` to say.
    pub upgrade: bool,
    /// Some other site made the browser send it.
    pub cross_site: bool,
    /// Says that our own site made the browser send it.
    pub same_origin: bool,
}

const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
const FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");
const PURPOSE: HeaderName = HeaderName::from_static("sec-purpose");
const BRANDS: HeaderName = HeaderName::from_static("sec-ch-ua");
const REQUESTED_WITH: HeaderName = HeaderName::from_static("x-requested-with");

impl<'a, 'h> Head<'a, 'h> {
    /// Of a request for that origin: see [`find_origin`].
    pub(super) fn parse<B>(request: &'a Request<B>, at: &'h Origin) -> Result<Self, Refusal> {
        if let Some(ApiPath { resource, .. }) = ApiPath::at(request.uri().path())
            && !resource.methods().contains(request.method())
        {
            return Err(Refusal::ApiMethod(resource));
        }
        if !is_allowed(request.method()) {
            return Err(Refusal::Method);
        }
        let route = Route::find(request.uri().path()).map_err(|_bad| Refusal::BadPath)?;
        let headers = request.headers();
        let origin = headers.get(ORIGIN);
        let site = headers.get(FETCH_SITE).map(HeaderValue::as_bytes);
        let foreign_origin = origin.is_some_and(|origin| origin.as_bytes() != at.origin.as_bytes());
        let upgrade = headers.contains_key(UPGRADE) && lists_upgrade(headers);
        Ok(Self {
            route,
            at,
            target: request.uri().path_and_query().map_or("/", http::uri::PathAndQuery::as_str),
            method: request.method(),
            navigation: !upgrade && is_navigation(request.method(), headers),
            upgrade,
            cross_site: foreign_origin || matches!(site, Some(b"cross-site" | b"same-site")),
            same_origin: !foreign_origin && (origin.is_some() || site == Some(b"same-origin")),
        })
    }

    /// A person opens a server's page at its user's own host.
    pub(super) fn opens_server_at_users_host(&self) -> bool {
        self.navigation && self.at.label.is_some() && matches!(self.route, Route::Workspace { .. })
    }
}

/// One host, ours, the same wherever it is written (RFC 9112 section 3.2, RFC 9113 section 8.3.1).
pub(super) fn find_origin<'a, B>(
    request: &Request<B>,
    connection: &Connection,
    hosts: &'a Hosts,
) -> Result<Cow<'a, Origin>, Refusal> {
    let mut fields = request.headers().get_all(HOST).into_iter();
    let field = fields.next();
    if fields.next().is_some() {
        return Err(Refusal::BadHost);
    }
    let field = field.map(HeaderValue::to_str).transpose().map_err(|_not_text| Refusal::BadHost)?;
    let authority = request.uri().authority().map(http::uri::Authority::as_str);
    let host = match (authority, field) {
        (Some(authority), Some(field)) if !authority.eq_ignore_ascii_case(field) => {
            return Err(Refusal::BadHost);
        }
        (_, None) if request.version() < Version::HTTP_2 => return Err(Refusal::BadHost),
        (Some(host), _) | (None, Some(host)) => host,
        (None, None) => return Err(Refusal::BadHost),
    };
    let wrong = || Refusal::WrongHost { public: hosts.main().origin.clone() };
    let at = hosts.find(host).ok_or_else(wrong)?;
    match &connection.server_name {
        Some(name) if !name.eq_ignore_ascii_case(&at.name) && !shares_certificate(name, &at, hosts) => {
            Err(wrong())
        }
        Some(_) | None => Ok(at),
    }
}

/// Browsers send what is for one user's host by the connection to another, or to the hub, where one certificate is for
/// both (RFC 9113 section 9.1.1).
fn shares_certificate(name: &str, at: &Origin, hosts: &Hosts) -> bool {
    let of_users = |origin: &Origin| origin.label.is_some() || origin.name == hosts.main().name;
    let mixed = hosts
        .named(name)
        .is_some_and(|other| (other.label.is_some() || at.label.is_some()) && of_users(&other));
    mixed && of_users(at)
}

/// CONNECT and TRACE are for proxies of another kind; what has no name here cannot be judged.
fn is_allowed(method: &Method) -> bool {
    [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::OPTIONS]
        .contains(method)
}

fn lists_upgrade(headers: &HeaderMap) -> bool {
    let fields = headers.get_all(CONNECTION).into_iter().filter_map(|field| field.to_str().ok());
    fields.flat_map(|field| field.split(',')).any(|token| token.trim().eq_ignore_ascii_case("upgrade"))
}

/// A top-level navigation: browsers say so (Fetch Metadata); of clients that do not speak of it, those that ask for
/// HTML are taken for browsers.
fn is_navigation(method: &Method, headers: &HeaderMap) -> bool {
    if *method != Method::GET {
        return false;
    }
    if is_ahead(headers) {
        return false;
    }
    if let Some(mode) = headers.get(FETCH_MODE) {
        return mode == "navigate" && headers.get(FETCH_DEST).is_none_or(|dest| dest == "document");
    }
    !headers.contains_key(REQUESTED_WITH) && accepts_html(headers)
}

/// Nobody opens it yet: a browser loads ahead what somebody may open (`prefetch`, `prefetch;prerender`).
fn is_ahead(headers: &HeaderMap) -> bool {
    headers.contains_key(PURPOSE)
}

/// Says that a script or a frame asks, not a person who opens a page or sends its form.
pub(super) fn is_scripted(headers: &HeaderMap) -> bool {
    let other =
        |name: &HeaderName, expected: &str| headers.get_all(name).iter().any(|value| value != expected);
    other(&FETCH_MODE, "navigate") || other(&FETCH_DEST, "document") || headers.contains_key(REQUESTED_WITH)
}

/// Opened from one of our own pages, or by the person themselves (a bookmark, an address typed in), as the browser says.
/// Whoever says nothing of it could come from anywhere.
pub(super) fn is_ones_own_link(headers: &HeaderMap) -> bool {
    let site = headers.get(FETCH_SITE).map(HeaderValue::as_bytes);
    matches!(site, Some(b"none" | b"same-origin")) && !is_scripted(headers) && !is_ahead(headers)
}

/// Whether the browser cuts a page with `Cross-Origin-Opener-Policy: noopener-allow-popups` off from whatever opened it,
/// our own host's pages too. Chromium does from 131 on, and says which it is (User-Agent Client Hints); no script can
/// change that field. A browser that does not know the word would take it for no policy at all.
pub(super) fn cuts_openers_off(headers: &HeaderMap) -> bool {
    let brands = headers.get(BRANDS).and_then(|brands| brands.to_str().ok()).unwrap_or_default();
    let version = brands.split_once("\"Chromium\";v=\"").and_then(|(_, rest)| rest.split('"').next());
    version.and_then(|version| version.parse::<u32>().ok()).is_some_and(|version| version >= 131)
}

pub(super) fn accepts_html(headers: &HeaderMap) -> bool {
    headers.get(ACCEPT).and_then(|value| value.to_str().ok()).is_some_and(|value| value.contains("text/html"))
}

#[cfg(test)]
mod tests {
    use url::Url;

    use super::*;

    fn hosts() -> Hosts {
        let origin = |url: &str| Origin::new(&Url::parse(url).unwrap(), ["main".into()]);
        Hosts::new(origin("https://hub.example"), vec![origin("https://eth.hub.example")], None)
    }

    fn connection(server_name: Option<&str>) -> Connection {
        Connection {
            client: ([127, 0, 0, 1], 1).into(),
            client_value: HeaderValue::from_static("127.0.0.1"),
            server_name: server_name.map(Into::into),
            tls: None,
            worker: 0,
        }
    }

    fn request(uri: &str, headers: &[(&str, &str)]) -> Request<()> {
        let mut builder = Request::builder().uri(uri);
        for (name, value) in headers {
            builder = builder.header(*name, *value);
        }
        builder.body(()).unwrap()
    }

    fn status(uri: &str, headers: &[(&str, &str)], server_name: Option<&str>) -> u16 {
        let (request, hosts) = (request(uri, headers), hosts());
        let at = find_origin(&request, &connection(server_name), &hosts);
        match at.and_then(|at| Head::parse(&request, &at).map(drop)) {
            Ok(()) => 200,
            Err(refusal) => refusal.status().as_u16(),
        }
    }

    #[test]
    fn a_request_names_our_host_once() {
        for host in ["hub.example", "HUB.example", "hub.example:443"] {
            assert_eq!(status("/", &[("host", host)], Some("hub.example")), 200, "{host}");
        }
        for host in [
            "evil.example",
            "hub.example:99999",
            "hub.example.",
            "[::1]",
            "hub.example@evil",
            "a,hub.example",
        ] {
            assert_eq!(status("/", &[("host", host)], None), 421, "{host}");
        }
        assert_eq!(status("/", &[], None), 400);
        assert_eq!(status("/", &[("host", "hub.example"), ("host", "hub.example")], None), 400);
        assert_eq!(status("https://other.example/user/bob/", &[("host", "hub.example")], None), 400);
        assert_eq!(status("https://other.example/", &[("host", "other.example")], None), 421);
        assert_eq!(status("/", &[("host", "hub.example")], Some("other.example")), 421);
        assert_eq!(status("/", &[("host", "eth.hub.example")], Some("eth.hub.example")), 200);
        assert_eq!(status("/", &[("host", "eth.hub.example")], Some("hub.example")), 421);
    }

    #[test]
    fn connections_are_shared_by_hosts_of_one_wildcard_only() {
        let users = crate::config::UserDomain::try_from("*.hub.example".to_owned()).unwrap();
        let origin = |url: &str| Origin::new(&Url::parse(url).unwrap(), ["main".into()]);
        let hosts =
            Hosts::new(origin("https://hub.example"), vec![origin("https://eth.example")], Some(users));
        let served = |host: &str, server_name: &str| {
            let request = request("/", &[("host", host)]);
            find_origin(&request, &connection(Some(server_name)), &hosts).is_ok()
        };
        assert!(served("alice.hub.example", "hub.example") && served("hub.example", "alice.hub.example"));
        assert!(served("alice.hub.example", "bob.hub.example"));
        assert!(!served("alice.hub.example", "eth.example") && !served("eth.example", "alice.hub.example"));
        assert!(!served("alice.hub.example", "evil.example") && !served("eth.example", "hub.example"));
    }

    #[test]
    fn only_a_person_opening_a_page_navigates() {
        let navigates = |headers: &[(&str, &str)]| {
            let mut all = vec![("host", "hub.example")];
            all.extend(headers);
            let hosts = hosts();
            Head::parse(&request("/", &all), hosts.main()).unwrap().navigation
        };
        assert!(navigates(&[("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document")]));
        assert!(navigates(&[("accept", "text/html,*/*")]));
        let others: [&[(&str, &str)]; 8] = [
            &[("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document"), ("sec-purpose", "prefetch")],
            &[("accept", "text/html"), ("sec-purpose", "prefetch;prerender")],
            &[("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "iframe")],
            &[("sec-fetch-mode", "cors"), ("accept", "text/html")],
            &[("accept", "text/html"), ("x-requested-with", "XMLHttpRequest")],
            &[("accept", "text/html"), ("connection", "keep-alive, Upgrade"), ("upgrade", "websocket")],
            &[("accept", "application/json")],
            &[],
        ];
        for headers in others {
            assert!(!navigates(headers), "{headers:?}");
        }
    }
}
