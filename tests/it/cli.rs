//! The command line: what it prints, and how it ends.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output};

use support::certs::{Authority, write_secret};
use tempfile::TempDir;

use crate::BINARY;

fn run(arguments: &[&str]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = Command::new(BINARY).args(arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}

/// A configuration that can be used, whose TLS port is `port`; `more` stands at its end.
pub(crate) fn write(folder: &Path, port: u16, more: &str) -> String {
    Authority::new().write_pair(folder, &["hub.example"]);
    write_secret(&folder.join("secret"), "canary-of-a-secret");
    let path = folder.join("config.toml");
    let here = folder.display();
    let text = format!(
        "[public]\nurl = \"https://hub.example\"\n\
         [listen]\nhttps = [\"127.0.0.1:{port}\"]\nhttp = []\noperations = \"127.0.0.1:0\"\n\
         [[certificate]]\nchain = \"{here}/cert.pem\"\nkey = \"{here}/key.pem\"\n\
         [provider]\nissuer = \"https://kc.example/realms/lab\"\nclient_id = \"hub\"\n\
         client_secret = {{ file = \"{here}/secret\" }}\n\
         [admin]\nsocket = \"{here}/admin.sock\"\n[store]\nfolder = \"{here}/state\"\n\
         [[rule]]\neveryone = true\n[[profile]]\nname = \"lab\"\nimage = \"lab:1\"\n{more}"
    );
    fs::write(&path, text).unwrap();
    path.display().to_string()
}

#[test]
fn version_says_which() {
    let (code, out, _) = run(&["version"]);
    assert_eq!((code, out.as_str()), (Some(0), concat!("hubgate ", env!("CARGO_PKG_VERSION"), "\n")));
}

#[test]
fn a_wrong_command_line_ends_with_2() {
    for arguments in [&["serv"][..], &["serve", "--confg", "x"], &[]] {
        let (code, _, err) = run(arguments);
        assert_eq!(code, Some(2), "{arguments:?}");
        assert!(err.contains("Usage: hubgate"), "{err}");
    }
}

#[test]
fn check_accepts_a_usable_configuration_and_starts_nothing() {
    let folder = TempDir::new().unwrap();
    let config = write(folder.path(), 1, "");
    let (code, out, err) = run(&["check", "--config", &config]);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    assert_eq!(out, format!("{config} is usable\n"));
    assert!(!folder.path().join("state").exists());
}

#[test]
fn check_says_everything_that_is_wrong_with_line_and_remedy() {
    let folder = TempDir::new().unwrap();
    let config = write(folder.path(), 1, "[session]\nidle_timeout = 12\nidel_timeout = \"1h\"\n");
    for command in ["check", "serve"] {
        let (code, out, err) = run(&[command, "--config", &config]);
        assert_eq!((code, out.as_str()), (Some(2), ""));
        let lines: Vec<&str> = err.lines().filter(|line| line.starts_with(&format!("{config}:"))).collect();
        assert!(lines.len() >= 2, "{err}");
        assert!(lines.iter().any(|line| line.contains("idel_timeout")), "{err}");
        assert!(lines.iter().all(|line| line.contains("; ")), "each with a remedy: {err}");
    }
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let (code, out, err) = run(&["serve", "--config", "/nowhere/config.toml"]);
    assert_eq!((code, out.as_str()), (Some(2), ""));
    assert!(err.starts_with("error: cannot read /nowhere/config.toml\n  caused by: "), "{err}");
    assert!(err.contains("\n  hint: "), "{err}");
}

#[test]
fn certificates_are_looked_at_by_check() {
    let folder = TempDir::new().unwrap();
    let config = write(folder.path(), 1, "");
    let (certificate, _) = Authority::new().issue(&["hub.example"]);
    fs::write(folder.path().join("cert.pem"), certificate).unwrap();
    let (code, _, err) = run(&["check", "--config", &config]);
    assert_eq!(code, Some(2));
    assert!(err.contains("does not belong to the certificate"), "{err}");
}

#[test]
fn what_stops_a_start_is_said_with_its_cause_and_a_hint_and_ends_with_1() {
    let folder = TempDir::new().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let config = write(folder.path(), port, "");
    let (code, _, err) = run(&["serve", "--config", &config]);
    assert_eq!(code, Some(1), "{err}");
    assert!(err.contains(&format!("error: cannot listen on 127.0.0.1:{port}\n  caused by: ")), "{err}");
    assert!(err.contains("\n  hint: stop the program that listens there"), "{err}");
    assert!(!err.contains("canary"), "{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn check_says_what_an_image_is_and_what_profiles_make_of_it() {
    use support::docker::{Engine, Image};
    let engine = Engine::start();
    let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect();
    let lab = Image { command: words(&["jupyter", "lab"]), user: "1000".to_owned(), ..Image::default() };
    engine.add_image("lab:1", lab);
    engine.add_image("hub:1", Image { command: words(&["jupyterhub-singleuser"]), ..Image::default() });
    let folder = TempDir::new().unwrap();
    let more = format!("[spawner.docker]\nsocket = \"{}\"\n", engine.socket().display());
    let config = write(folder.path(), 1, &more);
    let check = |image: &str| run(&["check", "--config", &config, "--image", image]);

    let (code, out, err) = check("lab:1");
    assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
    for line in [
        "profile          lab",
        "preset           jupyter (its command has jupyter)",
        "port             8888 (Jupyter's own)",
    ] {
        assert!(out.contains(line), "{line} in\n{out}");
    }
    let (code, out, _) = check("hub:1");
    assert_eq!(code, Some(2), "{out}");
    assert!(out.contains("mode             hub (its command has jupyterhub-singleuser"), "{out}");
    assert!(out.contains("set hub_api.listen"), "{out}");
    let (code, _, err) = check("gone:1");
    assert_eq!(code, Some(2));
    assert!(err.contains("the image gone:1 is not here") && err.contains("docker pull"), "{err}");
    let (_, _, err) = check("aiidalab/full-stack:1");
    assert!(err.contains("it is taken for aiidalab-full-stack by its name alone, which is a guess"), "{err}");
    engine.add_network("hubgate", "bridge", &serde_json::json!({}));
    let (_, out, _) = check("lab:1");
    let told = "warning          workspaces reach each other on the network hubgate: it was made without";
    assert!(out.contains(told) && out.contains("`docker network rm`"), "{out}");
    assert!(!engine.containers().iter().any(|_| true), "nothing was started");
    drop(engine);
    let (code, _, err) = check("lab:1");
    assert_eq!(code, Some(1), "{err}");
    assert!(err.contains("hint: start the container runtime"), "{err}");
}
