//! Certificates by server name, read again without dropping connections.

use std::sync::Arc;

use thiserror::Error;

use crate::clock::Timestamp;
use crate::config;

/// The certificates in use; a clone is another handle.
#[derive(Debug, Clone)]
pub struct Certificates;

/// Certificates cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TlsError {
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
}

impl TlsError {
    /// What an administrator can do.
    pub fn remedy(&self) -> &'static str {
        todo!()
    }
}

impl Certificates {
    /// Reads and checks all pairs.
    pub fn load(_config: &[config::Certificate]) -> Result<Self, TlsError> {
        todo!()
    }

    /// Reads the files again. On any error the old ones stay in use.
    pub fn reload(&self) -> Result<(), TlsError> {
        todo!()
    }

    /// When the first of them expires.
    pub fn expiry(&self) -> Timestamp {
        todo!()
    }

    /// For listeners: TLS 1.2 and 1.3, HTTP/2 and HTTP/1.1.
    pub fn server_config(&self) -> Arc<rustls::ServerConfig> {
        todo!()
    }
}
