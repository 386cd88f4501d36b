//! Logins through the whole program: how they are asked for, and how answers come back.

use std::io::Write as _;

use serde_json::json;
use support::client::{Answer, Client};
use support::eventually::eventually;
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

/// Lets the provider's form bring the answer as browsers send it from another site: without cookies that are
/// `SameSite=Lax`, the session's among them. The browser has all its cookies afterwards.
async fn post_from_elsewhere(client: &mut Client, hub: &Hub, user: &str, url: &Url) -> Answer {
    let session = client.cookie("__Host-hubgate").map(str::to_owned);
    client.forget_cookie("__Host-hubgate");
    hub.provider().user(user, json!({}));
    let (action, body) = hub.provider().sign_in_by_form(url).await;
    let answer = post(client, hub.provider(), action.path(), &body).await;
    if let (None, Some(session)) = (client.cookie("__Host-hubgate"), session) {
        client.set_cookie("__Host-hubgate", &session);
    }
    answer
}

/// A hub that asks administrators, of whom ada is one, for a proof, and takes answers by form.
async fn by_form_with_proof() -> Hub {
    let ada = "[[rule]]\nusers = [\"ada\"]\nadmin = true\n[admin]\nacr_values = [\"gold\"]\n";
    let by_form = "response_mode = \"form_post\"\n";
    Hub::with(BINARY, &format!("{EVERYONE}{ada}{PROFILE}{ITS_PROVIDER}{by_form}")).await
}

async fn is_in(browser: &Client) -> bool {
    browser.clone().fetch("GET", "/hub/home", b"").await.status == 200
}

#[tokio::test]
async fn the_session_that_a_browser_had_ends_by_an_answer_by_form_too() {
    let hub = by_form_with_proof().await;
    let mut ada = hub.client();
    let url = begin(&mut ada, "/hub/login").await;
    assert_eq!(post_from_elsewhere(&mut ada, &hub, "ada", &url).await.status, 303);
    let mut elsewhere = hub.client();
    let url = begin(&mut elsewhere, "/hub/login").await;
    assert_eq!(post_from_elsewhere(&mut elsewhere, &hub, "ada", &url).await.status, 303);
    let before = ada.clone();

    // Not by a login that fails.
    let url = begin(&mut ada, "/hub/admin").await;
    hub.provider().claim_in_id_tokens(json!({ "acr": "1" }));
    assert_eq!(post_from_elsewhere(&mut ada, &hub, "ada", &url).await.status, 403);
    assert!(is_in(&before).await);
    hub.provider().claim_in_id_tokens(json!({}));

    let url = begin(&mut ada, "/hub/admin").await;
    let answer = post_from_elsewhere(&mut ada, &hub, "ada", &url).await;
    assert_eq!(answer.header("location"), Some("/hub/admin"), "{}", answer.text());
    assert!(is_in(&ada).await && !is_in(&before).await, "the one that she had is over");
    assert!(is_in(&elsewhere).await, "and no other");
}

#[tokio::test]
async fn a_login_that_began_once_more_by_itself_ends_the_session_that_was_there_at_first() {
    let hub = by_form_with_proof().await;
    let mut ada = hub.client();
    let url = begin(&mut ada, "/hub/login").await;
    post_from_elsewhere(&mut ada, &hub, "ada", &url).await;
    let before = ada.clone();
    let url = begin(&mut ada, "/hub/admin").await;
    hub.provider().refuse("temporarily_unavailable", "authentication_expired", 1);
    let again = post_from_elsewhere(&mut ada, &hub, "ada", &url).await;
    let url = Url::parse(again.header("location").unwrap_or_else(|| panic!("{}", again.text()))).unwrap();
    assert_eq!(post_from_elsewhere(&mut ada, &hub, "ada", &url).await.status, 303);
    assert!(is_in(&ada).await && !is_in(&before).await);
}

#[tokio::test]
async fn nobody_ends_somebody_elses_session_by_a_login_of_their_own() {
    let hub = by_form_with_proof().await;
    let mut ada = hub.client();
    let url = begin(&mut ada, "/hub/login").await;
    post_from_elsewhere(&mut ada, &hub, "ada", &url).await;
    let mut begun = ada.clone();
    let of_ada = begin(&mut begun, "/hub/admin").await;

    // With what an attempt of hers is called, but not with what it is sealed in.
    let mut mallory = hub.client();
    let answer = post_from_elsewhere(&mut mallory, &hub, "mallory", &of_ada).await;
    assert_eq!(answer.status, 400, "{}", answer.text());
    // With a seal of their own under the name of her attempt, and hers under the name of theirs.
    let of_mallory = begin(&mut mallory, "/hub/login").await;
    let named = |cookies: &str| {
        let pairs = cookies.split("; ").filter_map(|pair| pair.split_once('='));
        let mut pairs = pairs.filter(|(name, _)| name.starts_with("__Host-hubgate-login-"));
        pairs.next().map(|(name, value)| (name.to_owned(), value.to_owned())).unwrap()
    };
    let (hers, theirs) = (named(&begun.cookies()), named(&mallory.cookies()));
    for ((name, _), (_, value), url) in [(&hers, &theirs, &of_ada), (&theirs, &hers, &of_mallory)] {
        let mut mallory = mallory.clone();
        mallory.set_cookie(name, value);
        let answer = post_from_elsewhere(&mut mallory, &hub, "mallory", url).await;
        assert_eq!(answer.status, 400, "{}", answer.text());
    }
    assert_eq!(post_from_elsewhere(&mut mallory, &hub, "mallory", &of_mallory).await.status, 303);
    assert!(is_in(&mallory).await && is_in(&ada).await);
    // What a browser claims to have had opens nothing and ends nothing: only what the hub itself found in its cookie.
    let mut guess = hub.client();
    guess.set_cookie("__Host-hubgate", &"A".repeat(43));
    let url = begin(&mut guess, "/hub/login").await;
    assert_eq!(post_from_elsewhere(&mut guess, &hub, "mallory", &url).await.status, 303);
    assert!(is_in(&mallory).await && is_in(&ada).await);
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

#[tokio::test]
async fn the_answer_to_a_code_is_a_redirect_that_nobody_keeps() {
    let hub = Hub::start(BINARY).await;
    let mut client = hub.client();
    let url = begin(&mut client, "/hub/login?next=/hub/home").await;
    let back = hub.answer_of_provider(url.as_str(), "alice").await;
    for answer in [client.open(&back).await, hub.client().open(&back).await] {
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{}", answer.status);
        assert_eq!(answer.header("referrer-policy"), Some("same-origin"), "{}", answer.status);
        assert!(answer.header("location").is_none_or(|location| location == "/hub/home"));
        assert!(!answer.text().contains("code="), "{}", answer.text());
    }
}

#[tokio::test]
async fn no_cookie_is_larger_than_browsers_keep() {
    let hub = Hub::start(BINARY).await;
    for length in [10, 1000, 2000, 3000, 4000] {
        let next = format!("/user/alice/lab/{}", "a".repeat(length));
        let mut client = hub.client();
        let answer = client.open(&format!("/hub/login?next={next}")).await;
        for cookie in answer.all("set-cookie") {
            let (pair, attributes) = cookie.split_once(';').unwrap();
            assert!(pair.len() <= 4097 && attributes.len() <= 1024, "{length}: {}", pair.len());
        }
        let back = hub.answer_of_provider(answer.header("location").unwrap(), "alice").await;
        let end = client.open(&back).await;
        assert_eq!(end.status, 303, "{length}: {}", end.text());
        let kept = end.header("location") == Some(next.as_str());
        assert!(kept || (length > 2000 && end.header("location") == Some("/")), "{length}");
    }
}

#[tokio::test]
async fn what_the_provider_refuses_is_a_page_with_a_way_back_and_no_loop() {
    let hub = Hub::start(BINARY).await;
    for error in ["access_denied", "invalid_scope", "unauthorized_client", "server_error", "made_up"] {
        hub.provider().refuse(error, "As it is.", 1);
        let mut client = hub.client();
        let answer = hub.sign_in_at(&mut client, "alice", "/hub/login").await;
        assert_eq!((answer.status, answer.header("location")), (403, None), "{error}");
        let page = answer.text();
        assert!(page.contains(error) && page.contains(">Sign in</a>"), "{error}: {page}");
        assert_eq!(hub.sign_in_at(&mut client, "alice", "/hub/login").await.status, 303, "{error}: by hand");
    }
}

#[tokio::test]
async fn whom_the_provider_has_forgotten_is_signed_in_again_and_sees_no_error() {
    let hub = Hub::with(BINARY, &format!("{EVERYONE}{PROFILE}[session]\nrefresh_interval = \"1s\"\n")).await;
    let mut client = hub.signed_in("alice").await;
    assert_eq!(client.open("/hub/home").await.status, 200);
    let old = client.cookie("__Host-hubgate").map(str::to_owned);
    // As a restart without persistent sessions, a session limit or an administrator does.
    hub.provider().forget_sessions();
    eventually("the hub has heard of it", || {
        let mut client = client.clone();
        async move { client.fetch("GET", "/hub/home", b"").await.status == 401 }
    })
    .await;
    let answer = client.open("/hub/home").await;
    assert_eq!((answer.status, answer.header("location")), (303, Some("/hub/login?next=%2Fhub%2Fhome")));
    let answer = hub.sign_in_at(&mut client, "alice", "/hub/home").await;
    assert_eq!((answer.status, answer.header("location")), (303, Some("/hub/home")));
    assert_ne!(client.cookie("__Host-hubgate"), old.as_deref());
    assert_eq!(client.open("/hub/home").await.status, 200);
}

#[tokio::test]
async fn an_offline_token_is_taken_back_when_its_session_is_signed_out() {
    for (keys, taken) in [("scopes = [\"openid\", \"profile\", \"offline_access\"]", 1), ("", 0)] {
        let hub = hub_with(keys).await;
        let mut client = hub.client();
        assert_eq!(hub.sign_in_at(&mut client, "alice", "/hub/login").await.status, 303);
        let token = client.open("/hub/logout").await.field("form_token").unwrap();
        assert_eq!(client.submit("/hub/logout", &[("form_token", &token)]).await.status, 303);
        eventually("the provider has heard of it", || async { hub.provider().count("revoke") == taken })
            .await;
    }
}

#[tokio::test]
async fn whoever_may_not_enter_takes_nobodys_name() {
    let hub = Hub::with(BINARY, &format!("[[rule]]\ngroups = [\"/lab\"]\n{PROFILE}")).await;
    let mut mallory = hub.client();
    let url = begin(&mut mallory, "/hub/login").await;
    hub.provider().user("alice", serde_json::json!({"sub": "mallory", "groups": ["/other"]}));
    let back = hub.provider().visit(&url).await.unwrap();
    assert_eq!(mallory.open(&path_and_query(back.as_str())).await.status, 403);
    hub.signed_in_with("alice", serde_json::json!({"groups": ["/lab"]})).await;
}
