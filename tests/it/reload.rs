//! SIGHUP: other certificates, the same connections.

use std::fs;
use std::path::Path;

use rustix::process::Signal;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use support::certs::write_secret;
use support::hub::Hub;
use support::process::NAME;

use crate::BINARY;
use crate::door::ask;
use crate::socket::Socket;

/// The certificate that new connections get.
async fn shown(hub: &Hub) -> CertificateDer<'static> {
    let stream = hub.client().connect(&["http/1.1"]).await;
    stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned()
}

fn der(pem: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
}

#[tokio::test]
async fn sighup_serves_the_new_certificate_and_keeps_every_connection() {
    let hub = Hub::start(BINARY).await;
    hub.run_workspace("alice").await;
    let mut socket = Socket::open(&hub, "alice").await;
    socket.echo("before").await;
    let mut kept = hub.client().connect(&["http/1.1"]).await;
    let request = format!("GET /hub/api/ HTTP/1.1\r\nHost: {}\r\n\r\n", hub.host());
    assert_eq!(ask(&mut kept, &request).await.status, 200);

    let new = hub.process().authority().write_pair(hub.folder(), &[NAME]);
    assert_ne!(shown(&hub).await, der(&new), "not before it is told");
    hub.process().signal(Signal::HUP);
    hub.process().until_logged("certificates_reloaded").await;

    assert_eq!(shown(&hub).await, der(&new));
    socket.echo("after").await;
    assert_eq!(ask(&mut kept, &request).await.status, 200);
    assert!((hub.process().metric("hubgate_certificate_reloads_total").await - 1.0).abs() < 0.1);
}

#[tokio::test]
async fn sighup_with_a_pair_that_does_not_match_keeps_the_old_one_and_says_so() {
    let hub = Hub::start(BINARY).await;
    let old = shown(&hub).await;
    let (certificate, _) = hub.process().authority().issue(&[NAME]);
    fs::write(hub.folder().join("cert.pem"), certificate).unwrap();
    hub.process().signal(Signal::HUP);
    hub.process().until_logged("certificates_kept").await;
    let log = hub.process().log();
    assert!(log.contains("does not belong to the certificate"), "{log}");
    assert!(log.contains("put the key beside"), "a remedy: {log}");
    assert_eq!(shown(&hub).await, old);
    let failed = "hubgate_certificate_reloads_total{result=\"failed\"}";
    assert!((hub.process().metric(failed).await - 1.0).abs() < 0.1);

    // Mended, it goes on.
    let (certificate, key) = hub.process().authority().issue(&[NAME]);
    fs::write(hub.folder().join("cert.pem"), &certificate).unwrap();
    write_secret(&hub.folder().join("key.pem"), &key);
    hub.process().signal(Signal::HUP);
    hub.process().until_logged("certificates_reloaded").await;
    assert_eq!(shown(&hub).await, der(&certificate));
}

/// What a login that begins now ends with.
async fn login(hub: &Hub) -> u16 {
    hub.sign_in_at(&mut hub.client(), "bob", "/hub/login").await.status
}

#[tokio::test]
async fn sighup_takes_a_new_client_secret_and_keeps_every_connection() {
    let hub = Hub::start(BINARY).await;
    hub.run_workspace("alice").await;
    let mut socket = Socket::open(&hub, "alice").await;
    hub.provider().change_secret("n:e%w + ü");
    write_secret(&hub.folder().join("secret"), "n:e%w + ü\n");
    assert_eq!(login(&hub).await, 403, "not before it is told");
    hub.process().until_logged("compare provider.client_id and provider.client_secret").await;
    hub.process().signal(Signal::HUP);
    hub.process().until_logged("credential_reloaded").await;
    assert_eq!(login(&hub).await, 303, "{}", hub.process().log());
    socket.echo("after").await;
    let log = hub.process().log();
    assert!(!log.contains("n:e%w"), "{log}");
}

#[tokio::test]
async fn sighup_without_a_secret_that_can_be_used_keeps_the_old_one_and_says_so() {
    let hub = Hub::start(BINARY).await;
    let secret = hub.folder().join("secret");
    let spoils: [fn(&Path); 3] = [
        |path| fs::write(path, "\n").unwrap(),
        |path| fs::write(path, [0xff, 0xfe]).unwrap(),
        |path| fs::remove_file(path).unwrap(),
    ];
    for (index, spoil) in spoils.into_iter().enumerate() {
        spoil(&secret);
        hub.process().signal(Signal::HUP);
        support::eventually::eventually("another look", || async {
            hub.process().log().matches("credential_kept").count() == index + 1
        })
        .await;
        assert_eq!(login(&hub).await, 303, "{}", hub.process().log());
    }
    let log = hub.process().log();
    assert!(log.contains("see that it exists and that hubgate's user may read it"), "a remedy: {log}");
}
