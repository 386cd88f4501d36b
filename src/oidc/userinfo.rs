//! What userinfo says of a person, plain or signed (OpenID Connect Core 1.0, section 5.3).

use http::header::{AUTHORIZATION, HeaderValue};
use serde_json::{Map, Value};
use url::Url;

use super::discovery::Known;
use super::exchange::refusal;
use super::http::{media_type, place};
use super::jwt::Jwt;
use super::keys::Source;
use super::{OidcError, Provider, get};

impl Provider {
    /// What userinfo says of a person, if there is one. Section 5.3.2: it must be about the same, or one person's
    /// profile could be put under another's name.
    pub(super) async fn userinfo_of(
        &self,
        known: &Known,
        subject: &str,
        access_token: &str,
    ) -> Result<Option<Map<String, Value>>, OidcError> {
        let Some(url) = &known.userinfo else { return Ok(None) };
        let claims = self.userinfo(known, url, access_token).await?;
        if claims.get("sub").and_then(Value::as_str) != Some(subject) {
            return Err(OidcError::untrusted("its userinfo is about somebody else", None));
        }
        Ok(Some(claims))
    }

    /// What the bearer of an access token is told about its person.
    pub(super) async fn userinfo(
        &self,
        known: &Known,
        url: &Url,
        access_token: &str,
    ) -> Result<Map<String, Value>, OidcError> {
        let mut bearer = HeaderValue::from_str(&format!("Bearer {access_token}"))
            .map_err(|_private| OidcError::untrusted("its access token is malformed", None))?;
        bearer.set_sensitive(true);
        let mut request = get(url)?;
        request.headers_mut().insert(AUTHORIZATION, bearer);
        let response = self.0.http.call(request).await?;
        let body = response.body();
        if !response.status().is_success() {
            let fields = serde_json::from_slice(body).ok();
            return Err(fields.as_ref().and_then(refusal).unwrap_or(OidcError::Refused {
                error: "userinfo".to_owned(),
                description: Some(format!("it answers {}", response.status())),
            }));
        }
        if media_type(&response).as_deref() == Some("application/jwt") {
            return self.signed_userinfo(known, body).await;
        }
        match serde_json::from_slice(body) {
            Ok(Value::Object(claims)) => Ok(claims),
            Ok(_) => Err(OidcError::untrusted("its userinfo is not a JSON object", None)),
            Err(source) => Err(OidcError::unreachable(place(url), source)),
        }
    }

    /// Section 5.3.4: a signature that is there is checked, and so is for whom it was made. It need not expire.
    pub(super) async fn signed_userinfo(
        &self,
        known: &Known,
        body: &[u8],
    ) -> Result<Map<String, Value>, OidcError> {
        let Some(keys) = &known.keys else {
            return Err(OidcError::Settings {
                what: "its userinfo is signed (application/jwt), which can be verified with provider.issuer only"
                    .to_owned(),
                source: None,
            });
        };
        let token = std::str::from_utf8(body)
            .map_err(|_private| OidcError::untrusted("its userinfo is not a token", None))?;
        let jwt = Jwt::parse(token.trim_end())?;
        let verified = keys.verify(&jwt, Source::Provider, &self.0.http, &self.0.clock).await?;
        let claims = verified.claims;
        // All that the provider signs is signed by the same keys; other kinds say which they are.
        let other_kind = claims.contains_key("typ") || claims.contains_key("events");
        if other_kind || !matches!(jwt.media_type().as_deref(), None | Some("jwt")) {
            return Err(OidcError::untrusted("its userinfo is a token of another kind", None));
        }
        let expected = self.expected(known);
        expected.check_issuer(&claims)?;
        expected.check_audience(&claims)?;
        if claims.contains_key("exp") {
            expected.check_expiry(&claims)?;
        }
        Ok(claims)
    }
}
