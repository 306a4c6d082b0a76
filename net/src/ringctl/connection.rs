//! One connection to a node: where it is, and one request with its answer.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use ringcache_net::admin::place;
use ringcache_net::admin::words::{Reply, Request};
use serde_json::Value;

use crate::show::Show;

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// The command line makes no sense.
    #[error("{0}")]
    Usage(String),
    /// Nobody answers.
    #[error(
        "no node answers at {place}: {source}; is it running, and as this user? --socket names another place"
    )]
    Nobody {
        /// Every place that was tried.
        place: String,
        /// The reason at the last one.
        source: io::Error,
    },
    /// The connection ended before the answer.
    #[error("the node went away before it had answered")]
    Ended,
    /// The connection broke.
    #[error("the connection to the node broke: {0}")]
    Broken(#[from] io::Error),
    /// What came is no answer: another version, perhaps.
    #[error("the node's answer is none: {0}")]
    Answer(#[from] serde_json::Error),
    /// The node says why not.
    #[error("{0}")]
    Failed(String),
}

/// Connected.
pub struct Connection(BufReader<UnixStream>);

impl Connection {
    /// Connects to the socket at `path`, or to the default one of the server on `port`.
    pub fn open(path: Option<&Path>, port: u16) -> Result<Self, Trouble> {
        let places = path.map_or_else(|| place::candidates(port).to_vec(), |path| vec![path.to_owned()]);
        let mut last = io::Error::from(io::ErrorKind::NotFound);
        for place in &places {
            match UnixStream::connect(place) {
                Ok(stream) => return Ok(Self(BufReader::new(stream))),
                Err(error) => last = error,
            }
        }
        let shown: Vec<String> = places.iter().map(|place: &PathBuf| place.display().to_string()).collect();
        Err(Trouble::Nobody { place: shown.join(" or "), source: last })
    }

    /// Asks, shows what comes before the last line, and returns that one.
    pub fn ask(&mut self, request: &Request, show: &Show) -> Result<Value, Trouble> {
        let mut line = serde_json::to_vec(request)?;
        line.push(b'\n');
        self.0.get_mut().write_all(&line)?;
        loop {
            line.clear();
            if self.0.read_until(b'\n', &mut line)? == 0 {
                return Err(Trouble::Ended);
            }
            match serde_json::from_slice(&line)? {
                Reply::Progress(progress) => show.progress(&progress),
                Reply::Status { status } => show.status(&status),
                Reply::Done { result } => return Ok(result),
                Reply::Failed { reason } => return Err(Trouble::Failed(reason)),
            }
        }
    }
}
