//! `application/x-www-form-urlencoded`, read strictly: in queries and in bodies.

use std::collections::BTreeMap;

use percent_encoding::percent_decode;

/// More fields than any request to the provider has.
const MAX_FIELDS: usize = 32;

/// Fields by name. A name that comes twice is refused (RFC 6749 section 3.1), so there is no first or last to argue
/// about.
#[derive(Default)]
pub(super) struct Form(BTreeMap<String, String>);

impl Form {
    /// `None` for anything that two readers could read in two ways.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut fields = BTreeMap::new();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=')?;
            if fields.len() == MAX_FIELDS || fields.insert(decode(name)?, decode(value)?).is_some() {
                return None;
            }
        }
        Some(Self(fields))
    }

    /// The field's value; an empty one is no value (RFC 6749 section 3.1).
    pub(super) fn field(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }
}

/// One name or value. A `%` without two hexadecimal digits, or bytes that are not UTF-8, are refused.
pub(super) fn decode(text: &str) -> Option<String> {
    let spaced = text.replace('+', " ");
    let mut rest = spaced.as_bytes();
    while let Some(at) = rest.iter().position(|byte| *byte == b'%') {
        let digits = rest.get(at + 1..at + 3)?;
        if !digits.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        rest = rest.get(at + 3..)?;
    }
    percent_decode(spaced.as_bytes()).decode_utf8().ok().map(std::borrow::Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_read_as_it_was_meant() {
        let form = Form::parse("username=alice&password=a%2Bb+c%25&empty=").unwrap();
        assert_eq!(form.field("username"), Some("alice"));
        assert_eq!(form.field("password"), Some("a+b c%"));
        assert_eq!(form.field("empty"), None);
        assert_eq!(form.field("absent"), None);
        assert!(Form::parse("").is_some());
    }

    #[test]
    fn a_form_with_two_readings_is_refused() {
        for text in ["a=1&a=2", "a=1&%61=2", "a", "a=%", "a=%4", "a=%zz", "a=%ff", "a=%%20"] {
            assert!(Form::parse(text).is_none(), "{text}");
        }
        let many: Vec<_> = (0..=MAX_FIELDS).map(|n| format!("f{n}=1")).collect();
        assert!(Form::parse(&many.join("&")).is_none());
    }
}
