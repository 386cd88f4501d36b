//! What hubgate takes over from another hub, and what that must have been told.

use std::sync::Arc;

use super::tagged;
use crate::secret::Secret;
use crate::user::UserName;

/// What a workspace that another hub started was given by it, and keeps.
#[derive(Debug, Clone)]
pub struct Adopted {
    /// The secret that it shares with its hub.
    pub token: Secret,
}

impl PartialEq for Adopted {
    fn eq(&self, other: &Self) -> bool {
        self.token.matches(other.token.expose())
    }
}

impl Eq for Adopted {}

/// What the containers of another hub must have been told, so that they find here what they look for there.
#[derive(Debug, Clone)]
pub struct Heir {
    /// Where containers reach the hub API: `http://172.17.0.1:8081/hub/api`.
    pub hub_api: Option<String>,
    /// The hub's origin, without a slash at its end.
    pub public_url: String,
    /// Where users have hosts of their own: their origins, with `*` for the label.
    pub user_origins: Option<String>,
    /// Images, and the names of the profiles that run them: rules give profiles, and say by that what users may open.
    pub images: Vec<(String, Arc<str>)>,
}

impl Heir {
    /// The origins of the hub and of this user's servers, as a container must know them: where all are one, neither.
    pub(super) fn origins(&self, user: &UserName) -> (&str, String) {
        match &self.user_origins {
            Some(origins) => (&self.public_url, origins.replace('*', &user.label())),
            None => ("", String::new()),
        }
    }

    /// The first profile that runs this image.
    pub(super) fn profile(&self, image: &str) -> Option<Arc<str>> {
        let wanted = tagged(image);
        let found = self.images.iter().find(|(image, _)| tagged(image) == wanted);
        found.map(|(_, profile)| Arc::clone(profile))
    }
}
