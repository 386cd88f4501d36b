//! Images: what they say of themselves.

use bollard::models::ImageConfig;

use super::engine::{Connected, PROMPT};
use super::pull::{Pulls, failed};
use crate::spawner::{Image, Progress, SpawnError};

/// The configuration of an image, which is fetched when it is not there.
pub(super) async fn find_or_pull(
    engine: &Connected,
    pulls: &Pulls,
    image: &str,
    progress: &Progress,
) -> Result<ImageConfig, SpawnError> {
    if !is_reference(image) {
        return Err(failed(image, "this is not the name of an image"));
    }
    if let Some(config) = find(engine, image).await? {
        return Ok(config);
    }
    pulls.fetch(engine, image, progress).await?;
    let found = find(engine, image).await?;
    found.ok_or_else(|| failed(image, "the runtime fetched it, and does not have it"))
}

/// As [`find_or_pull`], without fetching it.
pub(super) async fn find_named(engine: &Connected, image: &str) -> Result<Option<ImageConfig>, SpawnError> {
    if !is_reference(image) {
        return Err(failed(image, "this is not the name of an image"));
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

/// Only what the grammar of image references allows: the name becomes part of the URL of a call.
fn is_reference(image: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '/' | ':' | '@');
    image.starts_with(|c: char| c.is_ascii_alphanumeric())
        && image.chars().all(allowed)
        && !image.contains("..")
        && !image.contains("//")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_cannot_name_another_call() {
        for image in ["", "../containers", "a?b", "a#b", "a b", "/a", "a/../b", "a%2e"] {
            assert!(!is_reference(image), "{image:?}");
        }
        assert!(is_reference("ghcr.io/Lab_1/notebook:4.0-rc1@sha256:00ff"));
    }
}
