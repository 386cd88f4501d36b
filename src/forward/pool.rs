//! Connections to one workspace instance.

/// Stub.
#[derive(Debug)]
pub struct Pool;
