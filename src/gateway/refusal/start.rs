//! How a start goes and why one failed, in words for whoever waits.

use crate::spawner::{Pulled, SpawnError};
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

/// How far its image is.
pub(super) fn pulled_words(pulled: &Pulled) -> String {
    let Pulled { done, total, layers, fetched, unpacked } = *pulled;
    let megabytes = |bytes: u64| bytes / 1_000_000;
    match total {
        _ if layers == 0 => "fetching the image".to_owned(),
        // Some engines do not say it of each.
        _ if fetched == layers && unpacked == 0 => "unpacking the image".to_owned(),
        _ if fetched == layers => format!("unpacking the image, {unpacked} of {layers} layers"),
        Some(total) => format!("fetching the image, {} of {} MB", megabytes(done), megabytes(total)),
        None => format!("fetching the image, {} MB, {fetched} of {layers} layers", megabytes(done)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pull_is_told_in_bytes_once_their_number_is_known_and_then_in_layers() {
        let none = Pulled::default();
        let begun = Pulled { done: 30_000_000, layers: 4, fetched: 1, ..none };
        let sized = Pulled { total: Some(8_000_000_000), ..begun };
        let here = Pulled { fetched: 4, ..sized };
        for (pulled, words) in [
            (none, "fetching the image"),
            (begun, "fetching the image, 30 MB, 1 of 4 layers"),
            (sized, "fetching the image, 30 of 8000 MB"),
            (here, "unpacking the image"),
            (Pulled { unpacked: 3, ..here }, "unpacking the image, 3 of 4 layers"),
        ] {
            assert_eq!(pulled_words(&pulled), words);
        }
    }
}
