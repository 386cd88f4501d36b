//! `[admin]`.

use super::{Findings, provider};
use crate::config::Config;

pub(super) fn check(findings: &mut Findings<'_>, config: &Config) {
    let admin = &config.admin;
    provider::words(findings, "admin.acr_values", &admin.acr_values, |byte| byte.is_ascii_graphic());
    if let Some(age) = admin.max_age {
        findings.positive("admin.max_age", age);
    }
    let asked =
        [("admin.acr_values", !admin.acr_values.is_empty()), ("admin.max_age", admin.max_age.is_some())];
    // An administrator of such a provider could never prove anything.
    let unprovable = config.provider.iter().all(|provider| provider.issuer.is_none());
    for (key, _) in asked.iter().filter(|(_, given)| *given && unprovable) {
        findings.add(
            key,
            "cannot be checked without an ID token",
            "describe the provider by `issuer`, or take it out",
        );
    }
}
