//! The operators' socket, as the command line asks for it.

use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::Arc;

use super::{ServeError, Sockets};
use crate::admin::place::{self, Place};
use crate::admin::{self, Office};
use crate::config::{AdminSocket, Config};
use crate::errand::Errands;
use crate::node::Node;
use crate::sys::{self, End};

/// The socket before anybody is let in. Its file is removed when this is dropped.
pub(super) struct Entry {
    listener: UnixListener,
    place: Place,
}

/// Binds the operators' socket; none with `--admin-socket off`, or where no port gives it a name.
///
/// Errors: it can't be bound where the command line wants it. By default that is only a warning.
pub(super) fn listen(config: &Config, sockets: &Sockets) -> Result<Option<Entry>, ServeError> {
    let (path, is_asked_for) = match &config.admin_socket {
        AdminSocket::Off => return Ok(None),
        AdminSocket::At(path) => (Ok(path.clone()), true),
        AdminSocket::ByPort => match default_path(config, sockets) {
            Some(path) => (path, false),
            None => return Ok(None),
        },
    };
    let shown = path.as_ref().map_or_else(|_| "by default".to_owned(), |path| path.display().to_string());
    match path.and_then(|path| place::bind(&path)) {
        Ok((listener, place)) => Ok(Some(Entry { listener, place })),
        Err(source) if is_asked_for => {
            Err(ServeError::Listen { what: format!("the operators' socket {shown}"), source })
        }
        Err(error) => {
            tracing::warn!(path = shown, %error, "no socket for ringctl");
            Ok(None)
        }
    }
}

/// A path that follows from the socket of `-s` or from the first port.
fn default_path(config: &Config, sockets: &Sockets) -> Option<io::Result<PathBuf>> {
    if let Some(path) = &config.socket_path {
        return Some(Ok(place::default_for_socket(path)));
    }
    let listener = sockets.listeners.first()?;
    let address = sys::socket_address(listener.socket.as_raw_fd(), End::Local)?;
    Some(place::default_for_port(address.port(), config.service_directory.as_deref()))
}

impl Entry {
    /// Lets operators in. The socket's file goes with what is returned.
    pub(super) fn open(self, node: &Arc<Node>, errands: Errands) -> Result<Place, ServeError> {
        let office = Office { node: Arc::clone(node), errands };
        admin::start(self.listener, office)
            .map_err(|source| ServeError::System { what: "cannot start a thread", source })?;
        tracing::info!(socket = %self.place.path().display(), "operators are let in");
        Ok(self.place)
    }
}
