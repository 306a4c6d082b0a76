//! Where a server listens, and how to connect to it.

use std::fmt;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use crate::error::BenchError;

/// The address of a server: `HOST:PORT` or `unix:PATH`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// The first address the name resolves to.
    Tcp(SocketAddr),
    /// A socket in the file system.
    Unix(PathBuf),
}

impl Target {
    /// A connected socket; TCP without Nagle's delay.
    pub fn connect(&self) -> Result<OwnedFd, BenchError> {
        let connected = match self {
            Target::Tcp(address) => {
                TcpStream::connect_timeout(address, CONNECT_TIME_MAX).and_then(|stream| {
                    stream.set_nodelay(true)?;
                    Ok(OwnedFd::from(stream))
                })
            }
            Target::Unix(path) => UnixStream::connect(path).map(OwnedFd::from),
        };
        connected.map_err(|source| BenchError::Unreachable { target: self.to_string(), source })
    }
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Target, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            if path.is_empty() {
                return Err("unix: needs a path behind it".to_string());
            }
            return Ok(Target::Unix(PathBuf::from(path)));
        }
        let mut addresses =
            text.to_socket_addrs().map_err(|error| format!("{error} (HOST:PORT or unix:PATH)"))?;
        addresses.next().map(Target::Tcp).ok_or_else(|| format!("{text} has no address"))
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Tcp(address) => write!(f, "{address}"),
            Target::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

const CONNECT_TIME_MAX: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_both_forms_and_refuses_others() {
        assert_eq!("127.0.0.1:11211".parse(), Ok(Target::Tcp(([127, 0, 0, 1], 11211).into())));
        assert_eq!("unix:/tmp/s".parse(), Ok(Target::Unix("/tmp/s".into())));
        assert!("127.0.0.1".parse::<Target>().is_err());
        assert!("unix:".parse::<Target>().is_err());
        assert!("127.0.0.1:70000".parse::<Target>().is_err());
    }
}
