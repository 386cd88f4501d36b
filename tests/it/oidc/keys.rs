//! The provider's keys.

use support::provider::Signed;

use super::*;

#[tokio::test]
async fn a_new_key_is_fetched_at_once() {
    let pair = Pair::start().await;
    pair.log_in().await.unwrap();
    pair.fake.rotate_keys();
    pair.log_in().await.unwrap();
    pair.log_in().await.unwrap();
    assert_eq!(pair.fake.count("certs"), 2);
}

/// Searches for unknown keys at once, and the seconds from one to the next after that: `docs/openid-connect.md` says so.
const AT_ONCE: usize = 4;
const EVERY: u64 = 15;

#[tokio::test]
async fn keys_that_change_twice_in_a_minute_are_found_each_time() {
    let pair = Pair::start().await;
    pair.log_in().await.unwrap();
    for changes in 1..=3 {
        pair.fake.rotate_keys();
        pair.log_in().await.unwrap();
        assert_eq!(pair.fake.count("certs"), 1 + changes);
        let token = pair.fake.logout_token(Some("s")).token();
        pair.provider.logout_token(&token).await.unwrap();
    }
    assert_eq!(pair.fake.count("certs"), 4, "each once");
}

#[tokio::test]
async fn unknown_keys_are_asked_for_a_few_times_and_then_seldom() {
    let pair = Pair::start().await;
    pair.log_in().await.unwrap();
    let made_up = async || {
        let token = pair.fake.logout_token(Some("s")).signed(Signed::ByAnUnknownKey).token();
        let error = pair.provider.logout_token(&token).await.unwrap_err();
        assert!(error.to_string().contains("no key"), "{error}");
    };
    for _ in 0..10 {
        made_up().await;
    }
    assert_eq!(pair.fake.count("certs"), 1 + AT_ONCE);
    for (second, count) in [(EVERY - 1, 0), (EVERY, 1), (EVERY + 1, 1), (2 * EVERY, 2)] {
        pair.clock.advance(Duration::from_secs(NOW + second - pair.clock.now()));
        pair.fake.set_time(NOW + second);
        made_up().await;
        assert_eq!(pair.fake.count("certs"), 1 + AT_ONCE + count, "after {second} seconds");
    }
}

#[tokio::test]
async fn however_often_keys_change_the_providers_own_answers_are_verified() {
    let pair = Pair::start().await;
    for _ in 0..10 {
        pair.log_in().await.unwrap();
        pair.fake.rotate_keys();
    }
    assert_eq!(pair.fake.count("certs"), 10, "each once");
}

#[tokio::test]
async fn made_up_tokens_of_strangers_keep_nobody_from_signing_in_with_a_new_key() {
    let pair = Pair::start().await;
    pair.log_in().await.unwrap();
    let flood = async || {
        for _ in 0..10 {
            let logout = pair.fake.logout_token(Some("s")).signed(Signed::ByAnUnknownKey).token();
            pair.provider.logout_token(&logout).await.unwrap_err();
            let access = pair.fake.access_token_for(Fake::CLIENT_ID).signed(Signed::ByAnUnknownKey).token();
            pair.provider.bearer(&access).await.unwrap_err();
        }
    };
    flood().await;
    assert_eq!(pair.fake.count("certs"), 1 + AT_ONCE, "strangers make no flood of questions");
    pair.fake.rotate_keys();
    // What comes from outside waits a little, however many made-up ones come between.
    let logout = || pair.fake.logout_token(Some("s")).token();
    pair.provider.logout_token(&logout()).await.unwrap_err();
    pair.clock.advance(Duration::from_secs(EVERY));
    pair.fake.set_time(pair.clock.now());
    flood().await;
    pair.provider.logout_token(&logout()).await.unwrap();
    // What the provider itself hands over does not wait at all.
    pair.fake.rotate_keys();
    flood().await;
    pair.log_in().await.unwrap();
    pair.provider.logout_token(&logout()).await.unwrap();
}

#[tokio::test]
async fn a_disabled_key_signs_ten_minutes_longer_at_most() {
    let pair = Pair::start().await;
    pair.log_in().await.unwrap();
    let forged = pair.fake.logout_token(Some("s"));
    let stolen = forged.clone().claim("iat", NOW + 600).claim("exp", NOW + 720);
    let (known, stolen) = (forged.token(), stolen.token());
    pair.fake.disable_keys();
    pair.provider.logout_token(&known).await.unwrap();
    pair.clock.advance(Duration::from_mins(10));
    let error = pair.provider.logout_token(&stolen).await.unwrap_err();
    assert!(error.to_string().contains("no key"), "{error}");
}

#[tokio::test]
async fn old_keys_serve_while_keys_cannot_be_fetched() {
    let pair = Pair::start().await;
    pair.log_in().await.unwrap();
    pair.fake.lie(Lie::KeysServerError);
    for minutes in [10, 11, 12] {
        let now = NOW + minutes * 60;
        pair.clock.advance(Duration::from_secs(now - pair.clock.now()));
        pair.fake.set_time(now);
        for _ in 0..3 {
            pair.log_in().await.unwrap();
        }
    }
    assert_eq!(pair.fake.count("certs"), 4, "at the start, and once a minute since they are old");
}

#[tokio::test]
async fn many_logins_with_a_new_key_fetch_it_once() {
    let pair = Pair::start().await;
    pair.log_in().await.unwrap();
    pair.fake.rotate_keys();
    let all = futures_util::future::join_all((0..10).map(|_| pair.log_in())).await;
    for one in all {
        one.unwrap();
    }
    assert_eq!(pair.fake.count("certs"), 2);
}

#[tokio::test]
async fn known_keys_serve_while_keys_cannot_be_fetched() {
    let pair = Pair::start().await;
    pair.log_in().await.unwrap();
    for lie in [Lie::KeysServerError, Lie::KeysEmpty] {
        pair.fake.be_honest();
        pair.fake.lie(lie);
        pair.log_in().await.unwrap();
        pair.fake.lie(Lie::IdTokenUnknownKey);
        pair.log_in().await.unwrap_err();
        pair.fake.be_honest();
        pair.fake.lie(lie);
        pair.log_in().await.unwrap();
        pair.clock.advance(Duration::from_secs(5));
        pair.fake.set_time(pair.clock.now());
    }
}

#[tokio::test]
async fn a_new_key_is_found_soon_after_keys_could_not_be_fetched() {
    let pair = Pair::start().await;
    pair.log_in().await.unwrap();
    pair.fake.rotate_keys();
    pair.fake.lie(Lie::KeysServerError);
    assert_eq!(pair.log_in().await.unwrap_err().kind(), "unreachable");
    pair.fake.be_honest();
    pair.clock.advance(Duration::from_secs(5));
    pair.log_in().await.unwrap();
}

#[tokio::test]
async fn keys_that_are_not_understood_spoil_no_others() {
    let pair = Pair::start().await;
    pair.fake.lie(Lie::KeysJunk);
    pair.log_in().await.unwrap();
    pair.fake.lie(Lie::IdTokenUnnamedKey);
    pair.log_in().await.unwrap();
}

#[tokio::test]
async fn a_token_that_names_no_key_is_tried_with_those_there_are() {
    let pair = Pair::start().await;
    pair.fake.lie(Lie::IdTokenUnnamedKey);
    pair.log_in().await.unwrap();
    let pair = Pair::start().await;
    pair.fake.lie(Lie::IdTokenUnnamedKey);
    pair.fake.lie(Lie::KeysMany);
    pair.log_in().await.unwrap();
    pair.fake.rotate_keys();
    pair.log_in().await.unwrap();
    assert_eq!(pair.fake.count("certs"), 2, "the new one had to be fetched");
}

#[tokio::test]
async fn two_keys_of_one_name_are_both_tried() {
    let pair = Pair::start().await;
    pair.fake.lie(Lie::KeysDuplicateName);
    pair.log_in().await.unwrap();
}
