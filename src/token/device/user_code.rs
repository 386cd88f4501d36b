//! The code that a person reads on one screen and types on another.

use std::fmt;

use crate::seal;

/// Eight letters without vowels, so that they spell no word (RFC 8628 section 6.1): 34 bits, for ten minutes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct UserCode(String);

impl UserCode {
    pub(super) fn random() -> Self {
        let mut letters = String::with_capacity(LENGTH);
        while letters.len() < LENGTH {
            let [byte] = seal::random::<1>();
            // 240 is the largest multiple of 20: above it, some letters would come more often than others.
            if byte < 240
                && let Some(letter) = LETTERS.get(usize::from(byte) % LETTERS.len())
            {
                letters.push(char::from(*letter));
            }
        }
        Self(letters)
    }

    /// Reads a code as people write it: in any case, with or without what separates the halves.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() > MOST_BYTES {
            return None;
        }
        let written = text.chars().filter(|c| !matches!(c, '-' | ' ' | '\u{2010}'..='\u{2015}'));
        let letters: String = written.map(|c| c.to_ascii_uppercase()).collect();
        let good = letters.len() == LENGTH && letters.bytes().all(|letter| LETTERS.contains(&letter));
        good.then_some(Self(letters))
    }
}

impl fmt::Display for UserCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first, second) = self.0.split_at_checked(LENGTH / 2).unwrap_or((&self.0, ""));
        write!(f, "{first}-{second}")
    }
}

const LETTERS: &[u8; 20] = b"BCDFGHJKLMNPQRSTVWXZ";
const LENGTH: usize = 8;
const MOST_BYTES: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_code_is_read_as_people_write_it() {
        let code = UserCode::parse("WDJB-MJHT").unwrap();
        assert_eq!(code.to_string(), "WDJB-MJHT");
        for text in ["wdjbmjht", " WDJB MJHT ", "w-d-j-b-m-j-h-t", "WDJB–MJHT"] {
            assert_eq!(UserCode::parse(text).as_ref(), Some(&code), "{text}");
        }
        for text in
            ["", "WDJB", "WDJBMJHTB", "WDJB-MJHA", "WDJB-MJH0", "WDJB/MJHT", "ẆDJBMJH", &"-".repeat(100)]
        {
            assert_eq!(UserCode::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_user_code_is_random_and_readable() {
        let codes: std::collections::HashSet<_> = (0..1000).map(|_| UserCode::random()).collect();
        assert_eq!(codes.len(), 1000);
        for code in &codes {
            assert_eq!(UserCode::parse(&code.to_string()).as_ref(), Some(code));
        }
        let used: std::collections::BTreeSet<_> = codes.iter().flat_map(|code| code.0.chars()).collect();
        assert_eq!(used.len(), LETTERS.len(), "every letter comes");
    }
}
