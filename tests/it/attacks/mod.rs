//! What went wrong in others, sent to the built program over real sockets, with an upstream that records every byte.

mod headers;
mod paths;
mod redirects;

/// What is attacked.
const BINARY: &str = env!("CARGO_BIN_EXE_hubgate");
