//! One login: the authorization URL; code and state become an identity.

use serde::{Deserialize, Serialize};

use super::{OidcError, Provider, Tokens};
use crate::identity::Identity;

/// What a login attempt must remember, sealed in the browser's cookie.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Login {
    /// Comes back with the answer; also names the attempt's cookie.
    pub state: String,
    /// Comes back in the ID token.
    pub nonce: String,
    /// Proves to the token endpoint that we began (RFC 7636).
    pub verifier: String,
    /// Whom the browser was sent to (RFC 9700 section 4.4.2).
    pub issuer: String,
}

/// The callback's query.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The attempt it is for.
    pub state: String,
    /// `Ok(code)`, or the error.
    pub outcome: Result<String, (String, Option<String>)>,
    /// RFC 9207.
    pub iss: Option<String>,
}

impl Answer {
    /// From the query of the callback. A parameter given twice, or neither code nor error, is refused.
    pub fn parse(_query: &str) -> Result<Self, OidcError> {
        todo!()
    }
}

impl Provider {
    /// Ends a login: checks everything, and says who it is.
    pub async fn finish(&self, _login: &Login, _answer: &Answer) -> Result<(Identity, Tokens), OidcError> {
        todo!()
    }
}
