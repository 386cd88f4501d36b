//! Judges what says who somebody is.

use std::path::Path;
use std::sync::LazyLock;

use serde_json::Value;

use crate::config::{self, Escape};
use crate::identity::Identity;
use crate::mapping::{Mapping, MappingError};
use crate::oidc::fuzzing::{ISSUER, merged};
use crate::routes::Route;
use crate::spawner;
use crate::token::device::{ClientLabel, UserCode};
use crate::token::{Note, Scopes, TokenId};
use crate::user::UserName;

/// A claim, and a segment of a path, that shall name a user.
pub fn user_name(data: &[u8]) -> bool {
    let Ok(text) = str::from_utf8(data) else { return false };
    if let Ok(name) = UserName::from_path_segment(text) {
        is_safe(&name);
    }
    if UserName::is_plain(text) {
        assert!(UserName::parse(text).is_ok(), "{text:?} is plain, and not a name");
    }
    let Ok(name) = UserName::normalise(text) else { return false };
    is_safe(&name);
    true
}

fn is_safe(name: &UserName) {
    let text = name.as_str();
    assert!((1..=UserName::MAX_BYTES).contains(&text.len()), "{text:?}");
    assert!(
        !text.contains(|c: char| c.is_control() || c.is_uppercase() || "/\\:%?#;&=\"'<>$`*|".contains(c))
    );
    assert!(!text.starts_with(['.', '-', ' ']) && !text.ends_with(['.', '-', ' ']), "{text:?}");
    assert_eq!(UserName::parse(text).as_ref(), Ok(name), "a name has one spelling");
    let segment = name.path_segment();
    assert_eq!(UserName::from_path_segment(&segment).as_ref(), Ok(name), "{segment}");
    let path = format!("/user/{segment}/");
    let owned =
        matches!(Route::find(&path), Ok(Route::Workspace { owner, bare: false, below: "" }) if owner == text);
    assert!(owned, "{path} is not the workspace of {text:?}");
    let escaped = spawner::escape(name, Escape::Current);
    let letter = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    assert!(escaped.bytes().all(letter) && escaped.len() <= 3 * text.len(), "{escaped}");
    assert_eq!(unescape(&escaped).as_deref(), Some(text), "{escaped} could be another's");
}

fn unescape(escaped: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = escaped.bytes();
    while let Some(byte) = rest.next() {
        let hex = (byte == b'-').then(|| String::from_utf8([rest.next()?, rest.next()?].to_vec()).ok());
        bytes.push(hex.map_or(Some(byte), |hex| u8::from_str_radix(&hex?, 16).ok())?);
    }
    String::from_utf8(bytes).ok()
}

/// What people write of their tokens and programs, and read again on pages: each has one spelling, and stays in its line.
pub fn typed(data: &[u8]) -> bool {
    let Ok(text) = str::from_utf8(data) else { return false };
    let one_line = |text: &str, most: usize| {
        let turns =
            |c: char| ('\u{202a}'..='\u{202e}').contains(&c) || ('\u{2066}'..='\u{2069}').contains(&c);
        assert!(!text.contains(|c: char| c.is_control() || c == '\u{2028}' || turns(c)), "{text:?}");
        assert!(text.trim() == text && text.chars().count() <= most, "{text:?}");
    };
    if let Some(code) = UserCode::parse(text) {
        assert_eq!(UserCode::parse(&code.to_string()), Some(code));
    }
    if let Some(id) = TokenId::parse(text) {
        assert_eq!(id.to_string(), text, "an id has one spelling");
    }
    if let Ok(scopes) = Scopes::parse(text.lines(), None) {
        let names = scopes.names();
        assert_eq!(Scopes::parse(names.iter().map(String::as_str), None).as_ref(), Ok(&scopes));
        assert_eq!(Scopes::parse_words(&scopes.to_string(), None), Ok(scopes));
    }
    if let Some(label) = ClientLabel::parse(text) {
        one_line(label.as_str(), ClientLabel::MAX_CHARACTERS);
        assert!(!label.as_str().contains(['<', '>', '&', '"', '\'']), "{label}");
    }
    let Ok(note) = Note::parse(text) else { return false };
    one_line(note.as_str(), Note::MAX_CHARACTERS);
    assert_eq!(Note::parse(note.as_str()).as_ref(), Ok(&note));
    true
}

/// Claims of an ID token, and on the next line those of userinfo: who it is, and what they may do.
pub fn claims(data: &[u8]) -> bool {
    let Ok(text) = str::from_utf8(data) else { return false };
    let (id_token, userinfo) = text.split_once('\n').unwrap_or((text, "{}"));
    let (Ok(id_token), Ok(userinfo)) = (serde_json::from_str(id_token), serde_json::from_str(userinfo))
    else {
        return false;
    };
    let claims = merged(&id_token, &userinfo);
    let identity =
        Identity { issuer: ISSUER.to_owned(), subject: "1".to_owned(), sid: None, claims: claims.clone() };
    let Ok(name) = MAPPING.name("kc", &identity) else { return false };
    let said = claims.get("preferred_username").and_then(Value::as_str);
    assert_eq!(said.map(UserName::normalise), Some(Ok(name.clone())));
    let lists = |path: &[&str], wanted: &str| {
        let list =
            path.iter().try_fold(&Value::Object(claims.clone()), |value, name| value.get(name)).cloned();
        list.is_some_and(|list| list.as_array().is_some_and(|list| list.iter().any(|text| text == wanted)))
    };
    let elsewhere = MAPPING.user("other", &identity, name.clone());
    assert!(
        elsewhere.is_ok_and(|user| !user.admin) == lists(&["groups"], "/lab"),
        "{name} at another provider"
    );
    let member = lists(&["groups"], "/lab");
    let admin = lists(&["resource_access", "hub.prod", "roles"], "admin");
    match MAPPING.user("kc", &identity, name.clone()) {
        Ok(user) => {
            assert!(user.name == name && (member || admin), "{name} is let in");
            assert_eq!(user.admin, admin, "{name}");
            assert!(!user.profiles.is_empty());
            true
        }
        Err(error) => {
            assert!(!member && !admin, "{name} is kept out");
            assert!(matches!(error, MappingError::NotAllowed { .. }), "{error}");
            false
        }
    }
}

static MAPPING: LazyLock<Mapping> = LazyLock::new(|| {
    let config = config::parse(CONFIG, Path::new("config.toml")).unwrap().config;
    Mapping::new(&config.provider, &config.rule, &config.profile, &config.route)
});

const CONFIG: &str = r#"
public.url = "https://hub.example"
profile = [{ name = "lab", image = "lab" }]
[[provider]]
name = "kc"
issuer = "https://kc.example/realms/r"
client_id = "hub"
client_secret = { env = "SECRET" }
[[provider]]
name = "other"
issuer = "https://other.example"
client_id = "hub"
client_secret = { env = "SECRET" }
[[rule]]
groups = ["/lab"]
[[rule]]
client_roles = [{ client = "hub.prod", role = "admin" }]
providers = ["kc"]
admin = true
"#;
