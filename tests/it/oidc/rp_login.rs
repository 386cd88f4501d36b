//! The OpenID Foundation's conformance cases for relying parties, by their names there: logins, by the plans "basic",
//! "config", "form post" and "third-party initiated login", and those of FAPI 2.0 that hold for everybody. Which case of
//! the suite is which test, and which cases do not apply, is in `conformance`.

use hubgate::config::{ClientAuthentication, ResponseMode, SigningAlgorithm};
use support::hub::Hub;
use support::provider::{ClientKey, ClientProof, Signed};

use super::*;
use crate::BINARY;

/// A login at a provider that lies so.
async fn log_in(lie: Lie) -> Result<(Identity, Tokens), OidcError> {
    let pair = Pair::start().await;
    pair.fake.lie(lie);
    pair.log_in().await
}

async fn refuses(lie: Lie) {
    let error = log_in(lie).await.unwrap_err();
    assert!(["untrusted", "mismatch"].contains(&error.kind()), "{error:?}");
}

/// A login whose ID token has these claims in place of its own.
async fn log_in_with(claims: serde_json::Value) -> Result<(Identity, Tokens), OidcError> {
    let pair = Pair::start().await;
    pair.fake.claim_in_id_tokens(claims);
    pair.log_in().await
}

async fn refuses_with(claims: serde_json::Value) {
    let error = log_in_with(claims).await.unwrap_err();
    assert_eq!(error.kind(), "untrusted", "{error:?}");
}

#[tokio::test]
async fn rp_response_type_code() {
    let pair = Pair::start().await;
    let (url, login) = pair.provider.begin(&Want::default()).await.unwrap();
    assert!(url.query_pairs().any(|(name, value)| name == "response_type" && value == "code"));
    let answer = pair.fake.sign_in(&url).await;
    pair.provider.finish(&login, &Answer::parse(&answer).unwrap()).await.unwrap();
    assert_eq!((pair.fake.count("token"), pair.fake.count("userinfo")), (1, 1));
}

#[tokio::test]
async fn rp_token_endpoint_client_secret_basic() {
    let pair = Pair::start().await;
    pair.fake.take_client_by(ClientProof::Basic);
    pair.log_in().await.unwrap();
}

#[tokio::test]
async fn rp_token_endpoint_client_secret_post() {
    let pair =
        Pair::with(|config| config.client_authentication = ClientAuthentication::ClientSecretPost).await;
    pair.fake.take_client_by(ClientProof::Post);
    pair.log_in().await.unwrap();
}

#[tokio::test]
async fn rp_token_endpoint_private_key_jwt() {
    let pair = Pair::start().await;
    let key = ClientKey::generate("ES256");
    let mut config = by_issuer(&pair.fake.issuer());
    config.client_authentication = ClientAuthentication::PrivateKeyJwt;
    let (callback, secret) = (Url::parse(CALLBACK).unwrap(), Secret::new(&key.pem));
    let provider = Provider::new(&config, callback, secret, pair.clock.clone()).unwrap();
    pair.fake.take_client_by(ClientProof::Key(key));
    Pair { provider, ..pair }.log_in().await.unwrap();
}

#[tokio::test]
async fn rp_id_token_issuer_mismatch() {
    refuses(Lie::IdTokenOtherIssuer).await;
}

#[tokio::test]
async fn rp_id_token_sub() {
    refuses(Lie::IdTokenNoSubject).await;
}

#[tokio::test]
async fn rp_id_token_aud() {
    refuses(Lie::IdTokenOtherAudience).await;
}

#[tokio::test]
async fn rp_id_token_missing_aud() {
    refuses(Lie::IdTokenNoAudience).await;
}

#[tokio::test]
async fn rp_id_token_iat() {
    refuses(Lie::IdTokenNoIssueTime).await;
}

#[tokio::test]
async fn rp_id_token_kid_absent_single_jwks() {
    log_in(Lie::IdTokenUnnamedKey).await.unwrap();
}

/// One of a few is chosen safely: by its type, its use, and in the end its signature.
#[tokio::test]
async fn rp_id_token_kid_absent_multiple_jwks() {
    let pair = Pair::start().await;
    pair.fake.lie(Lie::KeysMany);
    pair.fake.lie(Lie::IdTokenUnnamedKey);
    pair.log_in().await.unwrap();
    pair.fake.lie(Lie::IdTokenBadSignature);
    pair.log_in().await.unwrap_err();
}

#[tokio::test]
async fn rp_id_token_sig_rs256() {
    Pair::start().await.log_in().await.unwrap();
}

#[tokio::test]
async fn rp_id_token_sig_es256() {
    let pair = Pair::with(|config| config.signing_algorithms = vec![SigningAlgorithm::Es256]).await;
    pair.fake.sign_by("ES256");
    pair.log_in().await.unwrap();
}

#[tokio::test]
async fn rp_id_token_sig_none() {
    refuses(Lie::IdTokenAlgorithmNone).await;
    refuses(Lie::IdTokenNoSignature).await;
}

/// Never: whoever reads our configuration could sign.
#[tokio::test]
async fn rp_id_token_sig_hs256() {
    refuses(Lie::IdTokenMacOfSecret).await;
}

#[tokio::test]
async fn rp_id_token_bad_sig_rs256() {
    refuses(Lie::IdTokenBadSignature).await;
}

#[tokio::test]
async fn rp_id_token_bad_sig_es256() {
    let pair = Pair::with(|config| config.signing_algorithms = vec![SigningAlgorithm::Es256]).await;
    pair.fake.sign_by("ES256");
    pair.log_in().await.unwrap();
    pair.fake.lie(Lie::IdTokenBadSignature);
    assert_eq!(pair.log_in().await.unwrap_err().kind(), "untrusted");
}

#[tokio::test]
async fn rp_id_token_bad_sig_hs256() {
    refuses(Lie::IdTokenMacOfPublicKey).await;
}

#[tokio::test]
async fn rp_id_token_bad_at_hash() {
    refuses(Lie::IdTokenOtherAccessTokenHash).await;
}

#[tokio::test]
async fn rp_userinfo_bad_sub_claim() {
    refuses(Lie::UserinfoOtherSubject).await;
    refuses(Lie::UserinfoNoSubject).await;
}

#[tokio::test]
async fn rp_userinfo_bearer_header() {
    let pair = Pair::start().await;
    let (_, tokens) = pair.log_in().await.unwrap();
    let seen = pair.fake.requests().into_iter().find(|seen| seen.path.ends_with("/userinfo")).unwrap();
    let token = tokens.access_token.unwrap();
    assert_eq!(seen.authorization, Some(format!("Bearer {}", token.expose())));
    assert!(seen.query.is_empty() && seen.form.is_empty());
}

#[tokio::test]
async fn rp_userinfo_sig() {
    log_in(Lie::UserinfoSigned).await.unwrap();
    let pair = Pair::start().await;
    let forged = pair.fake.signed_userinfo().signed(Signed::ByAnotherKey);
    pair.fake.answer_userinfo("application/jwt", &forged.token());
    assert_eq!(pair.log_in().await.unwrap_err().kind(), "untrusted");
}

#[tokio::test]
async fn rp_nonce_invalid() {
    refuses(Lie::IdTokenOtherNonce).await;
    refuses(Lie::IdTokenNoNonce).await;
}

#[tokio::test]
async fn rp_nonce_unless_code_flow() {
    let pair = Pair::start().await;
    let (url, login) = pair.provider.begin(&Want::default()).await.unwrap();
    assert!(url.query_pairs().any(|(name, value)| name == "nonce" && value == login.nonce));
}

#[tokio::test]
async fn rp_scope_userinfo_claims() {
    let scopes = ["openid", "profile", "email", "roles"].map(str::to_owned).to_vec();
    let pair = Pair::with(|config| config.scopes = scopes).await;
    let (url, login) = pair.provider.begin(&Want::default()).await.unwrap();
    assert!(url.query_pairs().any(|(name, value)| name == "scope" && value == "openid profile email roles"));
    let answer = pair.fake.sign_in(&url).await;
    let (identity, _) = pair.provider.finish(&login, &Answer::parse(&answer).unwrap()).await.unwrap();
    assert_eq!(identity.claims["email"], "alice@example.org");
}

/// What another party is said to vouch for is neither fetched nor believed.
async fn ignores_claims_of(source: serde_json::Value) {
    let pair = Pair::start().await;
    let claims =
        json!({"groups": null, "_claim_names": {"groups": "src"}, "_claim_sources": {"src": source}});
    pair.fake.user("alice", claims);
    let before = pair.fake.requests().len();
    let (identity, _) = pair.log_in().await.unwrap();
    assert!(identity.strings(&["groups"]).is_empty());
    assert_eq!(pair.fake.count("elsewhere"), 0);
    assert!(pair.fake.requests().len() - before <= 5, "description, keys, login, tokens, userinfo");
}

#[tokio::test]
async fn rp_claims_aggregated() {
    ignores_claims_of(json!({"JWT": "eyJhbGciOiJub25lIn0.eyJncm91cHMiOlsiL2FkbWluIl19."})).await;
}

#[tokio::test]
async fn rp_claims_distributed() {
    ignores_claims_of(json!({"endpoint": "http://127.0.0.1:1/elsewhere", "access_token": "x"})).await;
}

async fn by_form(fake: impl FnOnce(&Fake)) -> Result<(Identity, Tokens), OidcError> {
    let pair = Pair::with(|config| config.response_mode = ResponseMode::FormPost).await;
    let (url, login) = pair.provider.begin(&Want::default()).await.unwrap();
    fake(&pair.fake);
    let (_, form) = pair.fake.sign_in_by_form(&url).await;
    pair.provider.finish(&login, &Answer::parse(&form)?).await
}

#[tokio::test]
async fn rp_response_mode_form_post() {
    by_form(|_fake| {}).await.unwrap();
}

#[tokio::test]
async fn rp_response_mode_form_post_error() {
    let error = by_form(|fake| fake.refuse("invalid_scope", "Invalid scopes: x", 1)).await.unwrap_err();
    assert!(matches!(&error, OidcError::Refused { error, .. } if error == "invalid_scope"), "{error:?}");
    assert!(error.to_string().contains("Invalid scopes: x"), "{error}");
}

#[tokio::test]
async fn rp_3rd_party_init_login() {
    let hub = Hub::start(BINARY).await;
    let issuer: String = url::form_urlencoded::byte_serialize(hub.provider().issuer().as_bytes()).collect();
    let answer = hub.client().open(&format!("/hub/login?iss={issuer}")).await;
    assert_eq!(answer.status, 303);
    assert!(answer.header("location").unwrap().starts_with(hub.provider().endpoint("auth").as_str()));
    let answer = hub.client().open("/hub/login?iss=https%3A%2F%2Fevil.example").await;
    assert_eq!((answer.status, answer.header("location")), (400, None));
}

#[tokio::test]
async fn rp_discovery_openid_configuration() {
    let pair = Pair::start().await;
    pair.log_in().await.unwrap();
    assert_eq!(pair.fake.count("openid-configuration"), 1);
}

#[tokio::test]
async fn rp_discovery_jwks_uri_keys() {
    let pair = Pair::start().await;
    pair.log_in().await.unwrap();
    assert_eq!(pair.fake.count("certs"), 1);
}

#[tokio::test]
async fn rp_discovery_issuer_not_matching_config() {
    let pair = Pair::start().await;
    pair.fake.lie(Lie::DiscoveryOtherIssuer);
    assert_eq!(pair.provider.ready().await.unwrap_err().kind(), "settings");
}

#[tokio::test]
async fn rp_key_rotation_op_sign_key() {
    let pair = Pair::start().await;
    pair.log_in().await.unwrap();
    pair.fake.rotate_keys();
    pair.log_in().await.unwrap();
}

#[tokio::test]
async fn rp_key_rotation_op_sign_key_native() {
    let pair = Pair::start().await;
    pair.log_in().await.unwrap();
    let (login, answer) = pair.sign_in().await;
    pair.fake.rotate_keys();
    pair.provider.finish(&login, &Answer::parse(&answer).unwrap()).await.unwrap();
}

#[tokio::test]
async fn fapi2_happy_path() {
    let pair = Pair::with(|config| config.pushed_requests = true).await;
    pair.fake.require_pushed_requests();
    pair.log_in().await.unwrap();
}

#[tokio::test]
async fn fapi2_invalid_secondary_aud() {
    refuses(Lie::IdTokenMoreAudiences).await;
    refuses(Lie::IdTokenMoreAudiencesWithoutAzp).await;
}

#[tokio::test]
async fn fapi2_valid_aud_as_array() {
    log_in_with(json!({"aud": [Fake::CLIENT_ID]})).await.unwrap();
}

#[tokio::test]
async fn fapi2_invalid_alternate_alg() {
    refuses(Lie::IdTokenOtherAlgorithm).await;
}

#[tokio::test]
async fn fapi2_invalid_expired_exp() {
    refuses_with(json!({"exp": NOW - 300})).await;
}

#[tokio::test]
async fn fapi2_invalid_missing_exp() {
    refuses_with(json!({ "exp": null })).await;
}

#[tokio::test]
async fn fapi2_invalid_missing_iss() {
    refuses_with(json!({ "iss": null })).await;
}

#[tokio::test]
async fn fapi2_invalid_missing_nonce() {
    refuses_with(json!({ "nonce": null })).await;
}

#[tokio::test]
async fn fapi2_invalid_authorization_response_iss() {
    refuses(Lie::AnswerOtherIss).await;
}

#[tokio::test]
async fn fapi2_remove_authorization_response_iss() {
    refuses(Lie::AnswerNoIss).await;
}

#[tokio::test]
async fn fapi2_ensure_authorization_response_with_invalid_state_fails() {
    refuses(Lie::AnswerOtherState).await;
}

#[tokio::test]
async fn fapi2_ensure_authorization_response_with_invalid_missing_state_fails() {
    let pair = Pair::start().await;
    let (_, answer) = pair.sign_in().await;
    let without: Vec<_> = answer.split('&').filter(|field| !field.starts_with("state=")).collect();
    assert_eq!(Answer::parse(&without.join("&")).unwrap_err().kind(), "mismatch");
}

#[tokio::test]
async fn fapi2_token_endpoint_response_without_expires_in() {
    log_in(Lie::TokenNoExpiry).await.unwrap();
}

#[tokio::test]
async fn fapi2_token_type_case_insensitivity() {
    log_in(Lie::TokenTypeUpperCase).await.unwrap();
}
