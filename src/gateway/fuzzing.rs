//! Judges of what browsers send: see [`crate::fuzzing`].
#![expect(clippy::missing_panics_doc, reason = "to panic is what judges are for")]

use std::sync::LazyLock;

use http::header::{AUTHORIZATION, COOKIE, HeaderMap, HeaderValue};
use http::uri::{PathAndQuery, Uri};
use url::Url;

use super::attempts::is_token;
use super::credential::Credential;
use super::form::Form;
use super::local_path::LocalPath;
use crate::seal::Sealer;
use crate::{cookies, session, token};

/// Where somebody wants to go after a login: as it is, and as the `next` of a login's query.
pub fn redirect_target(data: &[u8]) -> bool {
    let Ok(text) = str::from_utf8(data) else { return false };
    if let Ok(target) = PathAndQuery::try_from(format!("/hub/login?{text}")) {
        stays(&LocalPath::or_root(Form::of_query(&Uri::from(target)).one("next")));
    }
    let Some(path) = LocalPath::parse(text) else { return false };
    assert_eq!(path.as_str(), text, "another path than was asked for");
    stays(&path);
    true
}

fn stays(path: &LocalPath) {
    let text = path.as_str();
    assert!(text.starts_with('/') && text.len() <= 4096, "{text:?}");
    assert!(!text.starts_with("//") && !text.contains('\\'), "{text:?}");
    assert!(text.bytes().all(|b| b.is_ascii_graphic()), "{text:?}");
    assert!(HeaderValue::from_str(text).is_ok(), "{text:?}");
    for origin in ["https://hub.example/hub/login", "https://hub.example:8443/", "http://[::1]:8000/a/b?c"] {
        let base = Url::parse(origin).ok();
        let Some(url) = base.as_ref().and_then(|base| base.join(text).ok()) else {
            assert!(base.is_some(), "{origin} is a URL");
            return;
        };
        assert_eq!(Some(url.origin()), base.map(|base| base.origin()), "{text:?} leaves {origin}");
        assert!(url.username().is_empty() && url.password().is_none(), "{text:?}");
        // What the browser shows then is asked for again after the next login.
        let (_, shown) = url.as_str().split_at(url.origin().ascii_serialization().len());
        assert!(LocalPath::parse(shown).is_some(), "{text:?} becomes {shown:?}");
    }
}

/// What programs show: `Authorization` fields, one a line.
pub fn credential(data: &[u8]) -> bool {
    let fields = lines(data);
    let headers: HeaderMap = fields.iter().map(|field| (AUTHORIZATION, field.clone())).collect();
    let Ok(credential) = Credential::find(&headers) else {
        assert!(fields.len() > 1, "one field says one thing");
        return false;
    };
    let (Credential::ApiToken(text) | Credential::Jwt(text)) = credential else { return false };
    let shown = match &*fields {
        [field] => field.to_str().unwrap_or_default(),
        _ => "",
    };
    let scheme = shown.split(' ').next().unwrap_or_default().to_ascii_lowercase();
    assert!(
        ["bearer", "token"].contains(&&*scheme) && shown.trim().ends_with(text),
        "{shown:?} is read as {text:?}"
    );
    match credential {
        Credential::ApiToken(text) => is_an_api_token(text),
        Credential::Jwt(_) | Credential::None => text.starts_with("ey") && text.split('.').count() == 3,
    }
}

fn is_an_api_token(text: &str) -> bool {
    let random = text.strip_prefix("hubgate_").unwrap_or_default();
    token::parse(text).is_some_and(|_| is_random(random))
}

/// `Cookie` fields, one a line.
pub fn cookie(data: &[u8]) -> bool {
    let fields = lines(data);
    let mut headers: HeaderMap = fields.iter().map(|field| (COOKIE, field.clone())).collect();
    let split = |fields: &[HeaderValue]| -> Vec<Vec<u8>> {
        let parts = fields.iter().flat_map(|field| field.as_bytes().split(|byte| *byte == b';'));
        parts.map(<[u8]>::trim_ascii).filter(|part| !part.is_empty()).map(<[u8]>::to_vec).collect()
    };
    let parts = split(&fields);
    let session = cookies::find(&headers, cookies::SESSION).map(str::to_owned);
    let of_session = |part: &&Vec<u8>| {
        let name = part.split(|byte| *byte == b'=').next().unwrap_or_default();
        part.contains(&b'=') && name.trim_ascii() == cookies::SESSION.as_bytes()
    };
    let sessions: Vec<_> = parts.iter().filter(of_session).collect();
    let one = sessions.len() == 1 && sessions.iter().all(|part| std::str::from_utf8(part).is_ok());
    assert_eq!(session.is_some(), one, "{sessions:?}");
    let accepted = session.as_deref().is_some_and(is_a_session_id);
    for (name, value) in cookies::pairs(&headers) {
        opens_nothing(name, value);
    }
    cookies::strip(&mut headers, None);
    let left: Vec<_> = headers.get_all(COOKIE).iter().cloned().collect();
    assert!(left.len() <= 1, "{left:?}");
    let kept: Vec<_> = parts.iter().filter(|part| !ours(part)).cloned().collect();
    assert_eq!(split(&left), kept, "what is left of the cookies");
    accepted
}

/// As RFC 6265bis section 5.6 reads a part: what has no name is sent as its value alone.
fn ours(part: &[u8]) -> bool {
    let begins = part.iter().position(|byte| *byte != b'=' && !byte.is_ascii_whitespace());
    let name = begins.and_then(|begins| part.get(begins..)).unwrap_or_default();
    name.to_ascii_lowercase().starts_with(b"__host-hubgate")
}

fn is_a_session_id(value: &str) -> bool {
    session::parse(value).is_some_and(|_| is_random(value))
}

/// 32 bytes in their one spelling.
fn is_random(value: &str) -> bool {
    let letter = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    assert!(value.len() == 43 && value.chars().all(letter), "{value:?} is none of ours");
    // Two bits of the last letter say nothing, and are zero.
    assert!(value.ends_with(|c: char| "AEIMQUYcgkosw048".contains(c)), "{value:?} is spelt in another way");
    true
}

fn opens_nothing(name: &str, value: &str) {
    assert!(SEALER.open(name, value).is_none(), "{value:?} was not sealed here");
    if name.starts_with(cookies::LOGIN_PREFIX) && is_token(name) {
        let cleared = cookies::clear(name);
        let begins = |text: &str| text.starts_with(&format!("{name}=;"));
        assert!(cleared.to_str().is_ok_and(begins), "{cleared:?}");
    }
}

fn lines(data: &[u8]) -> Vec<HeaderValue> {
    data.split(|b| *b == b'\n').flat_map(HeaderValue::from_bytes).collect()
}

static SEALER: LazyLock<Sealer> = LazyLock::new(|| Sealer::new(&crate::seal::random()));
