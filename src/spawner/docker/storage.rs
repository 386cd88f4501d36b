//! Volumes and folders of a workspace: made when they are not there, and given their owner then and never later.

use bollard::models::{ContainerCreateBody, HostConfig, VolumeCreateRequest};
use bollard::query_parameters::{CreateContainerOptionsBuilder, RemoveVolumeOptions, WaitContainerOptions};
use futures_util::StreamExt;
use tracing::warn;

use super::container::{Labels, SERVER, USER, is_path};
use super::engine::{Connected, PROMPT, SLOW};
use super::{read_log, remove};
use crate::spawner::{Mount, SpawnError, Spec};

/// On the container that gives new folders their owner: whose folders.
const HELPER: &str = "io.hubgate.helper";

/// Arguments come in threes: owner, folder, and whether it is known to be new. A folder is root's when it was just
/// made; any other owner came with the image's own folder and stays. Where it is not known to be new (the path may
/// only be hidden from hubgate) it must be empty as well. Nothing is changed below the folder itself.
const GIVE_OWNERS: &str = r#"
while [ $# -gt 0 ]; do
  if [ "$(stat -c %u:%g "$2")" = 0:0 ]; then
    if [ "$3" = new ] || [ -z "$(ls -A "$2")" ]; then chown "$1" "$2" || exit 1; fi
  fi
  shift 3
done
"#;

/// A mount whose folder may need its owner.
struct Fresh<'a> {
    mount: &'a Mount,
    /// Made by this very start.
    new: bool,
}

/// Makes what is missing of the workspace's mounts. `name` is its container's.
pub(super) async fn prepare(engine: &Connected, name: &str, spec: &Spec) -> Result<(), SpawnError> {
    // The point is no part of an escaped name, so no workspace's container is called like this.
    let helper = format!("{name}.folders");
    // A helper that is still there did not finish: its volumes exist and may not have their owner.
    let unfinished = discard(engine, &helper).await?;
    let mut fresh = Vec::new();
    for mount in &spec.mounts {
        let new = if is_path(&mount.source) {
            // Whether hubgate sees the path says nothing when it runs in a container: an existing one is not harmed.
            if tokio::fs::try_exists(&mount.source).await.unwrap_or(false) && !unfinished {
                continue;
            }
            false
        } else {
            make_volume(engine, &mount.source, spec).await?
        };
        if new || unfinished || is_path(&mount.source) {
            fresh.push(Fresh { mount, new });
        }
    }
    // A volume or path that is root's by wish needs making too, but a helper only for paths: volumes exist by now.
    fresh.retain(|folder| folder.mount.owner != (0, 0) || is_path(&folder.mount.source));
    if fresh.is_empty() {
        return Ok(());
    }
    give_owners(engine, &helper, spec, &fresh).await
}

/// Whether the volume had to be made.
async fn make_volume(engine: &Connected, volume: &str, spec: &Spec) -> Result<bool, SpawnError> {
    let doing = format!("create volume {volume}");
    if !is_volume_name(volume) {
        let source = "a volume's name has only letters, digits, '_', '.' and '-'".into();
        return Err(SpawnError::Create { doing, source });
    }
    if engine.find(&doing, PROMPT, |client| client.inspect_volume(volume)).await?.is_some() {
        return Ok(false);
    }
    let labels = [(USER, spec.id.user.as_str()), (SERVER, spec.id.server.as_str())];
    let request = VolumeCreateRequest {
        name: Some(volume.to_owned()),
        labels: Some(owned(&labels)),
        ..VolumeCreateRequest::default()
    };
    engine.call(&doing, SLOW, |client| client.create_volume(request)).await?;
    Ok(true)
}

async fn give_owners(
    engine: &Connected,
    helper: &str,
    spec: &Spec,
    fresh: &[Fresh<'_>],
) -> Result<(), SpawnError> {
    let sources: Vec<&str> = fresh.iter().map(|folder| folder.mount.source.as_str()).collect();
    let doing = format!("give {} an owner", sources.join(" and "));
    let options = CreateContainerOptionsBuilder::new().name(helper).build();
    let body = helper_body(spec, fresh);
    let created = engine.call(&doing, SLOW, |client| client.create_container(Some(options), body)).await;
    let id = match created {
        Ok(created) => created.id,
        Err(error) => {
            // No helper is left to tell the next start, so nothing else may be: these are seconds old and empty.
            for folder in fresh.iter().filter(|folder| folder.new) {
                forget_volume(engine, &folder.mount.source).await;
            }
            return Err(error);
        }
    };
    engine.call(&doing, SLOW, |client| client.start_container(&id, None)).await?;
    let ended = engine.call(&doing, SLOW, |client| async {
        let mut waiting = client.wait_container(&id, None::<WaitContainerOptions>).boxed();
        waiting.next().await.transpose()
    });
    if let Err(error) = ended.await {
        let log = read_log(engine, &id).await;
        warn!(helper, log = %log.text([]), "cannot give new folders their owner");
        return Err(error);
    }
    remove(engine, &id, helper).await
}

fn helper_body(spec: &Spec, fresh: &[Fresh<'_>]) -> ContainerCreateBody {
    let mut command = vec!["folders".to_owned()];
    for Fresh { mount, new } in fresh {
        let (user, group) = mount.owner;
        command.push(format!("{user}:{group}"));
        command.push(mount.target.clone());
        command.push(if *new { "new" } else { "old" }.to_owned());
    }
    ContainerCreateBody {
        image: Some(spec.image.clone()),
        entrypoint: Some(["/bin/sh", "-c", GIVE_OWNERS].map(str::to_owned).to_vec()),
        cmd: Some(command),
        user: Some("0:0".to_owned()),
        working_dir: Some("/".to_owned()),
        labels: Some(owned(&[(HELPER, spec.id.user.as_str())])),
        host_config: Some(HostConfig {
            // A bind, unlike a mount, makes the path on the host.
            binds: Some(
                fresh
                    .iter()
                    .map(|Fresh { mount, .. }| format!("{}:{}", mount.source, mount.target))
                    .collect(),
            ),
            cap_drop: Some(vec!["ALL".to_owned()]),
            // The second, because a folder may lie in one that only its owner can enter.
            cap_add: Some(vec!["CHOWN".to_owned(), "DAC_OVERRIDE".to_owned()]),
            security_opt: Some(vec!["no-new-privileges".to_owned()]),
            network_mode: Some("none".to_owned()),
            pids_limit: Some(64),
            ..HostConfig::default()
        }),
        ..ContainerCreateBody::default()
    }
}

/// Takes an earlier helper away; whether there was one.
async fn discard(engine: &Connected, helper: &str) -> Result<bool, SpawnError> {
    let doing = format!("inspect container {helper}");
    let found = engine.find(&doing, PROMPT, |client| client.inspect_container(helper, None)).await?;
    let Some(container) = found else { return Ok(false) };
    let ours = container.config.and_then(|config| config.labels).is_some_and(|l| l.contains_key(HELPER));
    if !ours {
        let source = "a container that hubgate did not make has this name".into();
        return Err(SpawnError::Create { doing: format!("create container {helper}"), source });
    }
    remove(engine, &container.id.unwrap_or_default(), helper).await?;
    Ok(true)
}

async fn forget_volume(engine: &Connected, volume: &str) {
    let doing = format!("remove volume {volume}");
    // The engine refuses when a container has it by now, and that is right.
    let removed =
        engine.find(&doing, SLOW, |client| client.remove_volume(volume, None::<RemoveVolumeOptions>)).await;
    if let Err(error) = removed {
        warn!(volume, %error, "a new volume is left without its owner");
    }
}

fn owned(labels: &[(&str, &str)]) -> Labels {
    labels.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn is_volume_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'))
        && !name.contains("..")
}
