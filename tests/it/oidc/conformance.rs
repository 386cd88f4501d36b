//! The OpenID Foundation's conformance suite for relying parties (`conformance-suite`, `openid/client`), re-told: which of
//! its modules, and of its older cases `rp-*`, is which test here. The suite itself needs a Java server and a browser; the
//! provider of these tests says what it would say. Nothing of the plans is left out unsaid: what does not apply has its
//! reason.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use support::hub::Hub;

use super::*;
use crate::BINARY;

/// A module of the suite or a case of its predecessor, and the test that is it.
const TOLD: &[(&str, &str)] = &[
    // oidcc-client-basic-certification-test-plan
    ("oidcc-client-test", "rp_response_type_code"),
    ("rp-response_type-code", "rp_response_type_code"),
    ("oidcc-client-test-client-secret-basic", "rp_token_endpoint_client_secret_basic"),
    ("rp-token_endpoint-client_secret_basic", "rp_token_endpoint_client_secret_basic"),
    ("rp-token_endpoint-client_secret_post", "rp_token_endpoint_client_secret_post"),
    ("rp-token_endpoint-private_key_jwt", "rp_token_endpoint_private_key_jwt"),
    ("oidcc-client-test-invalid-iss", "rp_id_token_issuer_mismatch"),
    ("rp-id_token-issuer-mismatch", "rp_id_token_issuer_mismatch"),
    ("oidcc-client-test-missing-sub", "rp_id_token_sub"),
    ("rp-id_token-sub", "rp_id_token_sub"),
    ("oidcc-client-test-invalid-aud", "rp_id_token_aud"),
    ("rp-id_token-aud", "rp_id_token_aud"),
    ("oidcc-client-test-missing-aud", "rp_id_token_missing_aud"),
    ("oidcc-client-test-missing-iat", "rp_id_token_iat"),
    ("rp-id_token-iat", "rp_id_token_iat"),
    ("oidcc-client-test-kid-absent-single-jwks", "rp_id_token_kid_absent_single_jwks"),
    ("rp-id_token-kid-absent-single-jwks", "rp_id_token_kid_absent_single_jwks"),
    ("oidcc-client-test-kid-absent-multiple-jwks", "rp_id_token_kid_absent_multiple_jwks"),
    ("rp-id_token-kid-absent-multiple-jwks", "rp_id_token_kid_absent_multiple_jwks"),
    ("oidcc-client-test-idtoken-sig-rs256", "rp_id_token_sig_rs256"),
    ("rp-id_token-sig-rs256", "rp_id_token_sig_rs256"),
    ("rp-id_token-sig-es256", "rp_id_token_sig_es256"),
    ("rp-id_token-sig-hs256", "rp_id_token_sig_hs256"),
    ("oidcc-client-test-idtoken-sig-none", "rp_id_token_sig_none"),
    ("rp-id_token-sig-none", "rp_id_token_sig_none"),
    ("oidcc-client-test-invalid-sig-rs256", "rp_id_token_bad_sig_rs256"),
    ("rp-id_token-bad-sig-rs256", "rp_id_token_bad_sig_rs256"),
    ("oidcc-client-test-invalid-sig-hs256", "rp_id_token_bad_sig_hs256"),
    ("rp-id_token-bad-sig-hs256", "rp_id_token_bad_sig_hs256"),
    ("oidcc-client-test-invalid-sig-es256", "rp_id_token_bad_sig_es256"),
    ("rp-id_token-bad-sig-es256", "rp_id_token_bad_sig_es256"),
    ("oidcc-client-test-userinfo-invalid-sub", "rp_userinfo_bad_sub_claim"),
    ("rp-userinfo-bad-sub-claim", "rp_userinfo_bad_sub_claim"),
    ("oidcc-client-test-userinfo-bearer-header", "rp_userinfo_bearer_header"),
    ("rp-userinfo-bearer-header", "rp_userinfo_bearer_header"),
    ("oidcc-client-test-userinfo-signed", "rp_userinfo_sig"),
    ("rp-userinfo-sig", "rp_userinfo_sig"),
    ("oidcc-client-test-nonce-invalid", "rp_nonce_invalid"),
    ("rp-nonce-invalid", "rp_nonce_invalid"),
    ("oidcc-client-test-nonce-unless-code-flow", "rp_nonce_unless_code_flow"),
    ("rp-nonce-unless-code-flow", "rp_nonce_unless_code_flow"),
    ("oidcc-client-test-scope-userinfo-claims", "rp_scope_userinfo_claims"),
    ("rp-scope-userinfo-claims", "rp_scope_userinfo_claims"),
    ("oidcc-client-test-aggregated-claims", "rp_claims_aggregated"),
    ("rp-claims-aggregated", "rp_claims_aggregated"),
    ("oidcc-client-test-distributed-claims", "rp_claims_distributed"),
    ("rp-claims-distributed", "rp_claims_distributed"),
    ("oidcc-client-test-invalid-athash", "rp_id_token_bad_at_hash"),
    ("rp-id_token-bad-at_hash", "rp_id_token_bad_at_hash"),
    // oidcc-client-formpost-basic-certification-test-plan
    ("rp-response_mode-form_post", "rp_response_mode_form_post"),
    ("oidcc-client-test-form-post-error", "rp_response_mode_form_post_error"),
    ("rp-response_mode-form_post-error", "rp_response_mode_form_post_error"),
    // oidcc-client-test-3rd-party-init-login-test-plan
    ("oidcc-client-test-3rd-party-init-login", "rp_3rd_party_init_login"),
    ("rp-3rd_party-init-login", "rp_3rd_party_init_login"),
    // oidcc-client-config-certification-test-plan
    ("oidcc-client-test-discovery-openid-config", "rp_discovery_openid_configuration"),
    ("rp-discovery-openid-configuration", "rp_discovery_openid_configuration"),
    ("oidcc-client-test-discovery-jwks-uri-keys", "rp_discovery_jwks_uri_keys"),
    ("rp-discovery-jwks_uri-keys", "rp_discovery_jwks_uri_keys"),
    ("oidcc-client-test-discovery-issuer-mismatch", "rp_discovery_issuer_not_matching_config"),
    ("rp-discovery-issuer-not-matching-config", "rp_discovery_issuer_not_matching_config"),
    ("oidcc-client-test-signing-key-rotation", "rp_key_rotation_op_sign_key"),
    ("rp-key-rotation-op-sign-key", "rp_key_rotation_op_sign_key"),
    ("oidcc-client-test-signing-key-rotation-just-before-signing", "rp_key_rotation_op_sign_key_native"),
    ("rp-key-rotation-op-sign-key-native", "rp_key_rotation_op_sign_key_native"),
    // oidcc-client-refreshtoken-test-plan
    ("oidcc-client-test-refresh-token", "rp_refresh_token"),
    ("oidcc-client-test-refresh-token-invalid-issuer", "rp_refresh_token_invalid_issuer"),
    ("oidcc-client-test-refresh-token-invalid-sub", "rp_refresh_token_invalid_sub"),
    // oidcc-client-rp-initiated-logout-rp-basic
    ("oidcc-client-test-rp-init-logout", "rp_init_logout"),
    ("rp-init-logout", "rp_init_logout"),
    ("oidcc-client-test-rp-init-logout-no-state", "rp_init_logout_no_state"),
    ("rp-init-logout-no-state", "rp_init_logout_no_state"),
    ("oidcc-client-test-rp-init-logout-other-state", "rp_init_logout_other_state"),
    ("rp-init-logout-other-state", "rp_init_logout_other_state"),
    // oidcc-client-back-channel-logout-rp-basic
    ("oidcc-client-test-rp-backchannel-rpinitlogout", "rp_backchannel_rpinitlogout"),
    ("rp-backchannel-rpinitlogout", "rp_backchannel_rpinitlogout"),
    ("oidcc-client-test-rp-backchannel-rpinitlogout-alg-none", "rp_backchannel_rpinitlogout_lt_alg_none"),
    ("rp-backchannel-rpinitlogout-lt-alg-none", "rp_backchannel_rpinitlogout_lt_alg_none"),
    ("oidcc-client-test-rp-backchannel-rpinitlogout-wrong-alg", "rp_backchannel_rpinitlogout_lt_wrong_alg"),
    ("rp-backchannel-rpinitlogout-lt-wrong-alg", "rp_backchannel_rpinitlogout_lt_wrong_alg"),
    (
        "oidcc-client-test-rp-backchannel-rpinitlogout-wrong-iss",
        "rp_backchannel_rpinitlogout_lt_wrong_issuer",
    ),
    ("rp-backchannel-rpinitlogout-lt-wrong-issuer", "rp_backchannel_rpinitlogout_lt_wrong_issuer"),
    ("oidcc-client-test-rp-backchannel-rpinitlogout-wrong-aud", "rp_backchannel_rpinitlogout_lt_wrong_aud"),
    ("rp-backchannel-rpinitlogout-lt-wrong-aud", "rp_backchannel_rpinitlogout_lt_wrong_aud"),
    ("oidcc-client-test-rp-backchannel-rpinitlogout-no-event", "rp_backchannel_rpinitlogout_lt_no_event"),
    ("rp-backchannel-rpinitlogout-lt-no-event", "rp_backchannel_rpinitlogout_lt_no_event"),
    (
        "oidcc-client-test-rp-backchannel-rpinitlogout-wrong-event",
        "rp_backchannel_rpinitlogout_lt_wrong_event",
    ),
    ("rp-backchannel-rpinitlogout-lt-wrong-event", "rp_backchannel_rpinitlogout_lt_wrong_event"),
    ("oidcc-client-test-rp-backchannel-rpinitlogout-with-nonce", "rp_backchannel_rpinitlogout_lt_with_nonce"),
    ("rp-backchannel-rpinitlogout-lt-with-nonce", "rp_backchannel_rpinitlogout_lt_with_nonce"),
    // oidcc-client-front-channel-logout-rp-basic
    ("oidcc-client-test-rp-frontchannel-rpinitlogout", "rp_frontchannel_rpinitlogout"),
    ("rp-frontchannel-rpinitlogout", "rp_frontchannel_rpinitlogout"),
    ("rp-frontchannel-rpinitlogout-wrong-sid", "rp_frontchannel_rpinitlogout_wrong_sid"),
    ("rp-frontchannel-rpinitlogout-wrong-iss", "rp_frontchannel_rpinitlogout_wrong_iss"),
    ("oidcc-client-test-rp-frontchannel-opinitlogout", "rp_frontchannel_opinitlogout"),
    ("rp-frontchannel-opinitlogout", "rp_frontchannel_opinitlogout"),
    ("rp-frontchannel-opinitlogout-wrong-sid", "rp_frontchannel_opinitlogout_wrong_sid"),
    ("rp-frontchannel-opinitlogout-wrong-iss", "rp_frontchannel_opinitlogout_wrong_iss"),
    // fapi2-security-profile-final-client-test-plan, as far as it holds for everybody
    ("fapi2-security-profile-final-client-test-happy-path", "fapi2_happy_path"),
    (
        "fapi2-security-profile-final-client-test-discovery-issuer-mismatch",
        "rp_discovery_issuer_not_matching_config",
    ),
    ("fapi2-security-profile-final-client-test-invalid-iss", "rp_id_token_issuer_mismatch"),
    ("fapi2-security-profile-final-client-test-invalid-aud", "rp_id_token_aud"),
    ("fapi2-security-profile-final-client-test-invalid-secondary-aud", "fapi2_invalid_secondary_aud"),
    ("fapi2-security-profile-final-client-test-valid-aud-as-array", "fapi2_valid_aud_as_array"),
    ("fapi2-security-profile-final-client-test-invalid-null-alg", "rp_id_token_sig_none"),
    ("fapi2-security-profile-final-client-test-invalid-alternate-alg", "fapi2_invalid_alternate_alg"),
    ("fapi2-security-profile-final-client-test-invalid-expired-exp", "fapi2_invalid_expired_exp"),
    ("fapi2-security-profile-final-client-test-invalid-missing-exp", "fapi2_invalid_missing_exp"),
    ("fapi2-security-profile-final-client-test-invalid-missing-aud", "rp_id_token_missing_aud"),
    ("fapi2-security-profile-final-client-test-invalid-missing-iss", "fapi2_invalid_missing_iss"),
    ("fapi2-security-profile-final-client-test-invalid-nonce", "rp_nonce_invalid"),
    ("fapi2-security-profile-final-client-test-invalid-missing-nonce", "fapi2_invalid_missing_nonce"),
    (
        "fapi2-security-profile-final-client-test-invalid-authorization-response-iss",
        "fapi2_invalid_authorization_response_iss",
    ),
    (
        "fapi2-security-profile-final-client-test-remove-authorization-response-iss",
        "fapi2_remove_authorization_response_iss",
    ),
    (
        "fapi2-security-profile-final-client-test-ensure-authorization-response-with-invalid-state-fails",
        "fapi2_ensure_authorization_response_with_invalid_state_fails",
    ),
    (
        "fapi2-security-profile-final-client-test-ensure-authorization-response-with-invalid-missing-state-fails",
        "fapi2_ensure_authorization_response_with_invalid_missing_state_fails",
    ),
    (
        "fapi2-security-profile-final-client-test-token-endpoint-response-without-expires_in",
        "fapi2_token_endpoint_response_without_expires_in",
    ),
    (
        "fapi2-security-profile-final-client-test-token-type-case-insensitivity",
        "fapi2_token_type_case_insensitivity",
    ),
    ("fapi2-security-profile-final-client-refresh-token-test", "rp_refresh_token"),
];

const OTHER_FLOWS: &str =
    "the code flow is the only one: no setting asks for another (RFC 9700 section 2.1.2)";
const ENCRYPTED: &str = "encrypted tokens are refused with a remedy: TLS and a confidential client protect them, and a \
    second private key would be one more to lose";
const REQUEST_OBJECTS: &str = "request objects by reference are the provider's to fetch; a request is handed over \
    directly instead (RFC 9126)";
const REGISTERED: &str =
    "a client is registered by an administrator, or by `hubgate connect` at Keycloak's own API";
const WEBFINGER: &str = "the provider is configured, not found from what a person types";
const DPOP: &str = "tokens stay between provider and hub, and are not bound to a key (see docs/security.md)";
const JARM: &str =
    "answers that are signed tokens are not asked for: `iss` and the form post do what they are for";

/// A module or a case that is no test, and why.
const NOT_TOLD: &[(&str, &str)] = &[
    ("oidcc-client-test-missing-athash", "at_hash is optional in the code flow (Core section 3.1.3.6)"),
    ("rp-id_token-missing-at_hash", "at_hash is optional in the code flow (Core section 3.1.3.6)"),
    ("oidcc-client-test-invalid-chash", OTHER_FLOWS),
    ("rp-id_token-bad-c_hash", OTHER_FLOWS),
    ("oidcc-client-test-missing-chash", OTHER_FLOWS),
    ("rp-id_token-missing-c_hash", OTHER_FLOWS),
    ("rp-response_type-id_token", OTHER_FLOWS),
    ("rp-response_type-id_token+token", OTHER_FLOWS),
    ("rp-response_type-code+id_token", OTHER_FLOWS),
    ("rp-response_type-code+token", OTHER_FLOWS),
    ("rp-response_type-code+id_token+token", OTHER_FLOWS),
    (
        "oidcc-client-test-userinfo-bearer-body",
        "the header is the one way (RFC 6750 section 2.2: the body should not be)",
    ),
    ("rp-userinfo-bearer-body", "the header is the one way (RFC 6750 section 2.2: the body should not be)"),
    (
        "rp-token_endpoint-client_secret_jwt",
        "a secret that both sides keep is weaker than private_key_jwt, and no safer than basic over TLS",
    ),
    ("rp-id_token-sig+enc", ENCRYPTED),
    ("rp-id_token-sig+enc-a128kw", ENCRYPTED),
    ("rp-userinfo-enc", ENCRYPTED),
    ("rp-userinfo-sig+enc", ENCRYPTED),
    ("rp-key-rotation-op-enc-key", ENCRYPTED),
    ("rp-key-rotation-rp-enc-key", ENCRYPTED),
    (
        "rp-key-rotation-rp-sign-key",
        "a new client_key is read at the next start; the provider may know both meanwhile",
    ),
    ("rp-claims_request-id_token", "claims come by scopes and the provider's mappers"),
    ("rp-claims_request-userinfo", "claims come by scopes and the provider's mappers"),
    ("oidcc-client-test-request-uri-signed-none", REQUEST_OBJECTS),
    ("oidcc-client-test-request-uri-signed-rs256", REQUEST_OBJECTS),
    ("rp-request_uri-unsigned", REQUEST_OBJECTS),
    ("rp-request_uri-sig", REQUEST_OBJECTS),
    ("rp-request_uri-enc", REQUEST_OBJECTS),
    ("rp-request_uri-sig+enc", REQUEST_OBJECTS),
    ("oidcc-client-test-mtls-endpoint-aliases", "client certificates are not offered (see docs/security.md)"),
    ("oidcc-client-test-discovery-webfinger-acct", WEBFINGER),
    ("rp-discovery-webfinger-acct", WEBFINGER),
    ("oidcc-client-test-discovery-webfinger-url", WEBFINGER),
    ("rp-discovery-webfinger-url", WEBFINGER),
    ("rp-discovery-webfinger-http-href", WEBFINGER),
    ("rp-discovery-webfinger-unknown-member", WEBFINGER),
    ("oidcc-client-test-dynamic-registration", REGISTERED),
    ("rp-registration-dynamic", REGISTERED),
    ("rp-registration-well-formed-jwk", REGISTERED),
    ("rp-registration-uses-https-endpoints", REGISTERED),
    (
        "oidcc-client-test-session-management",
        "its frame needs cookies of another site, which browsers no longer send",
    ),
    ("rp-init-logout-session", "its frame needs cookies of another site, which browsers no longer send"),
    ("fapi2-security-profile-final-client-test-happy-path-no-dpop-nonce", DPOP),
    ("fapi2-security-profile-final-client-test-rs-dpop-auth-scheme-case-insensitivity", DPOP),
    ("fapi2-security-profile-final-client-test-ensure-jarm-*", JARM),
];

#[test]
fn every_case_of_the_conformance_suite_is_a_test_or_has_its_reason() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/oidc");
    let code: String =
        fs::read_dir(folder).unwrap().map(|file| fs::read_to_string(file.unwrap().path()).unwrap()).collect();
    let mut names = BTreeSet::new();
    for (name, test) in TOLD {
        assert!(names.insert(*name), "{name} is told twice");
        assert!(code.contains(&format!("async fn {test}()")), "{name}: there is no test {test}");
        if name.starts_with("rp-") {
            assert_eq!(name.replace('-', "_"), *test, "a test has the name of its case");
        }
    }
    for (name, reason) in NOT_TOLD {
        assert!(names.insert(*name), "{name} is told, and yet has a reason not to be");
        assert!(reason.len() > 20, "{name}: {reason}");
    }
    let told: BTreeSet<_> = TOLD.iter().map(|(_, test)| *test).collect();
    let tests = code.split("async fn ").skip(1).filter_map(|rest| rest.split_once('(')).map(|(name, _)| name);
    let cases = tests.filter(|name| name.starts_with("rp_") || name.starts_with("fapi2_"));
    let untold: Vec<_> = cases.filter(|name| !told.contains(name)).collect();
    assert!(untold.is_empty(), "of which case are {untold:?}?");
}

/// A browser that is signed in, and what the provider's page has in its frame.
struct Framed {
    hub: Hub,
    browser: support::client::Client,
    sid: String,
}

impl Framed {
    async fn start() -> Self {
        let hub = Hub::start(BINARY).await;
        let mut browser = hub.client();
        let begun = browser.open("/hub/login").await;
        let back = hub.answer_of_provider(begun.header("location").unwrap(), "alice").await;
        let url = Url::parse(&format!("https://hub.example{back}")).unwrap();
        let sid = url.query_pairs().find(|(name, _)| name == "session_state").unwrap().1.into_owned();
        assert_eq!(browser.open(&back).await.status, 303);
        Self { hub, browser, sid }
    }

    /// Opens the frame; its browser sends no cookie from there.
    async fn frame(&self, iss: &str, sid: &str) -> u16 {
        let query = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs([("iss", iss), ("sid", sid)])
            .finish();
        let headers = [
            ("Accept", "text/html"),
            ("Sec-Fetch-Site", "cross-site"),
            ("Sec-Fetch-Mode", "navigate"),
            ("Sec-Fetch-Dest", "iframe"),
        ];
        let target = format!("/hub/frontchannel-logout?{query}");
        self.hub.client().send("GET", &target, &headers, b"").await.status
    }

    async fn is_signed_in(&self) -> bool {
        self.browser.clone().open("/hub/home").await.status == 200
    }

    /// Signs another browser out from here: the provider's page then tells the hub by its frame.
    async fn sign_out_elsewhere(&self) {
        let mut other = self.hub.signed_in("alice").await;
        sign_out(&mut other).await;
    }
}

async fn sign_out(browser: &mut support::client::Client) {
    let token = browser.open("/hub/logout").await.field("form_token").unwrap();
    assert_eq!(browser.submit("/hub/logout", &[("form_token", &token)]).await.status, 303);
}

#[tokio::test]
async fn rp_frontchannel_rpinitlogout() {
    let framed = Framed::start().await;
    sign_out(&mut framed.browser.clone()).await;
    // The provider's page tells it once more, when nobody is there any more.
    assert_eq!(framed.frame(&framed.hub.provider().issuer(), &framed.sid).await, 200);
    assert!(!framed.is_signed_in().await);
}

#[tokio::test]
async fn rp_frontchannel_rpinitlogout_wrong_sid() {
    let framed = Framed::start().await;
    framed.sign_out_elsewhere().await;
    framed.frame(&framed.hub.provider().issuer(), "another").await;
    assert!(framed.is_signed_in().await);
}

#[tokio::test]
async fn rp_frontchannel_rpinitlogout_wrong_iss() {
    let framed = Framed::start().await;
    framed.sign_out_elsewhere().await;
    assert_ne!(framed.frame("https://other.example/realms/test", &framed.sid).await, 200);
    assert!(framed.is_signed_in().await);
}

#[tokio::test]
async fn rp_frontchannel_opinitlogout() {
    let framed = Framed::start().await;
    assert_eq!(framed.frame(&framed.hub.provider().issuer(), &framed.sid).await, 200);
    assert!(!framed.is_signed_in().await);
}

#[tokio::test]
async fn rp_frontchannel_opinitlogout_wrong_sid() {
    let framed = Framed::start().await;
    framed.frame(&framed.hub.provider().issuer(), "another").await;
    assert!(framed.is_signed_in().await);
}

#[tokio::test]
async fn rp_frontchannel_opinitlogout_wrong_iss() {
    let framed = Framed::start().await;
    assert_ne!(framed.frame("https://other.example/realms/test", &framed.sid).await, 200);
    assert!(framed.is_signed_in().await);
}
