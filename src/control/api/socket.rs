//! The listening socket's file.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::fs::Mode;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use super::ApiError;

/// Connections that wait to be accepted.
const BACKLOG: i32 = 1024;

/// A socket file of this process; it goes with the value, unless another one took its place.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    inode: u64,
}

/// Listens on `path`, readable and writable by the owner only from its first moment. A file that
/// nobody answers on is replaced.
pub(super) fn listen(path: &Path) -> Result<(UnixListener, SocketFile), ApiError> {
    let failed = |error| ApiError::Socket { path: path.to_owned(), error };
    clear_way(path)?;
    let socket = rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        None,
    )
    .map_err(|error| failed(error.into()))?;
    // bind(2) makes the file with the socket inode's mode: no moment of another mode exists, and
    // the process-wide umask need not be touched.
    rustix::fs::fchmod(&socket, Mode::RUSR | Mode::WUSR).map_err(|error| failed(error.into()))?;
    let address = SocketAddrUnix::new(path).map_err(|error| failed(error.into()))?;
    rustix::net::bind(&socket, &address).map_err(|error| match error {
        rustix::io::Errno::ADDRINUSE => ApiError::Conflict { path: path.to_owned() },
        error => failed(error.into()),
    })?;
    let inode = fs::symlink_metadata(path).map_err(failed)?.ino();
    let file = SocketFile { path: path.to_owned(), inode };
    rustix::net::listen(&socket, BACKLOG).map_err(|error| failed(error.into()))?;
    Ok((UnixListener::from(socket), file))
}

/// Removes a socket file that nobody answers on.
fn clear_way(path: &Path) -> Result<(), ApiError> {
    let failed = |error| ApiError::Socket { path: path.to_owned(), error };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
        Ok(found) if !found.file_type().is_socket() => {
            return Err(ApiError::NotASocket { path: path.to_owned() });
        }
        Ok(_) => {}
    }
    match UnixStream::connect(path) {
        Ok(_) => Err(ApiError::Conflict { path: path.to_owned() }),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(failed)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(failed(error)),
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let is_ours = fs::symlink_metadata(&self.path).is_ok_and(|now| now.ino() == self.inode);
        if is_ours {
            // Whoever removed it meanwhile has done what is to be done.
            let _ = fs::remove_file(&self.path);
        }
    }
}
