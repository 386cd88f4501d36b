//! `[sharing]`: whether users let each other into their workspaces.

use serde::Deserialize;

use super::units::{Limit, Span};

/// `[sharing]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Sharing {
    /// Whether users may let others into their workspaces. Needs `public.user_domain`: at one address for all, the pages
    /// of one user's workspace could act as whoever visits it.
    pub enabled: bool,
    /// The longest that a share and a link live; `"unlimited"` lets shares go on until they are revoked, and links live a
    /// year at most.
    pub lifetime_max: Limit<Span>,
}

impl Default for Sharing {
    fn default() -> Self {
        Self { enabled: false, lifetime_max: Limit::Value(Span::seconds(30 * 86_400)) }
    }
}
