//! What hubgate's tests share: a browser without a screen, a provider that can lie, a container runtime on a socket.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    reason = "a test that cannot go on has failed"
)]

pub mod certs;
pub mod client;
pub mod docker;
pub mod eventually;
pub mod hub;
pub mod process;
pub mod provider;
pub mod upstream;
