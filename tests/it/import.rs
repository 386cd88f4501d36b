//! `hubgate import`: what another hub's database says, and that it stays as it is.
//!
//! `import/<version>.sql` is what a real JupyterHub of that version made and filled by itself: Ada, its administrator,
//! Alice with a server, one named `gpu`, and a token, anna@epfl.ch with a server, and two groups.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use hubgate::groups::Groups;
use hubgate::seal::Sealer;
use hubgate::store::Store;
use hubgate::user::{GroupName, UserName};
use serde_json::{Value, json};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode};
use sqlx::{ConnectOptions as _, Connection as _, SqliteConnection};
use tempfile::TempDir;

use crate::BINARY;

fn import(database: &Path, more: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(BINARY);
    command.args(["import", "jupyterhub", "--database"]).arg(database).args(more);
    let Output { status, stdout, stderr } = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}

fn versions() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/import");
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let name = |path: &PathBuf| path.file_stem().unwrap().to_str().unwrap().to_owned();
    let mut versions: Vec<_> = files.map(|path| (name(&path), fs::read_to_string(&path).unwrap())).collect();
    versions.sort();
    assert_eq!(versions.iter().map(|(version, _)| &**version).collect::<Vec<_>>(), VERSIONS);
    versions
}

const VERSIONS: &[&str] = &["2.3.1", "4.1.6", "5.4.6", "6.1.1"];

async fn open(path: &Path, journal: SqliteJournalMode) -> SqliteConnection {
    let options = SqliteConnectOptions::new().filename(path).create_if_missing(true).journal_mode(journal);
    options.foreign_keys(false).connect().await.unwrap()
}

async fn fill(connection: &mut SqliteConnection, sql: &str) {
    sqlx::raw_sql(sqlx::AssertSqlSafe(sql.to_owned())).execute(connection).await.unwrap();
}

/// A database with this in it, which nobody has open.
async fn database(folder: &TempDir, journal: SqliteJournalMode, sql: &[&str]) -> PathBuf {
    let path = folder.path().join("jupyterhub.sqlite");
    let mut connection = open(&path, journal).await;
    for sql in sql {
        fill(&mut connection, sql).await;
    }
    connection.close().await.unwrap();
    path
}

#[tokio::test]
async fn what_a_jupyterhub_of_each_version_knows_is_understood() {
    for (version, sql) in versions() {
        let folder = TempDir::new().unwrap();
        let path = database(&folder, SqliteJournalMode::Delete, &[&sql]).await;
        let (code, out, err) = import(&path, &["--json"]);
        assert_eq!((code, err.as_str()), (Some(0), ""), "{version}");
        let answer: Value = serde_json::from_str(&out).unwrap();
        let server =
            |name: &str, container: &str| json!({ "name": name, "running": true, "container": container });
        let users = json!([
            { "name": "ada", "here": "ada", "admin": true, "groups": ["lab"], "servers": [], "remarks": [] },
            { "name": "alice", "here": "alice", "admin": false, "groups": ["lab"], "remarks": [],
              "servers": [server("", "jupyter-alice"), server("gpu", "jupyter-alice--gpu")] },
            { "name": "anna@epfl.ch", "here": "anna@epfl.ch", "admin": false, "groups": [], "remarks": [],
              "servers": [server("", "jupyter-anna-40epfl-2ech")] },
        ]);
        assert_eq!(answer["users"], users, "{version}");
        let groups = json!([{ "name": "empty", "members": 0 }, { "name": "lab", "members": 2 }]);
        assert_eq!(answer["groups"], groups, "{version}");
        assert_eq!((&answer["tokens"], &answer["services"]), (&json!(1), &json!(1)), "{version}");
        assert_eq!(
            answer["containers"],
            json!({ "prefix": "jupyter", "legacy": false, "others": 0 }),
            "{version}"
        );
    }
}

#[tokio::test]
async fn what_an_import_proposes_is_a_configuration() {
    let (_, sql) = versions().pop().unwrap();
    let folder = TempDir::new().unwrap();
    let legacy = "UPDATE spawners SET state = replace(replace(replace(state, '-40', '_40'), '-2e', '_2E'), 'jupyter-', 'lab-');";
    let path = database(&folder, SqliteJournalMode::Delete, &[&sql, legacy]).await;
    let (code, out, _) = import(&path, &[]);
    assert_eq!(code, Some(0));
    for words in [
        "3 users, 2 groups, 3 servers that run",
        "alice, in lab, server runs as lab-alice, server gpu runs as lab-alice--gpu",
        "ada, administrator, in lab",
        "lab: 2 members",
        "#adopt_jupyterhub = true",
        "1 API token of users: the database has only their hashes",
    ] {
        assert!(out.contains(words), "{words}: {out}");
    }
    let (_, proposed) = out.split_once("to add to config.toml, where it does not say so already\n").unwrap();
    for line in ["escape = \"legacy\"", "named_servers = 1", "prefix = \"lab\"", "admin = true"] {
        assert!(proposed.lines().any(|proposed| proposed == line), "{line}: {proposed}");
    }
    let config = crate::cli::write(folder.path(), 1, proposed);
    let checked = Command::new(BINARY).args(["check", "--config", &config]).output().unwrap();
    assert!(checked.status.success(), "{checked:?}");
}

#[tokio::test]
async fn what_an_import_writes_is_there_when_the_hub_starts() {
    let (_, sql) = versions().pop().unwrap();
    let there = TempDir::new().unwrap();
    let renamed = "UPDATE groups SET name = 'em' || char(10) || 'pty' WHERE name = 'empty';";
    let path = database(&there, SqliteJournalMode::Delete, &[&sql, renamed]).await;
    let here = TempDir::new().unwrap();
    let config = crate::cli::write(here.path(), 1, "");
    let apply = ["--apply", "--config", &config];
    let (code, out, err) = import(&path, &apply);
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert!(err.contains("there is no store at") && err.contains("hint: start hubgate once"), "{err}");

    fs::create_dir(here.path().join("state")).unwrap();
    for (users, members) in [(3, ["ada", "alice"]), (0, ["ada", "alice"])] {
        let (code, out, err) = import(&path, &[&apply[..], &["--json"]].concat());
        assert_eq!(code, Some(0), "{err}");
        let answer: Value = serde_json::from_str(&out).unwrap();
        assert_eq!(answer["written"], json!({ "users": users, "groups": 1, "left_out": ["em\npty"] }));
        let folder = here.path().join("state");
        let store = Store::open(&folder).await.unwrap();
        let expected = store.expected_users().await.unwrap();
        let names: Vec<_> = expected.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["ada", "alice", "anna@epfl.ch"]);
        let groups = Groups::new(store.clone(), Arc::new(Sealer::new(&Store::sealing_key(&folder).unwrap())));
        assert_eq!(groups.restore().await.unwrap(), 1);
        let lab = groups.find(&GroupName::parse("lab").unwrap()).unwrap();
        assert!(lab.users.iter().map(UserName::as_str).eq(members), "{lab:?}");
        assert!(store.people().await.unwrap().is_empty(), "nobody has come");
    }

    let _hub = UnixListener::bind(here.path().join("admin.sock")).unwrap();
    let (code, _, err) = import(&path, &apply);
    assert_eq!(code, Some(1));
    assert!(err.contains("hubgate runs") && err.contains("hint: stop it first"), "{err}");
}

#[tokio::test]
async fn an_import_changes_nothing_and_leaves_nothing_beside_the_database() {
    let (_, sql) = versions().pop().unwrap();
    for journal in [SqliteJournalMode::Delete, SqliteJournalMode::Wal] {
        let folder = TempDir::new().unwrap();
        let path = database(&folder, journal, &[&sql]).await;
        let before = contents(folder.path());
        assert_eq!(before.len(), 1);
        let (code, _, err) = import(&path, &[]);
        assert_eq!(code, Some(0), "{err}");
        assert!(contents(folder.path()) == before, "{journal:?}");
    }
}

fn contents(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    paths.map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

#[tokio::test]
async fn a_database_that_a_hub_has_open_is_read_or_said_to_be_locked() {
    let (_, sql) = versions().pop().unwrap();
    let folder = TempDir::new().unwrap();
    let path = database(&folder, SqliteJournalMode::Delete, &[&sql]).await;
    let mut hub = open(&path, SqliteJournalMode::Delete).await;
    fill(&mut hub, "BEGIN IMMEDIATE; UPDATE users SET admin = 1;").await;
    let (code, out, err) = import(&path, &[]);
    assert_eq!(code, Some(0), "{err}");
    assert_eq!(out.matches("administrator,").count(), 1, "what is not committed does not count: {out}");
    fill(&mut hub, "ROLLBACK; BEGIN EXCLUSIVE;").await;
    let (code, out, err) = import(&path, &[]);
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert!(err.contains("is locked by another program") && err.contains(".backup copy.sqlite"), "{err}");
}

#[tokio::test]
async fn changes_that_are_beside_a_database_are_not_passed_over() {
    let (_, sql) = versions().pop().unwrap();
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("jupyterhub.sqlite");
    let mut hub = open(&path, SqliteJournalMode::Wal).await;
    fill(&mut hub, &sql).await;
    let (code, out, err) = import(&path, &[]);
    assert_eq!((code, out.as_str()), (Some(2), ""));
    assert!(err.contains("is not complete") && err.contains("hint: make a copy"), "{err}");
}

#[tokio::test]
async fn what_is_no_database_of_a_jupyterhub_is_said_with_a_remedy() {
    let (_, sql) = versions().pop().unwrap();
    let folder = TempDir::new().unwrap();
    let other =
        database(&folder, SqliteJournalMode::Delete, &["CREATE TABLE users (id INTEGER PRIMARY KEY);"]).await;
    let file = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    };
    let torn = &fs::read(&other).unwrap()[..1000];
    let older = TempDir::new().unwrap();
    let older =
        (database(&older, SqliteJournalMode::Delete, &[&sql, "DROP TABLE user_role_map;"]).await, older);
    let view = TempDir::new().unwrap();
    let forever = "DROP TABLE users; CREATE VIEW users AS WITH RECURSIVE n(id, name, admin) AS \
                   (SELECT 1, 'a', 0 UNION ALL SELECT id + 1, name, 0 FROM n) SELECT * FROM n;";
    let view = (database(&view, SqliteJournalMode::Delete, &[&sql, forever]).await, view);
    for (path, words) in [
        (folder.path().join("nowhere"), "cannot read "),
        (folder.path().to_owned(), "is no SQLite database"),
        (file("empty", b""), "is no SQLite database"),
        (file("text", b"c.JupyterHub.db_url = 'sqlite:///jupyterhub.sqlite'\n"), "is no SQLite database"),
        (file("torn", torn), "cannot read tables from "),
        (other, "is no JupyterHub's database: it has no table groups"),
        (older.0.clone(), "is the database of a JupyterHub before 2.0"),
        (view.0.clone(), "is no JupyterHub's database: it has no table users"),
    ] {
        let (code, out, err) = import(&path, &[]);
        assert_eq!((code, out.as_str()), (Some(2), ""), "{words}: {err}");
        assert!(err.contains(words) && err.contains("\n  hint: "), "{words}: {err}");
    }
}

#[tokio::test]
async fn nothing_in_a_database_reaches_the_terminal_or_the_configuration_as_it_is() {
    let (_, sql) = versions().pop().unwrap();
    let folder = TempDir::new().unwrap();
    let hostile = "UPDATE groups SET name = char(27) || ']0;owned' || char(7) WHERE name = 'lab';
        INSERT INTO users (name, admin, cookie_id) VALUES (char(27) || '[31mred', 1, 'c1'), ('a' || char(10) || 'b', 0, 'c2'),
            ('x\"]' || char(10) || 'admin = true #', 1, 'c3'), (x'ff00fe', 0, 'c4'), ('rtl' || char(8238) || 'x', 0, 'c5'),
            ('Bob', 0, 'c6'), ('bob', 0, 'c7'), (replace(hex(zeroblob(5000)), '0', 'z'), 0, 'c8');
        UPDATE spawners SET state = '{\"object_name\": \"jupyter-x\\u001b[0m\\n[[rule]]\"}', name = char(27) || name;";
    let path = database(&folder, SqliteJournalMode::Delete, &[&sql, hostile]).await;
    let (code, out, err) = import(&path, &[]);
    assert_eq!(code, Some(0), "{err}");
    let harmless = |c: char| c == '\n' || (!c.is_control() && c != '\u{202e}' && c != '\u{fffd}');
    assert!(out.chars().all(|c| harmless(c) || c == '\u{fffd}'), "{out:?}");
    assert!(out.contains("\\u{1b}]0;owned\\u{7}") && out.contains("rtl\\u{202e}x"), "{out}");
    assert!(out.contains("would be bob here, as somebody else would"), "{out}");
    assert!(out.lines().all(|line| line.len() < 1000), "{out}");
    let (_, proposed) = out.split_once("to add to config.toml, where it does not say so already\n").unwrap();
    for hostile in ["x\"]", "bob", "Bob", "jupyter-x", "owned"] {
        assert!(!proposed.contains(hostile), "{hostile}: {proposed}");
    }
    let config = crate::cli::write(folder.path(), 1, proposed);
    let checked = Command::new(BINARY).args(["check", "--config", &config]).output().unwrap();
    assert!(checked.status.success(), "{checked:?}");
}
