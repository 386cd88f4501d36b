//! What a provider says of a person in short texts, for the environment of what they start.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde_json::{Map, Value};

/// Claims that are harmless as values of variables: short texts of one line, without braces, which placeholders have.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Claims(Arc<BTreeMap<Box<str>, Box<str>>>);

impl Claims {
    /// The longest text that is taken, in bytes of UTF-8.
    pub const MOST_BYTES: usize = 256;

    /// Those of the `wanted` claims that hold a usable text, or a list of a single one. An `email` counts only with
    /// `email_verified` (OpenID Connect Core 1.0, section 5.7): people may write any address into their profile.
    pub fn read<'a>(all: &Map<String, Value>, wanted: impl IntoIterator<Item = &'a str>) -> Self {
        let verified = all.get("email_verified").and_then(Value::as_bool) == Some(true);
        let usable = |name: &&str| verified || *name != "email";
        let text = |name: &'a str| Some((name.into(), usable_text(all.get(name)?)?.into()));
        Self(Arc::new(wanted.into_iter().filter(usable).filter_map(text).collect()))
    }

    /// The text of a claim.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|text| &**text)
    }
}

fn usable_text(value: &Value) -> Option<&str> {
    let text = match value.as_array().map(Vec::as_slice) {
        Some([only]) => only.as_str(),
        Some(_) => None,
        None => value.as_str(),
    };
    let text = text?.trim();
    let odd = |c: char| c.is_control() || matches!(c, '{' | '}' | '\u{2028}' | '\u{2029}');
    (!text.is_empty() && text.len() <= Claims::MOST_BYTES && !text.contains(odd)).then_some(text)
}

// Claims hold names and addresses of people, which no log needs.
impl fmt::Debug for Claims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(claims: Value, name: &str) -> Option<String> {
        let claims = Claims::read(claims.as_object().unwrap(), [name]);
        claims.text(name).map(str::to_owned)
    }

    #[test]
    fn a_claim_that_is_no_short_text_of_one_line_is_left_out() {
        let said = |value: Value| read(json!({ "organization": value }), "organization");
        assert_eq!(said(json!(" ETH Zürich ")).as_deref(), Some("ETH Zürich"));
        assert_eq!(said(json!(["acme"])).as_deref(), Some("acme"));
        assert_eq!(said(json!("x".repeat(256))).map(|text| text.len()), Some(256));
        let long = "x".repeat(257);
        for odd in ["", " ", "a\nB=c", "a\0b", "a\u{1b}[2J", "a\u{2028}b", "{port}", "}", &long] {
            assert_eq!(said(json!(odd)), None, "{odd:?}");
        }
        for odd in [json!(7), json!(true), json!(null), json!([]), json!(["a", "b"]), json!({ "a": "b" })] {
            assert_eq!(said(odd.clone()), None, "{odd}");
        }
        assert_eq!(read(json!({}), "organization"), None);
    }

    #[test]
    fn an_address_that_is_not_verified_is_left_out() {
        for (verified, found) in [(json!(true), true), (json!(false), false), (json!("true"), false)] {
            let claims = json!({ "email": "anna@epfl.ch", "email_verified": verified });
            assert_eq!(read(claims, "email").is_some(), found, "{verified}");
        }
        assert_eq!(read(json!({ "email": "anna@epfl.ch" }), "email"), None);
    }

    #[test]
    fn what_is_said_of_a_person_is_not_logged() {
        let claims = json!({ "given_name": "Anna", "sub": "1" });
        let claims = Claims::read(claims.as_object().unwrap(), ["given_name"]);
        assert_eq!(format!("{claims:?}"), "{\"given_name\"}");
        assert_eq!(claims.text("sub"), None, "only what was asked for is kept");
    }
}
