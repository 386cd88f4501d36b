//! Sessions that are refreshed.

use super::*;

/// A login, and what refreshes make of it.
struct Session {
    pair: Pair,
    identity: Identity,
    tokens: Tokens,
}

impl Session {
    async fn start() -> Self {
        Self::of(Pair::start().await).await
    }

    async fn of(pair: Pair) -> Self {
        let (identity, tokens) = pair.log_in().await.unwrap();
        Self { pair, identity, tokens }
    }

    /// Time goes on, for both sides.
    fn later(&self, seconds: u64) {
        self.pair.clock.advance(Duration::from_secs(seconds));
        self.pair.fake.set_time(self.pair.clock.now());
    }

    async fn refresh(&mut self) -> Result<(), OidcError> {
        let (identity, tokens) = self.pair.provider.refresh(&self.identity, &self.tokens).await?;
        (self.identity, self.tokens) = (identity, tokens);
        Ok(())
    }

    /// The refresh fails while the provider lies, and says why; not as the end of the session.
    async fn refuses(&mut self, lie: Lie, kind: &str, words: &str) {
        self.pair.fake.lie(lie);
        let error = self.refresh().await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error:?}");
        assert!(chain(&error).contains(words), "{}", chain(&error));
        assert!(!error.remedy().is_empty() && !is_over(&error));
        self.pair.fake.be_honest();
    }

    fn roles(&self) -> Vec<&str> {
        self.identity.strings(&["realm_access", "roles"])
    }
}

fn is_over(error: &OidcError) -> bool {
    matches!(error, OidcError::Refused { error, .. } if error == "invalid_grant")
}

fn text(secret: Option<&Secret>) -> String {
    secret.map(|secret| secret.expose().to_owned()).unwrap_or_default()
}

#[tokio::test]
async fn a_refresh_gives_new_tokens_and_the_same_person() {
    let mut session = Session::start().await;
    let (before, old) = (session.identity.clone(), session.tokens.clone());
    assert_eq!(
        (old.issued, old.expires, old.refresh_expires),
        (Some(NOW), Some(NOW + 300), Some(NOW + 1800))
    );
    session.later(200);
    session.refresh().await.unwrap();
    let new = &session.tokens;
    assert_eq!((new.issued, new.expires), (Some(NOW + 200), Some(NOW + 500)));
    assert_eq!(new.refresh_expires, Some(NOW + 2000));
    assert_ne!(text(new.access_token.as_ref()), text(old.access_token.as_ref()));
    assert_ne!(text(new.id_token.as_ref()), text(old.id_token.as_ref()));
    assert_ne!(text(new.refresh_token.as_ref()), text(old.refresh_token.as_ref()));
    let after = &session.identity;
    assert_eq!((&after.issuer, &after.subject, &after.sid), (&before.issuer, &before.subject, &before.sid));
    for name in ["auth_time", "nonce", "sid"] {
        assert_eq!(after.claims[name], before.claims[name], "{name}");
    }
    let seen = session.pair.fake.requests();
    let seen = seen.iter().rfind(|seen| seen.path.ends_with("/token")).unwrap();
    assert!(seen.authorization.as_deref().is_some_and(|value| value.starts_with("Basic ")));
    assert_eq!(seen.form_value("refresh_token"), Some(text(old.refresh_token.as_ref()).as_str()));
    assert_eq!((seen.form_value("scope"), seen.form_value("nonce")), (None, None));
}

#[tokio::test]
async fn roles_after_a_refresh_take_the_place_of_those_before() {
    let pair = Pair::start().await;
    pair.fake
        .user("alice", json!({"realm_access": {"roles": ["hub-user", "hub-admin"]}, "groups": ["/lab"]}));
    let mut session = Session::of(pair).await;
    assert_eq!(session.roles(), ["hub-user", "hub-admin"]);
    session.pair.fake.user("alice", json!({"realm_access": {"roles": ["hub-user"]}, "groups": null}));
    session.refresh().await.unwrap();
    assert_eq!(session.roles(), ["hub-user"]);
    assert!(session.identity.strings(&["groups"]).is_empty());
    session.pair.fake.user("alice", json!({"realm_access": null}));
    session.refresh().await.unwrap();
    assert!(session.roles().is_empty());
}

#[tokio::test]
async fn a_lost_role_is_lost_without_a_new_id_token_too() {
    let pair = Pair::start().await;
    let roles = json!({"realm_access": {"roles": ["hub-user", "x"]}, "resource_access": {"hub": {"roles": ["admin"]}}});
    pair.fake.user("alice", roles);
    let mut session = Session::of(pair).await;
    let first = text(session.tokens.id_token.as_ref());
    session
        .pair
        .fake
        .user("alice", json!({"realm_access": {"roles": ["hub-user"]}, "email": "new@example.org"}));
    session.pair.fake.lie(Lie::TokenNoIdToken);
    for _ in 0..10 {
        session.refresh().await.unwrap();
        assert_eq!(session.roles(), ["hub-user"]);
        assert!(session.identity.strings(&["resource_access", "hub", "roles"]).is_empty());
    }
    assert_eq!(session.identity.claims["email"], "new@example.org");
    assert_eq!(session.identity.claims["preferred_username"], "alice");
    assert_eq!(text(session.tokens.id_token.as_ref()), first, "it is still the hint for a logout");
    assert!(session.identity.sid.is_some());
    assert_eq!(session.identity.claims["acr"], "1", "as the access token says");
}

#[tokio::test]
async fn roles_of_an_access_token_that_is_not_ours_are_not_taken_at_a_refresh() {
    let pair = Pair::start().await;
    pair.fake.user("alice", json!({"realm_access": {"roles": ["hub-user"]}}));
    let mut session = Session::of(pair).await;
    for lie in [
        Lie::AccessTokenBadSignature,
        Lie::AccessTokenOtherAzp,
        Lie::AccessTokenOtherIssuer,
        Lie::AccessTokenOtherSubject,
        Lie::AccessTokenOtherKind,
        Lie::AccessTokenExpired,
        Lie::AccessTokenOld,
        Lie::AccessTokenOpaque,
        Lie::AccessTokenLightweight,
    ] {
        for more in [Some(Lie::TokenNoIdToken), None] {
            session.pair.fake.be_honest();
            session.pair.fake.lie(lie);
            if let Some(lie) = more {
                session.pair.fake.lie(lie);
            }
            session.refresh().await.unwrap();
            assert!(session.roles().is_empty(), "{lie:?} {more:?}");
        }
    }
    session.pair.fake.be_honest();
    session.refresh().await.unwrap();
    assert_eq!(session.roles(), ["hub-user"]);
}

#[tokio::test]
async fn a_lightweight_access_token_leaves_the_word_to_userinfo() {
    let pair = Pair::start().await;
    pair.fake.user("alice", json!({"realm_access": {"roles": ["hub-user"]}}));
    pair.fake.map_roles();
    pair.fake.lie(Lie::AccessTokenLightweight);
    let mut session = Session::of(pair).await;
    assert_eq!(session.roles(), ["hub-user"]);
    session.pair.fake.lie(Lie::TokenNoIdToken);
    session.refresh().await.unwrap();
    assert_eq!((session.roles(), session.identity.subject.as_str()), (vec!["hub-user"], "f:ldap:alice"));
}

#[tokio::test]
async fn roles_outlive_a_rotation_of_keys() {
    let pair = Pair::start().await;
    pair.fake.user("alice", json!({"realm_access": {"roles": ["hub-user"]}}));
    let mut session = Session::of(pair).await;
    session.pair.fake.rotate_keys();
    session.pair.fake.lie(Lie::TokenNoIdToken);
    session.refresh().await.unwrap();
    assert_eq!(session.roles(), ["hub-user"], "the access token's new key was fetched");
}

#[tokio::test]
async fn what_is_not_given_anew_stays() {
    let mut session = Session::start().await;
    let (refresh, id_token) =
        (text(session.tokens.refresh_token.as_ref()), text(session.tokens.id_token.as_ref()));
    let ends = session.tokens.refresh_expires;
    session.pair.fake.lie(Lie::TokenNoRefreshToken);
    session.pair.fake.lie(Lie::TokenNoIdToken);
    session.later(100);
    for _ in 0..3 {
        session.refresh().await.unwrap();
    }
    assert_eq!(
        (text(session.tokens.refresh_token.as_ref()), text(session.tokens.id_token.as_ref())),
        (refresh, id_token)
    );
    assert!(session.tokens.refresh_expires >= ends);
    assert_eq!(session.tokens.issued, Some(NOW + 100), "it was vouched for then");
}

#[tokio::test]
async fn an_offline_token_does_not_expire() {
    let pair = Pair::with(|config| config.scopes.push("offline_access".to_owned())).await;
    let mut session = Session::of(pair).await;
    assert_eq!(session.tokens.refresh_expires, None);
    session.later(40 * 86_400);
    session.refresh().await.unwrap();
    assert_eq!(
        (session.tokens.refresh_expires, session.tokens.expires),
        (None, Some(NOW + 40 * 86_400 + 300))
    );
}

#[tokio::test]
async fn lifetimes_are_the_providers() {
    let pair = Pair::start().await;
    pair.fake.set_lifetimes(60, 90);
    let mut session = Session::of(pair).await;
    assert_eq!((session.tokens.expires, session.tokens.refresh_expires), (Some(NOW + 60), Some(NOW + 90)));
    session.later(90);
    let error = session.refresh().await.unwrap_err();
    assert!(is_over(&error) && error.to_string().contains("Token is not active"), "{error}");
}

#[tokio::test]
async fn a_token_that_hides_when_it_expires_is_taken() {
    let mut session = Session::start().await;
    session.pair.fake.lie(Lie::TokenNoExpiry);
    session.refresh().await.unwrap();
    assert_eq!(session.tokens.expires, None);
}

#[tokio::test]
async fn a_refresh_token_that_rotates_works_again_and_again() {
    let mut session = Session::start().await;
    session.pair.fake.rotate_refresh_tokens();
    for _ in 0..5 {
        session.later(200);
        session.refresh().await.unwrap();
    }
    assert_eq!(session.pair.fake.open_sessions(), 1);
}

#[tokio::test]
async fn a_second_use_of_a_refresh_token_ends_the_session() {
    let mut session = Session::start().await;
    session.pair.fake.rotate_refresh_tokens();
    let (identity, old) = (session.identity.clone(), session.tokens.clone());
    session.refresh().await.unwrap();
    let error = session.pair.provider.refresh(&identity, &old).await.unwrap_err();
    assert!(is_over(&error) && error.to_string().contains("reuse exceeded"), "{error}");
    let error = session.refresh().await.unwrap_err();
    assert!(is_over(&error) && error.to_string().contains("required client"), "{error}");
}

#[tokio::test]
async fn only_the_code_of_an_error_says_that_a_session_is_over() {
    let mut session = Session::start().await;
    session.pair.fake.end_session(session.identity.sid.as_deref().unwrap());
    let error = session.refresh().await.unwrap_err();
    assert!(is_over(&error) && error.to_string().contains("Session not active"), "{error}");
    let mut session = Session::start().await;
    session.pair.fake.disable("alice");
    let error = session.refresh().await.unwrap_err();
    assert!(is_over(&error) && error.to_string().contains("User disabled"), "{error}");
    let mut session = Session::start().await;
    session.pair.fake.forget_sessions();
    assert!(is_over(&session.refresh().await.unwrap_err()));
}

#[tokio::test]
async fn trouble_at_the_token_endpoint_ends_no_session() {
    let mut session = Session::start().await;
    session.refuses(Lie::TokenHtml, "unreachable", "not JSON").await;
    session.refuses(Lie::TokenServerError, "unreachable", "500").await;
    session.refuses(Lie::TokenHuge, "unreachable", "limit").await;
    session.refuses(Lie::TokenRedirect, "unreachable", "307").await;
    assert_eq!(session.pair.fake.count("elsewhere"), 0, "a redirect gets no refresh token");
    session.refuses(Lie::TokenNoAccessToken, "untrusted", "malformed").await;
    session.refuses(Lie::TokenTypeDpop, "untrusted", "bearer").await;
    session.pair.fake.stop();
    let error = session.refresh().await.unwrap_err();
    assert_eq!(error.kind(), "unreachable");
    session.pair.fake.restart().await;
    session.refresh().await.unwrap();
}

#[tokio::test]
async fn a_wrong_client_secret_ends_no_session() {
    let session = Session::start().await;
    let other = Provider::new(
        &by_issuer(&session.pair.fake.issuer()),
        Url::parse(CALLBACK).unwrap(),
        Secret::new("se-canary"),
        session.pair.clock.clone(),
    );
    let error = other.unwrap().refresh(&session.identity, &session.tokens).await.unwrap_err();
    assert!(!is_over(&error) && error.kind() == "refused", "{error}");
    assert!(error.remedy().contains("provider.client_secret"));
}

#[tokio::test]
async fn an_error_that_looks_like_success_is_an_error_at_a_refresh_too() {
    let mut session = Session::start().await;
    session.pair.fake.lie(Lie::TokenErrorWithStatus200);
    assert!(is_over(&session.refresh().await.unwrap_err()));
}

#[tokio::test]
async fn a_new_id_token_must_be_in_order() {
    let mut session = Session::start().await;
    for (lie, words) in [
        (Lie::IdTokenOtherIssuer, "another issuer"),
        (Lie::IdTokenOtherAudience, "another client"),
        (Lie::IdTokenNoAudience, "audience"),
        (Lie::IdTokenOtherAzp, "azp"),
        (Lie::IdTokenMoreAudiencesWithoutAzp, "other clients too"),
        (Lie::IdTokenNoSubject, "sub is missing"),
        (Lie::IdTokenOtherSubject, "somebody else"),
        (Lie::IdTokenOtherNonce, "nonce of another"),
        (Lie::IdTokenExpired, "clock"),
        (Lie::IdTokenNoIssueTime, "iat"),
        (Lie::IdTokenFromTheFuture, "clock"),
        (Lie::IdTokenOld, "older than the last"),
        (Lie::IdTokenEarlierLogin, "another login"),
        (Lie::IdTokenOtherSession, "another of its sessions"),
        (Lie::IdTokenOtherAccessTokenHash, "does not belong"),
        (Lie::IdTokenBadSignature, "signature"),
        (Lie::IdTokenAlgorithmNone, "\"none\""),
        (Lie::IdTokenMacOfSecret, "\"HS256\""),
        (Lie::IdTokenIsAccessToken, "another kind"),
        (Lie::IdTokenIsLogoutToken, "another kind"),
        (Lie::IdTokenIsEvent, "another kind"),
        (Lie::UserinfoOtherSubject, "somebody else"),
        (Lie::UserinfoNoSubject, "somebody else"),
    ] {
        session.refuses(lie, "untrusted", words).await;
    }
    session.refresh().await.unwrap();
}

#[tokio::test]
async fn a_new_id_token_is_about_the_same_person_whether_there_is_userinfo_or_not() {
    let pair = Pair::start().await;
    pair.fake.lie(Lie::DiscoveryNoUserinfo);
    let mut session = Session::of(pair).await;
    session.refuses(Lie::IdTokenOtherSubject, "untrusted", "its new ID token is about somebody else").await;
    session.refresh().await.unwrap();
}

#[tokio::test]
async fn a_login_for_another_client_does_not_make_this_one_newer() {
    let mut session = Session::start().await;
    let login = session.identity.claims["auth_time"].clone();
    session.later(100);
    session.pair.fake.lie(Lie::IdTokenLaterLogin);
    session.refresh().await.unwrap();
    assert_eq!(session.identity.claims["auth_time"], login, "what the session rests on is as old as before");
    session.pair.fake.lie(Lie::IdTokenNoSession);
    let error = session.refresh().await.unwrap_err();
    assert!(error.to_string().contains("another login"), "without sid it cannot be known: {error}");
}

#[tokio::test]
async fn a_nonce_may_be_repeated_as_long_as_it_is_known() {
    let mut session = Session::start().await;
    session.refresh().await.unwrap();
    session.refresh().await.unwrap();
    assert!(session.identity.claims.contains_key("nonce"), "it is remembered through refreshes without one");
    session.refuses(Lie::IdTokenOtherNonce, "untrusted", "nonce").await;
}

#[tokio::test]
async fn tokens_that_rotated_are_not_lost_in_trouble_after_them() {
    let mut session = Session::start().await;
    session.pair.fake.rotate_refresh_tokens();
    for lie in [Lie::UserinfoServerError, Lie::UserinfoHtml, Lie::UserinfoRedirect] {
        session.pair.fake.lie(lie);
        let error = session.refresh().await.unwrap_err();
        assert!(chain(&error).contains("userinfo"), "{}", chain(&error));
        let OidcError::Interrupted { tokens, .. } = error else { panic!("{error:?}") };
        assert_ne!(text(tokens.refresh_token.as_ref()), text(session.tokens.refresh_token.as_ref()));
        assert_eq!(tokens.issued, session.tokens.issued, "nobody has vouched for anybody");
        session.tokens = *tokens;
        session.pair.fake.be_honest();
    }
    session.refresh().await.unwrap();
}

#[tokio::test]
async fn an_error_of_userinfo_is_not_the_end_of_a_session() {
    let mut session = Session::start().await;
    session.refuses(Lie::UserinfoInvalidGrant, "interrupted", "invalid_grant").await;
    session.refresh().await.unwrap();
}

#[tokio::test]
async fn a_refresh_token_goes_to_its_own_provider_only() {
    let (one, two) = (Session::start().await, Pair::start().await);
    let error = two.provider.refresh(&one.identity, &one.tokens).await.unwrap_err();
    assert_eq!((error.kind(), two.fake.count("token")), ("mismatch", 0));
}

#[tokio::test]
async fn a_session_without_a_refresh_token_cannot_be_refreshed() {
    let mut session = Session::start().await;
    session.tokens.refresh_token = None;
    let error = session.refresh().await.unwrap_err();
    assert!(!is_over(&error) && error.to_string().contains("no refresh token"), "{error}");
    assert_eq!(session.pair.fake.count("token"), 1);
}

#[tokio::test]
async fn a_provider_told_by_urls_refreshes_by_userinfo() {
    let mut session = Session::of(Pair::by_urls().await).await;
    session.pair.fake.user("alice", json!({"groups": ["/lab"]}));
    session.later(100);
    session.refresh().await.unwrap();
    assert_eq!(session.identity.strings(&["groups"]), ["/lab"]);
    assert_eq!(session.tokens.issued, Some(NOW + 100));
    session.refuses(Lie::UserinfoOtherSubject, "untrusted", "somebody else").await;
}

#[tokio::test]
async fn an_answer_that_says_of_nobody_is_refused() {
    let pair = Pair::start().await;
    pair.fake.lie(Lie::DiscoveryNoUserinfo);
    let mut session = Session::of(pair).await;
    session.pair.fake.lie(Lie::AccessTokenOpaque);
    session.refuses(Lie::TokenNoIdToken, "untrusted", "who it is").await;
    session.pair.fake.lie(Lie::TokenNoIdToken);
    session.refresh().await.unwrap();
    assert_eq!(session.identity.subject, "f:ldap:alice");
}

#[tokio::test]
async fn what_was_issued_before_a_revocation_counts_no_more() {
    let mut session = Session::start().await;
    assert_eq!(session.pair.provider.not_before(), 0);
    session.later(100);
    session.pair.fake.set_not_before(NOW + 100);
    let error = session.refresh().await.unwrap_err();
    assert!(is_over(&error) && error.to_string().contains("Stale token"), "{error}");
    let (_, tokens) = session.pair.log_in().await.unwrap();
    assert_eq!(session.pair.provider.not_before(), NOW + 100);
    assert!(session.tokens.issued < Some(NOW + 100) && tokens.issued >= Some(NOW + 100));
    session.pair.fake.set_not_before(0);
    session.pair.log_in().await.unwrap();
    assert_eq!(session.pair.provider.not_before(), NOW + 100, "the largest stays");
    session.pair.fake.lie(Lie::IdTokenOld);
    let error = session.pair.log_in().await.unwrap_err();
    assert!(error.to_string().contains("not-before"), "{error}");
}

#[tokio::test]
async fn a_revocation_in_the_far_future_locks_nobody_out() {
    let session = Session::start().await;
    session.pair.fake.set_not_before(NOW * 2);
    session.pair.log_in().await.unwrap_err();
    session.later(31);
    session.pair.fake.set_not_before(0);
    session.pair.log_in().await.unwrap();
}

#[tokio::test]
async fn tokens_are_not_printed() {
    let session = Session::start().await;
    let text = format!("{:?} {:?} {:?}", session.tokens, session.identity, session.pair.provider);
    for secret in [&session.tokens.id_token, &session.tokens.access_token, &session.tokens.refresh_token] {
        assert!(!text.contains(secret.as_ref().unwrap().expose()));
    }
}
