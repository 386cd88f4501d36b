//! Headers of forwarded requests and responses: pure functions, in place.

use http::header::{
    AUTHORIZATION, CONNECTION, CONTENT_LENGTH, COOKIE, Entry, HOST, HeaderName, LOCATION, ORIGIN, REFERER,
    SET_COOKIE, TE, TRANSFER_ENCODING, UPGRADE,
};
use http::uri::Authority;
use http::{HeaderMap, HeaderValue, Method};

use super::{About, Authorization};
use crate::cookies;

/// Makes a client's headers the ones that the workspace gets: without what belongs to one connection (RFC 9110 section
/// 7.6.1), without anything that a server could take for our word, with our word. `authority` is the one of the
/// request's target, which goes before `Host` (RFC 9112 section 3.2.2).
///
/// A handshake of a websocket passes through here like any request; [`ask_for_websocket`] puts its two fields back.
pub(super) fn for_workspace(headers: &mut HeaderMap, authority: Option<&Authority>, about: &About<'_>) {
    let trailers = wants_trailers(headers);
    remove_nominated(headers);
    remove(headers, is_not_for_workspaces);
    cookies::strip(headers, about.session_id);
    set_host(headers, authority, about.host);
    // After everything was removed: a client that lists these in `Connection` does not take them away (CVE-2022-31813).
    headers.insert(X_FORWARDED_FOR, about.client.clone());
    headers.insert(X_FORWARDED_HOST, about.host.clone());
    headers.insert(X_FORWARDED_PROTO, HTTPS);
    headers.insert(X_FORWARDED_PORT, port(about.host));
    if let Some(user) = about.user {
        headers.insert(X_HUBGATE_USER, user.clone());
    }
    match about.authorization {
        Authorization::Kept => {}
        Authorization::Removed => {
            headers.remove(AUTHORIZATION);
        }
        Authorization::Replaced(value) => {
            headers.insert(AUTHORIZATION, value.clone());
        }
    }
    if let Some(prefix) = about.prefix {
        headers.insert(X_FORWARDED_PREFIX, prefix.clone());
    }
    if trailers {
        headers.insert(TE, TRAILERS);
    }
}

/// Makes a workspace's headers the ones that the client gets: without what belongs to one connection, and without what
/// speaks for the whole host, which is not the workspace's to rule.
pub(super) fn for_client(headers: &mut HeaderMap) {
    remove_nominated(headers);
    // Both together: the encoding counts, and the length is not to be believed (RFC 9112 section 6.3).
    if headers.remove(TRANSFER_ENCODING).is_some() {
        headers.remove(CONTENT_LENGTH);
    }
    remove(headers, is_not_for_clients);
    if let Entry::Occupied(mut length) = headers.entry(CONTENT_LENGTH)
        && length.iter().nth(1).is_some()
    {
        // The same length twice is one length; hyper let nothing else through.
        let first = length.get().clone();
        length.insert(first);
    }
    if headers.get_all(SET_COOKIE).into_iter().any(sets_reserved) {
        let kept: Vec<_> = headers
            .get_all(SET_COOKIE)
            .into_iter()
            .filter(|cookie| !sets_reserved(cookie))
            .cloned()
            .collect();
        headers.remove(SET_COOKIE);
        for cookie in kept {
            headers.append(SET_COOKIE, cookie);
        }
    }
}

/// A redirect of a program that does not know where it is leads back to it: `/x` is `<prefix>/x` to the client. A program
/// that knows says the whole path already.
pub(super) fn lead_back(headers: &mut HeaderMap, prefix: &HeaderValue) {
    let Entry::Occupied(mut location) = headers.entry(LOCATION) else { return };
    let (there, prefix) = (location.get().as_bytes(), prefix.as_bytes());
    let within = there.first() == Some(&b'/') && there.get(1) != Some(&b'/');
    if within
        && !there.starts_with(prefix)
        && let Ok(whole) = HeaderValue::from_bytes(&[prefix, there].concat())
    {
        location.insert(whole);
    }
}

/// Says how long the request's body is, in one way. What hyper would write from a length that the body does not have
/// makes the workspace read the next request as this one's body.
pub(super) fn frame(headers: &mut HeaderMap, method: &Method, length: Length) {
    headers.remove(TRANSFER_ENCODING);
    match length {
        Length::None if expects_body(method) || headers.contains_key(CONTENT_LENGTH) => {
            headers.insert(CONTENT_LENGTH, ZERO);
        }
        Length::None => {}
        Length::Known(bytes) => {
            let said = only(headers, &CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
            if said != Some(bytes) {
                headers.insert(CONTENT_LENGTH, HeaderValue::from(bytes));
            }
        }
        Length::Unknown => {
            headers.remove(CONTENT_LENGTH);
            headers.insert(TRANSFER_ENCODING, CHUNKED);
        }
    }
}

/// How long a request's body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Length {
    /// There is none.
    None,
    /// So many bytes.
    Known(u64),
    /// It ends when it ends.
    Unknown,
}

/// Puts back what makes a handshake of a websocket.
pub(super) fn ask_for_websocket(headers: &mut HeaderMap) {
    headers.insert(CONNECTION, UPGRADE_OPTION);
    headers.insert(UPGRADE, WEBSOCKET);
}

/// Whether one of the fields of that name lists the token, in whatever case.
pub(super) fn lists(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    tokens(headers, name).any(|listed| listed.eq_ignore_ascii_case(token.as_bytes()))
}

/// The value of the one field of that name; `None` when there is none, or more than one.
pub(super) fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a HeaderValue> {
    let mut fields = headers.get_all(name).into_iter();
    let value = fields.next()?;
    fields.next().is_none().then_some(value)
}

/// The members of the comma-separated lists in all fields of that name.
fn tokens<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a [u8]> {
    let fields = headers.get_all(name).into_iter().map(HeaderValue::as_bytes);
    fields.flat_map(|field| field.split(|byte| *byte == b',')).map(<[u8]>::trim_ascii)
}

/// `TE: trailers`: the client reads trailers. With a weight or beside other codings it still does.
fn wants_trailers(headers: &HeaderMap) -> bool {
    let coding = |token: &[u8]| {
        let end = token.iter().position(|byte| *byte == b';').unwrap_or(token.len());
        token.get(..end).is_some_and(|coding| coding.trim_ascii().eq_ignore_ascii_case(b"trailers"))
    };
    tokens(headers, &TE).any(coding)
}

/// Removes what `Connection` lists, and `Connection`. What decides about a request cannot be listed away.
fn remove_nominated(headers: &mut HeaderMap) {
    if !headers.contains_key(CONNECTION) {
        return;
    }
    let named = |token: &[u8]| !COMMON_OPTIONS.iter().any(|option| token.eq_ignore_ascii_case(option));
    let nominated: Vec<HeaderName> = tokens(headers, &CONNECTION)
        .filter(|token| named(token))
        .filter_map(|token| HeaderName::from_bytes(token).ok())
        .filter(|name| !is_end_to_end(name))
        .collect();
    for name in nominated {
        headers.remove(name);
    }
    headers.remove(CONNECTION);
}

/// Fields that no `Connection` takes away.
fn is_end_to_end(name: &HeaderName) -> bool {
    [&HOST, &COOKIE, &AUTHORIZATION, &ORIGIN, &REFERER, &CONTENT_LENGTH, &TRANSFER_ENCODING].contains(&name)
        || ["content-", "sec-"].iter().any(|start| name.as_str().starts_with(start))
}

/// Removes all fields whose name is refused. Allocates only when there are some.
fn remove(headers: &mut HeaderMap, refused: fn(&str) -> bool) {
    let names: Vec<HeaderName> = headers.keys().filter(|name| refused(name.as_str())).cloned().collect();
    for name in names {
        headers.remove(name);
    }
}

/// Whether a request's field, in lower case, stays here: it belongs to the connection, or a server behind could take
/// it for our word about the client.
fn is_not_for_workspaces(name: &str) -> bool {
    // CGI-like servers fold what is no letter or digit to `_`: `X_Forwarded.Proto` is `X-Forwarded-Proto` to them.
    if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
        return true;
    }
    match name.as_bytes().first() {
        Some(b'x') => {
            FORGED_X.iter().any(|start| name.strip_prefix("x-").is_some_and(|x| x.starts_with(start)))
        }
        Some(b'c' | b'e' | b'f' | b'h' | b'k' | b'o' | b'p' | b'r' | b's' | b't' | b'u') => {
            HOP_BY_HOP.contains(&name) || FORGED.iter().any(|start| name.starts_with(start))
        }
        _ => false,
    }
}

/// Whether a response's field, in lower case, stays here: it belongs to the connection, or it rules the whole host.
fn is_not_for_clients(name: &str) -> bool {
    match name.as_bytes().first() {
        Some(b'a' | b'c' | b'k' | b'n' | b'p' | b'r' | b's' | b't' | b'u' | b'x') => {
            (HOP_BY_HOP.contains(&name) && name != "trailer")
                || WHOLE_HOST.iter().any(|start| name.starts_with(start))
        }
        _ => false,
    }
}

/// Whether a `Set-Cookie` sets a cookie of ours, or one that browsers send in a way that reads like ours: a cookie
/// without a name is sent as its bare value (RFC 6265bis section 5.8.3).
fn sets_reserved(cookie: &HeaderValue) -> bool {
    let pair = cookie.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default();
    let name = pair.split(|byte| *byte == b'=').map(<[u8]>::trim_ascii).find(|part| !part.is_empty());
    name.is_some_and(cookies::reserved)
}

/// Exactly one `Host`: the target's authority, or the client's, or the public one.
fn set_host(headers: &mut HeaderMap, authority: Option<&Authority>, public: &HeaderValue) {
    if let Some(authority) = authority {
        let host = if authority.as_str().as_bytes() == public.as_bytes() {
            Ok(public.clone())
        } else {
            let start = authority.as_str().rfind('@').map_or(0, |at| at + 1);
            HeaderValue::from_str(authority.as_str().get(start..).unwrap_or_default())
        };
        headers.insert(HOST, host.unwrap_or_else(|_not_a_value| public.clone()));
    } else if only(headers, &HOST).is_none() {
        headers.insert(HOST, public.clone());
    }
}

/// The public port.
fn port(host: &HeaderValue) -> HeaderValue {
    let mut parts = host.as_bytes().rsplitn(2, |byte| *byte == b':');
    match (parts.next(), parts.next()) {
        (Some(port), Some(_)) if !port.is_empty() && port.iter().all(u8::is_ascii_digit) => {
            HeaderValue::from_bytes(port).unwrap_or(HTTPS_PORT)
        }
        _ => HTTPS_PORT,
    }
}

/// Methods that say that there is no body where there is none (RFC 9110 section 8.6).
fn expects_body(method: &Method) -> bool {
    [Method::POST, Method::PUT, Method::PATCH].contains(method)
}

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const X_FORWARDED_PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_HUBGATE_USER: HeaderName = HeaderName::from_static("x-hubgate-user");

const CHUNKED: HeaderValue = HeaderValue::from_static("chunked");
const HTTPS: HeaderValue = HeaderValue::from_static("https");
const HTTPS_PORT: HeaderValue = HeaderValue::from_static("443");
const TRAILERS: HeaderValue = HeaderValue::from_static("trailers");
const UPGRADE_OPTION: HeaderValue = HeaderValue::from_static("Upgrade");
const WEBSOCKET: HeaderValue = HeaderValue::from_static("websocket");
const ZERO: HeaderValue = HeaderValue::from_static("0");

/// What `Connection` nearly always says; none of it names a field that would not go anyway.
const COMMON_OPTIONS: [&[u8]; 4] = [b"keep-alive", b"close", b"upgrade", b""];

/// Fields of one connection. `transfer-encoding` is framing, and `connection` has its own function. A request's
/// trailers are dropped (they must never become headers), so what announces them is.
const HOP_BY_HOP: [&str; 7] = ["keep-alive", "te", "trailer", "upgrade", "expect", "http2-settings", "proxy"];

/// How the names of fields begin, after `x-`, by which proxies tell servers who the client is and what it asked for.
const FORGED_X: [&str; 17] = [
    "forwarded",
    "real-ip",
    "real-port",
    "client-ip",
    "cluster-client-ip",
    "scheme",
    "url-scheme",
    "original-",
    "rewrite-",
    "auth-request-",
    "authenticated-",
    "webauth-",
    "remote-",
    "hub-user",
    "hubgate-",
    "client-cert",
    "ssl-",
];

/// The same, for those without `x-`.
const FORGED: [&str; 11] = [
    "forwarded",
    "front-end-https",
    "remote-",
    "client-cert",
    "client-ip",
    "cf-connecting-ip",
    "true-client-ip",
    "ssl-",
    "oidc-",
    "proxy-",
    "redirect-remote-user",
];

/// How the names of a response's fields begin that act on every path of the host, and so on other users' workspaces.
const WHOLE_HOST: [&str; 10] = [
    "x-hubgate-",
    // A page with the policy of the hub's own pages could open one of them and read it: see `docs/security.md`.
    "cross-origin-opener-policy",
    "strict-transport-security",
    "clear-site-data",
    "service-worker-allowed",
    "alt-svc",
    "public-key-pins",
    "proxy-",
    "nel",
    "report-to",
];

#[cfg(test)]
mod tests;
