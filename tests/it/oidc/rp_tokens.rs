//! The OpenID Foundation's conformance cases for relying parties, by their names there: refresh tokens and logout.
//! What a refused logout token must leave alone is tested where sessions are.

use support::provider::{Draft, Signed};

use super::*;

async fn refresh(lie: Option<Lie>) -> Result<(Identity, Tokens), OidcError> {
    let pair = Pair::start().await;
    let (identity, tokens) = pair.log_in().await?;
    if let Some(lie) = lie {
        pair.fake.lie(lie);
    }
    pair.provider.refresh(&identity, &tokens).await
}

#[tokio::test]
async fn rp_refresh_token() {
    let (identity, tokens) = refresh(None).await.unwrap();
    assert_eq!(identity.subject, "f:ldap:alice");
    assert!(tokens.access_token.is_some());
}

#[tokio::test]
async fn rp_refresh_token_invalid_issuer() {
    assert_eq!(refresh(Some(Lie::IdTokenOtherIssuer)).await.unwrap_err().kind(), "untrusted");
}

#[tokio::test]
async fn rp_refresh_token_invalid_sub() {
    assert_eq!(refresh(Some(Lie::IdTokenOtherSubject)).await.unwrap_err().kind(), "untrusted");
}

/// The way back from a logout: the state that was sent, and what came back.
async fn log_out(lie: Option<Lie>) -> (String, Option<String>) {
    let pair = Pair::start().await;
    let (_, tokens) = pair.log_in().await.unwrap();
    if let Some(lie) = lie {
        pair.fake.lie(lie);
    }
    let back = Url::parse("https://hub.example/hub/logout").unwrap();
    pair.fake.register_after_logout(back.as_str());
    let url = pair.provider.logout_url(tokens.id_token.as_ref(), &back, Some("the-state")).unwrap();
    for name in ["id_token_hint", "client_id", "post_logout_redirect_uri", "state"] {
        assert_eq!(url.query_pairs().filter(|(known, _)| known == name).count(), 1, "{name}");
    }
    assert_eq!(url.query_pairs().count(), 4, "redirect_uri least of all: Keycloak 18 and later refuse it");
    let returned = pair.fake.visit(&url).await.unwrap();
    let state = returned.query_pairs().find(|(name, _)| name == "state").map(|(_, value)| value.into_owned());
    ("the-state".to_owned(), state)
}

#[tokio::test]
async fn rp_init_logout() {
    let (sent, returned) = log_out(None).await;
    assert_eq!(returned, Some(sent));
}

#[tokio::test]
async fn rp_init_logout_no_state() {
    assert_eq!(log_out(Some(Lie::LogoutNoState)).await.1, None);
}

#[tokio::test]
async fn rp_init_logout_other_state() {
    let (sent, returned) = log_out(Some(Lie::LogoutOtherState)).await;
    assert_ne!(returned, Some(sent));
}

async fn logout_token(change: impl FnOnce(Draft) -> Draft) -> Result<(), OidcError> {
    let pair = Pair::start().await;
    let (identity, _) = pair.log_in().await?;
    let token = change(pair.fake.logout_token(identity.sid.as_deref())).token();
    let verified = pair.provider.logout_token(&token).await?;
    assert_eq!((verified.sid, verified.subject), (identity.sid, Some(identity.subject)));
    Ok(())
}

async fn refused(change: impl FnOnce(Draft) -> Draft) {
    assert_eq!(logout_token(change).await.unwrap_err().kind(), "untrusted");
}

#[tokio::test]
async fn rp_backchannel_rpinitlogout() {
    logout_token(|token| token).await.unwrap();
}

#[tokio::test]
async fn rp_backchannel_rpinitlogout_lt_alg_none() {
    refused(|token| token.signed(Signed::ByNobody)).await;
}

#[tokio::test]
async fn rp_backchannel_rpinitlogout_lt_wrong_alg() {
    refused(|token| token.signed(Signed::BySecret)).await;
}

#[tokio::test]
async fn rp_backchannel_rpinitlogout_lt_wrong_issuer() {
    refused(|token| token.claim("iss", "https://other.example/realms/test")).await;
}

#[tokio::test]
async fn rp_backchannel_rpinitlogout_lt_wrong_aud() {
    refused(|token| token.claim("aud", "other")).await;
}

#[tokio::test]
async fn rp_backchannel_rpinitlogout_lt_no_event() {
    refused(|token| token.without("events")).await;
}

#[tokio::test]
async fn rp_backchannel_rpinitlogout_lt_wrong_event() {
    refused(|token| token.claim("events", json!({"http://schemas.openid.net/event/other": {}}))).await;
}

#[tokio::test]
async fn rp_backchannel_rpinitlogout_lt_with_nonce() {
    refused(|token| token.claim("nonce", "n")).await;
}
