//! Requests for logins: by the browser or pushed, and the answers to them; and how its client proves who it is. What
//! Keycloak would refuse is refused.

use std::fmt::Write as _;

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, RSA_PKCS1_2048_8192_SHA256, RSA_PSS_2048_8192_SHA256, UnparsedPublicKey,
    VerificationAlgorithm,
};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::Value;
use url::{Url, form_urlencoded};

use super::http::{Answer, json_answer, oauth_error, page, pairs, redirect};
use super::keys::ClientKey;
use super::{Grant, Lie, Provider, Seen, http, random};

/// How its client proves who it is. No other way is taken, as by Keycloak since 26.6.
#[derive(Debug, Clone, Default)]
pub enum ClientProof {
    /// `client_secret_basic`
    #[default]
    Basic,
    /// `client_secret_post`
    Post,
    /// `private_key_jwt`, by this key.
    Key(ClientKey),
}

/// An error that it sends browsers back with.
pub(super) struct Refusal {
    error: String,
    description: String,
    times: usize,
}

impl Provider {
    /// Sets how its client must prove who it is.
    pub fn take_client_by(&self, proof: ClientProof) {
        self.state().client = proof;
    }

    /// Takes pushed requests for logins only.
    pub fn require_pushed_requests(&self) {
        self.state().pushed_only = true;
    }

    /// Sends the next browsers back with this error, so many times.
    pub fn refuse(&self, error: &str, description: &str, times: usize) {
        let (error, description) = (error.to_owned(), description.to_owned());
        self.state().refusal = Some(Refusal { error, description, times });
    }

    /// Plays the browser: opens the authorization URL, and gives the form with which it is sent back: where, and what.
    pub async fn sign_in_by_form(&self, authorize: &Url) -> (Url, String) {
        let page = self.visit(authorize).await.unwrap_err();
        let attribute = |text: &str, name: &str| {
            let (_, rest) = text.split_once(&format!("{name}=\"")).unwrap();
            rest.split_once('"').unwrap().0.replace("&amp;", "&").replace("&quot;", "\"")
        };
        let mut body = form_urlencoded::Serializer::new(String::new());
        for input in page.split("<INPUT").skip(1) {
            body.append_pair(&attribute(input, "NAME"), &attribute(input, "VALUE"));
        }
        let action = Url::parse(&attribute(&page, "ACTION")).unwrap();
        (action, body.finish())
    }

    /// Whoever comes is signed in at once.
    pub(super) fn authorize(&self, seen: &Seen) -> Answer {
        let request = match seen.query_value("request_uri") {
            Some(reference) => match self.state().pushed.remove(reference) {
                Some(request) => request,
                None => return page(400, "Invalid Request"),
            },
            None if self.state().pushed_only => {
                return page(400, "Pushed Authorization Request is only allowed.");
            }
            None => seen.query.clone(),
        };
        let pushed = seen.query_value("request_uri").is_some();
        let one = |name: &str| value(&request, name).unwrap_or_default().to_owned();
        let redirect_uri = one("redirect_uri");
        let known = {
            let state = self.state();
            state.redirect_uris.is_empty() || state.redirect_uris.contains(&redirect_uri)
        };
        let Some(back) = Url::parse(&redirect_uri).ok().filter(|_| known) else {
            return page(400, "Invalid parameter: redirect_uri");
        };
        if one("client_id") != Self::CLIENT_ID || seen.query_value("client_id") != Some(Self::CLIENT_ID) {
            return page(400, "Client not found.");
        }
        let state = if self.lies(Lie::AnswerOtherState) { random() } else { one("state") };
        let mut fields = vec![("state", state)];
        let lie_iss = self.lies(Lie::AnswerOtherIss) || self.lies(Lie::AnswerDeniedOtherIss);
        let iss = if lie_iss { "https://other.example/realms/test".to_owned() } else { self.issuer() };
        if !self.lies(Lie::AnswerNoIss) {
            fields.push(("iss", iss));
        }
        let by_form = (one("response_mode") == "form_post") != self.lies(Lie::AnswerOtherMode);
        if let Some((error, description)) = self.refusal(&request, pushed) {
            fields.extend([("error", error), ("error_description", description)]);
            return send_back(back, &fields, by_form);
        }
        let (code, sid) = (random(), random());
        fields.extend([("session_state", sid.clone()), ("code", code.clone())]);
        let forced = value(&request, "max_age").is_some();
        let mut state = self.state();
        let grant = Grant {
            user: state.user.clone(),
            redirect_uri,
            challenge: one("code_challenge"),
            nonce: value(&request, "nonce").map(str::to_owned),
            scopes: one("scope"),
            sid,
            acr: one("acr_values").split(' ').next().filter(|acr| !acr.is_empty()).unwrap_or("1").to_owned(),
            authenticated: if forced { self.now() } else { self.now() - 10 },
        };
        state.grants.insert(code, grant);
        send_back(back, &fields, by_form)
    }

    /// Why the browser is sent back without a code.
    fn refusal(&self, request: &[(String, String)], pushed: bool) -> Option<(String, String)> {
        let text = |error: &str, description: &str| Some((error.to_owned(), description.to_owned()));
        if self.lies(Lie::AnswerDenied) || self.lies(Lie::AnswerDeniedOtherIss) {
            return text("access_denied", "The user said no.");
        }
        if pushed && self.lies(Lie::PushedExpired) {
            return text("invalid_request_uri", "Invalid or expired request_uri");
        }
        if let Some(refusal) = self.state().refusal.as_mut().filter(|refusal| refusal.times > 0) {
            refusal.times -= 1;
            return Some((refusal.error.clone(), refusal.description.clone()));
        }
        let one = |name: &str| value(request, name).unwrap_or_default();
        match (one("response_type"), one("code_challenge_method"), one("code_challenge").len()) {
            ("code", "S256", 43) => None,
            ("code", ..) => text("invalid_request", "Missing parameter: code_challenge_method"),
            _ => text("unsupported_response_type", "Client is not allowed to initiate browser login"),
        }
    }

    /// RFC 9126.
    pub(super) fn push(&self, seen: &Seen) -> Answer {
        if !self.is_client(seen) {
            return oauth_error(401, "unauthorized_client", "Invalid client or Invalid client credentials");
        }
        if seen.form_value("request_uri").is_some() || seen.form_value("client_id") != Some(Self::CLIENT_ID) {
            return oauth_error(400, "invalid_request", "Parameter 'request_uri' is not allowed");
        }
        if let Some((name, _)) =
            seen.form.iter().find(|(name, _)| seen.form.iter().filter(|(other, _)| other == name).count() > 1)
        {
            return oauth_error(400, "invalid_request", &format!("duplicated parameter: {name}"));
        }
        if self.lies(Lie::PushedNoReference) {
            return json_answer(201, &serde_json::json!({"expires_in": 60}));
        }
        let reference = format!("urn:ietf:params:oauth:request_uri:{}", random());
        let secrets = ["client_secret", "client_assertion", "client_assertion_type"];
        let mut request = seen.form.clone();
        request.retain(|(name, _)| !secrets.contains(&name.as_str()));
        self.state().pushed.insert(reference.clone(), request);
        json_answer(201, &serde_json::json!({"request_uri": reference, "expires_in": 60}))
    }

    /// Whether a request proves that it is the client's, in the way that is registered and in no other.
    pub(super) fn is_client(&self, seen: &Seen) -> bool {
        let (proof, own) = {
            let state = self.state();
            (state.client.clone(), state.secret.clone())
        };
        let (basic, post) = (seen.authorization.is_some(), seen.form_value("client_secret"));
        let assertion = seen.form_value("client_assertion");
        match (proof, post, assertion) {
            (ClientProof::Basic, None, None) => seen.has_basic_credentials(&own),
            (ClientProof::Post, Some(secret), None) => {
                !basic && secret == own && seen.form_value("client_id") == Some(Self::CLIENT_ID)
            }
            (ClientProof::Key(key), None, Some(assertion)) => {
                let kind = seen.form_value("client_assertion_type");
                !basic
                    && kind == Some("urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
                    && seen.form_value("client_id").is_none_or(|id| id == Self::CLIENT_ID)
                    && self.is_assertion(assertion, &key)
            }
            _ => false,
        }
    }

    /// RFC 7523 section 3, as strict as Keycloak: for this issuer alone, for a minute at most, and once.
    fn is_assertion(&self, token: &str, key: &ClientKey) -> bool {
        let parts: Vec<_> = token.split('.').collect();
        let [header, payload, signature] = parts.as_slice() else { return false };
        let json = |part: &str| {
            let bytes = URL_SAFE_NO_PAD.decode(part).ok()?;
            serde_json::from_slice::<Value>(&bytes).ok()
        };
        let (Some(header), Some(claims)) = (json(header), json(payload)) else { return false };
        let algorithm: &dyn VerificationAlgorithm = match key.algorithm {
            "PS256" => &RSA_PSS_2048_8192_SHA256,
            "ES256" => &ECDSA_P256_SHA256_FIXED,
            _ => &RSA_PKCS1_2048_8192_SHA256,
        };
        let (signed, _) = token.rsplit_once('.').unwrap();
        let signature = URL_SAFE_NO_PAD.decode(signature).unwrap_or_default();
        let verified = UnparsedPublicKey::new(algorithm, &key.public).verify(signed.as_bytes(), &signature);
        let now = self.now();
        let time = |name: &str| claims[name].as_u64().unwrap_or_default();
        let (iat, exp) = (time("iat"), time("exp"));
        let jti = claims["jti"].as_str().unwrap_or_default().to_owned();
        verified.is_ok()
            && header["alg"] == key.algorithm
            && claims["iss"] == Self::CLIENT_ID
            && claims["sub"] == Self::CLIENT_ID
            && claims["aud"] == self.issuer()
            && iat <= now + 10
            && (now.saturating_sub(10)..=now + 70).contains(&exp)
            && !jti.is_empty()
            && self.state().assertions.insert(jti)
    }
}

impl Seen {
    /// Whether it shows the client's secret in its header: RFC 6749 section 2.3.1.
    fn has_basic_credentials(&self, own: &str) -> bool {
        let credentials = self.authorization.as_deref().and_then(|value| value.strip_prefix("Basic "));
        let decoded = credentials.and_then(|value| STANDARD.decode(value).ok()).unwrap_or_default();
        let text = String::from_utf8_lossy(&decoded).into_owned();
        let decode = |part: &str| pairs(format!("x={part}").as_bytes()).remove(0).1;
        text.split_once(':')
            .is_some_and(|(id, secret)| decode(id) == Provider::CLIENT_ID && decode(secret) == own)
    }
}

fn value<'a>(pairs: &'a [(String, String)], name: &str) -> Option<&'a str> {
    pairs.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

/// In the address, or by a form that a page of Keycloak's sends.
fn send_back(mut back: Url, fields: &[(&str, String)], by_form: bool) -> Answer {
    if !by_form {
        back.query_pairs_mut().extend_pairs(fields);
        return redirect(back.as_str());
    }
    let escape = |text: &str| text.replace('&', "&amp;").replace('"', "&quot;");
    let mut inputs = String::new();
    for (name, value) in fields {
        write!(inputs, "<INPUT TYPE=\"HIDDEN\" NAME=\"{name}\" VALUE=\"{}\" />", escape(value)).unwrap();
    }
    let text = format!(
        "<HTML><HEAD><TITLE>OIDC Form_Post Response</TITLE></HEAD><BODY Onload=\"document.forms[0].submit()\">\
         <FORM METHOD=\"POST\" ACTION=\"{}\">{inputs}<NOSCRIPT><P>JavaScript is disabled.</P></NOSCRIPT></FORM>\
         </BODY></HTML>",
        escape(back.as_str()),
    );
    http::answer(200, "text/html;charset=utf-8", text)
}
