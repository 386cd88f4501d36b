//! Judges of tokens. What they get is a line with a header, one with claims, and for an ID token one with the access
//! token beside it. Header and claims are then signed with the key of a textbook, so that fuzzers get past the
//! signature. A single line is a token as it comes, and never believed: nobody else can sign.

use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use aws_lc_rs::signature::Ed25519KeyPair;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::FutureExt as _;
use serde_json::{Map, Value};
use url::Url;

use super::super::claims::Occasion;
use super::super::discovery::{Known, read};
use super::super::jwt::usable_keys;
use super::super::keys::Keys;
use super::super::logout_token::Used;
use super::super::{LogoutToken, Provider};
use super::{ALGORITHMS, DOCUMENT, HTTP, ISSUER, SIGNING};
use crate::clock::{Clock, Timestamp};
use crate::config;
use crate::identity::Identity;
use crate::secret::{Secret, SecretSource};

/// An ID token of a login.
pub fn id_token(data: &[u8]) -> bool {
    let textbook = Textbook::open();
    let Some(token) = Token::new(data, &textbook) else { return false };
    let Some(identity) = textbook.identity(&token) else { return false };
    token.is_ours();
    token.is_for_us();
    token.is_of_now();
    assert!(token.number("iat").is_some_and(|iat| iat + SKEW + 301.0 > NOW), "it is old");
    assert_eq!(token.text("nonce"), Some(NONCE));
    assert!(token.text("typ").is_none_or(|typ| typ == "ID") && !token.claims.contains_key("events"));
    assert!(token.text("sub") == Some(&identity.subject) && is_name(&identity.subject));
    assert_eq!(identity.issuer, ISSUER);
    // What no provider's session is called is none.
    let sid = token.text("sid").filter(|sid| !sid.is_empty() && sid.len() <= 255);
    assert_eq!(identity.sid.as_deref(), sid);
    if token.claims.contains_key("at_hash") {
        let other = Token { beside: format!("{}.", token.beside), ..token.again() };
        assert!(textbook.identity(&other).is_none(), "two access tokens have one hash");
    }
    assert!(textbook.logout(&token).is_none() && textbook.caller(&token).is_none(), "it is of several kinds");
    let again = textbook.identity(&token.again()).map(|identity| identity.subject);
    assert_eq!(again, Some(identity.subject), "somebody else the second time");
    true
}

/// A logout token.
pub fn logout_token(data: &[u8]) -> bool {
    let mut textbook = Textbook::open();
    let Some(token) = Token::new(data, &textbook) else { return false };
    let Some(logout) = textbook.logout(&token) else { return false };
    token.is_ours();
    token.is_for_us();
    assert!(token.text("typ").is_none_or(|typ| typ == "Logout") && !token.claims.contains_key("nonce"));
    let event = "http://schemas.openid.net/event/backchannel-logout";
    let events = token.claims.get("events").and_then(|events| events.get(event));
    assert!(events.is_some_and(Value::is_object), "it is about something else");
    let names =
        [("sub", logout.subject.as_deref()), ("sid", logout.sid.as_deref()), ("jti", Some(&*logout.jti))];
    for (name, found) in names {
        assert!(found == token.text(name) && found.is_none_or(is_name), "{name} is {found:?}");
    }
    assert!(logout.subject.is_some() || logout.sid.is_some(), "it ends nobody's session");
    assert_eq!(logout.issuer, ISSUER);
    let issued = TODAY - 330..=TODAY + 30;
    assert!(issued.contains(&logout.issued) && logout.expires > TODAY - 30, "{logout:?}");
    assert!(
        textbook.identity(&token).is_none() && textbook.caller(&token).is_none(),
        "it is of several kinds"
    );
    assert!(textbook.logout(&token).is_none(), "it counts twice");
    textbook.forget();
    assert_eq!(textbook.logout(&token.again()), Some(logout), "another the second time");
    true
}

/// An access token that an API caller sends.
pub fn bearer(data: &[u8]) -> bool {
    let textbook = Textbook::open();
    let Some(token) = Token::new(data, &textbook) else { return false };
    let Some(identity) = textbook.caller(&token) else { return false };
    token.is_ours();
    token.is_of_now();
    assert!(token.audience().contains(&CLIENT.into()), "it is for somebody else");
    let azp = token.text("azp").or_else(|| token.text("client_id"));
    assert!(azp.is_some_and(|azp| [CLIENT, CALLER].contains(&azp)), "{azp:?} may not call");
    assert!(
        !token.claims.contains_key("events") && !token.claims.contains_key("cnf"),
        "it is of another kind"
    );
    let media_type = token.header.get("typ").and_then(Value::as_str).unwrap_or_default().to_ascii_lowercase();
    let kind = token.claims.get("typ").map_or(media_type.ends_with("at+jwt"), |typ| typ == "Bearer");
    assert!(kind, "it is of another kind");
    let name = token.text("preferred_username").unwrap_or_default();
    assert!(!name.to_lowercase().starts_with("service-account-"), "{name} is no person");
    assert!(token.text("sub") == Some(&identity.subject) && is_name(&identity.subject));
    assert!(identity.issuer == ISSUER && identity.claims == token.claims);
    assert!(
        textbook.identity(&token).is_none() && textbook.logout(&token).is_none(),
        "it is of several kinds"
    );
    let again = textbook.caller(&token.again()).map(|identity| identity.subject);
    assert_eq!(again, Some(identity.subject), "somebody else the second time");
    true
}

/// What userinfo says, signed.
pub fn userinfo(data: &[u8]) -> bool {
    let textbook = Textbook::open();
    let Some(token) = Token::new(data, &textbook) else { return false };
    let Some(claims) = textbook.userinfo(&token) else { return false };
    token.is_ours();
    token.is_for_us();
    assert!(token.claims.get("exp").is_none_or(|exp| exp.as_f64().is_some_and(|exp| exp + SKEW > NOW - 1.0)));
    assert!(
        !token.claims.contains_key("typ") && !token.claims.contains_key("events"),
        "it is of another kind"
    );
    assert_eq!(claims, token.claims);
    assert!(textbook.logout(&token).is_none(), "it is of several kinds");
    assert!(textbook.userinfo(&token.again()).is_some(), "not the second time");
    true
}

/// A token, and what any JSON parser reads in it.
struct Token {
    /// With header, claims and signature.
    signed: String,
    header: Map<String, Value>,
    claims: Map<String, Value>,
    /// The access token.
    beside: String,
}

impl Token {
    fn new(data: &[u8], textbook: &Textbook) -> Option<Self> {
        let text = str::from_utf8(data).ok()?;
        let Some((header, rest)) = text.split_once('\n') else {
            let token = Self {
                signed: text.to_owned(),
                header: Map::new(),
                claims: Map::new(),
                beside: String::new(),
            };
            assert!(textbook.identity(&token).is_none(), "it is forged");
            assert!(textbook.logout(&token).is_none(), "it is forged");
            assert!(textbook.caller(&token).is_none(), "it is forged");
            assert!(textbook.userinfo(&token).is_none(), "it is forged");
            return None;
        };
        let (claims, access_token) = rest.split_once('\n').unwrap_or((rest, ""));
        Some(Self {
            signed: sign(header, claims),
            header: serde_json::from_str(header).unwrap_or_default(),
            claims: serde_json::from_str(claims).unwrap_or_default(),
            beside: access_token.to_owned(),
        })
    }

    /// The same, written in another way.
    fn again(&self) -> Self {
        let text = |map| serde_json::to_string(map).unwrap_or_default();
        Self {
            signed: sign(&text(&self.header), &text(&self.claims)),
            header: self.header.clone(),
            claims: self.claims.clone(),
            beside: self.beside.clone(),
        }
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.claims.get(name).and_then(Value::as_str)
    }

    fn number(&self, name: &str) -> Option<f64> {
        self.claims.get(name).and_then(Value::as_f64)
    }

    fn audience(&self) -> Vec<Value> {
        match self.claims.get("aud") {
            Some(Value::Array(list)) => list.clone(),
            one => one.cloned().into_iter().collect(),
        }
    }

    fn is_ours(&self) {
        assert_eq!(self.header.get("alg"), Some(&"EdDSA".into()), "it is signed in another way");
        assert!(self.header.get("crit").is_none_or(Value::is_null), "an extension is not understood");
        assert_eq!(self.text("iss"), Some(ISSUER));
    }

    fn is_for_us(&self) {
        let audience = self.audience();
        assert!(audience.contains(&CLIENT.into()), "it is for somebody else");
        let known = |one: &Value| *one == CLIENT || *one == ACCOUNT;
        assert!(audience.iter().all(known), "it is for others, too");
        let alone = audience.iter().all(|one| *one == CLIENT);
        assert!(self.claims.get("azp").map_or(alone, |azp| *azp == CLIENT), "it was made for somebody else");
    }

    fn is_of_now(&self) {
        assert!(self.number("exp").is_some_and(|exp| exp + SKEW > NOW - 1.0), "it has expired");
        assert!(self.number("iat").is_some_and(|iat| iat < NOW + SKEW + 1.0), "it is of tomorrow");
        let begun = |nbf: &Value| nbf.as_f64().is_some_and(|nbf| nbf < NOW + SKEW + 1.0);
        assert!(self.claims.get("nbf").is_none_or(begun), "it is for tomorrow");
    }
}

fn is_name(text: &str) -> bool {
    (1..=255).contains(&text.len())
}

fn sign(header: &str, claims: &str) -> String {
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let signature = URL_SAFE_NO_PAD.encode(KEY.sign(signed.as_bytes()));
    format!("{signed}.{signature}")
}

/// The provider whose key everybody knows. It is asked nothing, so nothing is waited for.
struct Textbook {
    provider: MutexGuard<'static, Provider>,
    known: Arc<Known>,
}

impl Textbook {
    fn open() -> Self {
        let provider = PROVIDER.lock().unwrap_or_else(PoisonError::into_inner);
        let known = provider.0.known.load_full().unwrap();
        let mut textbook = Self { provider, known };
        textbook.forget();
        textbook
    }

    /// The logout tokens that it has seen.
    fn forget(&mut self) {
        Arc::get_mut(&mut self.provider.0).unwrap().used = Used::default();
    }

    fn identity(&self, token: &Token) -> Option<Identity> {
        let keys = self.known.keys.as_ref()?;
        let occasion = Occasion::Login { nonce: NONCE };
        let identity = self.provider.identity(&self.known, keys, occasion, &token.signed, &token.beside);
        identity.now_or_never()?.ok()
    }

    fn logout(&self, token: &Token) -> Option<LogoutToken> {
        self.provider.logout_token(&token.signed).now_or_never()?.ok()
    }

    fn userinfo(&self, token: &Token) -> Option<Map<String, Value>> {
        self.provider.signed_userinfo(&self.known, token.signed.as_bytes()).now_or_never()?.ok()
    }

    fn caller(&self, token: &Token) -> Option<Identity> {
        self.provider.bearer(&token.signed).now_or_never()?.ok()
    }
}

static PROVIDER: LazyLock<Mutex<Provider>> = LazyLock::new(|| {
    let secret = SecretSource::Env("NOT_READ_HERE".to_owned());
    let config = config::Provider {
        signing_algorithms: SIGNING.to_vec(),
        trusted_audiences: vec![ACCOUNT.to_owned()],
        api_clients: vec![CALLER.to_owned()],
        ..config::Provider::of_issuer(ISSUER, CLIENT, secret)
    };
    let callback = Url::parse("https://hub.example/hub/oauth_callback").unwrap();
    let provider = Provider::new(&config, callback, Secret::new("secret"), Clock::manual(TODAY)).unwrap();
    let description = read(DESCRIPTION.as_bytes(), ISSUER, &DOCUMENT, &ALGORITHMS, &HTTP).unwrap();
    let keys = usable_keys(KEYS.as_bytes(), &ALGORITHMS).unwrap();
    let keys = Keys::fixed(description.jwks_uri().url().clone(), ALGORITHMS.clone(), keys);
    provider.0.known.store(Some(Arc::new(Known::new(&description, keys).unwrap())));
    Mutex::new(provider)
});

const DESCRIPTION: &str = r#"{"issuer": "https://kc.example/realms/r", "authorization_endpoint": "https://kc.example/auth",
    "token_endpoint": "https://kc.example/token", "jwks_uri": "https://kc.example/certs",
    "response_types_supported": ["code"], "subject_types_supported": ["public"],
    "id_token_signing_alg_values_supported": ["EdDSA"]}"#;

/// RFC 8037, appendix A.2.
const KEYS: &str = r#"{"keys": [{"kty": "OKP", "crv": "Ed25519", "use": "sig", "kid": "k1",
    "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;
static KEY: LazyLock<Ed25519KeyPair> = LazyLock::new(|| {
    let seed = URL_SAFE_NO_PAD.decode("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A").unwrap();
    Ed25519KeyPair::from_seed_unchecked(&seed).unwrap()
});

const CLIENT: &str = "hub";
/// A client that may get our tokens.
const ACCOUNT: &str = "account";
/// A client that may call.
const CALLER: &str = "hub-cli";
const NONCE: &str = "n-0S6_WzA2Mj";
const TODAY: Timestamp = 1_700_000_000;
const NOW: f64 = 1_700_000_000.0;
const SKEW: f64 = 30.0;
