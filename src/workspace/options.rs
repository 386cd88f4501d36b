//! What is chosen for one start of a workspace, and for no other.

use std::collections::BTreeMap;

use thiserror::Error;

use super::Workspaces;
use crate::config::Profile;

/// Variables of one start's environment. Only [`Workspaces::choose`] makes one that is not empty, so each value is one
/// that the configuration offers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Chosen(pub(super) BTreeMap<String, String>);

/// A value that no choice of an option has.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the option {option} has no such choice")]
pub struct NoChoice {
    /// Which option.
    pub option: String,
}

impl Workspaces {
    /// Reads what was chosen for a start of this profile. What nothing was said of has its first choice.
    pub fn choose<'v>(
        &self,
        profile: &Profile,
        said: impl Fn(&str) -> Option<&'v str>,
    ) -> Result<Chosen, NoChoice> {
        let mut chosen = BTreeMap::new();
        for option in self.settled(profile).options {
            let value = said(&option.name);
            let is_it = |choice: &&crate::config::Choice| value.is_none_or(|value| choice.value == value);
            let Some(choice) = option.choices.iter().find(is_it) else {
                return Err(NoChoice { option: option.name });
            };
            if !choice.value.is_empty() {
                chosen.insert(option.environment, choice.value.clone());
            }
        }
        Ok(Chosen(chosen))
    }
}
