//! A registry of one image, of which an engine gets one half, slowly, until a test lets the rest go.
#![expect(clippy::disallowed_methods, reason = "it stands for another machine")]

use std::sync::Arc;
use std::time::Duration;

use hubgate::seal::{hex, sha256};
use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// It listens on loopback, without TLS: engines are content with that, or told to be.
pub(crate) struct Registry {
    address: String,
    rest: watch::Sender<bool>,
    serving: JoinHandle<()>,
}

/// What is served.
struct Shown {
    layer: Blob,
    config: Blob,
    manifest: Blob,
    rest: watch::Receiver<bool>,
}

/// What is called after its hash.
struct Blob {
    digest: String,
    content: Vec<u8>,
}

impl Registry {
    /// One with a new image.
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (rest, receiver) = watch::channel(false);
        let shown = Arc::new(Shown::new(receiver));
        let serving = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let shown = Arc::clone(&shown);
                // A client that goes away is none of the test's business.
                tokio::spawn(async move { drop(shown.serve(client).await) });
            }
        });
        Self { address, rest, serving }
    }

    /// What the image is called.
    pub(crate) fn image(&self) -> String {
        format!("{}/hubgate-test/slow:1", self.address)
    }

    /// Serves the second half, too.
    pub(crate) fn let_go(&self) {
        self.rest.send_replace(true);
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Shown {
    fn new(rest: watch::Receiver<bool>) -> Self {
        let layer = Blob::new(archive());
        let config = json!({
            "architecture": "amd64", "os": "linux", "config": { "Cmd": ["/slow"] },
            "rootfs": { "type": "layers", "diff_ids": [layer.digest] },
            "history": [{ "created_by": "a test" }],
        });
        let config = Blob::new(config.to_string().into_bytes());
        let manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST,
            "config": {
                "mediaType": "application/vnd.docker.container.image.v1+json",
                "size": config.content.len(), "digest": config.digest,
            },
            "layers": [{
                "mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip",
                "size": layer.content.len(), "digest": layer.digest,
            }],
        });
        Self { layer, config, manifest: Blob::new(manifest.to_string().into_bytes()), rest }
    }

    /// One request on each connection.
    async fn serve(&self, client: TcpStream) -> std::io::Result<()> {
        let mut client = BufReader::new(client);
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            // Some try TLS first: that is no text.
            if client.read_line(&mut line).await? == 0 {
                return Ok(());
            }
            if line.trim().is_empty() {
                break;
            }
            lines.push(line);
        }
        let mut words = lines.first().map(String::as_str).unwrap_or_default().split(' ');
        let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let Some((kind, blob)) = self.find(path) else {
            let status = if path == "/v2/" { "200 OK" } else { "404 Not Found" };
            let answer =
                format!("HTTP/1.1 {status}\r\n{VERSION}Content-Length: 0\r\nConnection: close\r\n\r\n");
            client.write_all(answer.as_bytes()).await?;
            return client.shutdown().await;
        };
        let Blob { digest, content } = blob;
        let length = content.len();
        let head = format!(
            "HTTP/1.1 200 OK\r\n{VERSION}Content-Type: {kind}\r\nContent-Length: {length}\r\n\
             Docker-Content-Digest: {digest}\r\nConnection: close\r\n\r\n",
        );
        client.write_all(head.as_bytes()).await?;
        if method == "HEAD" {
            return client.shutdown().await;
        }
        let slow = std::ptr::eq(blob, &raw const self.layer);
        let (slowly, rest) = content.split_at(if slow { length / 2 } else { 0 });
        // Podman says how far it is only when something comes.
        for piece in slowly.chunks(PIECE) {
            client.write_all(piece).await?;
            drop(timeout(PAUSE, self.let_go()).await);
        }
        if slow {
            self.let_go().await;
        }
        client.write_all(rest).await?;
        client.shutdown().await
    }

    async fn let_go(&self) {
        drop(self.rest.clone().wait_for(|rest| *rest).await);
    }

    fn find(&self, path: &str) -> Option<(&'static str, &Blob)> {
        if path.contains("/manifests/") {
            return Some((MANIFEST, &self.manifest));
        }
        let (_, digest) = path.rsplit_once('/')?;
        let blob = [&self.config, &self.layer].into_iter().find(|blob| blob.digest == digest)?;
        Some(("application/octet-stream", blob))
    }
}

impl Blob {
    fn new(content: Vec<u8>) -> Self {
        Self { digest: format!("sha256:{}", hex(&sha256(&content))), content }
    }
}

/// One file that no engine has seen before.
fn archive() -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let seed: [u8; 32] = sha256(folder.path().as_os_str().as_encoded_bytes());
    let mut content = Vec::new();
    for block in 0..SIZE / seed.len() {
        content.extend(sha256(&[&seed[..], &block.to_le_bytes()].concat()));
    }
    std::fs::write(folder.path().join("slow"), content).unwrap();
    let made =
        std::process::Command::new("tar").arg("-C").arg(folder.path()).args(["-cf", "-", "slow"]).output();
    let made = made.expect("tar");
    assert!(made.status.success(), "{made:?}");
    made.stdout
}

const MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";

const VERSION: &str = "Docker-Distribution-API-Version: registry/2.0\r\n";

/// In bytes.
const SIZE: usize = 2 << 20;

/// What comes at once of the first half,
const PIECE: usize = 4 << 10;

/// and what passes before more of it comes.
const PAUSE: Duration = Duration::from_millis(100);
