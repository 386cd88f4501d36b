//! Images: what they say of themselves, and how they get here.

use std::collections::HashMap;
use std::time::Duration;

use bollard::models::{CreateImageInfo, ImageConfig};
use bollard::query_parameters::CreateImageOptionsBuilder;
use futures_util::StreamExt;
use tokio::time::timeout;

use super::engine::{Connected, PROMPT};
use crate::spawner::{Image, Phase, Progress, SpawnError};

/// A pull may take hours, but not without a word.
const STALLED: Duration = Duration::from_mins(10);
/// More layers than any image has (the storage drivers stop at 128).
const LAYERS: usize = 512;

/// The configuration of an image, which is fetched when it is not there.
pub(super) async fn find_or_pull(
    engine: &Connected,
    image: &str,
    progress: &Progress,
) -> Result<ImageConfig, SpawnError> {
    if !is_reference(image) {
        return Err(pull_error(image, "this is not the name of an image"));
    }
    if let Some(config) = find(engine, image).await? {
        return Ok(config);
    }
    pull(engine, image, progress).await?;
    let found = find(engine, image).await?;
    found.ok_or_else(|| pull_error(image, "the runtime fetched it, and does not have it"))
}

/// As [`find_or_pull`], without fetching it.
pub(super) async fn find_named(engine: &Connected, image: &str) -> Result<Option<ImageConfig>, SpawnError> {
    if !is_reference(image) {
        return Err(pull_error(image, "this is not the name of an image"));
    }
    find(engine, image).await
}

/// What the rest of hubgate knows of an image.
pub(super) fn described(config: ImageConfig) -> Image {
    let mut command = config.entrypoint.unwrap_or_default();
    let entrypoint = command.len();
    command.extend(config.cmd.unwrap_or_default());
    let tcp = |port: &String| port.strip_suffix("/tcp").unwrap_or(port).parse().ok();
    Image {
        command,
        entrypoint,
        environment: config.env.unwrap_or_default(),
        user: config.user.unwrap_or_default(),
        ports: config.exposed_ports.iter().flatten().filter_map(tcp).collect(),
        volumes: config.volumes.unwrap_or_default(),
        health: config.healthcheck.and_then(|check| check.test).unwrap_or_default(),
    }
}

async fn find(engine: &Connected, image: &str) -> Result<Option<ImageConfig>, SpawnError> {
    let doing = format!("inspect image {image}");
    let found = engine.find(&doing, PROMPT, |client| client.inspect_image(image)).await?;
    Ok(found.map(|image| image.config.unwrap_or_default()))
}

async fn pull(engine: &Connected, image: &str, progress: &Progress) -> Result<(), SpawnError> {
    progress.report(Phase::Pulling { done: 0, total: 0 });
    let options = CreateImageOptionsBuilder::new().from_image(&tagged(image)).build();
    let mut steps = engine.client().create_image(Some(options), None, None).boxed();
    let mut layers = Layers::default();
    loop {
        match timeout(STALLED, steps.next()).await {
            Ok(Some(Ok(step))) => {
                layers.update(step);
                progress.report(layers.phase());
            }
            Ok(Some(Err(error))) => return Err(engine.pull_error(image, error)),
            Ok(None) => return Ok(()),
            Err(_elapsed) => return Err(pull_error(image, "no progress for ten minutes")),
        }
    }
}

fn pull_error(image: &str, why: &str) -> SpawnError {
    SpawnError::Pull { image: image.to_owned(), source: why.into() }
}

/// Bytes by layer, as the engine reports them.
#[derive(Debug, Default)]
struct Layers(HashMap<String, (u64, u64)>);

impl Layers {
    fn update(&mut self, step: CreateImageInfo) {
        let (Some(id), Some(status)) = (step.id, step.status) else { return };
        // A layer is downloaded, then extracted; its bytes count once.
        match status.as_str() {
            "Downloading" => {
                let Some(detail) = step.progress_detail else { return };
                let bytes = |count: Option<i64>| count.and_then(|n| u64::try_from(n).ok()).unwrap_or(0);
                if self.0.len() < LAYERS || self.0.contains_key(&id) {
                    let done = bytes(detail.current);
                    self.0.insert(id, (done, bytes(detail.total).max(done)));
                }
            }
            "Verifying Checksum" | "Download complete" | "Extracting" | "Pull complete" => {
                if let Some((done, total)) = self.0.get_mut(&id) {
                    *done = *total;
                }
            }
            _ => {}
        }
    }

    fn phase(&self) -> Phase {
        let (done, total) = self.0.values().fold((0_u64, 0_u64), |(done, total), layer| {
            (done.saturating_add(layer.0), total.saturating_add(layer.1))
        });
        Phase::Pulling { done, total }
    }
}

/// Only what the grammar of image references allows: the name becomes part of the URL of a call.
fn is_reference(image: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '/' | ':' | '@');
    image.starts_with(|c: char| c.is_ascii_alphanumeric())
        && image.chars().all(allowed)
        && !image.contains("..")
        && !image.contains("//")
}

/// The reference with a tag: without one, the engine would fetch every tag of the repository.
fn tagged(image: &str) -> String {
    let name = image.rsplit('/').next().unwrap_or(image);
    if name.contains([':', '@']) { image.to_owned() } else { format!("{image}:latest") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bollard::models::ProgressDetail;

    #[test]
    fn a_pull_names_one_tag() {
        for (image, asked) in [
            ("busybox", "busybox:latest"),
            ("registry:5000/lab", "registry:5000/lab:latest"),
            ("registry:5000/lab:4", "registry:5000/lab:4"),
            ("lab@sha256:00ff", "lab@sha256:00ff"),
        ] {
            assert_eq!(tagged(image), asked);
        }
    }

    #[test]
    fn an_image_cannot_name_another_call() {
        for image in ["", "../containers", "a?b", "a#b", "a b", "/a", "a/../b", "a%2e"] {
            assert!(!is_reference(image), "{image:?}");
        }
        assert!(is_reference("ghcr.io/Lab_1/notebook:4.0-rc1@sha256:00ff"));
    }

    #[test]
    fn every_layer_counts_once() {
        let step = |id: &str, status: &str, current, total| CreateImageInfo {
            id: Some(id.to_owned()),
            status: Some(status.to_owned()),
            progress_detail: Some(ProgressDetail { current: Some(current), total: Some(total) }),
            ..CreateImageInfo::default()
        };
        let mut layers = Layers::default();
        layers.update(step("a", "Downloading", 10, 100));
        layers.update(step("b", "Downloading", 5, 50));
        assert_eq!(layers.phase(), Phase::Pulling { done: 15, total: 150 });
        layers.update(step("a", "Extracting", 1, 400));
        layers.update(step("c", "Already exists", 0, 0));
        assert_eq!(layers.phase(), Phase::Pulling { done: 105, total: 150 });
    }
}
