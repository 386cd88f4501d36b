//! Why a program is refused that calls in somebody's name, in the words of RFC 6750; and why a script is, that poses as
//! a person.

use http::StatusCode;
use thiserror::Error;

use super::refusal::{Row, WayOut, Words};
use crate::oidc::BearerError;
use crate::token::Scope;

/// A program that is not let in.
#[derive(Debug, Error)]
pub(super) enum ProgramRefusal {
    #[error("the API token is unknown, revoked or expired")]
    BadToken,
    #[error("the access token is refused")]
    Bearer(#[from] BearerError),
    #[error("the cookie and the token are two people's")]
    TwoCallers,
    #[error("the token lacks the scope {}", .0.name())]
    Scope(Scope),
    #[error("a script asked for what only people do")]
    Scripted,
}

impl ProgramRefusal {
    /// Its row in the table of refusals.
    pub(super) fn row(&self, way_out: Option<WayOut>) -> Row {
        use StatusCode as S;
        let row = |status, label| Row::quiet(status, label, way_out);
        match self {
            Self::BadToken => row(S::UNAUTHORIZED, "bad_token"),
            Self::Bearer(error @ BearerError::Unavailable(_)) => {
                row(S::SERVICE_UNAVAILABLE, "bad_access_token").warn(error.remedy())
            }
            // Good tokens of the realm that its settings, or ours, keep out.
            Self::Bearer(
                error @ (BearerError::Audience { .. }
                | BearerError::Client { .. }
                | BearerError::ServiceAccount
                | BearerError::Nobody),
            ) => row(S::UNAUTHORIZED, "bad_access_token").warn(error.remedy()),
            Self::Bearer(_) => row(S::UNAUTHORIZED, "bad_access_token"),
            Self::TwoCallers => row(S::BAD_REQUEST, "two_callers"),
            Self::Scope(_) => row(S::FORBIDDEN, "scope"),
            Self::Scripted => row(S::FORBIDDEN, "scripted"),
        }
    }

    /// What whoever wrote the program reads.
    pub(super) fn description(&self) -> String {
        match self {
            Self::BadToken => {
                "the token is unknown, revoked or expired, or its owner may not enter".to_owned()
            }
            Self::Bearer(error) => error.to_string(),
            Self::TwoCallers => "the request carries a cookie and a token of two different users".to_owned(),
            Self::Scope(scope) => format!("the token lacks the scope {}", scope.name()),
            Self::Scripted => "scripts and frames cannot use this page".to_owned(),
        }
    }

    /// Its code in RFC 6750 section 3.1, where that has one.
    pub(super) fn error(&self) -> Option<&'static str> {
        match self {
            Self::Bearer(BearerError::Unavailable(_)) | Self::Scripted => None,
            Self::BadToken | Self::Bearer(_) => Some("invalid_token"),
            Self::TwoCallers => Some("invalid_request"),
            Self::Scope(_) => Some("insufficient_scope"),
        }
    }

    /// `WWW-Authenticate` (RFC 6750 section 3).
    pub(super) fn challenge(&self) -> Option<String> {
        let error = self.error()?;
        let description: String = self.description().chars().map(quotable).collect();
        let scope = match self {
            Self::Scope(scope) => format!(", scope=\"{}\"", scope.name()),
            Self::BadToken | Self::Bearer(_) | Self::TwoCallers | Self::Scripted => String::new(),
        };
        Some(format!(
            "Bearer realm=\"hubgate\", error=\"{error}\", error_description=\"{description}\"{scope}"
        ))
    }

    /// The same for a person.
    pub(super) fn words(&self) -> Words {
        let words = |title, what: String, remedy| Words { title, what, remedy };
        match self {
            Self::Bearer(BearerError::Unavailable(_)) => words(
                "The login service does not answer",
                "This access token cannot be checked right now.".to_owned(),
                "Try again in a few minutes.",
            ),
            Self::BadToken | Self::Bearer(_) => words(
                "This token is not good",
                format!("The request came with a token that is refused: {}.", self.description()),
                "Make a new token, or send the request without one.",
            ),
            Self::TwoCallers => words(
                "Two people at once",
                "The request came with a session of one person and a token of another.".to_owned(),
                "Send one of them.",
            ),
            Self::Scope(scope) => words(
                "This token may not do that",
                format!("It lacks the scope {}.", scope.name()),
                "Make a token that has it.",
            ),
            Self::Scripted => words(
                "Only people can use this page",
                "A script or a frame asked for it. That could be an attempt to act in your name.".to_owned(),
                "Open the page yourself, in a window of its own.",
            ),
        }
    }
}

/// RFC 6750 section 3: visible ASCII without `"` and `\`.
fn quotable(c: char) -> char {
    match c {
        '"' => '\'',
        ' '..='~' if c != '\\' => c,
        _ => '?',
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_challenge_is_one_header_whatever_the_token_said() {
        let azp = "a\"b\\c\r\nSet-Cookie: x=ü".to_owned();
        let refusal = ProgramRefusal::from(BearerError::Client { azp });
        let challenge = refusal.challenge().unwrap();
        assert!(http::HeaderValue::from_str(&challenge).is_ok());
        assert_eq!(challenge.matches('"').count(), 6, "{challenge}");
        let audience = BearerError::Audience { client: "hub".to_owned(), azp: "tool".to_owned() };
        let challenge = ProgramRefusal::from(audience).challenge().unwrap();
        assert!(challenge.contains("a mapper of the type Audience"), "{challenge}");
    }
}
