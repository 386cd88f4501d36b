//! The real parts: Keycloak, container engines, JupyterLab, Chromium. `tests/parts/with` starts them and says where
//! they are; a part that is missing is a failure, never a skip.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

mod browser;
mod clients;
mod connect;
mod docker;
mod hub;
mod inheritance;
mod journey;
mod keycloak;
mod menu;
mod parts;
mod person;
mod ports;
mod presets;
mod registry;
mod sessions;
mod singleuser;
mod step_up;
mod systemd;
mod trouble;
mod visitor;
mod ways;
