//! Support.
pub mod provider;
