//! The two servers of a measurement at equal memory, and how they are started.

use std::path::PathBuf;

use clap::Args;

use crate::child::Server;
use crate::error::BenchError;

/// Options about the servers.
#[derive(Args, Debug)]
pub struct ServersArgs {
    /// The ringcached to measure; by default the one beside this program
    #[arg(long)]
    ringcached: Option<PathBuf>,
    /// The memcached to measure against
    #[arg(long, default_value = "memcached")]
    memcached: PathBuf,
    /// CPU of the servers
    #[arg(long, default_value_t = 0)]
    server_cpu: usize,
}

/// A kind of server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Ours.
    Ringcached,
    /// The one to beat.
    Memcached,
}

impl Kind {
    /// In the order of a report.
    pub const BOTH: [Kind; 2] = [Kind::Ringcached, Kind::Memcached];

    /// As in reports.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Ringcached => "ringcached",
            Kind::Memcached => "memcached",
        }
    }
}

impl ServersArgs {
    /// Starts a server with `-t threads -m megabytes`; it is stopped when dropped. From the main thread only.
    pub fn start(&self, kind: Kind, threads: u16, megabytes: u64) -> Result<Server, BenchError> {
        let own = std::env::current_exe().map_err(BenchError::machine("cannot find this program"))?;
        let path = match kind {
            Kind::Ringcached => self.ringcached.clone().unwrap_or_else(|| own.with_file_name("ringcached")),
            Kind::Memcached => self.memcached.clone(),
        };
        let (threads, memory) = (threads.to_string(), megabytes.to_string());
        let mut arguments = vec!["-l", "127.0.0.1", "-p", "{port}", "-t", &threads, "-m", &memory];
        if kind == Kind::Memcached {
            arguments.extend(["-U", "0", "-u", "root"]);
        }
        Server::start(&path, &arguments, &[self.server_cpu])
    }
}
