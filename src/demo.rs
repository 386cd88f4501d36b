//! Stub.
/// Stub.
#[derive(Debug, clap::Args)]
pub struct Options {}
/// Stub.
#[derive(Debug, thiserror::Error)]
#[error("stub")]
pub struct DemoError;
impl DemoError {
    /// Stub.
    pub fn remedy(&self) -> Option<&'static str> {
        None
    }
}
/// Stub.
pub fn run(_options: Options) -> Result<(), DemoError> {
    Ok(())
}
