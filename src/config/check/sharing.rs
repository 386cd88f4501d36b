//! `[sharing]`.

use super::Findings;
use crate::config::Config;
use crate::config::units::{Limit, Span};

pub(super) fn check(findings: &mut Findings<'_>, config: &Config) {
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
