//! Logins through the whole program: how they are asked for, and how answers come back.

use std::io::Write as _;

use support::client::{Answer, Client};
use support::hub::{EVERYONE, Hub, ITS_PROVIDER, PROFILE, path_and_query};
use support::provider::{ClientKey, ClientProof, Lie, Provider};
use url::Url;

use crate::BINARY;

/// A hub with these keys in its provider's section.
async fn hub_with(keys: &str) -> Hub {
    Hub::with(BINARY, &format!("{EVERYONE}{PROFILE}{ITS_PROVIDER}{keys}\n")).await
}

/// Begins a login: where the browser is sent.
async fn begin(client: &mut Client, target: &str) -> Url {
    let answer = client.open(target).await;
    let location =
        answer.header("location").unwrap_or_else(|| panic!("{}: {}", answer.status, answer.text()));
    Url::parse(location).unwrap()
}

/// What a page of the provider's makes the browser send.
async fn post(client: &mut Client, provider: &Provider, target: &str, body: &str) -> Answer {
    let origin = provider.endpoint("auth").origin().ascii_serialization();
    let headers = [
        ("Accept", "text/html"),
        ("Origin", origin.as_str()),
        ("Sec-Fetch-Mode", "navigate"),
        ("Sec-Fetch-Dest", "document"),
        ("Sec-Fetch-Site", "cross-site"),
        ("Content-Type", "application/x-www-form-urlencoded"),
    ];
    client.send("POST", target, &headers, body.as_bytes()).await
}

fn value(url: &Url, name: &str) -> Option<String> {
    url.query_pairs().find(|(known, _)| known == name).map(|(_, value)| value.into_owned())
}

fn login_cookie(answer: &Answer) -> String {
    let cookies = answer.all("set-cookie");
    (*cookies.iter().find(|cookie| cookie.starts_with("__Host-hubgate-login-")).unwrap()).to_owned()
}

#[tokio::test]
async fn an_answer_by_form_signs_in() {
    let hub = hub_with("response_mode = \"form_post\"").await;
    let mut client = hub.client();
    let answer = client.open("/hub/login?next=/hub/home").await;
    let cookie = login_cookie(&answer);
    assert!(cookie.contains("SameSite=None") && cookie.contains("Secure"), "{cookie}");
    let (action, body) =
        hub.provider().sign_in_by_form(&Url::parse(answer.header("location").unwrap()).unwrap()).await;
    let answer = post(&mut client, hub.provider(), action.path(), &body).await;
    assert_eq!((answer.status, answer.header("location")), (303, Some("/hub/home")), "{}", answer.text());
    let session = answer.all("set-cookie").into_iter().find(|cookie| cookie.starts_with("__Host-hubgate="));
    assert!(session.unwrap().contains("SameSite=Lax"), "{session:?}");
    // What counts rounds must be there when the next form comes, or a circle of logins would never end.
    let rounds =
        answer.all("set-cookie").into_iter().find(|cookie| cookie.starts_with("__Host-hubgate-rounds="));
    assert!(rounds.unwrap().contains("SameSite=None"), "{rounds:?}");
    assert_eq!(client.open("/hub/home").await.status, 200);
    let again = post(&mut client, hub.provider(), action.path(), &body).await;
    assert_eq!(again.status, 303, "whoever is signed in just goes on");
    assert_eq!(hub.provider().count("token"), 1, "and the code is not used again");
    let elsewhere = post(&mut hub.client(), hub.provider(), action.path(), &body).await;
    assert_eq!(elsewhere.status, 400, "in another browser it is nothing");
}

#[tokio::test]
async fn an_error_by_form_is_shown() {
    let hub = hub_with("response_mode = \"form_post\"").await;
    let mut client = hub.client();
    let url = begin(&mut client, "/hub/login").await;
    hub.provider().refuse("access_denied", "<b>No</b>", 1);
    let (action, body) = hub.provider().sign_in_by_form(&url).await;
    let answer = post(&mut client, hub.provider(), action.path(), &body).await;
    assert_eq!(answer.status, 403);
    assert!(answer.text().contains("access_denied") && !answer.text().contains("<b>No"), "{}", answer.text());
    assert_eq!(client.cookie("__Host-hubgate"), None);
}

#[tokio::test]
async fn an_answer_in_another_way_than_it_was_asked_for_is_refused() {
    for (keys, by_form) in [("", true), ("response_mode = \"form_post\"", false)] {
        let hub = hub_with(keys).await;
        hub.provider().lie(Lie::AnswerOtherMode);
        let mut client = hub.client();
        let url = begin(&mut client, "/hub/login").await;
        let answer = if by_form {
            let (action, body) = hub.provider().sign_in_by_form(&url).await;
            post(&mut client, hub.provider(), action.path(), &body).await
        } else {
            let back = hub.provider().visit(&url).await.unwrap();
            client.open(&path_and_query(back.as_str())).await
        };
        assert_eq!((answer.status, answer.header("location")), (405, None), "{keys}");
        assert_eq!(client.cookie("__Host-hubgate"), None);
        assert_eq!(hub.provider().count("token"), 0, "the code goes nowhere");
    }
}

#[tokio::test]
async fn a_form_that_is_none_or_has_no_end_is_refused() {
    let hub = hub_with("response_mode = \"form_post\"").await;
    let mut client = hub.client();
    let path = "/hub/oauth_callback";
    assert_eq!(post(&mut client, hub.provider(), path, "").await.status, 400);
    assert_eq!(post(&mut client, hub.provider(), path, "state=s&code=a&code=b").await.status, 400);
    let long = format!("state=s&code={}", "a".repeat(70_000));
    assert_eq!(post(&mut client, hub.provider(), path, &long).await.status, 413);
    let json = [("Content-Type", "application/json")];
    assert_eq!(client.send("POST", path, &json, b"{\"code\":\"a\",\"state\":\"s\"}").await.status, 400);
    for method in ["PUT", "DELETE", "PATCH"] {
        assert_eq!(client.send(method, path, &[], b"").await.status, 405, "{method}");
    }
}

#[tokio::test]
async fn a_login_in_the_address_has_a_cookie_that_other_sites_posts_do_not_carry() {
    let hub = Hub::start(BINARY).await;
    let cookie = login_cookie(&hub.client().open("/hub/login").await);
    assert!(cookie.contains("SameSite=Lax"), "{cookie}");
}

#[tokio::test]
async fn a_link_may_lead_to_a_listed_identity_provider() {
    let hub = hub_with("identity_provider_hints = [\"edugain\"]").await;
    let mut client = hub.client();
    for (target, sent) in [
        ("/hub/login?idp=edugain", Some("edugain")),
        ("/hub/login?idp=evil", None),
        ("/hub/login?idp=", None),
        ("/hub/login?idp=edugain&idp=edugain", None),
    ] {
        let url = begin(&mut client, target).await;
        assert_eq!(value(&url, "kc_idp_hint").as_deref(), sent, "{target}");
    }
}

#[tokio::test]
async fn somebody_else_may_begin_a_login_at_our_provider() {
    let hub = Hub::start(BINARY).await;
    let mut client = hub.client();
    let start = |pairs: &[(&str, &str)]| {
        let query = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
        format!("/hub/login?{query}")
    };
    let issuer = hub.provider().issuer();
    let here = format!("{}/user/alice/lab?a=b", hub.origin());
    let target = start(&[("iss", &issuer), ("target_link_uri", &here), ("login_hint", "alice@example.org")]);
    let url = begin(&mut client, &target).await;
    assert_eq!(value(&url, "login_hint").as_deref(), Some("alice@example.org"));
    let back = hub.answer_of_provider(url.as_str(), "alice").await;
    assert_eq!(client.open(&back).await.header("location"), Some("/user/alice/lab?a=b"));

    for other in ["https://evil.example/realms/test", &format!("{issuer}/"), ""] {
        let answer = hub.client().open(&start(&[("iss", other)])).await;
        assert_eq!((answer.status, answer.header("location")), (400, None), "{other:?}");
    }
    let origin = hub.origin();
    for elsewhere in [
        "https://evil.example/".to_owned(),
        "//evil.example/".to_owned(),
        format!("{origin}.evil.example/"),
        format!("{origin}@evil.example/"),
        format!("{origin}//evil.example/"),
        format!("{origin}\\evil.example"),
        "javascript:alert(1)".to_owned(),
        origin.replace("https:", "http:") + "/hub/home",
    ] {
        let mut client = hub.client();
        let url = begin(&mut client, &start(&[("iss", &issuer), ("target_link_uri", &elsewhere)])).await;
        let back = hub.answer_of_provider(url.as_str(), "alice").await;
        assert_eq!(client.open(&back).await.header("location"), Some("/"), "{elsewhere}");
    }
    let long = "a".repeat(300);
    let url = begin(&mut hub.client(), &start(&[("login_hint", &long)])).await;
    assert_eq!(value(&url, "login_hint"), None);
}

#[tokio::test]
async fn nobody_elses_page_begins_a_login_unseen() {
    let hub = Hub::start(BINARY).await;
    let iss: String = url::form_urlencoded::byte_serialize(hub.provider().issuer().as_bytes()).collect();
    let target = format!("/hub/login?iss={iss}");
    for (method, mode) in [("GET", "no-cors"), ("GET", "cors"), ("POST", "navigate")] {
        let headers = [
            ("Origin", "https://evil.example"),
            ("Sec-Fetch-Site", "cross-site"),
            ("Sec-Fetch-Mode", mode),
            ("Sec-Fetch-Dest", "empty"),
        ];
        let answer = hub.client().send(method, &target, &headers, b"").await;
        assert_eq!(answer.header("location"), None, "{method} {mode}");
        assert!(answer.header("set-cookie").is_none(), "{method} {mode}");
    }
}

#[tokio::test]
async fn a_login_that_expired_at_the_provider_begins_again_once() {
    for (keys, error, description) in [
        ("", "temporarily_unavailable", "authentication_expired"),
        ("pushed_requests = true", "invalid_request_uri", "Invalid or expired request_uri"),
    ] {
        let hub = hub_with(keys).await;
        hub.provider().refuse(error, description, 1);
        let mut client = hub.client();
        let url = begin(&mut client, "/hub/login?next=/hub/home").await;
        let back = hub.answer_of_provider(url.as_str(), "alice").await;
        let again = begin(&mut client, &back).await;
        let back = hub.answer_of_provider(again.as_str(), "alice").await;
        assert_eq!(client.open(&back).await.header("location"), Some("/hub/home"), "{error}");

        hub.provider().refuse(error, description, 2);
        let mut client = hub.client();
        let url = begin(&mut client, "/hub/login").await;
        let back = hub.answer_of_provider(url.as_str(), "alice").await;
        let again = begin(&mut client, &back).await;
        let back = hub.answer_of_provider(again.as_str(), "alice").await;
        let answer = client.open(&back).await;
        assert_eq!((answer.status, answer.header("location")), (403, None), "{error}: no loop");
        assert!(answer.text().contains(error), "{}", answer.text());
    }
}

#[tokio::test]
async fn a_login_that_is_too_weak_starts_no_session() {
    let hub = hub_with("acr_values = [\"gold\"]\nmax_age = \"1h\"").await;
    let mut client = hub.client();
    hub.provider().claim_in_id_tokens(serde_json::json!({"acr": "0"}));
    let answer = hub.sign_in_at(&mut client, "alice", "/hub/login").await;
    assert_eq!(answer.status, 403);
    assert!(answer.text().contains("stronger login"), "{}", answer.text());
    assert_eq!(client.cookie("__Host-hubgate"), None);
    hub.provider().be_honest();
    assert_eq!(hub.sign_in_at(&mut client, "alice", "/hub/login").await.status, 303);
    // Begun again by itself, it asks for no less.
    hub.provider().refuse("temporarily_unavailable", "authentication_expired", 1);
    let mut client = hub.client();
    let url = begin(&mut client, "/hub/login").await;
    let back = hub.answer_of_provider(url.as_str(), "alice").await;
    let again = begin(&mut client, &back).await;
    assert_eq!(value(&again, "acr_values").as_deref(), Some("gold"));
    assert_eq!(value(&again, "max_age").as_deref(), Some("3600"));
}

#[tokio::test]
async fn a_key_in_a_file_takes_the_place_of_the_secret() {
    let key = ClientKey::generate("ES256");
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(key.pem.as_bytes()).unwrap();
    let hub = hub_with(&format!(
        "client_authentication = \"private_key_jwt\"\nclient_key = {{ file = \"{}\" }}\npushed_requests = true",
        file.path().display(),
    ))
    .await;
    hub.provider().take_client_by(ClientProof::Key(key));
    let mut client = hub.client();
    assert_eq!(hub.sign_in_at(&mut client, "alice", "/hub/login").await.status, 303);
    assert!(hub.provider().requests().iter().all(|seen| seen.form_value("client_secret").is_none()));
}
