//! Judges of what the provider says: see [`crate::fuzzing`].
#![expect(clippy::missing_panics_doc, clippy::unwrap_used, reason = "to panic is what judges are for")]

mod tokens;

use std::sync::LazyLock;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use openidconnect::core::CoreJwsSigningAlgorithm;
use serde_json::{Map, Value};
use url::Url;

use super::answer::Answer;
use super::claims::merge;
use super::discovery::{Known, Metadata, read};
use super::http::Http;
use super::jwt::{Jwt, algorithms, usable_keys};
use super::keys::Keys;

use crate::config::SigningAlgorithm;

pub use self::tokens::{bearer, id_token, logout_token, userinfo};

/// The provider's description of itself.
pub fn discovery(data: &[u8]) -> bool {
    let known = |body: &[u8]| {
        let description = read(body, ISSUER, &DOCUMENT, &ALGORITHMS, &HTTP).ok()?;
        assert_eq!(description.issuer().as_str(), ISSUER);
        let keys = Keys::fixed(description.jwks_uri().url().clone(), ALGORITHMS.clone(), Vec::new());
        Some((Known::new(&description, keys).ok()?, description))
    };
    let Some((found, description)) = known(data) else { return false };
    let endpoints = endpoints(&found, &description);
    for url in &endpoints {
        let host = url.host_str().unwrap_or_default();
        let here = ["localhost", "[::1]"].contains(&host)
            || host.ends_with(".localhost")
            || host.starts_with("127.")
            || host.starts_with("[::ffff:7f");
        assert!(url.scheme() == "https" || (url.scheme() == "http" && here), "{url} is not encrypted");
        assert!(url.username().is_empty() && url.password().is_none() && url.fragment().is_none(), "{url}");
    }
    let again = serde_json::to_vec(&description).ok().and_then(|body| known(&body));
    let again = again.map(|(known, description)| self::endpoints(&known, &description));
    assert_eq!(again, Some(endpoints), "not the same once more");
    true
}

/// All of them, so that none is forgotten.
fn endpoints(known: &Known, description: &Metadata) -> Vec<Url> {
    let Known {
        issuer,
        authorize,
        token,
        userinfo,
        logout,
        revocation,
        pushed,
        pushed_required: _,
        iss: _,
        keys: _,
    } = known;
    assert_eq!(issuer, ISSUER);
    let needed = [authorize, token, description.jwks_uri().url()];
    needed.into_iter().chain(userinfo).chain(logout).chain(revocation).chain(pushed).cloned().collect()
}

/// The provider's keys.
pub fn keys(data: &[u8]) -> bool {
    let Ok(keys) = usable_keys(data, &ALGORITHMS) else { return false };
    assert!((1..=64).contains(&keys.len()), "{} keys", keys.len());
    for key in &keys {
        let value = serde_json::to_value(key).unwrap_or_default();
        let is = |name: &str, text: &str| value.get(name).is_some_and(|value| value == text);
        assert!(is("kty", "RSA") || is("kty", "EC") || is("kty", "OKP"), "{value}");
        assert!(!is("use", "enc"), "{value}");
    }
    // Whatever the keys are, they are tried on tokens.
    for algorithm in ["RS256", "PS384", "ES256", "ES384", "EdDSA"] {
        let header = URL_SAFE_NO_PAD.encode(format!(r#"{{"alg":"{algorithm}"}}"#));
        if let Ok(jwt) = Jwt::parse(&format!("{header}.e30.{}", "_".repeat(86))) {
            let _whichever = jwt.verify(&keys);
        }
    }
    true
}

/// What a browser brings back.
pub fn answer(data: &[u8]) -> bool {
    let Ok(query) = str::from_utf8(data) else { return false };
    let Ok(answer) = Answer::parse(query) else { return false };
    let fields: Vec<(String, String)> = url::form_urlencoded::parse(data).into_owned().collect();
    let all = |name: &str| -> Vec<&String> {
        fields.iter().filter(|(key, _)| key == name).map(|(_, value)| value).collect()
    };
    assert_eq!(all("state"), [&answer.state]);
    assert_eq!(all("iss"), Vec::from_iter(&answer.iss));
    assert!(!answer.state.is_empty() && answer.state.len() <= 8192);
    match &answer.outcome {
        Ok(code) => {
            assert_eq!(all("code"), [code]);
            assert!(!code.is_empty() && all("error").is_empty());
        }
        Err((error, description)) => {
            assert!(
                (1..=64).contains(&error.len()) && error.bytes().all(|b| b.is_ascii_graphic()),
                "{error:?}"
            );
            let printable =
                |text: &String| text.len() <= 200 && text.bytes().all(|b| (b' '..=b'~').contains(&b));
            assert!(description.as_ref().is_none_or(printable), "{description:?}");
        }
    }
    let written = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(&fields).finish();
    let again = Answer::parse(&written);
    let same = |again: Answer| {
        again.state == answer.state && again.outcome == answer.outcome && again.iss == answer.iss
    };
    assert!(again.is_ok_and(same), "not the same once more: {written}");
    true
}

/// Claims of an ID token with those of userinfo over them: nothing of userinfo says anything about the token.
pub(crate) fn merged(id_token: &Map<String, Value>, userinfo: &Map<String, Value>) -> Map<String, Value> {
    let merged = merge(id_token.clone(), userinfo.clone());
    for (name, value) in &merged {
        assert!(
            id_token.get(name) == Some(value) || userinfo.get(name) == Some(value),
            "{name} is from nowhere"
        );
    }
    for name in
        ["iss", "sub", "aud", "azp", "exp", "iat", "nbf", "nonce", "sid", "typ", "at_hash", "auth_time"]
    {
        assert_eq!(merged.get(name), id_token.get(name), "userinfo changes {name}");
    }
    merged
}

pub(crate) const ISSUER: &str = "https://kc.example/realms/r";

/// One of each kind.
const SIGNING: [SigningAlgorithm; 4] =
    [SigningAlgorithm::Rs256, SigningAlgorithm::Ps384, SigningAlgorithm::Es256, SigningAlgorithm::EdDsa];
static ALGORITHMS: LazyLock<Vec<CoreJwsSigningAlgorithm>> = LazyLock::new(|| algorithms(&SIGNING));

static HTTP: LazyLock<Http> = LazyLock::new(|| Http::new(None, Duration::from_secs(1), false).unwrap());
static DOCUMENT: LazyLock<Url> =
    LazyLock::new(|| Url::parse("https://kc.example/realms/r/.well-known/openid-configuration").unwrap());
