//! Several servers of one user, each with a name.

use serde_json::{Value, json};
use support::client::Client;
use support::eventually::eventually;
use support::hub::{EVERYONE, Hub, PROFILE, path_and_query};
use url::Url;

use crate::BINARY;
use crate::control::operate;
use crate::day::plain;

const TWO: &str = "[spawner]\nnamed_servers = 2\n";

async fn hub() -> Hub {
    Hub::with(BINARY, &format!("{EVERYONE}{PROFILE}{TWO}")).await
}

/// Starts a server by its page; it answers when this returns.
async fn run(hub: &Hub, client: &mut Client, user: &str, server: &str) {
    hub.answer_at(user, server).await;
    let page = format!("/hub/spawn/{user}/{server}");
    let token = client.open("/hub/home").await.field("form_token").expect("a form");
    let answer = client.submit(&page, &[("form_token", &token), ("profile", "lab")]).await;
    assert_eq!(
        answer.header("location"),
        Some(format!("/user/{user}/{server}/lab").as_str()),
        "{}",
        answer.text()
    );
    hub.until_open(client, &format!("/user/{user}/{server}/lab")).await;
}

/// Sends the form of the home page.
async fn at_home(client: &mut Client, action: &str, server: &str) -> support::client::Answer {
    let token = client.open("/hub/home").await.field("form_token").expect("a form");
    client.submit("/hub/home", &[("form_token", &token), ("action", action), ("server", server)]).await
}

#[tokio::test]
async fn a_named_server_answers_below_its_name_and_the_default_one_everywhere_else() {
    let hub = hub().await;
    hub.run_workspace("alice").await;
    let mut alice = hub.signed_in("alice").await;
    run(&hub, &mut alice, "alice", "gpu").await;
    for (path, whose) in [
        ("/user/alice/gpu/api/x?y=%2F", "alice/gpu"),
        ("/user/alice/gpu/", "alice/gpu"),
        ("/user/alice/gpux/", "alice"),
        ("/user/alice/GPU/", "alice"),
        ("/user/alice/g%70u/", "alice"),
        ("/user/alice/lab/gpu/", "alice"),
        ("/user/alice/", "alice"),
    ] {
        let before = hub.requests(whose);
        assert_eq!(alice.fetch("GET", path, b"").await.status, 200, "{path}");
        assert_eq!(hub.requests(whose), before + 1, "{path} is {whose}'s");
        assert_eq!(hub.last_request(whose).target, path, "byte for byte");
    }
    let bare = alice.open("/user/alice/gpu?a=b").await;
    assert_eq!((bare.status, bare.header("location")), (303, Some("/user/alice/gpu/?a=b")));
    let token = |user: &str| hub.last_request(user).header("authorization").map(ToOwned::to_owned);
    assert_ne!(token("alice"), token("alice/gpu"), "each has a token of its own");

    let before = hub.traffic();
    let mut bob = hub.signed_in("bob").await;
    for path in ["/user/alice/gpu/", "/user/alice/gpu", "/hub/spawn/alice/gpu"] {
        assert_eq!(bob.open(path).await.status, 403, "{path}");
    }
    assert_eq!(hub.traffic(), before, "nothing of hers was asked");
}

#[tokio::test]
async fn servers_are_made_within_the_limit_stopped_and_removed_and_outlive_a_restart() {
    let mut hub = hub().await;
    let mut alice = hub.signed_in("alice").await;
    run(&hub, &mut alice, "alice", "gpu").await;
    let added = at_home(&mut alice, "add", "second").await;
    assert_eq!(added.header("location"), Some("/hub/spawn/alice/second"));
    let third = at_home(&mut alice, "add", "third").await;
    assert_eq!(third.status, 409, "{}", third.text());
    assert!(third.text().contains("has 2 servers with names already"), "{}", third.text());
    for name in ["lab", "api", "-x", "A", "a/b", "..", ""] {
        assert_eq!(at_home(&mut alice, "add", name).await.status, 400, "{name:?}");
    }
    assert_eq!(at_home(&mut alice, "remove", "gpu").await.status, 409, "it runs");

    hub.process_mut().kill().await;
    hub.process_mut().start_again().await;
    hub.until_open(&mut alice, "/user/alice/gpu/lab").await;
    let home = alice.open("/hub/home").await.text();
    assert!(home.contains("<strong>gpu</strong>") && home.contains("<strong>second</strong>"), "{home}");

    assert_eq!(at_home(&mut alice, "stop", "gpu").await.status, 303);
    hub.until_running(0).await;
    eventually("it is gone", || {
        let mut alice = alice.clone();
        async move { at_home(&mut alice, "remove", "gpu").await.status == 303 }
    })
    .await;
    assert!(!alice.open("/hub/home").await.text().contains("<strong>gpu</strong>"));
    assert_eq!(at_home(&mut alice, "stop", "gpu").await.status, 400, "there is none");
}

#[tokio::test]
async fn where_no_server_may_have_a_name_none_is_made() {
    let hub = Hub::start(BINARY).await;
    let mut alice = hub.signed_in("alice").await;
    assert!(!alice.open("/hub/home").await.text().contains("Name of another server"));
    assert_eq!(at_home(&mut alice, "add", "gpu").await.status, 409);
    let token = alice.open("/hub/home").await.field("form_token").unwrap();
    let form = [("form_token", token.as_str()), ("profile", "lab")];
    assert_eq!(alice.submit("/hub/spawn/alice/gpu", &form).await.status, 409);
    assert_eq!(hub.engine().count("POST", "/containers/create"), 0);
}

#[tokio::test]
async fn a_container_whose_name_the_store_forgot_is_found_again() {
    let mut hub = hub().await;
    let mut alice = hub.signed_in("alice").await;
    run(&hub, &mut alice, "alice", "gpu").await;
    hub.process_mut().kill().await;
    std::fs::remove_file(hub.folder().join("state/hubgate.db")).unwrap();
    hub.process_mut().start_again().await;
    let mut alice = hub.signed_in("alice").await;
    hub.until_open(&mut alice, "/user/alice/gpu/lab").await;
    assert_eq!(hub.last_request("alice/gpu").target, "/user/alice/gpu/lab");
}

#[tokio::test]
async fn what_nobody_offered_is_refused_and_logged_whatever_a_form_or_a_link_says() {
    let hub = Hub::start(BINARY).await;
    let mut alice = hub.signed_in("alice").await;
    let token = alice.open("/hub/home").await.field("form_token").unwrap();
    for (said, named) in [
        (vec![("profile", "root")], "root"),
        (vec![("image", "evil:1")], "evil:1"),
        (vec![("profile", "evil:2")], "evil:2"),
        (vec![("profile", "lab"), ("image", "evil:3")], "evil:3"),
        (vec![("profile", "lab"), ("profile", "evil:4")], "evil:4"),
    ] {
        let form = [vec![("form_token", token.as_str())], said.clone()].concat();
        let answer = alice.submit("/hub/spawn", &form).await;
        assert_eq!(answer.status, 403, "{said:?}");
        hub.process().until_logged(&format!("a choice that nobody offered: {named:?}")).await;
    }
    for (link, named) in [
        ("/hub/spawn?image=evil:5", "evil:5"),
        ("/hub/spawn?profile=lab&image=evil:6", "evil:6"),
        ("/hub/spawn?opt-profile=evil:7", "evil:7"),
        ("/hub/spawn?profile=lab&opt-profile=evil:8", "evil:8"),
    ] {
        assert_eq!(alice.open(link).await.status, 403, "{link}");
        hub.process().until_logged(&format!("a choice that nobody offered: {named:?}")).await;
    }
    assert_eq!(hub.engine().count("POST", "/containers/create"), 0);
}

#[tokio::test]
async fn where_there_is_nothing_to_choose_ones_own_link_starts_what_there_is() {
    let hub = Hub::start(BINARY).await;
    let mut alice = hub.signed_in("alice").await;
    let navigate = |site: &'static str| {
        [
            ("accept", "text/html"),
            ("sec-fetch-site", site),
            ("sec-fetch-mode", "navigate"),
            ("sec-fetch-dest", "document"),
        ]
    };
    let asked = alice.send("GET", "/hub/spawn", &navigate("cross-site"), b"").await;
    assert!(asked.status == 200 && asked.text().contains("Start JupyterLab"), "{}", asked.text());
    assert_eq!(hub.engine().count("POST", "/containers/create"), 0);
    let started = alice.send("GET", "/hub/spawn", &navigate("same-origin"), b"").await;
    assert_eq!(started.header("location"), Some("/user/alice/lab"), "{}", started.text());
}

#[tokio::test]
async fn a_link_names_what_it_starts_by_profile_or_image_in_both_of_jupyterhubs_forms() {
    let hub = Hub::start(BINARY).await;
    let mut alice = hub.signed_in("alice").await;
    for link in
        ["/hub/spawn?opt-profile=lab", "/hub/spawn?image=lab:1", "/hub/spawn?profile=lab&opt-image=lab:1"]
    {
        let answer = alice.open(link).await;
        assert_eq!(answer.header("location"), Some("/user/alice/lab"), "{link}: {}", answer.text());
    }
}

#[tokio::test]
async fn a_link_of_ones_own_starts_a_profile_and_one_of_another_site_asks_first() {
    let hub = hub().await;
    hub.answer_at("alice", "").await;
    let mut alice = hub.signed_in("alice").await;
    let link = "/hub/spawn?profile=lab&next=%2Fuser%2Falice%2Flab%2Ftree%2Fa";
    let ask = async |client: &mut Client, site: &str| {
        let headers = [
            ("accept", "text/html"),
            ("sec-fetch-site", site),
            ("sec-fetch-mode", "navigate"),
            ("sec-fetch-dest", "document"),
        ];
        client.send("GET", link, &headers, b"").await
    };
    let asked = ask(&mut alice, "cross-site").await;
    assert_eq!(asked.status, 200);
    assert!(asked.text().contains("Start JupyterLab"));
    assert_eq!(hub.engine().count("POST", "/containers/create"), 0, "nothing yet");
    let started = ask(&mut alice, "none").await;
    assert_eq!((started.status, started.header("location")), (303, Some("/user/alice/lab/tree/a")));
    hub.until_open(&mut alice, "/user/alice/lab/tree/a").await;
}

#[tokio::test]
async fn an_image_of_jupyterhubs_signs_its_visitor_in_at_the_named_server_it_is() {
    let image = "[[profile]]\nname = \"hub\"\nimage = \"hub:1\"\n[hub_api]\nlisten = \"{address}:8081\"\n";
    let hub = Hub::with(BINARY, &format!("{EVERYONE}{image}{TWO}")).await;
    hub.answer_at("alice", "b").await;
    let mut alice = hub.signed_in("alice").await;
    let token = alice.open("/hub/home").await.field("form_token").unwrap();
    alice.submit("/hub/spawn/alice/b", &[("form_token", &token), ("profile", "hub")]).await;
    hub.until_open(&mut alice, "/user/alice/b/lab").await;
    hub.run_workspace("alice-b").await;

    let variable = |name: &str| hub.environment_of("alice", name).unwrap();
    assert_eq!(
        variable("JUPYTERHUB_CLIENT_ID"),
        "jupyterhub-user-alice-b",
        "as the user alice-b's is called"
    );
    let api = Url::parse(&variable("JUPYTERHUB_API_URL")).unwrap();
    let own = format!("token {}", variable("JUPYTERHUB_API_TOKEN"));
    let query = "client_id=jupyterhub-user-alice-b&redirect_uri=%2Fuser%2Falice%2Fb%2Foauth_callback&response_type=code&state=s";
    let answer = alice.open(&format!("/hub/api/oauth2/authorize?{query}")).await;
    let back = Url::parse(&hub.origin()).unwrap().join(answer.header("location").unwrap()).unwrap();
    assert!(path_and_query(back.as_str()).starts_with("/user/alice/b/oauth_callback?code="), "{back}");
    let code = back.query_pairs().find(|(name, _)| name == "code").unwrap().1.into_owned();
    let redeem = |secret: &str| {
        format!(
            "client_id=jupyterhub-user-alice-b&client_secret={secret}&grant_type=authorization_code&code={code}"
        )
    };
    let form = "application/x-www-form-urlencoded";
    let others = hub.environment_of("alice-b", "JUPYTERHUB_API_TOKEN").unwrap();
    let theirs = plain(&api, "POST", "/hub/api/oauth2/token", "", (&redeem(&others), form)).await;
    assert_eq!(
        theirs,
        (400, json!({"error": "invalid_grant"})),
        "another user's container, of the same client id"
    );
    let (status, token) =
        plain(&api, "POST", "/hub/api/oauth2/token", "", (&redeem(&variable("JUPYTERHUB_API_TOKEN")), form))
            .await;
    assert_eq!(status, 200, "{token}");
    let bearer = format!("token {}", token["access_token"].as_str().unwrap());
    let (_, user) = plain(&api, "GET", "/hub/api/user", &bearer, ("", form)).await;
    let scopes: Vec<&Value> = user["scopes"].as_array().unwrap().iter().collect();
    assert!(scopes.contains(&&json!("access:servers!server=alice/b")), "{user}");
    let activity = json!({"servers": {"b": {"last_activity": "2026-01-01T00:00:00Z"}}, "last_activity": "2026-01-01T00:00:00Z"});
    let reported = plain(
        &api,
        "POST",
        "/hub/api/users/alice/activity",
        &own,
        (&activity.to_string(), "application/json"),
    )
    .await;
    assert_eq!(reported.0, 200);
}

#[tokio::test]
async fn administrators_see_and_stop_servers_by_their_names() {
    let hub = hub().await;
    hub.run_workspace("alice").await;
    let mut alice = hub.signed_in("alice").await;
    run(&hub, &mut alice, "alice", "gpu").await;
    let list = operate(&hub, &["workspace", "list"]).await.out;
    assert!(list.contains("alice  ") && list.contains("alice/gpu"), "{list}");
    let stopped = operate(&hub, &["workspace", "stop", "alice/gpu"]).await.out;
    assert!(stopped.contains("stopping"), "{stopped}");
    hub.until_running(1).await;
    assert_eq!(alice.fetch("GET", "/user/alice/x", b"").await.status, 200, "the other one runs on");
}

#[tokio::test]
async fn a_link_to_what_does_not_run_leads_to_what_does() {
    let two = "[[profile]]\nname = \"gpu\"\nimage = \"other:1\"\ndefault_url = \"/tree\"\n";
    let hub = Hub::with(BINARY, &format!("{EVERYONE}{PROFILE}{two}")).await;
    hub.answer_at("alice", "").await;
    let mut alice = hub.signed_in("alice").await;
    let token = alice.open("/hub/spawn").await.field("form_token").unwrap();
    let mut start = async |profile: &str| {
        let answer = alice.submit("/hub/spawn", &[("form_token", &token), ("profile", profile)]).await;
        answer.header("location").unwrap().to_owned()
    };
    assert_eq!(start("lab").await, "/user/alice/lab");
    assert_eq!(start("gpu").await, "/user/alice/lab", "lab runs, or begins to");
}

#[tokio::test]
async fn when_the_runtime_comes_back_it_is_looked_at_at_once() {
    let hub = Hub::start(BINARY).await;
    hub.run_workspace("alice").await;
    let container = hub.container_of("alice").name;
    hub.engine().stop();
    hub.engine().remove(&container);
    hub.engine().restart();
    let alice = hub.signed_in("alice").await;
    // Long before the next comparison of the clock: its address may be another's by then.
    eventually("it is known to be gone", || {
        let mut alice = alice.clone();
        async move { alice.open("/hub/home").await.text().contains("not running") }
    })
    .await;
}

#[tokio::test]
async fn an_odd_container_hides_no_other() {
    let mut hub = Hub::start(BINARY).await;
    hub.run_workspace("alice").await;
    hub.process_mut().kill().await;
    let labels = [
        ("user", "odd"),
        ("server", ""),
        ("instance", "i"),
        ("profile", "lab"),
        ("mode", "odd"),
        ("port", "1"),
    ];
    let labels = labels.map(|(name, value)| (format!("io.hubgate.{name}"), value));
    let labels: Vec<_> = labels.iter().map(|(name, value)| (name.as_str(), *value)).collect();
    hub.engine().add_foreign("hubgate-odd", &labels);
    hub.process_mut().start_again().await;
    let mut alice = hub.signed_in("alice").await;
    hub.until_open(&mut alice, "/user/alice/x").await;
    assert_eq!(hub.engine().count("POST", "/containers/create"), 1, "it was adopted, not made again");
}
