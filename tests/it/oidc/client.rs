//! How hubgate shows that it is the client. The provider takes the one way that is registered, as Keycloak does.

use hubgate::config::{ClientAuthentication, SigningAlgorithm};
use support::provider::{ClientKey, ClientProof};

use super::*;

/// With a key of this kind in place of the secret.
async fn by_key(algorithm: &'static str, change: impl FnOnce(&mut config::Provider)) -> Pair {
    let pair = Pair::start().await;
    let key = ClientKey::generate(algorithm);
    let mut config = by_issuer(&pair.fake.issuer());
    config.client_authentication = ClientAuthentication::PrivateKeyJwt;
    config.client_secret = None;
    change(&mut config);
    let callback = Url::parse(CALLBACK).unwrap();
    let provider = Provider::new(&config, callback, Secret::new(&key.pem), pair.clock.clone()).unwrap();
    pair.fake.take_client_by(ClientProof::Key(key));
    Pair { provider, ..pair }
}

#[tokio::test]
async fn a_client_may_send_its_secret_in_the_body() {
    let pair =
        Pair::with(|config| config.client_authentication = ClientAuthentication::ClientSecretPost).await;
    pair.fake.take_client_by(ClientProof::Post);
    pair.log_in().await.unwrap();
    let seen = pair.fake.requests();
    let token = seen.iter().find(|seen| seen.path.ends_with("/token")).unwrap();
    assert_eq!(token.authorization, None);
    assert_eq!(token.form_value("client_secret"), Some(Fake::CLIENT_SECRET));
}

#[tokio::test]
async fn a_client_may_sign_by_its_key_and_sends_no_secret() {
    for (algorithm, configured) in
        [("RS256", None), ("PS256", Some(SigningAlgorithm::Ps256)), ("ES256", None)]
    {
        let pair = by_key(algorithm, |config| config.client_key_algorithm = configured).await;
        let (identity, tokens) = pair.log_in().await.unwrap();
        pair.provider.refresh(&identity, &tokens).await.unwrap();
        for seen in pair.fake.requests() {
            assert!(seen.authorization.is_none_or(|value| value.starts_with("Bearer ")));
            assert!(seen.form.iter().all(|(name, _)| name != "client_secret"), "{algorithm}");
        }
    }
}

#[tokio::test]
async fn an_assertion_is_used_once_and_for_one_provider() {
    let pair = by_key("ES256", |config| config.client_key_id = Some("the-key".to_owned())).await;
    // The provider refuses an assertion that it has seen, and one for another audience.
    for _ in 0..3 {
        pair.log_in().await.unwrap();
    }
    let other = by_key("ES256", |_config| {}).await;
    let error = {
        let pair = by_key("ES256", |_config| {}).await;
        pair.fake.take_client_by(ClientProof::Key(ClientKey::generate("ES256")));
        pair.log_in().await.unwrap_err()
    };
    assert_eq!(error.kind(), "refused", "a key that is not registered");
    other.log_in().await.unwrap();
}

#[tokio::test]
async fn a_key_that_cannot_sign_stops_the_start_and_is_not_shown() {
    let fake = Fake::start().await;
    let mut config = by_issuer(&fake.issuer());
    config.client_authentication = ClientAuthentication::PrivateKeyJwt;
    let callback = Url::parse(CALLBACK).unwrap();
    let error = Provider::new(&config, callback, Secret::new("key-canary"), Clock::system()).unwrap_err();
    assert_eq!(error.kind(), "settings");
    assert!(error.to_string().contains("provider.client_key"), "{error}");
    assert!(!format!("{error:?} {}", chain(&error)).contains("canary"));
}

#[tokio::test]
async fn another_method_than_the_registered_one_is_refused_and_the_remedy_names_it() {
    let key = ClientProof::Key(ClientKey::generate("ES256"));
    for registered in [ClientProof::Post, key] {
        let pair = Pair::start().await;
        pair.fake.take_client_by(registered);
        let error = pair.log_in().await.unwrap_err();
        assert!(
            matches!(&error, OidcError::Refused { error, .. } if error == "unauthorized_client"),
            "{error:?}"
        );
        assert!(error.remedy().contains("provider.client_authentication"), "{}", error.remedy());
    }
}
