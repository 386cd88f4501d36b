//! What is beside the hub at its address: `[[route]]`.

use serde_json::json;
use support::hub::{Hub, PROFILE};
use support::upstream::Upstream;
use tempfile::TempDir;

use crate::BINARY;
use crate::callers::call;

/// Two rules: the lab's people get the dashboard, everybody the rest.
const RULES: &str = "[[rule]]\ngroups = [\"/lab\"]\n[[rule]]\neveryone = true\nroutes = [\"docs\"]\n";

/// A folder with a page, a folder in it, and things that are nobody's business.
fn folder() -> TempDir {
    let folder = TempDir::new().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write("index.html", "<h1>Apps</h1>");
    write("apis/v1/apps.json", "{\"apps\": []}");
    write("a b.txt", "with a space");
    write(".git/config", "secret");
    write("apis/.hidden", "secret");
    folder
}

/// A hub with a public folder at `/registry/`, and a program at `/grafana/` for whoever it is granted to.
async fn hub(program: &Upstream, folder: &TempDir, more: &str) -> Hub {
    let routes = format!(
        "[[route]]\nname = \"registry\"\npath = \"/registry/\"\nfolder = \"{}\"\npublic = true\n{more}\n\
         [[route]]\nname = \"grafana\"\npath = \"/grafana/\"\nupstream = \"{}\"\n\
         [[route]]\nname = \"docs\"\npath = \"/grafana/docs/\"\nupstream = \"{1}\"\nstrip_path = true\n",
        folder.path().display(),
        program.address(),
    );
    Hub::with(BINARY, &format!("{RULES}{PROFILE}{routes}")).await
}

async fn program() -> Upstream {
    Upstream::bind("127.0.0.1:0".parse().unwrap()).await.unwrap()
}

#[tokio::test]
async fn a_public_folder_is_served_to_everybody_and_nothing_beside_it() {
    let (program, folder) = (program().await, folder());
    let hub = hub(&program, &folder, "").await;
    let mut stranger = hub.client();
    let page = stranger.open("/registry/").await;
    assert_eq!((page.status, page.text().as_str()), (200, "<h1>Apps</h1>"));
    assert_eq!(page.header("content-type"), Some("text/html"));
    assert_eq!(page.header("x-content-type-options"), Some("nosniff"));
    let apps = stranger.fetch("GET", "/registry/apis/v1/apps.json?x", b"").await;
    assert_eq!((apps.status, apps.header("content-type")), (200, Some("application/json")));
    assert_eq!(stranger.fetch("GET", "/registry/a%20b.txt", b"").await.text(), "with a space");
    let bare = stranger.open("/registry?x").await;
    assert_eq!((bare.status, bare.header("location")), (303, Some("/registry/?x")));
    let below = stranger.open("/registry/apis").await;
    assert_eq!((below.status, below.header("location")), (307, Some("/registry/apis/")));
    let again = [("if-modified-since", apps.header("last-modified").unwrap())];
    assert_eq!(stranger.send("GET", "/registry/apis/v1/apps.json", &again, b"").await.status, 304);
    assert_eq!(stranger.fetch("HEAD", "/registry/index.html", b"").await.status, 200);
    for (path, status) in [
        ("/registry/none", 404),
        ("/registry/.git/config", 404),
        ("/registry/%2egit/config", 404),
        ("/registry/apis/.hidden", 404),
        ("/registry/../../etc/passwd", 400),
        ("/registry/%2e%2e/%2e%2e/etc/passwd", 400),
        ("/registry/..%2f..%2fetc/passwd", 400),
        ("/registry/apis%2f.hidden", 404),
        ("/registry//etc/passwd", 404),
        ("/registry/%ff", 400),
        ("/registry/a%00", 400),
        ("/r%65gistry/", 404),
        ("/REGISTRY/", 404),
        ("/registryx", 404),
    ] {
        assert_eq!(stranger.fetch("GET", path, b"").await.status, status, "{path}");
    }
    for method in ["POST", "PUT", "DELETE"] {
        assert_eq!(stranger.fetch(method, "/registry/index.html", b"x").await.status, 405, "{method}");
    }
}

#[tokio::test]
async fn a_link_out_of_a_folder_is_the_administrators_to_make_and_no_users() {
    let (program, folder) = (program().await, folder());
    let other = TempDir::new().unwrap();
    std::fs::write(other.path().join("x"), "linked").unwrap();
    std::os::unix::fs::symlink(other.path(), folder.path().join("linked")).unwrap();
    let hub = hub(&program, &folder, "").await;
    assert_eq!(hub.client().fetch("GET", "/registry/linked/x", b"").await.text(), "linked");
}

#[tokio::test]
async fn a_route_is_for_whoever_a_rule_grants_it_and_asks_strangers_to_sign_in() {
    let (program, folder) = (program().await, folder());
    let hub = hub(&program, &folder, "").await;
    let mut stranger = hub.client();
    assert_eq!(stranger.fetch("GET", "/grafana/d/1", b"").await.status, 401);
    let login = stranger.open("/grafana/d/1?x").await;
    assert_eq!(login.header("location"), Some("/hub/login?next=%2Fgrafana%2Fd%2F1%3Fx"));
    let mut bob = hub.signed_in("bob").await;
    assert_eq!(bob.fetch("GET", "/grafana/d/1", b"").await.status, 403);
    assert_eq!(program.connections(), 0, "nobody came so far");

    let mut anna = hub.signed_in_with("anna", json!({"groups": ["/lab"]})).await;
    let forged = [("x-hubgate-user", "root"), ("x-webauth-user", "root")];
    assert_eq!(anna.send("GET", "/grafana/d/1?x=%2F", &forged, b"").await.status, 200);
    let request = program.requests().pop().unwrap();
    assert_eq!(
        (request.target.as_str(), request.all("x-hubgate-user")),
        ("/grafana/d/1?x=%2F", vec!["anna"])
    );
    assert!(!request.has("x-webauth-user"));
    assert!(!String::from_utf8_lossy(&request.head).contains("__Host-hubgate"));

    // The longest path counts, and may be for others.
    assert_eq!(bob.fetch("GET", "/grafana/docs/a%2Fb?q", b"").await.status, 200);
    let request = program.requests().pop().unwrap();
    assert_eq!(request.target, "/a%2Fb?q", "without what it was told not to see");
    assert_eq!(request.header("x-forwarded-prefix"), Some("/grafana/docs"));
    let other_site = [("origin", "https://evil.example"), ("sec-fetch-site", "cross-site")];
    assert_eq!(anna.send("POST", "/grafana/api", &other_site, b"x").await.status, 403);
}

#[tokio::test]
async fn a_token_reaches_what_is_beside_the_hub_by_its_name_and_never_past_its_owners_rules() {
    let (program, folder) = (program().await, folder());
    let hub = hub(&program, &folder, "").await;
    let mut anna = hub.signed_in_with("anna", json!({"groups": ["/lab"]})).await;
    let mut bob = hub.signed_in("bob").await;
    for (scope, grafana, docs) in [
        ("access:servers", 200, 200),
        ("access:services", 200, 200),
        ("access:services!service=grafana", 200, 403),
        ("access:services!service=docs", 403, 200),
        ("access:servers!user", 403, 403),
        ("servers", 403, 403),
        ("self", 403, 403),
    ] {
        let token = format!("token {}", anna.make_token(&[scope]).await);
        for (path, status) in [("/grafana/d/1", grafana), ("/grafana/docs/x", docs)] {
            let answer = call(&hub, "GET", path, &token, "").await;
            assert_eq!(answer.status, status, "{scope} {path}: {}", answer.text());
        }
        assert_eq!(
            call(&hub, "GET", "/user/anna/x", &token, "").await.status == 403,
            scope.starts_with("access:services") || scope == "servers",
            "{scope}"
        );
    }
    let before = program.requests().len();
    for scope in ["access:services", "access:services!service=grafana"] {
        let token = format!("token {}", bob.make_token(&[scope]).await);
        assert_eq!(call(&hub, "GET", "/grafana/d/1", &token, "").await.status, 403, "{scope}");
    }
    assert_eq!(program.requests().len(), before, "no rule grants it to him");
}

#[tokio::test]
async fn containers_find_what_is_public_at_the_hub_api_and_nothing_else() {
    let (program, folder) = (program().await, folder());
    let more = "containers = true\n[hub_api]\nlisten = \"{address}:8081\"\n";
    let hub = hub(&program, &folder, more).await;
    let api = format!("http://{}:8081", hub.process().address().ip()).parse().unwrap();
    let ask = |path: &'static str| crate::day::plain(&api, "GET", path, "", ("", "text/plain"));
    assert_eq!(ask("/registry/apis/v1/apps.json").await, (200, json!({"apps": []})));
    for path in ["/grafana/d/1", "/grafana/docs/x", "/registry/.git/config", "/other/", "/user/alice/"] {
        assert_eq!(ask(path).await.0, 404, "{path}");
    }
    assert_eq!(program.connections(), 0);
}
