//! Cookies: our names, how they are found, set, and kept from containers.

use std::time::Duration;

use cookie::{Cookie, SameSite};
use http::header::{COOKIE, HeaderMap, HeaderValue};

/// The session: an opaque id. `__Host-` keeps other hosts and paths from setting it (RFC 6265bis section 4.1.3.2).
pub const SESSION: &str = "__Host-hubgate";

/// Begins the cookie of one login attempt; the rest names the attempt.
pub const LOGIN_PREFIX: &str = "__Host-hubgate-login-";

/// Counts logins that follow each other: see `gateway::rounds`.
pub const ROUNDS: &str = "__Host-hubgate-rounds";

/// At a user's own host: shows that the browser which comes back from the hub is the one that was sent there.
pub const ENTRY: &str = "__Host-hubgate-entry";

/// Remembers a logout that goes by the provider until the browser is back.
pub const LOGOUT: &str = "__Host-hubgate-logout";

/// What JupyterHub's own images bind their XSRF tokens to. Not a secret of ours: it goes to containers.
pub const JUPYTERHUB_SESSION: &str = "jupyterhub-session-id";

/// Name and value of a cookie that browsers keep, in bytes: a larger one they drop (RFC 6265bis section 5.6).
pub const LARGEST: usize = 4096;

/// Every cookie of ours that a container must never see or set begins so, in whatever case.
const RESERVED_PREFIX: &str = "__Host-hubgate";

/// The value of the one cookie called `name`; `None` when there is none, or more than one: their order tells
/// nothing, and somebody is tossing cookies (RFC 6265bis section 5.8.3).
pub fn find<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut values = all(headers).filter(|(key, _)| *key == name.as_bytes()).map(|(_, value)| value);
    let value = values.next()?;
    let alone = values.next().is_none();
    std::str::from_utf8(value).ok().filter(|_| alone)
}

/// All cookies that are text, in the order they came. Others, which a page can set beside ours, spoil no others.
pub fn pairs(headers: &HeaderMap) -> impl Iterator<Item = (&str, &str)> {
    let text = |bytes| std::str::from_utf8(bytes).ok();
    all(headers).filter_map(move |(name, value)| Some((text(name)?, text(value)?)))
}

fn all(headers: &HeaderMap) -> impl Iterator<Item = (&[u8], &[u8])> {
    headers.get_all(COOKIE).into_iter().flat_map(parts).filter_map(|part| {
        let (name, value) = part.split_at_checked(part.iter().position(|byte| *byte == b'=')?)?;
        Some((name.trim_ascii(), value.strip_prefix(b"=")?.trim_ascii()))
    })
}

/// The parts of one `Cookie` field, whatever bytes they are.
fn parts(field: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    field.as_bytes().split(|byte| *byte == b';')
}

/// A `Set-Cookie` for us alone: Secure, `HttpOnly`, `SameSite=Lax`, for every path. Without an age it ends with the
/// browser.
pub fn set(name: &str, value: &str, age: Option<Duration>) -> HeaderValue {
    header(&build(name, value, SameSite::Lax, age))
}

/// The same for a cookie that must come back with a form that another site's page sends (`SameSite=None`).
pub fn set_for_posts(name: &str, value: &str, age: Option<Duration>) -> HeaderValue {
    header(&build(name, value, SameSite::None, age))
}

fn build<'a>(name: &'a str, value: &'a str, same_site: SameSite, age: Option<Duration>) -> Cookie<'a> {
    let mut cookie = Cookie::build((name, value)).path("/").secure(true).http_only(true).same_site(same_site);
    if let Some(age) = age {
        cookie =
            cookie.max_age(cookie::time::Duration::seconds(i64::try_from(age.as_secs()).unwrap_or(i64::MAX)));
    }
    cookie.build()
}

/// A `Set-Cookie` that takes the cookie away.
pub fn clear(name: &str) -> HeaderValue {
    set(name, "", Some(Duration::ZERO))
}

#[expect(clippy::expect_used, reason = "names are constants and values base64url: both fit a header")]
fn header(cookie: &Cookie<'_>) -> HeaderValue {
    HeaderValue::from_str(&cookie.to_string()).expect("a cookie of visible ASCII")
}

/// Whether a cookie of this name is ours alone. Browsers compare the prefix without regard to case, so do we. A cookie
/// without a name whose value begins so would be sent as if it had ours: see `keep`.
pub fn reserved(name: &[u8]) -> bool {
    let start = name.get(..RESERVED_PREFIX.len());
    start.is_some_and(|start| start.eq_ignore_ascii_case(RESERVED_PREFIX.as_bytes()))
}

/// Whether one part of a `Cookie` field may go to a container.
fn keep(part: &[u8]) -> bool {
    let mut parts = part.split(|byte| *byte == b'=').map(<[u8]>::trim_ascii);
    !reserved(parts.find(|part| !part.is_empty()).unwrap_or_default())
}

/// Takes our cookies out, and joins the crumbs of HTTP/2 to one field (RFC 9113 section 8.2.3). What else there is
/// goes on as it came, byte for byte.
///
/// `session`: what the workspace is to see as [`JUPYTERHUB_SESSION`], whatever the client sends by that name. Any other host
/// of the domain can set it for this one, and an image that reads two takes one of them, perhaps the wrong one.
pub fn strip(headers: &mut HeaderMap, session: Option<&str>) {
    let mut fields = headers.get_all(COOKIE).into_iter();
    let (first, second) = (fields.next(), fields.next());
    let untouched = second.is_none() && first.is_none_or(|first| parts(first).all(keep));
    if session.is_none() && untouched {
        return;
    }
    // First: a quotation mark that another cookie leaves open hides from some readers what follows it.
    let own = session.map(|session| format!("{JUPYTERHUB_SESSION}={session}"));
    let theirs = headers.get_all(COOKIE).into_iter().flat_map(parts);
    let theirs = theirs.filter(|part| keep(part) && !(own.is_some() && names_session(part)));
    let theirs = theirs.map(<[u8]>::trim_ascii).filter(|part| !part.is_empty());
    let kept: Vec<_> = own.iter().map(String::as_bytes).chain(theirs).collect();
    match HeaderValue::from_bytes(&kept.join(&b"; "[..])) {
        Ok(value) if !kept.is_empty() => {
            headers.insert(COOKIE, value);
        }
        Ok(_) | Err(_) => {
            headers.remove(COOKIE);
        }
    }
}

/// Whether some reader could take one part of a `Cookie` field for [`JUPYTERHUB_SESSION`], as `keep` asks of ours.
fn names_session(part: &[u8]) -> bool {
    let mut parts = part.split(|byte| *byte == b'=').map(<[u8]>::trim_ascii);
    parts
        .find(|part| !part.is_empty())
        .is_some_and(|name| name.eq_ignore_ascii_case(JUPYTERHUB_SESSION.as_bytes()))
}

/// Whether a request brings two cookies of one of these names: see [`find`].
pub fn doubled(headers: &HeaderMap, names: &[&str]) -> bool {
    names.iter().any(|name| all(headers).filter(|(key, _)| *key == name.as_bytes()).count() > 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[&str]) -> HeaderMap {
        fields.iter().map(|field| (COOKIE, HeaderValue::from_str(field).unwrap())).collect()
    }

    fn stripped(fields: &[&str]) -> Option<String> {
        let mut headers = headers(fields);
        strip(&mut headers, None);
        assert!(headers.get_all(COOKIE).iter().count() <= 1);
        headers.get(COOKIE).map(|value| value.to_str().unwrap().to_owned())
    }

    #[test]
    fn a_cookie_sent_twice_is_no_cookie() {
        assert_eq!(find(&headers(&["a=1; __Host-hubgate=x; b=2"]), SESSION), Some("x"));
        assert_eq!(find(&headers(&["__Host-hubgate=x; __Host-hubgate=y"]), SESSION), None);
        assert_eq!(find(&headers(&["__Host-hubgate=x", "__Host-hubgate=x"]), SESSION), None);
        assert!(doubled(&headers(&["__Host-hubgate=x", "__Host-hubgate=x"]), &[ENTRY, SESSION]));
        assert!(!doubled(&headers(&["__Host-hubgate=x; __Host-hubgate-entry=y"]), &[ENTRY, SESSION]));
        for odd in [
            ";",
            "",
            "=",
            "a",
            ";;;a=b;",
            "a=b,c=d",
            "__Host-hubgate",
            "=__Host-hubgate=evil",
            "__host-hubgate=x",
        ] {
            assert_eq!(find(&headers(&[odd]), SESSION), None, "{odd:?}");
        }
    }

    #[test]
    fn our_cookies_never_reach_a_container() {
        assert_eq!(stripped(&["a=1; __Host-hubgate=x; b=2"]).as_deref(), Some("a=1; b=2"));
        assert_eq!(stripped(&["__Host-hubgate=x"]), None);
        assert_eq!(stripped(&["a=1", "__Host-hubgate-login-1=x", "b=2"]).as_deref(), Some("a=1; b=2"));
        assert_eq!(stripped(&["=__Host-hubgate=x; a=1"]).as_deref(), Some("a=1"));
        assert_eq!(stripped(&["__HOST-HUBGATE=x; a=1"]).as_deref(), Some("a=1"));
        assert_eq!(stripped(&["a=1;  b=\"2 3\""]).as_deref(), Some("a=1;  b=\"2 3\""), "left as it came");
    }

    #[test]
    fn a_cookie_that_is_no_text_spoils_no_other_and_goes_on_as_it_came() {
        for (odd, after) in [
            (&b"a=\xc3\xbc; __Host-hubgate=x; b=2"[..], &b"a=\xc3\xbc; b=2"[..]),
            (b"a=\xfc\xff; __Host-hubgate=x", b"a=\xfc\xff"),
            (b"__Host-hubgate=x; \xff", b"\xff"),
            (b"\xff=__Host-hubgate; __host-Hubgate-login-\xff=y;__Host-hubgate=x", b"\xff=__Host-hubgate"),
        ] {
            let mut headers = HeaderMap::from_iter([(COOKIE, HeaderValue::from_bytes(odd).unwrap())]);
            assert_eq!(find(&headers, SESSION), Some("x"), "{odd:?}");
            strip(&mut headers, None);
            assert_eq!(headers[COOKIE].as_bytes(), after, "{odd:?}");
        }
        let ours = HeaderValue::from_bytes(b"__Host-hubgate=x\xff").unwrap();
        assert_eq!(find(&HeaderMap::from_iter([(COOKIE, ours)]), SESSION), None, "ours is text");
        let twice = HeaderValue::from_bytes(b"__Host-hubgate=x; __Host-hubgate=\xff").unwrap();
        assert_eq!(find(&HeaderMap::from_iter([(COOKIE, twice)]), SESSION), None);
    }

    #[test]
    fn an_image_sees_the_session_id_that_is_told_and_no_other() {
        let told = |fields: &[&str]| {
            let mut headers = headers(fields);
            strip(&mut headers, Some("ours"));
            assert_eq!(headers.get_all(COOKIE).iter().count(), 1);
            headers[COOKIE].to_str().unwrap().to_owned()
        };
        let alone = "jupyterhub-session-id=ours";
        for fields in [
            &[][..],
            &["jupyterhub-session-id=ours"],
            &["jupyterhub-session-id=a; jupyterhub-session-id=b"],
            &["jupyterhub-session-id=a", " jupyterhub-session-id = b"],
            &["=jupyterhub-session-id=a; jupyterhub-session-id; JupyterHub-Session-Id=a"],
            &["__Host-hubgate=x"],
        ] {
            assert_eq!(told(fields), alone, "{fields:?}");
        }
        let others = "_xsrf=\"2|a; jupyterhub-session-idx=1; xjupyterhub-session-id=2";
        assert_eq!(told(&[others, "jupyterhub-session-id=a"]), format!("{alone}; {others}"));
    }

    #[test]
    fn what_is_set_is_for_us_alone() {
        let value = set(SESSION, "id", None);
        assert_eq!(value, "__Host-hubgate=id; HttpOnly; SameSite=Lax; Secure; Path=/");
        // Browsers take away what has the same name, path and domain, and what a `__Host-` name may be set with.
        let clear = clear(SESSION);
        assert_eq!(clear, "__Host-hubgate=; HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age=0");
        let for_posts = set_for_posts(LOGIN_PREFIX, "x", Some(Duration::from_mins(1)));
        assert_eq!(for_posts, "__Host-hubgate-login-=x; HttpOnly; SameSite=None; Secure; Path=/; Max-Age=60");
    }
}
