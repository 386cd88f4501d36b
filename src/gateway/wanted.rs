//! What somebody wants to start, as a form, a link or a program names it.

use std::sync::Arc;

use super::Gateway;
use super::form::Form;
use super::refusal::Refusal;
use crate::config;
use crate::user::User;

/// A profile, by its name or its image. Nothing is named where there is only one to start.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) profile: Option<String>,
    pub(super) image: Option<String>,
}

/// Why nothing starts.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NoStart {
    /// A choice that nobody offered.
    NotOffered(String),
    /// There are several to choose from, or none.
    Choose,
}

impl Wanted {
    /// What a form or a link says. What it says twice is nobody's offer.
    pub(super) fn of(form: &Form) -> Result<Self, Refusal> {
        let one = |name: &str| {
            let mut values = form.all(name);
            let value = values.next().filter(|value| !value.is_empty());
            match values.next() {
                Some(second) => Err(not_offered(second)),
                None => Ok(value.map(ToOwned::to_owned)),
            }
        };
        Ok(Self { profile: one("profile")?, image: one("image")? })
    }

    pub(super) fn is_named(&self) -> bool {
        self.profile.is_some() || self.image.is_some()
    }
}

impl Gateway {
    /// The profile that is to be started: whatever is named, nobody starts what no rule grants the owner.
    pub(super) fn chosen(&self, user: &User, wanted: &Wanted) -> Result<&Arc<config::Profile>, NoStart> {
        let granted = || user.profiles.iter().filter_map(|name| self.0.workspaces.profile(name));
        let found = match (&wanted.profile, &wanted.image) {
            (None, None) => return self.only_profile(user).ok_or(NoStart::Choose),
            (Some(name), image) => granted().find(|profile| {
                profile.name == *name && image.as_ref().is_none_or(|image| profile.image == *image)
            }),
            (None, Some(image)) => granted().find(|profile| profile.image == *image),
        };
        let named = || wanted.image.iter().chain(&wanted.profile).next().cloned().unwrap_or_default();
        found.ok_or_else(|| NoStart::NotOffered(named()))
    }
}

/// The refusal that names in the log what was wanted.
pub(super) fn not_offered(what: &str) -> Refusal {
    Refusal::NotOffered(what.chars().take(100).collect())
}
