//! `hubgate upgrade`.

use http::Method;
use serde::Deserialize as _;
use serde_json::Value;

use super::ask::AskError;
use super::{OperateError, Order, Where, run};
use crate::control::wire::Upgraded;

/// Let the program that lies now where the running one was started from take over, and keep websockets open
#[derive(Debug, Clone, PartialEq, Eq, clap::Args)]
pub struct UpgradeCommand {
    /// Where the hub is
    #[command(flatten)]
    pub place: Where,
}

impl UpgradeCommand {
    /// Does it; answers what to print.
    pub fn run(self) -> Result<String, OperateError> {
        run(&self.place, Order::new(Method::POST, "/upgrade".to_owned(), upgraded))
    }
}

fn upgraded(answer: &Value) -> Result<String, AskError> {
    let Upgraded { pid, version } = Upgraded::deserialize(answer).map_err(AskError::Foreign)?;
    Ok(format!("hubgate {version} serves now, as process {pid}"))
}
