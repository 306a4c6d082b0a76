//! From the addresses of `-l` to those that sockets are bound to.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};

use super::ServeError;
use crate::config::{Config, Terms};

/// What one address of `-l` stands for, or nothing at all given.
pub(super) struct Group {
    /// At least one of them is bound.
    addresses: Vec<SocketAddr>,
    /// What holds for all.
    pub terms: Terms,
}

impl Group {
    /// The addresses of the command line, with `port` where one has none of its own.
    ///
    /// Errors: a name that can't be resolved.
    pub(super) fn all(config: &Config, port: u16) -> Result<Vec<Self>, ServeError> {
        if config.listen.is_empty() {
            return Ok(vec![Self { addresses: every(port), terms: Terms::default() }]);
        }
        let groups = config.listen.iter().map(|listen| {
            let port = listen.port.unwrap_or(port);
            let addresses =
                listen.host.as_ref().map_or_else(|| Ok(every(port)), |host| resolve(host, port))?;
            Ok(Self { addresses, terms: listen.terms })
        });
        groups.collect()
    }

    /// Opens a socket on each address whose family this machine has; at least one.
    pub(super) fn open<T>(
        &self,
        kind: &str,
        mut open: impl FnMut(&SocketAddr) -> io::Result<T>,
    ) -> Result<Vec<T>, ServeError> {
        let failed = |address: &SocketAddr, source| {
            let what = format!("{kind} port {} ({address})", address.port());
            ServeError::Listen { what, source }
        };
        let mut sockets = Vec::new();
        let mut missing = None;
        for address in &self.addresses {
            match open(address) {
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
}

fn every(port: u16) -> Vec<SocketAddr> {
    vec![SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)), SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))]
}

fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>, ServeError> {
    let found = (host, port).to_socket_addrs();
    let found = found.map_err(|source| ServeError::Listen { what: format!("the address {host}"), source })?;
    Ok(found.collect())
}

fn is_missing_family(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL))
}
