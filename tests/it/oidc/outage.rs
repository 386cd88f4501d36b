//! A provider that is not there.

use super::*;

#[tokio::test]
async fn a_provider_that_comes_later_is_found_then() {
    let pair = Pair::start().await;
    pair.fake.stop();
    let error = pair.provider.begin(&Want::default()).await.unwrap_err();
    assert_eq!(error.kind(), "unreachable");
    assert!(error.to_string().contains("/.well-known/openid-configuration"), "{error}");
    pair.fake.restart().await;
    pair.log_in().await.unwrap();
}

#[tokio::test]
async fn a_provider_that_goes_away_in_a_login_is_an_outage() {
    let pair = Pair::start().await;
    let (login, answer) = pair.sign_in().await;
    pair.fake.stop();
    let answer = Answer::parse(&answer).unwrap();
    assert_eq!(pair.provider.finish(&login, &answer).await.unwrap_err().kind(), "unreachable");
    pair.fake.restart().await;
    pair.provider.finish(&login, &answer).await.unwrap();
}

#[tokio::test]
async fn a_provider_that_hangs_is_given_up() {
    for lie in [Lie::DiscoverySlow, Lie::TokenSlow] {
        let pair = Pair::with(|config| config.timeout = Span(Duration::from_millis(300))).await;
        pair.fake.lie(lie);
        let error = match pair.provider.ready().await {
            Ok(()) => pair.log_in().await.unwrap_err(),
            Err(error) => error,
        };
        assert_eq!(error.kind(), "unreachable", "{lie:?}");
        assert!(chain(&error).contains("deadline"), "{}", chain(&error));
    }
}

#[tokio::test]
async fn those_who_wait_for_a_provider_that_hangs_share_its_failure() {
    let pair = Pair::with(|config| config.timeout = Span(Duration::from_millis(300))).await;
    pair.fake.lie(Lie::DiscoverySlow);
    let all = futures_util::future::join_all((0..20).map(|_| pair.provider.ready())).await;
    for result in all {
        let error = result.unwrap_err();
        assert_eq!(error.kind(), "unreachable");
        assert!(chain(&error).contains("deadline"), "{}", chain(&error));
    }
    assert_eq!(pair.fake.count("openid-configuration"), 1);
}
