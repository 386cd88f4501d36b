//! Upgraded connections: copy both ways.
