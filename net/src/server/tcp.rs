//! Listening TCP sockets: every address of `-l`, IPv4 and IPv6.

use super::addresses::Group;
use super::{Listener, ServeError};
use crate::config::Config;
use crate::sys;

/// Opens every listening socket. A machine without IPv6 gets IPv4 only, where no IPv6 address was asked for.
///
/// Errors: an address that is no address of this machine, or is taken; no address is left.
pub(super) fn listen(config: &Config) -> Result<Vec<Listener>, ServeError> {
    let Some(port) = config.port else { return Ok(Vec::new()) };
    let mut listeners = Vec::new();
    for group in Group::all(config, port)? {
        let sockets = group.open("TCP", |address| sys::listen_tcp(address, config.backlog))?;
        listeners.extend(sockets.into_iter().map(|socket| Listener { socket, terms: group.terms }));
    }
    Ok(listeners)
}
