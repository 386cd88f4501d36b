//! What a provider's description says about what hubgate needs of it, judged. Pure.

use std::time::Duration;

use serde::Serialize;
use serde_json::{Map, Value};
use url::{Host, Url};

use crate::clock::Timestamp;
use crate::config::{ClientAuthentication, SigningAlgorithm};

/// One thing that is good, or that somebody should know or mend.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Remark {
    pub(super) level: Level,
    /// What it is about, for programs.
    pub(super) about: &'static str,
    pub(super) what: String,
    /// What to do.
    pub(super) remedy: Option<&'static str>,
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Level {
    /// As it should be.
    Good,
    /// Works, and is good to know.
    Note,
    /// Works, with something missing.
    Warning,
    /// Nobody can sign in like this.
    Error,
}

/// What the hub takes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Accepts<'a> {
    pub(super) signatures: &'a [SigningAlgorithm],
    pub(super) client_authentication: ClientAuthentication,
    pub(super) insecure_http: bool,
}

impl Remark {
    pub(super) fn good(about: &'static str, what: impl Into<String>) -> Self {
        Self { level: Level::Good, about, what: what.into(), remedy: None }
    }

    pub(super) fn note(
        about: &'static str,
        what: impl Into<String>,
        remedy: impl Into<Option<&'static str>>,
    ) -> Self {
        Self { level: Level::Note, about, what: what.into(), remedy: remedy.into() }
    }

    pub(super) fn warning(about: &'static str, what: impl Into<String>, remedy: &'static str) -> Self {
        Self { level: Level::Warning, about, what: what.into(), remedy: Some(remedy) }
    }

    pub(super) fn error(about: &'static str, what: impl Into<String>, remedy: &'static str) -> Self {
        Self { level: Level::Error, about, what: what.into(), remedy: Some(remedy) }
    }
}

/// The description of a provider, as it was found.
#[derive(Debug, Clone)]
pub(super) struct Description(pub(super) Map<String, Value>);

impl Description {
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).and_then(Value::as_str)
    }

    fn is(&self, name: &str) -> bool {
        self.0.get(name).and_then(Value::as_bool) == Some(true)
    }

    /// A list of words; `None` when it says nothing.
    pub(super) fn list(&self, name: &str) -> Option<Vec<&str>> {
        Some(self.0.get(name)?.as_array()?.iter().filter_map(Value::as_str).collect())
    }

    fn has(&self, name: &str, word: &str) -> Option<bool> {
        self.list(name).map(|words| words.contains(&word))
    }

    /// Whether it is a Keycloak's: then its settings can be called by their names.
    pub(super) fn is_keycloak(&self) -> bool {
        self.text("authorization_endpoint").is_some_and(|url| url.ends_with("/protocol/openid-connect/auth"))
    }

    /// Everything but where it was found and what time it is there.
    pub(super) fn judge(&self, accepts: &Accepts<'_>) -> Vec<Remark> {
        let mut remarks = self.endpoints();
        remarks.extend(self.exposed().filter(|_| !accepts.insecure_http));
        remarks.push(self.pkce());
        remarks.push(self.signed(accepts.signatures));
        remarks.extend(self.flow(accepts.client_authentication));
        remarks.extend(self.logout());
        remarks
    }

    fn endpoints(&self) -> Vec<Remark> {
        let mut remarks = Vec::new();
        for name in ["authorization_endpoint", "token_endpoint", "jwks_uri"] {
            if self.text(name).is_none() {
                let what = format!("it says no {name}");
                remarks.push(Remark::error("endpoints", what, "see whether this is an OpenID provider"));
            }
        }
        if self.text("userinfo_endpoint").is_none() {
            remarks.push(Remark::warning(
                "endpoints",
                "it says no userinfo_endpoint: name, groups and roles must be in the ID token",
                "let its mappers add these claims to the ID token",
            ));
        }
        remarks
    }

    fn exposed(&self) -> Option<Remark> {
        let urls = [
            "authorization_endpoint",
            "token_endpoint",
            "jwks_uri",
            "userinfo_endpoint",
            "end_session_endpoint",
        ];
        let plain = |name: &&str| {
            self.text(name).and_then(|text| Url::parse(text).ok()).is_some_and(|url| is_exposed(&url))
        };
        let plain: Vec<&str> = urls.into_iter().filter(plain).collect();
        let what = || format!("would have people and tokens come without TLS: {}", plain.join(", "));
        (!plain.is_empty()).then(|| Remark::error("http", what(), BEHIND_A_PROXY))
    }

    fn pkce(&self) -> Remark {
        const ABOUT: &str = "pkce";
        match (
            self.has("code_challenge_methods_supported", "S256"),
            self.has("code_challenge_methods_supported", "plain"),
        ) {
            (Some(true), _) => Remark::good(ABOUT, "supports PKCE with S256"),
            (_, Some(true)) => Remark::error(
                ABOUT,
                "supports PKCE by \"plain\" only, which protects nothing",
                "upgrade the provider",
            ),
            _ => Remark::warning(
                ABOUT,
                "does not say that it supports PKCE with S256: a stolen code is then stopped by the nonce only",
                "upgrade the provider, or look whether it does in fact",
            ),
        }
    }

    /// How it can sign ID tokens, as far as hubgate could take them.
    pub(super) fn signatures(&self) -> Vec<SigningAlgorithm> {
        let names = self.list("id_token_signing_alg_values_supported").unwrap_or_default();
        names.into_iter().filter_map(|name| serde_json::from_value(name.into()).ok()).collect()
    }

    fn signed(&self, accepted: &[SigningAlgorithm]) -> Remark {
        const ABOUT: &str = "signatures";
        let Some(offered) = self.list("id_token_signing_alg_values_supported") else {
            // Discovery 1.0 section 3 demands it.
            return Remark::error(
                ABOUT,
                "does not say how it signs ID tokens",
                "see whether this is an OpenID provider",
            );
        };
        let takes = |name: &&&str| {
            serde_json::from_value((**name).into()).is_ok_and(|algorithm| accepted.contains(&algorithm))
        };
        let both: Vec<&str> = offered.iter().filter(takes).copied().collect();
        if both.is_empty() {
            let what = format!("signs ID tokens by {}, and none of these is accepted", offered.join(", "));
            return Remark::error(ABOUT, what, "write those that you trust into provider.signing_algorithms");
        }
        Remark::good(ABOUT, format!("can sign ID tokens by {}", both.join(", ")))
    }

    fn flow(&self, client_authentication: ClientAuthentication) -> Vec<Remark> {
        let mut remarks = Vec::new();
        // RFC 8414 section 2: whoever says nothing has these.
        if self.has("grant_types_supported", "authorization_code") == Some(false)
            || self.has("response_types_supported", "code") == Some(false)
        {
            remarks.push(Remark::error(
                "flow",
                "does not support the authorization code flow",
                "allow it at the provider",
            ));
        }
        if self.has("grant_types_supported", "refresh_token") == Some(false) {
            remarks.push(Remark::warning(
                "refresh",
                "gives no refresh tokens: what changes there, hubgate learns at the next login",
                "allow the grant refresh_token",
            ));
        }
        if self.is("require_pushed_authorization_requests") {
            remarks.push(Remark::note(
                "par",
                "demands pushed authorization requests (PAR), which hubgate then uses",
                None,
            ));
        }
        if self.is("authorization_response_iss_parameter_supported") {
            remarks.push(Remark::good("iss", "says in each answer that it is its own (RFC 9207)"));
        } else {
            remarks.push(Remark::note(
                "iss",
                "does not say in its answers whose they are (RFC 9207)",
                "upgrade the provider, above all if hubgate shall use several",
            ));
        }
        // RFC 8414 section 2: whoever says nothing takes client_secret_basic.
        let method = serde_json::to_value(client_authentication).ok();
        let method = method.as_ref().and_then(Value::as_str).unwrap_or_default();
        if self.has("token_endpoint_auth_methods_supported", method) == Some(false) {
            let methods = self.list("token_endpoint_auth_methods_supported").unwrap_or_default();
            let what = format!("does not take clients by {method}, but by {}", methods.join(", "));
            let remedy = "set provider.client_authentication to one of these that hubgate knows";
            remarks.push(Remark::error("client_authentication", what, remedy));
        }
        remarks
    }

    fn logout(&self) -> Vec<Remark> {
        const BACKCHANNEL: &str = "backchannel_logout";
        let mut remarks = Vec::new();
        if self.text("end_session_endpoint").is_some() {
            remarks.push(Remark::good("end_session", "people can be signed out of it, too"));
        } else {
            remarks.push(Remark::warning(
                "end_session",
                "has no end_session_endpoint: whoever signs out of the hub stays signed in at the provider",
                "give provider.logout_url, if there is such an address after all",
            ));
        }
        match (self.is("backchannel_logout_supported"), self.is("backchannel_logout_session_supported")) {
            (true, true) => remarks.push(Remark::good(BACKCHANNEL, "tells at once when a session ends (back-channel logout)")),
            (true, false) => remarks.push(Remark::warning(
                BACKCHANNEL,
                "does not say which session ends (sid) at back-channel logout: all of a user's sessions end together",
                "upgrade the provider",
            )),
            (false, _) => remarks.push(Remark::warning(
                BACKCHANNEL,
                "has no back-channel logout: hubgate learns that a session ended when it next asks (session.refresh_interval)",
                "upgrade the provider, or keep session.refresh_interval short",
            )),
        }
        remarks
    }
}

/// What the provider's clock says, against ours. Many providers do not tell; a proxy in front of them often does.
pub(super) fn clock(theirs: Option<Timestamp>, ours: Timestamp, skew: Duration) -> Remark {
    const ABOUT: &str = "clock";
    let Some(theirs) = theirs else {
        return Remark::note(ABOUT, "does not tell the time", "let both machines keep theirs by NTP");
    };
    let apart = theirs.abs_diff(ours);
    let direction = if theirs > ours { "ahead of" } else { "behind" };
    if apart <= UNNOTICED {
        Remark::good(ABOUT, "its clock and ours agree")
    } else if apart <= skew.as_secs() {
        Remark::note(
            ABOUT,
            format!("its clock is {apart} seconds {direction} ours"),
            "let both machines keep time by NTP",
        )
    } else {
        Remark::warning(
            ABOUT,
            format!(
                "its clock is {apart} seconds {direction} ours, more than provider.clock_skew: logins are refused"
            ),
            "set both clocks (NTP), before anything else",
        )
    }
}

/// Whether what is sent there leaves this machine without TLS.
fn is_exposed(url: &Url) -> bool {
    let here = match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    url.scheme() != "https" && !here
}

/// Keycloak writes its addresses as its proxy tells it.
pub(super) const BEHIND_A_PROXY: &str = "Keycloak: start it with --proxy-headers=xforwarded and let the proxy in front set X-Forwarded-Proto and \
     X-Forwarded-Host, or set --hostname=https://… in full; then run this again";

/// Seconds: a slow answer, and its whole seconds.
const UNNOTICED: u64 = 5;
