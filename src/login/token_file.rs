//! The file that the token goes into: there whole or not at all, and only its owner can read it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::LoginError;
use crate::seal;
use crate::secret::Secret;

/// A file beside the one that is wanted, until there is a token.
#[derive(Debug)]
pub(super) struct TokenFile {
    path: PathBuf,
    beside: PathBuf,
    file: File,
}

impl TokenFile {
    pub(super) fn make(path: &Path) -> Result<Self, LoginError> {
        let failed = |source| LoginError::Write { path: path.to_owned(), source };
        let Some(name) = path.file_name() else {
            return Err(failed(io::Error::new(io::ErrorKind::InvalidInput, "it names no file")));
        };
        let beside = path.with_file_name(format!(".{}.{}", name.display(), seal::random_text::<9>()));
        let file =
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside).map_err(failed)?;
        Ok(Self { path: path.to_owned(), beside, file })
    }

    /// Puts the token into it, in place of what was there.
    pub(super) fn keep(mut self, token: &Secret) -> Result<(), LoginError> {
        let line = Zeroizing::new(format!("{}\n", token.expose()));
        let written = self.file.write_all(line.as_bytes()).and_then(|()| self.file.sync_all());
        // A link that somebody has put there is replaced, not followed.
        let kept = written.and_then(|()| fs::rename(&self.beside, &self.path));
        kept.map_err(|source| LoginError::Write { path: self.path.clone(), source })
    }
}

impl Drop for TokenFile {
    fn drop(&mut self) {
        // Kept, it is not there any more.
        drop(fs::remove_file(&self.beside));
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_token_is_written_for_its_owner_only_and_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let left = || fs::read_dir(folder.path()).unwrap().count();
        drop(TokenFile::make(&path).unwrap());
        assert_eq!(left(), 0, "without a token there is no file");
        let target = folder.path().join("target");
        fs::write(&target, "untouched").unwrap();
        std::os::unix::fs::symlink(&target, &path).unwrap();
        for text in ["first", "second"] {
            TokenFile::make(&path).unwrap().keep(&Secret::new(text)).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), format!("{text}\n"));
            assert_eq!(fs::symlink_metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
        assert_eq!(fs::read_to_string(&target).unwrap(), "untouched", "a link is not followed");
        assert_eq!(left(), 2);
        for nowhere in ["/", "..", "/nowhere/at/all"] {
            assert!(TokenFile::make(Path::new(nowhere)).is_err(), "{nowhere}");
        }
    }
}
