//! Everything that stops a measurement. A measurement that stops reports no figures.

use std::io;
use std::path::PathBuf;

/// Why there is no result. Ends the process with exit code 2, except `Violated`, which is a result: exit code 1.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// The server does not answer at this address.
    #[error("cannot connect to {target}: {source}")]
    Unreachable {
        /// As given on the command line.
        target: String,
        /// The kernel's reason.
        source: io::Error,
    },
    /// A connection ended while requests were open on it.
    #[error("the server closed a connection during the run{}", reason(.source))]
    Died {
        /// `None` where the server closed it in order.
        source: Option<io::Error>,
    },
    /// Requests are open and nothing arrives.
    #[error("the server has not answered {open} requests for {seconds} s{hint}")]
    Stalled {
        /// How many are unanswered.
        open: usize,
        /// For how long.
        seconds: u64,
        /// What may explain it, or nothing.
        hint: &'static str,
    },
    /// The server answered something that is no answer to the request.
    #[error("not a reply to {request}: {reply:?}")]
    NotAReply {
        /// What was asked.
        request: &'static str,
        /// The beginning of what came.
        reply: String,
    },
    /// The keys could not be stored before the run.
    #[error("{refused} of {keys} keys could not be stored before the run; the first reply was {reply:?}")]
    Preload {
        /// Sets that failed.
        refused: u64,
        /// Sets tried.
        keys: u64,
        /// What the server said to the first of them.
        reply: String,
    },
    /// An open-loop run did not keep its rate, so its latencies would describe another load.
    #[error(
        "the rate of {asked:.0} requests/s was not reached: {reached:.0}/s were answered; ask for less or add threads"
    )]
    Rate {
        /// Requests per second asked for.
        asked: f64,
        /// Requests per second answered.
        reached: f64,
    },
    /// An option has no meaning, alone or with another.
    #[error("{0}")]
    Usage(String),
    /// A trace file is missing, or is none.
    #[error("cannot replay {}: {reason}", path.display())]
    Trace {
        /// As given on the command line.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A server's program could not be started.
    #[error("cannot start {}: {source}", path.display())]
    Start {
        /// The program.
        path: PathBuf,
        /// The kernel's reason.
        source: io::Error,
    },
    /// A server's program ended before it accepted connections.
    #[error("{} ended before it accepted connections ({status}){output}", path.display())]
    Ended {
        /// The program.
        path: PathBuf,
        /// Its exit status.
        status: String,
        /// What it wrote to stderr, or nothing.
        output: String,
    },
    /// The machine refused something the measurement needs.
    #[error("{what}: {source}")]
    Machine {
        /// What was being done.
        what: &'static str,
        /// The kernel's reason.
        source: io::Error,
    },
    /// A baseline can't be read, or is of another version of this program.
    #[error("{} can't be compared with: {reason}; `ringbench regress --record` writes a new one", path.display())]
    Baseline {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A program that counts instructions did not say how many.
    #[error("{} gave no count: {said}", path.display())]
    Count {
        /// The program.
        path: PathBuf,
        /// What it said instead.
        said: String,
    },
    /// The server broke a promise, or became slower than is allowed; the text says which and how often.
    #[error("{0}")]
    Violated(String),
}

impl BenchError {
    /// For `map_err`: names what was being done when the machine refused.
    pub fn machine<E: Into<io::Error>>(what: &'static str) -> impl FnOnce(E) -> BenchError {
        move |source| BenchError::Machine { what, source: source.into() }
    }

    /// The exit code of the process: 1 for a server that answers wrongly, 2 for no result.
    pub fn exit_code(&self) -> u8 {
        match self {
            BenchError::Violated(_) => 1,
            _ => 2,
        }
    }
}

fn reason(source: &Option<io::Error>) -> String {
    source.as_ref().map(|error| format!(": {error}")).unwrap_or_default()
}
