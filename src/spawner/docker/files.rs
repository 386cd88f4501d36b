//! Files in containers: there before the first program runs, and replaced while programs read them.
//!
//! Before the start they are unpacked from an archive, since nothing runs yet that could write them. The engine unpacks
//! by removing the old file and filling the new one under its name, so a reader would see none, or half of one. In a
//! container that runs, therefore, a shell writes beside the file and renames. It also has no more rights than the
//! container has: the engine itself, as root, touches no folder in which a stranger's programs are busy.

use std::path::Path;
use std::time::Duration;

use bollard::errors::Error;
use bollard::exec::{CreateExecOptions, StartExecOptions, StartExecResults};
use bollard::models::ImageConfig;
use bollard::query_parameters::{
    ContainerArchiveInfoOptionsBuilder, DownloadFromContainerOptionsBuilder, UploadToContainerOptionsBuilder,
};
use bollard::{Docker, body_full};
use futures_util::StreamExt;
use tokio::io::AsyncWriteExt;

use super::engine::{Connected, PROMPT, SLOW};
use super::tar::{Archive, first_file};
use crate::seal::random_text;
use crate::spawner::{PutFile, SpawnError, Spec, WorkspaceId};

/// Puts the files of a workspace into its container, which has not started.
pub(super) async fn put_all(
    engine: &Connected,
    container: &str,
    spec: &Spec,
    image: &ImageConfig,
) -> Result<(), SpawnError> {
    for file in &spec.files {
        if let Some(volume) = volume_around(&file.path, image) {
            let why = format!("the image keeps {volume} in a volume, which may outlive the container");
            return Err(refused(&spec.id, file, why));
        }
        let owner = match file.owner {
            Some(owner) => owner,
            None => owner_by_image(engine, container, spec, image, file).await?,
        };
        put(engine, container, spec, file, owner).await?;
    }
    Ok(())
}

async fn put(
    engine: &Connected,
    container: &str,
    spec: &Spec,
    file: &PutFile,
    owner: (u32, u32),
) -> Result<(), SpawnError> {
    let doing = doing(&spec.id, file);
    let there = nearest_folder(engine, container, &doing, &file.path).await?;
    let archive = archive(there, file, owner)
        .ok_or_else(|| refused(&spec.id, file, "its path does not fit into an archive".to_owned()))?;
    let options = UploadToContainerOptionsBuilder::new().path(there).copy_uidgid("false").build();
    let body = body_full(archive.into());
    engine.call(&doing, SLOW, |client| client.upload_to_container(container, Some(options), body)).await
}

/// The file and the folders on its way that are not in `there`. Those that are keep their owner: an entry in the archive
/// would change it.
fn archive(there: &str, file: &PutFile, owner: (u32, u32)) -> Option<Vec<u8>> {
    let missing = file.path.strip_prefix(there)?.trim_start_matches('/');
    let mut archive = Archive::default();
    for (end, _) in missing.match_indices('/') {
        archive.folder(missing.get(..end)?, owner)?;
    }
    archive.file(missing, owner, file.content.expose().as_bytes())?;
    Some(archive.finish())
}

/// The last folder on the way to `path` that is there.
async fn nearest_folder<'a>(
    engine: &Connected,
    container: &str,
    doing: &str,
    path: &'a str,
) -> Result<&'a str, SpawnError> {
    let mut path = path;
    while let Some((folder, _)) = path.rsplit_once('/').filter(|(folder, _)| !folder.is_empty()) {
        let options = ContainerArchiveInfoOptionsBuilder::new().path(folder).build();
        let found =
            engine.find(doing, PROMPT, |client| client.get_container_archive_info(container, Some(options)));
        if found.await?.is_some() {
            return Ok(folder);
        }
        path = folder;
    }
    Ok("/")
}

/// Replaces a file in a container that runs.
pub(super) async fn replace(
    engine: &Connected,
    container: &str,
    id: &WorkspaceId,
    file: &PutFile,
) -> Result<(), SpawnError> {
    let doing = doing(id, file);
    // The shell reads one line; and a hub that went away in its middle has written none.
    if file.content.expose().contains(|c: char| c.is_control()) {
        return Err(refused(id, file, "its content is more than one line".to_owned()));
    }
    let beside = format!("{}.{}", file.path, random_text::<8>());
    let command = ["/bin/sh", "-c", REPLACE, "put", &file.path, &beside];
    let options = CreateExecOptions {
        attach_stdin: Some(true),
        attach_stdout: Some(true),
        cmd: Some(command.map(str::to_owned).to_vec()),
        user: file.owner.map(|(user, group)| format!("{user}:{group}")),
        working_dir: Some("/".to_owned()),
        ..CreateExecOptions::default()
    };
    let exec = engine.call(&doing, PROMPT, |client| client.create_exec(container, options)).await?.id;
    engine.call(&doing, WRITING, |client| say(client, &exec, file.content.expose())).await?;
    let ended = engine.call(&doing, PROMPT, |client| client.inspect_exec(&exec)).await?;
    let why = match ended.exit_code {
        Some(0) => return Ok(()),
        Some(80) => "what was to be written did not arrive",
        Some(81) => "its folder cannot be made",
        Some(82) => "its folder cannot be written to, or the disk is full",
        Some(83) => "it cannot be put in the place of the old one",
        Some(126 | 127) => "the image lacks a program that this needs",
        Some(_) | None => "the shell that writes it did not end well",
    };
    Err(refused(id, file, why.to_owned()))
}

/// Writes the line and waits until the command has ended. What it says goes nowhere: it has the secret, and may be a
/// stranger's.
async fn say(client: &Docker, exec: &str, line: &str) -> Result<(), Error> {
    let options = StartExecOptions { detach: false, tty: false, output_capacity: None };
    let StartExecResults::Attached { mut output, mut input } = client.start_exec(exec, Some(options)).await?
    else {
        return Ok(());
    };
    // A shell that is not there does not listen. Its exit code says so, and better.
    let said = async {
        input.write_all(format!("{line}\n").as_bytes()).await?;
        input.shutdown().await
    };
    drop(said.await);
    let mut heard = 0;
    while let Some(Ok(word)) = output.next().await {
        heard += word.as_ref().len();
        if heard > MOST_WORDS {
            break;
        }
    }
    Ok(())
}

/// Writing takes no time; but whoever is in the container may stop the shell, and others wait for their turn.
const WRITING: Duration = Duration::from_secs(10);
/// Bytes that the command may say; it has nothing to say.
const MOST_WORDS: usize = 64 * 1024;

/// Takes the path and another beside it. The line comes on the input, where no list of processes shows it, and `read`
/// fails when its end did not come.
const REPLACE: &str = r#"
IFS= read -r line || exit 80
umask 077
mkdir -p "${1%/*}/" || exit 81
umask 277
printf %s "$line" >"$2" || { rm -f "$2"; exit 82; }
mv -f "$2" "$1" || { rm -f "$2"; exit 83; }
"#;

/// Whoever the container runs as: a number is not always all that configuration and image say.
async fn owner_by_image(
    engine: &Connected,
    container: &str,
    spec: &Spec,
    image: &ImageConfig,
    file: &PutFile,
) -> Result<(u32, u32), SpawnError> {
    let user = spec.user.as_deref().or(image.user.as_deref()).unwrap_or_default();
    if let Some(owner) = numeric(user) {
        return Ok(owner);
    }
    let doing = doing(&spec.id, file);
    let options = DownloadFromContainerOptionsBuilder::new().path("/etc/passwd").build();
    let fetched = engine.find(&doing, PROMPT, |client| async {
        let mut archive = Vec::new();
        let mut pieces = client.download_from_container(container, Some(options)).boxed();
        while let Some(piece) = pieces.next().await.transpose()? {
            archive.extend(piece);
            if archive.len() > MOST_USERS {
                break;
            }
        }
        Ok(archive)
    });
    let archive = fetched.await?.unwrap_or_default();
    let users = String::from_utf8_lossy(first_file(&archive).unwrap_or_default());
    listed(user, &users)
        .ok_or_else(|| refused(&spec.id, file, format!("the image does not say who {user} is")))
}

/// Bytes of an image's list of users.
const MOST_USERS: usize = 1024 * 1024;

/// `uid:gid`, or nothing at all: root.
fn numeric(user: &str) -> Option<(u32, u32)> {
    if user.is_empty() {
        return Some((0, 0));
    }
    let (user, group) = user.split_once(':')?;
    Some((user.parse().ok()?, group.parse().ok()?))
}

/// Looks a user up by name or number. The group is for show, since only the owner may read: one by name is not looked up.
fn listed(user: &str, users: &str) -> Option<(u32, u32)> {
    let (user, group) = user.split_once(':').unwrap_or((user, ""));
    let known = users.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let [name, _, uid, gid, ..] = fields.as_slice() else { return None };
        (*name == user || *uid == user).then(|| Some((uid.parse().ok()?, gid.parse().ok()?)))?
    });
    let uid = known.map_or_else(|| user.parse().ok(), |(uid, _)| Some(uid))?;
    Some((uid, group.parse().ok().or(known.map(|(_, gid)| gid)).unwrap_or(0)))
}

/// The image's volume that `path` would be in.
fn volume_around<'a>(path: &str, image: &'a ImageConfig) -> Option<&'a str> {
    let volumes = image.volumes.iter().flatten().map(String::as_str);
    volumes.into_iter().find(|volume| Path::new(path).starts_with(volume))
}

fn doing(id: &WorkspaceId, file: &PutFile) -> String {
    format!("write {} in the workspace of {id}", file.path)
}

fn refused(id: &WorkspaceId, file: &PutFile, why: String) -> SpawnError {
    SpawnError::File { path: file.path.clone(), id: id.clone(), purpose: file.purpose, source: why.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const USERS: &str =
        "root:x:0:0:root:/root:/bin/sh\nbroken\nodd:x:one:1:\njovyan:x:1000:100::/home/jovyan:/bin/sh\n";

    #[test]
    fn a_user_is_found_by_name_and_by_number() {
        for (user, owner) in [
            ("jovyan", Some((1000, 100))),
            ("jovyan:5", Some((1000, 5))),
            ("jovyan:users", Some((1000, 100))),
            ("1000", Some((1000, 100))),
            ("4711", Some((4711, 0))),
            ("root", Some((0, 0))),
            ("odd", None),
            ("nobody-here", None),
        ] {
            assert_eq!(listed(user, USERS), owner, "{user}");
        }
    }

    #[test]
    fn what_is_a_number_already_is_not_looked_up() {
        assert_eq!(numeric("1000:100"), Some((1000, 100)));
        assert_eq!(numeric(""), Some((0, 0)));
        assert_eq!([numeric("1000"), numeric("jovyan"), numeric("jovyan:100")], [None; 3]);
    }

    #[test]
    fn a_volume_of_the_image_is_no_place_for_a_secret() {
        let image = ImageConfig { volumes: Some(vec!["/home/jovyan/".to_owned()]), ..ImageConfig::default() };
        assert_eq!(volume_around("/home/jovyan/.secret/token", &image), Some("/home/jovyan/"));
        assert_eq!(volume_around("/home/jovyan2/token", &image), None);
    }
}
