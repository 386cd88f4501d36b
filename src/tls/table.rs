//! Pairs of certificate and key, read and checked, by the names they are for.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;
use zeroize::Zeroizing;

use super::{TlsError, name};
use crate::clock::Timestamp;
use crate::config;

/// All pairs, of which a server name chooses one.
#[derive(Debug)]
pub(super) struct Table {
    /// For clients that send no name, or one that no certificate has: the client is who judges it.
    first: Arc<CertifiedKey>,
    exact: HashMap<Box<str>, Arc<CertifiedKey>>,
    /// `*.example.org` under `example.org`.
    wildcard: HashMap<Box<str>, Arc<CertifiedKey>>,
    valid: Vec<Valid>,
}

/// When a certificate is good.
#[derive(Debug)]
struct Valid {
    path: String,
    from: Timestamp,
    until: Timestamp,
}

/// A certificate that clients do not accept at this time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dated {
    /// Its file.
    pub path: String,
    /// It is not valid yet; else it has expired.
    pub early: bool,
}

impl fmt::Display for Dated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.path, if self.early { "is not valid yet" } else { "has expired" })
    }
}

impl Table {
    /// Reads all pairs. Where two are for one name, the earlier one has it.
    pub(super) fn load(config: &[config::Certificate]) -> Result<Self, TlsError> {
        let (head, rest) = config.split_first().ok_or(TlsError::Absent)?;
        let head = Pair::load(head)?;
        let first = Arc::clone(&head.key);
        let mut table = Self { first, exact: HashMap::new(), wildcard: HashMap::new(), valid: Vec::new() };
        table.add(head);
        for source in rest {
            table.add(Pair::load(source)?);
        }
        Ok(table)
    }

    fn add(&mut self, pair: Pair) {
        for name in pair.names {
            let (names, name) = match name.strip_prefix("*.") {
                Some(parent) => (&mut self.wildcard, parent),
                None => (&mut self.exact, name.as_str()),
            };
            names.entry(name.into()).or_insert_with(|| Arc::clone(&pair.key));
        }
        self.valid.push(pair.valid);
    }

    /// The pair for a server name (in lower case, as rustls gives it). A wildcard stands for one label (RFC 9525
    /// section 6.3).
    pub(super) fn find(&self, name: Option<&str>) -> Arc<CertifiedKey> {
        let by_name = name.and_then(|name| {
            let parent = || name.split_once('.').and_then(|(_, parent)| self.wildcard.get(parent));
            self.exact.get(name).or_else(parent)
        });
        Arc::clone(by_name.unwrap_or(&self.first))
    }

    pub(super) fn expiry(&self) -> Timestamp {
        self.valid.iter().map(|valid| valid.until).min().unwrap_or_default()
    }

    pub(super) fn dated(&self, now: Timestamp) -> Vec<Dated> {
        let wrong = self.valid.iter().filter(|valid| now < valid.from || now > valid.until);
        wrong.map(|valid| Dated { path: valid.path.clone(), early: now < valid.from }).collect()
    }
}

/// One certificate with its key, and what it says.
struct Pair {
    key: Arc<CertifiedKey>,
    names: Vec<String>,
    valid: Valid,
}

impl Pair {
    fn load(source: &config::Certificate) -> Result<Self, TlsError> {
        let chain = chain(&source.chain)?;
        let (names, valid) = described(&chain, &source.chain)?;
        let key = private_key(&source.key)?;
        let content = |source_error: Error| TlsError::Content {
            path: name(&source.key),
            what: "private key",
            source: Some(source_error.into()),
        };
        let key = aws_lc_rs::default_provider().key_provider.load_private_key(key).map_err(content)?;
        let key = CertifiedKey::new(chain, key);
        match key.keys_match() {
            Ok(()) => Ok(Self { key: Arc::new(key), names, valid }),
            // Either they differ, or nobody can tell: both are no reason to serve them.
            Err(Error::InconsistentKeys(InconsistentKeys::KeyMismatch | InconsistentKeys::Unknown)) => {
                Err(TlsError::Mismatch { chain: name(&source.chain), key: name(&source.key) })
            }
            Err(error) => Err(not_a_certificate(&source.chain, error)),
        }
    }
}

fn chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let pem = std::fs::read(path).map_err(|source| TlsError::Read { path: name(path), source })?;
    let chain = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>();
    chain.map_err(|error| not_a_certificate(path, error))
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let pem = std::fs::read(path).map_err(|source| TlsError::Read { path: name(path), source })?;
    let pem = Zeroizing::new(pem);
    let wrong = |error: rustls::pki_types::pem::Error| TlsError::Content {
        path: name(path),
        what: "private key",
        source: Some(error.into()),
    };
    PrivateKeyDer::from_pem_slice(&pem).map_err(wrong)
}

/// The DNS names that the first certificate is for, in lower case, and when it is good.
fn described(chain: &[CertificateDer<'static>], path: &Path) -> Result<(Vec<String>, Valid), TlsError> {
    let absent = || TlsError::Content { path: name(path), what: "certificate", source: None };
    let leaf = chain.first().ok_or_else(absent)?;
    let (_, leaf) = X509Certificate::from_der(leaf).map_err(|error| not_a_certificate(path, error))?;
    let alternatives = leaf.subject_alternative_name().map_err(|error| not_a_certificate(path, error))?;
    let alternatives = alternatives.into_iter().flat_map(|extension| &extension.value.general_names);
    let names = alternatives.filter_map(|name| {
        if let GeneralName::DNSName(name) = name { Some(name.to_ascii_lowercase()) } else { None }
    });
    let validity = leaf.validity();
    let seconds = |time: x509_parser::time::ASN1Time| Timestamp::try_from(time.timestamp()).unwrap_or(0);
    let valid =
        Valid { path: name(path), from: seconds(validity.not_before), until: seconds(validity.not_after) };
    Ok((names.collect(), valid))
}

fn not_a_certificate(path: &Path, source: impl std::error::Error + Send + Sync + 'static) -> TlsError {
    TlsError::Content { path: name(path), what: "certificate", source: Some(Box::new(source)) }
}
