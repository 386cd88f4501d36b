//! Why a program is refused that calls in somebody's name, in the words of RFC 6750; and why a script is, that poses as
//! a person.

use http::StatusCode;
use thiserror::Error;

use super::refusal::{Row, WayOut, Words};
use crate::oidc::{BearerError, StepUp};
use crate::token::Scope;

/// A program that is not let in.
#[derive(Debug, Error)]
pub(super) enum ProgramRefusal {
    #[error("the API token is unknown, revoked or expired")]
    BadToken,
    #[error("too many access tokens are in use")]
    Busy,
    #[error("the access token is refused")]
    Bearer(#[from] BearerError),
    #[error("the cookie and the token are two people's")]
    TwoCallers,
    #[error("the token lacks the scope {}", .0.name())]
    Scope(Scope),
    #[error("an administrator has not proved well enough who they are")]
    Proof(StepUp),
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
            Self::Busy => row(S::SERVICE_UNAVAILABLE, "busy"),
            Self::TwoCallers => row(S::BAD_REQUEST, "two_callers"),
            Self::Scope(_) => row(S::FORBIDDEN, "scope"),
            // RFC 9470 section 3.
            Self::Proof(_) => row(S::UNAUTHORIZED, "step_up"),
            Self::Scripted => row(S::FORBIDDEN, "scripted"),
        }
    }

    /// What whoever wrote the program reads.
    pub(super) fn description(&self) -> String {
        match self {
            Self::BadToken => {
                "the token is unknown, revoked or expired, or its owner may not enter".to_owned()
            }
            Self::Busy => "too many access tokens are in use at this moment".to_owned(),
            Self::Bearer(error) => error.to_string(),
            Self::TwoCallers => "the request carries a cookie and a token of two different users".to_owned(),
            Self::Scope(scope) => format!("the token lacks the scope {}", scope.name()),
            Self::Proof(_) => {
                "a fresh or stronger login is needed: a browser signs in again at /hub/admin, a program sends an access token of such a login".to_owned()
            },
            Self::Scripted => "scripts and frames cannot use this page".to_owned(),
        }
    }

    /// Its code in RFC 6750 section 3.1, where that has one.
    pub(super) fn error(&self) -> Option<&'static str> {
        match self {
            Self::Busy | Self::Bearer(BearerError::Unavailable(_)) | Self::Scripted => None,
            Self::BadToken | Self::Bearer(_) => Some("invalid_token"),
            Self::TwoCallers => Some("invalid_request"),
            Self::Scope(_) => Some("insufficient_scope"),
            Self::Proof(_) => Some("insufficient_user_authentication"),
        }
    }

    /// `WWW-Authenticate` (RFC 6750 section 3).
    pub(super) fn challenge(&self) -> Option<String> {
        let error = self.error()?;
        let description: String = self.description().chars().map(quotable).collect();
        let more = match self {
            Self::Scope(scope) => format!(", scope=\"{}\"", scope.name()),
            Self::Proof(wanted) => wanted_proof(wanted),
            Self::Busy | Self::BadToken | Self::Bearer(_) | Self::TwoCallers | Self::Scripted => {
                String::new()
            }
        };
        Some(format!(
            "Bearer realm=\"hubgate\", error=\"{error}\", error_description=\"{description}\"{more}"
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
            Self::Busy => words(
                "Too many programs at once",
                "More programs are using the hub than it has room for.".to_owned(),
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
            Self::Proof(_) => words(
                "Please sign in once more",
                "What administrators do to others needs a fresh or stronger login than yours.".to_owned(),
                "Open the administration page; it leads to the login.",
            ),
            Self::Scripted => words(
                "Only people can use this page",
                "A script or a frame asked for it. That could be an attempt to act in your name.".to_owned(),
                "Open the page yourself, in a window of its own.",
            ),
        }
    }
}

/// RFC 9470 section 3.
fn wanted_proof(StepUp { acr_values, max_age }: &StepUp) -> String {
    let mut text = String::new();
    if !acr_values.is_empty() {
        let levels: String = acr_values.join(" ").chars().map(quotable).collect();
        text = format!(", acr_values=\"{levels}\"");
    }
    max_age.map_or(text.clone(), |age| format!("{text}, max_age=\"{age}\""))
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

    #[test]
    fn a_proof_that_is_missing_is_asked_for_in_the_standards_words() {
        let challenge = |acr_values: &[&str], max_age| {
            let acr_values = acr_values.iter().map(|&value| value.to_owned()).collect();
            ProgramRefusal::Proof(StepUp { acr_values, max_age }).challenge().unwrap()
        };
        let both = challenge(&["gold", "sil\"ver"], Some(900));
        assert!(both.contains("error=\"insufficient_user_authentication\""), "{both}");
        assert!(both.ends_with(", acr_values=\"gold sil'ver\", max_age=\"900\""), "{both}");
        assert!(challenge(&[], Some(60)).ends_with("\", max_age=\"60\""));
    }
}
