//! Where the operators' socket is.
//!
//! A path of its own for each port, in a directory that belongs to the server's user alone:
//!
//! ```text
//! $RUNTIME_DIRECTORY/PORT.sock     as a service of systemd (/run/ringcached)
//! /tmp/ringcache-USERID/PORT.sock  otherwise
//! PATH.admin                       with -s PATH
//! ```
//!
//! Whoever may open it is an operator: its mode is 600.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use crate::sys;

/// Where systemd puts the directory of the unit that comes with Ringcache.
const SERVICE_DIRECTORY: &str = "/run/ringcached";

/// The operators' socket; its file is removed when this is dropped.
pub struct Place {
    path: PathBuf,
}

impl Place {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "the operators' socket stays");
        }
    }
}

/// Binds the socket at `path`, for this user alone. One that no process listens on any more is replaced.
///
/// Errors: another process listens there; something else is there; no such directory; a path that is too long.
pub fn bind(path: &Path) -> io::Result<(UnixListener, Place)> {
    // A daemon changes its directory before it removes the file.
    let path = std::path::absolute(path)?;
    let is_socket = fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.file_type().is_socket());
    if is_socket {
        if UnixStream::connect(&path).is_ok() {
            return Err(io::Error::new(io::ErrorKind::AddrInUse, "another process listens there"));
        }
        fs::remove_file(&path)?;
    }
    let mask = sys::mask_new_files(0o177);
    let bound = UnixListener::bind(&path);
    sys::mask_new_files(mask);
    Ok((bound?, Place { path }))
}

/// Where a server listens that was not told where: `service` is systemd's directory for it. Makes the directory.
///
/// Errors: the directory is not this user's alone.
pub fn default_for_port(port: u16, service: Option<&Path>) -> io::Result<PathBuf> {
    let name = file_name(port);
    if let Some(directory) = service {
        return Ok(directory.join(name));
    }
    let directory = user_directory();
    match DirBuilder::new().mode(0o700).create(&directory) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let metadata = fs::symlink_metadata(&directory)?;
    if !metadata.is_dir() || metadata.uid() != sys::user_id() || metadata.mode() & 0o077 != 0 {
        let reason = format!("{} does not belong to this user alone", directory.display());
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, reason));
    }
    Ok(directory.join(name))
}

/// Beside the Unix socket of `-s`.
pub fn default_for_socket(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".admin");
    name.into()
}

/// Where `ringctl` looks for the server on `port`, in this order.
pub fn candidates(port: u16) -> [PathBuf; 2] {
    [user_directory().join(file_name(port)), Path::new(SERVICE_DIRECTORY).join(file_name(port))]
}

fn user_directory() -> PathBuf {
    PathBuf::from(format!("/tmp/ringcache-{}", sys::user_id()))
}

fn file_name(port: u16) -> String {
    format!("{port}.sock")
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::path::{Path, PathBuf};

    use super::{bind, candidates, default_for_port, default_for_socket};

    #[test]
    fn the_tool_looks_where_a_server_is_by_default() {
        assert!(candidates(4711).contains(&default_for_port(4711, None).expect("a directory of this user")));
        let service =
            default_for_port(4711, Some(Path::new("/run/ringcached"))).expect("systemd has made it");
        assert!(candidates(4711).contains(&service));
        assert_eq!(default_for_socket(Path::new("/a/b")), PathBuf::from("/a/b.admin"));
    }

    #[test]
    fn only_what_nobody_listens_on_is_replaced() {
        let directory = std::env::temp_dir().join(format!("ringcache-place-{}", std::process::id()));
        fs::create_dir_all(&directory).expect("writable");
        let path = directory.join("socket");
        let (listener, place) = bind(&path).expect("nothing is there");
        assert_eq!(fs::metadata(&path).expect("bound").permissions().mode() & 0o777, 0o600);
        assert!(bind(&path).is_err(), "it is listened on");
        drop(listener);
        // As a process that was killed leaves it.
        std::mem::forget(place);
        drop(bind(&path).expect("nobody listens any more"));
        assert!(!path.exists());
        fs::write(&path, "no socket").expect("writable");
        assert!(bind(&path).is_err() && path.exists(), "a file is left alone");
        fs::remove_dir_all(&directory).expect("made above");
    }
}
