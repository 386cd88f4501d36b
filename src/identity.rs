//! What the provider vouches for.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A verified identity: only `oidc` makes one, after every check of the ID token and userinfo.
///
/// `(issuer, subject)` is the key of a person (OpenID Connect Core 1.0, section 5.7); every other claim may change.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Identity {
    /// The issuer, as it writes itself.
    pub issuer: String,
    /// `sub`: case-sensitive, at most 255 bytes.
    pub subject: String,
    /// `sid`: the provider's session, for logout from there.
    pub sid: Option<String>,
    /// All claims: the ID token's, with userinfo's over them.
    pub claims: Map<String, Value>,
}

impl Identity {
    /// The claim at a path of names, outermost first: `["realm_access", "roles"]`.
    pub fn claim<'a>(&'a self, path: &[&str]) -> Option<&'a Value> {
        let (first, rest) = path.split_first()?;
        rest.iter().try_fold(self.claims.get(*first)?, |value, name| value.get(name))
    }

    /// The strings of a list claim. A single string, or anything that is not a list of strings, is no list: a
    /// provider that says `"groups": "admin"` has not put anybody in a group.
    pub fn strings<'a>(&'a self, path: &[&str]) -> Vec<&'a str> {
        let list = self.claim(path).and_then(Value::as_array);
        list.into_iter().flatten().filter_map(Value::as_str).filter(|text| !text.is_empty()).collect()
    }
}

// Claims hold names and addresses of people, which no log needs.
impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("issuer", &self.issuer)
            .field("subject", &self.subject)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_list_of_strings_is_a_list() {
        let claims = serde_json::json!({
            "groups": ["/lab", "", 7], "flat": "admin", "map": {"admin": true},
            "realm_access": {"roles": ["hub-user"]}, "realm_access.roles": ["forged"],
        });
        let identity = Identity {
            issuer: "https://kc.example/realms/r".into(),
            subject: "1".into(),
            sid: None,
            claims: claims.as_object().cloned().unwrap_or_default(),
        };
        assert_eq!(identity.strings(&["groups"]), ["/lab"]);
        assert_eq!(identity.strings(&["realm_access", "roles"]), ["hub-user"]);
        let paths: [&[&str]; 5] = [&["flat"], &["map"], &["none"], &["flat", "roles"], &[]];
        for path in paths {
            assert!(identity.strings(path).is_empty(), "{path:?}");
        }
    }
}
