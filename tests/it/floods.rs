//! HTTP/2 as attackers speak it, frame by frame (RFC 9113 section 4.1).

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;

use support::client::PATIENCE;

use crate::door::{Door, GET, ask};

const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// "You are a nuisance" (RFC 9113 section 7).
const ENHANCE_YOUR_CALM: u8 = 11;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// `GET https://h/`, by the static table of HPACK.
fn get(stream: u32, flags: u8) -> Vec<u8> {
    frame(HEADERS, flags, stream, &[0x82, 0x87, 0x84, 0x41, 1, b'h'])
}

/// The ids that a client may give its streams.
fn streams(count: u32) -> impl Iterator<Item = u32> {
    (0..count).map(|at| at * 2 + 1)
}

async fn open(door: &Door) -> TlsStream<TcpStream> {
    let mut stream = door.tls(&["h2"]).await;
    let mut preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    preface.extend(frame(SETTINGS, 0, 0, &[]));
    stream.write_all(&preface).await.unwrap();
    stream.flush().await.unwrap();
    stream
}

/// Sends it all, and answers the error code of the GOAWAY that comes back.
async fn goaway(mut stream: TlsStream<TcpStream>, flood: &[u8]) -> u8 {
    let (mut reader, mut writer) = tokio::io::split(&mut stream);
    // It need not take all of it.
    let sending = async {
        if writer.write_all(flood).await.is_ok() {
            drop(writer.flush().await);
        }
        std::future::pending::<()>().await;
    };
    let reading = async {
        loop {
            let mut head = [0; 9];
            reader.read_exact(&mut head).await.expect("a GOAWAY before the end");
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let mut payload = vec![0; usize::try_from(length).unwrap()];
            reader.read_exact(&mut payload).await.unwrap();
            if head[3] == GOAWAY {
                return payload[7];
            }
        }
    };
    tokio::select! {
        code = timeout(PATIENCE, reading) => code.expect("a GOAWAY in time"),
        () = sending => unreachable!(),
    }
}

#[tokio::test]
async fn requests_that_are_reset_at_once_end_the_connection() {
    // CVE-2023-44487
    let door = Door::open(|_| {}).await;
    let flood: Vec<u8> = streams(500)
        .flat_map(|id| [get(id, END_HEADERS | END_STREAM), frame(RST_STREAM, 0, id, &[0, 0, 0, 8])].concat())
        .collect();
    assert_eq!(goaway(open(&door).await, &flood).await, ENHANCE_YOUR_CALM);
    assert_eq!(ask(&mut door.tls(&[]).await, GET).await.status, 308, "others are served");
}

#[tokio::test]
async fn requests_that_make_the_server_reset_them_end_the_connection() {
    // CVE-2025-8671: a window that grows over its limit is an error of the stream (RFC 9113 section 6.9.1).
    let door = Door::open(|_| {}).await;
    let flood: Vec<u8> = streams(500)
        .flat_map(|id| {
            [get(id, END_HEADERS), frame(WINDOW_UPDATE, 0, id, &[0x7f, 0xff, 0xff, 0xff])].concat()
        })
        .collect();
    assert_eq!(goaway(open(&door).await, &flood).await, ENHANCE_YOUR_CALM);
}

#[tokio::test]
async fn a_head_in_endless_continuations_ends_the_connection() {
    // RUSTSEC-2024-0332
    let door = Door::open(|_| {}).await;
    let mut flood = get(1, 0);
    for _ in 0..5000 {
        // A literal that is never indexed: x: "…"
        let mut field = vec![0x10, 1, b'x', 100];
        field.extend([b'y'; 100]);
        flood.extend(frame(CONTINUATION, 0, 1, &field));
    }
    goaway(open(&door).await, &flood).await;
    assert_eq!(ask(&mut door.tls(&[]).await, GET).await.status, 308, "others are served");
}
