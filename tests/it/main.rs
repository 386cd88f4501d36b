//! What hubgate does, seen from outside.
#![expect(clippy::unwrap_used, reason = "a test that cannot be set up must stop")]

mod architecture;
mod attacks;
mod config;
mod forwarding;
mod oidc;
mod session;
mod spawning;
mod store;
