//! `[sharing]`.

use super::Findings;
use crate::config::Config;
use crate::config::units::{Limit, Span};

pub(super) fn check(findings: &mut Findings<'_>, config: &Config) {
    if config.sharing.enabled && config.public.user_domain.is_none() {
        findings.add(
            "sharing.enabled",
            "not without a host for each user: at one address for all, pages of one user's server could act as whoever visits it",
            "write public.user_domain, for example \"*.hub.example.org\"",
        );
    }
    if let Limit::Value(max) = config.sharing.lifetime_max
        && max < SHORTEST
    {
        findings.add(
            "sharing.lifetime_max",
            "too short to be of use",
            "write at least \"1min\", for example \"30days\"",
        );
    }
}

const SHORTEST: Span = Span::seconds(60);
