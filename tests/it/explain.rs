//! `hubgate explain`, about a hub that runs, one that does not, and people who have never been there.

use std::fs;

use serde_json::{Value, json};
use support::hub::{EVERYONE, Hub, PROFILE};
use tempfile::TempDir;

use crate::BINARY;
use crate::control::{json, operate, run};

const RULES: &str = "[[rule]]\ngroups = [\"/lab\"]\n[[rule]]\nusers = [\"anna\"]\nadmin = true\nmemory = \"8GiB\"\n\
                     [[profile]]\nname = \"lab\"\nimage = \"lab:1\"\nmemory = \"4GiB\"\n\
                     [[profile.volume]]\nsource = \"home-{username}\"\ntarget = \"/home/jovyan\"\n";

/// The lines of the hub's configuration that hold this.
fn lines(hub: &Hub, text: &str) -> Vec<u64> {
    let config = fs::read_to_string(hub.folder().join("config.toml")).unwrap();
    (1..).zip(config.lines()).filter(|(_, line)| *line == text).map(|(number, _)| number).collect()
}

#[tokio::test]
async fn a_person_is_explained_by_what_the_provider_said_last() {
    let hub = Hub::with(BINARY, RULES).await;
    hub.signed_in_with("anna", json!({"groups": ["/lab"], "preferred_username": "Anna"})).await;
    let told = json(&hub, &["explain", "Anna"]).await;
    assert_eq!(
        (&told["user"], &told["known"], &told["provider"]),
        (&json!("anna"), &json!(true), &json!("main"))
    );
    assert_eq!(told["claims"]["name"], "Anna");
    assert_eq!(told["claims"]["groups"], json!(["/lab"]));
    let at: Vec<u64> =
        told["rules"].as_array().unwrap().iter().map(|rule| rule["line"].as_u64().unwrap()).collect();
    assert_eq!(at, lines(&hub, "[[rule]]"));
    let grants = &told["grants"];
    assert_eq!((&grants["admin"], &grants["profiles"][0]["memory"]), (&json!(true), &json!(8_u64 << 30)));
    assert_eq!(grants["profiles"][0]["container"], "hubgate-anna");
    assert_eq!(grants["profiles"][0]["volumes"][0]["source"], "home-anna");
    assert!(told["said"].as_str().unwrap().ends_with('Z'));

    let words = operate(&hub, &["explain", "anna"]).await;
    assert_eq!(words.code, Some(0), "{}", words.err);
    for line in [
        "anna may enter.",
        "  name          theirs since the first login; the claim \"preferred_username\" says \"Anna\"",
        "  groups        \"/lab\" (in the claim \"groups\")",
        &format!("  1 (line {}): matches by group \"/lab\"; gives all profiles", at[0]),
        &format!(
            "  2 (line {}): matches by the user's name; gives all profiles, administration, memory 8GiB",
            at[1]
        ),
        "  administrator: yes",
        "  profile lab: memory 8GiB, processors unlimited",
        "    container hubgate-anna of lab:1",
        "    home-anna at /home/jovyan",
    ] {
        assert!(words.out.lines().any(|found| found == line), "{line}\nis not in\n{}", words.out);
    }
}

#[tokio::test]
async fn whoever_lost_what_let_them_in_is_explained_too() {
    let hub = Hub::with(BINARY, RULES).await;
    hub.signed_in_with("bob", json!({"groups": ["/lab"]})).await;
    // Another login, which fails, is heard all the same.
    let answer = hub.sign_in_at(&mut hub.client(), "bob", "/hub/login").await;
    assert_eq!(answer.status, 403);
    let said = operate(&hub, &["explain", "bob"]).await;
    assert_eq!(said.code, Some(0));
    assert!(
        said.out.starts_with("bob may not enter: no rule lets bob in.\n  hint: add a [[rule]]"),
        "{}",
        said.out
    );
    assert!(said.out.contains("  groups        none (in the claim \"groups\")"), "{}", said.out);
    assert_eq!(said.out.matches(": does not match\n").count(), 2, "{}", said.out);
}

#[tokio::test]
async fn whoever_is_disabled_at_the_provider_is_explained_so_until_their_next_login() {
    let mut hub =
        Hub::with(BINARY, &format!("{EVERYONE}{PROFILE}[session]\nrefresh_interval = \"1s\"\n")).await;
    let mut bob = hub.signed_in("bob").await;
    assert_eq!(json(&hub, &["explain", "bob"]).await["refused"], Value::Null);
    hub.provider().disable("bob");
    support::eventually::eventually("the hub hears of it", || {
        let mut bob = bob.clone();
        async move { bob.fetch("GET", "/hub/home", b"").await.status == 401 }
    })
    .await;
    support::eventually::eventually("it is written down", || async {
        json(&hub, &["explain", "bob"]).await["refused"].is_object()
    })
    .await;
    let running = json(&hub, &["explain", "bob"]).await;
    assert_eq!(running["grants"], Value::Null);
    let said = operate(&hub, &["explain", "bob"]).await;
    assert!(
        said.out.starts_with(
            "bob may not enter: the rules would let bob in, but the provider has disabled the account.\n  hint: enable"
        ),
        "{}",
        said.out
    );
    hub.process_mut().kill().await;
    assert_eq!(json(&hub, &["explain", "bob"]).await, running, "the same without the hub");
    hub.process_mut().start_again().await;
    hub.process().until_ready().await;
    assert_eq!(hub.sign_in_at(&mut bob, "bob", "/hub/login").await.status, 303);
    let told = json(&hub, &["explain", "bob"]).await;
    assert!(told["refused"].is_null() && told["grants"].is_object(), "{told}");
}

#[tokio::test]
async fn somebody_who_has_not_been_here_is_named_with_those_who_have() {
    let mut hub = Hub::start(BINARY).await;
    for user in ["anna.meier", "bob"] {
        hub.signed_in(user).await;
    }
    let said = operate(&hub, &["explain", "anna"]).await;
    assert_eq!((said.code, said.out.as_str()), (Some(1), ""));
    assert!(
        said.err.starts_with(
            "error: nobody called anna has been here; there is anna.meier\n  hint: `hubgate user list`"
        ),
        "{}",
        said.err
    );
    hub.process_mut().kill().await;
    let said = operate(&hub, &["explain", "anna"]).await;
    assert_eq!(said.code, Some(1));
    assert!(
        said.err.starts_with("error: of anna nothing is known here; there is anna.meier\n"),
        "{}",
        said.err
    );
}

#[tokio::test]
async fn without_a_hub_that_runs_its_files_are_read_and_left_as_they_are() {
    let mut hub = Hub::with(BINARY, RULES).await;
    hub.signed_in_with("anna", json!({"groups": ["/lab"]})).await;
    let running = json(&hub, &["explain", "anna"]).await;
    hub.process().signal(rustix::process::Signal::TERM);
    assert_eq!(hub.process_mut().ended().await, Some(0));
    let state = hub.folder().join("state");
    let before = fs::read(state.join("hubgate.db")).unwrap();
    assert_eq!(json(&hub, &["explain", "anna"]).await, running, "the same, to the letter");
    let said = operate(&hub, &["explain", "anna"]).await;
    assert!(
        said.out.starts_with("hubgate does not run: this is by its configuration and its store.\n\nanna may")
    );
    assert_eq!(fs::read(state.join("hubgate.db")).unwrap(), before);
    let socket = hub.folder().join("admin.sock").display().to_string();
    let said = run(&["explain", "anna", "--socket", &socket]).await;
    assert_eq!(said.code, Some(1), "by a socket alone nobody finds the files");

    // After a crash, too, with what is in the log of the database only.
    hub.process_mut().start_again().await;
    hub.process().until_ready().await;
    hub.signed_in_with("anna", json!({"groups": ["/lab", "/new"]})).await;
    hub.process_mut().kill().await;
    assert_eq!(json(&hub, &["explain", "anna"]).await["claims"]["groups"], json!(["/lab", "/new"]));
    hub.process_mut().start_again().await;
    hub.signed_in("anna").await;
}

#[tokio::test]
async fn a_hub_that_never_ran_says_so() {
    let folder = TempDir::new().unwrap();
    let config = crate::cli::write(folder.path(), 0, "");
    let said = run(&["explain", "anna", "--config", &config]).await;
    assert_eq!(said.code, Some(1));
    assert!(
        said.err.starts_with("error: hubgate does not run, and its store cannot be read\n"),
        "{}",
        said.err
    );
    assert!(!folder.path().join("state").exists(), "nothing was made");
}

#[tokio::test]
async fn somebody_who_could_come_is_explained_by_claims_alone() {
    let folder = TempDir::new().unwrap();
    let two = "[[rule]]\nrealm_roles = [\"boss\"]\nadmin = true\n";
    let config = crate::cli::write(folder.path(), 0, two);
    let claims = folder.path().join("claims.json").display().to_string();
    let explain = async |text: &str, more: &[&str]| {
        fs::write(&claims, text).unwrap();
        let mut all = vec!["explain", "--claims", &claims, "--config", &config];
        all.extend(more);
        run(&all).await
    };
    let said =
        explain(r#"{"preferred_username": "Zoé", "realm_access": {"roles": ["boss"]}}"#, &["--json"]).await;
    assert_eq!(said.code, Some(0), "{}", said.err);
    let told: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(
        (&told["user"], &told["known"], &told["grants"]["admin"]),
        (&json!("zoé"), &json!(false), &json!(true))
    );
    let said = explain(r#"{"sub": "7"}"#, &["Carl"]).await;
    assert!(said.out.contains("carl may enter.") && said.out.contains("  administrator: no"), "{}", said.out);
    let said = explain(r#"{"preferred_username": 7}"#, &[]).await;
    assert!(said.out.contains("this person may not enter: the provider sends no claim"), "{}", said.out);
    for (text, more) in [("[]", &[][..]), ("{", &[]), ("{}", &["--provider", "other"])] {
        let said = explain(text, more).await;
        assert_eq!((said.code, said.out.as_str()), (Some(2), ""), "{text} {more:?}: {}", said.err);
        assert!(said.err.contains("\n  hint: "), "{}", said.err);
    }
    assert!(!folder.path().join("state").exists(), "nothing was made");
}

#[tokio::test]
async fn users_and_servers_are_listed_and_servers_stopped() {
    let hub = Hub::with(BINARY, &format!("{EVERYONE}{PROFILE}")).await;
    hub.run_workspace("anna@epfl.ch").await;
    hub.signed_in("bob").await;
    let users = json(&hub, &["user", "list"]).await;
    let row = |user: &Value| (user["name"].clone(), user["sessions"].clone(), user["workspace"].clone());
    let rows: Vec<_> = users.as_array().unwrap().iter().map(row).collect();
    assert_eq!(
        rows,
        [(json!("anna@epfl.ch"), json!(1), json!("ready")), (json!("bob"), json!(1), Value::Null)]
    );
    assert_eq!(
        json(&hub, &["workspace", "list"]).await,
        json!([{"user": "anna@epfl.ch", "server": "", "state": "ready", "profile": "lab"}])
    );
    let said = operate(&hub, &["workspace", "stop", "bob"]).await;
    assert_eq!(said.code, Some(1));
    assert!(said.err.starts_with("error: bob has no server that runs\n  hint: "), "{}", said.err);
    let said = operate(&hub, &["workspace", "stop", "anna@epfl.ch"]).await;
    assert_eq!((said.code, said.out.as_str()), (Some(0), "the server is stopping\n"), "{}", said.err);
    hub.until_running(0).await;
    hub.process().until_logged("an administrator stops a workspace").await;
    support::eventually::eventually("an empty list", || async {
        json(&hub, &["workspace", "list"]).await == json!([])
    })
    .await;
    let said = operate(&hub, &["user", "list"]).await;
    assert!(said.out.starts_with("USER          FIRST LOGIN"), "{}", said.out);
}
