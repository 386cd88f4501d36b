//! The way to workspaces: what goes through, what stays behind, and what happens when one side goes away.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on has failed")]

mod activity;
mod bodies;
mod connections;
mod headers;
mod rig;
mod websockets;
