//! The file with the client's secret: only its owner can read it, and what is there is never replaced.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use thiserror::Error;
use zeroize::Zeroizing;

use crate::secret::{Secret, SecretSource};

/// The secret cannot be kept there.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SecretFileError {
    /// Something else is there already.
    #[error("{} is there already, and holds something else", .path.display())]
    Taken {
        /// Which.
        path: PathBuf,
    },
    /// It cannot be written.
    #[error("cannot write {}", .path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl SecretFileError {
    /// What to do.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Taken { .. } => "move it away if it is an old secret, or name another file",
            Self::Write { .. } => "name a file in a folder that you may write to",
        }
    }
}

/// Writes the secret, for its owner only (0600), and says whether it was not there already.
pub(super) fn write(path: &Path, secret: &Secret) -> Result<bool, SecretFileError> {
    let failed = |source| SecretFileError::Write { path: path.to_owned(), source };
    // O_EXCL: a link that somebody has put there is not followed.
    let mut file = match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let there = SecretSource::File(path.to_owned()).read();
            let same = there.is_ok_and(|there| there.matches(secret.expose()));
            return if same { Ok(false) } else { Err(SecretFileError::Taken { path: path.to_owned() }) };
        }
        Err(error) => return Err(failed(error)),
    };
    let line = Zeroizing::new(format!("{}\n", secret.expose()));
    if let Err(error) = file.write_all(line.as_bytes()).and_then(|()| file.sync_all()) {
        // Half a secret would only be in the way of the next try.
        drop(fs::remove_file(path));
        return Err(failed(error));
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_secret_is_written_for_its_owner_only_and_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        let secret = Secret::new("hunter2");
        assert!(write(&path, &secret).unwrap());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_to_string(&path).unwrap(), "hunter2\n");
        assert!(!write(&path, &secret).unwrap(), "it is there already");
        assert!(matches!(write(&path, &Secret::new("hunter3")), Err(SecretFileError::Taken { .. })));
        assert_eq!(fs::read_to_string(&path).unwrap(), "hunter2\n");
    }

    #[test]
    fn a_link_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (link, target) = (folder.path().join("link"), folder.path().join("target"));
        std::os::unix::fs::symlink(&target, &link).unwrap();
        assert!(matches!(write(&link, &Secret::new("hunter2")), Err(SecretFileError::Taken { .. })));
        assert!(!target.exists());
    }
}
