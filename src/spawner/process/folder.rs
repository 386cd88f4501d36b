//! A folder for the files of one child process: only hubgate's user may enter it, and it goes when the child is forgotten.

use std::io;
use std::path::PathBuf;

use tokio::fs::{DirBuilder, OpenOptions, rename};
use tokio::io::AsyncWriteExt;
use tracing::debug;

use crate::seal::random_text;
use crate::spawner::PutFile;

/// The folder itself.
#[derive(Debug)]
pub(super) struct Folder(PathBuf);

impl Folder {
    /// A new one, under a name that nobody can have waited for.
    pub(super) async fn make() -> io::Result<Self> {
        let path = std::env::temp_dir().join(format!("hubgate-{}", random_text::<16>()));
        DirBuilder::new().mode(0o700).create(&path).await?;
        Ok(Self(path))
    }

    /// `text` with the folder in place of `{runtime}`.
    pub(super) fn place(&self, text: &str) -> String {
        text.replace("{runtime}", &self.0.to_string_lossy())
    }

    /// Writes a file beside the old one and renames it: readers see one of the two.
    pub(super) async fn write(&self, file: &PutFile) -> io::Result<()> {
        let path = PathBuf::from(self.place(&file.path));
        let beside = self.0.join(random_text::<8>());
        let mut new = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside).await?;
        new.write_all(file.content.expose().as_bytes()).await?;
        new.flush().await?;
        rename(&beside, &path).await
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            debug!(folder = %self.0.display(), %error, "a folder of a process is left behind");
        }
    }
}
