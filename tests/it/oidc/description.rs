//! Finding the provider.

use std::path::Path;

use super::*;

type Change<'a> = &'a dyn Fn(&mut config::Provider);

async fn refuses(lie: Lie, kind: &str, words: &str) {
    let pair = Pair::start().await;
    pair.fake.lie(lie);
    let error = pair.provider.ready().await.unwrap_err();
    assert_eq!(error.kind(), kind, "{error:?}");
    assert!(chain(&error).contains(words), "{}", chain(&error));
    assert!(!pair.provider.is_ready());
    assert!(pair.provider.begin(&Want::default()).await.is_err());
    pair.fake.be_honest();
    pair.provider.ready().await.unwrap();
    assert!(pair.provider.is_ready());
    pair.log_in().await.unwrap();
}

#[tokio::test]
async fn another_issuer_is_refused_and_both_are_named() {
    let pair = Pair::start().await;
    pair.fake.lie(Lie::DiscoveryOtherIssuer);
    let error = pair.provider.ready().await.unwrap_err().to_string();
    let issuer = pair.fake.issuer();
    assert!(error.contains(&format!("{issuer:?}")) && error.contains(&format!("\"{issuer}/\"")), "{error}");
    refuses(Lie::DiscoveryOtherIssuer, "settings", "calls itself").await;
}

#[tokio::test]
async fn a_slash_after_the_issuer_is_refused_and_both_are_named() {
    let fake = Fake::start().await;
    let configured = format!("{}/", fake.issuer());
    let provider = provider(&by_issuer(&configured), &Clock::system()).unwrap();
    let error = provider.ready().await.unwrap_err();
    assert_eq!(error.kind(), "settings");
    let text = error.to_string();
    assert!(
        text.contains(&format!("{configured:?}")) && text.contains(&format!("{:?}", fake.issuer())),
        "{text}"
    );
}

/// The provider calls itself by its public name, wherever it is asked.
async fn inside(public: &str) -> (Fake, config::Provider) {
    let fake = Fake::start().await;
    fake.set_time(NOW);
    let mut config = by_issuer(public);
    config.discovery_url = Some(fake.description_url());
    fake.call_itself(public);
    (fake, config)
}

#[tokio::test]
async fn a_provider_may_be_asked_at_an_address_inside() {
    let public = "https://kc.example/realms/test";
    let (fake, config) = inside(public).await;
    let provider = provider(&config, &Clock::manual(NOW)).unwrap();
    let (url, login) = provider.begin(&Want::default()).await.unwrap();
    assert!(
        url.as_str().starts_with("https://kc.example/realms/test/protocol/openid-connect/auth?"),
        "{url}"
    );
    let answer = Answer::parse(&fake.sign_in(&url).await).unwrap();
    let (identity, _) = provider.finish(&login, &answer).await.unwrap();
    assert_eq!(identity.issuer, public);
    assert_eq!((fake.count("token"), fake.count("userinfo"), fake.count("certs")), (1, 1, 1));
    let back = Url::parse("https://hub.example/hub/logout").unwrap();
    let logout = provider.logout_url(None, &back, None).unwrap();
    assert!(logout.as_str().starts_with("https://kc.example/"), "browsers go there: {logout}");
}

#[tokio::test]
async fn what_is_read_inside_must_still_be_the_issuers() {
    let (fake, config) = inside("https://kc.example/realms/test").await;
    fake.call_itself("https://other.example/realms/test");
    let error = provider(&config, &Clock::manual(NOW)).unwrap().ready().await.unwrap_err();
    assert_eq!(error.kind(), "settings");
    assert!(error.to_string().contains("https://kc.example/realms/test"), "{error}");
    assert!(error.to_string().contains("https://other.example/realms/test"), "{error}");
}

#[tokio::test]
async fn a_realm_below_auth_is_found_there_only() {
    let fake = Fake::start().await;
    fake.set_time(NOW);
    let without = fake.issuer();
    fake.below("/auth");
    let clock = Clock::manual(NOW);
    let error = provider(&by_issuer(&without), &clock).unwrap().ready().await.unwrap_err();
    assert_eq!(error.kind(), "settings");
    assert!(chain(&error).contains("404"), "{}", chain(&error));
    assert_eq!(fake.requests().len(), 1, "no other path is guessed");
    let provider = provider(&by_issuer(&fake.issuer()), &clock).unwrap();
    let (url, login) = provider.begin(&Want::default()).await.unwrap();
    let answer = Answer::parse(&fake.sign_in(&url).await).unwrap();
    let (identity, _) = provider.finish(&login, &answer).await.unwrap();
    assert!(identity.issuer.ends_with("/auth/realms/test"), "{}", identity.issuer);
}

#[tokio::test]
async fn a_realm_that_does_not_exist_is_a_wrong_setting() {
    refuses(Lie::DiscoveryNotFound, "settings", "404").await;
}

#[tokio::test]
async fn a_page_in_place_of_a_description_is_an_outage() {
    refuses(Lie::DiscoveryHtml, "unreachable", "not JSON").await;
}

#[tokio::test]
async fn a_redirect_in_place_of_a_description_is_not_followed() {
    refuses(Lie::DiscoveryRedirect, "unreachable", "302").await;
}

#[tokio::test]
async fn a_provider_that_is_starting_is_an_outage() {
    refuses(Lie::DiscoveryServerError, "unreachable", "503").await;
}

#[tokio::test]
async fn a_provider_with_plain_pkce_only_is_refused() {
    refuses(Lie::DiscoveryOnlyPlainPkce, "settings", "plain").await;
}

#[tokio::test]
async fn an_endpoint_without_tls_is_refused() {
    refuses(Lie::DiscoveryInsecureTokenEndpoint, "settings", "token_endpoint is http://provider.example")
        .await;
}

#[tokio::test]
async fn keys_that_cannot_be_fetched_are_an_outage() {
    refuses(Lie::KeysServerError, "unreachable", "500").await;
}

#[tokio::test]
async fn a_provider_without_usable_keys_is_refused() {
    refuses(Lie::KeysEmpty, "settings", "no usable keys").await;
}

#[tokio::test]
async fn a_provider_may_not_list_pkce() {
    let pair = Pair::start().await;
    pair.fake.lie(Lie::DiscoveryNoPkce);
    pair.log_in().await.unwrap();
}

#[tokio::test]
async fn a_provider_may_have_no_userinfo() {
    let pair = Pair::start().await;
    pair.fake.lie(Lie::DiscoveryNoUserinfo);
    let (identity, _) = pair.log_in().await.unwrap();
    assert_eq!(identity.claims["preferred_username"], "alice");
    assert_eq!(pair.fake.count("userinfo"), 0);
}

#[tokio::test]
async fn a_provider_that_promises_no_iss_may_leave_it_out() {
    let pair = Pair::start().await;
    pair.fake.lie(Lie::DiscoveryNoIssPromise);
    pair.fake.lie(Lie::AnswerNoIss);
    pair.log_in().await.unwrap();
    pair.fake.be_honest();
    pair.fake.lie(Lie::AnswerOtherIss);
    assert_eq!(pair.log_in().await.unwrap_err().kind(), "mismatch");
}

#[tokio::test]
async fn the_description_is_asked_for_once() {
    let pair = Pair::start().await;
    for _ in 0..3 {
        pair.provider.ready().await.unwrap();
        pair.log_in().await.unwrap();
    }
    assert_eq!((pair.fake.count("openid-configuration"), pair.fake.count("certs")), (1, 1));
}

#[tokio::test]
async fn many_who_come_first_ask_once() {
    let pair = Pair::start().await;
    let all = futures_util::future::join_all((0..20).map(|_| pair.provider.ready())).await;
    assert!(all.iter().all(Result::is_ok));
    assert_eq!((pair.fake.count("openid-configuration"), pair.fake.count("certs")), (1, 1));
}

#[tokio::test]
async fn settings_that_cannot_be_safe_are_refused_at_once() {
    let fake = Fake::start().await;
    let clock = Clock::system();
    let remote = Url::parse("http://kc.example/auth").unwrap();
    let changes: [(&str, Change<'_>); 9] = [
        ("provider.issuer is http://kc.example", &|config| {
            config.issuer = Some("http://kc.example/realms/r".into());
        }),
        ("no URL", &|config| config.issuer = Some("kc.example".into())),
        ("query", &|config| config.issuer = Some("https://kc.example/realms/r?x=1".into())),
        ("fragment", &|config| config.issuer = Some("https://kc.example/realms/r#x".into())),
        ("openid", &|config| config.scopes = vec!["profile".into()]),
        ("either", &|config| config.issuer = None),
        ("either", &|config| config.token_url = Some(fake.endpoint("token"))),
        ("provider.logout_url", &|config| config.logout_url = Some(remote.clone())),
        ("provider.authorize_url", &|config| {
            *config = config::Provider { authorize_url: Some(remote.clone()), ..by_urls(&fake) };
        }),
    ];
    for (words, change) in changes {
        let mut config = by_issuer(&fake.issuer());
        change(&mut config);
        let error = provider(&config, &clock).unwrap_err();
        assert_eq!(error.kind(), "settings");
        assert!(error.to_string().contains(words), "{words}: {error}");
    }
}

#[tokio::test]
async fn a_certificate_of_an_unknown_authority_is_refused() {
    let fake = Fake::start_with_tls().await;
    let clock = Clock::system();
    let mut config = by_issuer(&fake.issuer());
    let error = provider(&config, &clock).unwrap().ready().await.unwrap_err();
    assert_eq!(error.kind(), "unreachable");
    assert!(chain(&error).contains("certificate"), "{}", chain(&error));
    assert!(fake.requests().is_empty());

    let other = Fake::start_with_tls().await;
    config.ca_file = other.authority().map(Path::to_owned);
    assert_eq!(provider(&config, &clock).unwrap().ready().await.unwrap_err().kind(), "unreachable");

    config.ca_file = fake.authority().map(Path::to_owned);
    provider(&config, &clock).unwrap().ready().await.unwrap();
}

/// An address inside that the certificate does not name: Keycloak behind TLS that passes through, asked by a name of the
/// container network.
#[tokio::test]
async fn a_certificate_of_another_name_is_refused_and_both_are_named() {
    let fake = Fake::start_with_tls().await;
    let mut inside = fake.description_url();
    inside.set_host(Some("localhost")).unwrap();
    let config = config::Provider {
        ca_file: fake.authority().map(Path::to_owned),
        discovery_url: Some(inside),
        ..by_issuer(&fake.issuer())
    };
    let error = provider(&config, &Clock::system()).unwrap().ready().await.unwrap_err();
    assert_eq!(error.kind(), "unreachable");
    let text = chain(&error);
    assert!(
        text.contains("certificate") && text.contains("localhost") && text.contains("127.0.0.1"),
        "{text}"
    );
    assert!(error.remedy().contains("names the host"), "{}", error.remedy());
    assert!(fake.requests().is_empty());
}

#[tokio::test]
async fn a_provider_with_tls_serves_logins() {
    let fake = Fake::start_with_tls().await;
    let config =
        config::Provider { ca_file: fake.authority().map(Path::to_owned), ..by_issuer(&fake.issuer()) };
    let provider = provider(&config, &Clock::system()).unwrap();
    let (url, login) = provider.begin(&Want::default()).await.unwrap();
    let answer = Answer::parse(&fake.sign_in(&url).await).unwrap();
    provider.finish(&login, &answer).await.unwrap();
}
