//! The listening Unix socket of `-s`.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixListener;
use std::path::Path;

use super::ServeError;
use crate::config::Config;
use crate::sys;

/// Opens the socket with the access bits of `-a`. A socket file that is there is replaced, as memcached does; any
/// other file is not.
pub(super) fn listen(path: &Path, config: &Config) -> Result<OwnedFd, ServeError> {
    remove(path);
    let mask = sys::mask_new_files(!config.socket_mode & 0o777);
    let bound = UnixListener::bind(path);
    sys::mask_new_files(mask);
    let listening = bound.and_then(|listener| {
        let socket = OwnedFd::from(listener);
        sys::listen(&socket, config.backlog)?;
        Ok(socket)
    });
    listening.map_err(|source: io::Error| {
        let what = format!("the Unix socket {}", path.display());
        ServeError::Listen { what, source }
    })
}

/// Removes the file of a socket, if it is one.
pub(super) fn remove(path: &Path) {
    let is_socket = fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket());
    if is_socket && let Err(error) = fs::remove_file(path) {
        tracing::warn!(path = %path.display(), %error, "the socket file stays");
    }
}
