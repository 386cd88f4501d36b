//! Logins at a provider that keeps to the rules, and at one that does not.

mod bearer;
mod client;
mod conformance;
mod description;
mod keys;
mod lies;
mod logout;
mod outage;
mod refresh;
mod request;
mod rp_login;
mod rp_tokens;
mod userinfo;

use std::time::Duration;

use hubgate::clock::Clock;
use hubgate::config::{self, Span};
use hubgate::identity::Identity;
use hubgate::oidc::{Answer, Login, OidcError, Provider, Tokens, Want};
use hubgate::secret::{Secret, SecretSource};
use serde_json::json;
use support::provider::{Lie, Provider as Fake};
use url::Url;

/// Some day in 2023.
const NOW: u64 = 1_700_000_000;
const CALLBACK: &str = "https://hub.example/hub/oauth_callback";

/// A provider, and hubgate's side of it.
struct Pair {
    fake: Fake,
    provider: Provider,
    clock: Clock,
}

impl Pair {
    /// Found by its issuer.
    async fn start() -> Self {
        Self::with(|_config| {}).await
    }

    async fn with(change: impl FnOnce(&mut config::Provider)) -> Self {
        let fake = Fake::start().await;
        fake.set_time(NOW);
        fake.register(CALLBACK);
        let mut config = by_issuer(&fake.issuer());
        change(&mut config);
        let clock = Clock::manual(NOW);
        let provider = provider(&config, &clock).unwrap();
        Self { fake, provider, clock }
    }

    /// Told by three URLs.
    async fn by_urls() -> Self {
        let fake = Fake::start().await;
        fake.set_time(NOW);
        let clock = Clock::manual(NOW);
        let provider = provider(&by_urls(&fake), &clock).unwrap();
        Self { fake, provider, clock }
    }

    /// One whole login.
    async fn log_in(&self) -> Result<(Identity, Tokens), OidcError> {
        let (login, answer) = self.sign_in().await;
        self.provider.finish(&login, &Answer::parse(&answer)?).await
    }

    /// A login up to the callback, and its query.
    async fn sign_in(&self) -> (Login, String) {
        let (url, login) = self.provider.begin(&Want::default()).await.unwrap();
        (login, self.fake.sign_in(&url).await)
    }
}

pub(crate) fn by_issuer(issuer: &str) -> config::Provider {
    let secret = SecretSource::Env("NOT_READ_HERE".to_owned());
    config::Provider {
        // Not what these tests are about: a machine that is busy is not a provider that hangs.
        timeout: Span::seconds(60),
        ..config::Provider::of_issuer(issuer, Fake::CLIENT_ID, secret)
    }
}

fn by_urls(fake: &Fake) -> config::Provider {
    config::Provider {
        issuer: None,
        authorize_url: Some(fake.endpoint("auth")),
        token_url: Some(fake.endpoint("token")),
        userdata_url: Some(fake.endpoint("userinfo")),
        ..by_issuer("")
    }
}

pub(crate) fn provider(config: &config::Provider, clock: &Clock) -> Result<Provider, OidcError> {
    Provider::new(config, Url::parse(CALLBACK).unwrap(), Secret::new(Fake::CLIENT_SECRET), clock.clone())
}

/// The error with all its causes.
fn chain(error: &OidcError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

#[tokio::test]
async fn a_login_says_who_it_is() {
    let pair = Pair::start().await;
    pair.fake.user("alice", json!({"groups": ["/lab", "/lab/alpha"]}));
    let (identity, tokens) = pair.log_in().await.unwrap();
    assert_eq!(identity.issuer, pair.fake.issuer());
    assert_eq!(identity.subject, "f:ldap:alice");
    assert_eq!(identity.claims["preferred_username"], "alice");
    assert_eq!(identity.strings(&["groups"]), ["/lab", "/lab/alpha"]);
    assert!(identity.sid.is_some());
    assert!(tokens.id_token.is_some() && tokens.access_token.is_some() && tokens.refresh_token.is_some());
}

#[tokio::test]
async fn the_browser_is_sent_with_everything_that_protects_the_login() {
    let pair = Pair::start().await;
    let (url, login) = pair.provider.begin(&Want::default()).await.unwrap();
    let parameter = |name: &str| {
        let mut values =
            url.query_pairs().filter(|(known, _)| known == name).map(|(_, value)| value.into_owned());
        let first = values.next();
        assert_eq!(values.next(), None, "{name} is there once");
        first.unwrap_or_default()
    };
    assert!(url.as_str().starts_with(pair.fake.endpoint("auth").as_str()));
    assert_eq!(parameter("response_type"), "code");
    assert_eq!(parameter("client_id"), Fake::CLIENT_ID);
    assert_eq!(parameter("redirect_uri"), CALLBACK);
    assert_eq!(parameter("scope"), "openid profile email");
    assert_eq!(parameter("code_challenge_method"), "S256");
    assert_eq!(parameter("code_challenge").len(), 43);
    assert_eq!((parameter("state"), parameter("nonce")), (login.state.clone(), login.nonce.clone()));
    assert_eq!(login.issuer, pair.fake.issuer());
    assert!(!url.as_str().contains(&login.verifier));
    let (_, other) = pair.provider.begin(&Want::default()).await.unwrap();
    for (one, two) in
        [(&login.state, &other.state), (&login.nonce, &other.nonce), (&login.verifier, &other.verifier)]
    {
        assert!(one != two && one.len() >= 43, "256 random bits each time");
    }
}

#[tokio::test]
async fn secrets_go_to_the_token_endpoint_only() {
    let pair = Pair::start().await;
    let (_, tokens) = pair.log_in().await.unwrap();
    let access_token = tokens.access_token.unwrap();
    for seen in pair.fake.requests() {
        let (path, authorization) = (seen.path.clone(), seen.authorization.clone().unwrap_or_default());
        match path.rsplit('/').next().unwrap() {
            "token" => {
                assert!(authorization.starts_with("Basic "));
                assert!(seen.form.iter().all(|(name, _)| name != "client_secret"));
                assert_eq!((seen.method.as_str(), seen.query.len()), ("POST", 0));
                assert_eq!(seen.form_value("grant_type"), Some("authorization_code"), "never a password");
            }
            "userinfo" => {
                assert_eq!(authorization, format!("Bearer {}", access_token.expose()));
                assert!(seen.query.is_empty() && seen.form.is_empty(), "a token is in no address");
            }
            _ => assert_eq!(authorization, "", "{path}"),
        }
    }
    assert_eq!(pair.fake.count("token"), 1);
}

#[tokio::test]
async fn the_provider_is_asked_as_by_a_server_and_hears_nothing_of_browsers() {
    let pair = Pair::with(|config| config.pushed_requests = true).await;
    let (url, login) = pair.provider.begin(&Want::default()).await.unwrap();
    let answer = Answer::parse(&pair.fake.sign_in(&url).await).unwrap();
    let (identity, tokens) = pair.provider.finish(&login, &answer).await.unwrap();
    pair.provider.refresh(&identity, &tokens).await.unwrap();
    pair.provider.revoke(tokens.refresh_token.as_ref().unwrap()).await.unwrap();
    let ours: Vec<_> =
        pair.fake.requests().into_iter().filter(|seen| !seen.path.ends_with("/auth")).collect();
    assert_eq!(ours.len(), 8, "description, keys, request, two for tokens, two for userinfo, revocation");
    for seen in ours {
        for field in &seen.fields {
            // `Origin` would make it a browser's call, which the client's web origins have a say in.
            let plain = ["accept", "authorization", "content-length", "content-type", "host"];
            assert!(plain.contains(&field.as_str()), "{}: {field}", seen.path);
        }
        assert!(!seen.path.contains(';'), "Keycloak refuses matrix parameters: {}", seen.path);
    }
}

#[tokio::test]
async fn a_provider_told_by_urls_is_asked_for_userinfo() {
    let pair = Pair::by_urls().await;
    pair.fake.user("bob", json!({"groups": ["/lab"]}));
    let (identity, tokens) = pair.log_in().await.unwrap();
    assert_eq!(identity.issuer, pair.fake.issuer());
    assert_eq!(identity.subject, "f:ldap:bob");
    assert_eq!(identity.strings(&["groups"]), ["/lab"]);
    assert_eq!(identity.sid, None);
    assert!(tokens.access_token.is_some());
    assert_eq!((pair.fake.count("openid-configuration"), pair.fake.count("certs")), (0, 0));
}

#[tokio::test]
async fn a_provider_told_by_urls_may_be_one_without_openid() {
    let pair = Pair::by_urls().await;
    pair.fake.lie(Lie::TokenNoIdToken);
    pair.fake.lie(Lie::AnswerNoIss);
    let (identity, tokens) = pair.log_in().await.unwrap();
    assert_eq!(identity.claims["preferred_username"], "alice");
    assert!(tokens.id_token.is_none());
}

#[tokio::test]
async fn a_provider_told_by_urls_must_say_who_it_is() {
    let pair = Pair::by_urls().await;
    pair.fake.lie(Lie::UserinfoNoSubject);
    let error = pair.log_in().await.unwrap_err();
    assert!(error.to_string().contains("sub is missing"), "{error}");
}

#[tokio::test]
async fn an_answer_from_another_realm_is_refused_by_urls_too() {
    let pair = Pair::by_urls().await;
    pair.fake.lie(Lie::AnswerOtherIss);
    assert_eq!(pair.log_in().await.unwrap_err().kind(), "mismatch");
}

#[tokio::test]
async fn roles_are_taken_from_an_access_token_for_us() {
    let pair = Pair::start().await;
    let roles = json!({
        "realm_access": {"roles": ["hub-user"]}, "resource_access": {"hub": {"roles": ["admin"]}},
        "scope_of_secret": "in all",
    });
    pair.fake.user("alice", roles);
    let (identity, _) = pair.log_in().await.unwrap();
    assert_eq!(identity.strings(&["realm_access", "roles"]), ["hub-user"]);
    assert_eq!(identity.strings(&["resource_access", "hub", "roles"]), ["admin"]);
    assert_eq!(identity.claims.get("allowed-origins"), None, "nothing else is");
    pair.fake.lie(Lie::AccessTokenNoSubject);
    let (identity, _) = pair.log_in().await.unwrap();
    assert_eq!(identity.strings(&["realm_access", "roles"]), ["hub-user"]);
}

#[tokio::test]
async fn roles_of_an_access_token_for_others_are_ignored() {
    let pair = Pair::start().await;
    pair.fake.user("alice", json!({"realm_access": {"roles": ["hub-user"]}}));
    for lie in [
        Lie::AccessTokenOpaque,
        Lie::AccessTokenOtherAzp,
        Lie::AccessTokenOtherIssuer,
        Lie::AccessTokenOtherSubject,
        Lie::AccessTokenOtherKind,
        Lie::AccessTokenExpired,
        Lie::AccessTokenOld,
        Lie::AccessTokenBadSignature,
    ] {
        pair.fake.be_honest();
        pair.fake.lie(lie);
        let (identity, _) = pair.log_in().await.unwrap();
        assert_eq!(identity.claims.get("realm_access"), None, "{lie:?}");
    }
}

#[tokio::test]
async fn mapped_roles_are_taken_as_they_are() {
    let pair = Pair::start().await;
    pair.fake.map_roles();
    pair.fake.lie(Lie::AccessTokenOpaque);
    pair.fake.user("alice", json!({"realm_access": {"roles": ["hub-user"]}}));
    let (identity, _) = pair.log_in().await.unwrap();
    assert_eq!(identity.strings(&["realm_access", "roles"]), ["hub-user"]);
}

#[tokio::test]
async fn a_code_from_another_browser_is_refused() {
    let pair = Pair::start().await;
    let (victim, _) = pair.sign_in().await;
    let (attacker, answer) = pair.sign_in().await;
    let answer = answer.replace(&attacker.state, &victim.state);
    let error = pair.provider.finish(&victim, &Answer::parse(&answer).unwrap()).await.unwrap_err();
    assert!(matches!(&error, OidcError::Refused { error, .. } if error == "invalid_grant"), "{error:?}");
}

#[tokio::test]
async fn an_answer_to_another_login_is_refused_before_its_code_is_used() {
    let pair = Pair::start().await;
    let (login, _) = pair.sign_in().await;
    let (_, answer) = pair.sign_in().await;
    let error = pair.provider.finish(&login, &Answer::parse(&answer).unwrap()).await.unwrap_err();
    assert_eq!(error.kind(), "mismatch");
    assert_eq!(pair.fake.count("token"), 0);
}

#[tokio::test]
async fn a_login_that_began_at_another_provider_is_refused() {
    let (one, two) = (Pair::start().await, Pair::start().await);
    one.fake.lie(Lie::AnswerNoIss);
    two.fake.lie(Lie::DiscoveryNoIssPromise);
    let (login, answer) = one.sign_in().await;
    let error = two.provider.finish(&login, &Answer::parse(&answer).unwrap()).await.unwrap_err();
    assert_eq!(error.kind(), "mismatch");
    assert_eq!(two.fake.count("token"), 0, "the code stays with whoever gave it");
}

#[tokio::test]
async fn a_wrong_client_secret_has_a_remedy() {
    let fake = Fake::start().await;
    let clock = Clock::system();
    let secret = Secret::new("se-canary");
    let provider =
        Provider::new(&by_issuer(&fake.issuer()), Url::parse(CALLBACK).unwrap(), secret, clock).unwrap();
    let (url, login) = provider.begin(&Want::default()).await.unwrap();
    let answer = Answer::parse(&fake.sign_in(&url).await).unwrap();
    let error = provider.finish(&login, &answer).await.unwrap_err();
    assert!(
        matches!(&error, OidcError::Refused { error, .. } if error == "unauthorized_client"),
        "{error:?}"
    );
    assert!(error.remedy().contains("provider.client_secret"));
    assert!(!format!("{error:?} {} {provider:?}", chain(&error)).contains("canary"));
}

#[tokio::test]
async fn a_clock_that_is_a_little_off_does_not_matter() {
    for now in [NOW - 30, NOW + 30] {
        let pair = Pair::start().await;
        pair.fake.set_time(now);
        pair.log_in().await.unwrap();
    }
}

#[tokio::test]
async fn a_clock_that_is_far_off_is_named() {
    for now in [NOW - 600, NOW + 600] {
        let pair = Pair::start().await;
        pair.fake.set_time(now);
        let error = pair.log_in().await.unwrap_err();
        assert!(error.to_string().contains("clock"), "{error}");
        assert!(error.remedy().contains("provider.clock_skew"));
    }
}

#[tokio::test]
async fn logout_leads_to_the_provider_and_back() {
    let pair = Pair::start().await;
    let back = Url::parse("https://hub.example/hub/logout").unwrap();
    assert_eq!(pair.provider.logout_url(None, &back, None), None, "not known yet");
    let (_, tokens) = pair.log_in().await.unwrap();
    pair.fake.register_after_logout(back.as_str());
    for id_token in [tokens.id_token.as_ref(), None] {
        let url = pair.provider.logout_url(id_token, &back, None).unwrap();
        assert_eq!(pair.fake.visit(&url).await, Ok(back.clone()));
    }
    let seen = pair.fake.requests();
    let hint = seen.iter().rev().nth(1).unwrap().query_value("id_token_hint").unwrap();
    assert!(tokens.id_token.unwrap().matches(hint));
}
