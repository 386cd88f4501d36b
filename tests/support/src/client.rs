//! A browser without a screen: TLS with an authority of our own, a cookie jar, redirects by hand, raw bytes where a
//! browser would refuse to send them.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::eventually::patience;

/// Longer than anything a test waits for, shorter than a test run.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// One browser: where the hub is, whom it trusts, its cookies.
#[derive(Debug, Clone)]
pub struct Client {
    address: SocketAddr,
    from: IpAddr,
    host: String,
    tls: Arc<ClientConfig>,
    cookies: BTreeMap<String, String>,
}

/// A response, whole.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// Names in lower case, in the order they came.
    pub headers: Vec<(String, String)>,
    /// The body, with chunks put together.
    pub body: Vec<u8>,
}

impl Answer {
    /// The first header of this name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// All headers of this name.
    pub fn all(&self, name: &str) -> Vec<&str> {
        self.headers.iter().filter(|(key, _)| key == name).map(|(_, value)| value.as_str()).collect()
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// What a page shows to be copied.
    pub fn shown(&self) -> Option<String> {
        let text = self.text();
        let (_, rest) = text.split_once("<p class=\"shown\"><code>")?;
        rest.split_once("</code>").map(|(shown, _)| shown.to_owned())
    }

    /// The value of a hidden field in a page.
    pub fn field(&self, name: &str) -> Option<String> {
        let text = self.text();
        let (_, rest) = text.split_once(&format!("name=\"{name}\" value=\""))?;
        rest.split_once('"').map(|(value, _)| value.to_owned())
    }
}

impl Client {
    /// A browser that finds the host `host` (with its port, where it has one) at `address` and trusts the authority in `ca_pem`.
    pub fn new(address: SocketAddr, host: &str, ca_pem: &str) -> Self {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(ca_pem.as_bytes()) {
            roots.add(certificate.unwrap()).unwrap();
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let from = Ipv4Addr::UNSPECIFIED.into();
        Self { address, from, host: host.to_owned(), tls: Arc::new(tls), cookies: BTreeMap::new() }
    }

    /// The same browser without cookies.
    pub fn fresh(&self) -> Self {
        Self { cookies: BTreeMap::new(), ..self.clone() }
    }

    /// The same browser at another host, where it has no cookies yet.
    pub fn at(&self, host: &str) -> Self {
        Self { host: host.to_owned(), ..self.fresh() }
    }

    /// The same browser, which has moved to another of this machine's addresses.
    pub fn moved_to(&self, from: IpAddr) -> Self {
        Self { from, ..self.clone() }
    }

    /// The host it speaks to.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Its cookies, as a header's value.
    pub fn cookies(&self) -> String {
        let pairs: Vec<String> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        pairs.join("; ")
    }

    /// The value of one cookie.
    pub fn cookie(&self, name: &str) -> Option<&str> {
        self.cookies.get(name).map(String::as_str)
    }

    /// Puts a cookie into the jar.
    pub fn set_cookie(&mut self, name: &str, value: &str) {
        self.cookies.insert(name.to_owned(), value.to_owned());
    }

    /// Takes a cookie out of the jar.
    pub fn forget_cookie(&mut self, name: &str) {
        self.cookies.remove(name);
    }

    /// A TLS connection that speaks one of these protocols.
    pub async fn connect(&self, protocols: &[&str]) -> TlsStream<TcpStream> {
        let mut config = (*self.tls).clone();
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::new(self.from, 0)).unwrap();
        let stream = socket.connect(self.address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let name = self.host.split(':').next().unwrap_or_default().to_owned();
        let name = ServerName::try_from(name).unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap()
    }

    /// Sends bytes as they are, and reads one response.
    pub async fn raw(&self, request: &[u8]) -> Answer {
        let mut stream = self.connect(&["http/1.1"]).await;
        stream.write_all(request).await.unwrap();
        stream.flush().await.unwrap();
        let head_only = request.starts_with(b"HEAD ");
        tokio::time::timeout(patience(), read_answer(&mut stream, head_only))
            .await
            .expect("an answer in time")
    }

    /// One request with the jar's cookies, on a connection of its own. Cookies that come back are kept.
    pub async fn send(
        &mut self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Answer {
        let mut request =
            format!("{method} {target} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", self.host);
        if !self.cookies.is_empty() {
            write!(request, "Cookie: {}\r\n", self.cookies()).unwrap();
        }
        for (name, value) in headers {
            write!(request, "{name}: {value}\r\n").unwrap();
        }
        if !body.is_empty() || method == "POST" {
            write!(request, "Content-Length: {}\r\n", body.len()).unwrap();
        }
        request.push_str("\r\n");
        let mut bytes = request.into_bytes();
        bytes.extend_from_slice(body);
        let answer = self.raw(&bytes).await;
        self.keep_cookies(&answer);
        answer
    }

    /// Opens a page, as a person does.
    pub async fn open(&mut self, target: &str) -> Answer {
        let headers = [
            ("Accept", "text/html,application/xhtml+xml"),
            ("Sec-Fetch-Mode", "navigate"),
            ("Sec-Fetch-Dest", "document"),
            ("Sec-Fetch-Site", "none"),
        ];
        self.send("GET", target, &headers, b"").await
    }

    /// Asks as a script of the hub's own origin does.
    pub async fn fetch(&mut self, method: &str, target: &str, body: &[u8]) -> Answer {
        let origin = format!("https://{}", self.host);
        let headers = [
            ("Accept", "*/*"),
            ("Origin", origin.as_str()),
            ("Sec-Fetch-Mode", "cors"),
            ("Sec-Fetch-Site", "same-origin"),
            ("Sec-Fetch-Dest", "empty"),
        ];
        self.send(method, target, &headers, body).await
    }

    /// Makes an API token on its page, as a person does.
    pub async fn make_token(&mut self, scopes: &[&str]) -> String {
        let form_token = self.open("/hub/token").await.field("form_token").expect("a form");
        let mut fields = vec![
            ("form_token", form_token.as_str()),
            ("action", "make"),
            ("note", "a test"),
            ("lifetime", "86400"),
        ];
        fields.extend(scopes.iter().map(|scope| ("scope", *scope)));
        let answer = self.submit("/hub/token", &fields).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.shown().expect("a token")
    }

    /// Sends a form of one of the hub's own pages.
    pub async fn submit(&mut self, target: &str, fields: &[(&str, &str)]) -> Answer {
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let origin = format!("https://{}", self.host);
        let headers = [
            ("Accept", "text/html"),
            ("Origin", origin.as_str()),
            ("Sec-Fetch-Mode", "navigate"),
            ("Sec-Fetch-Site", "same-origin"),
            ("Content-Type", "application/x-www-form-urlencoded"),
        ];
        self.send("POST", target, &headers, body.as_bytes()).await
    }

    fn keep_cookies(&mut self, answer: &Answer) {
        for cookie in answer.all("set-cookie") {
            let pair = cookie.split(';').next().unwrap_or_default();
            let Some((name, value)) = pair.split_once('=') else { continue };
            // RFC 6265bis section 5.6: a larger one is not kept.
            if name.len() + value.len() > 4096 {
                continue;
            }
            // Tornado takes a cookie back by emptying it, with an end in the past.
            if cookie.contains("Max-Age=0") || value == "\"\"" {
                self.cookies.remove(name);
            } else {
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
    }
}

/// Reads one response: head, then as many bytes as it says, as chunks, or to the end.
pub async fn read_answer(stream: &mut (impl AsyncRead + Unpin), head_only: bool) -> Answer {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = find(&bytes, b"\r\n\r\n") {
            break end;
        }
        if read_more(stream, &mut bytes).await == 0 {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            // A connection closed without an answer is an answer too.
            return Answer { status: 0, headers: Vec::new(), body: text.into_bytes() };
        }
    };
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut body = bytes.split_off(end + 4);
    let mut lines = head.split("\r\n");
    let status =
        lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|code| code.parse().ok()).unwrap_or(0);
    let pair = |line: &str| {
        line.split_once(':').map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
    };
    let headers: Vec<(String, String)> = lines.filter_map(pair).collect();
    let mut answer = Answer { status, headers, body: Vec::new() };
    if head_only || status == 204 || status == 304 || (100..200).contains(&status) {
        return answer;
    }
    if answer.header("transfer-encoding").is_some_and(|coding| coding.contains("chunked")) {
        answer.body = read_chunks(stream, body).await;
        return answer;
    }
    let length = answer.header("content-length").and_then(|length| length.parse::<usize>().ok());
    while length.is_none_or(|length| body.len() < length) {
        if read_more(stream, &mut body).await == 0 {
            break;
        }
    }
    answer.body = body;
    answer
}

async fn read_chunks(stream: &mut (impl AsyncRead + Unpin), mut bytes: Vec<u8>) -> Vec<u8> {
    let mut body = Vec::new();
    loop {
        let line = loop {
            if let Some(end) = find(&bytes, b"\r\n") {
                break end;
            }
            if read_more(stream, &mut bytes).await == 0 {
                return body;
            }
        };
        let size = std::str::from_utf8(&bytes[..line])
            .ok()
            .and_then(|hex| usize::from_str_radix(hex.trim(), 16).ok());
        let size = size.expect("a chunk's size");
        while bytes.len() < line + 2 + size + 2 {
            if read_more(stream, &mut bytes).await == 0 {
                return body;
            }
        }
        if size == 0 {
            return body;
        }
        body.extend_from_slice(&bytes[line + 2..line + 2 + size]);
        bytes.drain(..line + 2 + size + 2);
    }
}

async fn read_more(stream: &mut (impl AsyncRead + Unpin), bytes: &mut Vec<u8>) -> usize {
    // A peer that resets has said all it will.
    stream.read_buf(bytes).await.unwrap_or(0)
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}
