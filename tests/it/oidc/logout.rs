//! Logout: from here at the provider, and from there here.

use support::provider::{Draft, Signed};

use super::*;

const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";

/// A session there, by its `sid`.
const SID: &str = "wn2fS0GxBKsCsLP2jGDGSpiN";

async fn refused(pair: &Pair, token: &Draft, words: &str) {
    let error = pair.provider.logout_token(&token.token()).await.unwrap_err();
    assert_eq!(error.reason().kind(), "untrusted", "{error:?}");
    assert!(chain(error.reason()).contains(words), "{token:?}: {}", chain(error.reason()));
}

#[tokio::test]
async fn a_logout_token_says_whose_session_ends() {
    let pair = Pair::start().await;
    let token = pair.provider.logout_token(&pair.fake.logout_token(Some(SID)).token()).await.unwrap();
    assert_eq!(token.issuer, pair.fake.issuer());
    assert_eq!((token.subject.as_deref(), token.sid.as_deref()), (Some("f:ldap:alice"), Some(SID)));
    assert_eq!((token.issued, token.expires, token.offline), (NOW, NOW + 120, false));
    let all = pair.fake.logout_token(None).token();
    let token = pair.provider.logout_token(&all).await.unwrap();
    assert_eq!((token.subject.as_deref(), token.sid), (Some("f:ldap:alice"), None));
    let one = pair.fake.logout_token(Some(SID)).without("sub").token();
    let token = pair.provider.logout_token(&one).await.unwrap();
    assert_eq!((token.subject, token.sid.as_deref()), (None, Some(SID)));
}

#[tokio::test]
async fn logout_tokens_of_other_ages_and_makers_are_taken() {
    let pair = Pair::start().await;
    let token = || pair.fake.logout_token(Some(SID));
    for good in [
        token().header("typ", "JWT"),
        token().header("typ", "application/logout+jwt"),
        token().header("typ", json!(null)),
        token().without("typ"),
        token().claim("aud", json!([Fake::CLIENT_ID])),
        token().claim("events", json!({EVENT: {"x": 1}, "other": {}})),
        token().claim("iat", NOW - 100).claim("exp", NOW + 20),
        token().claim("iat", NOW + 30),
        token().without("exp"),
        token().claim("jti", "onrtlt:4cd0e8f5-5b1c"),
    ] {
        pair.provider.logout_token(&good.token()).await.unwrap_or_else(|error| panic!("{good:?}: {error}"));
    }
}

#[tokio::test]
async fn a_logout_token_that_ends_offline_access_says_so() {
    let pair = Pair::start().await;
    for (value, offline) in [(json!(true), true), (json!(false), false), (json!("true"), false)] {
        let events = json!({EVENT: {}, "revoke_offline_access": value});
        let token = pair.fake.logout_token(Some(SID)).claim("events", events).token();
        assert_eq!(pair.provider.logout_token(&token).await.unwrap().offline, offline);
    }
}

#[tokio::test]
async fn any_other_logout_token_is_refused() {
    let pair = Pair::start().await;
    let token = || pair.fake.logout_token(Some(SID));
    for (bad, words) in [
        (token().without("iss"), "another issuer"),
        (token().claim("iss", format!("{}/", pair.fake.issuer())), "another issuer"),
        (token().without("aud"), "audience"),
        (token().claim("aud", json!([])), "another client"),
        (token().claim("aud", json!([Fake::CLIENT_ID, "other"])), "other clients too"),
        (token().without("iat"), "iat"),
        (token().without("iat").without("exp"), "exp"),
        (token().claim("iat", NOW + 31), "clock"),
        (token().claim("iat", NOW - 400), "clock"),
        (token().claim("iat", NOW - 151).without("exp"), "clock"),
        (token().claim("exp", NOW - 30), "clock"),
        (token().claim("exp", "1700000300"), "time"),
        (token().claim("iat", 1e300), "time"),
        (token().claim("iat", -1), "time"),
        (token().without("jti"), "jti"),
        (token().claim("jti", ""), "name"),
        (token().claim("jti", json!(["a"])), "name"),
        (token().claim("jti", "j".repeat(256)), "name"),
        (token().claim("sid", json!(7)), "name"),
        (token().claim("sub", "s".repeat(256)), "name"),
        (token().without("sid").without("sub"), "neither"),
        (token().without("events"), "events"),
        (token().claim("events", json!(EVENT)), "events"),
        (token().claim("events", json!([EVENT])), "events"),
        (token().claim("events", json!({EVENT: null})), "events"),
        (token().claim("events", json!({EVENT: true})), "events"),
        (token().claim("events", json!({EVENT: []})), "events"),
        (
            token().claim("events", json!({"http://schemas.openid.net/event/backchannel-logout/": {}})),
            "events",
        ),
        (token().claim("events", json!({"revoke_offline_access": true})), "events"),
        (token().claim("nonce", json!(null)), "nonce"),
        (token().claim("typ", "ID"), "another kind"),
        (token().claim("typ", "Bearer"), "another kind"),
        (token().claim("typ", json!(["Logout"])), "another kind"),
        (token().header("typ", "at+jwt"), "another kind"),
        (token().header("typ", "dpop+jwt"), "another kind"),
        (token().header("crit", json!(["exp"])), "must be understood"),
        (token().signed(Signed::ByAnotherKey), "signature"),
        (token().signed(Signed::Not), "signature"),
        (token().signed(Signed::ByAnUnknownKey), "no key"),
        (token().signed(Signed::ByPublicKey), "\"HS256\""),
        (token().signed(Signed::Ps256), "\"PS256\""),
    ] {
        refused(&pair, &bad, words).await;
    }
    let long = token().claim("more", "x".repeat(16 * 1024));
    refused(&pair, &long, "too long").await;
    for text in ["", "x", "..", "a.b.c", &"x".repeat(1024 * 1024)] {
        assert_eq!(pair.provider.logout_token(text).await.unwrap_err().reason().kind(), "untrusted");
    }
}

#[tokio::test]
async fn a_logout_token_counts_once() {
    let pair = Pair::start().await;
    let token = pair.fake.logout_token(Some(SID));
    pair.provider.logout_token(&token.token()).await.unwrap();
    refused(&pair, &token, "used before").await;
    let again = pair.fake.logout_token(Some(SID)).token();
    pair.provider.logout_token(&again).await.unwrap();
    pair.clock.advance(Duration::from_secs(149));
    refused(&pair, &token, "used before").await;
    pair.clock.advance(Duration::from_secs(1));
    refused(&pair, &token, "expired").await;
}

#[tokio::test]
async fn a_logout_token_that_is_refused_spends_no_name() {
    let pair = Pair::start().await;
    let good = pair.fake.logout_token(Some(SID)).claim("jti", "the-name");
    refused(&pair, &good.clone().signed(Signed::ByAnotherKey), "signature").await;
    refused(&pair, &good.clone().claim("nonce", "n"), "nonce").await;
    pair.provider.logout_token(&good.token()).await.unwrap();
}

#[tokio::test]
async fn a_logout_token_of_a_new_key_is_taken_at_once() {
    let pair = Pair::start().await;
    pair.provider.ready().await.unwrap();
    pair.fake.rotate_keys();
    pair.provider.logout_token(&pair.fake.logout_token(Some(SID)).token()).await.unwrap();
    assert_eq!(pair.fake.count("certs"), 2);
}

#[tokio::test]
async fn a_logout_token_may_be_signed_in_each_way_that_the_configuration_lists() {
    use hubgate::config::SigningAlgorithm as Algorithm;
    for (algorithm, configured) in [
        ("RS512", Algorithm::Rs512),
        ("PS256", Algorithm::Ps256),
        ("ES256", Algorithm::Es256),
        ("ES384", Algorithm::Es384),
        ("EdDSA", Algorithm::EdDsa),
    ] {
        let pair = Pair::with(|config| config.signing_algorithms = vec![configured, Algorithm::Rs256]).await;
        pair.fake.sign_by(algorithm);
        let token = pair.provider.logout_token(&pair.fake.logout_token(Some(SID)).token()).await;
        let token = token.unwrap_or_else(|error| panic!("{algorithm}: {}", chain(error.reason())));
        assert_eq!(token.sid.as_deref(), Some(SID), "{algorithm}");
        refused(&pair, &pair.fake.logout_token(Some(SID)).signed(Signed::ByAnotherKey), "").await;
        // By another provider's configuration it would not do.
        let other = Pair::start().await;
        other.fake.sign_by(algorithm);
        refused(&other, &other.fake.logout_token(Some(SID)), "signing_algorithms").await;
    }
}

#[tokio::test]
async fn a_logout_token_from_before_a_revocation_is_refused() {
    let pair = Pair::start().await;
    pair.fake.set_not_before(NOW);
    pair.log_in().await.unwrap();
    refused(&pair, &pair.fake.logout_token(Some(SID)).claim("iat", NOW - 1), "not-before").await;
}

#[tokio::test]
async fn a_logout_token_at_a_provider_told_by_urls_has_a_remedy() {
    let pair = Pair::by_urls().await;
    let error = pair.provider.logout_token(&pair.fake.logout_token(None).token()).await.unwrap_err();
    assert_eq!(error.reason().kind(), "settings");
    assert!(error.to_string().contains("provider.issuer"), "{error}");
}

#[tokio::test]
async fn tokens_of_other_kinds_are_no_logout_tokens() {
    let pair = Pair::start().await;
    let (_, tokens) = pair.log_in().await.unwrap();
    for token in [&tokens.id_token, &tokens.access_token, &tokens.refresh_token] {
        let error = pair.provider.logout_token(token.as_ref().unwrap().expose()).await.unwrap_err();
        assert_eq!(error.reason().kind(), "untrusted", "{error}");
    }
}

#[tokio::test]
async fn logout_leads_to_the_provider_and_back_with_our_state() {
    let pair = Pair::start().await;
    let back = Url::parse("https://hub.example/hub/logout").unwrap();
    let (identity, tokens) = pair.log_in().await.unwrap();
    let url = pair.provider.logout_url(tokens.id_token.as_ref(), &back, Some("s t")).unwrap();
    let returned = pair.fake.visit(&url).await.unwrap();
    assert_eq!(returned.as_str(), "https://hub.example/hub/logout?state=s+t");
    let error = pair.provider.refresh(&identity, &tokens).await.unwrap_err();
    assert!(error.to_string().contains("Session not active"), "the hint names the session: {error}");
}

#[tokio::test]
async fn a_revoked_refresh_token_opens_nothing() {
    let pair = Pair::with(|config| config.scopes.push("offline_access".to_owned())).await;
    let (identity, tokens) = pair.log_in().await.unwrap();
    pair.provider.revoke(tokens.refresh_token.as_ref().unwrap()).await.unwrap();
    let seen = pair.fake.requests();
    let seen = seen.iter().rfind(|seen| seen.path.ends_with("/revoke")).unwrap();
    assert_eq!(seen.form_value("token_type_hint"), Some("refresh_token"));
    assert!(seen.authorization.is_some());
    let error = pair.provider.refresh(&identity, &tokens).await.unwrap_err();
    assert!(matches!(&error, OidcError::Refused { error, .. } if error == "invalid_grant"), "{error}");
}

#[tokio::test]
async fn a_token_that_cannot_be_revoked_is_an_error_and_no_more() {
    let pair = Pair::start().await;
    let (_, tokens) = pair.log_in().await.unwrap();
    pair.fake.lie(Lie::RevocationServerError);
    let token = tokens.refresh_token.unwrap();
    assert_eq!(pair.provider.revoke(&token).await.unwrap_err().kind(), "unreachable");
    let pair = Pair::by_urls().await;
    pair.provider.revoke(&token).await.unwrap();
    assert_eq!(pair.fake.count("revoke"), 0, "it has no place for that");
}
