//! Its endpoints, over plain HTTP.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::{Duration, UNIX_EPOCH};

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, DATE, HOST, LOCATION};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use url::Url;
use url::form_urlencoded;

use super::tls::{Stream, Tls};
use super::{Lie, Provider, REALM, Seen, random};

pub(super) type Answer = Response<Full<Bytes>>;

/// Serves until it is aborted, all its connections with it.
#[expect(clippy::disallowed_methods, reason = "it stands for another process")]
pub(super) fn serve(provider: Provider, listener: TcpListener) -> AbortHandle {
    let accept = async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            let provider = provider.clone();
            connections.spawn(async move {
                let service = service_fn(|request| {
                    let provider = provider.clone();
                    async move { Ok::<_, Infallible>(provider.dated(provider.answer(request).await)) }
                });
                let stream: Stream = match &provider.0.tls {
                    Some(tls) => match tls.accept(stream).await {
                        Some(stream) => stream,
                        None => return,
                    },
                    None => Box::pin(stream),
                };
                // A client that goes away is no failure.
                drop(
                    hyper::server::conn::http1::Builder::new()
                        // Keycloak sends no date by itself.
                        .auto_date_header(false)
                        .serve_connection(TokioIo::new(stream), service)
                        .await,
                );
            });
            while connections.try_join_next().is_some() {}
        }
    };
    tokio::spawn(accept).abort_handle()
}

/// One GET, without following a redirect.
#[expect(clippy::disallowed_methods, reason = "it stands for another process")]
pub(super) async fn visit(address: SocketAddr, tls: Option<&Tls>, url: &Url) -> Result<Url, String> {
    let stream = TcpStream::connect(address).await.unwrap();
    let stream: Stream = match tls {
        Some(tls) => tls.connect(stream).await,
        None => Box::pin(stream),
    };
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let target = &url[url::Position::BeforePath..url::Position::AfterQuery];
    let request = Request::get(target).header(HOST, url.authority()).body(Empty::<Bytes>::new()).unwrap();
    let response = sender.send_request(request).await.unwrap();
    if let Some(location) = response.headers().get(LOCATION) {
        return Ok(Url::parse(location.to_str().unwrap()).unwrap());
    }
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    Err(format!("{status}: {}", String::from_utf8_lossy(&body)))
}

impl Provider {
    async fn answer(&self, request: Request<Incoming>) -> Answer {
        let (head, body) = request.into_parts();
        let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        let authorization =
            head.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let seen = Seen {
            method: head.method.to_string(),
            path: head.uri.path().to_owned(),
            authorization,
            query: pairs(head.uri.query().unwrap_or_default().as_bytes()),
            form: pairs(&body),
            fields: head.headers.keys().map(ToString::to_string).collect(),
        };
        // Whoever asks for a head only asks whether there is somebody.
        if head.method == Method::HEAD {
            return json_answer(405, &json!({"error": "method not allowed"}));
        }
        self.state().requests.push(seen.clone());
        let prefix = self.prefix();
        let path = seen.path.strip_prefix(prefix.as_str()).unwrap_or_default();
        if let Some(path) = path.strip_prefix("/admin/realms/") {
            return self.administer(&head.method, path, &seen, &body);
        }
        let Some(endpoint) = path.strip_prefix(REALM) else {
            return json_answer(404, &json!({"error": "Realm does not exist"}));
        };
        match (head.method, endpoint) {
            (Method::GET, "/.well-known/openid-configuration") => self.description().await,
            (Method::GET, "/protocol/openid-connect/auth") => self.authorize(&seen),
            (Method::POST, "/protocol/openid-connect/ext/par/request") => self.push(&seen),
            (Method::POST, "/protocol/openid-connect/token") => self.token(&seen).await,
            (Method::GET, "/protocol/openid-connect/userinfo") => self.userinfo(&seen),
            (Method::GET, "/protocol/openid-connect/certs") => {
                if self.lies(Lie::KeysServerError) {
                    html(500)
                } else {
                    json_answer(200, &self.keys())
                }
            }
            (Method::GET, "/protocol/openid-connect/logout") => self.logout(&seen),
            (Method::POST, "/protocol/openid-connect/revoke") => self.revocation(&seen),
            _ => html(404),
        }
    }

    /// Once its time is set, it tells it, as a proxy in front of Keycloak would.
    fn dated(&self, mut answer: Answer) -> Answer {
        let now = self.0.now.load(Ordering::SeqCst);
        if now != 0 {
            let date = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(now));
            answer.headers_mut().insert(DATE, date.parse().unwrap());
        }
        answer
    }

    async fn description(&self) -> Answer {
        if self.lies(Lie::DiscoverySlow) {
            std::future::pending::<()>().await;
        }
        for (lie, answer) in [
            (Lie::DiscoveryNotFound, json_answer(404, &json!({"error": "Realm does not exist"}))),
            (Lie::DiscoveryHtml, html(200)),
            (Lie::DiscoveryServerError, html(503)),
            (Lie::DiscoveryRedirect, redirect(self.endpoint("certs").as_str())),
        ] {
            if self.lies(lie) {
                return answer;
            }
        }
        let endpoint = |name: &str| self.endpoint(name).to_string();
        // Keycloak's `hostname-backchannel-dynamic`: what browsers open is public, the rest as it was asked.
        let public = |name: &str| format!("{}/protocol/openid-connect/{name}", self.issuer());
        let mut description = json!({
            "issuer": self.issuer(), "authorization_endpoint": public("auth"), "token_endpoint": endpoint("token"),
            "introspection_endpoint": endpoint("token/introspect"), "userinfo_endpoint": endpoint("userinfo"),
            "end_session_endpoint": public("logout"), "jwks_uri": endpoint("certs"),
            "check_session_iframe": endpoint("login-status-iframe.html"), "revocation_endpoint": endpoint("revoke"),
            "grant_types_supported": ["authorization_code", "client_credentials", "implicit", "refresh_token"],
            "response_types_supported": ["code", "none", "id_token", "code id_token token"],
            "response_modes_supported": ["query", "fragment", "form_post", "query.jwt"],
            "subject_types_supported": ["public", "pairwise"], "acr_values_supported": ["0", "1"],
            "id_token_signing_alg_values_supported": [
                "PS384", "RS384", "EdDSA", "ES384", "HS256", "HS512", "ES256", "RS256", "HS384", "ES512", "PS256", "PS512", "RS512",
            ],
            "token_endpoint_auth_methods_supported": ["private_key_jwt", "client_secret_basic", "client_secret_post"],
            "claims_supported": ["aud", "sub", "iss", "auth_time", "name", "preferred_username", "email", "acr"],
            "claim_types_supported": ["normal"], "scopes_supported": ["openid", "profile", "email", "roles"],
            "code_challenge_methods_supported": ["plain", "S256"], "request_parameter_supported": true,
            "tls_client_certificate_bound_access_tokens": true, "dpop_signing_alg_values_supported": ["ES256"],
            "authorization_response_iss_parameter_supported": true, "require_pushed_authorization_requests": self.state().pushed_only,
            "pushed_authorization_request_endpoint": endpoint("ext/par/request"),
            "frontchannel_logout_supported": true, "frontchannel_logout_session_supported": true,
            "backchannel_logout_supported": true, "backchannel_logout_session_supported": true,
            "mtls_endpoint_aliases": {"token_endpoint": endpoint("token")},
        });
        let other = format!("{}/", self.issuer());
        for (lie, name, value) in [
            (Lie::DiscoveryOtherIssuer, "issuer", json!(other)),
            (Lie::DiscoveryNoPkce, "code_challenge_methods_supported", Value::Null),
            (Lie::DiscoveryOnlyPlainPkce, "code_challenge_methods_supported", json!(["plain"])),
            (Lie::DiscoveryInsecureTokenEndpoint, "token_endpoint", json!("http://provider.example/token")),
            (Lie::DiscoveryNoUserinfo, "userinfo_endpoint", Value::Null),
            (Lie::DiscoveryNoPushedRequests, "pushed_authorization_request_endpoint", Value::Null),
            (Lie::DiscoveryNoIssPromise, "authorization_response_iss_parameter_supported", json!(false)),
        ] {
            if self.lies(lie) {
                description[name] = value;
            }
        }
        for (name, value) in &self.state().description {
            description[name] = value.clone();
        }
        description.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        json_answer(200, &description)
    }

    async fn token(&self, seen: &Seen) -> Answer {
        if self.lies(Lie::TokenSlow) {
            std::future::pending::<()>().await;
        }
        for (lie, answer) in [
            (Lie::TokenHtml, html(200)),
            (Lie::TokenServerError, html(500)),
            (Lie::TokenRedirect, temporary_redirect(self.endpoint("elsewhere").as_str())),
            (Lie::TokenHuge, json_answer(200, &json!({"access_token": "x".repeat(2 * 1024 * 1024)}))),
            (Lie::TokenErrorWithStatus200, oauth_error(200, "invalid_grant", "Code not valid")),
        ] {
            if self.lies(lie) {
                return answer;
            }
        }
        if !self.is_client(seen) {
            return oauth_error(401, "unauthorized_client", "Invalid client or Invalid client credentials");
        }
        if seen.form_value("grant_type") == Some("refresh_token") {
            return match self.use_refresh_token(seen.form_value("refresh_token").unwrap_or_default()) {
                Ok(grant) => json_answer(200, &self.token_response(&grant)),
                Err(description) => oauth_error(400, "invalid_grant", description),
            };
        }
        if seen.form_value("grant_type") != Some("authorization_code") {
            return oauth_error(400, "unsupported_grant_type", "Unsupported grant_type");
        }
        // Used up by the first who shows it, whether it was theirs or not.
        let grant = self.state().grants.remove(seen.form_value("code").unwrap_or_default());
        let Some(grant) = grant else {
            return oauth_error(400, "invalid_grant", "Code not valid");
        };
        if seen.form_value("redirect_uri") != Some(&grant.redirect_uri) {
            return oauth_error(400, "invalid_grant", "Incorrect redirect_uri");
        }
        let verifier = seen.form_value("code_verifier").unwrap_or_default();
        let challenge = URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, verifier.as_bytes()));
        if challenge != grant.challenge {
            return oauth_error(400, "invalid_grant", "PKCE verification failed: Code mismatch");
        }
        json_answer(200, &self.token_response(&grant))
    }

    fn userinfo(&self, seen: &Seen) -> Answer {
        if self.lies(Lie::UserinfoServerError) {
            return html(502);
        }
        if self.lies(Lie::UserinfoInvalidGrant) {
            return oauth_error(400, "invalid_grant", "Session not active");
        }
        if self.lies(Lie::UserinfoRedirect) {
            return redirect(self.endpoint("elsewhere").as_str());
        }
        if self.lies(Lie::UserinfoHtml) {
            return html(200);
        }
        let token = seen.authorization.as_deref().and_then(|value| value.strip_prefix("Bearer "));
        let grant = token.and_then(|token| self.state().sessions.get(token).cloned());
        let grant = grant.filter(|grant| !self.is_over(&grant.sid));
        let Some(grant) = grant else {
            return oauth_error(401, "invalid_token", "Token verification failed");
        };
        if !grant.scopes.split(' ').any(|scope| scope == "openid") {
            return oauth_error(403, "insufficient_scope", "Missing openid scope");
        }
        if let Some((kind, body)) = self.state().userinfo.clone() {
            return answer(200, &kind, body);
        }
        let mut claims = self.profile(&grant);
        if self.lies(Lie::UserinfoOtherSubject) {
            claims.insert("sub".to_owned(), "other".into());
        }
        if self.lies(Lie::UserinfoNoSubject) {
            claims.remove("sub");
        }
        if self.lies(Lie::UserinfoSigned) {
            return answer(200, "application/jwt", self.signed_userinfo().token());
        }
        if self.lies(Lie::UserinfoArray) {
            return json_answer(200, &json!([claims]));
        }
        json_answer(200, &Value::Object(claims))
    }

    fn logout(&self, seen: &Seen) -> Answer {
        let one = |name: &str| seen.query_value(name);
        let ours = one("client_id") == Some(Self::CLIENT_ID) || one("id_token_hint").is_some();
        let Some(uri) = one("post_logout_redirect_uri").filter(|_| ours) else {
            return page(200, "Do you want to log out?");
        };
        let known = self.state().post_logout_redirect_uris.clone();
        let target =
            Url::parse(uri).ok().filter(|_| known.is_empty() || known.iter().any(|place| place == uri));
        let Some(mut target) = target else { return page(400, "Invalid redirect uri") };
        if let Some(sid) = one("id_token_hint").and_then(sid_of) {
            self.end_session(&sid);
        }
        let state = match one("state") {
            _ if self.lies(Lie::LogoutNoState) => None,
            Some(_) if self.lies(Lie::LogoutOtherState) => Some(random()),
            state => state.map(str::to_owned),
        };
        if let Some(state) = state {
            target.query_pairs_mut().append_pair("state", &state);
        }
        redirect(target.as_str())
    }

    /// RFC 7009.
    fn revocation(&self, seen: &Seen) -> Answer {
        if self.lies(Lie::RevocationServerError) {
            return html(500);
        }
        if !self.is_client(seen) {
            return oauth_error(401, "unauthorized_client", "Invalid client or Invalid client credentials");
        }
        self.revoke(seen.form_value("token").unwrap_or_default());
        Response::new(Full::default())
    }
}

impl Seen {
    /// A parameter of the query.
    pub fn query_value(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// A parameter of the body.
    pub fn form_value(&self, name: &str) -> Option<&str> {
        self.form.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// The session that a token of ours names.
fn sid_of(token: &str) -> Option<String> {
    let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    let claims: Value = serde_json::from_slice(&payload).ok()?;
    claims["sid"].as_str().map(str::to_owned)
}

pub(super) fn pairs(text: &[u8]) -> Vec<(String, String)> {
    form_urlencoded::parse(text).into_owned().collect()
}

pub(super) fn json_answer(status: u16, body: &Value) -> Answer {
    answer(status, "application/json;charset=UTF-8", body.to_string())
}

pub(super) fn oauth_error(status: u16, error: &str, description: &str) -> Answer {
    json_answer(status, &json!({"error": error, "error_description": description}))
}

pub(super) fn html(status: u16) -> Answer {
    page(status, "We are sorry...")
}

pub(super) fn page(status: u16, text: &str) -> Answer {
    answer(status, "text/html;charset=utf-8", format!("<html><body><h1>{text}</h1></body></html>"))
}

pub(super) fn redirect(location: &str) -> Answer {
    let mut response = answer(302, "text/plain", String::new());
    response.headers_mut().insert(LOCATION, location.parse().unwrap());
    response
}

/// One that keeps the method and the body.
fn temporary_redirect(location: &str) -> Answer {
    let mut response = redirect(location);
    *response.status_mut() = StatusCode::TEMPORARY_REDIRECT;
    response
}

pub(super) fn answer(status: u16, kind: &str, body: String) -> Answer {
    Response::builder().status(status).header(CONTENT_TYPE, kind).body(Full::new(Bytes::from(body))).unwrap()
}
