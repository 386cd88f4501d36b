//! Files of containers: unpacked from archives, as real engines do it, and written by a shell that reads its input.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{Container, Shared, State};

/// A file or folder of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// As numbers.
    pub owner: (u32, u32),
    /// Permissions.
    pub mode: u32,
    /// What is in it; `None` for a folder.
    pub content: Option<String>,
}

/// A program that was put beside a container's own.
#[derive(Debug, Clone)]
pub(super) struct Command {
    container: String,
    words: Vec<String>,
    user: Option<String>,
    /// It is the shell that reads what it writes. Of any other only how it ends is known.
    reads: bool,
    exit_code: Option<i64>,
}

/// What every image has.
const FOLDERS: [&str; 5] = ["/", "/etc", "/home", "/run", "/tmp"];
const USERS: &str = "root:x:0:0:root:/root:/bin/sh\njovyan:x:1000:100::/home/jovyan:/bin/bash\n";

/// The answer to `HEAD …/archive`: a header, where the path is there.
pub(super) fn stat(container: &Container, path: &str) -> Option<String> {
    let folder = FOLDERS.contains(&path) || container.files.get(path)?.content.is_none();
    let mode: u32 = if folder { 0x8000_01ed } else { 0o400 };
    let name = path.rsplit('/').next().unwrap_or_default();
    let stat =
        json!({ "name": name, "size": 0, "mode": mode, "mtime": "2025-01-01T00:00:00Z", "linkTarget": "" });
    Some(STANDARD.encode(stat.to_string()))
}

/// The answer to `GET …/archive`.
pub(super) fn read(path: &str) -> Option<Vec<u8>> {
    if path != "/etc/passwd" {
        return None;
    }
    let mut archive = vec![0; 512];
    archive[..6].copy_from_slice(b"passwd");
    archive[124..136].copy_from_slice(format!("{:011o}\0", USERS.len()).as_bytes());
    archive[156] = b'0';
    archive.extend(USERS.bytes());
    archive.resize(archive.len().next_multiple_of(512) + 1024, 0);
    Some(archive)
}

/// What `PUT …/archive` does.
pub(super) fn unpack(container: &mut Container, folder: &str, archive: &[u8]) -> Result<(), String> {
    if stat(container, folder).is_none() {
        return Err(format!("Could not find the file {folder} in container {}", container.name));
    }
    let mut rest = archive;
    while let Some(header) = rest.get(..512).filter(|header| header[0] != 0) {
        let field = |from: usize, to: usize| {
            String::from_utf8_lossy(&header[from..to]).trim_matches(['\0', ' ']).to_owned()
        };
        let octal = |from, to| u32::from_str_radix(&field(from, to), 8).map_err(|error| error.to_string());
        let name = field(0, 100);
        let size = usize::try_from(octal(124, 136)?).unwrap_or_default();
        let path = format!("{}/{}", folder.trim_end_matches('/'), name.trim_end_matches('/'));
        let content = (header[156] == b'0')
            .then(|| String::from_utf8_lossy(rest.get(512..512 + size).unwrap_or_default()).into_owned());
        let file = File { owner: (octal(108, 116)?, octal(116, 124)?), mode: octal(100, 108)?, content };
        container.files.insert(path, file);
        rest = rest.get(512 + size.next_multiple_of(512)..).unwrap_or_default();
    }
    Ok(())
}

/// `POST /containers/…/exec`: the program's id.
pub(super) fn prepare(shared: &Shared, container: &Container, body: &Value) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let words = body.pointer("/Cmd").and_then(|words| serde_json::from_value(words.clone()).ok());
    let user = body.pointer("/User").and_then(Value::as_str).filter(|user| !user.is_empty());
    let command = Command {
        container: container.id.clone(),
        words: words.unwrap_or_default(),
        user: user.map(str::to_owned),
        reads: body.pointer("/AttachStdin").and_then(Value::as_bool) == Some(true),
        exit_code: None,
    };
    let id = format!("{:064x}", NEXT.fetch_add(1, Ordering::Relaxed));
    shared.lock().commands.insert(id.clone(), command);
    id
}

/// `GET /exec/…/json`
pub(super) fn inspect(shared: &Shared, id: &str) -> Option<Value> {
    let state = shared.lock();
    let command = state.commands.get(id)?;
    Some(json!({
        "ID": id, "ContainerID": command.container, "Running": command.exit_code.is_none(),
        "ExitCode": command.exit_code,
        "ProcessConfig": { "entrypoint": command.words.first(), "arguments": command.words.get(1..) },
    }))
}

/// The program runs, once the connection is its own. The only one known is a shell that writes the line it reads into
/// the file it is told.
pub(super) async fn run(shared: Arc<Shared>, id: String, connection: OnUpgrade) {
    let Ok(connection) = connection.await else { return };
    let mut connection = TokioIo::new(connection);
    let mut input = String::new();
    let reads = shared.lock().commands.get(&id).is_some_and(|command| command.reads);
    if reads {
        drop(connection.read_to_string(&mut input).await);
    }
    let code = {
        let mut state = shared.lock();
        let failure = state.exit_codes.pop();
        failure.unwrap_or_else(|| {
            let Some(command) = state.commands.get(&id).cloned() else { return 127 };
            let Some(container) = state.find_mut(&command.container) else { return 137 };
            write(container, &command, &input)
        })
    };
    if let Some(command) = shared.lock().commands.get_mut(&id) {
        command.exit_code = Some(code);
    }
    drop(connection.shutdown().await);
}

fn write(container: &mut Container, command: &Command, input: &str) -> i64 {
    let told = command.words.last().and_then(|word| word.strip_prefix("exit "));
    let (true, Some(path)) = (command.reads, command.words.get(4)) else {
        return told.and_then(|code| code.parse().ok()).unwrap_or_default();
    };
    let Some(line) = input.strip_suffix('\n').filter(|line| !line.contains('\n')) else { return 80 };
    if container.state != State::Running {
        return 137;
    }
    let runs_as = container.body.pointer("/User").and_then(Value::as_str).unwrap_or("1000:100");
    let user = command.user.as_deref().unwrap_or(runs_as);
    let (uid, gid) = user.split_once(':').unwrap_or((user, "0"));
    let owner = (uid.parse().unwrap_or(0), gid.parse().unwrap_or(0));
    let file = File { owner, mode: 0o400, content: Some(line.to_owned()) };
    container.files.insert(path.clone(), file);
    0
}
