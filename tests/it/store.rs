//! What survives a restart, and who may read it.

#![expect(clippy::expect_used, reason = "helpers of tests fail as tests do")]

use std::fs::{self, Permissions};
use std::num::NonZeroU16;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use hubgate::server_name::ServerName;
use hubgate::store::{ServerRow, SessionRow, Store, StoreError, UseRow};
use hubgate::user::UserName;

fn name(text: &str) -> UserName {
    UserName::parse(text).expect("a user name")
}

fn row(id: u8, user: &str) -> SessionRow {
    SessionRow {
        id: [id; 32],
        user: name(user),
        issuer: "https://provider.example".to_owned(),
        subject: user.to_uppercase(),
        sid: Some("provider's".to_owned()),
        created: 1000,
        last_seen: 1000,
        sealed: "sealed".to_owned(),
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("a file").permissions().mode() & 0o7777
}

#[tokio::test]
async fn users_and_sessions_survive_reopening() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).await.unwrap();
    store.name_user("https://provider.example", "ALICE", &name("alice"), 1).await.unwrap();
    store.insert_session(&row(1, "alice")).await.unwrap();
    store.insert_session(&row(2, "alice")).await.unwrap();
    store.touch_sessions(&[([1; 32], 2000)]).await.unwrap();
    store.delete_sessions(&[[2; 32]]).await.unwrap();
    drop(store);

    let store = Store::open(folder.path()).await.unwrap();
    store.ping().await.unwrap();
    assert_eq!(store.sessions().await.unwrap(), [SessionRow { last_seen: 2000, ..row(1, "alice") }]);
    let again = store.name_user("https://provider.example", "ALICE", &name("alice"), 2).await.unwrap();
    assert_eq!(again, name("alice"));
}

#[tokio::test]
async fn a_name_that_another_person_has_is_refused() {
    let store = Store::in_memory().await.unwrap();
    store.name_user("https://provider.example", "1", &name("alice"), 1).await.unwrap();
    for (issuer, subject) in [("https://provider.example", "2"), ("https://other.example", "1")] {
        let refused = store.name_user(issuer, subject, &name("alice"), 2).await;
        assert!(matches!(refused, Err(StoreError::NameTaken { name }) if name.as_str() == "alice"));
    }
    // The subject is compared as bytes: OpenID Connect Core 1.0, section 2.
    store.name_user("https://provider.example", "a", &name("bob"), 3).await.unwrap();
    assert!(store.name_user("https://provider.example", "A", &name("bob"), 3).await.is_err());
}

#[tokio::test]
async fn a_person_renamed_at_the_provider_keeps_their_name() {
    let store = Store::in_memory().await.unwrap();
    store.name_user("https://provider.example", "1", &name("alice"), 1).await.unwrap();
    let renamed = store.name_user("https://provider.example", "1", &name("alice.smith"), 2).await.unwrap();
    assert_eq!(renamed, name("alice"));
    let free = store.name_user("https://provider.example", "2", &name("alice.smith"), 3).await.unwrap();
    assert_eq!(free, name("alice.smith"), "a name that was only asked for stays free");
}

#[tokio::test]
async fn people_stay_who_they_are_when_their_provider_has_another_name() {
    let (old, new) = ("https://kc.example/auth/realms/r", "https://kc.example/realms/r");
    let store = Store::in_memory().await.unwrap();
    for (issuer, subject, user) in
        [(old, "1", "alice"), (old, "2", "bob"), (new, "2", "bob2"), ("x", "1", "eve")]
    {
        store.name_user(issuer, subject, &name(user), 1).await.unwrap();
    }
    store
        .insert_session(&SessionRow { issuer: old.to_owned(), subject: "1".to_owned(), ..row(1, "alice") })
        .await
        .unwrap();
    assert_eq!(store.rename_issuer(old, new).await.unwrap(), 1);
    assert_eq!(store.name_of(new, "1").await.unwrap(), Some(name("alice")));
    assert_eq!(store.name_of(old, "1").await.unwrap(), None);
    assert_eq!(store.sessions().await.unwrap()[0].issuer, new);
    assert_eq!(store.name_of(new, "2").await.unwrap(), Some(name("bob2")), "who came under both stays two");
    assert_eq!(store.name_of(old, "2").await.unwrap(), Some(name("bob")));
    assert_eq!(store.name_of("x", "1").await.unwrap(), Some(name("eve")));
    assert_eq!(store.rename_issuer(old, new).await.unwrap(), 0, "once");
}

#[tokio::test]
async fn of_two_first_logins_at_once_one_gets_the_name() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).await.unwrap();
    let logins =
        (0..8).map(|person| {
            let store = store.clone();
            async move {
                store.name_user("https://provider.example", &person.to_string(), &name("alice"), 1).await
            }
        });
    let named = futures_util::future::join_all(logins).await;
    assert_eq!(named.iter().filter(|result| result.is_ok()).count(), 1);
}

#[tokio::test]
async fn a_session_of_nobody_is_not_kept() {
    let store = Store::in_memory().await.unwrap();
    store.name_user("https://provider.example", "ALICE", &name("alice"), 1).await.unwrap();
    assert!(store.insert_session(&row(1, "bob")).await.is_err());
    let somebody_elses_name = SessionRow { subject: "ALICE".to_owned(), ..row(1, "bob") };
    assert!(store.insert_session(&somebody_elses_name).await.is_err());
    assert!(store.sessions().await.unwrap().is_empty());
}

#[tokio::test]
async fn nobody_else_can_read_what_is_kept() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("var/hubgate");
    let store = Store::open(&folder).await.unwrap();
    store.name_user("https://provider.example", "1", &name("alice"), 1).await.unwrap();
    Store::sealing_key(&folder).unwrap();
    assert_eq!(mode(&folder), 0o700);
    let mut files = 0;
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
        files += 1;
    }
    assert!(files >= 3, "the database, its journal and the key");
}

#[tokio::test]
async fn a_database_that_others_can_read_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    drop(Store::open(folder.path()).await.unwrap());
    fs::set_permissions(folder.path().join("hubgate.db"), Permissions::from_mode(0o644)).unwrap();
    assert!(matches!(Store::open(folder.path()).await, Err(StoreError::File { .. })));
}

#[tokio::test]
async fn the_last_use_of_servers_survives_reopening() {
    let folder = tempfile::tempdir().unwrap();
    let used = |owner: &str, instance: &str, used: u64| UseRow {
        owner: name(owner),
        server: ServerName::default(),
        instance: instance.to_owned(),
        used,
        port: (used > 1000).then_some(NonZeroU16::MIN),
    };
    let store = Store::open(folder.path()).await.unwrap();
    store.keep_uses(&[used("alice", "1", 1000), used("bob", "1", 1000)], &[]).await.unwrap();
    store.keep_uses(&[used("alice", "2", 2000)], &[(name("bob"), ServerName::default())]).await.unwrap();
    drop(store);
    let store = Store::open(folder.path()).await.unwrap();
    assert_eq!(store.uses().await.unwrap(), [used("alice", "2", 2000)]);
}

#[tokio::test]
async fn a_server_that_the_store_did_not_know_is_kept_with_what_it_is_called() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).await.unwrap();
    store.name_user("https://kc", "1", &name("alice"), 1000).await.unwrap();
    let gpu = ServerName::parse("gpu").unwrap();
    for (called, now) in [("First", 1000), ("Second", 2000)] {
        store.show_server_as(&name("alice"), (&gpu, called), now).await.unwrap();
        let display_name = Some(called.to_owned());
        let row = ServerRow { owner: name("alice"), name: gpu.clone(), display_name };
        assert_eq!(store.servers().await.unwrap(), [row]);
    }
    store.show_server_as(&name("bob"), (&gpu, "His"), 1000).await.unwrap();
    assert_eq!(store.servers().await.unwrap().len(), 1, "who has never come has none");
}

#[test]
fn the_sealing_key_is_made_once() {
    let folder = tempfile::tempdir().unwrap();
    let key = Store::sealing_key(folder.path()).unwrap();
    assert_ne!(key, [0; 32]);
    assert_eq!(Store::sealing_key(folder.path()).unwrap(), key);
    let left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["key"]);
    assert_ne!(Store::sealing_key(tempfile::tempdir().unwrap().path()).unwrap(), key);
}

#[test]
fn two_that_start_at_once_use_one_key() {
    let folder = tempfile::tempdir().unwrap();
    let start = || Store::sealing_key(folder.path()).unwrap();
    let keys: Vec<_> = std::thread::scope(|scope| {
        let starts: Vec<_> = (0..8).map(|_| scope.spawn(start)).collect();
        starts.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(keys.iter().all(|key| *key == keys[0]));
}

#[test]
fn a_sealing_key_that_others_can_read_or_that_is_cut_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    Store::sealing_key(folder.path()).unwrap();
    let path = folder.path().join("key");
    for readable in [0o640, 0o604, 0o620] {
        fs::set_permissions(&path, Permissions::from_mode(readable)).unwrap();
        assert!(matches!(Store::sealing_key(folder.path()), Err(StoreError::File { .. })), "{readable:o}");
    }
    fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    for length in [0, 31, 33] {
        fs::write(&path, vec![7; length]).unwrap();
        assert!(matches!(Store::sealing_key(folder.path()), Err(StoreError::File { .. })), "{length} bytes");
    }
}
