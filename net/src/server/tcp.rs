//! Listening TCP sockets: every address of `-l`, IPv4 and IPv6.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::os::fd::OwnedFd;

use super::{Listener, ServeError};
use crate::config::{Config, Terms};
use crate::sys;

/// Opens every listening socket. A machine without IPv6 gets IPv4 only, where no IPv6 address was asked for.
///
/// Errors: an address that is no address of this machine, or is taken; no address is left.
pub(super) fn listen(config: &Config) -> Result<Vec<Listener>, ServeError> {
    let Some(port) = config.port else { return Ok(Vec::new()) };
    if config.listen.is_empty() {
        return Ok(with_terms(listen_everywhere(port, config.backlog)?, Terms::default()).collect());
    }
    let mut listeners = Vec::new();
    for address in &config.listen {
        let port = address.port.unwrap_or(port);
        let sockets = match &address.host {
            None => listen_everywhere(port, config.backlog)?,
            Some(host) => listen_host(host, port, config.backlog)?,
        };
        listeners.extend(with_terms(sockets, address.terms));
    }
    Ok(listeners)
}

fn with_terms(sockets: Vec<OwnedFd>, terms: Terms) -> impl Iterator<Item = Listener> {
    sockets.into_iter().map(move |socket| Listener { socket, terms })
}

fn listen_everywhere(port: u16, backlog: u32) -> Result<Vec<OwnedFd>, ServeError> {
    let every =
        [SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)), SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))];
    listen_any(&every, backlog)
}

fn listen_host(host: &str, port: u16, backlog: u32) -> Result<Vec<OwnedFd>, ServeError> {
    let found = (host, port).to_socket_addrs();
    let addresses = found
        .map_err(|source| ServeError::Listen { what: format!("TCP address {host}"), source })?
        .collect::<Vec<_>>();
    listen_any(&addresses, backlog)
}

/// Listens on all addresses whose family this machine has; at least one.
fn listen_any(addresses: &[SocketAddr], backlog: u32) -> Result<Vec<OwnedFd>, ServeError> {
    let mut sockets = Vec::new();
    let mut missing = None;
    for address in addresses {
        match sys::listen_tcp(address, backlog) {
            Ok(socket) => sockets.push(socket),
            Err(error) if is_missing_family(&error) => missing = Some((address, error)),
            Err(source) => return Err(failed(address, source)),
        }
    }
    match missing {
        Some((address, error)) if sockets.is_empty() => Err(failed(address, error)),
        _ => Ok(sockets),
    }
}

fn is_missing_family(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL))
}

fn failed(address: &SocketAddr, source: io::Error) -> ServeError {
    ServeError::Listen { what: format!("TCP port {} ({address})", address.port()), source }
}
