//! it
mod config;
mod session;
mod store;
