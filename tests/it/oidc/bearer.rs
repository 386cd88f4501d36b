//! Access tokens of API callers.

use hubgate::oidc::BearerError;
use support::provider::{Draft, Signed};

use super::*;

/// A client that may call.
const CLI: &str = "hub-cli";

async fn start() -> Pair {
    Pair::with(|config| config.api_clients = vec![CLI.to_owned()]).await
}

async fn refused(pair: &Pair, token: &Draft, kind: &str) -> BearerError {
    let error = pair.provider.bearer(&token.token()).await.unwrap_err();
    assert_eq!(error.kind(), kind, "{token:?}: {error:?}");
    assert!(!error.remedy().is_empty());
    error
}

#[tokio::test]
async fn an_access_token_for_us_says_whose_it_is() {
    let pair = start().await;
    let roles =
        json!({"realm_access": {"roles": ["hub-user"]}, "resource_access": {"hub": {"roles": ["admin"]}}});
    pair.fake.user("alice", roles);
    let identity = pair.provider.bearer(&pair.fake.access_token_for(CLI).token()).await.unwrap();
    assert_eq!(
        (identity.issuer.as_str(), identity.subject.as_str()),
        (pair.fake.issuer().as_str(), "f:ldap:alice")
    );
    assert_eq!(identity.claims["preferred_username"], "alice");
    assert_eq!(identity.strings(&["realm_access", "roles"]), ["hub-user"]);
    assert_eq!(identity.strings(&["resource_access", "hub", "roles"]), ["admin"]);
    assert!(identity.sid.is_some());
    assert_eq!((pair.fake.count("token"), pair.fake.count("userinfo")), (0, 0), "nobody is asked");
}

#[tokio::test]
async fn access_tokens_of_other_makes_are_taken() {
    let pair = start().await;
    let token = || pair.fake.access_token_for(CLI);
    for good in [
        token().header("typ", "at+jwt"),
        token().header("typ", "application/at+jwt").without("typ"),
        token().header("typ", json!(null)),
        token().claim("azp", Fake::CLIENT_ID),
        token().without("azp").claim("client_id", CLI).header("typ", "at+jwt"),
        token().claim("aud", Fake::CLIENT_ID),
        token().claim("iat", NOW - 3600).claim("exp", NOW + 3600),
        token().claim("client_id", CLI),
        token().claim("exp", NOW - 29).claim("iat", NOW - 300),
        token().claim("nbf", NOW + 30).claim("iat", NOW + 30),
    ] {
        pair.provider.bearer(&good.token()).await.unwrap_or_else(|error| panic!("{good:?}: {error:?}"));
    }
}

#[tokio::test]
async fn a_missing_audience_names_the_mapper() {
    let pair = start().await;
    for audience in
        [json!("account"), json!(["account", "hub2"]), json!([]), json!(["Hub"]), json!({"hub": true})]
    {
        let error = refused(&pair, &pair.fake.access_token_for(CLI).claim("aud", audience), "audience").await;
        let text = error.to_string();
        assert!(
            text.contains("Included Client Audience") && text.contains("\"hub\"") && text.contains(CLI),
            "{text}"
        );
    }
    refused(&pair, &pair.fake.access_token_for(CLI).without("aud"), "audience").await;
}

#[tokio::test]
async fn a_token_that_another_client_got_is_refused() {
    let pair = start().await;
    let error = refused(&pair, &pair.fake.access_token_for("other-app"), "client").await;
    assert!(
        error.to_string().contains("other-app") && error.remedy().contains("provider.api_clients"),
        "{error}"
    );
    refused(&pair, &pair.fake.access_token_for(CLI).without("azp"), "client").await;
    refused(&pair, &pair.fake.access_token_for(CLI).claim("azp", json!([CLI])), "client").await;
    refused(&pair, &pair.fake.access_token_for("other-app").claim("client_id", CLI), "client").await;
    let pair = Pair::start().await;
    refused(&pair, &pair.fake.access_token_for(CLI), "client").await;
    pair.provider.bearer(&pair.fake.access_token_for(Fake::CLIENT_ID).token()).await.unwrap();
}

#[tokio::test]
async fn tokens_of_other_kinds_open_nothing() {
    let pair = start().await;
    let (_, tokens) = pair.log_in().await.unwrap();
    let id_token = tokens.id_token.unwrap();
    let error = pair.provider.bearer(id_token.expose()).await.unwrap_err();
    assert!(error.kind() == "kind" && error.to_string().contains("ID token"), "{error}");
    let refresh = tokens.refresh_token.unwrap();
    assert_eq!(pair.provider.bearer(refresh.expose()).await.unwrap_err().kind(), "invalid");
    let token = || pair.fake.access_token_for(CLI);
    for bad in [
        pair.fake.logout_token(None),
        pair.fake.logout_token(None).header("typ", "JWT").without("typ").claim("azp", CLI),
        token().claim("typ", "ID"),
        token().claim("typ", "Refresh"),
        token().claim("typ", "Offline"),
        token().claim("typ", "Logout"),
        token().claim("typ", "Action"),
        token().claim("typ", "DPoP"),
        token().claim("typ", "bearer"),
        token().claim("typ", json!(null)),
        token().without("typ"),
        token().header("typ", "logout+jwt"),
        token().header("typ", "dpop+jwt"),
        token().header("typ", "JWE"),
        token().claim("events", json!({})),
        token().claim("cnf", json!({"jkt": "x"})),
        token().claim("cnf", json!({"x5t#S256": "x"})),
    ] {
        refused(&pair, &bad, "kind").await;
    }
}

#[tokio::test]
async fn an_access_token_that_is_not_in_order_is_refused() {
    let pair = start().await;
    let token = || pair.fake.access_token_for(CLI);
    for bad in [
        token().claim("iss", "https://other.example/realms/test"),
        token().claim("iss", format!("{}/", pair.fake.issuer())),
        token().without("iss"),
        token().without("exp"),
        token().claim("exp", "1700000300"),
        token().without("iat"),
        token().claim("iat", NOW + 31),
        token().claim("nbf", NOW + 31),
        token().claim("sub", ""),
        token().claim("sub", 7),
        token().claim("sub", "x".repeat(256)),
        token().header("crit", json!(["exp"])),
        token().signed(Signed::ByAnotherKey),
        token().signed(Signed::ByAnUnknownKey),
        token().signed(Signed::ByNobody),
        token().signed(Signed::Not),
        token().signed(Signed::BySecret),
        token().signed(Signed::ByPublicKey),
    ] {
        refused(&pair, &bad, "invalid").await;
    }
    refused(&pair, &token().claim("exp", NOW - 30), "expired").await;
    for text in ["", "x", "..", "a.b.c", "a.b.c.d.e"] {
        assert_eq!(pair.provider.bearer(text).await.unwrap_err().kind(), "invalid", "{text}");
    }
    refused(&pair, &token().claim("groups", json!(vec!["/faculty/institute/laboratory"; 1000])), "long")
        .await;
}

#[tokio::test]
async fn an_access_token_from_before_a_revocation_is_refused() {
    let pair = start().await;
    pair.fake.set_not_before(NOW);
    pair.log_in().await.unwrap();
    let error = refused(&pair, &pair.fake.access_token_for(CLI).claim("iat", NOW - 1), "invalid").await;
    assert!(std::error::Error::source(&error).unwrap().to_string().contains("not-before"));
    pair.provider.bearer(&pair.fake.access_token_for(CLI).token()).await.unwrap();
    let others = pair.fake.access_token_for(CLI).claim("sub", "somebody else").claim("iat", NOW - 1);
    pair.provider.bearer(&others.token()).await.unwrap();
    assert_eq!(pair.provider.not_before(), NOW, "but their sessions are renewed, in case it is of the realm");
}

#[tokio::test]
async fn an_access_token_without_a_subject_names_the_scope() {
    let pair = start().await;
    let error = refused(&pair, &pair.fake.access_token_for(CLI).without("sub"), "nobody").await;
    assert!(error.to_string().contains("basic"), "{error}");
}

#[tokio::test]
async fn a_service_account_is_no_person_unless_it_may_be() {
    let pair = start().await;
    let token = pair.fake.service_account_token(CLI);
    for bad in [
        token.clone(),
        token.clone().without("preferred_username"),
        token.clone().without("client_id").claim("preferred_username", "Service-Account-X"),
        token.clone().without("client_id").without("preferred_username").claim("clientId", CLI),
        pair.fake.access_token_for(CLI).claim("client_id", CLI).claim("sub", CLI),
    ] {
        let error = refused(&pair, &bad, "service_account").await;
        assert!(error.remedy().contains("provider.service_accounts"), "{error}");
    }
    let pair = Pair::with(|config| {
        config.api_clients = vec![CLI.to_owned()];
        config.service_accounts = true;
    })
    .await;
    let identity = pair.provider.bearer(&pair.fake.service_account_token(CLI).token()).await.unwrap();
    assert_eq!(identity.claims["preferred_username"], format!("service-account-{CLI}"));
}

#[tokio::test]
async fn made_up_tokens_fetch_keys_a_few_times_only() {
    let pair = start().await;
    for _ in 0..20 {
        refused(&pair, &pair.fake.access_token_for(CLI).header("kid", "made-up"), "invalid").await;
    }
    assert_eq!(pair.fake.count("certs"), 1 + 4, "at the start, and for the first unknown keys");
}

#[tokio::test]
async fn an_outage_is_not_the_callers_fault() {
    let pair = start().await;
    pair.fake.stop();
    let error = pair.provider.bearer(&pair.fake.access_token_for(CLI).token()).await.unwrap_err();
    assert_eq!(error.kind(), "unavailable");
    pair.fake.restart().await;
    pair.provider.bearer(&pair.fake.access_token_for(CLI).token()).await.unwrap();
    pair.fake.stop();
    pair.provider.bearer(&pair.fake.access_token_for(CLI).token()).await.unwrap();
}

#[tokio::test]
async fn a_token_is_not_in_its_refusal() {
    let pair = start().await;
    for draft in [
        pair.fake.access_token_for(CLI).claim("email", "canary@example.org").claim("aud", "other"),
        pair.fake.access_token_for(CLI).claim("email", "canary@example.org").without("exp"),
        pair.fake.access_token_for(CLI).claim("email", "canary@example.org").signed(Signed::ByAnotherKey),
    ] {
        let token = draft.token();
        let error = pair.provider.bearer(&token).await.unwrap_err();
        let text = format!("{error} {error:?}");
        assert!(!text.contains("canary") && !text.contains(&token), "{text}");
    }
}
