//! Its certificate.

use std::io::Write as _;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tempfile::{NamedTempFile, TempPath};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// A connection, with TLS or without.
pub(super) type Stream = Pin<Box<dyn Either>>;

/// What both can do.
pub(super) trait Either: AsyncRead + AsyncWrite + Send {}
impl<T: AsyncRead + AsyncWrite + Send> Either for T {}

/// A certificate for 127.0.0.1, and the authority it comes from.
pub(super) struct Tls {
    authority: TempPath,
    acceptor: TlsAcceptor,
    connector: TlsConnector,
}

impl Tls {
    pub(super) fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = params.self_signed(&key).unwrap();
        let issuer = Issuer::new(params, key);
        let key = KeyPair::generate().unwrap();
        let leaf =
            CertificateParams::new(["127.0.0.1".to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let server = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![leaf.der().clone()], key)
            .unwrap();
        let mut file = NamedTempFile::new().unwrap();
        file.write_all(authority.pem().as_bytes()).unwrap();
        Self {
            authority: file.into_temp_path(),
            acceptor: TlsAcceptor::from(Arc::new(server)),
            connector: connector(authority.der().clone()),
        }
    }

    pub(super) fn authority(&self) -> &Path {
        &self.authority
    }

    /// The server's side. `None`: the client does not trust us.
    pub(super) async fn accept(&self, stream: TcpStream) -> Option<Stream> {
        Some(Box::pin(self.acceptor.accept(stream).await.ok()?))
    }

    /// The client's side.
    pub(super) async fn connect(&self, stream: TcpStream) -> Stream {
        let name = ServerName::try_from("127.0.0.1").unwrap();
        Box::pin(self.connector.connect(name, stream).await.unwrap())
    }
}

fn connector(authority: CertificateDer<'static>) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(authority).unwrap();
    let client = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    TlsConnector::from(Arc::new(client))
}
