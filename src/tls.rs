//! Certificates by server name, read again without dropping connections.
//!
//! The TLS settings are made once; only the table of certificates behind them is exchanged. So open connections and
//! session tickets outlive a reload.

mod table;

use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::crypto::aws_lc_rs;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use thiserror::Error;

use self::table::Table;
use crate::clock::Timestamp;
use crate::config;

pub use table::Dated;

/// The certificates in use; a clone is another handle.
#[derive(Debug, Clone)]
pub struct Certificates {
    sources: Arc<[config::Certificate]>,
    table: Arc<ArcSwap<Table>>,
    server: Arc<rustls::ServerConfig>,
}

/// Certificates cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TlsError {
    /// There is none.
    #[error("no certificate is configured")]
    Absent,
    /// A file cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// Which.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// A file holds something else.
    #[error("{path} holds no usable {what}")]
    Content {
        /// Which.
        path: String,
        /// Certificate or key.
        what: &'static str,
        /// Why.
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// They do not belong together.
    #[error("the key {key} does not belong to the certificate {chain}")]
    Mismatch {
        /// The certificate's file.
        chain: String,
        /// The key's file.
        key: String,
    },
    /// TLS itself cannot be set up.
    #[error("cannot set up TLS")]
    Setup {
        /// Why.
        source: rustls::Error,
    },
}

impl TlsError {
    /// What an administrator can do.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Absent => "add a [[certificate]] section with chain and key, or make listen.https empty",
            Self::Read { .. } => {
                "make the file readable for the user that hubgate runs as, or correct its path"
            }
            Self::Content { .. } => {
                "give the certificate and its chain, and its key without a password, each as PEM"
            }
            Self::Mismatch { .. } => "put the key beside the certificate that was issued for it",
            Self::Setup { .. } => "the machine gives no random numbers; look at its own log",
        }
    }
}

impl Certificates {
    /// Reads and checks all pairs.
    pub fn load(config: &[config::Certificate]) -> Result<Self, TlsError> {
        let table = Arc::new(ArcSwap::from_pointee(Table::load(config)?));
        let server = settings(Resolver(Arc::clone(&table))).map_err(|source| TlsError::Setup { source })?;
        Ok(Self { sources: config.into(), table, server: Arc::new(server) })
    }

    /// Reads the files again. On any error the old ones stay in use.
    pub fn reload(&self) -> Result<(), TlsError> {
        self.table.store(Arc::new(Table::load(&self.sources)?));
        Ok(())
    }

    /// When the first of them expires.
    pub fn expiry(&self) -> Timestamp {
        self.table.load().expiry()
    }

    /// Those that clients do not accept at this time.
    pub fn dated(&self, now: Timestamp) -> Vec<Dated> {
        self.table.load().dated(now)
    }

    /// For listeners: TLS 1.2 and 1.3, HTTP/2 and HTTP/1.1.
    pub fn server_config(&self) -> Arc<rustls::ServerConfig> {
        Arc::clone(&self.server)
    }
}

// What TLS 1.3 sends before the handshake is done (0-RTT) stays off, as rustls has it: it can be sent twice.
fn settings(resolver: Resolver) -> Result<rustls::ServerConfig, rustls::Error> {
    // Named, not taken from the process: another crate in the tree may bring another provider.
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut settings = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13, &TLS12])?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(resolver));
    settings.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    settings.ticketer = aws_lc_rs::Ticketer::new()?;
    settings.send_tls13_tickets = 1;
    Ok(settings)
}

#[derive(Debug)]
struct Resolver(Arc<ArcSwap<Table>>);

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load().find(hello.server_name()))
    }
}

fn name(path: &Path) -> String {
    path.display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_certificate_is_an_error_with_a_remedy() {
        let error = Certificates::load(&[]).unwrap_err();
        assert!(matches!(error, TlsError::Absent), "{error}");
        assert!(error.remedy().contains("[[certificate]]"));
    }
}
