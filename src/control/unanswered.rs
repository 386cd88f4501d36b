//! Why an order is not carried out.

use http::StatusCode;
use serde_json::{Value, json};
use thiserror::Error;
use tracing::error;

use super::upgrade::NotUpgraded;
use crate::logging::cause;
use crate::mapping::MappingError;
use crate::session::ShortId;
use crate::spawner::WorkspaceId;
use crate::store::StoreError;
use crate::token::{ScopeError, TokenError, TokenId};
use crate::user::UserName;

/// An order that is not carried out, or not to its end.
#[derive(Debug, Error)]
pub(super) enum Unanswered {
    #[error("this cannot be asked of hubgate: {0}")]
    Unclear(&'static str),
    #[error("there is no session {0}")]
    NoSession(ShortId),
    #[error("nobody called {name} has been here{}", proposed(near))]
    Nobody { name: UserName, near: Vec<UserName> },
    #[error("what the provider said of {0} was not kept, or was sealed with another key")]
    Undescribed(UserName),
    #[error("there is no token {0} that is in force")]
    NoToken(TokenId),
    #[error("there is no share {0}")]
    NoShare(String),
    #[error("{0}")]
    Scope(ScopeError),
    #[error("the note cannot be kept")]
    Note,
    #[error("no token can be made in the name of {name}")]
    MayNotEnter { name: UserName, source: MappingError },
    #[error("the token cannot be made: {0}")]
    Token(TokenError),
    #[error("{0} has no server that runs")]
    NoWorkspace(WorkspaceId),
    #[error("another hubgate could not take over; this one goes on: {0}")]
    Upgrade(NotUpgraded),
    #[error("the store failed")]
    Store(#[from] StoreError),
}

impl Unanswered {
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::Unclear(_) | Self::Scope(_) | Self::Note | Self::MayNotEnter { .. } | Self::Token(_) => {
                StatusCode::BAD_REQUEST
            }
            Self::NoSession(_)
            | Self::Nobody { .. }
            | Self::Undescribed(_)
            | Self::NoToken(_)
            | Self::NoShare(_)
            | Self::NoWorkspace(_) => StatusCode::NOT_FOUND,
            Self::Upgrade(_) => StatusCode::CONFLICT,
            Self::Store(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn remedy(&self) -> &'static str {
        match self {
            Self::Unclear(_) => "use the hubgate of the same release as the one that runs",
            Self::NoSession(_) => "`hubgate session list` shows those that there are",
            Self::Nobody { .. } => {
                "`hubgate user list` shows everybody; --claims explains whoever has not been here"
            }
            Self::Undescribed(_) => "it is kept from their next login on",
            Self::NoToken(_) => "`hubgate token list` shows those that there are",
            Self::NoShare(_) => "`hubgate share list` shows those that there are",
            Self::Scope(_) => {
                "the scopes are access:servers, servers, read:users, tokens, list:users, admin:users and others, with or without a filter: see docs/api.md"
            }
            Self::Note => "write one line of at most 200 characters",
            Self::MayNotEnter { source, .. } => source.remedy(),
            Self::Token(TokenError::Scopes { .. }) => "`hubgate explain` shows what their tokens may have",
            Self::Token(TokenError::Lifetime { .. }) => {
                "choose a shorter time, or raise api.token_lifetime_max"
            }
            Self::Token(TokenError::TooMany { .. }) => "revoke some of them",
            Self::Token(_) => "see hubgate's log",
            Self::Upgrade(not) => not.remedy,
            Self::NoWorkspace(_) => "`hubgate workspace list` shows those that there are",
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

impl From<TokenError> for Unanswered {
    fn from(error: TokenError) -> Self {
        match error {
            TokenError::Store(error) => Self::Store(error),
            refused @ (TokenError::TooMany { .. }
            | TokenError::Scopes { .. }
            | TokenError::Lifetime { .. }) => Self::Token(refused),
        }
    }
}

fn proposed(near: &[UserName]) -> String {
    let names: Vec<&str> = near.iter().map(UserName::as_str).collect();
    if names.is_empty() { String::new() } else { format!("; there is {}", names.join(", ")) }
}
