//! The names below which each user has a host of their own.

use serde::Deserialize;

/// A DNS wildcard: `*.hub.example.org`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct UserDomain(String);

impl UserDomain {
    /// What follows the star and its dot, in lower case.
    pub fn parent(&self) -> &str {
        &self.0
    }

    /// Whether a host name is one of those that users have.
    pub fn covers(&self, host: &str) -> bool {
        let label = host.split_once('.').filter(|(_, parent)| parent.eq_ignore_ascii_case(&self.0));
        label.is_some()
    }
}

impl TryFrom<String> for UserDomain {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let parent = text.strip_prefix("*.").filter(|parent| is_name(parent));
        // A label of 63 characters, and its dot, still fit a name (RFC 1035 section 2.3.4).
        let parent = parent.filter(|parent| parent.len() + 64 <= 253 && parent.contains('.'));
        let wrong = "not a name with a star: write \"*.hub.example.org\", whose records and certificate cover every name below it";
        Ok(Self(parent.ok_or(wrong)?.to_ascii_lowercase()))
    }
}

/// Whether a text is a host name (RFC 1123 section 2.1), written as DNS has it: other alphabets as `xn--…`.
fn is_name(text: &str) -> bool {
    let is_label = |label: &str| {
        let inner = label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        (1..=63).contains(&label.len()) && inner && !label.starts_with('-') && !label.ends_with('-')
    };
    // No address: the last label of one is a number.
    let last = text.rsplit('.').next().unwrap_or_default();
    text.split('.').all(is_label) && !last.bytes().all(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_and_a_name_are_a_domain_of_users() {
        let domain = UserDomain::try_from("*.Hub.example.org".to_owned()).unwrap();
        assert_eq!(domain.parent(), "hub.example.org");
        assert!(domain.covers("alice.hub.example.org") && domain.covers("HUB.HUB.EXAMPLE.ORG"));
        for host in ["hub.example.org", "a.alice.hub.example.org", "alice.hub.example.com", ""] {
            assert!(!domain.covers(host), "{host}");
        }
        let long = format!("*.{}", ["a".repeat(63), "b".repeat(63), "c".repeat(63)].join("."));
        for wrong in [
            "hub.example.org",
            "*",
            "*.",
            "*.org",
            "*.*.example.org",
            "a*.example.org",
            "*.hub..example.org",
            "*.10.0.0.1",
            "*.-a.org",
            "*.a-.org",
            "*.hub.example.org:8443",
            "https://*.hub.example.org",
            "*.hüb.org",
            "*.hub.example.org.",
            "*.hub.example.org/",
            &long,
        ] {
            assert!(UserDomain::try_from(wrong.to_owned()).is_err(), "{wrong}");
        }
    }
}
