//! Why a workspace did not start, in words for its owner.

use crate::spawner::SpawnError;
use crate::workspace::{Failure, StartError};

/// What happened to it.
pub(super) fn failure_words(failure: &Failure, image: &str) -> String {
    match &failure.error {
        StartError::Spawn(SpawnError::Unreachable { .. }) => {
            "The container service of this hub does not answer. You stay signed in.".to_owned()
        }
        StartError::Spawn(SpawnError::Pull { .. }) => {
            format!("The image {image} is not on this hub, and could not be fetched.")
        }
        StartError::Spawn(SpawnError::Ended { out_of_memory: true, .. }) => {
            "It used more memory than it is allowed, and was ended.".to_owned()
        }
        StartError::Spawn(SpawnError::Ended { .. }) => "It ended while it was starting.".to_owned(),
        StartError::Timeout { after } => format!("It did not answer within {} seconds.", after.as_secs()),
        StartError::Cancelled => "Its start was cancelled.".to_owned(),
        StartError::Spawn(_) | StartError::NoHubApi { .. } | StartError::NoCommand { .. } => {
            "This hub could not make it as it is configured.".to_owned()
        }
    }
}
