//! What kind of image each profile runs: expected from its name until it was seen.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::Workspaces;
use crate::config::{Preset, Profile};
use crate::preset::{self, Settled};

/// The kinds of images that were seen, by profile.
#[derive(Debug, Default)]
pub(super) struct Kinds(Mutex<HashMap<Arc<str>, Preset>>);

impl Kinds {
    pub(super) fn note(&self, profile: &Arc<str>, preset: Preset) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(Arc::clone(profile), preset);
    }

    pub(super) fn of(&self, profile: &Profile) -> Preset {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(profile.name.as_str()).copied();
        profile.preset.or(seen).unwrap_or_else(|| preset::expected(profile))
    }
}

impl Workspaces {
    /// What a profile means, as far as its image is known.
    pub fn settled(&self, profile: &Profile) -> Settled {
        preset::settle(profile, self.0.kinds.of(profile))
    }
}
