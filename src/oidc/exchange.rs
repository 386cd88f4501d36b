//! Calls to the token endpoint: what it answers, taken apart (RFC 6749 section 5).

use std::fmt;

use http::StatusCode;
use serde_json::{Map, Value};

use super::answer::{error_code, error_text};
use super::claims::time;
use super::discovery::Known;
use super::jwt::Jwt;
use super::{OidcError, Provider, Tokens};
use crate::clock::Timestamp;
use crate::secret::Secret;

/// What a token endpoint gives when it gives anything. Members that we do not know are ignored.
pub(super) struct TokenResponse {
    pub(super) access_token: Secret,
    pub(super) id_token: Option<Secret>,
    pub(super) refresh_token: Option<Secret>,
    /// When the access token expires.
    expires: Option<Timestamp>,
    /// When the refresh token expires.
    refresh_expires: Option<Timestamp>,
}

impl Provider {
    /// Asks the token endpoint. `parameters` are those of the grant; what shows who we are is added. `about`: whom it is
    /// about, as far as that is known beforehand.
    ///
    /// Not to be given up while it waits: a code or a refresh token that was sent counts once.
    pub(super) async fn exchange(
        &self,
        known: &Known,
        parameters: &[(&str, &str)],
        about: Option<&str>,
    ) -> Result<TokenResponse, OidcError> {
        let request = self.authenticated(known, &known.token, parameters)?;
        let asked = self.0.clock.now();
        let response = Box::pin(self.0.http.json(request)).await?;
        let fields = answered(response.status(), response.body())?;
        let response = TokenResponse::parse(&fields, asked)?;
        if let Some(not_before) = fields.get("not-before-policy").and_then(Value::as_u64) {
            self.hear_not_before(response.claimed_subject().as_deref().or(about), not_before);
        }
        Ok(response)
    }

    /// When the provider last vouched for somebody: by an ID token, or else now.
    pub(super) fn issued(&self, id_token: Option<&Map<String, Value>>) -> Timestamp {
        let iat = id_token.and_then(|claims| time(claims, "iat").ok().flatten());
        iat.unwrap_or_else(|| self.0.clock.now().max(self.not_before()))
    }
}

impl TokenResponse {
    /// Whom the ID token is about, verified or not: the response itself is the provider's.
    fn claimed_subject(&self) -> Option<String> {
        let jwt = Jwt::parse(self.id_token.as_ref()?.expose()).ok()?;
        jwt.unverified().get("sub").and_then(Value::as_str).map(str::to_owned)
    }

    /// What is kept of it. `issued`: when the provider vouched for whose they are.
    pub(super) fn tokens(self, issued: Timestamp) -> Tokens {
        Tokens {
            id_token: self.id_token,
            access_token: Some(self.access_token),
            refresh_token: self.refresh_token,
            issued: Some(issued),
            expires: self.expires,
            refresh_expires: self.refresh_expires,
        }
    }

    /// `asked`: when the provider was asked, before which it cannot have issued anything.
    fn parse(fields: &Map<String, Value>, asked: Timestamp) -> Result<Self, OidcError> {
        let text = |name: &str| match fields.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) if !text.is_empty() => Ok(Some(text.as_str())),
            Some(_) => Err(malformed(format!("{name} is not a text"))),
        };
        // Keycloak writes 0 for a refresh token that does not expire (offline access).
        let after = |name: &str| {
            let seconds = fields.get(name).and_then(Value::as_u64).filter(|seconds| *seconds > 0);
            seconds.map(|seconds| asked.saturating_add(seconds))
        };
        let access_token =
            text("access_token")?.ok_or_else(|| malformed("it has no access_token".to_owned()))?;
        // Anything else needs a proof with each use, which we could not give.
        if !text("token_type")?.is_some_and(|kind| kind.eq_ignore_ascii_case("bearer")) {
            return Err(OidcError::untrusted("its access token is not a bearer token", None));
        }
        Ok(Self {
            access_token: Secret::new(access_token),
            id_token: text("id_token")?.map(Secret::new),
            refresh_token: text("refresh_token")?.map(Secret::new),
            expires: after("expires_in"),
            refresh_expires: after("refresh_expires_in"),
        })
    }
}

/// The members of an answer that is no error.
pub(super) fn answered(status: StatusCode, body: &[u8]) -> Result<Map<String, Value>, OidcError> {
    // A syntax error has no more than a position; errors about types would show tokens.
    let fields: Map<String, Value> = match serde_json::from_slice(body) {
        Ok(Value::Object(fields)) => fields,
        Ok(_) => return Err(malformed("it is not an object".to_owned())),
        Err(error) => return Err(malformed(error.to_string())),
    };
    // Whatever the status says: an error is never half an answer.
    if let Some(error) = refusal(&fields) {
        return Err(error);
    }
    if status.is_success() {
        Ok(fields)
    } else {
        Err(malformed(format!("it answers {status} without an error")))
    }
}

fn malformed(detail: String) -> OidcError {
    OidcError::untrusted("the answer of its endpoint is malformed", Some(detail))
}

impl fmt::Debug for TokenResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenResponse").field("expires", &self.expires).finish_non_exhaustive()
    }
}

/// The error in an answer, as RFC 6749 section 5.2 writes it.
pub(super) fn refusal(fields: &Map<String, Value>) -> Option<OidcError> {
    // One that is not as it should be is no answer either.
    let error = error_code(fields.get("error")?.as_str().unwrap_or_default());
    let description = fields.get("error_description").and_then(Value::as_str).map(error_text);
    Some(OidcError::Refused { error, description })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parse(status: u16, body: &Value) -> Result<TokenResponse, OidcError> {
        let fields = answered(StatusCode::from_u16(status).unwrap(), body.to_string().as_bytes())?;
        TokenResponse::parse(&fields, 1000)
    }

    #[test]
    fn members_that_are_not_known_or_not_there_do_not_matter() {
        let least = parse(200, &json!({"access_token": "a", "token_type": "bEARER"})).unwrap();
        assert!(least.id_token.is_none() && least.refresh_token.is_none() && least.expires.is_none());
        for odd in [json!("300"), json!(-1), json!(1e300), json!(0), json!(null), json!({})] {
            let body = json!({"access_token": "a", "token_type": "Bearer", "expires_in": odd, "x": [1]});
            assert_eq!(parse(200, &body).unwrap().expires, None, "{odd}");
        }
    }

    #[test]
    fn times_are_counted_from_the_question() {
        let with = |expires: Value, refresh: Value| {
            let body = json!({
                "access_token": "a", "token_type": "Bearer", "expires_in": expires, "refresh_expires_in": refresh,
            });
            let tokens = parse(200, &body).unwrap().tokens(1000);
            (tokens.expires, tokens.refresh_expires)
        };
        assert_eq!(with(json!(300), json!(1800)), (Some(1300), Some(2800)));
        assert_eq!(with(json!(300), json!(0)), (Some(1300), None), "offline tokens do not expire");
        assert_eq!(with(json!(u64::MAX), json!(u64::MAX)), (Some(u64::MAX), Some(u64::MAX)));
    }

    #[test]
    fn an_error_is_read_as_one_whatever_else_is_there() {
        for (status, body) in [
            (400, json!({"error": "invalid_grant", "error_description": "Session not active"})),
            (200, json!({"error": "invalid_grant", "access_token": "a", "token_type": "Bearer"})),
        ] {
            let error = parse(status, &body).unwrap_err();
            assert!(
                matches!(&error, OidcError::Refused { error, .. } if error == "invalid_grant"),
                "{error}"
            );
        }
        let odd = parse(200, &json!({"error": {"invalid_grant": 1}, "access_token": "a"})).unwrap_err();
        assert!(matches!(&odd, OidcError::Refused { error, .. } if error == "unknown_error"), "{odd}");
    }

    #[test]
    fn words_in_a_text_are_no_error_code() {
        for body in [
            json!({"error": "server_error", "error_description": "invalid_grant"}),
            json!({"error": "not_invalid_grant"}),
            json!({"message": "invalid_grant"}),
        ] {
            let error = parse(400, &body).unwrap_err();
            assert!(
                !matches!(&error, OidcError::Refused { error, .. } if error == "invalid_grant"),
                "{error}"
            );
        }
    }

    #[test]
    fn tokens_are_never_in_an_error() {
        for body in [
            r#"{"access_token": "canary", "token_type": "Bearer", "id_token": ["canary"]}"#,
            r#"{"access_token": "canary"}"#,
            r#"["canary"]"#,
            r#""canary""#,
            r#"{"access_token": "canary"#,
        ] {
            let error = answered(StatusCode::OK, body.as_bytes())
                .and_then(|fields| TokenResponse::parse(&fields, 0))
                .unwrap_err();
            assert!(!format!("{error:?} {error}").contains("canary"), "{error:?}");
        }
    }
}
