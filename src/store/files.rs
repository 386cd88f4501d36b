//! The folder of the store: who may read what in it.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use super::StoreError;
use crate::seal;

/// The database's file in `folder`, there and nobody else's to read. `SQLite` gives its journals the same mode.
pub(super) fn database(folder: &Path) -> Result<PathBuf, StoreError> {
    let path = folder.join("hubgate.db");
    let open = || {
        make_folder(folder)?;
        let file = OpenOptions::new().create(true).append(true).mode(PRIVATE).open(&path)?;
        refuse_readers(&file)
    };
    open().map_err(failed(&path))?;
    Ok(path)
}

/// The database's file and the sealing key, which must be there already.
pub(super) fn existing(folder: &Path) -> Result<(PathBuf, [u8; 32]), StoreError> {
    let (database, key) = (folder.join("hubgate.db"), folder.join("key"));
    File::open(&database).map_err(failed(&database))?;
    let bytes = read_key(&key).map_err(failed(&key))?;
    Ok((database, bytes))
}

/// The 32 bytes of `key` in `folder`, made when it is not there.
pub(super) fn sealing_key(folder: &Path) -> Result<[u8; 32], StoreError> {
    let path = folder.join("key");
    let read_or_make = || {
        make_folder(folder)?;
        match read_key(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                make_key(folder, &path)?;
                read_key(&path)
            }
            result => result,
        }
    };
    read_or_make().map_err(failed(&path))
}

fn read_key(path: &Path) -> io::Result<[u8; 32]> {
    let file = File::open(path)?;
    refuse_readers(&file)?;
    let mut bytes = Vec::new();
    file.take(33).read_to_end(&mut bytes)?;
    let wrong = |_bytes| io::Error::new(io::ErrorKind::InvalidData, "a sealing key has 32 bytes");
    bytes.try_into().map_err(wrong)
}

/// Written beside and linked into place: it is there whole or not at all, and of two that start at once both use
/// the one that came first.
fn make_key(folder: &Path, path: &Path) -> io::Result<()> {
    let beside = folder.join(format!("key.{}", seal::random_text::<9>()));
    let written = write_key(&beside).and_then(|()| match fs::hard_link(&beside, path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        result => result,
    });
    fs::remove_file(&beside)?;
    written?;
    File::open(folder)?.sync_all()
}

fn write_key(path: &Path) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(PRIVATE).open(path)?;
    file.write_all(&seal::random::<32>())?;
    file.sync_all()
}

fn make_folder(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

fn refuse_readers(file: &File) -> io::Result<()> {
    let mode = file.metadata()?.permissions().mode();
    if mode & OTHERS == 0 {
        return Ok(());
    }
    let what = format!("its mode {:04o} lets others read it", mode & 0o7777);
    Err(io::Error::new(io::ErrorKind::PermissionDenied, what))
}

fn failed(path: &Path) -> impl Fn(io::Error) -> StoreError {
    let path = path.display().to_string();
    move |source| StoreError::File { path: path.clone(), source }
}

const PRIVATE: u32 = 0o600;
const OTHERS: u32 = 0o077;
