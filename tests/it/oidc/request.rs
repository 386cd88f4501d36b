//! What a login asks of the provider, and whether what was asked for came about.

use hubgate::config::{ClientAuthentication, ResponseMode};
use hubgate::oidc::StepUp;
use support::provider::ClientProof;

use super::*;

/// A parameter of the authorization URL, which is there once or not at all.
fn parameter(url: &Url, name: &str) -> Option<String> {
    let mut values =
        url.query_pairs().filter(|(known, _)| known == name).map(|(_, value)| value.into_owned());
    let first = values.next();
    assert_eq!(values.next(), None, "{name} is there once");
    first
}

async fn begin(pair: &Pair, want: &Want) -> Url {
    pair.provider.begin(want).await.unwrap().0
}

/// A whole login, with this wanted of it.
async fn log_in(pair: &Pair, want: &Want) -> Result<(Identity, Tokens), OidcError> {
    let (url, login) = pair.provider.begin(want).await?;
    let answer = pair.fake.sign_in(&url).await;
    pair.provider.finish(&login, &Answer::parse(&answer)?).await
}

fn gold() -> Want {
    let step_up = StepUp { acr_values: vec!["gold".to_owned()], max_age: None };
    Want { step_up: Some(step_up), ..Want::default() }
}

#[tokio::test]
async fn nothing_is_asked_for_that_nobody_wants() {
    let pair = Pair::start().await;
    let url = begin(&pair, &Want::default()).await;
    for name in
        ["prompt", "acr_values", "max_age", "kc_idp_hint", "login_hint", "response_mode", "request_uri"]
    {
        assert_eq!(parameter(&url, name), None, "{name}");
    }
}

#[tokio::test]
async fn a_request_may_be_handed_over_and_the_browser_carries_a_reference() {
    let pair = Pair::with(|config| config.pushed_requests = true).await;
    let (url, login) = pair.provider.begin(&Want::default()).await.unwrap();
    let names: Vec<_> = url.query_pairs().map(|(name, _)| name.into_owned()).collect();
    assert_eq!(names, ["client_id", "request_uri"]);
    assert!(!url.as_str().contains(&login.state) && !url.as_str().contains(&login.nonce));
    let answer = pair.fake.sign_in(&url).await;
    pair.provider.finish(&login, &Answer::parse(&answer).unwrap()).await.unwrap();
    let again = pair.fake.visit(&url).await;
    assert!(again.is_err(), "a reference counts once");
    let pushed =
        pair.fake.requests().into_iter().find(|seen| seen.path.ends_with("/ext/par/request")).unwrap();
    assert!(pushed.authorization.unwrap().starts_with("Basic "));
    assert_eq!(pair.fake.count("request"), 1);
}

#[tokio::test]
async fn a_request_is_handed_over_where_the_provider_demands_it() {
    for (proof, method) in [
        (ClientProof::Basic, ClientAuthentication::ClientSecretBasic),
        (ClientProof::Post, ClientAuthentication::ClientSecretPost),
    ] {
        let pair = Pair::with(|config| config.client_authentication = method).await;
        pair.fake.require_pushed_requests();
        pair.fake.take_client_by(proof);
        pair.log_in().await.unwrap();
        assert_eq!(pair.fake.count("request"), 1);
    }
}

#[tokio::test]
async fn a_provider_that_takes_no_pushed_requests_is_a_wrong_setting() {
    let pair = Pair::with(|config| config.pushed_requests = true).await;
    pair.fake.lie(Lie::DiscoveryNoPushedRequests);
    let error = pair.provider.begin(&Want::default()).await.unwrap_err();
    assert_eq!(error.kind(), "settings");
    assert!(error.to_string().contains("pushed_authorization_request_endpoint"), "{error}");
}

#[tokio::test]
async fn a_pushed_request_that_is_refused_sends_nobody_anywhere() {
    let pair = Pair::with(|config| config.pushed_requests = true).await;
    pair.fake.take_client_by(ClientProof::Post);
    let error = pair.provider.begin(&Want::default()).await.unwrap_err();
    assert!(
        matches!(&error, OidcError::Refused { error, .. } if error == "unauthorized_client"),
        "{error:?}"
    );
    pair.fake.take_client_by(ClientProof::Basic);
    pair.fake.lie(Lie::PushedNoReference);
    assert_eq!(pair.provider.begin(&Want::default()).await.unwrap_err().kind(), "untrusted");
    assert_eq!(pair.fake.count("auth"), 0);
}

#[tokio::test]
async fn a_reference_that_has_expired_may_be_tried_again() {
    let pair = Pair::with(|config| config.pushed_requests = true).await;
    pair.fake.lie(Lie::PushedExpired);
    let error = pair.log_in().await.unwrap_err();
    assert!(error.may_pass(), "{error:?}");
    pair.fake.be_honest();
    pair.log_in().await.unwrap();
}

#[tokio::test]
async fn an_answer_by_form_is_asked_for_and_finished() {
    let pair = Pair::with(|config| config.response_mode = ResponseMode::FormPost).await;
    let (url, login) = pair.provider.begin(&Want::default()).await.unwrap();
    assert_eq!(parameter(&url, "response_mode").as_deref(), Some("form_post"));
    let (action, body) = pair.fake.sign_in_by_form(&url).await;
    assert_eq!(action.as_str(), CALLBACK);
    pair.provider.finish(&login, &Answer::parse(&body).unwrap()).await.unwrap();
}

#[tokio::test]
async fn a_level_that_was_asked_for_must_have_been_reached() {
    let pair = Pair::start().await;
    assert_eq!(parameter(&begin(&pair, &gold()).await, "acr_values").as_deref(), Some("gold"));
    log_in(&pair, &gold()).await.unwrap();
    for acr in [json!("0"), json!("1"), json!(null), json!(["gold"])] {
        pair.fake.claim_in_id_tokens(json!({ "acr": acr }));
        let error = log_in(&pair, &gold()).await.unwrap_err();
        assert_eq!(error.kind(), "weak", "{error:?}");
        assert!(error.remedy().contains("provider.acr_values"));
        log_in(&pair, &Want::default()).await.unwrap();
    }
}

#[tokio::test]
async fn every_login_is_at_a_configured_level() {
    let levels = ["gold", "silver"].map(str::to_owned).to_vec();
    let pair = Pair::with(|config| config.acr_values = levels).await;
    assert_eq!(
        parameter(&begin(&pair, &Want::default()).await, "acr_values").as_deref(),
        Some("gold silver")
    );
    pair.fake.claim_in_id_tokens(json!({"acr": "silver"}));
    pair.log_in().await.unwrap();
    assert_eq!(log_in(&pair, &gold()).await.unwrap_err().kind(), "weak", "a step up is one to what it names");
    pair.fake.claim_in_id_tokens(json!({"acr": "bronze"}));
    assert_eq!(pair.log_in().await.unwrap_err().kind(), "weak");
}

#[tokio::test]
async fn userinfo_does_not_raise_a_level() {
    let pair = Pair::start().await;
    pair.fake.user("alice", json!({"acr": "gold", "auth_time": NOW}));
    pair.fake.claim_in_id_tokens(json!({"acr": "0"}));
    assert_eq!(log_in(&pair, &gold()).await.unwrap_err().kind(), "weak");
}

#[tokio::test]
async fn a_login_is_not_older_than_was_asked_for() {
    let pair = Pair::with(|config| config.max_age = Some(Span::seconds(300))).await;
    assert_eq!(parameter(&begin(&pair, &Want::default()).await, "max_age").as_deref(), Some("300"));
    pair.log_in().await.unwrap();
    pair.fake.claim_in_id_tokens(json!({"auth_time": NOW - 330}));
    pair.log_in().await.unwrap();
    for auth_time in [json!(NOW - 331), json!(null)] {
        pair.fake.claim_in_id_tokens(json!({ "auth_time": auth_time }));
        assert_eq!(pair.log_in().await.unwrap_err().kind(), "weak", "{auth_time}");
    }
    let step_up = StepUp { acr_values: Vec::new(), max_age: Some(0) };
    let url = begin(&pair, &Want { step_up: Some(step_up), ..Want::default() }).await;
    assert_eq!(parameter(&url, "max_age").as_deref(), Some("0"));
}

#[tokio::test]
async fn a_login_without_pages_says_when_it_needs_one() {
    let pair = Pair::start().await;
    let want = Want { prompt_none: true, ..Want::default() };
    assert_eq!(parameter(&begin(&pair, &want).await, "prompt").as_deref(), Some("none"));
    log_in(&pair, &want).await.unwrap();
    for error in ["login_required", "interaction_required", "consent_required", "account_selection_required"]
    {
        pair.fake.refuse(error, "", 1);
        let refused = log_in(&pair, &want).await.unwrap_err();
        assert!(refused.needs_person(), "{refused:?}");
    }
    for error in ["access_denied", "invalid_scope", "unauthorized_client", "temporarily_unavailable"] {
        pair.fake.refuse(error, "", 1);
        let refused = log_in(&pair, &want).await.unwrap_err();
        assert!(!refused.needs_person(), "{refused:?}");
        assert_eq!(refused.may_pass(), error == "temporarily_unavailable");
    }
}

#[tokio::test]
async fn offline_access_is_asked_for_only_where_it_is_configured_and_then_with_consent() {
    let pair = Pair::start().await;
    let url = begin(&pair, &Want::default()).await;
    assert!(!parameter(&url, "scope").unwrap().contains("offline_access"));
    let pair = Pair::with(|config| config.scopes.push("offline_access".to_owned())).await;
    let url = begin(&pair, &Want::default()).await;
    assert_eq!(parameter(&url, "scope").as_deref(), Some("openid profile email offline_access"));
    assert_eq!(parameter(&url, "prompt").as_deref(), Some("consent"));
    let url = begin(&pair, &Want { prompt_none: true, ..Want::default() }).await;
    assert_eq!(parameter(&url, "prompt").as_deref(), Some("none"));
}

#[tokio::test]
async fn only_listed_identity_providers_are_hinted_at() {
    let pair = Pair::with(|config| config.identity_provider_hints = vec!["edugain".to_owned()]).await;
    for (hint, sent) in [("edugain", Some("edugain")), ("evil", None), ("", None), ("EDUGAIN", None)] {
        let want = Want { idp_hint: Some(hint.to_owned()), ..Want::default() };
        assert_eq!(parameter(&begin(&pair, &want).await, "kc_idp_hint").as_deref(), sent, "{hint:?}");
    }
}

#[tokio::test]
async fn a_provider_may_sign_as_the_configuration_lists() {
    use hubgate::config::SigningAlgorithm::{EdDsa, Es256, Es384, Ps256, Ps384, Ps512, Rs384, Rs512};
    for (name, algorithm) in [
        ("ES256", Es256),
        ("ES384", Es384),
        ("PS256", Ps256),
        ("PS384", Ps384),
        ("PS512", Ps512),
        ("RS384", Rs384),
        ("RS512", Rs512),
        ("EdDSA", EdDsa),
    ] {
        let pair = Pair::with(|config| config.signing_algorithms = vec![algorithm]).await;
        pair.fake.sign_by(name);
        pair.log_in().await.unwrap_or_else(|error| panic!("{name}: {}", chain(&error)));
        pair.fake.rotate_keys();
        let error = pair.log_in().await.unwrap_err();
        assert!(chain(&error).contains("signing_algorithms"), "{name}: {}", chain(&error));
    }
}

#[tokio::test]
async fn a_provider_may_not_sign_otherwise() {
    let pair = Pair::start().await;
    pair.log_in().await.unwrap();
    for name in ["ES256", "PS256", "EdDSA", "RS512"] {
        pair.fake.sign_by(name);
        let error = pair.log_in().await.unwrap_err();
        assert_eq!(error.kind(), "untrusted");
        assert!(error.remedy().contains("provider.signing_algorithms"), "{name}: {error}");
    }
}

#[tokio::test]
async fn a_key_signs_only_as_it_is_meant_to() {
    use hubgate::config::SigningAlgorithm::{Ps256, Rs256};
    let pair = Pair::with(|config| config.signing_algorithms = vec![Rs256, Ps256]).await;
    pair.fake.lie(Lie::IdTokenOtherAlgorithm);
    assert_eq!(pair.log_in().await.unwrap_err().kind(), "untrusted");
}

#[tokio::test]
async fn an_encrypted_id_token_is_refused_with_its_remedy() {
    let pair = Pair::start().await;
    pair.fake.lie(Lie::IdTokenEncrypted);
    let error = pair.log_in().await.unwrap_err();
    assert_eq!(error.kind(), "settings");
    assert!(error.to_string().contains("encrypted"), "{error}");
}

#[tokio::test]
async fn a_time_that_is_none_is_refused() {
    let pair = Pair::start().await;
    for name in ["exp", "iat", "nbf"] {
        for odd in [json!(1e300), json!(-1), json!("1700000000"), json!([NOW]), json!(true)] {
            pair.fake.claim_in_id_tokens(json!({ name: odd }));
            assert_eq!(pair.log_in().await.unwrap_err().kind(), "untrusted", "{name}: {odd}");
        }
    }
    pair.fake.claim_in_id_tokens(json!({"exp": u64::MAX, "nbf": 0, "iat": 1_700_000_000.5}));
    pair.log_in().await.unwrap();
    for (name, far) in [("iat", json!(i64::MAX)), ("nbf", json!(u64::MAX)), ("exp", json!(0))] {
        pair.fake.claim_in_id_tokens(json!({ name: far }));
        assert!(pair.log_in().await.unwrap_err().to_string().contains("clock"), "{name}");
    }
}

#[tokio::test]
async fn an_endpoint_keeps_the_query_that_it_has() {
    let fake = Fake::start().await;
    let mut config = by_urls(&fake);
    config.authorize_url.as_mut().unwrap().set_query(Some("tenant=a%26b"));
    let provider = provider(&config, &Clock::manual(NOW)).unwrap();
    let (url, login) = provider.begin(&Want::default()).await.unwrap();
    let pairs: Vec<_> = url.query_pairs().into_owned().collect();
    assert_eq!(pairs[0], ("tenant".to_owned(), "a&b".to_owned()), "RFC 6749 section 3.1");
    assert!(pairs.contains(&("state".to_owned(), login.state)));
}
