//! What a verified ID token must say (OpenID Connect Core 1.0, section 3.1.3.7). Pure rules.

use serde_json::{Map, Value};

use super::OidcError;
use super::jwt::Verified;
use super::not_before::NotBefore;
use crate::clock::Timestamp;
use crate::identity::Identity;

/// What a token is compared with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Expected<'a> {
    pub(super) issuer: &'a str,
    pub(super) client: &'a str,
    pub(super) now: Timestamp,
    /// How many seconds the provider's clock may be off.
    pub(super) skew: u64,
    /// What was issued to somebody earlier counts no more.
    pub(super) not_before: &'a NotBefore,
    /// For whom a token may be besides us.
    pub(super) trusted: &'a [String],
}

/// What an ID token comes with, which decides what it must repeat.
#[derive(Debug, Clone, Copy)]
pub(super) enum Occasion<'a> {
    /// A login, whose nonce went with the browser.
    Login { nonce: &'a str },
    /// A refresh of what was known before (section 12.2).
    Refresh { before: &'a Identity, issued: Option<Timestamp> },
}

impl Expected<'_> {
    /// Whether it is an ID token of the provider's, for us, and fresh.
    pub(super) fn check(&self, claims: &Map<String, Value>) -> Result<(), OidcError> {
        self.check_issuer(claims)?;
        check_kind(claims)?;
        self.check_audience(claims)?;
        self.check_time(claims)?;
        self.check_age(claims)?;
        subject(claims).map(drop)
    }

    /// Simple string comparison: no slash and no letter may differ.
    pub(super) fn check_issuer(&self, claims: &Map<String, Value>) -> Result<(), OidcError> {
        match claims.get("iss").and_then(Value::as_str) {
            Some(iss) if iss == self.issuer => Ok(()),
            iss => Err(OidcError::untrusted(
                "its token is from another issuer",
                Some(format!("{iss:?}, not {:?}", self.issuer)),
            )),
        }
    }

    pub(super) fn check_audience(&self, claims: &Map<String, Value>) -> Result<(), OidcError> {
        let audience = audience(claims)
            .ok_or_else(|| OidcError::untrusted("its token says nobody as its audience", None))?;
        if !audience.contains(&self.client) {
            return Err(OidcError::untrusted(
                "its token is for another client",
                Some(format!("{audience:?}")),
            ));
        }
        let azp = match claims.get("azp") {
            None => None,
            Some(Value::String(azp)) => Some(azp.as_str()),
            Some(_) => Some(""),
        };
        match azp {
            Some(azp) if azp != self.client => Err(OidcError::untrusted(
                "its token was made for another client",
                Some(format!("azp is {azp:?}")),
            )),
            None if audience.iter().any(|name| *name != self.client) => Err(OidcError::untrusted(
                "its token is for other clients too, and does not say for whom it was made",
                Some(format!("{audience:?}")),
            )),
            _ => self.check_others(&audience),
        }
    }

    /// Section 3.1.3.7 (3): whoever else a token is for could send it to us.
    fn check_others(&self, audience: &[&str]) -> Result<(), OidcError> {
        let known = |name: &&str| *name == self.client || self.trusted.iter().any(|trusted| trusted == name);
        match audience.iter().find(|name| !known(name)) {
            None => Ok(()),
            Some(other) => Err(OidcError::untrusted(
                "its token is for others too, whom provider.trusted_audiences does not list",
                Some(format!("{other:?}")),
            )),
        }
    }

    /// `exp`, `iat` and `nbf`.
    pub(super) fn check_time(&self, claims: &Map<String, Value>) -> Result<(), OidcError> {
        self.check_expiry(claims)?;
        let subject = claims.get("sub").and_then(Value::as_str);
        let not_before = subject.map_or(0, |subject| self.not_before.of(subject));
        match time(claims, "iat")? {
            Some(iat) if iat > self.now.saturating_add(self.skew) => {
                return self.wrong("its token comes from the future; compare its clock with ours", iat);
            }
            // Both times are the provider's own: no clock of ours is in this.
            Some(iat) if iat < not_before => {
                return Err(OidcError::untrusted(
                    "it has revoked its token (not-before)",
                    Some(format!("it is of {iat}, and those before {not_before} count no more")),
                ));
            }
            Some(_) => {}
            None => return Err(OidcError::untrusted("its token has no iat", None)),
        }
        match time(claims, "nbf")? {
            Some(nbf) if nbf > self.now.saturating_add(self.skew) => {
                self.wrong("its token is not valid yet; compare its clock with ours", nbf)
            }
            _ => Ok(()),
        }
    }

    /// `exp`.
    pub(super) fn check_expiry(&self, claims: &Map<String, Value>) -> Result<(), OidcError> {
        match time(claims, "exp")? {
            Some(exp) if exp.saturating_add(self.skew) > self.now => Ok(()),
            Some(exp) => self.wrong("its token has expired already; compare its clock with ours", exp),
            None => Err(OidcError::untrusted("its token has no exp", None)),
        }
    }

    /// Whether it was issued just now.
    pub(super) fn check_age(&self, claims: &Map<String, Value>) -> Result<(), OidcError> {
        match time(claims, "iat")? {
            Some(iat) if iat.saturating_add(self.skew).saturating_add(OLDEST) < self.now => {
                self.wrong("its token is old already; compare its clock with ours", iat)
            }
            _ => Ok(()),
        }
    }

    fn wrong(&self, what: &'static str, time: Timestamp) -> Result<(), OidcError> {
        Err(OidcError::untrusted(what, Some(format!("it says {time}, and it is {} here", self.now))))
    }
}

impl Occasion<'_> {
    /// Whether an ID token is the one that this occasion calls for.
    pub(super) fn check(self, claims: &Map<String, Value>) -> Result<(), OidcError> {
        match self {
            Self::Login { nonce } => check_nonce(claims, Some(nonce)),
            Self::Refresh { before, issued } => {
                if subject(claims)? != before.subject {
                    return Err(OidcError::untrusted("its new ID token is about somebody else", None));
                }
                // Keycloak leaves it out since 25.
                if claims.contains_key("nonce") {
                    check_nonce(claims, before.claims.get("nonce").and_then(Value::as_str))?;
                }
                check_same_login(claims, before)?;
                match (time(claims, "iat")?, issued) {
                    (Some(iat), Some(issued)) if iat < issued => {
                        Err(OidcError::untrusted("its new ID token is older than the last", None))
                    }
                    _ => Ok(()),
                }
            }
        }
    }
}

fn check_nonce(claims: &Map<String, Value>, sent: Option<&str>) -> Result<(), OidcError> {
    match claims.get("nonce").and_then(Value::as_str) {
        Some(nonce) if Some(nonce) == sent => Ok(()),
        Some(_) => Err(OidcError::untrusted("its ID token has the nonce of another login", None)),
        None => Err(OidcError::untrusted("its ID token has no nonce", None)),
    }
}

/// `sid` and `auth_time` do not change by a refresh. Keycloak keeps the time of the login for all clients of one of its
/// sessions: it moves on when the person has to sign in again for another client, in the same session.
fn check_same_login(claims: &Map<String, Value>, before: &Identity) -> Result<(), OidcError> {
    let sid = claims.get("sid").and_then(Value::as_str);
    if sid.is_some() && before.sid.is_some() && sid != before.sid.as_deref() {
        return Err(OidcError::untrusted("its new ID token is of another of its sessions", None));
    }
    match (time(claims, "auth_time")?, time(&before.claims, "auth_time")?) {
        (Some(new), Some(old)) if new < old || (new > old && sid.is_none()) => {
            Err(OidcError::untrusted("its new ID token is of another login", None))
        }
        _ => Ok(()),
    }
}

/// Keycloak signs tokens of all kinds with the same keys, and says here which kind one is.
fn check_kind(claims: &Map<String, Value>) -> Result<(), OidcError> {
    const WHAT: &str = "its ID token is a token of another kind";
    match claims.get("typ").and_then(Value::as_str) {
        // Older logout tokens say it in no other way.
        _ if claims.contains_key("events") => Err(OidcError::untrusted(WHAT, None)),
        None | Some("ID") => Ok(()),
        Some(kind) => Err(OidcError::untrusted(WHAT, Some(format!("{kind:?}")))),
    }
}

/// `aud`, one or several.
pub(super) fn audience(claims: &Map<String, Value>) -> Option<Vec<&str>> {
    match claims.get("aud")? {
        Value::String(one) => Some(vec![one]),
        Value::Array(list) => list.iter().map(Value::as_str).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => None,
    }
}

/// `at_hash`, when there is one: the access token must be the one that the ID token was issued with (section 3.1.3.8).
pub(super) fn check_access_token(id_token: &Verified, access_token: &str) -> Result<(), OidcError> {
    match id_token.claims.get("at_hash") {
        None => Ok(()),
        Some(hash)
            if hash.as_str().is_some() && hash.as_str() == id_token.half_hash(access_token).as_deref() =>
        {
            Ok(())
        }
        Some(_) => Err(OidcError::untrusted("its access token does not belong to its ID token", None)),
    }
}

/// `sub`: the key of a person.
pub(super) fn subject(claims: &Map<String, Value>) -> Result<&str, OidcError> {
    match claims.get("sub").and_then(Value::as_str) {
        Some(sub) if (1..=255).contains(&sub.len()) => Ok(sub),
        Some(_) => Err(OidcError::untrusted("sub has not 1 to 255 bytes", None)),
        None => Err(OidcError::untrusted("it does not say who it is: sub is missing", None)),
    }
}

/// `sid`: the name of the provider's session, whatever it looks like. A longer one than any provider makes is none: no
/// logout token could name it.
pub(super) fn session(claims: &Map<String, Value>) -> Option<String> {
    let sid = claims.get("sid").and_then(Value::as_str);
    sid.filter(|sid| (1..=255).contains(&sid.len())).map(str::to_owned)
}

/// All claims of a person: the ID token's, with userinfo's over them. What describes the token itself stays the token's.
pub(super) fn merge(mut id_token: Map<String, Value>, userinfo: Map<String, Value>) -> Map<String, Value> {
    let person = userinfo.into_iter().filter(|(name, _)| !OF_THE_TOKEN.contains(&name.as_str()));
    id_token.extend(person);
    id_token
}

/// A `NumericDate` (RFC 7519 section 2), whose fraction does not matter.
pub(super) fn time(claims: &Map<String, Value>, name: &'static str) -> Result<Option<Timestamp>, OidcError> {
    let Some(value) = claims.get(name) else { return Ok(None) };
    // Written without an exponent, whatever its size.
    let whole = |seconds: f64| seconds.trunc().to_string().parse().ok();
    (value.as_u64().or_else(|| value.as_f64().and_then(whole)))
        .map(Some)
        .ok_or_else(|| OidcError::untrusted("its token has a time that is none", Some(name.to_owned())))
}

/// A token that was just issued is not this many seconds old.
pub(super) const OLDEST: u64 = 300;

const OF_THE_TOKEN: [&str; 15] = [
    "iss",
    "sub",
    "aud",
    "exp",
    "iat",
    "nbf",
    "jti",
    "typ",
    "azp",
    "nonce",
    "at_hash",
    "sid",
    "auth_time",
    "acr",
    "amr",
];

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use serde_json::json;

    use super::*;

    static NEVER: LazyLock<NotBefore> = LazyLock::new(NotBefore::default);
    static EXPECTED: LazyLock<Expected<'static>> = LazyLock::new(|| Expected {
        issuer: "https://kc.example/realms/r",
        client: "hub",
        now: 1_000_000,
        skew: 30,
        not_before: &NEVER,
        trusted: &[],
    });

    fn with(changes: Value) -> Map<String, Value> {
        let mut claims = json!({
            "iss": "https://kc.example/realms/r", "aud": "hub", "azp": "hub", "nonce": "n", "sub": "f:1:2", "typ": "ID",
            "exp": 1_000_300, "iat": 1_000_000,
        });
        for (name, value) in changes.as_object().unwrap() {
            if value.is_null() {
                claims.as_object_mut().unwrap().remove(name);
            } else {
                claims[name] = value.clone();
            }
        }
        claims.as_object().unwrap().clone()
    }

    fn check(changes: Value) -> Result<(), OidcError> {
        let claims = with(changes);
        EXPECTED.check(&claims).and_then(|()| Occasion::Login { nonce: "n" }.check(&claims))
    }

    #[test]
    fn a_token_for_this_login_is_believed() {
        for good in [
            json!({}),
            json!({"aud": ["hub"], "azp": null}),
            json!({"typ": null, "azp": null}),
            json!({"exp": 1_000_300.5, "iat": 999_999.9}),
            json!({"exp": 1.5e17}),
            json!({"exp": 999_971}),
            json!({"iat": 1_000_030, "nbf": 1_000_030}),
            json!({"nbf": 0}),
            json!({"sub": "x".repeat(255)}),
        ] {
            check(good.clone()).unwrap_or_else(|error| panic!("{good}: {error}"));
        }
    }

    #[test]
    fn any_other_token_is_refused() {
        for bad in [
            json!({"iss": null}),
            json!({"iss": "https://kc.example/realms/r/"}),
            json!({"iss": "http://kc.example/realms/r"}),
            json!({"iss": "https://KC.example/realms/r"}),
            json!({"iss": ["https://kc.example/realms/r"]}),
            json!({"aud": null}),
            json!({"aud": []}),
            json!({"aud": "account"}),
            json!({"aud": "Hub"}),
            json!({"aud": ["hub", 7]}),
            json!({"aud": {"hub": true}}),
            json!({"aud": ["hub", "account"], "azp": null}),
            json!({"aud": ["hub", "account"]}),
            json!({"azp": "account"}),
            json!({"azp": ["hub"]}),
            json!({"azp": ""}),
            json!({"nonce": null}),
            json!({"nonce": "m"}),
            json!({"nonce": ""}),
            json!({"nonce": ["n"]}),
            json!({"sub": null}),
            json!({"sub": ""}),
            json!({"sub": 7}),
            json!({"sub": "x".repeat(256)}),
            json!({"typ": "Bearer"}),
            json!({"typ": "Logout"}),
            json!({"typ": "Refresh"}),
            json!({"exp": null}),
            json!({"exp": 999_970}),
            json!({"exp": "1000300"}),
            json!({"exp": -1}),
            json!({"iat": null}),
            json!({"iat": 1_000_031}),
            json!({"iat": 999_669}),
            json!({"nbf": 1_000_031}),
            json!({"nbf": 1.5e17}),
            json!({"exp": 9.5e300}),
            json!({"nbf": "soon"}),
        ] {
            assert!(check(bad.clone()).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_token_for_others_too_is_believed_when_they_are_listed() {
        let trusted = ["account".to_owned()];
        let expected = Expected { trusted: &trusted, ..*EXPECTED };
        expected.check(&with(json!({"aud": ["hub", "account"]}))).unwrap();
        expected.check(&with(json!({"aud": ["account", "hub"]}))).unwrap();
        for bad in [json!({"aud": ["account"]}), json!({"aud": ["hub", "account", "other"]})] {
            assert!(expected.check(&with(bad.clone())).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_time_is_a_number_that_can_be_one() {
        for good in [json!(0), json!(1_700_000_000.5), json!(i64::MAX), json!(u64::MAX), json!(1e9)] {
            assert!(time(&with(json!({"exp": good})), "exp").unwrap().is_some(), "{good}");
        }
        for bad in
            [json!(-1), json!(1e300), json!(-1.5), json!("1700000000"), json!(true), json!([1]), json!({})]
        {
            assert!(time(&with(json!({"exp": bad})), "exp").is_err(), "{bad}");
        }
        let forever = with(json!({"exp": u64::MAX, "nbf": 0, "iat": 1_000_000}));
        EXPECTED.check_time(&forever).unwrap();
        assert!(EXPECTED.check(&with(json!({"iat": u64::MAX}))).is_err());
        assert!(EXPECTED.check(&with(json!({"nbf": i64::MAX}))).is_err());
    }

    #[test]
    fn a_wrong_time_names_the_clock() {
        for bad in
            [json!({"exp": 1}), json!({"iat": 2_000_000}), json!({"iat": 1}), json!({"nbf": 2_000_000})]
        {
            let error = EXPECTED.check(&with(bad)).unwrap_err();
            assert!(error.to_string().contains("clock"), "{error}");
            assert!(error.remedy().contains("clock"));
        }
    }

    #[test]
    fn userinfo_describes_the_person_and_not_the_token() {
        let userinfo =
            json!({"email": "new@x", "groups": ["/lab"], "sid": "forged", "iss": "forged", "exp": 9});
        let claims =
            merge(with(json!({"email": "old@x", "sid": "s"})), userinfo.as_object().unwrap().clone());
        assert_eq!(claims["email"], "new@x");
        assert_eq!(claims["groups"], json!(["/lab"]));
        assert_eq!((&claims["sid"], &claims["iss"]), (&json!("s"), &json!(EXPECTED.issuer)));
    }
}
