use http::header::EXPECT;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::forward::Lifeline;

fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
    let field = |(name, value): &(&'static str, &str)| {
        (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
    };
    fields.iter().map(field).collect()
}

/// What the workspace gets, where the public host is this.
fn sent(fields: &[(&'static str, &str)], authority: Option<&str>, host: &'static str) -> HeaderMap {
    let mut headers = headers(fields);
    let about = About {
        client: &HeaderValue::from_static("2001:db8::1"),
        host: &HeaderValue::from_static(host),
        user: Some(&HeaderValue::from_static("j%C3%BCrgen")),
        authorization: Authorization::Kept,
        session_id: None,
        prefix: None,
        lifeline: &Lifeline::new(CancellationToken::new()),
        activity: None,
        worker: 0,
    };
    let authority = authority.map(|authority| authority.parse().unwrap());
    for_workspace(&mut headers, authority.as_ref(), &about);
    headers
}

#[test]
fn every_listed_name_is_refused() {
    for name in HOP_BY_HOP.iter().chain(&FORGED) {
        assert!(is_not_for_workspaces(name), "{name}");
    }
    for name in FORGED_X {
        assert!(is_not_for_workspaces(&format!("x-{name}")), "{name}");
    }
    for name in WHOLE_HOST.iter().chain(["keep-alive", "te", "upgrade", "proxy"].iter()) {
        assert!(is_not_for_clients(name), "{name}");
    }
}

#[test]
fn names_that_only_look_alike_are_not() {
    for name in [
        "accept",
        "cache-control",
        "content-type",
        "cookie",
        "expires",
        "from",
        "host",
        "if-range",
        "link",
        "origin",
        "pragma",
        "priority",
        "range",
        "referer",
        "sec-websocket-key",
        "sec-fetch-site",
        "upgrade-insecure-requests",
        "user-agent",
        "x-xsrftoken",
        "x-requested-with",
        "x-hub-signature-256",
        "x-realm",
        "x-csrf-token",
    ] {
        assert!(!is_not_for_workspaces(name), "{name}");
    }
    for name in [
        "access-control-allow-origin",
        "allow",
        "age",
        "cache-control",
        "content-length",
        "location",
        "referrer-policy",
        "refresh",
        "retry-after",
        "server",
        "set-cookie",
        "trailer",
        "transfer-encoding",
        "vary",
        "x-frame-options",
        "x-jupyterhub-version",
        "x-accel-buffering",
    ] {
        assert!(!is_not_for_clients(name), "{name}");
    }
}

#[test]
fn a_name_with_a_foldable_character_is_refused() {
    for character in "!#$%&'*+.^_`|~".chars() {
        let name = HeaderName::from_bytes(format!("x-own{character}name").as_bytes()).unwrap();
        assert!(is_not_for_workspaces(name.as_str()), "{name}");
    }
}

#[test]
fn the_port_is_the_public_hosts() {
    for (host, port) in [
        ("hub.example", "443"),
        ("hub.example:8443", "8443"),
        ("[2001:db8::1]", "443"),
        ("[2001:db8::1]:8443", "8443"),
        ("hub.example:", "443"),
    ] {
        assert_eq!(sent(&[], None, host)["x-forwarded-port"], port, "{host}");
    }
}

#[test]
fn there_is_exactly_one_host() {
    let host = |fields: &[(&'static str, &str)], authority| {
        let headers = sent(fields, authority, "hub.example");
        assert_eq!(headers.get_all(HOST).iter().count(), 1);
        headers[HOST].to_str().unwrap().to_owned()
    };
    assert_eq!(host(&[("host", "hub.example:443")], None), "hub.example:443");
    assert_eq!(host(&[("host", "other")], Some("hub.example:443")), "hub.example:443");
    assert_eq!(host(&[], Some("hub.example")), "hub.example");
    assert_eq!(host(&[], Some("user@hub.example:1")), "hub.example:1");
    assert_eq!(host(&[], None), "hub.example");
    assert_eq!(host(&[("host", "a"), ("host", "b")], None), "hub.example");
}

#[test]
fn odd_connection_fields_remove_no_more_than_they_name() {
    for odd in ["", ",", ",,", "close", "\"x-own\"", "x own", "x-own;q=1", "@"] {
        let headers = sent(&[("connection", odd), ("x-own", "1"), ("accept", "*/*")], None, "hub.example");
        assert!(headers.contains_key("x-own") && headers.contains_key("accept"), "{odd}");
        assert!(!headers.contains_key(CONNECTION), "{odd}");
    }
    let headers = sent(&[("connection", " X-OWN ,close"), ("x-own", "1")], None, "hub.example");
    assert!(!headers.contains_key("x-own"));
}

#[test]
fn what_decides_cannot_be_listed_away() {
    let names = ["host", "cookie", "authorization", "origin", "referer", "content-length", "sec-fetch-site"];
    for name in names {
        let headers = sent(&[("connection", name), (name, "1")], None, "hub.example");
        assert_eq!(headers[name], "1");
    }
}

#[test]
fn an_expectation_stays_here() {
    assert!(!sent(&[("expect", "100-continue")], None, "hub.example").contains_key(EXPECT));
}

#[test]
fn a_length_that_the_body_does_not_have_is_corrected() {
    for (length, expected) in
        [(Length::None, Some("0")), (Length::Known(4), Some("4")), (Length::Unknown, None)]
    {
        let mut headers = headers(&[("content-length", "7"), ("transfer-encoding", "gzip")]);
        frame(&mut headers, &Method::GET, length);
        assert_eq!(headers.get(CONTENT_LENGTH).map(|length| length.to_str().unwrap()), expected);
        let coding = headers.get(TRANSFER_ENCODING).map(|coding| coding.to_str().unwrap());
        assert_eq!(coding, (length == Length::Unknown).then_some("chunked"));
    }
}

#[test]
fn browsers_readings_of_a_nameless_cookie_are_known() {
    for (cookie, reserved) in [
        ("__Host-hubgate=x", true),
        ("__Host-hubgate-login-1=x; Path=/", true),
        ("__host-HUBGATE=x", true),
        ("  __Host-hubgate  =x", true),
        ("=__Host-hubgate=x", true),
        ("==__Host-hubgate", true),
        ("__Host-hubgate", true),
        ("\t__Host-hubgate=x", true),
        ("a=__Host-hubgate", false),
        ("__Host-other=x", false),
        ("a=1; b=__Host-hubgate", false),
        ("", false),
        ("=", false),
        (";", false),
    ] {
        assert_eq!(sets_reserved(&HeaderValue::from_str(cookie).unwrap()), reserved, "{cookie:?}");
    }
    let odd = HeaderValue::from_bytes(b"__Host-hubgate\xff=x").unwrap();
    assert!(sets_reserved(&odd));
}
