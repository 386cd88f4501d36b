//! The administration page, the sessions API, and the proof that they may ask for.

use serde_json::{Value, json};
use support::client::{Answer, Client};
use support::hub::{EVERYONE, Hub, PROFILE};
use support::provider::Provider;
use url::Url;

use crate::BINARY;
use crate::callers::call;
use crate::control::json as command;
use crate::socket::Socket;

/// Ada is an administrator; so is whoever has the role.
const ADA: &str = "[[rule]]\nusers = [\"ada\"]\nrealm_roles = [\"boss\"]\nadmin = true\n";

async fn hub(more: &str) -> Hub {
    Hub::with(BINARY, &format!("{EVERYONE}{ADA}{PROFILE}{more}")).await
}

/// A request with a session's cookie, as a program without a browser makes it.
async fn with_cookie(client: &mut Client, method: &str, path: &str, form_token: Option<&str>) -> Answer {
    let origin = client_origin(client);
    let mut headers = vec![("Accept", "application/json"), ("Origin", origin.as_str())];
    headers.extend(form_token.map(|token| ("X-Form-Token", token)));
    client.send(method, path, &headers, b"").await
}

fn client_origin(_client: &Client) -> String {
    format!("https://{}:{}", support::process::NAME, support::process::PORT)
}

fn json_of(answer: &Answer) -> Value {
    serde_json::from_slice(&answer.body).unwrap_or(Value::Null)
}

/// The token of the forms on the administration page.
async fn page_token(ada: &mut Client) -> String {
    let page = ada.open("/hub/admin").await;
    assert_eq!(page.status, 200, "{}", page.text());
    page.field("form_token").expect("a form")
}

/// The sessions of one user, by their ids.
async fn ids(hub: &Hub, user: &str) -> Vec<String> {
    let list = command(hub, &["session", "list", "--user", user]).await;
    list.as_array().unwrap().iter().map(|session| session["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn only_administrators_find_the_administration_page() {
    let hub = hub("").await;
    let (mut ada, mut bob) = (hub.signed_in("ada").await, hub.signed_in("bob").await);
    assert!(ada.open("/hub/home").await.text().contains(">Administration</a>"));
    assert!(!bob.open("/hub/home").await.text().contains("Administration"));
    let page = ada.open("/hub/admin").await;
    assert_eq!(page.status, 200);
    for shown in ["2 sessions of 2 users", "<strong>bob</strong>", "End all of bob", ", this one"] {
        assert!(page.text().contains(shown), "{shown}: {}", page.text());
    }
    let form_token = page.field("form_token").unwrap();
    assert_eq!(bob.open("/hub/admin").await.status, 404);
    let fields = [("form_token", form_token.as_str()), ("action", "end_all"), ("user", "ada")];
    assert_eq!(bob.submit("/hub/admin", &fields).await.status, 404);
    let stranger = hub.client().open("/hub/admin").await;
    assert_eq!(stranger.header("location"), Some("/hub/login?next=%2Fhub%2Fadmin"));
    assert_eq!(hub.client().submit("/hub/admin", &fields).await.status, 401);
    let token = ada.make_token(&["admin:sessions", "admin:users", "list:users"]).await;
    assert_eq!(
        call(&hub, "GET", "/hub/admin", &format!("token {token}"), "").await.status,
        401,
        "people only"
    );
    assert!(ada.open("/hub/admin?user=bob").await.text().contains("1 session of 1 user."));
    assert!(ada.open("/hub/admin?user=nobody").await.text().contains("Nobody of this name"));
}

#[tokio::test]
async fn an_administrator_ends_sessions_and_stops_servers_on_the_page() {
    let hub = hub("").await;
    hub.run_workspace("alice").await;
    let mut ada = hub.signed_in("ada").await;
    let form_token = page_token(&mut ada).await;
    let before = ids(&hub, "alice").await;
    let gone = Socket::open(&hub, "alice").await;
    let with_one = ids(&hub, "alice").await;
    let id = with_one.iter().find(|id| !before.contains(id)).unwrap();
    let mut stays = Socket::open(&hub, "alice").await;

    let end = [("form_token", form_token.as_str()), ("action", "end"), ("id", id.as_str())];
    assert_eq!(ada.submit("/hub/admin", &end).await.header("location"), Some("/hub/admin"));
    gone.until_closed().await;
    stays.echo("only one was ended").await;
    assert_eq!(ada.submit("/hub/admin", &end).await.status, 303, "twice is no harm");

    let all = [("form_token", form_token.as_str()), ("action", "end_all"), ("user", "alice")];
    assert_eq!(ada.submit("/hub/admin", &all).await.status, 303);
    stays.until_closed().await;
    assert!(ids(&hub, "alice").await.is_empty());
    assert_eq!(ids(&hub, "ada").await.len(), 1);

    let stop = [("form_token", form_token.as_str()), ("action", "stop"), ("user", "alice")];
    assert_eq!(ada.submit("/hub/admin", &stop).await.status, 303);
    hub.until_running(0).await;
    let log = hub.process().log();
    assert!(log.contains("session_ended") && log.contains("by=ada"), "{log}");
}

#[tokio::test]
async fn what_a_notebook_can_read_or_send_administers_nothing() {
    let hub = hub("").await;
    let mut ada = hub.signed_in("ada").await;
    hub.signed_in("bob").await;
    // What scripts of the same origin can read: pages of the hub that are no secret to them.
    let readable = ada.open("/hub/logout").await.field("form_token").unwrap();
    let of_tokens = ada.open("/hub/token").await.field("form_token").unwrap();
    let good = page_token(&mut ada).await;
    assert_ne!(readable, good);
    for form_token in [readable.as_str(), &of_tokens, "", "x"] {
        let fields = [("form_token", form_token), ("action", "end_all"), ("user", "bob")];
        assert_eq!(ada.submit("/hub/admin", &fields).await.status, 403);
        let path = "/hub/api/users/bob/sessions";
        assert_eq!(with_cookie(&mut ada, "DELETE", path, Some(form_token)).await.status, 403);
    }
    for (method, path) in [
        ("GET", "/hub/admin"),
        ("POST", "/hub/admin"),
        ("GET", "/hub/api/sessions"),
        ("DELETE", "/hub/api/users/bob/sessions"),
    ] {
        let answer = ada.fetch(method, path, b"").await;
        assert_eq!(answer.status, 403, "a script: {method} {path}");
        assert!(!answer.text().contains(&good) && !answer.text().contains("bob"));
    }
    // Nor does another site's page, whatever it knows.
    let headers = [("Origin", "https://evil.example"), ("X-Form-Token", good.as_str())];
    assert_eq!(ada.send("DELETE", "/hub/api/users/bob/sessions", &headers, b"").await.status, 403);
    for field in [
        "action=",
        "action=end",
        "action=end&id=bob",
        "action=end_all",
        "action=end_all&user=BOB",
        "action=x",
    ] {
        let pairs: Vec<(String, String)> =
            url::form_urlencoded::parse(field.as_bytes()).into_owned().collect();
        let mut fields = vec![("form_token", good.as_str())];
        fields.extend(pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        assert_eq!(ada.submit("/hub/admin", &fields).await.status, 400, "{field}");
    }
    assert_eq!(ids(&hub, "bob").await.len(), 1, "nothing was ended");
}

#[tokio::test]
async fn no_lesser_role_reaches_the_sessions_of_others() {
    let hub = hub("").await;
    let (mut ada, mut bob) = (hub.signed_in("ada").await, hub.signed_in("bob").await);
    let mut eve = hub.signed_in_with("eve", json!({"realm_access": {"roles": ["boss"]}})).await;
    let of_eve = format!("token {}", eve.make_token(&["admin:sessions"]).await);
    assert_eq!(call(&hub, "GET", "/hub/api/sessions", &of_eve, "").await.status, 200, "while she is one");
    // A demoted administrator's token, and session.
    let mut eve = hub.signed_in("eve").await;
    let lesser = ["access:servers", "servers", "read:users", "tokens"];
    let of_bob = format!("token {}", bob.make_token(&lesser).await);
    let mut programs = vec![("bob's", of_bob), ("eve's", of_eve)];
    for scope in ["access:servers", "servers", "read:users", "tokens", "list:users", "admin:users"] {
        programs.push((scope, format!("token {}", ada.make_token(&[scope]).await)));
    }
    let id = ids(&hub, "ada").await.pop().unwrap();
    let one = format!("/hub/api/sessions/{id}");
    let requests = [
        ("GET", "/hub/api/sessions"),
        ("GET", "/hub/api/sessions?user=bob"),
        ("DELETE", one.as_str()),
        ("GET", "/hub/api/users/ada/sessions"),
        ("DELETE", "/hub/api/users/ada/sessions"),
        ("GET", "/hub/api/users/carl/sessions"),
        ("DELETE", "/hub/api/users/carl/sessions"),
    ];
    hub.signed_in("carl").await;
    for (method, path) in requests {
        assert_eq!(call(&hub, method, path, "", "").await.status, 401, "a stranger: {method} {path}");
        for (who, program) in &programs {
            let reads = ["read:users", "admin:users"].contains(who) && method == "GET";
            let own = path == "/hub/api/users/ada/sessions" && reads;
            let status = call(&hub, method, path, program, "").await.status;
            assert_eq!(status, if own { 200 } else { 403 }, "{who}: {method} {path}");
        }
        for (who, browser) in [("bob", &mut bob), ("eve", &mut eve)] {
            let form_token = browser.open("/hub/logout").await.field("form_token").unwrap();
            let answer = with_cookie(browser, method, path, Some(&form_token)).await;
            assert_eq!(answer.status, 404, "{who}: {method} {path}");
        }
    }
    // Nobody gives themselves what they lack.
    let page = bob.open("/hub/token").await;
    assert!(!page.text().contains("admin:sessions"));
    let form_token = page.field("form_token").unwrap();
    let fields = [
        ("form_token", form_token.as_str()),
        ("action", "make"),
        ("lifetime", "3600"),
        ("scope", "admin:sessions"),
    ];
    assert_eq!(bob.submit("/hub/token", &fields).await.status, 400);
    assert_eq!(ids(&hub, "carl").await.len(), 1, "nothing was ended");
    assert!(ids(&hub, "ada").await.contains(&id));
}

#[tokio::test]
async fn programs_with_the_scope_see_and_end_sessions() {
    let hub = hub("").await;
    let (mut ada, mut bob) = (hub.signed_in("ada").await, hub.signed_in("bob").await);
    hub.signed_in("carl").await;
    let token = format!("token {}", ada.make_token(&["admin:sessions"]).await);
    let answer = call(&hub, "GET", "/hub/api/sessions", &token, "").await;
    let list = json_of(&answer)["sessions"].clone();
    let of = |user: &str| {
        let theirs = list.as_array().unwrap().iter().filter(|session| session["user"] == user);
        theirs.map(|session| session["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!((of("ada").len(), of("bob").len(), of("carl").len()), (1, 1, 1));
    assert!(list[0]["created"].as_str().unwrap().ends_with('Z') && list[0]["provider"] == "main");
    assert!(
        !answer.text().contains(bob.cookie("__Host-hubgate").unwrap()),
        "what opens a session is not shown"
    );
    let one = format!("/hub/api/sessions/{}", of("bob")[0]);
    assert_eq!(call(&hub, "DELETE", &one, &token, "").await.status, 204);
    assert_eq!(bob.fetch("GET", "/hub/home", b"").await.status, 401);
    let again = call(&hub, "DELETE", &one, &token, "").await;
    assert_eq!((again.status, json_of(&again)), (404, json!({"status": 404, "message": "No such session"})));
    for wrong in ["/hub/api/sessions/x", "/hub/api/sessions/..", "/hub/api/sessions/000000000000/x"] {
        assert!([400, 404].contains(&call(&hub, "DELETE", wrong, &token, "").await.status), "{wrong}");
    }
    assert_eq!(call(&hub, "POST", "/hub/api/sessions", &token, "{}").await.status, 405);
    assert_eq!(call(&hub, "DELETE", "/hub/api/users/carl/sessions", &token, "").await.status, 204);
    assert!(ids(&hub, "carl").await.is_empty());
    assert_eq!(call(&hub, "DELETE", "/hub/api/users/nobody/sessions", &token, "").await.status, 204);
    // And an administrator's own session, with what only the page was given.
    let form_token = page_token(&mut ada).await;
    hub.signed_in("carl").await;
    assert_eq!(with_cookie(&mut ada, "GET", "/hub/api/sessions", None).await.status, 200);
    assert_eq!(
        with_cookie(&mut ada, "DELETE", "/hub/api/users/carl/sessions", Some(&form_token)).await.status,
        204
    );
    assert!(ids(&hub, "carl").await.is_empty());
}

#[tokio::test]
async fn a_user_lists_and_ends_their_own_sessions() {
    let hub = hub("").await;
    let (mut one, mut two) = (hub.signed_in("bob").await, hub.signed_in("bob").await);
    let mut other = hub.signed_in("carl").await;
    let path = "/hub/api/users/bob/sessions";
    let list = json_of(&with_cookie(&mut one, "GET", path, None).await);
    assert_eq!(list["sessions"].as_array().unwrap().len(), 2);
    let token = format!("token {}", one.make_token(&["read:users", "tokens", "servers"]).await);
    let ids = |list: &Value| -> Vec<_> {
        list["sessions"].as_array().unwrap().iter().map(|session| session["id"].clone()).collect()
    };
    assert_eq!(ids(&json_of(&call(&hub, "GET", path, &token, "").await)), ids(&list));
    assert_eq!(
        call(&hub, "DELETE", path, &token, "").await.status,
        403,
        "a program of theirs signs nobody out"
    );
    assert_eq!(with_cookie(&mut one, "DELETE", path, None).await.status, 403, "nor does a cookie alone");
    let form_token = one.open("/hub/logout").await.field("form_token").unwrap();
    assert_eq!(with_cookie(&mut other, "DELETE", path, Some(&form_token)).await.status, 404);
    assert_eq!(with_cookie(&mut one, "DELETE", path, Some(&form_token)).await.status, 204);
    for browser in [&mut one, &mut two] {
        assert_eq!(browser.fetch("GET", "/hub/home", b"").await.status, 401);
    }
    assert_eq!(other.fetch("GET", "/hub/home", b"").await.status, 200);
}

/// Follows the way to the provider and back, as whoever; what the hub says then.
async fn go_through(hub: &Hub, browser: &mut Client, answer: &Answer, user: &str) -> Answer {
    let location = answer.header("location").unwrap_or_else(|| panic!("no way on: {}", answer.text()));
    let back = hub.answer_of_provider(location, user).await;
    browser.open(&back).await
}

fn asked(answer: &Answer, name: &str) -> Option<String> {
    let url = Url::parse(answer.header("location").unwrap_or_default()).ok()?;
    url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}

#[tokio::test]
async fn administrators_prove_who_they_are_before_they_administer() {
    let hub = hub("[admin]\nacr_values = [\"gold\"]\nmax_age = \"15min\"\n").await;
    let mut ada = hub.signed_in("ada").await;
    let before = ada.clone();
    let first = ada.cookie("__Host-hubgate").unwrap().to_owned();
    let answer = ada.open("/hub/admin").await;
    assert_eq!(
        (asked(&answer, "acr_values"), asked(&answer, "max_age")),
        (Some("gold".into()), Some("900".into()))
    );
    // Until then nothing of it is open to her, by any way.
    let api = with_cookie(&mut ada, "GET", "/hub/api/sessions", None).await;
    assert_eq!(api.status, 401);
    let challenge = api.header("www-authenticate").unwrap();
    assert!(challenge.contains("error=\"insufficient_user_authentication\""), "{challenge}");
    assert!(challenge.ends_with("acr_values=\"gold\", max_age=\"900\""), "{challenge}");
    assert!(!ada.open("/hub/token").await.text().contains("admin:sessions"));
    let fields = [("form_token", "x"), ("action", "end_all"), ("user", "ada")];
    assert_eq!(
        ada.submit("/hub/admin", &fields).await.header("location"),
        Some("/hub/admin"),
        "nothing is done"
    );
    assert_eq!(ids(&hub, "ada").await.len(), 1);

    // A provider that takes the level for a wish (T127).
    for level in [json!("0"), json!("1"), json!("silver"), json!(null)] {
        hub.provider().claim_in_id_tokens(json!({ "acr": level }));
        let answer = ada.open("/hub/admin").await;
        let refused = go_through(&hub, &mut ada, &answer, "ada").await;
        assert_eq!((refused.status, refused.header("location")), (403, None), "{level}");
        assert!(refused.text().contains("stronger login"), "{}", refused.text());
        assert_eq!(ada.cookie("__Host-hubgate"), Some(first.as_str()), "she stays as she was");
    }
    hub.provider().be_honest();
    hub.provider().claim_in_id_tokens(json!({}));
    let answer = ada.open("/hub/admin").await;
    let back = go_through(&hub, &mut ada, &answer, "ada").await;
    assert_eq!(back.header("location"), Some("/hub/admin"), "{}", back.text());
    assert_eq!(ada.open("/hub/admin").await.status, 200);
    assert_eq!(with_cookie(&mut ada, "GET", "/hub/api/sessions", None).await.status, 200);
    assert!(ada.open("/hub/token").await.text().contains("admin:sessions"));
    // The id has changed, and the old one opens nothing (T73).
    assert_ne!(ada.cookie("__Host-hubgate"), Some(first.as_str()));
    assert_eq!(before.clone().fetch("GET", "/hub/home", b"").await.status, 401);
    // What was proved is kept over a restart.
    let mut hub = hub;
    hub.process_mut().kill().await;
    hub.process_mut().start_again().await;
    assert_eq!(ada.open("/hub/admin").await.status, 200);
}

#[tokio::test]
async fn a_login_of_long_ago_does_not_administer() {
    let hub = hub("[admin]\nmax_age = \"15min\"\n").await;
    let mut ada = hub.signed_in("ada").await;
    assert_eq!(ada.open("/hub/admin").await.status, 200, "she has just signed in");
    let long_ago = hubgate::clock::Clock::system().now() - 3600;
    hub.provider().claim_in_id_tokens(json!({ "auth_time": long_ago }));
    let mut ada = hub.signed_in("ada").await;
    let answer = ada.open("/hub/admin").await;
    assert_eq!(asked(&answer, "max_age").as_deref(), Some("900"));
    // A provider that does not ask her anew.
    assert_eq!(go_through(&hub, &mut ada, &answer, "ada").await.status, 403);
    hub.provider().claim_in_id_tokens(json!({}));
    let answer = ada.open("/hub/admin").await;
    assert_eq!(go_through(&hub, &mut ada, &answer, "ada").await.status, 303);
    assert_eq!(ada.open("/hub/admin").await.status, 200);
    // Others are not asked for any of this.
    let mut bob = hub.signed_in("bob").await;
    assert_eq!(bob.open("/hub/home").await.status, 200);
    assert_eq!(bob.open("/hub/admin").await.status, 404);
}

#[tokio::test]
async fn a_proof_whose_page_had_expired_is_asked_for_again_and_no_less_of_it() {
    let hub = hub("[admin]\nacr_values = [\"gold\"]\nmax_age = \"15min\"\n").await;
    let mut ada = hub.signed_in("ada").await;
    hub.provider().refuse("temporarily_unavailable", "authentication_expired", 1);
    let answer = ada.open("/hub/admin").await;
    let again = go_through(&hub, &mut ada, &answer, "ada").await;
    assert_eq!(
        (asked(&again, "acr_values"), asked(&again, "max_age")),
        (Some("gold".into()), Some("900".into()))
    );
}

#[tokio::test]
async fn whoever_comes_back_from_the_proof_is_signed_in_as_themselves() {
    let hub = hub("[admin]\nacr_values = [\"gold\"]\n").await;
    let mut ada = hub.signed_in("ada").await;
    let old = ada.clone();
    let answer = ada.open("/hub/admin").await;
    let back = go_through(&hub, &mut ada, &answer, "bob").await;
    assert_eq!(back.header("location"), Some("/hub/admin"));
    assert_eq!(ada.open("/hub/admin").await.status, 404, "bob has proved who he is: no administrator");
    assert!(ada.open("/hub/home").await.text().contains("Welcome, bob"));
    assert_eq!(old.clone().fetch("GET", "/hub/home", b"").await.status, 401, "and nothing of ada's is left");
}

#[tokio::test]
async fn a_renewal_proves_nothing() {
    let hub = hub("[session]\nrefresh_interval = \"1s\"\n[admin]\nacr_values = [\"gold\"]\n").await;
    let mut ada = hub.signed_in("ada").await;
    hub.provider().claim_in_id_tokens(json!({"acr": "gold"}));
    let renewed = hub.process().metric("hubgate_renewals_total").await;
    support::eventually::eventually("a renewal", || async {
        ada.clone().open("/hub/home").await;
        hub.process().metric("hubgate_renewals_total").await > renewed
    })
    .await;
    let answer = ada.open("/hub/admin").await;
    assert_eq!(asked(&answer, "acr_values").as_deref(), Some("gold"), "{}", answer.text());
}

#[tokio::test]
async fn an_administrators_access_token_of_the_provider_proves_what_its_login_proved() {
    let hub = hub("[admin]\nacr_values = [\"gold\"]\nmax_age = \"15min\"\n").await;
    hub.signed_in("bob").await;
    let now = hubgate::clock::Clock::system().now();
    hub.signed_in("ada").await;
    hub.provider().user("ada", json!({}));
    let bearer = |acr: Value, auth_time: Value| {
        let draft = hub.provider().access_token_for(Provider::CLIENT_ID);
        format!("Bearer {}", draft.claim("acr", acr).claim("auth_time", auth_time).token())
    };
    let asks = [
        ("GET", "/hub/api/sessions"),
        ("GET", "/hub/api/users/bob/sessions"),
        ("DELETE", "/hub/api/users/bob/sessions"),
        ("DELETE", "/hub/api/sessions/000000000000"),
    ];
    for (acr, auth_time) in [
        (json!("1"), json!(now)),
        (json!(["gold"]), json!(now)),
        (Value::Null, json!(now)),
        (json!("gold"), json!(now - 3600)),
        (json!("gold"), json!(now.to_string())),
        (json!("gold"), Value::Null),
    ] {
        let weak = bearer(acr.clone(), auth_time.clone());
        for (method, path) in asks {
            // Once when the token is verified, and once when it is known.
            for _ in 0..2 {
                let answer = call(&hub, method, path, &weak, "").await;
                assert_eq!(answer.status, 401, "{acr} {auth_time}: {method} {path}: {}", answer.text());
                let challenge = answer.header("www-authenticate").unwrap();
                assert!(challenge.contains("error=\"insufficient_user_authentication\""), "{challenge}");
                assert!(challenge.ends_with("acr_values=\"gold\", max_age=\"900\""), "{challenge}");
            }
        }
        let own = call(&hub, "GET", "/hub/api/users/ada/sessions", &weak, "").await;
        assert_eq!(own.status, 200, "her own are hers: {}", own.text());
    }
    assert_eq!(ids(&hub, "bob").await.len(), 1, "nothing was ended");

    let proven = bearer(json!("gold"), json!(now));
    assert_eq!(call(&hub, "GET", "/hub/api/sessions", &proven, "").await.status, 200);
    assert_eq!(call(&hub, "DELETE", "/hub/api/users/bob/sessions", &proven, "").await.status, 204);
    assert!(ids(&hub, "bob").await.is_empty());
    // Whoever is no administrator is not told that a proof would help.
    hub.provider().user("bob", json!({}));
    let bobs = bearer(json!("1"), json!(now));
    assert_eq!(call(&hub, "GET", "/hub/api/sessions", &bobs, "").await.status, 403);
}
