//! The files and secrets that the configuration names: there, readable, and not by others.

use std::error::Error as _;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::Findings;
use crate::config::{Config, Provider};
use crate::secret::SecretSource;

pub(super) fn check(findings: &mut Findings<'_>, config: &Config) {
    for (index, certificate) in config.certificate.iter().enumerate() {
        readable(findings, &format!("certificate[{index}].chain"), &certificate.chain);
        let key = format!("certificate[{index}].key");
        if readable(findings, &key, &certificate.key) {
            private(findings, &key, &certificate.key);
        }
    }
    findings.each_provider(config, provider);
}

fn provider(findings: &mut Findings<'_>, provider: &Provider) {
    if let Some(authorities) = &provider.ca_file {
        readable(findings, "provider.ca_file", authorities);
    }
    let secrets =
        [("provider.client_secret", &provider.client_secret), ("provider.client_key", &provider.client_key)];
    for (key, source) in secrets {
        if let Some(source) = source {
            secret(findings, key, source);
        }
    }
}

fn secret(findings: &mut Findings<'_>, key: &str, source: &SecretSource) {
    if let Err(error) = source.read() {
        let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
        findings.add(key, format!("{error}{cause}"), error.remedy());
    } else if let SecretSource::File(path) = source {
        private(findings, key, path);
    }
}

fn readable(findings: &mut Findings<'_>, key: &str, path: &Path) -> bool {
    let file = File::open(path).and_then(|file| file.metadata());
    let wrong = match file {
        Ok(metadata) if metadata.is_file() => return true,
        Ok(_) => "it is no file".to_owned(),
        Err(error) => error.to_string(),
    };
    let what = format!("cannot read {}: {wrong}", path.display());
    findings.add(key, what, "see that it exists and that hubgate's user may read it");
    false
}

/// The group may read it: that is how certbot's keys are shared with a service. Everybody may not.
fn private(findings: &mut Findings<'_>, key: &str, path: &Path) {
    let mode = fs::metadata(path).map(|metadata| metadata.permissions().mode()).unwrap_or_default();
    if mode & 0o007 != 0 {
        let path = path.display();
        let what = format!("every user of this machine can use {path} (mode {:04o})", mode & 0o7777);
        findings.add(key, what, format!("run `chmod o= {path}`"));
    }
}
