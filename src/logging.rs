//! Log format and filter: lines on standard error, where systemd's journal reads them.

use std::error::Error;
use std::io::{IsTerminal, stderr};

use thiserror::Error;
use tracing::error;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::util::TryInitError;

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Logging cannot begin.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LogError {
    /// The filter is not one.
    #[error("log.filter {filter:?} cannot be understood")]
    Filter {
        /// What stands there.
        filter: String,
        /// Why.
        source: ParseError,
    },
    /// It has begun already.
    #[error("logging has begun already")]
    Twice(#[from] TryInitError),
}

/// Begins logging. Without `requests` there is no line a request.
pub fn start(format: Format, filter: &str, requests: bool) -> Result<(), LogError> {
    let mut directives = EnvFilter::builder().parse(filter).map_err(|source| {
        let filter = filter.to_owned();
        LogError::Filter { filter, source }
    })?;
    if !requests {
        let off = "hubgate::access=off"
            .parse()
            .map_err(|source| LogError::Filter { filter: "access".into(), source })?;
        directives = directives.add_directive(off);
    }
    let lines = tracing_subscriber::fmt().with_env_filter(directives).with_writer(stderr);
    match format {
        Format::Text => {
            use tracing_subscriber::util::SubscriberInitExt;
            lines.with_ansi(stderr().is_terminal()).finish().try_init()?;
        }
        Format::Json => {
            use tracing_subscriber::util::SubscriberInitExt;
            lines.json().flatten_event(true).with_current_span(false).finish().try_init()?;
        }
    }
    std::panic::set_hook(Box::new(log_panic));
    Ok(())
}

/// An error as a field of a log line, which shows its causes too: `error = cause(&error)`.
pub fn cause<'a>(error: &'a (dyn Error + 'static)) -> &'a (dyn Error + 'static) {
    error
}

/// A panic ends one task, not the process: without a line nobody would know.
fn log_panic(panic: &std::panic::PanicHookInfo<'_>) {
    let place = panic.location().map(ToString::to_string);
    let message = panic.payload_as_str();
    error!(event = "panic", place, message, "a task panicked; this is a bug in hubgate");
}
