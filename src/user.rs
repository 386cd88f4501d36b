//! Who works here: a [`UserName`] that is safe wherever it is written, and what a [`User`] may do.

mod claims;
mod group;
mod label;

use std::fmt;
use std::sync::Arc;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use thiserror::Error;
use unicode_normalization::UnicodeNormalization;

pub use self::claims::Claims;
pub use self::group::{Group, GroupName, GroupNameError, is_odd};
pub use self::label::is_label_of;

/// A user's name: lower case, one Unicode spelling (NFKC), and harmless in a path, a header, a label and a log.
///
/// Made from a claim by [`UserName::normalise`], or from text that must already be in that form by
/// [`UserName::parse`]. It never holds a separator of paths or URLs, a control character, or a name that means
/// another folder.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserName(Arc<str>);

/// Why a text cannot be a user name.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum UserNameError {
    /// Nothing is left of it.
    #[error("the name is empty")]
    Empty,
    /// More than [`UserName::MAX_BYTES`].
    #[error("the name is longer than {} bytes", UserName::MAX_BYTES)]
    TooLong,
    /// A character that some reader of the name would take for something else.
    #[error("the name holds {0:?}, which is not safe in a path")]
    Unsafe(char),
    /// `.`, `-` or a space at an end, where shells, paths and people misread it.
    #[error("the name begins or ends with {0:?}")]
    Edge(char),
    /// Only [`UserName::parse`]: the text means a name but is not its one spelling.
    #[error("the name is not in its normal form")]
    NotNormal,
}

/// What JupyterHub leaves as it is in a path: `urllib.parse.quote(name, safe="@~")`.
const PATH_SEGMENT: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'_').remove(b'.').remove(b'-').remove(b'~').remove(b'@');

impl UserName {
    /// The longest name, in bytes of UTF-8: with both escapings it still fits a container's name.
    pub const MAX_BYTES: usize = 64;

    /// The name a claim stands for: trimmed, NFKC, lower case.
    pub fn normalise(claim: &str) -> Result<Self, UserNameError> {
        let lower: String = claim.trim().nfkc().flat_map(char::to_lowercase).collect();
        // Lower-casing may undo the composition (İ becomes i and a combining dot).
        let name: String = lower.nfkc().collect();
        check(&name)?;
        Ok(Self(name.into()))
    }

    /// A name that is already in its normal form.
    pub fn parse(name: &str) -> Result<Self, UserNameError> {
        let normal = Self::normalise(name)?;
        if &*normal.0 == name { Ok(normal) } else { Err(UserNameError::NotNormal) }
    }

    /// Whether a path segment is a name as it stands: ASCII in normal form, with nothing to decode.
    pub fn is_plain(segment: &str) -> bool {
        let inner = |b: u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'@' | b'+' | b'~');
        let edge = |b: Option<&u8>| b.is_some_and(|b| !matches!(b, b'-' | b'.' | b'~'));
        let bytes = segment.as_bytes();
        bytes.len() <= Self::MAX_BYTES
            && bytes.iter().all(|b| inner(*b))
            && edge(bytes.first())
            && edge(bytes.last())
    }

    /// The name in a URL's path segment, percent-decoded once. Encoded characters that need no encoding (RFC 3986
    /// section 2.3) are refused: two spellings of one path are how a check and a container come to disagree.
    pub fn from_path_segment(segment: &str) -> Result<Self, UserNameError> {
        let decoded =
            percent_decode_str(segment).decode_utf8().map_err(|_invalid| UserNameError::NotNormal)?;
        let name = Self::parse(&decoded)?;
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | '~');
        let needed = decoded.chars().filter(|c| plain(*c)).count();
        let written = segment_literals(segment, plain);
        if needed == written { Ok(name) } else { Err(UserNameError::NotNormal) }
    }

    /// The name as JupyterHub writes it in URLs.
    pub fn path_segment(&self) -> String {
        utf8_percent_encode(&self.0, PATH_SEGMENT).to_string()
    }

    /// The name as a label of DNS, the same for nobody else: see [`is_label_of`].
    pub fn label(&self) -> String {
        label::of(&self.0).into_owned()
    }

    /// The name itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// How many literal characters (not part of a `%xx`) of a segment satisfy `plain`.
fn segment_literals(segment: &str, plain: impl Fn(char) -> bool) -> usize {
    let mut rest = segment.chars();
    let mut count = 0;
    while let Some(c) = rest.next() {
        if c == '%' {
            rest.next();
            rest.next();
        } else if plain(c) {
            count += 1;
        }
    }
    count
}

fn check(name: &str) -> Result<(), UserNameError> {
    let (Some(first), Some(last)) = (name.chars().next(), name.chars().next_back()) else {
        return Err(UserNameError::Empty);
    };
    if name.len() > UserName::MAX_BYTES {
        return Err(UserNameError::TooLong);
    }
    let safe = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | '@' | '+' | '~' | ' ');
    if let Some(bad) = name.chars().find(|c| !safe(*c)) {
        return Err(UserNameError::Unsafe(bad));
    }
    let edge = |c: char| matches!(c, '-' | '.' | ' ' | '~');
    if let Some(bad) = [first, last].into_iter().find(|c| edge(*c)) {
        return Err(UserNameError::Edge(bad));
    }
    Ok(())
}

impl fmt::Display for UserName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for UserName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

/// A person who may enter, and what the rules grant.
#[derive(Debug, Clone, PartialEq)]
pub struct User {
    /// The name, the same at every login.
    pub name: UserName,
    /// Sees and stops everybody's workspaces.
    pub admin: bool,
    /// Names of the profiles this user may start, in the order of the configuration. Never empty.
    pub profiles: Arc<[Arc<str>]>,
    /// Names of the routes beside the hub that are open to this user.
    pub routes: Arc<[Arc<str>]>,
    /// The groups that their provider says they are in.
    pub groups: Arc<[Group]>,
    /// What their provider says of them that may stand in the environment of their workspaces.
    pub claims: Claims,
    /// Bytes of memory that the rules grant in place of the profile's limit; `Some(None)` is no limit at all.
    pub memory: Option<Option<u64>>,
    /// Processors that the rules grant in place of the profile's limit.
    pub cpu: Option<Option<f64>>,
}

impl User {
    /// Whether something was taken away since `before`. A group is something: what is shared with it is open to them.
    pub fn has_less_than(&self, before: &Self) -> bool {
        let kept = |profile: &Arc<str>| self.profiles.contains(profile);
        let open = |route: &Arc<str>| self.routes.contains(route);
        let member = |group: &Group| self.groups.contains(group);
        (before.admin && !self.admin)
            || !before.profiles.iter().all(kept)
            || !before.routes.iter().all(open)
            || !before.groups.iter().all(member)
    }
}

/// How much of the machine a workspace may use. `None`: no limit is set.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Limits {
    /// Bytes of memory.
    pub memory: Option<u64>,
    /// Processors; fractions are shares of one.
    pub cpu: Option<f64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_taken_away_is_less() {
        let user = |admin, profiles: &[&str]| User {
            name: UserName::parse("alice").unwrap(),
            admin,
            profiles: profiles.iter().map(|&name| Arc::from(name)).collect(),
            routes: [].into(),
            groups: [].into(),
            claims: Claims::default(),
            memory: None,
            cpu: None,
        };
        let before = user(true, &["lab", "qe"]);
        assert!(!user(true, &["qe", "lab", "more"]).has_less_than(&before));
        assert!(user(false, &["lab", "qe"]).has_less_than(&before));
        assert!(user(true, &["lab"]).has_less_than(&before));
        let group = |provider: &str| Group { provider: provider.into(), path: "/lab".into() };
        let member = |provider| User { groups: [group(provider)].into(), ..before.clone() };
        assert!(before.has_less_than(&member("main")) && !member("main").has_less_than(&before));
        assert!(member("eth").has_less_than(&member("main")), "of another provider, it is another group");
    }

    #[test]
    fn a_claim_has_one_spelling() {
        for (claim, name) in [
            ("Alice", "alice"),
            (" alice ", "alice"),
            ("jose\u{301}", "josé"),
            ("JOSÉ", "josé"),
            ("anna@EPFL.ch", "anna@epfl.ch"),
            ("jan.müller", "jan.müller"),
            ("a b", "a b"),
        ] {
            assert_eq!(UserName::normalise(claim).unwrap().as_str(), name);
        }
    }

    #[test]
    fn a_name_that_means_a_path_is_refused() {
        for claim in [
            "", ".", "..", "a/b", "a\\b", "a%2fb", "a?b", "a#b", "a;b", "-rf", "a.", "a\0", "a\nb", "．．",
            "a:b",
        ] {
            assert!(UserName::normalise(claim).is_err(), "{claim:?}");
        }
        assert_eq!(UserName::normalise(&"x".repeat(65)), Err(UserNameError::TooLong));
    }

    #[test]
    fn a_path_segment_names_a_user_in_one_way() {
        for (segment, name) in
            [("alice", "alice"), ("a@b.c", "a@b.c"), ("a%40b.c", "a@b.c"), ("a%20b", "a b"), ("%C3%BC", "ü")]
        {
            assert_eq!(UserName::from_path_segment(segment).unwrap().as_str(), name);
        }
        for segment in
            ["b%6fb", "ALICE", "%2e%2e", "alice%00", "a%252fb", "%ff", "alice;x", "alice%3f", "bo%7eb"]
        {
            assert!(UserName::from_path_segment(segment).is_err(), "{segment}");
        }
        assert_eq!(UserName::normalise("a b@c").unwrap().path_segment(), "a%20b@c");
        for segment in ["alice", "a@b.c", "a-b", "_x", "a.", "-a", "", "ALICE", "a%40b", "a b", "ü"] {
            let parsed = UserName::parse(segment).is_ok() && segment.is_ascii() && !segment.contains(' ');
            assert_eq!(UserName::is_plain(segment), parsed, "{segment}");
        }
    }
}
