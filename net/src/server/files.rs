//! What others read about the process: its number (`-P`) and its ports (`MEMCACHED_PORT_FILENAME`).
//!
//! Both are written aside and renamed, so that nobody ever reads half of them.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use super::Sockets;
use crate::config::Config;
use crate::sys::{self, End};

/// The file of `-P`; removed at the end of a daemon.
pub(super) struct PidFile(Option<PathBuf>);

impl PidFile {
    /// Writes it, where one was asked for. A failure is only a warning, as in memcached.
    pub(super) fn write(config: &Config) -> Self {
        let Some(path) = &config.pid_file else { return Self(None) };
        if let Err(error) = replace(path, "tmp", &format!("{}\n", std::process::id())) {
            tracing::warn!(path = %path.display(), %error, "the pid file can't be written");
            return Self(None);
        }
        Self(config.daemonize.then(|| path.clone()))
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        if let Some(path) = &self.0
            && let Err(error) = fs::remove_file(path)
        {
            tracing::warn!(path = %path.display(), %error, "the pid file stays");
        }
    }
}

/// The ports of the listeners, as a test harness of memcached reads them.
pub(super) struct PortLines(String);

impl PortLines {
    /// Asks each listener for its port.
    pub(super) fn of(sockets: &Sockets) -> Self {
        let mut lines = String::new();
        let tcp = sockets.listeners.iter().map(|listener| ("TCP", listener.socket.as_raw_fd()));
        // Those of the other workers have the same ports.
        let udp = sockets.datagrams.iter().take(1).flatten().map(|socket| ("UDP", socket.as_raw_fd()));
        for (kind, socket) in tcp.chain(udp) {
            let Some(address) = sys::socket_address(socket, End::Local) else { continue };
            let family = if address.is_ipv4() { "INET" } else { "INET6" };
            writeln!(lines, "{kind} {family}: {}", address.port()).expect("a String takes every write");
        }
        Self(lines)
    }

    /// Writes the file, where one was asked for.
    pub(super) fn write(&self, config: &Config) {
        if let Some(path) = &config.port_file
            && let Err(error) = replace(path, "lck", &self.0)
        {
            tracing::warn!(path = %path.display(), %error, "the port file can't be written");
        }
    }
}

/// Writes `<path>.<suffix>` and renames it.
fn replace(path: &Path, suffix: &str, text: &str) -> io::Result<()> {
    let mut aside = OsString::from(path);
    aside.push(".");
    aside.push(suffix);
    fs::write(&aside, text)?;
    fs::rename(&aside, path)
}
