//! Certificates and handshakes.

use std::fs;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use hubgate::config::Certificate;
use hubgate::tls::{Certificates, TlsError};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, HandshakeKind, ProtocolVersion};
use support::certs::Authority;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::door::{Door, GET, ORIGIN, ask, secure, until_closed};

/// The certificate that a server showed.
fn shown(stream: &TlsStream<TcpStream>) -> CertificateDer<'static> {
    stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned()
}

fn der(pem: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
}

#[tokio::test]
async fn the_server_name_chooses_the_certificate() {
    let names: &[&[&str]] = &[&["hub.example"], &["*.users.example", "Other.example"], &["a.users.example"]];
    let door = Door::with(names, true, |_| {}).await;
    let pem = |at| fs::read_to_string(door.files(at).0).unwrap();
    for (name, at) in [
        ("hub.example", 0),
        ("other.example", 1),
        ("OTHER.EXAMPLE", 1),
        ("b.users.example", 1),
        ("a.users.example", 2),
    ] {
        let config = Arc::new(door.client_config(&[]));
        let stream = secure(&config, name, door.tcp().await).await.unwrap();
        assert_eq!(shown(&stream), der(&pem(at)), "{name}");
    }
    // The first one is shown to whoever asks for none of them, and the client judges it.
    for name in ["stranger.example", "deep.b.users.example", "users.example", "127.0.0.1"] {
        let config = Arc::new(door.client_config(&[]));
        let error = secure(&config, name, door.tcp().await).await.unwrap_err();
        assert!(error.to_string().contains("not valid for name"), "{name}: {error}");
    }
}

#[tokio::test]
async fn new_connections_get_the_new_certificate_and_open_ones_stay() {
    let door = Door::open(|_| {}).await;
    let mut open = door.tls(&[]).await;
    assert_eq!(ask(&mut open, GET).await.status, 308);
    let old = shown(&open);

    let pair = door.authority.issue(&["hub.example"]);
    door.replace(0, &pair);
    door.certificates.reload().unwrap();

    assert_eq!(ask(&mut open, GET).await.status, 308, "on the old connection");
    let new = shown(&door.tls(&[]).await);
    assert_eq!(new, der(&pair.0));
    assert_ne!(new, old);
}

#[tokio::test]
async fn a_pair_that_cannot_be_used_leaves_the_old_one_in_place() {
    let door = Door::open(|_| {}).await;
    let good = shown(&door.tls(&[]).await);
    let (chain, key) = door.files(0);
    let old = (fs::read_to_string(&chain).unwrap(), fs::read_to_string(&key).unwrap());
    let other = door.authority.issue(&["hub.example"]);
    let half = |text: &str| text.split_at(text.len() / 2).0.to_owned();
    let swapped = (old.1.clone(), old.0.clone());
    for (what, pair) in [
        ("another's key", (old.0.clone(), other.1.clone())),
        ("half a certificate", (half(&other.0), other.1.clone())),
        ("half a key", (other.0.clone(), half(&other.1))),
        ("an empty file", (String::new(), other.1)),
        ("key and certificate swapped", swapped),
    ] {
        door.replace(0, &pair);
        let error = door.certificates.reload().unwrap_err();
        if what == "another's key" {
            assert!(matches!(error, TlsError::Mismatch { .. }), "{error}");
        }
        assert!(!error.remedy().is_empty());
        assert_eq!(shown(&door.tls(&[]).await), good, "{what}");
    }
    door.replace(0, &old);
    fs::remove_file(&key).unwrap();
    assert!(matches!(door.certificates.reload(), Err(TlsError::Read { .. })));
    assert_eq!(shown(&door.tls(&[]).await), good);
}

#[tokio::test]
async fn a_key_error_does_not_show_the_key() {
    let folder = tempfile::TempDir::new().unwrap();
    let (chain, key) = (folder.path().join("c.pem"), folder.path().join("k.pem"));
    let (certificate, _) = Authority::new().issue(&["hub.example"]);
    fs::write(&chain, certificate).unwrap();
    let canary = "-----BEGIN PRIVATE KEY-----\nQ0FOQVJZQ0FOQVJZ\n-----END PRIVATE KEY-----\n";
    fs::write(&key, canary).unwrap();
    let error = Certificates::load(&[Certificate { chain, key }]).unwrap_err();
    let shown = format!("{error} {error:?}");
    assert!(!shown.contains("Q0FOQVJZ") && !shown.contains("CANARY"), "{shown}");
}

#[tokio::test]
async fn expired_and_early_certificates_are_known_and_served_all_the_same() {
    let folder = tempfile::TempDir::new().unwrap();
    let mut sources = Vec::new();
    for (at, (from, until)) in [(2020, 2021), (2090, 2099), (2020, 2099)].into_iter().enumerate() {
        let mut params = rcgen::CertificateParams::new(vec!["hub.example".to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(from, 1, 1);
        params.not_after = rcgen::date_time_ymd(until, 1, 1);
        let key = rcgen::KeyPair::generate().unwrap();
        let chain = folder.path().join(format!("{at}.pem"));
        fs::write(&chain, params.self_signed(&key).unwrap().pem()).unwrap();
        let key_file = folder.path().join(format!("{at}.key"));
        fs::write(&key_file, key.serialize_pem()).unwrap();
        sources.push(Certificate { chain, key: key_file });
    }
    let certificates = Certificates::load(&sources).unwrap();
    // 2026-01-01
    let dated = certificates.dated(1_767_225_600);
    let said: Vec<String> = dated.iter().map(ToString::to_string).collect();
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(said[0].ends_with("0.pem has expired"), "{said:?}");
    assert!(said[1].ends_with("1.pem is not valid yet"), "{said:?}");
    // 2021-01-01: the first end of all.
    assert_eq!(certificates.expiry(), 1_609_459_200);
}

#[tokio::test]
async fn a_client_that_knows_nothing_newer_than_tls_1_1_is_refused() {
    let door = Door::open(|_| {}).await;
    for minor in [1, 2] {
        let mut stream = door.tcp().await;
        stream.write_all(&client_hello(minor)).await.unwrap();
        let answer = until_closed(&mut stream).await;
        // A fatal alert (21, 2): protocol_version (70), RFC 8446 section 6.2.
        assert_eq!((answer[0], &answer[5..7]), (21, &[2, 70][..]), "{answer:?}");
    }
    let mut stream = door.tcp().await;
    stream.write_all(&client_hello(3)).await.unwrap();
    let mut answer = [0; 6];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!((answer[0], answer[5]), (22, 2), "TLS 1.2 gets a ServerHello");
    assert_eq!(door.handshakes("failed"), 2);
}

/// A `ClientHello` of TLS 1.`minor - 1` (RFC 5246 section 7.4.1.2).
fn client_hello(minor: u8) -> Vec<u8> {
    // version, random, no session, two suites (ECDHE with ECDSA), no compression
    let mut body = vec![3, minor];
    body.extend([7; 32]);
    body.extend([0, 0, 4, 0xc0, 0x2b, 0xc0, 0x2c, 1, 0]);
    // supported_groups: secp256r1, x25519; ec_point_formats: uncompressed; signature_algorithms: ECDSA, SHA-256
    let extensions = [0, 10, 0, 6, 0, 4, 0, 23, 0, 29, 0, 11, 0, 2, 1, 0, 0, 13, 0, 4, 0, 2, 4, 3];
    body.extend([0, u8::try_from(extensions.len()).unwrap()]);
    body.extend(extensions);
    let mut hello = vec![22, 3, 1, 0, u8::try_from(body.len() + 4).unwrap()];
    hello.extend([1, 0, 0, u8::try_from(body.len()).unwrap()]);
    hello.extend(body);
    hello
}

#[tokio::test]
async fn tls_1_2_and_1_3_are_spoken_and_nothing_is_taken_before_the_handshake_is_done() {
    let door = Door::open(|_| {}).await;
    assert_eq!(door.certificates.server_config().max_early_data_size, 0, "0-RTT can be sent twice");
    for (version, known) in [
        (&rustls::version::TLS12, ProtocolVersion::TLSv1_2),
        (&rustls::version::TLS13, ProtocolVersion::TLSv1_3),
    ] {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(der(&door.authority.pem())).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[version]);
        let config = builder.unwrap().with_root_certificates(roots).with_no_client_auth();
        let stream = secure(&Arc::new(config), "hub.example", door.tcp().await).await.unwrap();
        assert_eq!(stream.get_ref().1.protocol_version(), Some(known));
    }
}

#[tokio::test]
async fn a_client_hello_in_pieces_of_one_byte_is_understood() {
    let door = Door::open(|_| {}).await;
    let config = Arc::new(door.client_config(&[]));
    let mut stream = secure(&config, "hub.example", Crumbs(door.tcp().await)).await.unwrap();
    assert_eq!(ask(&mut stream, GET).await.status, 308);

    // Many records for one message (RUSTSEC-2024-0399).
    let mut config = door.client_config(&[]);
    config.max_fragment_size = Some(32);
    let mut stream = secure(&Arc::new(config), "hub.example", Crumbs(door.tcp().await)).await.unwrap();
    assert_eq!(ask(&mut stream, GET).await.status, 308);
}

/// Writes one byte at a time.
struct Crumbs(TcpStream);

impl AsyncRead for Crumbs {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Crumbs {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, &buf[..buf.len().min(1)])
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

#[tokio::test]
async fn the_protocol_is_what_the_client_offers() {
    let door = Door::open(|_| {}).await;
    for (offered, chosen) in [
        (&["h2", "http/1.1"][..], Some(&b"h2"[..])),
        (&["http/1.1", "h2"], Some(b"h2")),
        (&["http/1.1"], Some(b"http/1.1")),
        (&[], None),
    ] {
        let mut stream = door.tls(offered).await;
        assert_eq!(stream.get_ref().1.alpn_protocol(), chosen, "{offered:?}");
        let status =
            if chosen == Some(b"h2") { over_http2(stream).await } else { ask(&mut stream, GET).await.status };
        assert_eq!(status, 308, "{offered:?}");
    }
}

async fn over_http2(stream: TlsStream<TcpStream>) -> u16 {
    let builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
    let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await.unwrap();
    let request = http::Request::get(format!("{ORIGIN}/lab")).body(String::new()).unwrap();
    tokio::select! {
        answer = sender.send_request(request) => answer.unwrap().status().as_u16(),
        end = connection => panic!("the connection ended: {end:?}"),
    }
}

#[tokio::test]
async fn a_ticket_outlives_a_reload() {
    let door = Door::open(|_| {}).await;
    let config = Arc::new(door.client_config(&[]));
    for (round, expected) in [HandshakeKind::Full, HandshakeKind::Resumed].into_iter().enumerate() {
        let mut stream = secure(&config, "hub.example", door.tcp().await).await.unwrap();
        // The ticket comes after the handshake.
        assert_eq!(ask(&mut stream, GET).await.status, 308);
        assert_eq!(stream.get_ref().1.handshake_kind(), Some(expected), "{round}");
        door.certificates.reload().unwrap();
    }
}

#[tokio::test]
async fn plain_http_at_the_tls_port_is_told_so() {
    let door = Door::open(|_| {}).await;
    let mut stream = door.tcp().await;
    let answer =
        ask(&mut stream, "POST /hub/login HTTP/1.1\r\nHost: hub.example\r\nContent-Length: 9\r\n\r\n").await;
    assert_eq!(answer.status, 400);
    assert!(answer.text().contains("https"), "{}", answer.text());
    assert_eq!(answer.header("location"), None);
    drop(stream);
    support::eventually::eventually("it to be counted", || async { door.handshakes("not_tls") == 1 }).await;
}

#[tokio::test]
async fn browsers_are_told_to_come_with_tls_only_over_tls() {
    let door = Door::open(|_| {}).await;
    let answer = ask(&mut door.tls(&[]).await, GET).await;
    assert_eq!(answer.all("strict-transport-security"), ["max-age=31536000"]);
    let plain = Door::plain(|_| {}).await;
    let answer = ask(&mut plain.tcp().await, GET).await;
    assert_eq!(answer.header("strict-transport-security"), None, "RFC 6797 section 7.2");
}
