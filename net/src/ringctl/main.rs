//! `ringctl`, the operator's tool: asks a running node over its socket, shows how it goes on, and tells by its exit code
//! how it went: 0 done, 1 failed, 2 wrong usage, 3 two nodes differ.

mod connection;
mod show;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;

use clap::{Parser, Subcommand};
use ringcache_engine::limits::SLOTS;
use ringcache_net::admin::words::Request;
use serde_json::Value;

use connection::{Connection, Trouble};
use show::Show;

/// Asks a running ringcached. Exit codes: 0 done, 1 failed, 2 wrong usage, 3 two nodes differ.
#[derive(Parser)]
#[command(name = "ringctl", version, disable_help_subcommand = true)]
struct Cli {
    /// The node's socket; by default the private one of its port
    #[arg(long, value_name = "PATH", global = true)]
    socket: Option<PathBuf>,
    /// The node's port, for the default socket
    #[arg(short, long, value_name = "PORT", default_value_t = 11211, global = true)]
    port: u16,
    /// Answer with one JSON value, or with one on each line, and show no progress
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Role, records, memory, peers and their lag
    Status,
    /// Make a replica a primary
    Promote {
        /// Even where a full copy is not complete
        #[arg(long)]
        force: bool,
    },
    /// Make a primary a replica
    Demote {
        /// The new primary; by default whoever is known to be it
        #[arg(long, value_name = "HOST:PORT")]
        of: Option<String>,
    },
    /// Follow this primary from now on
    Replicate {
        /// The primary
        #[arg(value_name = "HOST:PORT")]
        of: String,
    },
    /// Compare the node with its primary or a replica while both serve; exit code 3 where they differ
    Verify {
        /// The other node's replication port; by default the primary's
        #[arg(long, value_name = "HOST:PORT")]
        with: Option<String>,
    },
    /// Write all records to a file on the node's machine, while it serves
    Backup {
        /// Where the file will be; an earlier backup there is replaced
        file: PathBuf,
        /// Only these slots of 0 to 16383
        #[arg(long, value_name = "FIRST-LAST", conflicts_with = "since")]
        slots: Option<Slots>,
        /// Only what changed since this earlier backup; the node needs --log-changes
        #[arg(long, value_name = "FILE")]
        since: Option<PathBuf>,
        /// Compress with LZ4 what is worth it
        #[arg(long)]
        compress: bool,
    },
    /// Put the records of a backup back into the running node; what it has stored since stays
    Restore {
        /// A whole backup, then those that continue it, in their order
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// Restore what is intact of damaged files, and say what is lost
        #[arg(long)]
        salvage: bool,
    },
    /// Show the status again and again, until interrupted
    Watch {
        /// Seconds between two
        #[arg(long, default_value_t = 1.0, value_name = "SECONDS")]
        every: f64,
    },
}

impl Command {
    fn request(&self) -> Result<Request, Trouble> {
        Ok(match self {
            Command::Status => Request::Status {},
            Command::Promote { force } => Request::Promote { force: *force },
            Command::Demote { of } => Request::Demote { of: of.clone() },
            Command::Replicate { of } => Request::Replicate { of: of.clone() },
            Command::Verify { with } => Request::Verify { with: with.clone() },
            Command::Backup { file, slots, since, compress } => Request::Backup {
                path: absolute(file)?,
                slots: slots.map(|Slots(first, last)| (first, last)),
                since: since.as_deref().map(absolute).transpose()?,
                compress: *compress,
            },
            Command::Restore { files, salvage } => Request::Restore {
                paths: files.iter().map(|file| absolute(file)).collect::<Result<_, _>>()?,
                salvage: *salvage,
            },
            Command::Watch { every } => {
                let is_possible = (0.1..=86_400.0).contains(every);
                let millis = (every * 1000.0) as u64;
                let wrong = || Trouble::Usage(format!("--every takes 0.1 to 86400 seconds, not {every}"));
                is_possible.then_some(Request::Watch { millis }).ok_or_else(wrong)?
            }
        })
    }
}

/// The node has another directory than this process.
fn absolute(path: &Path) -> Result<PathBuf, Trouble> {
    std::path::absolute(path).map_err(|error| Trouble::Usage(format!("{}: {error}", path.display())))
}

/// A range of slots, both ends included.
#[derive(Clone, Copy, Debug)]
struct Slots(u16, u16);

impl FromStr for Slots {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let slot = |text: &str| text.parse().ok().filter(|slot| usize::from(*slot) < SLOTS);
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let range = slot(first).zip(slot(last)).filter(|(first, last)| first <= last);
        range.map(|(first, last)| Slots(first, last)).ok_or_else(|| format!("slots are 0 to {}", SLOTS - 1))
    }
}

const EXIT_FAILED: u8 = 1;
const EXIT_USAGE: u8 = 2;
const EXIT_DIFFERS: u8 = 3;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let show = Show::new(cli.json);
    match ask(&cli, &show) {
        Ok(result) => {
            show.result(&result);
            if result["equal"] == false { ExitCode::from(EXIT_DIFFERS) } else { ExitCode::SUCCESS }
        }
        Err(trouble) => {
            show.trouble(&trouble);
            ExitCode::from(if matches!(trouble, Trouble::Usage(_)) { EXIT_USAGE } else { EXIT_FAILED })
        }
    }
}

fn ask(cli: &Cli, show: &Show) -> Result<Value, Trouble> {
    let request = cli.command.request()?;
    let mut connection = Connection::open(cli.socket.as_deref(), cli.port)?;
    connection.ask(&request, show)
}
