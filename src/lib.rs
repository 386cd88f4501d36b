//! hubgate: one program in front of a multi-user notebook hub.
//!
//! This library is the program's own; it is no public interface and changes without notice.

pub mod clock;
pub mod cookies;
pub mod identity;
pub mod logging;
pub mod metrics;
pub mod seal;
pub mod secret;
pub mod server_name;
pub mod spelling;
pub mod tasks;
pub mod upstream;
pub mod user;

pub mod config;

pub mod forward;
pub mod oidc;
pub mod spawner;
pub mod store;
pub mod tls;

pub mod groups;
pub mod people;

pub mod mapping;
pub mod preset;
pub mod routes;
pub mod session;
pub mod share;
pub mod token;
pub mod workspace;

pub mod explain;

pub mod gateway;

pub mod admin;
pub mod control;
pub mod listener;

pub mod app;
pub mod cli;
pub mod connect;
pub mod demo;
pub mod images;
pub mod import;
pub mod login;
pub mod operate;

#[cfg(any(test, fuzzing))]
pub mod fuzzing;
