//! What an owner writes about a token, so that they know it again.

use std::fmt;

use thiserror::Error;

use crate::user::is_odd;

/// One short line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Note(String);

/// A text that is no note.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("a note is one line of at most {} characters", Note::MAX_CHARACTERS)]
pub struct BadNote;

impl Note {
    /// The longest.
    pub const MAX_CHARACTERS: usize = 200;

    /// Refuses what is longer, or would not be read as it is written: control characters, and those that turn the
    /// direction of a line.
    pub fn parse(text: &str) -> Result<Self, BadNote> {
        let text = text.trim();
        if text.chars().count() > Self::MAX_CHARACTERS || text.contains(is_odd) {
            return Err(BadNote);
        }
        Ok(Self(text.to_owned()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_one_short_line() {
        assert_eq!(Note::parse(" nightly run \n").unwrap().as_str(), "nightly run");
        assert_eq!(Note::parse("").unwrap(), Note::default());
        assert!(Note::parse(&"ü".repeat(200)).is_ok());
        for bad in [&"x".repeat(201), "a\nb", "a\rb", "a\0b", "a\u{1b}[2Jb", "a\u{202e}b", "a\u{200b}b"] {
            assert_eq!(Note::parse(bad), Err(BadNote), "{bad:?}");
        }
    }
}
