//! Images of profiles that the runtime has not: fetched before anybody waits for them.

use std::sync::Arc;
use std::time::Duration;

use tracing::warn;

use super::Workspaces;
use crate::config::Profile;
use crate::logging::cause;
use crate::spawner::{Progress, SpawnError};

impl Workspaces {
    /// Fetches them one after the other, and those that cannot be fetched again later, until all are there. Whoever
    /// starts one meanwhile waits for the same pull. Nothing is done where that is not configured.
    pub async fn prepull(&self) {
        if !self.0.prepull || !self.0.place.images {
            return;
        }
        let mut missing = images(&self.0.profiles);
        let mut pause = SOONEST;
        loop {
            let mut failed = Vec::new();
            for image in missing {
                if let Err(error) = self.have(image).await {
                    warn!(event = "image_not_pulled", image, error = cause(&error), remedy = error.remedy(), again_in = ?pause, "an image of a profile could not be fetched ahead");
                    failed.push(image);
                }
            }
            if failed.is_empty() {
                return;
            }
            missing = failed;
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LATEST);
        }
    }

    async fn have(&self, image: &str) -> Result<(), SpawnError> {
        let (progress, _nobody_watches) = Progress::new();
        self.0.spawner.image(image, &progress).await.map(drop)
    }
}

/// Each once, in the order of the configuration: administrators write first what most people start.
fn images(profiles: &[Arc<Profile>]) -> Vec<&str> {
    let mut images: Vec<&str> = Vec::new();
    for profile in profiles {
        if !images.contains(&profile.image.as_str()) {
            images.push(&profile.image);
        }
    }
    images
}

/// What failed is tried again so soon at first: a network that is not up yet will be,
const SOONEST: Duration = Duration::from_secs(1);
/// and so late at most: a registry may be away for days.
const LATEST: Duration = Duration::from_hours(1);
