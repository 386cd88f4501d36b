//! What people are in: a [`Group`] is somebody's, and a [`GroupName`] is what one may be called here.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use thiserror::Error;

/// A group, as one provider knows it: its path there says nothing of the groups of another provider, nor of the hub's
/// own.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Group {
    /// The provider's name in the configuration.
    pub provider: Arc<str>,
    /// The path, as the provider writes it.
    pub path: Arc<str>,
}

/// What a group of the hub's own is called, and what a scope names one by: one line that is read as it is written.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupName(Arc<str>);

/// A text that cannot name a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a group's name has 1 to {} bytes, in one line that is read as it is written", GroupName::MAX_BYTES)]
pub struct GroupNameError;

impl Group {
    /// A group of the hub's own, which no provider vouches for: a provider's name is never empty.
    pub fn own(name: &str) -> Self {
        Self { provider: Arc::from(""), path: name.into() }
    }

    /// Whether it is one.
    pub fn is_own(&self) -> bool {
        self.provider.is_empty()
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path)
    }
}

impl GroupName {
    /// The longest, in bytes.
    pub const MAX_BYTES: usize = 255;

    /// Reads a name as it stands. Refuses what is empty, too long, or would be taken for another.
    pub fn parse(text: &str) -> Result<Self, GroupNameError> {
        let good = (1..=Self::MAX_BYTES).contains(&text.len()) && !text.contains(is_odd);
        if good { Ok(Self(text.into())) } else { Err(GroupNameError) }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Compared as its text is: a group is found by what somebody else calls it.
impl Borrow<str> for GroupName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for GroupName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether a character would not be read as it is written: control characters, those that turn the direction of a line,
/// and those that nobody sees.
pub fn is_odd(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_has_a_name_that_is_read_as_it_is_written() {
        for good in ["x", "nbgrader-physics", "/lab/x y", "ü"] {
            assert_eq!(GroupName::parse(good).unwrap().as_str(), good);
        }
        let long = "x".repeat(256);
        for wrong in ["", "a\nb", "a\0", "\u{7f}", "a\u{202e}b", "staff\u{200b}", &long] {
            assert_eq!(GroupName::parse(wrong), Err(GroupNameError), "{wrong:?}");
        }
    }
}
