//! What hubgate does, seen from outside.
#![expect(clippy::unwrap_used, reason = "a test that cannot be set up must stop")]

mod architecture;
mod attacks;
mod cli;
mod config;
mod demo;
mod door;
mod forwarding;
mod limits;
mod oidc;
mod reload;
mod service;
mod session;
mod shutdown;
mod sites;
mod socket;
mod spawning;
mod store;
mod tls;

/// The program.
const BINARY: &str = env!("CARGO_BIN_EXE_hubgate");
