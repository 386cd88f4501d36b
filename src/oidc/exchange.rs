//! Calls to the token endpoint: what it answers, taken apart (RFC 6749 section 5).

use std::fmt;

use http::StatusCode;
use serde_json::{Map, Value};

use super::answer::{error_code, error_text};
use super::discovery::Known;
use super::{OidcError, Provider, Tokens};
use crate::secret::Secret;

/// What a token endpoint gives when it gives anything. Members that we do not know are ignored.
pub(super) struct TokenResponse {
    pub(super) access_token: Secret,
    pub(super) id_token: Option<Secret>,
    pub(super) refresh_token: Option<Secret>,
    /// Seconds until the access token expires.
    pub(super) expires_in: Option<u64>,
}

impl Provider {
    /// Asks the token endpoint. `parameters` are those of the grant; what shows who we are is added.
    pub(super) async fn exchange(
        &self,
        known: &Known,
        parameters: &[(&str, &str)],
    ) -> Result<TokenResponse, OidcError> {
        let request = self.0.client.post(&known.token, parameters)?;
        let response = Box::pin(self.0.http.json(request)).await?;
        TokenResponse::parse(response.status(), response.body())
    }
}

impl TokenResponse {
    /// What is kept of it.
    pub(super) fn tokens(self) -> Tokens {
        Tokens {
            id_token: self.id_token,
            access_token: Some(self.access_token),
            refresh_token: self.refresh_token,
        }
    }

    fn parse(status: StatusCode, body: &[u8]) -> Result<Self, OidcError> {
        let malformed = |detail: String| {
            OidcError::untrusted("the answer of its token endpoint is malformed", Some(detail))
        };
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
        if !status.is_success() {
            return Err(malformed(format!("it answers {status} without an error")));
        }
        let text = |name: &str| match fields.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) if !text.is_empty() => Ok(Some(text.as_str())),
            Some(_) => Err(malformed(format!("{name} is not a text"))),
        };
        // Anything else needs a proof with each use, which we could not give.
        let bearer = text("token_type")?.is_some_and(|kind| kind.eq_ignore_ascii_case("bearer"));
        let access_token =
            text("access_token")?.ok_or_else(|| malformed("it has no access_token".to_owned()))?;
        if !bearer {
            return Err(OidcError::untrusted("its access token is not a bearer token", None));
        }
        Ok(Self {
            access_token: Secret::new(access_token),
            id_token: text("id_token")?.map(Secret::new),
            refresh_token: text("refresh_token")?.map(Secret::new),
            expires_in: fields.get("expires_in").and_then(Value::as_u64),
        })
    }
}

impl fmt::Debug for TokenResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenResponse").field("expires_in", &self.expires_in).finish_non_exhaustive()
    }
}

/// The error in an answer, as RFC 6749 section 5.2 writes it.
pub(super) fn refusal(fields: &Map<String, Value>) -> Option<OidcError> {
    let error = match fields.get("error")? {
        Value::String(error) => error_code(error),
        // Not as it should be, and yet no answer.
        _ => error_code(""),
    };
    let description = fields.get("error_description").and_then(Value::as_str).map(error_text);
    Some(OidcError::Refused { error, description })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parse(status: u16, body: &Value) -> Result<TokenResponse, OidcError> {
        TokenResponse::parse(StatusCode::from_u16(status).unwrap(), body.to_string().as_bytes())
    }

    #[test]
    fn members_that_are_not_known_or_not_there_do_not_matter() {
        let least = parse(200, &json!({"access_token": "a", "token_type": "bEARER"})).unwrap();
        assert!(least.id_token.is_none() && least.refresh_token.is_none() && least.expires_in.is_none());
        for odd in [json!("300"), json!(-1), json!(1e300), json!(null), json!({})] {
            let body = json!({"access_token": "a", "token_type": "Bearer", "expires_in": odd, "x": [1]});
            assert_eq!(parse(200, &body).unwrap().expires_in, None, "{odd}");
        }
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
            let error = TokenResponse::parse(StatusCode::OK, body.as_bytes()).unwrap_err();
            assert!(!format!("{error:?} {error}").contains("canary"), "{error:?}");
        }
    }
}
