//! Several providers side by side.

use serde_json::json;
use support::client::Client;
use support::hub::{Hub, path_and_query};
use support::process::{OTHER_NAME, PORT};
use support::provider::{Lie, Provider};
use url::Url;

use crate::BINARY;

/// Follows a login at `provider` from `start` to what the hub says in the end.
async fn sign_in(client: &mut Client, provider: &Provider, user: &str, start: &str) -> (u16, String) {
    let answer = client.open(start).await;
    let location = answer.header("location").unwrap_or_else(|| panic!("{}", answer.text())).to_owned();
    provider.user(user, json!({}));
    let back = provider.visit(&Url::parse(&location).unwrap()).await.unwrap();
    let answer = client.open(&path_and_query(back.as_str())).await;
    (answer.status, answer.text())
}

#[tokio::test]
async fn people_choose_where_they_have_their_account() {
    let (hub, other) =
        Hub::of_two(BINARY, "name = \"main\"", "name = \"eth\"\ntitle = \"ETH <Zürich>\"").await;
    let origin = hub.origin();
    hub.provider().register(&format!("{origin}/hub/oauth_callback/main"));
    other.register(&format!("{origin}/hub/oauth_callback/eth"));
    let mut client = hub.client();
    let page = client.open("/hub/login?next=/user/alice/lab").await;
    assert_eq!(page.status, 200);
    assert!(page.text().contains("ETH &lt;Zürich&gt;"), "{}", page.text());
    assert!(page.text().contains("login?provider=eth&amp;next=%2Fuser%2Falice%2Flab"), "{}", page.text());
    assert_eq!((hub.provider().count("auth"), other.count("auth")), (0, 0), "nobody is asked yet");

    let at_eth = sign_in(&mut client, &other, "alice", "/hub/login?provider=eth&next=/hub/home").await;
    assert_eq!(at_eth.0, 303, "{}", at_eth.1);
    assert!(client.open("/hub/home").await.text().contains("Welcome, alice"));
    assert_eq!((hub.provider().count("token"), other.count("token")), (0, 1));

    // The same name at the other provider is another person's.
    let mut namesake = hub.client();
    let refused = sign_in(&mut namesake, hub.provider(), "alice", "/hub/login?provider=main").await;
    assert_eq!(refused.0, 403);
    assert!(refused.1.contains("name is taken"), "{}", refused.1);
    assert_eq!(hub.client().open("/hub/login?provider=none").await.status, 404);
}

/// The provider "eth" is evil: it sends the browser on to the other one, with the state of its own login.
async fn mixed_up(hub: &Hub, evil: &Provider) {
    let mut client = hub.client();
    let begun = client.open("/hub/login?provider=eth").await;
    let to_eth = Url::parse(begun.header("location").unwrap()).unwrap();
    let value = |name: &str| to_eth.query_pairs().find(|(key, _)| key == name).unwrap().1.into_owned();
    let mut to_main = hub.provider().endpoint("auth");
    to_main.query_pairs_mut().extend_pairs([
        ("client_id", Provider::CLIENT_ID),
        ("response_type", "code"),
        ("redirect_uri", &format!("{}/hub/oauth_callback/main", hub.origin())),
        ("scope", "openid"),
        ("state", &value("state")),
        ("nonce", &value("nonce")),
        ("code_challenge", &value("code_challenge")),
        ("code_challenge_method", "S256"),
    ]);
    hub.provider().user("alice", json!({}));
    let back = hub.provider().visit(&to_main).await.unwrap();
    let answer = client.open(&path_and_query(back.as_str())).await;
    assert_eq!(answer.status, 400, "{}", answer.text());
    assert_eq!((hub.provider().count("token"), evil.count("token")), (0, 0), "the code went nowhere");
    assert!(client.cookie("__Host-hubgate").is_none());
}

#[tokio::test]
async fn a_code_of_one_provider_is_never_sent_to_another() {
    let (mut hub, other) = Hub::of_two(BINARY, "name = \"main\"", "name = \"eth\"").await;
    mixed_up(&hub, &other).await;
    // Where neither says who answers, it is told by where the answer comes (RFC 9700 section 4.4.2.2).
    other.lie(Lie::DiscoveryNoIssPromise);
    hub.provider().lie(Lie::DiscoveryNoIssPromise);
    hub.provider().lie(Lie::AnswerNoIss);
    hub.process_mut().kill().await;
    hub.process_mut().start_again().await;
    hub.process().until_ready().await;
    mixed_up(&hub, &other).await;
}

#[tokio::test]
async fn an_answer_in_the_way_of_another_provider_is_refused() {
    let host = format!("name = \"eth\"\nhost = \"{OTHER_NAME}\"\nresponse_mode = \"form_post\"");
    let (hub, _other) = Hub::of_two(BINARY, "name = \"main\"", &host).await;
    hub.provider().register(&format!("{}/hub/oauth_callback", hub.origin()));
    let mut client = hub.client();
    let begun = client.open("/hub/login").await;
    let back = hub.answer_of_provider(begun.header("location").unwrap(), "alice").await;
    let (path, fields) = back.split_once('?').unwrap();
    let headers = [
        ("Content-Type", "application/x-www-form-urlencoded"),
        ("Sec-Fetch-Mode", "navigate"),
        ("Sec-Fetch-Site", "cross-site"),
    ];
    let answer = client.send("POST", path, &headers, fields.as_bytes()).await;
    assert_eq!(answer.status, 400, "{}", answer.text());
    assert_eq!(hub.provider().count("token"), 0, "the code goes nowhere");
    assert!(client.cookie("__Host-hubgate").is_none());
}

#[tokio::test]
async fn a_provider_ends_no_session_of_another() {
    let (hub, other) = Hub::of_two(BINARY, "name = \"main\"", "name = \"eth\"").await;
    let mut client = hub.client();
    let begun = client.open("/hub/login?provider=main").await;
    let back = hub.answer_of_provider(begun.header("location").unwrap(), "alice").await;
    assert_eq!(client.open(&back).await.status, 303);
    let url = Url::parse(&format!("{}{back}", hub.origin())).unwrap();
    let sid = url.query_pairs().find(|(name, _)| name == "session_state").unwrap().1.into_owned();
    other.user("alice", json!({}));
    // By its frame, and by a token that it has signed: the name of the session is the one, the provider is not.
    let query = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs([("iss", other.issuer()), ("sid", sid.clone())])
        .finish();
    let framed = hub.client().send("GET", &format!("/hub/frontchannel-logout?{query}"), &[], b"").await;
    assert_eq!(framed.status, 200);
    for token in [other.logout_token(Some(&sid)), other.logout_token(None)] {
        assert_eq!(token.post(&client, "/hub/backchannel-logout").await.status, 200);
    }
    assert_eq!(client.open("/hub/home").await.status, 200);
    let right = hub.provider().logout_token(Some(&sid));
    assert_eq!(right.post(&client, "/hub/backchannel-logout").await.status, 200);
    assert_eq!(client.open("/hub/home").await.status, 303);
}

#[tokio::test]
async fn a_host_of_its_own_leads_to_one_provider_and_knows_no_other() {
    let host = format!("name = \"eth\"\nhost = \"{OTHER_NAME}\"");
    let (hub, other) = Hub::of_two(BINARY, "name = \"main\"", &host).await;
    hub.provider().register(&format!("{}/hub/oauth_callback", hub.origin()));
    other.register(&format!("https://{OTHER_NAME}:{PORT}/hub/oauth_callback"));
    let mut here = hub.signed_in("alice").await;
    assert_eq!(here.open("/hub/home").await.status, 200);

    let mut there = hub.process().client_elsewhere();
    let (status, text) = sign_in(&mut there, &other, "bob", "/hub/login?next=/hub/home").await;
    assert_eq!(status, 303, "{text}");
    let home = there.open("/hub/home").await;
    assert!(home.text().contains("Welcome, bob"), "{}", home.text());

    // A session of the one host is nobody's at the other, whoever carries its cookie over.
    let mut carried = hub.process().client_elsewhere();
    carried.set_cookie("__Host-hubgate", here.cookie("__Host-hubgate").unwrap());
    assert_eq!(carried.open("/hub/home").await.status, 303);
    let mut carried = hub.client();
    carried.set_cookie("__Host-hubgate", there.cookie("__Host-hubgate").unwrap());
    assert_eq!(carried.open("/hub/home").await.status, 303);
}
