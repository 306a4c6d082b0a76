//! memcached's command line, checked once, as one value.
//!
//! Nothing else reads flags or the environment. Field names follow our vocabulary; the flag is named in each doc.

use std::path::PathBuf;

/// Which protocol a connection may speak (`-B`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binding {
    /// By the first byte.
    Auto,
    /// Text and meta only.
    Ascii,
    /// Binary only.
    Binary,
}

/// One address to listen on (`-l`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// Host name or address; `None` is every address.
    pub host: Option<String>,
    /// Port of its own, else the one of `-p`.
    pub port: Option<u16>,
}

/// Everything the command line decides.
#[derive(Clone, Debug)]
pub struct Config {
    /// `-p`; `None`: TCP is off; `Some(0)`: the kernel chooses (`-p -1`).
    pub port: Option<u16>,
    /// `-l`; empty: every address.
    pub listen: Vec<Listen>,
    /// `-s`: a Unix socket, which turns TCP off.
    pub socket_path: Option<PathBuf>,
    /// `-a`: access bits of the socket.
    pub socket_mode: u32,
    /// `-m`, in bytes.
    pub memory_bytes: u64,
    /// Not `-M`.
    pub evictions: bool,
    /// `-c`.
    pub connections_max: u32,
    /// `-t`.
    pub workers: u16,
    /// `-R`.
    pub requests_per_turn: u32,
    /// `-b`.
    pub backlog: u32,
    /// `-B`.
    pub binding: Binding,
    /// Not `-C`.
    pub cas: bool,
    /// `-I`.
    pub item_bytes_max: u32,
    /// Not `-F`.
    pub flush_enabled: bool,
    /// Not `-X`.
    pub dump_enabled: bool,
    /// Not `-W`.
    pub watch_enabled: bool,
    /// `-A`.
    pub shutdown_enabled: bool,
    /// `-d`.
    pub daemonize: bool,
    /// `-P`.
    pub pid_file: Option<PathBuf>,
    /// `-u`.
    pub user: Option<String>,
    /// How often `-v` was given, 0 to 3.
    pub verbosity: u8,
    /// `-L`.
    pub huge_pages: bool,
    /// `-k`.
    pub lock_memory: bool,
    /// `-r`.
    pub core_dumps: bool,
    /// `-f`; only reported.
    pub growth_factor: f64,
    /// `-n`; only reported.
    pub chunk_bytes: u32,
    /// `-o idle_timeout`, seconds; 0 is off.
    pub idle_timeout_seconds: u32,
    /// `-o maxconns_fast`, the default: refuse with an error instead of not accepting.
    pub maxconns_fast: bool,
    /// `-o track_sizes`.
    pub track_sizes: bool,
    /// `MEMCACHED_PORT_FILENAME`.
    pub port_file: Option<PathBuf>,
}
