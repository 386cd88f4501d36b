//! What is said of a request and a response.

use support::upstream::Upstream;

use super::rig::{Gate, Options};

#[tokio::test]
async fn the_target_goes_on_byte_for_byte() {
    let upstream = Upstream::start().await;
    let gate = Gate::before(&upstream).await;
    let targets = [
        "/user/alice/a%2fb%2Fc/%7e~/%41?q=%20+&&=&%zz",
        "/user/alice//double//",
        "/user/alice/%e2%82%ac;v=1,2!$'()*:@",
        "/user/alice/?",
        "/user/alice/?a?b/c",
        "/user/alice/%",
        "/user/alice/{a}|[b]\"",
        "/user/alice/%252e%252e%252f",
        "/user/alice/../x/./y",
    ];
    let mut client = gate.client().await;
    for target in targets {
        client.write(format!("GET {target} HTTP/1.1\r\nHost: hub.example\r\n\r\n")).await;
        assert_eq!(client.read().await.status, 200, "{target}");
    }
    let seen: Vec<_> = upstream.requests().into_iter().map(|request| request.target).collect();
    assert_eq!(seen, targets);
    let line = format!("GET {} HTTP/1.1\r\n", targets[0]);
    assert!(upstream.requests()[0].head.starts_with(line.as_bytes()));
}

#[tokio::test]
async fn an_absolute_target_loses_its_host_to_the_host_field() {
    let upstream = Upstream::start().await;
    let gate = Gate::before(&upstream).await;
    gate.ask("GET https://hub.example:8443/a%2Fb?c HTTP/1.1\r\nHost: other\r\n\r\n").await;
    let request = upstream.request();
    assert_eq!(request.target, "/a%2Fb?c");
    assert_eq!(request.header("host"), Some("hub.example:8443"));
}

#[tokio::test]
async fn forged_identity_and_forwarding_headers_are_removed() {
    let upstream = Upstream::start().await;
    let gate = Gate::before(&upstream).await;
    let forged = [
        "X-Forwarded-For",
        "X-Forwarded-User",
        "X-FORWARDED-USER",
        "X-Forwarded-Email",
        "X-Forwarded-Groups",
        "X-Forwarded-Access-Token",
        "X-Forwarded-Uri",
        "X-Forwarded-Method",
        "X-Forwarded-Ssl",
        "X-Forwarded-Prefix",
        "X-Forwarded-Client-Cert",
        "Forwarded",
        "X-Real-IP",
        "X-Client-IP",
        "X-Cluster-Client-IP",
        "True-Client-IP",
        "CF-Connecting-IP",
        "X-Scheme",
        "X-Url-Scheme",
        "Front-End-Https",
        "X-Original-URL",
        "X-Original-URI",
        "X-Original-Host",
        "X-Rewrite-URL",
        "X-Auth-Request-User",
        "X-Auth-Request-Redirect",
        "X-Remote-User",
        "Remote-User",
        "Remote-Groups",
        "X-Hub-User",
        "X-Hubgate-User",
        "X-Hubgate-Groups",
        "X-Client-Cert",
        "X-Client-Cert-Chain",
        "Client-Cert",
        "Client-Cert-Chain",
        "X-SSL-Client-Verify",
        "SSL-Client-Cert",
        "OIDC_CLAIM_sub",
        "OIDC-CLAIM-sub",
        "X_Forwarded_Proto",
        "X_Hubgate_User",
        "X-Hubgate_User",
        "X.Hubgate.User",
        "X-Forwarded.User",
        "X!Hubgate!User",
        "Remote_User",
        "Proxy",
        "Proxy-Authorization",
        "Proxy-Connection",
        "Keep-Alive",
        "Trailer",
        "Upgrade",
        "HTTP2-Settings",
    ];
    for forged in forged.chunks(30) {
        let once = forged.iter().map(|name| format!("{name}: admin\r\n"));
        let again = forged.iter().map(|name| format!("{name}: admin, admin\r\n"));
        assert_eq!(gate.get(&once.chain(again).collect::<String>()).await.status, 200);
    }
    for request in upstream.requests() {
        assert!(!String::from_utf8_lossy(&request.head).contains("admin"), "{request:?}");
        assert_eq!(request.header("x-forwarded-for"), Some("192.0.2.7"));
        assert_eq!(request.header("x-forwarded-host"), Some("hub.example"));
        assert_eq!(request.header("x-forwarded-port"), Some("443"));
        assert_eq!(request.header("x-forwarded-proto"), Some("https"));
        assert_eq!(request.header("x-hubgate-user"), Some("alice"));
    }
}

#[tokio::test]
async fn connection_lists_away_neither_our_headers_nor_those_that_decide() {
    let upstream = Upstream::start().await;
    let gate =
        Gate::with(&upstream, Options { authorization: Some("token ours"), ..Options::default() }).await;
    gate.get(
        "Connection: close, X-Forwarded-For, X-Hubgate-User, Cookie\r\nConnection: Host, X-Own, Authorization, Origin\r\n\
         X-Own: 1\r\nCookie: a=1\r\nOrigin: https://hub.example\r\n",
    )
    .await;
    let request = upstream.request();
    assert_eq!(request.header("x-forwarded-for"), Some("192.0.2.7"));
    assert_eq!(request.header("x-hubgate-user"), Some("alice"));
    assert_eq!(request.header("host"), Some("hub.example"));
    assert_eq!(request.header("cookie"), Some("a=1"));
    assert_eq!(request.header("origin"), Some("https://hub.example"));
    assert_eq!(request.header("authorization"), Some("token ours"));
    assert!(!request.has("x-own"), "what it may list is removed");
    assert!(!request.has("connection"));
}

#[tokio::test]
async fn what_is_the_clients_to_say_goes_on_unchanged() {
    let upstream = Upstream::start().await;
    let gate = Gate::before(&upstream).await;
    let said = [
        ("host", "hub.example:443"),
        ("origin", "https://hub.example"),
        ("referer", "https://hub.example/user/alice/lab?x=1"),
        ("sec-fetch-site", "same-origin"),
        ("sec-fetch-mode", "cors"),
        ("cookie", "_xsrf=2|1;  jupyterhub-session-id=x; a=\"b c\""),
        ("authorization", "Bearer own-token"),
        ("range", "bytes=0-99, 200-"),
        ("if-none-match", "\"a\", W/\"b\""),
        ("if-modified-since", "Tue, 01 Sep 2026 10:00:00 GMT"),
        ("accept-encoding", "gzip, br;q=0.5"),
        ("x-xsrftoken", "2|1"),
        ("x-requested-with", "XMLHttpRequest"),
        ("x-hub-signature-256", "sha256=1"),
        ("user-agent", "Mozilla/5.0 (é)"),
    ];
    let fields = said.map(|(name, value)| format!("{name}: {value}\r\n")).concat();
    gate.ask(&format!("GET / HTTP/1.1\r\n{fields}\r\n")).await;
    let request = upstream.request();
    for (name, value) in said {
        assert_eq!(request.header(name), Some(value), "{name}");
    }
    let ours =
        ["x-forwarded-for", "x-forwarded-host", "x-forwarded-port", "x-forwarded-proto", "x-hubgate-user"];
    let mut all: Vec<_> = said.iter().map(|(name, _)| *name).chain(ours).collect();
    all.sort_unstable();
    let mut seen: Vec<_> = request.headers.iter().map(|(name, _)| name.as_str()).collect();
    seen.sort_unstable();
    assert_eq!(seen, all, "nothing else goes on");
}

#[tokio::test]
async fn our_cookies_stay_here() {
    let upstream = Upstream::start().await;
    let gate = Gate::before(&upstream).await;
    gate.get("Cookie: a=1; __Host-hubgate=secret; b=2\r\nCookie: __Host-hubgate-login-x=secret\r\n").await;
    assert_eq!(upstream.request().header("cookie"), Some("a=1; b=2"));
}

#[tokio::test]
async fn te_trailers_is_said_again_and_other_codings_are_not() {
    let upstream = Upstream::start().await;
    let gate = Gate::before(&upstream).await;
    gate.get("TE: gzip, Trailers;q=0.5\r\nConnection: TE\r\n").await;
    gate.get("TE: gzip\r\nConnection: TE\r\n").await;
    let requests = upstream.requests();
    assert_eq!(requests[0].header("te"), Some("trailers"));
    assert_eq!(requests[1].header("te"), None);
}

#[tokio::test]
async fn a_workspace_cannot_rule_the_whole_host() {
    let upstream = Upstream::answering(
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nServer: TornadoServer/6.4\r\nX-Hubgate-User: bob\r\n\
         Strict-Transport-Security: max-age=0\r\nClear-Site-Data: \"*\"\r\nService-Worker-Allowed: /\r\n\
         Cross-Origin-Opener-Policy: same-origin\r\nCross-Origin-Opener-Policy-Report-Only: same-origin\r\n\
         Alt-Svc: h3=\":443\"\r\nPublic-Key-Pins: x\r\nPublic-Key-Pins-Report-Only: x\r\nNEL: {}\r\nReport-To: {}\r\n\
         Connection: keep-alive, X-Own\r\nX-Own: 1\r\nKeep-Alive: timeout=5\r\nProxy-Authenticate: Basic\r\n\
         Upgrade: h2c\r\nContent-Security-Policy: frame-ancestors 'self'\r\nX-Content-Type-Options: nosniff\r\n\
         Set-Cookie: __Host-hubgate=evil; Path=/; Secure\r\nSet-Cookie: _xsrf=1; Path=/user/alice/\r\n\
         Set-Cookie: __HOST-hubgate-login-1=evil\r\nSet-Cookie: =__Host-hubgate=evil\r\nSet-Cookie: __Host-hubgate\r\n\
         Set-Cookie:  \t= __host-hubgate =evil\r\nSet-Cookie: b=__Host-hubgate\r\n\r\n",
    )
    .await;
    let gate = Gate::before(&upstream).await;
    let answer = gate.get("").await;
    assert_eq!(answer.all("set-cookie"), ["_xsrf=1; Path=/user/alice/", "b=__Host-hubgate"]);
    let mut names: Vec<_> =
        answer.head.lines().filter_map(|line| line.split_once(':')).map(|(name, _)| name).collect();
    names.sort_unstable();
    let expected = [
        "content-length",
        "content-security-policy",
        "date",
        "server",
        "set-cookie",
        "set-cookie",
        "x-content-type-options",
    ];
    assert_eq!(names, expected);
}

#[tokio::test]
async fn a_length_beside_chunks_is_not_passed_on() {
    let upstream = Upstream::answering(
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    )
    .await;
    let gate = Gate::before(&upstream).await;
    let answer = gate.get("").await;
    assert_eq!((answer.header("content-length"), &answer.body[..]), (None, &b"hello"[..]));
}

#[tokio::test]
async fn upgrades_other_than_websockets_are_ordinary_requests() {
    let upstream = Upstream::start().await;
    let gate = Gate::before(&upstream).await;
    let key = "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    for fields in [
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n".to_owned(),
        format!("Connection: Upgrade\r\nUpgrade: websocket, h2c\r\n{key}"),
        format!("Connection: Upgrade\r\nUpgrade: websocket\r\nUpgrade: h2c\r\n{key}"),
        format!("Connection: Upgrade\r\nUpgrade: foo\r\n{key}"),
        format!("Connection: keep-alive\r\nUpgrade: websocket\r\n{key}"),
        "Connection: Upgrade\r\nUpgrade: TLS/1.0\r\n".to_owned(),
        "Connection: Upgrade\r\nUpgrade: websocket\r\n".to_owned(),
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 99\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            .to_owned(),
    ] {
        assert_eq!(gate.get(&fields).await.status, 200, "{fields}");
        let request = upstream.requests().pop().unwrap();
        for gone in ["connection", "upgrade", "http2-settings"] {
            assert!(!request.has(gone), "{fields}: {gone}");
        }
    }
}

#[tokio::test]
async fn http2_requests_arrive_as_http1() {
    let upstream = Upstream::start().await;
    let gate = Gate::with(&upstream, Options { http2: true, ..Options::default() }).await;
    let stream = tokio::net::TcpStream::connect(gate.address).await.unwrap();
    let io = hyper_util::rt::TokioIo::new(stream);
    let (mut sender, connection) = hyper::client::conn::http2::handshake::<
        _,
        _,
        http_body_util::Empty<bytes::Bytes>,
    >(hyper_util::rt::TokioExecutor::new(), io)
    .await
    .unwrap();
    gate.tasks.spawn(connection);
    let request = http::Request::get("https://hub.example:8443/user/alice/a%2Fb?q=%20")
        .header("cookie", "a=1")
        .header("cookie", "__Host-hubgate=secret")
        .header("cookie", "b=2")
        .body(http_body_util::Empty::new())
        .unwrap();
    let response = sender.send_request(request).await.unwrap();
    assert_eq!(response.status(), 200);
    let request = upstream.request();
    assert!(request.head.starts_with(b"GET /user/alice/a%2Fb?q=%20 HTTP/1.1\r\n"));
    assert_eq!(request.header("host"), Some("hub.example:8443"));
    assert_eq!(request.header("cookie"), Some("a=1; b=2"));
    assert!(!request.has("content-length"));
}
