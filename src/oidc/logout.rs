//! Logout at the provider.

use url::Url;

use super::Provider;
use crate::secret::Secret;

impl Provider {
    /// Where to send a browser to end its session at the provider (OpenID Connect RP-Initiated Logout 1.0), to come
    /// back to `return_to`. `None` when the provider has no such place.
    pub fn logout_url(&self, _id_token: Option<&Secret>, _return_to: &Url) -> Option<Url> {
        todo!()
    }
}
