//! A provider that lies in a login, one lie a test.

use super::*;

/// The login fails, and says why.
async fn refuses(lie: Lie, kind: &str, words: &str) {
    let pair = Pair::start().await;
    pair.fake.lie(lie);
    let error = pair.log_in().await.unwrap_err();
    assert_eq!(error.kind(), kind, "{error:?}");
    assert!(chain(&error).contains(words), "{}", chain(&error));
    assert!(!error.remedy().is_empty());
    pair.fake.be_honest();
    pair.log_in().await.unwrap();
}

/// The login succeeds all the same.
async fn accepts(lie: Lie) {
    let pair = Pair::start().await;
    pair.fake.lie(lie);
    let (identity, _) = pair.log_in().await.unwrap();
    assert_eq!(identity.subject, "f:ldap:alice");
}

#[tokio::test]
async fn a_user_who_says_no_is_refused() {
    refuses(Lie::AnswerDenied, "refused", "access_denied").await;
}

#[tokio::test]
async fn an_error_from_another_provider_is_not_shown() {
    refuses(Lie::AnswerDeniedOtherIss, "mismatch", "another provider").await;
}

#[tokio::test]
async fn an_answer_that_hides_its_provider_is_refused() {
    // Keycloak's switch for old clients, which its description does not take into account.
    refuses(Lie::AnswerNoIss, "mismatch", "Exclude Issuer From Authentication Response").await;
}

#[tokio::test]
async fn an_answer_whose_provider_is_only_almost_ours_is_refused() {
    let pair = Pair::start().await;
    let ours = pair.fake.issuer();
    for almost in [
        format!("{ours}/"),
        format!(" {ours}"),
        format!("{ours}#"),
        ours.replace("http:", "HTTP:"),
        ours.replace("/realms", "/%72ealms"),
        ours.replace("/realms", "/x/../realms"),
        ours.replace("/realms/test", "/realms/Test"),
        ours.replace("/realms/test", "/realms/tes"),
        String::new(),
    ] {
        let (login, answer) = pair.sign_in().await;
        let other = |(name, value): (String, String)| {
            let value = if name == "iss" { almost.clone() } else { value };
            (name, value)
        };
        let pairs = url::form_urlencoded::parse(answer.as_bytes()).into_owned().map(other);
        let answer = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
        let error = pair.provider.finish(&login, &Answer::parse(&answer).unwrap()).await.unwrap_err();
        assert_eq!(error.kind(), "mismatch", "{almost:?}: RFC 9207 section 2.4 compares letter by letter");
    }
    assert_eq!(pair.fake.count("token"), 0, "and no code is sent anywhere");
}

#[tokio::test]
async fn an_answer_from_another_provider_is_refused() {
    refuses(Lie::AnswerOtherIss, "mismatch", "another provider").await;
}

#[tokio::test]
async fn an_answer_to_another_state_is_refused() {
    refuses(Lie::AnswerOtherState, "mismatch", "state").await;
}

#[tokio::test]
async fn a_page_in_place_of_tokens_is_an_outage() {
    refuses(Lie::TokenHtml, "unreachable", "not JSON").await;
}

#[tokio::test]
async fn a_broken_token_endpoint_is_an_outage() {
    refuses(Lie::TokenServerError, "unreachable", "500").await;
}

#[tokio::test]
async fn an_answer_without_end_is_not_read() {
    refuses(Lie::TokenHuge, "unreachable", "limit").await;
}

#[tokio::test]
async fn an_error_that_looks_like_success_is_an_error() {
    refuses(Lie::TokenErrorWithStatus200, "refused", "invalid_grant").await;
}

#[tokio::test]
async fn an_access_token_that_needs_a_proof_is_refused() {
    refuses(Lie::TokenTypeDpop, "untrusted", "bearer").await;
}

#[tokio::test]
async fn a_login_without_an_id_token_is_refused() {
    refuses(Lie::TokenNoIdToken, "untrusted", "no ID token").await;
}

#[tokio::test]
async fn a_login_without_an_access_token_is_refused() {
    refuses(Lie::TokenNoAccessToken, "untrusted", "malformed").await;
}

#[tokio::test]
async fn an_access_token_that_breaks_a_header_is_refused() {
    refuses(Lie::TokenMalformedAccessToken, "untrusted", "access token is malformed").await;
}

#[tokio::test]
async fn an_id_token_that_is_none_is_refused() {
    refuses(Lie::IdTokenMalformed, "untrusted", "malformed").await;
}

#[tokio::test]
async fn an_id_token_of_another_issuer_is_refused() {
    refuses(Lie::IdTokenOtherIssuer, "untrusted", "another issuer").await;
}

#[tokio::test]
async fn an_id_token_for_another_client_is_refused() {
    refuses(Lie::IdTokenOtherAudience, "untrusted", "another client").await;
}

#[tokio::test]
async fn an_id_token_for_nobody_is_refused() {
    refuses(Lie::IdTokenNoAudience, "untrusted", "audience").await;
}

#[tokio::test]
async fn an_id_token_for_others_too_must_say_for_whom_it_was_made() {
    refuses(Lie::IdTokenMoreAudiencesWithoutAzp, "untrusted", "other clients too").await;
}

#[tokio::test]
async fn an_id_token_made_for_another_client_is_refused() {
    refuses(Lie::IdTokenOtherAzp, "untrusted", "azp").await;
}

#[tokio::test]
async fn an_id_token_of_another_login_is_refused() {
    refuses(Lie::IdTokenOtherNonce, "untrusted", "nonce of another").await;
}

#[tokio::test]
async fn an_id_token_of_no_login_is_refused() {
    refuses(Lie::IdTokenNoNonce, "untrusted", "no nonce").await;
}

#[tokio::test]
async fn an_expired_id_token_is_refused() {
    refuses(Lie::IdTokenExpired, "untrusted", "clock").await;
}

#[tokio::test]
async fn an_id_token_that_never_expires_is_refused() {
    refuses(Lie::IdTokenNoExpiry, "untrusted", "exp").await;
}

#[tokio::test]
async fn an_id_token_that_hides_its_age_is_refused() {
    refuses(Lie::IdTokenNoIssueTime, "untrusted", "iat").await;
}

#[tokio::test]
async fn an_id_token_from_the_future_is_refused() {
    refuses(Lie::IdTokenFromTheFuture, "untrusted", "clock").await;
}

#[tokio::test]
async fn an_id_token_that_is_not_valid_yet_is_refused() {
    refuses(Lie::IdTokenNotYetValid, "untrusted", "clock").await;
}

#[tokio::test]
async fn an_id_token_about_nobody_is_refused() {
    refuses(Lie::IdTokenNoSubject, "untrusted", "sub is missing").await;
}

#[tokio::test]
async fn an_id_token_with_an_endless_subject_is_refused() {
    refuses(Lie::IdTokenLongSubject, "untrusted", "255").await;
}

#[tokio::test]
async fn an_id_token_of_another_access_token_is_refused() {
    refuses(Lie::IdTokenOtherAccessTokenHash, "untrusted", "does not belong").await;
}

#[tokio::test]
async fn an_id_token_signed_by_another_key_is_refused() {
    refuses(Lie::IdTokenBadSignature, "untrusted", "signature").await;
}

#[tokio::test]
async fn an_id_token_with_an_empty_signature_is_refused() {
    refuses(Lie::IdTokenNoSignature, "untrusted", "signature").await;
}

#[tokio::test]
async fn an_id_token_with_algorithm_none_is_refused() {
    refuses(Lie::IdTokenAlgorithmNone, "untrusted", "\"none\"").await;
}

#[tokio::test]
async fn an_id_token_with_a_mac_of_our_secret_is_refused() {
    refuses(Lie::IdTokenMacOfSecret, "untrusted", "\"HS256\"").await;
}

#[tokio::test]
async fn an_id_token_with_a_mac_of_the_public_key_is_refused() {
    refuses(Lie::IdTokenMacOfPublicKey, "untrusted", "\"HS256\"").await;
}

#[tokio::test]
async fn an_id_token_of_an_unknown_key_is_refused() {
    refuses(Lie::IdTokenUnknownKey, "untrusted", "no key").await;
}

#[tokio::test]
async fn an_id_token_with_a_critical_extension_is_refused() {
    refuses(Lie::IdTokenCriticalHeader, "untrusted", "must be understood").await;
}

#[tokio::test]
async fn a_logout_token_is_no_id_token() {
    refuses(Lie::IdTokenIsLogoutToken, "untrusted", "another kind").await;
}

#[tokio::test]
async fn an_access_token_is_no_id_token() {
    refuses(Lie::IdTokenIsAccessToken, "untrusted", "another kind").await;
}

#[tokio::test]
async fn userinfo_about_another_person_is_refused() {
    refuses(Lie::UserinfoOtherSubject, "untrusted", "somebody else").await;
}

#[tokio::test]
async fn a_subject_in_other_letters_is_somebody_else() {
    for subject in ["F:LDAP:ALICE", "f:ldap:alice ", "f:ldap:alice\u{301}"] {
        let pair = Pair::start().await;
        pair.fake.claim_in_id_tokens(json!({ "sub": subject }));
        let error = pair.log_in().await.unwrap_err();
        assert!(error.to_string().contains("somebody else"), "{subject:?}: {error}");
    }
}

#[tokio::test]
async fn userinfo_about_nobody_is_refused() {
    refuses(Lie::UserinfoNoSubject, "untrusted", "somebody else").await;
}

#[tokio::test]
async fn userinfo_may_be_signed() {
    accepts(Lie::UserinfoSigned).await;
}

#[tokio::test]
async fn userinfo_that_is_a_list_is_refused() {
    refuses(Lie::UserinfoArray, "untrusted", "not a JSON object").await;
}

#[tokio::test]
async fn a_page_in_place_of_userinfo_is_an_outage() {
    refuses(Lie::UserinfoHtml, "unreachable", "userinfo").await;
}

#[tokio::test]
async fn a_broken_userinfo_endpoint_is_an_outage() {
    refuses(Lie::UserinfoServerError, "unreachable", "502").await;
}

#[tokio::test]
async fn the_type_of_a_token_has_no_case() {
    accepts(Lie::TokenTypeUpperCase).await;
}

#[tokio::test]
async fn a_token_may_hide_when_it_expires() {
    accepts(Lie::TokenNoExpiry).await;
}

#[tokio::test]
async fn an_id_token_for_others_too_is_refused_unless_they_are_listed() {
    refuses(Lie::IdTokenMoreAudiences, "untrusted", "provider.trusted_audiences").await;
    let pair = Pair::with(|config| config.trusted_audiences = vec!["other".to_owned()]).await;
    pair.fake.lie(Lie::IdTokenMoreAudiences);
    pair.log_in().await.unwrap();
}

#[tokio::test]
async fn an_id_token_may_have_no_hash_of_the_access_token() {
    accepts(Lie::IdTokenNoAccessTokenHash).await;
}

#[tokio::test]
async fn an_id_token_may_be_large() {
    let pair = Pair::start().await;
    pair.fake.lie(Lie::IdTokenLarge);
    let (identity, tokens) = pair.log_in().await.unwrap();
    assert!(tokens.id_token.unwrap().expose().len() > 20 * 1024, "with hundreds of groups");
    assert!(identity.strings(&["groups"]).len() == 600);
}

#[tokio::test]
async fn a_session_at_the_provider_has_a_name_of_any_letters_and_no_endless_one() {
    for (sid, known) in [
        ("wn2fS0GxBKsCsLP2jGDGSpiN".to_owned(), true),
        ("a/b+c=:é ".to_owned(), true),
        ("s".repeat(255), true),
        ("s".repeat(256), false),
        (String::new(), false),
    ] {
        let pair = Pair::start().await;
        pair.fake.claim_in_id_tokens(json!({ "sid": sid }));
        let (identity, _) = pair.log_in().await.unwrap();
        assert_eq!(identity.sid, known.then_some(sid));
    }
}

#[tokio::test]
async fn an_odd_profile_locks_nobody_out() {
    accepts(Lie::IdTokenOddProfile).await;
}

#[tokio::test]
async fn an_access_token_may_be_opaque() {
    accepts(Lie::AccessTokenOpaque).await;
}

#[tokio::test]
async fn a_redirect_never_gets_the_code_or_the_token() {
    refuses(Lie::TokenRedirect, "unreachable", "307").await;
    refuses(Lie::UserinfoRedirect, "unreachable", "302").await;
    for lie in [Lie::TokenRedirect, Lie::UserinfoRedirect] {
        let pair = Pair::start().await;
        pair.fake.lie(lie);
        pair.log_in().await.unwrap_err();
        assert_eq!(pair.fake.count("elsewhere"), 0);
    }
}
