//! Another process takes over: what is open stays open, and ends with the right to it all the same.

use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use hubgate::clock::Clock;
use hubgate::server_name::ServerName;
use hubgate::store::{Store, UseRow};
use hubgate::user::UserName;
use rustix::process::{Signal, kill_process};
use serde_json::{Value, json};
use support::client::{Client, read_answer};
use support::docker::Image;
use support::eventually::{eventually, found};
use support::hub::{EVERYONE, Hub, PROFILE};
use support::process::USER_DOMAINS;
use support::upstream::Upstream;
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};

use crate::BINARY;
use crate::callers;
use crate::control::{json as said_json, operate, run};
use crate::day::{closed, websocket};
use crate::domains::{ALICE, Browser, HOME, working};
use crate::shutdown::Upload;
use crate::socket::{Socket, echo};

/// A hub in which alice's server runs.
async fn working_hub() -> Hub {
    let hub = Hub::start(BINARY).await;
    hub.run_workspace("alice").await;
    hub
}

/// A hub whose program may be replaced by another.
async fn replaceable(folder: &TempDir) -> Hub {
    let path = folder.path().join("hubgate");
    std::os::unix::fs::symlink(BINARY, &path).unwrap();
    let hub = Hub::start(path.to_str().unwrap()).await;
    hub.run_workspace("alice").await;
    hub
}

fn edit(hub: &Hub, from: &str, to: &str) {
    let path = hub.folder().join("config.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{text}");
    std::fs::write(path, text.replacen(from, to, 1)).unwrap();
}

/// A websocket to something beside the hub.
async fn websocket_at(client: &Client, path: &str) -> impl AsyncRead + AsyncWrite + Unpin + use<> {
    let mut stream = client.connect(&["http/1.1"]).await;
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {}\r\nOrigin: https://{0}\r\nCookie: {}\r\nConnection: Upgrade\r\n\
         Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        client.host(),
        client.cookies(),
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let answer = read_answer(&mut stream, true).await;
    assert_eq!(answer.status, 101, "{answer:?}");
    stream
}

async fn answers(client: &mut Client, path: &str) -> bool {
    client.open(path).await.status == 200
}

#[tokio::test]
async fn an_upgrade_keeps_websockets_and_sessions_and_new_connections_are_the_new_programs() {
    let mut hub = working_hub().await;
    let mut alice = hub.signed_in("alice").await;
    let mut socket = websocket(&alice, "alice").await;
    echo(&mut socket, "before").await;
    let first = hub.process().serving();
    let containers = hub.engine().containers().len();

    let second = hub.process_mut().upgrade().await;
    assert_ne!(first, second);
    assert!(hub.process().runs(first) && hub.process().runs(second));
    echo(&mut socket, "after").await;
    assert!(answers(&mut alice, "/user/alice/lab").await, "nobody signs in again");
    let mut fresh = websocket(&alice, "alice").await;
    echo(&mut fresh, "fresh").await;
    assert_eq!(hub.engine().containers().len(), containers, "and no server is started");
    let said = operate(&hub, &["session", "list"]).await;
    assert_eq!(said.code, Some(0), "the admin socket is the new one's: {}", said.err);
    assert_eq!(hub.process().operations("/readyz").await.0, 200);

    // With the last websocket from before, the old process is over.
    drop(socket);
    assert_eq!(hub.process_mut().ended().await, Some(0));
    echo(&mut fresh, "still").await;
}

#[tokio::test]
async fn nobody_is_refused_while_another_process_takes_over() {
    let mut hub = working_hub().await;
    let alice = hub.signed_in("alice").await;
    let (over, asked) = (AtomicBool::new(false), AtomicUsize::new(0));
    let ask = async || {
        while !over.load(Ordering::SeqCst) {
            // A new connection each time.
            let cookies = alice.cookies();
            let answer = alice.fresh().send("GET", "/user/alice/x", &[("Cookie", &cookies)], b"").await;
            assert_eq!(answer.status, 200, "{}", answer.text());
            asked.fetch_add(1, Ordering::SeqCst);
        }
    };
    let upgrading = async {
        for _ in 0..2 {
            hub.process_mut().upgrade().await;
        }
        over.store(true, Ordering::SeqCst);
    };
    let asking = futures_util::future::join_all((0..8).map(|_| ask()));
    tokio::join!(asking, upgrading);
    assert!(asked.load(Ordering::SeqCst) > 0);
}

#[tokio::test]
async fn a_request_that_is_under_way_is_finished_by_the_process_that_has_it() {
    let mut hub = working_hub().await;
    let mut upload = Upload::begin(&hub).await;
    hub.process_mut().upgrade().await;
    let answer = upload.finish().await;
    assert_eq!((answer.status, answer.header("connection")), (200, Some("close")));
    assert_eq!(hub.process_mut().ended().await, Some(0));
}

#[tokio::test]
async fn signing_out_after_an_upgrade_closes_what_is_open_from_before() {
    let mut hub = working_hub().await;
    let alice = hub.signed_in("alice").await;
    let (hers, others) = (websocket(&alice, "alice").await, hub.signed_in("alice").await);
    let mut others = websocket(&others, "alice").await;
    // Two upgrades: the one from before both is told by the one in between.
    hub.process_mut().upgrade().await;
    let between = websocket(&alice, "alice").await;
    hub.process_mut().upgrade().await;
    let with_two = async || {
        let list = said_json(&hub, &["session", "list"]).await;
        let found = list.as_array().unwrap().iter().find(|session| session["open"] == json!(2));
        found.map(|session| session["id"].as_str().unwrap().to_owned())
    };
    let id = found("both of her websockets", Duration::ZERO, with_two).await;
    let ended = operate(&hub, &["session", "end", &id]).await;
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    closed(hers).await;
    closed(between).await;
    echo(&mut others, "another session's").await;
}

#[tokio::test]
async fn a_token_that_is_revoked_after_an_upgrade_takes_its_websocket_along() {
    let mut hub = working_hub().await;
    let mut alice = hub.signed_in("alice").await;
    let token = alice.make_token(&["access:servers"]).await;
    let authorization = format!("token {token}");
    let (status, socket) = callers::websocket(&hub, &authorization, "").await;
    assert_eq!(status, 101);
    hub.process_mut().upgrade().await;
    let said = operate(&hub, &["token", "revoke", "--user", "alice"]).await;
    assert_eq!(said.code, Some(0), "{}", said.err);
    closed(socket).await;
    assert_eq!(callers::call(&hub, "GET", "/user/alice/api", &authorization, "").await.status, 401);
}

#[tokio::test]
async fn whoever_the_new_configuration_lets_in_no_more_is_cut_off() {
    let mut hub = working_hub().await;
    let alice = hub.signed_in("alice").await;
    let socket = websocket(&alice, "alice").await;
    edit(&hub, "everyone = true", "users = [\"bob\"]");
    hub.process_mut().upgrade().await;
    closed(socket).await;
}

/// A hub whose users share their servers.
async fn sharing_hub() -> Hub {
    let ada = "[[rule]]\nusers = [\"ada\"]\nadmin = true\n";
    let sections = format!("{USER_DOMAINS}{EVERYONE}{ada}{PROFILE}[sharing]\nenabled = true\n");
    Hub::with(BINARY, &sections).await
}

/// Makes a share of alice's server, and opens a websocket of bob's by it.
async fn visiting(
    hub: &Hub,
    owner: &mut Browser,
    with: Value,
) -> impl AsyncRead + AsyncWrite + Unpin + use<> {
    let token = owner.at(HOME).make_token(&["shares"]).await;
    let authorization = format!("token {token}");
    let made = callers::call(hub, "POST", "/hub/api/shares/alice/", &authorization, &with.to_string()).await;
    assert_eq!(made.status, 200, "{}", made.text());
    let mut bob = Browser::of(hub, "bob").await;
    let (_, answer) = bob.open(&format!("https://{ALICE}/user/alice/lab")).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    websocket(bob.at(ALICE), "alice").await
}

#[tokio::test]
async fn a_share_that_ends_after_an_upgrade_takes_the_visitors_websocket_along() {
    let mut hub = sharing_hub().await;
    let mut owner = working(&hub, "alice").await;
    let (_, answer) = owner.open(&format!("https://{ALICE}/user/alice/lab")).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let mut hers = websocket(owner.at(ALICE), "alice").await;
    hub.signed_in("bob").await;
    let mut his = visiting(&hub, &mut owner, json!({ "user": "bob" })).await;

    hub.process_mut().upgrade().await;
    echo(&mut his, "visiting").await;
    let said = operate(&hub, &["share", "revoke", "--user", "alice"]).await;
    assert_eq!(said.code, Some(0), "{}", said.err);
    closed(his).await;
    echo(&mut hers, "her own").await;
}

#[tokio::test]
async fn whoever_leaves_a_group_of_the_hubs_after_an_upgrade_visits_no_more() {
    let mut hub = sharing_hub().await;
    let mut owner = working(&hub, "alice").await;
    hub.signed_in("bob").await;
    let token = hub.signed_in("ada").await.make_token(&["admin:groups"]).await;
    let of_ada = format!("token {token}");
    let both = json!({ "users": ["alice", "bob"] }).to_string();
    let made = callers::call(&hub, "POST", "/hub/api/groups/physics", &of_ada, &both).await;
    assert_eq!(made.status, 201, "{}", made.text());
    let mut his = visiting(&hub, &mut owner, json!({ "group": "physics" })).await;

    hub.process_mut().upgrade().await;
    echo(&mut his, "visiting").await;
    let bob = json!({ "users": ["bob"] }).to_string();
    let left = callers::call(&hub, "DELETE", "/hub/api/groups/physics/users", &of_ada, &bob).await;
    assert_eq!(left.status, 200, "{}", left.text());
    closed(his).await;
}

#[tokio::test]
async fn what_is_open_at_a_public_route_ends_with_an_upgrade_that_makes_it_private() {
    let program = Upstream::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let route = format!(
        "[[route]]\nname = \"live\"\npath = \"/live/\"\nupstream = \"{}\"\npublic = true\n",
        program.address()
    );
    let mut hub =
        Hub::with(BINARY, &format!("[[rule]]\neveryone = true\nroutes = []\n{PROFILE}{route}")).await;
    let alice = hub.signed_in("alice").await;
    let (mut anybodys, mut hers) =
        (websocket_at(&hub.client(), "/live/x").await, websocket_at(&alice, "/live/x").await);
    hub.process_mut().upgrade().await;
    echo(&mut anybodys, "public").await;
    echo(&mut hers, "public").await;
    edit(&hub, "public = true\n", "");
    hub.process_mut().upgrade().await;
    closed(anybodys).await;
    closed(hers).await;
}

type Change<'a> = &'a dyn Fn(&Hub);

#[tokio::test]
async fn a_program_that_cannot_take_over_changes_nothing() {
    let folder = TempDir::new().unwrap();
    let hub = replaceable(&folder).await;
    let mut alice = hub.signed_in("alice").await;
    let mut socket = websocket(&alice, "alice").await;
    let serving = hub.process().serving();
    let key = hub.folder().join("state/key");
    let mode = |mode| std::fs::set_permissions(&key, PermissionsExt::from_mode(mode)).unwrap();
    let cases: [(&str, Change<'_>, Change<'_>); 3] = [
        ("ended before it was prepared", &|hub| edit(hub, "[public]", "[publick]"), &|hub| {
            edit(hub, "[publick]", "[public]");
        }),
        // Found only when the store is its own.
        ("lets others read it", &|_| mode(0o644), &|_| mode(0o600)),
        ("ended at once", &|hub| hub.process().replace_binary("#!/bin/sh\nexit 3\n"), &|_| {}),
    ];
    for (why, spoil, mend) in cases {
        spoil(&hub);
        // Without the configuration, which may be what is wrong.
        let place = hub.folder().join("admin.sock").display().to_string();
        let said = run(&["upgrade", "--socket", &place]).await;
        mend(&hub);
        assert_eq!(said.code, Some(1), "{why}: {}", said.out);
        assert!(said.err.contains("this one goes on") && said.err.contains(why), "{why}: {}", said.err);
        echo(&mut socket, "as before").await;
        assert!(answers(&mut alice, "/user/alice/lab").await, "{why}");
        // What writes to the store goes on, too.
        hub.signed_in("bob").await;
        assert_eq!(hub.process().serving(), serving);
    }
    assert_eq!(hub.process().log().matches("event=\"handover_failed\"").count(), 3);
}

#[tokio::test]
async fn what_a_link_leads_to_takes_over_however_often() {
    let folder = TempDir::new().unwrap();
    let mut hub = replaceable(&folder).await;
    hub.process_mut().upgrade().await;
    hub.process().replace_binary("#!/bin/sh\nexit 3\n");
    let said = operate(&hub, &["upgrade"]).await;
    assert!(said.err.contains("ended at once"), "another program than the one that lies there: {}", said.out);
}

#[tokio::test]
async fn when_the_new_process_is_gone_nothing_stays_open_in_the_old_one() {
    let mut hub = working_hub().await;
    let socket = Socket::open(&hub, "alice").await;
    let new = hub.process_mut().upgrade().await;
    kill_process(new, Signal::KILL).unwrap();
    socket.until_closed().await;
    assert_eq!(hub.process_mut().ended().await, Some(0));
}

#[tokio::test]
async fn sigterm_ends_what_is_open_from_before_an_upgrade_too() {
    let mut hub = working_hub().await;
    let socket = Socket::open(&hub, "alice").await;
    let new = hub.process_mut().upgrade().await;
    kill_process(new, Signal::TERM).unwrap();
    socket.until_closed().await;
    assert_eq!(hub.process_mut().ended().await, Some(0));
    eventually("the new process ended", || async { !hub.process().runs(new) }).await;
}

#[tokio::test]
async fn what_is_open_from_before_an_upgrade_is_cut_off_when_its_time_is_over() {
    let mut hub = working_hub().await;
    hub.process_mut().kill().await;
    edit(&hub, "drain_timeout = \"2s\"", "drain_timeout = \"2s\"\nhandover_timeout = \"1s\"");
    hub.process_mut().start_again().await;
    hub.process().until_ready().await;
    let mut alice = hub.signed_in("alice").await;
    hub.until_open(&mut alice, "/user/alice/lab").await;
    let socket = websocket(&alice, "alice").await;
    hub.process_mut().upgrade().await;
    closed(socket).await;
    assert_eq!(hub.process_mut().ended().await, Some(0));
    hub.process().until_logged("listen.handover_timeout is over").await;
}

#[tokio::test]
async fn after_so_many_upgrades_the_oldest_process_ends() {
    let mut hub = working_hub().await;
    let alice = hub.signed_in("alice").await;
    let oldest = websocket(&alice, "alice").await;
    hub.process_mut().upgrade().await;
    let mut next = websocket(&alice, "alice").await;
    for _ in 0..3 {
        hub.process_mut().upgrade().await;
    }
    closed(oldest).await;
    echo(&mut next, "younger").await;
}

#[tokio::test]
async fn what_moves_in_a_websocket_from_before_an_upgrade_is_use_of_the_server() {
    let mut hub = working_hub().await;
    let mut alice = hub.signed_in("alice").await;
    let token = alice.make_token(&["read:users", "access:servers"]).await;
    let mut socket = Socket::open(&hub, "alice").await;
    hub.process_mut().upgrade().await;
    let last = async || {
        let answer = callers::call(&hub, "GET", "/hub/api/users/alice", &format!("token {token}"), "").await;
        let user: Value = serde_json::from_slice(&answer.body).unwrap();
        user["servers"][""]["last_activity"].as_str().unwrap_or_default().to_owned()
    };
    let before = last().await;
    assert!(!before.is_empty());
    found("its use", Duration::ZERO, async || {
        socket.echo("used").await;
        (last().await > before).then_some(())
    })
    .await;
}

#[tokio::test]
async fn after_an_upgrade_the_new_process_alone_renews_sessions() {
    let sections = format!("{EVERYONE}{PROFILE}[session]\nrefresh_interval = \"1s\"\n");
    let mut hub = Hub::with(BINARY, &sections).await;
    // A second use of a refresh token would end the session.
    hub.provider().rotate_refresh_tokens();
    hub.run_workspace("alice").await;
    let mut socket = Socket::open(&hub, "alice").await;
    hub.process_mut().upgrade().await;
    eventually("renewals by the new process", || async {
        hub.process().metric("hubgate_renewals_total").await > 3.0
    })
    .await;
    socket.echo("not ended").await;
}

#[tokio::test]
async fn no_server_is_asked_what_it_does_while_no_hub_would_answer_it() {
    let mut hub = working_hub().await;
    let adopted = |hub: &Hub| hub.process().log().matches("event=\"workspace_adopted\"").count();
    hub.process_mut().kill().await;
    // Nobody has used it for an hour.
    let instance = hub.container_of("alice").labels["io.hubgate.instance"].clone();
    let used = Clock::system().now() - 3600;
    let (owner, server) = (UserName::parse("alice").unwrap(), ServerName::default());
    let store = Store::open(&hub.folder().join("state")).await.unwrap();
    store.keep_uses(&[UseRow { owner, server, instance, used, port: None }], &[]).await.unwrap();
    store.leave().await.unwrap();
    hub.process_mut().start_again().await;
    eventually("her server", || async { adopted(&hub) == 1 }).await;
    let asked = |hub: &Hub| {
        let requests = hub.upstream("alice").requests();
        requests.iter().filter(|request| request.target.contains("no_track_activity")).count()
    };
    assert_eq!(asked(&hub), 2, "kernels and terminals, by a hub that answers");
    // It may ask the hub whose token that is, and the next one answers nobody before it has found what runs.
    hub.process_mut().upgrade().await;
    assert_eq!((adopted(&hub), asked(&hub)), (2, 2));
    let mut alice = hub.signed_in("alice").await;
    assert!(answers(&mut alice, "/user/alice/lab").await);
}

#[tokio::test]
async fn an_image_that_is_being_fetched_keeps_nobody_from_taking_over_and_is_fetched_on() {
    let profile = "[[profile]]\nname = \"big\"\nimage = \"big:1\"\n";
    let mut hub = Hub::with(BINARY, &format!("{EVERYONE}{profile}")).await;
    hub.engine().hold("/images/create");
    hub.engine().publish_image("big:1", Image { command: vec!["jupyter".to_owned()], ..Image::default() });
    eventually("the image is being fetched", || async { hub.engine().pulls().len() == 1 }).await;
    hub.answer_at("alice", "").await;
    let mut alice = hub.signed_in("alice").await;
    hub.process_mut().upgrade().await;
    eventually("by the next one, too", || async { hub.engine().pulls().len() == 2 }).await;
    hub.engine().release("/images/create");
    hub.until_open(&mut alice, "/user/alice/").await;
    assert_eq!(hub.engine().containers().len(), 1);
}

#[tokio::test]
async fn a_server_that_stops_is_not_left_half_stopped() {
    let hub = working_hub().await;
    let token = hub.signed_in("alice").await.make_token(&["servers"]).await;
    hub.engine().hold("/stop");
    let authorization = format!("token {token}");
    let stopped = callers::call(&hub, "DELETE", "/hub/api/users/alice/server", &authorization, "").await;
    assert_eq!(stopped.status, 202, "{}", stopped.text());
    let handed = || hub.process().log().contains("event=\"handover_begins\"");
    let released = async {
        let began = Instant::now();
        eventually("more time than a start is given", || async { began.elapsed() > Duration::from_secs(11) })
            .await;
        assert!(!handed(), "it waits");
        hub.engine().release("/stop");
    };
    let (said, ()) = tokio::join!(operate(&hub, &["upgrade"]), released);
    assert_eq!(said.code, Some(0), "{}", said.err);
    hub.until_running(0).await;
}
