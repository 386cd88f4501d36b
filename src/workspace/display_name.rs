//! What people see a named workspace called.

use std::sync::Arc;

use thiserror::Error;

use crate::user::is_odd;

/// JupyterHub's form (version 6): one line of 1 to 255 characters that is read as it is written, whose words are parted by
/// single spaces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DisplayName(Arc<str>);

/// A text that cannot be shown as a name.
#[derive(Debug, Error, PartialEq, Eq)]
#[error(
    "a display name has 1 to {} characters in one line, and single spaces between words",
    DisplayName::MAX_CHARACTERS
)]
pub struct DisplayNameError;

impl DisplayName {
    /// The longest, in characters.
    pub const MAX_CHARACTERS: usize = 255;

    /// Reads one as it stands.
    pub fn parse(text: &str) -> Result<Self, DisplayNameError> {
        let fits = text.chars().count() <= Self::MAX_CHARACTERS;
        // Nothing at all is one empty word.
        let words = text.split(' ').all(|word| !word.is_empty());
        let plain = !text.contains(|c: char| is_odd(c) || (c.is_whitespace() && c != ' '));
        if fits && words && plain { Ok(Self(text.into())) } else { Err(DisplayNameError) }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_display_name_is_a_line_that_is_read_as_it_is_written() {
        for good in ["My GPU server", "Übung 3 (für alle)", "计算", &"ä".repeat(255)] {
            assert_eq!(DisplayName::parse(good).unwrap().as_str(), good);
        }
        for bad in ["", " a", "a ", "a  b", "a\nb", "a\tb", "a\u{a0}b", "a\u{202e}b", "a\0", &"ä".repeat(256)]
        {
            assert_eq!(DisplayName::parse(bad), Err(DisplayNameError), "{bad:?}");
        }
    }
}
