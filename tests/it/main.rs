//! it
mod session;
mod store;
