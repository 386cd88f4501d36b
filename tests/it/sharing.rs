//! Who lets whom into their workspace: on the pages, by links, and by the REST API.

use serde_json::{Value, json};
use support::client::{Answer, Client};
use support::eventually::eventually;
use support::hub::{EVERYONE, Hub, PROFILE};
use support::process::USER_DOMAINS;

use crate::BINARY;
use crate::callers::call;
use crate::control::operate;

const ON: &str = "[sharing]\nenabled = true\n";
const ADA: &str = "[[rule]]\nusers = [\"ada\"]\nadmin = true\n";
const NAMED: &str = "[spawner]\nnamed_servers = 1\n";

/// Where Alice's server is.
const SERVER: &str = "https://alice.hub.example:8443/user/alice/";

async fn hub() -> Hub {
    Hub::with(BINARY, &format!("{USER_DOMAINS}{EVERYONE}{ADA}{PROFILE}{NAMED}{ON}")).await
}

fn json_of(answer: &Answer) -> Value {
    serde_json::from_slice(&answer.body).unwrap_or(Value::Null)
}

/// What a page says: templates write a slash as an entity.
fn words(page: &Answer) -> String {
    page.text().replace("&#x2f;", "/")
}

/// A program with these scopes.
struct Program<'h> {
    hub: &'h Hub,
    authorization: String,
}

impl<'h> Program<'h> {
    async fn of(hub: &'h Hub, user: &str, scopes: &[&str]) -> Self {
        let token = hub.signed_in(user).await.make_token(scopes).await;
        Self { hub, authorization: format!("token {token}") }
    }

    async fn ask(&self, method: &str, path: &str, body: &str) -> Answer {
        call(self.hub, method, &format!("/hub/api{path}"), &self.authorization, body).await
    }

    async fn good(&self, method: &str, path: &str, body: Value) -> Value {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let answer = self.ask(method, path, &body).await;
        assert_eq!(answer.status, 200, "{method} {path}: {}", answer.text());
        json_of(&answer)
    }

    async fn list(&self, path: &str) -> Vec<Value> {
        self.good("GET", path, Value::Null).await["items"].as_array().expect("items").clone()
    }
}

/// A person on the page of shares.
async fn on_page(client: &mut Client, fields: &[(&str, &str)]) -> Answer {
    let form_token = client.open("/hub/share").await.field("form_token").expect("a form");
    let mut all = vec![("form_token", form_token.as_str())];
    all.extend(fields);
    client.submit("/hub/share", &all).await
}

/// The path of a new link of theirs.
async fn link(client: &mut Client, access: &str) -> String {
    let fields =
        [("action", "share"), ("server", ""), ("with", "link"), ("access", access), ("lifetime", "3600")];
    let answer = on_page(client, &fields).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let shown = answer.shown().expect("a link").replace("&#x2f;", "/");
    let (origin, path) = shown.split_at(shown.find("/hub/").expect("a path"));
    assert!(origin.starts_with("https://") && path.starts_with("/hub/accept-share?code="), "{shown}");
    path.to_owned()
}

async fn accept(client: &mut Client, path: &str) -> Answer {
    let page = client.open(path).await;
    let Some(form_token) = page.field("form_token") else { return page };
    let code = page.field("code").expect("the code");
    client.submit("/hub/accept-share", &[("form_token", &form_token), ("code", &code)]).await
}

#[tokio::test]
async fn where_nothing_is_shared_no_address_of_shares_is_there() {
    let hub = Hub::with(BINARY, &format!("{EVERYONE}{ADA}{PROFILE}")).await;
    let mut alice = hub.signed_in("alice").await;
    for path in ["/hub/share", "/hub/accept-share", "/hub/accept-share?code=x"] {
        assert_eq!(alice.open(path).await.status, 404, "{path}");
    }
    assert!(!alice.open("/hub/home").await.text().contains("/hub/share"));
    let scopes = alice.open("/hub/token").await.text();
    assert!(!scopes.contains("shares") && scopes.contains("read:users"), "{scopes}");
    let program = Program::of(&hub, "alice", &["servers", "shares", "users:shares"]).await;
    for (method, path) in [
        ("GET", "/shares/alice"),
        ("GET", "/shares/alice/"),
        ("POST", "/shares/alice/"),
        ("PATCH", "/shares/alice/"),
        ("DELETE", "/shares/alice/"),
        ("GET", "/share-codes/alice"),
        ("POST", "/share-codes/alice/"),
        ("GET", "/users/alice/shared"),
        ("DELETE", "/users/alice/shared/bob/"),
        ("GET", "/groups/%2Flab/shared"),
    ] {
        let answer = program.ask(method, path, "").await;
        assert_eq!(answer.status, 404, "{method} {path}: {}", answer.text());
    }
}

#[tokio::test]
async fn a_program_shares_its_owners_server_in_jupyterhubs_forms() {
    let hub = hub().await;
    hub.signed_in("bob").await;
    let alice = Program::of(&hub, "alice", &["shares"]).await;
    let share = alice.good("POST", "/shares/alice/", json!({ "user": "bob" })).await;
    let scopes = ["read:servers!server=alice/", "access:servers!server=alice/"];
    for (key, value) in [
        ("scopes", json!(scopes)),
        ("access", json!("full")),
        ("kind", json!("user")),
        ("user", json!({ "name": "bob" })),
        ("group", Value::Null),
    ] {
        assert_eq!(share[key], value, "{key}: {share}");
    }
    let server = &share["server"];
    assert_eq!(
        (&server["user"]["name"], &server["name"], &server["ready"]),
        (&json!("alice"), &json!(""), &json!(false))
    );
    assert_eq!((&server["url"], &server["full_url"]), (&json!(SERVER), &json!(SERVER)));
    assert!(share["created_at"].is_string() && share["expires_at"].is_string());
    let asked = json!({ "user": "bob", "access": "read", "expires_in": 3600 });
    let narrowed = alice.good("POST", "/shares/alice/", asked).await;
    assert_eq!((&narrowed["access"], &narrowed["scopes"]), (&json!("read"), &json!([scopes[0]])));
    assert_eq!(narrowed["created_at"], share["created_at"], "it is the same share");
    let page = alice.good("GET", "/shares/alice", Value::Null).await;
    assert_eq!(page["items"], json!([narrowed]));
    assert_eq!(page["_pagination"], json!({ "offset": 0, "limit": 50, "total": 1, "next": null }));
    assert_eq!(alice.list("/shares/alice/").await, [narrowed]);

    let bob = Program::of(&hub, "bob", &["users:shares"]).await;
    assert_eq!(bob.list("/users/bob/shared").await.len(), 1);
    let one = bob.good("GET", "/users/bob/shared/alice/", Value::Null).await;
    assert_eq!(one["server"]["user"]["name"], "alice");
    assert_eq!(bob.ask("DELETE", "/users/bob/shared/alice/", "").await.status, 204);
    assert_eq!(bob.ask("DELETE", "/users/bob/shared/alice/", "").await.status, 404);
    assert!(alice.list("/shares/alice/").await.is_empty());
    let log = hub.process().log();
    for said in ["share_made", "share_changed", "share_ended", "with=user bob", "owner=alice"] {
        assert!(log.contains(said), "{said}: {log}");
    }
}

#[tokio::test]
async fn what_is_revoked_is_what_is_named_and_nothing_named_is_everything() {
    let hub = hub().await;
    for user in ["bob", "carl"] {
        hub.signed_in(user).await;
    }
    let alice = Program::of(&hub, "alice", &["shares"]).await;
    let share = |user: &str| json!({ "user": user });
    for user in ["bob", "carl"] {
        alice.good("POST", "/shares/alice/", share(user)).await;
    }
    let full = json!({ "user": "bob", "scopes": ["access:servers!server=alice/"] });
    assert_eq!(alice.good("PATCH", "/shares/alice/", full).await["access"], "read");
    assert_eq!(alice.good("PATCH", "/shares/alice/", share("bob")).await, json!({}));
    assert_eq!(alice.good("PATCH", "/shares/alice/", share("bob")).await, json!({}), "it is not shared");
    assert_eq!(alice.good("PATCH", "/shares/alice/", share("nobody")).await, json!({}));
    assert_eq!(alice.list("/shares/alice/").await.len(), 1);
    assert_eq!(alice.ask("DELETE", "/shares/alice/", "").await.status, 204);
    assert!(alice.list("/shares/alice/").await.is_empty());
}

#[tokio::test]
async fn what_cannot_be_shared_is_refused() {
    let hub = hub().await;
    hub.signed_in("bob").await;
    let alice = Program::of(&hub, "alice", &["shares"]).await;
    for wrong in [
        json!({}),
        json!({ "user": "bob", "group": "/lab" }),
        json!({ "user": "nobody" }),
        json!({ "user": "../bob" }),
        json!({ "user": "alice" }),
        json!({ "group": "/lab" }),
        json!({ "user": "bob", "access": "write" }),
        json!({ "user": "bob", "scopes": ["admin:users"] }),
        json!({ "user": "bob", "scopes": ["access:servers!server=bob/"] }),
        json!({ "user": "bob", "expires_in": 0 }),
        json!({ "user": "bob", "expires_in": 31 * 86_400 }),
        json!({ "user": "bob", "forever": true }),
    ] {
        let answer = alice.ask("POST", "/shares/alice/", &wrong.to_string()).await;
        assert_eq!((answer.status, &json_of(&answer)["status"]), (400, &json!(400)), "{wrong}");
    }
    for wrong in [json!({ "expires_in": 59 }), json!({ "expires_in": 31 * 86_400 }), json!({ "user": "bob" })]
    {
        let answer = alice.ask("POST", "/share-codes/alice/", &wrong.to_string()).await;
        assert_eq!(answer.status, 400, "{wrong}");
    }
    let bob = json!({ "user": "bob" }).to_string();
    assert_eq!(alice.ask("POST", "/shares/alice/gpu", &bob).await.status, 404, "there is no such server");
    assert_eq!(alice.ask("POST", "/shares/alice", &bob).await.status, 405);
    assert_eq!(alice.ask("POST", "/shares/bob/", &bob).await.status, 404, "of others there is nothing");
    assert!(alice.list("/shares/alice").await.is_empty());
}

#[tokio::test]
async fn shares_need_their_scopes_and_only_their_owner_makes_them() {
    let hub = hub().await;
    let mut bob = hub.signed_in("bob").await;
    let to_bob = json!({ "user": "bob" }).to_string();
    let reader = Program::of(&hub, "alice", &["read:shares", "servers"]).await;
    assert!(reader.list("/shares/alice/").await.is_empty());
    let poor = Program::of(&hub, "alice", &["servers", "read:users"]).await;
    for (program, method, path, scope) in [
        (&reader, "POST", "/shares/alice/", "shares"),
        (&reader, "DELETE", "/shares/alice/", "shares"),
        (&reader, "POST", "/share-codes/alice/", "shares"),
        (&poor, "GET", "/shares/alice/", "read:shares"),
        (&poor, "GET", "/share-codes/alice", "read:shares"),
        (&poor, "GET", "/users/alice/shared", "read:users:shares"),
        (&poor, "DELETE", "/users/alice/shared/bob/", "users:shares"),
    ] {
        let answer = program.ask(method, path, &to_bob).await;
        assert_eq!(answer.status, 403, "{method} {path}");
        assert!(
            answer.header("www-authenticate").unwrap_or_default().contains(&format!("\"{scope}\"")),
            "{path}"
        );
    }
    // Code in a page could ask with the browser's session: what it gave away would last.
    let answer = bob.fetch("POST", "/hub/api/shares/bob/", b"{\"user\": \"alice\"}").await;
    assert_eq!(answer.status, 403, "{}", answer.text());
    let ada = Program::of(&hub, "ada", &["admin:users", "shares"]).await;
    assert_eq!(
        ada.ask("POST", "/shares/alice/", &to_bob).await.status,
        403,
        "nobody gives away what is another's"
    );
    assert_eq!(ada.ask("POST", "/share-codes/alice/", "").await.status, 403);
}

#[tokio::test]
async fn an_administrator_sees_and_revokes_what_anybody_shares() {
    let hub = hub().await;
    hub.signed_in("bob").await;
    let alice = Program::of(&hub, "alice", &["shares"]).await;
    alice.good("POST", "/shares/alice/", json!({ "user": "bob" })).await;
    let code = alice.good("POST", "/share-codes/alice/", Value::Null).await;
    let ada = Program::of(&hub, "ada", &["admin:users"]).await;
    assert_eq!(ada.list("/shares/alice").await.len(), 1);
    assert_eq!(ada.list("/users/bob/shared").await.len(), 1);
    assert_eq!(ada.list("/share-codes/alice").await[0]["id"], code["id"]);
    assert_eq!(ada.ask("GET", "/shares/nobody", "").await.status, 404);
    assert_eq!(ada.ask("DELETE", "/shares/alice/", "").await.status, 204);
    assert_eq!(ada.ask("DELETE", "/share-codes/alice/", "").await.status, 204);
    assert!(
        alice.list("/shares/alice").await.is_empty() && alice.list("/share-codes/alice").await.is_empty()
    );
    assert!(hub.process().log().contains("share_end_ordered"));
}

#[tokio::test]
async fn a_group_is_shared_with_by_whoever_is_in_it() {
    let hub = hub().await;
    let mut alice = hub.signed_in_with("alice", json!({ "groups": ["/lab"] })).await;
    let token = alice.make_token(&["shares"]).await;
    let program = Program { hub: &hub, authorization: format!("token {token}") };
    let share = program.good("POST", "/shares/alice/", json!({ "group": "/lab", "access": "read" })).await;
    assert_eq!((&share["group"]["name"], &share["kind"]), (&json!("/lab"), &json!("group")));
    let others = program.ask("POST", "/shares/alice/", "{\"group\": \"/other\"}").await;
    assert_eq!(others.status, 400);
    let mut bob = hub.signed_in_with("bob", json!({ "groups": ["/lab", "/x"] })).await;
    let home = words(&bob.open("/hub/home").await);
    assert!(
        home.contains("the server of alice") && home.contains("as all of /lab") && home.contains(SERVER),
        "{home}"
    );
    assert!(home.contains("It does not run now"), "{home}");
    let mut carl = hub.signed_in_with("carl", json!({ "groups": ["/lab/below"] })).await;
    assert!(!carl.open("/hub/home").await.text().contains("alice"));
    let ada = Program::of(&hub, "ada", &["read:groups:shares"]).await;
    assert_eq!(ada.list("/groups/%2Flab/shared").await.len(), 1);
    let one = "/groups/%2Flab/shared/alice/";
    assert_eq!(ada.good("GET", one, Value::Null).await["access"], "read");
    assert_eq!(ada.ask("DELETE", one, "").await.status, 403);
    let ada = Program::of(&hub, "ada", &["groups:shares"]).await;
    assert_eq!(ada.ask("DELETE", one, "").await.status, 204);
    assert!(!bob.open("/hub/home").await.text().contains("alice"));
}

#[tokio::test]
async fn a_code_is_shown_once_accepted_by_many_and_revoked() {
    let hub = hub().await;
    let alice = Program::of(&hub, "alice", &["shares"]).await;
    let asked = json!({ "access": "read", "share_expires_in": 7200 });
    let made = alice.good("POST", "/share-codes/alice/", asked).await;
    let (code, path) = (made["code"].as_str().unwrap(), made["accept_url"].as_str().unwrap());
    assert_eq!(made["full_accept_url"], format!("{}{path}", hub.origin()));
    assert_eq!(code.len(), 43);
    for user in ["bob", "carl"] {
        let answer = accept(&mut hub.signed_in(user).await, path).await;
        assert_eq!((answer.status, answer.header("location")), (303, Some(SERVER)), "{user}");
    }
    let listed = alice.list("/share-codes/alice/").await;
    assert_eq!((&listed[0]["exchange_count"], &listed[0]["code"]), (&json!(2), &Value::Null));
    let shares = alice.list("/shares/alice/").await;
    let accesses: Vec<_> = shares.iter().map(|share| (&share["user"]["name"], &share["access"])).collect();
    assert_eq!(accesses, [(&json!("bob"), &json!("read")), (&json!("carl"), &json!("read"))]);
    let again = alice.good("POST", "/share-codes/alice/", Value::Null).await;
    let id = again["id"].as_str().unwrap();
    assert_eq!(alice.ask("DELETE", "/share-codes/alice/?id=sc_0000000000000000", "").await.status, 404);
    assert_eq!(alice.ask("DELETE", &format!("/share-codes/alice/?id={id}"), "").await.status, 204);
    assert_eq!(alice.ask("DELETE", &format!("/share-codes/alice/?code={code}"), "").await.status, 204);
    assert_eq!(alice.ask("DELETE", &format!("/share-codes/alice/?code={code}"), "").await.status, 404);
    let answer = accept(&mut hub.signed_in("dora").await, path).await;
    assert_eq!(answer.status, 404, "{}", answer.text());
    assert_eq!(alice.list("/shares/alice/").await.len(), 2, "what it made stays");
    let log = hub.process().log();
    assert!(log.contains("share_code_made") && log.contains("share_accepted"), "{log}");
    assert!(!log.contains(code) && !log.contains(again["code"].as_str().unwrap()), "a code is in no log");
}

#[tokio::test]
async fn a_person_shares_narrows_and_revokes_on_a_page() {
    let hub = hub().await;
    let mut bob = hub.signed_in("bob").await;
    let mut alice = hub.signed_in_with("alice", json!({ "groups": ["/lab"] })).await;
    let terms = [("action", "share"), ("server", ""), ("access", "full"), ("lifetime", "86400")];
    let share =
        |with: &'static str, user: &'static str| [&terms[..], &[("with", with), ("user", user)]].concat();
    assert_eq!(on_page(&mut alice, &share("user", "Bob")).await.status, 303);
    assert_eq!(on_page(&mut alice, &share("group:/lab", "")).await.status, 303);
    for (with, user) in [
        ("user", "nobody"),
        ("user", "alice"),
        ("user", ""),
        ("group:/other", ""),
        ("group:", ""),
        ("", "bob"),
    ] {
        assert_eq!(on_page(&mut alice, &share(with, user)).await.status, 400, "{with} {user}");
    }
    link(&mut alice, "full").await;
    let page = alice.open("/hub/share").await;
    assert!(words(&page).contains("Everybody in /lab") && page.text().contains("<strong>bob</strong>"));
    assert!(bob.open("/hub/home").await.text().contains("Shared with you: the server of alice"));
    let reader = Program::of(&hub, "alice", &["read:shares"]).await;
    let id = page.field("id").expect("a share");
    assert_eq!(on_page(&mut alice, &[("action", "narrow"), ("id", &id)]).await.status, 303);
    let first = reader.list("/shares/alice/").await.remove(0);
    assert_eq!(first["access"], "read");
    // Nobody revokes what is another's.
    on_page(&mut bob, &[("action", "revoke"), ("id", &id)]).await;
    assert_eq!(reader.list("/shares/alice/").await.len(), 2);
    assert_eq!(on_page(&mut alice, &[("action", "revoke"), ("id", &id)]).await.status, 303);
    assert_eq!(reader.list("/shares/alice/").await.len(), 1);
}

#[tokio::test]
async fn whoever_was_revoked_is_not_let_in_again_by_a_link_that_was_there() {
    let hub = hub().await;
    let (mut alice, mut bob) = (hub.signed_in("alice").await, hub.signed_in("bob").await);
    let path = link(&mut alice, "full").await;
    assert_eq!(accept(&mut bob, &path).await.status, 303);
    let id = alice.open("/hub/share").await.field("id").expect("a share");
    assert_eq!(on_page(&mut alice, &[("action", "revoke"), ("id", &id)]).await.status, 303);
    let asked = bob.open(&path).await;
    assert_eq!((asked.status, asked.field("form_token")), (403, None));
    assert!(asked.text().contains("alice has taken back from you what you had"), "{}", asked.text());
    // The form of a page that he had open before.
    let other = link(&mut alice, "read").await;
    let token = bob.open(&other).await.field("form_token").expect("a form");
    let code = path.split_once('=').unwrap().1;
    let answer = bob.submit("/hub/accept-share", &[("form_token", &token), ("code", code)]).await;
    assert_eq!(answer.status, 403, "{}", answer.text());
    assert!(!bob.open("/hub/home").await.text().contains("the server of alice"));
    let page = words(&alice.open("/hub/share").await);
    assert!(page.contains("It does not let in bob, from whom you have taken back what they had."), "{page}");
    // Others may; and he may by what she makes later.
    assert_eq!(accept(&mut hub.signed_in("carl").await, &path).await.status, 303);
    assert_eq!(accept(&mut bob, &other).await.status, 303);
    // An administrator revokes as the owner does; what one gives back, one can have again.
    let list = crate::control::json(&hub, &["share", "list", "--user", "alice"]).await;
    let bobs = list.as_array().unwrap().iter().find(|share| share["with"] == "bob").unwrap();
    let said = operate(&hub, &["share", "revoke", bobs["id"].as_str().unwrap()]).await;
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert_eq!(accept(&mut bob, &other).await.status, 403);
    let dora = Program::of(&hub, "dora", &["users:shares"]).await;
    let mut dora_herself = hub.signed_in("dora").await;
    assert_eq!(accept(&mut dora_herself, &path).await.status, 303);
    assert_eq!(dora.ask("DELETE", "/users/dora/shared/alice/", "").await.status, 204);
    assert_eq!(accept(&mut dora_herself, &path).await.status, 303);
}

#[tokio::test]
async fn whoever_a_server_is_shared_with_can_give_it_back() {
    let hub = hub().await;
    let (mut alice, mut bob) = (hub.signed_in("alice").await, hub.signed_in("bob").await);
    let path = link(&mut alice, "full").await;
    assert_eq!(accept(&mut bob, &path).await.status, 303);
    let reader = Program::of(&hub, "alice", &["read:shares"]).await;
    let (code, share) = (reader.list("/share-codes/alice").await, reader.list("/shares/alice").await);
    assert_eq!(share[0]["expires_at"], code[0]["expires_at"], "what a link gives ends with it");
    let id = bob.open("/hub/share").await.field("id").expect("a share");
    on_page(&mut alice, &[("action", "leave"), ("id", &id)]).await;
    assert!(bob.open("/hub/home").await.text().contains("alice"));
    assert_eq!(on_page(&mut bob, &[("action", "leave"), ("id", &id)]).await.status, 303);
    assert!(!bob.open("/hub/home").await.text().contains("alice"));
}

#[tokio::test]
async fn a_link_asks_before_it_shares_and_tells_a_stranger_nothing() {
    let hub = hub().await;
    let mut alice = hub.signed_in("alice").await;
    let path = link(&mut alice, "read").await;
    let mut stranger = hub.client();
    let nobody = "A".repeat(43);
    for path in [path.as_str(), &format!("/hub/accept-share?code={nobody}"), "/hub/accept-share"] {
        let answer = stranger.open(path).await;
        let location = answer.header("location").unwrap_or_default();
        assert!(answer.status == 303 && location.starts_with("/hub/login"), "{path}: {}", answer.status);
    }
    let mut bob = hub.signed_in("bob").await;
    let page = bob.open(&path).await;
    assert!(page.text().contains("alice shares a server with you") && page.text().contains("You may look"));
    assert_eq!(page.header("referrer-policy"), Some("strict-origin"), "the code goes to nobody");
    assert!(!bob.open("/hub/home").await.text().contains("the server of alice"), "a look shares nothing");
    for wrong in [
        "/hub/accept-share",
        "/hub/accept-share?code=x",
        &format!("{path}x"),
        &format!("/hub/accept-share?code={nobody}"),
    ] {
        let answer = bob.open(wrong).await;
        assert!(answer.status == 404 && answer.text().contains("This link leads nowhere"), "{wrong}");
    }
    // A form of another page, of another person, or of no page.
    let (of_home, of_alice) = (
        bob.open("/hub/share").await.field("form_token").unwrap(),
        alice.open("/hub/share").await.field("form_token").unwrap(),
    );
    let code = path.split_once('=').unwrap().1;
    for token in [of_home.as_str(), &of_alice, ""] {
        let answer = bob.submit("/hub/accept-share", &[("form_token", token), ("code", code)]).await;
        assert_eq!(answer.status, 403, "{}", answer.text());
    }
    let own = alice.open(&path).await;
    assert!(own.status == 409 && own.field("form_token").is_none(), "it is hers");
    let log = hub.process().log();
    assert!(!log.contains(code), "a code is in no log");
}

#[tokio::test]
async fn a_link_leads_through_the_login_to_what_it_asks() {
    let hub = hub().await;
    let path = link(&mut hub.signed_in("alice").await, "read").await;
    let mut bob = hub.client();
    let answer = hub.sign_in_at(&mut bob, "bob", &path).await;
    assert_eq!((answer.status, answer.header("location")), (303, Some(path.as_str())), "{}", answer.text());
    assert_eq!(accept(&mut bob, &path).await.status, 303);
}

#[tokio::test]
async fn scripts_cannot_read_the_pages_that_share() {
    let hub = hub().await;
    let mut alice = hub.signed_in("alice").await;
    let path = link(&mut alice, "full").await;
    for path in ["/hub/share", path.as_str()] {
        let answer = alice.fetch("GET", path, b"").await;
        assert_eq!(answer.status, 403, "{path}: {}", answer.text());
    }
}

#[tokio::test]
async fn a_server_that_is_no_more_is_shared_with_nobody() {
    let hub = hub().await;
    let mut bob = hub.signed_in("bob").await;
    let alice = Program::of(&hub, "alice", &["shares", "servers"]).await;
    let mut browser = hub.signed_in("alice").await;
    let form_token = browser.open("/hub/home").await.field("form_token").unwrap();
    let fields = [("form_token", form_token.as_str()), ("action", "add"), ("server", "gpu")];
    browser.submit("/hub/home", &fields).await;
    alice.good("POST", "/shares/alice/gpu", json!({ "user": "bob" })).await;
    let code = alice.good("POST", "/share-codes/alice/gpu", Value::Null).await;
    assert!(bob.open("/hub/home").await.text().contains("the server gpu of alice"));
    let removed = alice.ask("DELETE", "/users/alice/servers/gpu", "{\"remove\": true}").await;
    assert_eq!(removed.status, 204, "{}", removed.text());
    browser.submit("/hub/home", &fields).await;
    eventually("the server is there again", || async {
        alice.ask("GET", "/shares/alice/gpu", "").await.status == 200
    })
    .await;
    assert!(
        alice.list("/shares/alice/gpu").await.is_empty() && alice.list("/share-codes/alice").await.is_empty()
    );
    assert!(!bob.open("/hub/home").await.text().contains("gpu"));
    assert_eq!(bob.open(code["accept_url"].as_str().unwrap()).await.status, 404);
}

#[tokio::test]
async fn shares_and_links_are_listed_and_revoked_from_the_command_line() {
    let hub = hub().await;
    hub.signed_in("bob").await;
    let alice = Program::of(&hub, "alice", &["shares"]).await;
    alice.good("POST", "/shares/alice/", json!({ "user": "bob", "access": "read" })).await;
    let code = alice.good("POST", "/share-codes/alice/", Value::Null).await;
    let list = crate::control::json(&hub, &["share", "list", "--user", "Alice"]).await;
    let told: Vec<_> =
        list.as_array().unwrap().iter().map(|share| (&share["kind"], &share["access"])).collect();
    assert_eq!(told, [(&json!("user"), &json!("read")), (&json!("link"), &json!("full"))], "{list}");
    assert_eq!(list[1]["id"], code["id"]);
    let words = operate(&hub, &["share", "list"]).await.out;
    assert!(words.contains("user bob") && !words.contains(code["code"].as_str().unwrap()), "{words}");
    let id = list[0]["id"].as_str().unwrap();
    let said = operate(&hub, &["share", "revoke", id]).await;
    assert_eq!((said.code, said.out.as_str()), (Some(0), "1 share revoked\n"), "{}", said.err);
    assert_eq!(operate(&hub, &["share", "revoke", id]).await.code, Some(1), "it is gone");
    assert_ne!(operate(&hub, &["share", "revoke", "s1"]).await.code, Some(0));
    assert!(alice.list("/shares/alice").await.is_empty());
    let said = operate(&hub, &["share", "revoke", "--user", "alice"]).await;
    assert_eq!((said.code, said.out.as_str()), (Some(0), "1 share revoked\n"), "{}", said.err);
    assert!(alice.list("/share-codes/alice").await.is_empty());
    let log = hub.process().log();
    assert!(log.contains("share_end_ordered") && log.contains("by=uid "), "{log}");
}

#[tokio::test]
async fn a_parameter_that_is_there_twice_is_refused_and_revokes_nothing() {
    let hub = hub().await;
    let alice = Program::of(&hub, "alice", &["shares", "servers"]).await;
    for _ in 0..2 {
        alice.good("POST", "/share-codes/alice/", json!({})).await;
    }
    let codes = alice.list("/share-codes/alice/").await;
    let ids: Vec<_> = codes.iter().map(|code| code["id"].as_str().unwrap()).collect();
    let twice = format!("/share-codes/alice/?id={}&id={}", ids[0], ids[1]);
    assert_eq!(alice.ask("DELETE", &twice, "").await.status, 400);
    assert_eq!(alice.ask("GET", "/shares/alice/?limit=1&limit=2", "").await.status, 400);
    assert_eq!(alice.list("/share-codes/alice/").await.len(), 2, "not all of them, as without any");
}

#[tokio::test]
async fn a_person_is_explained_with_what_they_share_and_what_is_shared_with_them() {
    let hub = hub().await;
    hub.signed_in_with("bob", json!({ "groups": ["/lab"] })).await;
    let mut alice = hub.signed_in_with("alice", json!({ "groups": ["/lab"] })).await;
    let token = alice.make_token(&["shares", "servers"]).await;
    let alice = Program { hub: &hub, authorization: format!("token {token}") };
    alice
        .good("POST", "/shares/alice/", json!({ "user": "bob", "access": "read", "expires_in": 3600 }))
        .await;
    alice.good("POST", "/shares/alice/", json!({ "group": "/lab" })).await;
    let link = alice.good("POST", "/share-codes/alice/", json!({ "access": "full" })).await;
    let link = link["id"].as_str().unwrap();
    let rows = |told: &Value, key: &str| {
        let shares = told[key].as_array().unwrap();
        let row = |one: &Value| {
            ["owner", "kind", "with", "access"].map(|key| one[key].as_str().unwrap().to_owned())
        };
        shares.iter().map(row).collect::<Vec<_>>()
    };
    let (user, group) = (["alice", "user", "bob", "read"], ["alice", "group", "/lab", "full"]);
    let bob = crate::control::json(&hub, &["explain", "bob"]).await;
    assert_eq!(rows(&bob, "shared"), [user, group]);
    assert_eq!(bob["shares"], json!([]));
    assert!(bob["shared"][0]["expires"].as_str().unwrap().ends_with('Z'));
    let own = crate::control::json(&hub, &["explain", "alice"]).await;
    assert_eq!(rows(&own, "shares"), [user, group, ["alice", "link", link, "full"]]);
    assert_eq!(own["shared"], json!([]), "what she shares with her own group is hers");
    let words = operate(&hub, &["explain", "bob"]).await.out;
    assert!(words.contains("  is let into the server of alice, read; until 20"), "{words}");
    assert!(words.contains("  is let into the server of alice, as all of \"/lab\", full; until "), "{words}");
    let words = operate(&hub, &["explain", "alice"]).await.out;
    assert!(words.contains("  shares the server with bob, read; until 20"), "{words}");
    assert!(words.contains("  shares the server with all of \"/lab\", full; until "), "{words}");
    assert!(
        words.contains(&format!("  shares the server with whoever has the link {link}, full; until ")),
        "{words}"
    );
}

#[tokio::test]
async fn shares_and_links_outlive_a_crash_and_what_was_revoked_does_not() {
    let mut hub = hub().await;
    let mut bob = hub.signed_in("bob").await;
    hub.signed_in("carl").await;
    let token = hub.signed_in("alice").await.make_token(&["shares"]).await;
    let authorization = format!("token {token}");
    let path = {
        let alice = Program { hub: &hub, authorization: authorization.clone() };
        for user in ["bob", "carl"] {
            alice.good("POST", "/shares/alice/", json!({ "user": user })).await;
        }
        alice.good("PATCH", "/shares/alice/", json!({ "user": "carl" })).await;
        let code = alice.good("POST", "/share-codes/alice/", Value::Null).await;
        code["accept_url"].as_str().unwrap().to_owned()
    };
    hub.process_mut().kill().await;
    hub.process_mut().start_again().await;
    let alice = Program { hub: &hub, authorization };
    let shares = alice.list("/shares/alice/").await;
    assert_eq!(shares.iter().map(|share| &share["user"]["name"]).collect::<Vec<_>>(), ["bob"]);
    assert!(bob.open("/hub/home").await.text().contains("the server of alice"));
    assert_eq!(accept(&mut hub.signed_in("dora").await, &path).await.status, 303);
}

#[tokio::test]
async fn a_group_that_is_lost_takes_along_what_is_shared_with_it() {
    let interval = "[session]\nrefresh_interval = \"1s\"\n";
    let hub = Hub::with(BINARY, &format!("{USER_DOMAINS}{EVERYONE}{PROFILE}{interval}{ON}")).await;
    let mut alice = hub.signed_in_with("alice", json!({ "groups": ["/lab"] })).await;
    let fields = [
        ("action", "share"),
        ("server", ""),
        ("access", "read"),
        ("lifetime", "3600"),
        ("with", "group:/lab"),
    ];
    assert_eq!(on_page(&mut alice, &fields).await.status, 303);
    let mut bob = hub.signed_in_with("bob", json!({ "groups": ["/lab"] })).await;
    assert!(bob.open("/hub/home").await.text().contains("the server of alice"));
    hub.provider().user("bob", json!({ "groups": [] }));
    eventually("the group is lost here, too", || {
        let mut bob = bob.clone();
        async move {
            let home = bob.open("/hub/home").await;
            home.status == 200 && !home.text().contains("the server of alice")
        }
    })
    .await;
}

#[tokio::test]
async fn a_start_says_whether_workspaces_reach_each_other_past_the_hub() {
    let mut hub = hub().await;
    let said = |hub: &Hub| hub.process().log().contains("workspaces_exposed");
    assert!(!said(&hub), "there is no network yet: hubgate makes it");
    hub.engine().add_network("hubgate", "bridge", &json!({}));
    hub.process_mut().kill().await;
    hub.process_mut().start_again().await;
    hub.process().until_ready().await;
    eventually("it is said", || async { said(&hub) }).await;
    assert!(hub.process().log().contains("docker network rm"), "{}", hub.process().log());
}
