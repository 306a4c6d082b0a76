//! A datagram on its way out.

use std::net::{Ipv4Addr, SocketAddr};

use crate::limits::UDP_DATAGRAM_BYTES_MAX;

/// Filled by the worker, then owned by the driver until it is sent, then used again.
pub struct OutgoingDatagram {
    /// Number of the socket that it leaves by.
    pub socket: u32,
    /// Where to.
    pub to: SocketAddr,
    /// What.
    pub bytes: Vec<u8>,
}

impl OutgoingDatagram {
    /// One that goes nowhere yet, with room for the longest.
    pub fn new() -> Self {
        let nowhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        Self { socket: 0, to: nowhere, bytes: Vec::with_capacity(UDP_DATAGRAM_BYTES_MAX) }
    }
}

impl Default for OutgoingDatagram {
    fn default() -> Self {
        Self::new()
    }
}
