//! Userinfo that is signed.

use support::provider::{Draft, Signed};

use super::*;

/// A login at whose end userinfo is this token.
async fn with(change: impl FnOnce(Draft) -> String) -> Result<(Identity, Tokens), OidcError> {
    let pair = Pair::start().await;
    let token = change(pair.fake.signed_userinfo().claim("groups", json!(["/lab"])));
    pair.fake.answer_userinfo("application/jwt;charset=UTF-8", &token);
    pair.log_in().await
}

async fn refuses(kind: &str, change: impl FnOnce(Draft) -> Draft) {
    let error = with(|draft| change(draft).token()).await.unwrap_err();
    assert_eq!(error.kind(), kind, "{}", chain(&error));
}

#[tokio::test]
async fn signed_userinfo_is_verified_and_used() {
    let (identity, _) = with(|draft| draft.token()).await.unwrap();
    assert_eq!(identity.strings(&["groups"]), ["/lab"]);
    with(|draft| draft.claim("aud", json!([Fake::CLIENT_ID])).token()).await.unwrap();
    with(|draft| draft.claim("exp", NOW + 60).token()).await.unwrap();
}

#[tokio::test]
async fn userinfo_of_another_signature_is_refused() {
    for signed in [
        Signed::ByAnotherKey,
        Signed::ByAnUnknownKey,
        Signed::ByNobody,
        Signed::Not,
        Signed::BySecret,
        Signed::ByPublicKey,
        Signed::Ps256,
    ] {
        refuses("untrusted", |draft| draft.signed(signed)).await;
    }
}

#[tokio::test]
async fn userinfo_for_or_from_others_is_refused() {
    refuses("untrusted", |draft| draft.claim("iss", "https://other.example/realms/test")).await;
    refuses("untrusted", |draft| draft.without("iss")).await;
    refuses("untrusted", |draft| draft.claim("aud", "other")).await;
    refuses("untrusted", |draft| draft.claim("aud", json!([Fake::CLIENT_ID, "other"]))).await;
    refuses("untrusted", |draft| draft.without("aud")).await;
    refuses("untrusted", |draft| draft.claim("sub", "f:ldap:mallory")).await;
    refuses("untrusted", |draft| draft.without("sub")).await;
    refuses("untrusted", |draft| draft.claim("exp", NOW - 60)).await;
}

#[tokio::test]
async fn a_token_of_another_kind_is_no_userinfo() {
    refuses("untrusted", |draft| draft.claim("typ", "Bearer")).await;
    refuses("untrusted", |draft| draft.claim("typ", "ID")).await;
    refuses("untrusted", |draft| draft.header("typ", "logout+jwt")).await;
    refuses("untrusted", |draft| draft.header("typ", "at+jwt")).await;
    refuses("untrusted", |draft| draft.claim("events", json!({}))).await;
}

#[tokio::test]
async fn encrypted_userinfo_is_refused_with_its_remedy() {
    let error = with(|_draft| "e30.AAAA.AAAA.AAAA.AAAA".to_owned()).await.unwrap_err();
    assert_eq!(error.kind(), "settings");
    assert!(error.to_string().contains("encrypted"), "{error}");
    for malformed in ["", "x", "a.b", "a.b.c"] {
        assert_eq!(
            with(|_draft| malformed.to_owned()).await.unwrap_err().kind(),
            "untrusted",
            "{malformed:?}"
        );
    }
}

#[tokio::test]
async fn signed_userinfo_of_a_provider_told_by_urls_is_a_wrong_setting() {
    let pair = Pair::by_urls().await;
    pair.fake.lie(Lie::UserinfoSigned);
    let error = pair.log_in().await.unwrap_err();
    assert_eq!(error.kind(), "settings");
    assert!(error.to_string().contains("provider.issuer"), "{error}");
}

#[tokio::test]
async fn userinfo_that_lacks_a_scope_is_refused_with_its_remedy() {
    let fake = Fake::start().await;
    fake.set_time(NOW);
    let config = config::Provider { scopes: vec!["profile".to_owned()], ..by_urls(&fake) };
    let clock = Clock::manual(NOW);
    let pair = Pair { provider: provider(&config, &clock).unwrap(), fake, clock };
    let error = pair.log_in().await.unwrap_err();
    assert!(
        matches!(&error, OidcError::Refused { error, .. } if error == "insufficient_scope"),
        "Keycloak tells nothing without openid since 19.0.2: {error:?}"
    );
    assert!(error.to_string().contains("Missing openid scope") && error.remedy().contains("provider.scopes"));
}
