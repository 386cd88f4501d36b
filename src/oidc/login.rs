//! The end of a login: code and state become an identity.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use subtle::ConstantTimeEq as _;

use super::answer::Answer;
use super::claims::{Occasion, time};
use super::discovery::{Iss, Known};
use super::{OidcError, Provider, StepUp, Tokens};
use crate::clock::Timestamp;
use crate::identity::Identity;

/// What a login attempt must remember, sealed in the browser's cookie.
#[derive(Clone, Serialize, Deserialize)]
pub struct Login {
    /// Comes back with the answer; also names the attempt's cookie.
    pub state: String,
    /// Comes back in the ID token.
    pub nonce: String,
    /// Proves to the token endpoint that we began (RFC 7636).
    pub verifier: String,
    /// Whom the browser was sent to (RFC 9700 section 4.4.2).
    pub issuer: String,
    /// One of these levels of authentication must have been reached.
    #[serde(default)]
    pub acr_values: Vec<String>,
    /// So many seconds ago at most.
    #[serde(default)]
    pub max_age: Option<u64>,
}

impl Provider {
    /// Ends a login: checks everything, and says who it is.
    pub async fn finish(&self, login: &Login, answer: &Answer) -> Result<(Identity, Tokens), OidcError> {
        if !bool::from(login.state.as_bytes().ct_eq(answer.state.as_bytes())) {
            return Err(OidcError::Mismatch("its state is another's"));
        }
        let known = self.known().await?;
        if login.issuer != known.issuer {
            return Err(OidcError::Mismatch("it began at another provider"));
        }
        check_iss(&known, answer)?;
        let code = match &answer.outcome {
            Ok(code) => code,
            Err((error, description)) => {
                return Err(OidcError::Refused { error: error.clone(), description: description.clone() });
            }
        };
        let grant = [
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", self.0.client.callback.as_str()),
            ("code_verifier", &login.verifier),
        ];
        let response = self.exchange(&known, &grant, None).await?;
        let access_token = response.access_token.expose();
        let identity = match &known.keys {
            Some(keys) => {
                let id_token = (response.id_token.as_ref())
                    .ok_or_else(|| OidcError::untrusted("there is no ID token in its answer", None))?;
                let occasion = Occasion::Login { nonce: &login.nonce };
                self.identity(&known, keys, occasion, id_token.expose(), access_token).await?
            }
            None => self.identity_by_userinfo(&known, access_token).await?,
        };
        login.check_strength(&identity.claims, self.0.clock.now(), self.0.skew)?;
        let issued = self.issued(known.keys.is_some().then_some(&identity.claims));
        Ok((identity, response.tokens(issued)))
    }
}

impl Login {
    /// How the person was to be authenticated.
    pub fn strength(&self) -> StepUp {
        StepUp { acr_values: self.acr_values.clone(), max_age: self.max_age }
    }

    /// Whether the person was authenticated as it was asked for (section 3.1.3.7, the last two): what is asked for goes
    /// by the browser, whose owner may have changed it.
    fn check_strength(
        &self,
        claims: &Map<String, Value>,
        now: Timestamp,
        skew: u64,
    ) -> Result<(), OidcError> {
        let acr = claims.get("acr").and_then(Value::as_str);
        if !self.acr_values.is_empty() && !self.acr_values.iter().any(|wanted| Some(wanted.as_str()) == acr) {
            return Err(OidcError::Weak(format!("acr is {acr:?}, and not one of {:?}", self.acr_values)));
        }
        let Some(age) = self.max_age else { return Ok(()) };
        match time(claims, "auth_time")? {
            Some(then) if then.saturating_add(age).saturating_add(skew) >= now => Ok(()),
            Some(then) => Err(OidcError::Weak(format!("auth_time is {then}, and it is {now} here"))),
            None => Err(OidcError::Weak("it does not say when (auth_time)".to_owned())),
        }
    }
}

// Whoever knows the verifier and the state can end the login elsewhere.
impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").field("issuer", &self.issuer).finish_non_exhaustive()
    }
}

/// RFC 9207 section 2.4, by simple string comparison; errors are answers too.
fn check_iss(known: &Known, answer: &Answer) -> Result<(), OidcError> {
    match (known.iss, answer.iss.as_deref()) {
        (Iss::Unknown, _) | (Iss::IfPresent, None) => Ok(()),
        (Iss::Required, None) => Err(OidcError::Mismatch(
            "it does not say which provider it comes from (iss), as this one promises (Keycloak: \"Exclude Issuer From Authentication Response\" must be off)",
        )),
        (Iss::Required | Iss::IfPresent, Some(iss)) if iss == known.issuer => Ok(()),
        (Iss::Required | Iss::IfPresent, Some(_)) => {
            Err(OidcError::Mismatch("it comes from another provider"))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn login(text: &str) -> Login {
        Login {
            state: text.to_owned(),
            nonce: text.to_owned(),
            verifier: text.to_owned(),
            issuer: "https://kc".to_owned(),
            acr_values: Vec::new(),
            max_age: None,
        }
    }

    #[test]
    fn a_login_is_not_printed() {
        assert!(!format!("{:?}", login("canary")).contains("canary"));
    }

    #[test]
    fn a_login_is_as_strong_as_it_was_to_be() {
        let check = |acr_values: &[&str], max_age, claims: Value| {
            let acr_values = acr_values.iter().map(|&value| value.to_owned()).collect();
            let login = Login { acr_values, max_age, ..login("x") };
            login.check_strength(claims.as_object().unwrap(), 1_000_000, 30)
        };
        check(&[], None, json!({"acr": "0"})).unwrap();
        check(&["gold", "silver"], None, json!({"acr": "silver"})).unwrap();
        check(&[], Some(60), json!({"auth_time": 999_910})).unwrap();
        check(&[], Some(0), json!({"auth_time": 1_000_000})).unwrap();
        for acr in [json!("0"), json!("1"), json!("Gold"), json!("gold silver"), json!(["gold"]), Value::Null]
        {
            let error = check(&["gold"], None, json!({"acr": acr})).unwrap_err();
            assert!(matches!(error, OidcError::Weak(_)), "{acr}");
        }
        for claims in [json!({}), json!({"auth_time": 999_909})] {
            assert!(matches!(check(&[], Some(60), claims), Err(OidcError::Weak(_))));
        }
        assert!(check(&[], Some(60), json!({"auth_time": "now"})).is_err());
    }
}
