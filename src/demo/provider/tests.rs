use http_body_util::BodyExt as _;

use super::*;

const ISSUER: &str = "http://127.0.0.1:1234";
const CALLBACK: &str = "https://localhost:8443/hub/oauth_callback";
const VERIFIER: &str = "a-verifier-that-is-long-enough-for-rfc-7636";

fn provider() -> (Provider, Clock) {
    let clock = Clock::manual(1_000_000);
    let client =
        Client { id: "hub", secret: Secret::new("s:e%c+r t"), callback: Url::parse(CALLBACK).unwrap() };
    let person = |name, password| Person { name, full_name: name, groups: &["/demo"], password };
    let people = vec![person("alice", Secret::new("wonder&land")), person("bob", Secret::new("builder"))];
    (Provider::new(ISSUER.to_owned(), client, people, clock.clone()).unwrap(), clock)
}

fn encode(fields: &[(&str, &str)]) -> String {
    url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish()
}

fn challenge() -> String {
    URL_SAFE_NO_PAD.encode(seal::sha256(VERIFIER.as_bytes()))
}

/// What hubgate asks for, with some fields changed.
fn asking(changed: &[(&str, &str)]) -> String {
    let challenge = challenge();
    let mut fields = vec![
        ("response_type", "code"),
        ("client_id", "hub"),
        ("redirect_uri", CALLBACK),
        ("scope", "openid profile"),
        ("state", "st&te"),
        ("nonce", "n0nce"),
        ("code_challenge", &challenge),
        ("code_challenge_method", "S256"),
    ];
    for (name, value) in changed {
        fields.retain(|(known, _)| known != name);
        fields.push((name, value));
    }
    format!("/authorize?{}", encode(&fields))
}

fn get(uri: &str) -> http::request::Builder {
    Request::get(uri).header(HOST, "127.0.0.1:1234")
}

fn post(uri: &str, fields: &[(&str, &str)]) -> Request<Bytes> {
    Request::post(uri)
        .header(HOST, "127.0.0.1:1234")
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(encode(fields).into())
        .unwrap()
}

fn empty(request: http::request::Builder) -> Request<Bytes> {
    request.body(Bytes::new()).unwrap()
}

fn location(response: &Response<Full<Bytes>>) -> Url {
    assert_eq!(response.status(), StatusCode::SEE_OTHER);
    Url::parse(response.headers()[LOCATION].to_str().unwrap()).unwrap()
}

fn parameter(url: &Url, name: &str) -> String {
    let found: Vec<_> = url.query_pairs().filter(|(key, _)| key == name).map(|(_, value)| value).collect();
    assert_eq!(found.len(), 1, "{name} in {url}");
    found[0].to_string()
}

fn body(response: Response<Full<Bytes>>) -> Value {
    let body = response.into_body().collect();
    let body = futures_util::FutureExt::now_or_never(body).unwrap().unwrap();
    serde_json::from_slice(&body.to_bytes()).unwrap()
}

fn signed_in(provider: &Provider) -> String {
    let fields = [("username", "Alice "), ("password", "wonder&land")];
    parameter(&location(&provider.respond(&post(&asking(&[]), &fields))), "code")
}

fn tokens(provider: &Provider, code: &str, verifier: &str) -> Response<Full<Bytes>> {
    let mut request = post(
        "/token",
        &[
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", CALLBACK),
            ("code_verifier", verifier),
        ],
    );
    let credentials = STANDARD.encode("hub:s%3Ae%25c%2Br+t");
    request.headers_mut().insert(AUTHORIZATION, format!("Basic {credentials}").parse().unwrap());
    provider.respond(&request)
}

#[test]
fn a_user_signs_in_and_the_client_learns_who_it_is() {
    let (provider, _) = provider();
    let form = provider.respond(&empty(get(&asking(&[]))));
    assert_eq!(form.status(), StatusCode::OK);
    let policy = form.headers()[CONTENT_SECURITY_POLICY].to_str().unwrap();
    assert!(
        policy.contains("form-action 'self' https://localhost:8443"),
        "the redirect is let through: {policy}"
    );

    let fields = [("username", "alice"), ("password", "wonder&land")];
    let back = location(&provider.respond(&post(&asking(&[]), &fields)));
    assert!(back.as_str().starts_with(&format!("{CALLBACK}?")));
    assert_eq!((parameter(&back, "state").as_str(), parameter(&back, "iss").as_str()), ("st&te", ISSUER));

    let answer = body(tokens(&provider, &parameter(&back, "code"), VERIFIER));
    let claims = provider.signer.open(answer["id_token"].as_str().unwrap()).unwrap();
    assert_eq!(claims["iss"], ISSUER);
    assert_eq!(claims["aud"], "hub");
    assert_eq!(claims["nonce"], "n0nce");
    assert_eq!((&claims["iat"], &claims["exp"]), (&json!(1_000_000), &json!(1_000_300)));
    assert_eq!(claims["preferred_username"], "alice");

    let bearer = format!("Bearer {}", answer["access_token"].as_str().unwrap());
    let about = body(provider.respond(&empty(get("/userinfo").header(AUTHORIZATION, bearer))));
    assert_eq!((&about["sub"], &about["groups"]), (&claims["sub"], &json!(["/demo"])));
}

#[test]
fn a_wrong_password_signs_nobody_in() {
    let (provider, _) = provider();
    let wrong: [&[(&str, &str)]; 6] = [
        &[("username", "alice"), ("password", "builder")],
        &[("username", "carol"), ("password", "builder")],
        &[("username", "alice"), ("password", "")],
        &[("username", "alice")],
        &[],
        &[("username", "alice"), ("username", "bob"), ("password", "builder")],
    ];
    for fields in wrong {
        let response = provider.respond(&post(&asking(&[]), fields));
        assert_eq!(response.status(), StatusCode::FORBIDDEN, "{fields:?}");
        assert!(!response.headers().contains_key(LOCATION));
    }
    assert!(locked(&provider.codes).is_empty());
}

#[test]
fn only_the_clients_own_request_is_answered() {
    let (provider, _) = provider();
    for changed in [
        ("client_id", "other"),
        ("redirect_uri", "https://localhost:8443/hub/oauth_callback/"),
        ("redirect_uri", "https://evil.example/"),
        ("response_type", "token"),
        ("scope", "profile"),
        ("code_challenge_method", "plain"),
        ("code_challenge", "short"),
        ("code_challenge", ""),
        ("state", ""),
    ] {
        for response in [
            provider.respond(&empty(get(&asking(&[changed])))),
            provider.respond(&post(&asking(&[changed]), &[("username", "bob"), ("password", "builder")])),
        ] {
            assert_eq!(response.status(), StatusCode::BAD_REQUEST, "{changed:?}");
            assert!(!response.headers().contains_key(LOCATION));
        }
    }
    let twice = format!("{}&client_id=hub", asking(&[]));
    assert_eq!(provider.respond(&empty(get(&twice))).status(), StatusCode::BAD_REQUEST);
}

#[test]
fn a_code_is_good_once_and_for_a_minute() {
    let (provider, clock) = provider();
    let code = signed_in(&provider);
    assert_eq!(tokens(&provider, &code, VERIFIER).status(), StatusCode::OK);
    assert_eq!(body(tokens(&provider, &code, VERIFIER)), json!({"error": "invalid_grant"}));

    let late = signed_in(&provider);
    clock.advance(CODE_AGE);
    assert_eq!(body(tokens(&provider, &late, VERIFIER)), json!({"error": "invalid_grant"}));
}

#[test]
fn a_code_needs_the_verifier_of_the_login_it_was_made_for() {
    let (provider, _) = provider();
    for verifier in ["", "another-verifier-that-is-also-long-enough-to-be-one", &challenge()] {
        let code = signed_in(&provider);
        assert_eq!(body(tokens(&provider, &code, verifier)), json!({"error": "invalid_grant"}), "{verifier}");
        let again = tokens(&provider, &code, VERIFIER);
        assert_eq!(body(again), json!({"error": "invalid_grant"}), "one try spends it");
    }
}

#[test]
fn tokens_are_only_for_the_client_with_its_secret() {
    let (provider, _) = provider();
    let code = signed_in(&provider);
    let fields = [
        ("grant_type", "authorization_code"),
        ("code", code.as_str()),
        ("redirect_uri", CALLBACK),
        ("code_verifier", VERIFIER),
    ];
    let with = |id: &str, secret: &str| {
        let mut fields = fields.to_vec();
        fields.extend([("client_id", id), ("client_secret", secret)]);
        provider.respond(&post("/token", &fields))
    };
    for (id, secret) in [("hub", "wrong"), ("hub", ""), ("other", "s:e%c+r t")] {
        assert_eq!(with(id, secret).status(), StatusCode::UNAUTHORIZED, "{id} {secret}");
    }
    assert_eq!(provider.respond(&post("/token", &fields)).status(), StatusCode::UNAUTHORIZED);
    assert_eq!(with("hub", "s:e%c+r t").status(), StatusCode::OK, "a stranger's tries spend no code");
}

#[test]
fn an_access_token_opens_userinfo_for_a_while() {
    let (provider, clock) = provider();
    let answer = body(tokens(&provider, &signed_in(&provider), VERIFIER));
    let bearer = format!("Bearer {}", answer["access_token"].as_str().unwrap());
    let ask =
        |bearer: &str| provider.respond(&empty(get("/userinfo").header(AUTHORIZATION, bearer))).status();
    assert_eq!(ask(&bearer), StatusCode::OK);
    assert_eq!(ask("Bearer x"), StatusCode::UNAUTHORIZED);
    assert_eq!(ask(&format!("Bearer {}", answer["id_token"].as_str().unwrap())), StatusCode::UNAUTHORIZED);
    clock.advance(TOKEN_AGE);
    assert_eq!(ask(&bearer), StatusCode::UNAUTHORIZED);
}

#[test]
fn signing_out_leads_back_only_to_the_hub() {
    let (provider, _) = provider();
    let answer = body(tokens(&provider, &signed_in(&provider), VERIFIER));
    let hint = answer["id_token"].as_str().unwrap();
    let leave = |hint: &str, to: &str| {
        let query = encode(&[("id_token_hint", hint), ("post_logout_redirect_uri", to), ("state", "s")]);
        provider.respond(&empty(get(&format!("/logout?{query}"))))
    };
    let back = location(&leave(hint, "https://localhost:8443/hub/logout"));
    assert_eq!(back.as_str(), "https://localhost:8443/hub/logout?state=s");
    for (hint, to) in [
        (hint, "https://evil.example/"),
        (hint, "https://localhost:8444/"),
        (hint, "not a url"),
        ("forged.token.here", "https://localhost:8443/"),
    ] {
        let response = leave(hint, to);
        assert_eq!(response.status(), StatusCode::OK);
        assert!(!response.headers().contains_key(LOCATION), "{to}");
    }
}

#[test]
fn the_provider_answers_only_to_its_own_address() {
    let (provider, _) = provider();
    let described = |host: &str| {
        let request = Request::get("/.well-known/openid-configuration").header(HOST, host);
        provider.respond(&empty(request)).status()
    };
    assert_eq!(described("127.0.0.1:1234"), StatusCode::OK);
    for host in ["evil.example:1234", "localhost:1234", "127.0.0.1", ""] {
        assert_eq!(described(host), StatusCode::MISDIRECTED_REQUEST, "{host}");
    }
}
