//! What is wrong across sections: everything that can be known without a network.

use std::fmt;

use super::Loaded;

/// One thing that is wrong, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The file.
    pub path: String,
    /// The line it stands on, from 1; none where the key is missing altogether.
    pub line: Option<usize>,
    /// The key: `provider.client_secret`.
    pub key: String,
    /// What is wrong. Never a secret's value.
    pub what: String,
    /// What to write instead.
    pub remedy: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        write!(f, ": {}: {}; {}", self.key, self.what, self.remedy)
    }
}

/// Everything that is wrong with a configuration that parses.
pub fn check(_loaded: &Loaded) -> Vec<Finding> {
    Vec::new()
}

pub(super) fn rules(_loaded: &super::Loaded) -> Vec<Finding> {
    Vec::new()
}
