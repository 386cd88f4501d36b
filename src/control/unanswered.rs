//! Why an order is not carried out.

use http::StatusCode;
use serde_json::{Value, json};
use thiserror::Error;
use tracing::error;

use crate::logging::cause;
use crate::session::ShortId;
use crate::store::StoreError;

/// An order that is not carried out, or not to its end.
#[derive(Debug, Error)]
pub(super) enum Unanswered {
    #[error("this cannot be asked of hubgate: {0}")]
    Unclear(&'static str),
    #[error("there is no session {0}")]
    NoSession(ShortId),
    #[error("the store failed")]
    Store(#[from] StoreError),
}

impl Unanswered {
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::Unclear(_) => StatusCode::BAD_REQUEST,
            Self::NoSession(_) => StatusCode::NOT_FOUND,
            Self::Store(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn remedy(&self) -> &'static str {
        match self {
            Self::Unclear(_) => "use the hubgate of the same release as the one that runs",
            Self::NoSession(_) => "`hubgate session list` shows those that there are",
            // In memory it is done; the store is tried again.
            Self::Store(_) => "it holds until hubgate stops, which tries again; see its log",
        }
    }

    pub(super) fn words(&self) -> Value {
        json!({ "status": self.status().as_u16(), "message": self.to_string(), "hint": self.remedy() })
    }

    pub(super) fn log(&self) {
        if let Self::Store(store) = self {
            error!(
                error = cause(store),
                remedy = store.remedy(),
                "an administrator's order met a store that fails"
            );
        }
    }
}
