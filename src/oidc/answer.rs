//! What a browser brings back from the provider.

use std::fmt;

use super::OidcError;

/// The callback's query.
#[derive(Clone)]
pub struct Answer {
    /// The attempt it is for.
    pub state: String,
    /// `Ok(code)`, or the error.
    pub outcome: Result<String, (String, Option<String>)>,
    /// RFC 9207.
    pub iss: Option<String>,
}

impl Answer {
    /// From the query of the callback. A parameter given twice, or neither code nor error, is refused. Parameters that
    /// we did not ask for are ignored, tokens (of the implicit flow) among them.
    pub fn parse(query: &str) -> Result<Self, OidcError> {
        let mut fields: [(&str, Option<String>); 5] =
            [("state", None), ("code", None), ("iss", None), ("error", None), ("error_description", None)];
        for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
            let Some((_, field)) = fields.iter_mut().find(|(known, _)| *known == name) else { continue };
            if field.is_some() {
                // RFC 6749 section 3.1: two readers would choose differently.
                return Err(OidcError::Mismatch("it says something twice"));
            }
            if value.len() > LONGEST {
                return Err(OidcError::Mismatch("it is too long"));
            }
            *field = Some(value.into_owned());
        }
        let [state, code, iss, error, description] = fields.map(|(_, value)| value);
        let state =
            state.filter(|text| !text.is_empty()).ok_or(OidcError::Mismatch("it does not say for which"))?;
        let outcome = match (code.filter(|text| !text.is_empty()), error) {
            (Some(code), None) => Ok(code),
            (None, Some(error)) => Err((error_code(&error), description.as_deref().map(error_text))),
            (Some(_), Some(_)) => return Err(OidcError::Mismatch("it holds both a code and an error")),
            (None, None) => return Err(OidcError::Mismatch("it holds neither a code nor an error")),
        };
        Ok(Self { state, outcome, iss })
    }
}

// A code opens an account until it is used.
impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer")
            .field("outcome", &self.outcome.as_ref().map(|_code| "[secret]"))
            .field("iss", &self.iss)
            .finish_non_exhaustive()
    }
}

/// An error code, as RFC 6749 section 4.1.2.1 allows it: visible ASCII, and short.
pub(super) fn error_code(text: &str) -> String {
    let code: String = text.chars().filter(char::is_ascii_graphic).take(64).collect();
    if code.is_empty() { "unknown_error".to_owned() } else { code }
}

/// An error description, as RFC 6749 section 4.1.2.1 allows it: ASCII without control characters; cut.
pub(super) fn error_text(text: &str) -> String {
    text.chars().filter(|c| c.is_ascii_graphic() || *c == ' ').take(200).collect()
}

/// The longest value of a parameter, in bytes. Some providers put all they know into the code.
const LONGEST: usize = 8192;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_comes_with_its_state() {
        let answer =
            Answer::parse("state=s&session_state=x&iss=https%3A%2F%2Fkc%2Frealms%2Fr&code=a.b").unwrap();
        assert_eq!((answer.state.as_str(), answer.outcome.as_deref()), ("s", Ok("a.b")));
        assert_eq!(answer.iss.as_deref(), Some("https://kc/realms/r"));
    }

    #[test]
    fn a_parameter_given_twice_is_refused() {
        for query in [
            "state=s&code=a&code=b",
            "state=s&state=s&code=a",
            "state=s&state=t&code=a",
            "state=s&code=a&iss=x&iss=x",
            "state=s&error=a&error=b",
            "state=s&code=a&c%6fde=b",
        ] {
            assert!(matches!(Answer::parse(query), Err(OidcError::Mismatch(_))), "{query}");
        }
    }

    #[test]
    fn an_answer_says_one_thing_about_one_login() {
        for query in [
            "",
            "code=a",
            "state=&code=a",
            "state=s",
            "state=s&code=",
            "state=s&code=a&error=b",
            "error=access_denied",
        ] {
            assert!(matches!(Answer::parse(query), Err(OidcError::Mismatch(_))), "{query}");
        }
        let long = format!("state=s&code={}", "a".repeat(LONGEST + 1));
        assert!(matches!(Answer::parse(&long), Err(OidcError::Mismatch(_))));
    }

    #[test]
    fn tokens_of_the_implicit_flow_are_ignored() {
        assert!(Answer::parse("state=s&id_token=x&access_token=y").is_err());
        let answer = Answer::parse("state=s&code=a&id_token=x&id_token=z&access_token=y").unwrap();
        assert_eq!(answer.outcome.as_deref(), Ok("a"));
    }

    #[test]
    fn an_error_is_cut_and_cleaned() {
        let query = format!(
            "state=s&error=access_denied%0a{}&error_description=a%0d%0ab%E2%80%AE%1b[31m+c{}",
            "x".repeat(99),
            "y".repeat(300)
        );
        let (error, description) = Answer::parse(&query).unwrap().outcome.unwrap_err();
        assert!(error.starts_with("access_deniedxx") && error.len() == 64, "{error}");
        let description = description.unwrap();
        assert!(description.starts_with("ab[31m cyy") && description.len() == 200, "{description}");
    }

    #[test]
    fn a_code_is_not_printed() {
        let answer = Answer::parse("state=st-canary&code=co-canary").unwrap();
        assert!(!format!("{answer:?}").contains("canary"));
    }
}
