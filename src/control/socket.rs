//! The socket's place in the file system: for hubgate's own user and root, and for one hubgate at a time.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use socket2::{Domain, SockAddr, Type};
use thiserror::Error;

use crate::seal::random_text;

/// The socket cannot be had.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SocketError {
    /// The system refuses.
    #[error("cannot listen on {}", .path.display())]
    Bind {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Others could put a socket of theirs in its place, and be told what is for hubgate.
    #[error("others than its owner may change what is in {}", .folder.display())]
    Open {
        /// The folder.
        folder: PathBuf,
    },
    /// Another hubgate runs.
    #[error("another program answers on {}", .path.display())]
    Taken {
        /// Where.
        path: PathBuf,
    },
    /// Something is there that is not hubgate's to remove.
    #[error("{} is no socket", .path.display())]
    Other {
        /// What.
        path: PathBuf,
    },
}

impl SocketError {
    /// What an administrator can do.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Bind { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                "let systemd make the folder (RuntimeDirectory=hubgate), name a place in a folder of hubgate's own as admin.socket, or write \"off\""
            }
            Self::Bind { .. } => "name another place as admin.socket, or write \"off\"",
            Self::Open { .. } => "name a place in a folder that only hubgate may change as admin.socket",
            Self::Taken { .. } => "stop the hubgate that runs already, or give this one another admin.socket",
            Self::Other { .. } => "move it away, or name another place as admin.socket",
        }
    }
}

/// A listening socket at its place.
#[derive(Debug)]
pub struct Socket {
    listener: UnixListener,
    place: Place,
}

/// Where a socket of ours is; it is removed with this.
#[derive(Debug)]
struct Place {
    path: PathBuf,
    /// Device and inode: another hubgate's socket stays. None: it is another's now.
    file: Option<(u64, u64)>,
}

impl Socket {
    /// Listens at `path`. What a hubgate that is gone has left there is replaced; while one answers there, or something
    /// else is there, this fails.
    pub fn bind(path: &Path) -> Result<Self, SocketError> {
        let failed = |source| SocketError::Bind { path: path.to_owned(), source };
        let folder = path.parent().unwrap_or(Path::new("/"));
        DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
        if is_open(folder).map_err(failed)? {
            return Err(SocketError::Open { folder: folder.to_owned() });
        }
        refuse_what_is_there(path)?;
        // Made beside and put into place when it is nobody else's any more: there is no moment in which others could
        // connect, and none in which whoever is in a hurry finds nothing.
        let beside = folder.join(format!(".{}", random_text::<6>()));
        let listener = listen(&beside).and_then(|listener| fs::rename(&beside, path).map(|()| listener));
        let placed = listener.and_then(|listener| {
            let mut socket = Self::adopt(path, listener);
            socket.own()?;
            Ok(socket)
        });
        placed.map_err(|source| {
            // It may not have come so far.
            drop(fs::remove_file(&beside));
            failed(source)
        })
    }

    /// One that listens at `path` already, and is another process's as long as nobody owns it here.
    pub fn adopt(path: &Path, listener: UnixListener) -> Self {
        Self { listener, place: Place { path: path.to_owned(), file: None } }
    }

    /// What is at its path is this process's from now on, and goes with it.
    pub fn own(&mut self) -> io::Result<()> {
        let file = fs::symlink_metadata(&self.place.path)?;
        self.place.file = Some((file.dev(), file.ino()));
        Ok(())
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.place.path
    }

    /// Another handle of it, to answer on.
    pub(super) fn listener(&self) -> io::Result<UnixListener> {
        self.listener.try_clone()
    }

    /// Lets it be where it is: another process answers there.
    pub fn leave(&mut self) {
        self.place.file = None;
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let ours = |file: fs::Metadata| Some((file.dev(), file.ino())) == self.file;
        if fs::symlink_metadata(&self.path).is_ok_and(ours) {
            // What is left is replaced at the next start.
            drop(fs::remove_file(&self.path));
        }
    }
}

/// Nobody can connect before it listens, and then its mode is set.
fn listen(path: &Path) -> io::Result<UnixListener> {
    let socket = socket2::Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(&SockAddr::unix(path)?)?;
    fs::set_permissions(path, Permissions::from_mode(0o600))?;
    socket.set_nonblocking(true)?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Whether others than its owner may replace what is in a folder: they may write to it, and it is not sticky.
fn is_open(folder: &Path) -> io::Result<bool> {
    let mode = fs::metadata(folder)?.permissions().mode();
    Ok(mode & 0o022 != 0 && mode & 0o1000 == 0)
}

fn refuse_what_is_there(path: &Path) -> Result<(), SocketError> {
    let failed = |source| SocketError::Bind { path: path.to_owned(), source };
    match fs::symlink_metadata(path) {
        Ok(file) if !file.file_type().is_socket() => {
            return Err(SocketError::Other { path: path.to_owned() });
        }
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
    }
    match answers(path) {
        Ok(false) => Ok(()),
        Ok(true) => Err(SocketError::Taken { path: path.to_owned() }),
        Err(error) => Err(failed(error)),
    }
}

/// Whether somebody listens there. One whose queue is full does, too.
fn answers(path: &Path) -> io::Result<bool> {
    let socket = socket2::Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    match socket.connect(&SockAddr::unix(path)?) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(true),
        Err(error) if matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound) => {
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

const BACKLOG: i32 = 64;

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    fn folder() -> tempfile::TempDir {
        tempfile::TempDir::new().unwrap()
    }

    #[test]
    fn a_socket_is_its_owners_alone_and_goes_with_its_program() {
        let folder = folder();
        let path = folder.path().join("made/for/it/admin.sock");
        let socket = Socket::bind(&path).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
        assert!(UnixStream::connect(&path).is_ok());
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "nothing is left beside it");
        drop(socket);
        assert!(!path.exists());
    }

    #[test]
    fn a_socket_that_nobody_answers_on_is_replaced_and_one_that_lives_is_not() {
        let folder = folder();
        let path = folder.path().join("admin.sock");
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists(), "as after a crash");
        let socket = Socket::bind(&path).unwrap();
        assert!(matches!(Socket::bind(&path), Err(SocketError::Taken { .. })));
        // Somebody removes it and another hubgate takes the place: that one's stays.
        fs::remove_file(&path).unwrap();
        let _other = Socket::bind(&path).unwrap();
        drop(socket);
        assert!(UnixStream::connect(&path).is_ok());
    }

    #[test]
    fn what_is_no_socket_is_not_removed() {
        let folder = folder();
        let path = folder.path().join("admin.sock");
        fs::write(&path, "precious").unwrap();
        assert!(matches!(Socket::bind(&path), Err(SocketError::Other { .. })));
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink(folder.path().join("elsewhere"), &path).unwrap();
        assert!(matches!(Socket::bind(&path), Err(SocketError::Other { .. })), "a link is no socket either");
    }

    #[test]
    fn a_folder_that_others_may_change_is_no_place_for_it() {
        let folder = folder();
        let path = folder.path().join("admin.sock");
        fs::set_permissions(folder.path(), Permissions::from_mode(0o777)).unwrap();
        assert!(matches!(Socket::bind(&path), Err(SocketError::Open { .. })));
        fs::set_permissions(folder.path(), Permissions::from_mode(0o1777)).unwrap();
        assert!(Socket::bind(&path).is_ok(), "as /tmp: nobody moves what is not theirs");
    }
}
