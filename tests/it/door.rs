//! A listener in this process: TLS where asked for, limits as a test wants them, and redirects behind it.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hubgate::config::{self, Certificate, Listen};
use hubgate::gateway::{Hosts, Origin, Redirect};
use hubgate::listener::{Listener, Service};
use hubgate::metrics::{Metrics, Outcome};
use hubgate::tasks::Tasks;
use hubgate::tls::Certificates;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use support::certs::{Authority, write_secret};
use support::client::{Answer, PATIENCE, read_answer};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Where the redirects lead.
pub(crate) const ORIGIN: &str = "https://hub.example";

/// A listener, and all that a test needs to judge it.
pub(crate) struct Door {
    pub(crate) address: SocketAddr,
    pub(crate) authority: Authority,
    pub(crate) certificates: Certificates,
    pub(crate) metrics: Metrics,
    pub(crate) tasks: Tasks,
    folder: TempDir,
}

impl Door {
    /// With TLS, one certificate for `hub.example`, and limits changed by `change`.
    pub(crate) async fn open(change: impl FnOnce(&mut Listen)) -> Self {
        Self::with(&[&["hub.example"]], true, change).await
    }

    /// Without TLS.
    pub(crate) async fn plain(change: impl FnOnce(&mut Listen)) -> Self {
        Self::with(&[&["hub.example"]], false, change).await
    }

    /// With a certificate for each of these lists of names.
    pub(crate) async fn with(pairs: &[&[&str]], tls: bool, change: impl FnOnce(&mut Listen)) -> Self {
        let (folder, authority) = (TempDir::new().unwrap(), Authority::new());
        let sources: Vec<Certificate> = (0..pairs.len()).map(|at| source(folder.path(), at)).collect();
        for (at, names) in pairs.iter().enumerate() {
            write_pair(folder.path(), at, &authority.issue(names));
        }
        let certificates = Certificates::load(&sources).unwrap();
        let (metrics, tasks) = (Metrics::new(), Tasks::default());
        let mut listen = Listen { drain_timeout: config::Span::seconds(1), ..Listen::default() };
        change(&mut listen);
        let year = Duration::from_hours(365 * 24);
        let settings = certificates.server_config();
        let listener = Listener::new(&listen, settings, year, tasks.clone(), metrics.clone());
        let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = socket.local_addr().unwrap();
        let redirect = Service::Redirect(Arc::new(Redirect::new(Hosts::new(
            Origin::new(&ORIGIN.parse().unwrap(), vec![]),
            vec![],
            None,
        ))));
        tasks.spawn(Arc::new(listener).accept(socket, redirect, tls, 0));
        Self { address, authority, certificates, metrics, tasks, folder }
    }

    /// Puts another pair in the place of one.
    pub(crate) fn replace(&self, at: usize, pair: &(String, String)) {
        write_pair(self.folder.path(), at, pair);
    }

    /// The files of a pair: certificate and key.
    pub(crate) fn files(&self, at: usize) -> (PathBuf, PathBuf) {
        let Certificate { chain, key } = source(self.folder.path(), at);
        (chain, key)
    }

    /// A connection, before TLS.
    pub(crate) async fn tcp(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }

    /// A connection with TLS to `hub.example`, offering these protocols.
    pub(crate) async fn tls(&self, protocols: &[&str]) -> TlsStream<TcpStream> {
        let config = Arc::new(self.client_config(protocols));
        secure(&config, "hub.example", self.tcp().await).await.unwrap()
    }

    /// A client that trusts this listener's authority.
    pub(crate) fn client_config(&self, protocols: &[&str]) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.authority.pem().as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let mut config = builder.unwrap().with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        config
    }

    /// How many handshakes ended so.
    pub(crate) fn handshakes(&self, result: &'static str) -> u64 {
        self.metrics.tls_handshakes.get_or_create(&Outcome { result }).get()
    }
}

/// The handshake of a client, over any stream.
pub(crate) async fn secure<S>(
    config: &Arc<ClientConfig>,
    name: &str,
    stream: S,
) -> std::io::Result<TlsStream<S>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let name = ServerName::try_from(name.to_owned()).unwrap();
    timeout(PATIENCE, TlsConnector::from(Arc::clone(config)).connect(name, stream)).await.unwrap()
}

/// Sends a request in HTTP/1.1 and reads its answer; the connection stays open.
pub(crate) async fn ask(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), request: &str) -> Answer {
    stream.write_all(request.as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
    timeout(PATIENCE, read_answer(stream, false)).await.unwrap()
}

/// Waits until the other side has closed; answers what it sent before.
pub(crate) async fn until_closed(stream: &mut (impl AsyncRead + Unpin)) -> Vec<u8> {
    let mut bytes = Vec::new();
    // Closed with an alert, a FIN or a reset: it is over in any case.
    drop(timeout(PATIENCE, stream.read_to_end(&mut bytes)).await.expect("an end in time"));
    bytes
}

fn source(folder: &Path, at: usize) -> Certificate {
    Certificate { chain: folder.join(format!("{at}.pem")), key: folder.join(format!("{at}.key")) }
}

fn write_pair(folder: &Path, at: usize, (certificate, key): &(String, String)) {
    let source = source(folder, at);
    fs::write(source.chain, certificate).unwrap();
    write_secret(&source.key, key);
}

/// A request that is answered with a redirect.
pub(crate) const GET: &str = "GET /lab?a=1 HTTP/1.1\r\nHost: hub.example\r\n\r\n";
