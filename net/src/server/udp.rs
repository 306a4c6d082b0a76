//! Datagram sockets: one for each worker on every address of `-l`, so that no two workers wait at the same one.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};

use super::ServeError;
use super::addresses::Group;
use crate::config::{Config, Encryption};
use crate::sys::{self, End};

/// Opens the sockets of each worker, where `-U` asks for them. As with TCP, an address of `-l` may have a port of its own,
/// and a machine without IPv6 gets IPv4 only.
///
/// Errors: as for TCP.
pub(super) fn bind(config: &Config) -> Result<Vec<Vec<OwnedFd>>, ServeError> {
    let mut workers: Vec<Vec<OwnedFd>> = (0..config.workers).map(|_| Vec::new()).collect();
    let Some(port) = config.udp_port else { return Ok(workers) };
    // Nothing encrypts datagrams: with `-Z` they are taken where encryption is off.
    let takes = |group: &Group| !config.tls.enabled || group.terms.encryption == Encryption::Off;
    for group in Group::all(config, port)?.into_iter().filter(takes) {
        for sockets in group.open("UDP", |address| bind_for_each(config.workers, address))? {
            workers.iter_mut().zip(sockets).for_each(|(worker, socket)| worker.push(socket));
        }
    }
    Ok(workers)
}

/// One socket for each worker on the same address; the kernel spreads clients over them.
fn bind_for_each(workers: u16, address: &SocketAddr) -> io::Result<Vec<OwnedFd>> {
    let mut sockets = vec![sys::bind_udp(address, false)?];
    // The port that the kernel chose, where it was to.
    let address = sys::socket_address(sockets[0].as_raw_fd(), End::Local).unwrap_or(*address);
    for _ in 1..workers {
        sockets.push(sys::bind_udp(&address, true)?);
    }
    Ok(sockets)
}
