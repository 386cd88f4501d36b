//! The opening handshake of websockets (RFC 6455 section 4): the one upgrade there is.

use aws_lc_rs::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE};
use http::{HeaderMap, Method, Request, Response, StatusCode, Version};
use hyper::body::Body;

use super::headers::{lists, only};

/// A client's proper handshake: what a workspace must answer to it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Handshake {
    accept: String,
}

impl Handshake {
    /// The handshake that this request is. Anything less is an ordinary request: a proxy that lets half of one pass
    /// sends what follows it to a server that still reads requests (CVE-2026-2833).
    pub(super) fn find<B: Body>(request: &Request<B>) -> Option<Self> {
        let headers = request.headers();
        if !headers.contains_key(UPGRADE) {
            return None;
        }
        let proper = request.method() == Method::GET
            && request.version() == Version::HTTP_11
            && request.body().is_end_stream()
            && upgrades_to_websocket(headers)
            && only(headers, &SEC_WEBSOCKET_VERSION).is_some_and(|version| version == "13");
        let key = only(headers, &SEC_WEBSOCKET_KEY).filter(|_key| proper)?.as_bytes();
        let nonce = STANDARD.decode(key).ok()?;
        (nonce.len() == NONCE_BYTES).then(|| Self { accept: accept(key) })
    }

    /// Whether a response opens this websocket. Its status alone says nothing.
    pub(super) fn is_accepted<B>(&self, response: &Response<B>) -> bool {
        response.status() == StatusCode::SWITCHING_PROTOCOLS
            && upgrades_to_websocket(response.headers())
            && only(response.headers(), &SEC_WEBSOCKET_ACCEPT).is_some_and(|accept| *accept == self.accept)
    }
}

fn upgrades_to_websocket(headers: &HeaderMap) -> bool {
    lists(headers, &CONNECTION, "upgrade")
        && only(headers, &UPGRADE)
            .is_some_and(|protocol| protocol.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

/// `Sec-WebSocket-Accept` for a key (RFC 6455 section 4.2.2).
fn accept(key: &[u8]) -> String {
    let mut hash = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
    hash.update(key);
    hash.update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    STANDARD.encode(hash.finish())
}

/// How long a key is, decoded.
const NONCE_BYTES: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn handshake(change: impl FnOnce(&mut Request<String>)) -> Option<Handshake> {
        let mut request = Request::builder()
            .header("connection", "keep-alive, Upgrade")
            .header("upgrade", "WebSocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
            .body(String::new())
            .unwrap();
        change(&mut request);
        Handshake::find(&request)
    }

    #[test]
    fn a_full_handshake_is_an_upgrade() {
        // The example of RFC 6455 section 1.3.
        assert_eq!(handshake(|_| ()).unwrap().accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn anything_less_is_an_ordinary_request() {
        let with = |name: &'static str, value: &'static str| {
            handshake(|request| drop(request.headers_mut().insert(name, value.parse().unwrap())))
        };
        for (name, value) in [
            ("upgrade", "h2c"),
            ("upgrade", "websocket, h2c"),
            ("upgrade", "foo"),
            ("upgrade", "TLS/1.0"),
            ("connection", "keep-alive"),
            ("connection", "upgraded"),
            ("sec-websocket-version", "99"),
            ("sec-websocket-version", "8, 13"),
            ("sec-websocket-key", ""),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ"),
            ("sec-websocket-key", "c2hvcnQ="),
        ] {
            assert_eq!(with(name, value), None, "{name}: {value}");
        }
        for name in ["upgrade", "connection", "sec-websocket-version", "sec-websocket-key"] {
            assert_eq!(handshake(|request| drop(request.headers_mut().remove(name))), None, "{name}");
        }
        for name in ["upgrade", "sec-websocket-version", "sec-websocket-key"] {
            let twice = handshake(|request| {
                let value = request.headers()[name].clone();
                request.headers_mut().append(name, value);
            });
            assert_eq!(twice, None, "{name} twice");
        }
        assert_eq!(handshake(|request| *request.method_mut() = Method::POST), None);
        assert_eq!(handshake(|request| *request.version_mut() = Version::HTTP_10), None);
        assert_eq!(handshake(|request| request.body_mut().push('x')), None);
    }

    #[test]
    fn only_the_right_answer_opens_it() {
        let handshake = handshake(|_| ()).unwrap();
        let answer = |status: u16, upgrade: &str, accept: &str| {
            let response = Response::builder()
                .status(status)
                .header("connection", "Upgrade")
                .header("upgrade", upgrade)
                .header("sec-websocket-accept", accept);
            handshake.is_accepted(&response.body(()).unwrap())
        };
        let accept = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
        assert!(answer(101, "websocket", accept));
        assert!(!answer(200, "websocket", accept));
        assert!(!answer(101, "h2c", accept));
        assert!(!answer(101, "websocket", "s3pPLMBiTxaQ9kYGzzhZRbK+xOp="));
        assert!(!answer(101, "websocket", ""));
    }
}
