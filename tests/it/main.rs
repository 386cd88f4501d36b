//! What hubgate does, seen from outside.
#![expect(clippy::unwrap_used, reason = "a test that cannot be set up must stop")]

mod architecture;
mod attacks;
mod config;
mod door;
mod forwarding;
mod limits;
mod oidc;
mod session;
mod sites;
mod spawning;
mod store;
mod tls;
