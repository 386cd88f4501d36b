//! The provider's keys.

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

#[tokio::test]
async fn unknown_keys_are_asked_for_once_a_minute() {
    let pair = Pair::start().await;
    pair.fake.lie(Lie::IdTokenUnknownKey);
    for _ in 0..5 {
        let error = pair.log_in().await.unwrap_err();
        assert!(error.to_string().contains("no key"), "{error}");
    }
    assert_eq!(pair.fake.count("certs"), 2, "at the start, and for the first unknown key");
    pair.clock.advance(Duration::from_secs(59));
    pair.fake.set_time(NOW + 59);
    pair.log_in().await.unwrap_err();
    assert_eq!(pair.fake.count("certs"), 2);
    pair.clock.advance(Duration::from_secs(1));
    pair.log_in().await.unwrap_err();
    assert_eq!(pair.fake.count("certs"), 3);
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
