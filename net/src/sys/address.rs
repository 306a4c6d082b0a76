//! Internet addresses in the kernel's form.

use std::mem::size_of;
use std::net::{SocketAddr, SocketAddrV6};

/// An internet address as the kernel has it.
pub enum RawAddress {
    /// IPv4.
    V4(libc::sockaddr_in),
    /// IPv6.
    V6(libc::sockaddr_in6),
}

impl RawAddress {
    /// Length of the longer one.
    pub const BYTES_MAX: u32 = size_of::<libc::sockaddr_in6>() as u32;

    /// From an address.
    pub fn of(address: &SocketAddr) -> Self {
        match address {
            SocketAddr::V4(v4) => RawAddress::V4(libc::sockaddr_in {
                sin_family: libc::AF_INET as libc::sa_family_t,
                sin_port: v4.port().to_be(),
                sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(v4.ip().octets()) },
                sin_zero: [0; 8],
            }),
            SocketAddr::V6(v6) => RawAddress::V6(libc::sockaddr_in6 {
                sin6_family: libc::AF_INET6 as libc::sa_family_t,
                sin6_port: v6.port().to_be(),
                sin6_flowinfo: v6.flowinfo(),
                sin6_addr: libc::in6_addr { s6_addr: v6.ip().octets() },
                sin6_scope_id: v6.scope_id(),
            }),
        }
    }

    /// From what the kernel wrote; `None` for other families.
    pub fn parse(bytes: &[u8]) -> Option<SocketAddr> {
        let family = i32::from(u16::from_ne_bytes(*bytes.first_chunk()?));
        let port = u16::from_be_bytes([*bytes.get(2)?, *bytes.get(3)?]);
        match family {
            libc::AF_INET => {
                let host: [u8; 4] = *bytes.get(4..)?.first_chunk()?;
                Some(SocketAddr::from((host, port)))
            }
            libc::AF_INET6 => {
                let host: [u8; 16] = *bytes.get(8..)?.first_chunk()?;
                let scope = u32::from_ne_bytes(*bytes.get(24..)?.first_chunk()?);
                Some(SocketAddrV6::new(host.into(), port, 0, scope).into())
            }
            _ => None,
        }
    }

    /// For the kernel to read, as long as this value stays where it is.
    pub fn as_ptr(&self) -> *const libc::sockaddr {
        match self {
            RawAddress::V4(raw) => (&raw const *raw).cast(),
            RawAddress::V6(raw) => (&raw const *raw).cast(),
        }
    }

    /// Its length.
    pub fn bytes(&self) -> u32 {
        match self {
            RawAddress::V4(raw) => size_of_val(raw) as u32,
            RawAddress::V6(raw) => size_of_val(raw) as u32,
        }
    }
}
