//! The socket's file: made with mode 0660, taken over from a daemon that died, left alone while one answers.

use std::fs::{self, DirBuilder, Permissions};
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use socket2::{Domain, SockAddr, Socket as Socket2, Type};
use tracing::warn;

use crate::daemon::error::RunError;

/// The owner and the group may connect; the group is the process's own.
const MODE: u32 = 0o660;

/// Connections that the kernel may hold for us: they are taken at once, or else the daemon is stuck.
const BACKLOG: i32 = 32;

/// The socket; its file goes when this is dropped, unless another daemon has put its own there.
#[derive(Debug)]
pub struct Socket {
    path: PathBuf,
    inode: (u64, u64),
}

/// Listens at `path`. `None`, with a warning, where no file can be made (a read-only /run): the daemon goes on without.
///
/// # Errors
/// When another daemon answers there, or something is there that is no socket.
pub fn bind(path: &Path) -> Result<Option<(Socket, UnixListener)>, RunError> {
    in_the_way(path)?;
    match listen(path) {
        Ok(bound) => Ok(Some(bound)),
        Err(error) => {
            warn!(
                socket = %path.display(), %error,
                "no admin socket: status, sessions, pinholes, trace, drain and reload do not work (SIGHUP reloads too); \
                 make its directory writable, or set admin.socket"
            );
            Ok(None)
        }
    }
}

/// Refuses a path where another daemon answers, or where something stands that is no socket.
fn in_the_way(path: &Path) -> Result<(), RunError> {
    let Ok(there) = fs::symlink_metadata(path) else { return Ok(()) };
    let refuse = |why: &str| Err(RunError::Admin { socket: path.to_owned(), why: why.to_owned() });
    if !there.file_type().is_socket() {
        return refuse("the path exists and is no socket: remove it, or set admin.socket to another path");
    }
    match UnixStream::connect(path) {
        Ok(_) => refuse("another ftpdirector is running: stop it first; only one per network namespace"),
        // Its daemon died.
        Err(error) if matches!(error.kind(), ErrorKind::ConnectionRefused | ErrorKind::NotFound) => Ok(()),
        Err(error) => refuse(&format!(
            "cannot tell whether another ftpdirector is running: {error}: remove the socket if none is"
        )),
    }
}

/// The file is made in a directory that only we may enter, and then moved: nobody can connect before its mode is right,
/// and at no moment there is no file.
fn listen(path: &Path) -> io::Result<(Socket, UnixListener)> {
    let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::Error::new(ErrorKind::InvalidInput, "not the path of a file"));
    };
    DirBuilder::new().recursive(true).mode(0o755).create(directory)?;
    let private = directory.join(format!(".{}.{}", name.to_string_lossy(), std::process::id()));
    // Left by a process of our number that was killed at this very point.
    let _ = fs::remove_dir_all(&private);
    DirBuilder::new().mode(0o700).create(&private)?;
    let made = private.join("s");
    let bound = || {
        let listener = Socket2::new(Domain::UNIX, Type::STREAM, None)?;
        listener.bind(&SockAddr::unix(&made)?)?;
        listener.listen(BACKLOG)?;
        let listener = UnixListener::from(OwnedFd::from(listener));
        fs::set_permissions(&made, Permissions::from_mode(MODE))?;
        listener.set_nonblocking(true)?;
        fs::rename(&made, path)?;
        let metadata = fs::symlink_metadata(path)?;
        Ok((Socket { path: path.to_owned(), inode: (metadata.dev(), metadata.ino()) }, listener))
    };
    let bound = bound();
    let _ = fs::remove_dir_all(&private);
    bound
}

impl Drop for Socket {
    fn drop(&mut self) {
        let ours = fs::symlink_metadata(&self.path).is_ok_and(|there| (there.dev(), there.ino()) == self.inode);
        if ours {
            // The daemon that finds a stale file replaces it.
            let _ = fs::remove_file(&self.path);
        }
    }
}
