//! What hubgate does, seen from outside.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

mod access_token;
mod admin;
mod adoption;
mod architecture;
mod attacks;
mod beside;
mod callers;
mod chosen_port;
mod cli;
mod config;
mod connect;
mod container_token;
mod control;
mod day;
mod demo;
mod device;
mod domains;
mod door;
mod explain;
mod floods;
mod forwarding;
mod idle;
mod import;
mod jupyterhub;
mod limits;
mod login;
mod logout;
mod oidc;
mod ports;
mod presets;
mod providers;
mod reload;
mod renewals;
mod rest;
mod servers;
mod service;
mod session;
mod sharing;
mod shutdown;
mod sites;
mod socket;
mod spawning;
mod store;
mod tls;
mod tokens;
mod upgrade;
mod visits;

/// The program.
const BINARY: &str = env!("CARGO_BIN_EXE_hubgate");
