//! Warming: what a node does not have, it asks another one for, its upstream, once for each key.
//!
//! ```text
//! session --- Ask ---> owner: Source --- mg / get ---> upstream
//!    ^                   |  adds the value, unless a client has written the key here
//!    '------- Ask -------'
//! ```
//!
//! A session that misses leaves an [`Ask`] for the owner of the key's shard and keeps the answer's place; the owner asks
//! the upstream once for all sessions that want the key, and gives the ask back when there is nothing more to wait for.
//! Then the session reads again. `source` decides, `fetches` knows what is under way, `answers` reads what the upstream
//! says, `written` remembers which keys are not to be asked for, `redials` when to connect again; none of them does
//! a system call. `worker/warming.rs` carries it, `server/warming.rs` connects.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, mpsc};
use std::time::Duration;

use crossbeam_utils::CachePadded;
use ringcache_engine::{Expiry, KeyHash, Outcome, ShardId, Status};

use crate::config::Config;
use crate::limits::WARM_TIMEOUT_DEFAULT;
use crate::mesh::Ticket;

pub mod answers;
pub mod fetches;
pub mod redials;
pub mod source;
pub mod written;

use answers::Dialect;
use written::Written;

/// `--warm-from` and what belongs to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WarmingOptions {
    /// `HOST:PORT` of the upstream, any server that speaks memcached's text protocol; `None`: there is none.
    pub upstream: Option<String>,
    /// `--warm-timeout-ms`: how long a miss may wait for it.
    pub timeout: Duration,
}

impl Default for WarmingOptions {
    fn default() -> Self {
        Self { upstream: None, timeout: WARM_TIMEOUT_DEFAULT }
    }
}

/// A session's question for a key that is not here. It travels to the owner of the key's shard and back.
pub struct Ask {
    /// Who asks.
    pub ticket: Ticket,
    /// Which of its questions it is.
    pub number: u32,
    /// Of the key.
    pub hash: KeyHash,
    /// Fit for a command line.
    pub key: Box<[u8]>,
    /// The record is to be touched once the question is settled, found or not.
    pub touch: Option<Expiry>,
    /// On the way back: of the touch, else that nothing was written.
    pub outcome: Outcome,
}

impl Ask {
    /// A question without an outcome.
    pub fn new(ticket: Ticket, number: u32, hash: KeyHash, key: &[u8], touch: Option<Expiry>) -> Box<Self> {
        Box::new(Self {
            ticket,
            number,
            hash,
            key: key.into(),
            touch,
            outcome: Outcome::bare(Status::NotFound),
        })
    }
}

/// Whether a command line can hold the key, so that every server understands it.
#[inline]
pub fn is_askable(key: &[u8]) -> bool {
    key.iter().all(|byte| *byte > b' ' && *byte != 0x7f)
}

/// A connection to the upstream, on its way to its worker.
pub struct Connected {
    /// Open, and nothing waits in it.
    pub socket: OwnedFd,
    /// What the upstream understands.
    pub dialect: Dialect,
}

/// A worker has no connection to the upstream any more.
#[derive(Clone, Copy, Debug)]
pub struct Lost {
    /// Which worker.
    pub worker: u16,
}

/// What all workers know of the upstream.
pub struct Warming {
    /// Indexed by shard: its owner takes questions.
    open: Box<[CachePadded<AtomicBool>]>,
    /// Every key is taken for written: the warming is over.
    over: Arc<AtomicBool>,
    /// Whoever connects hears here of what was lost.
    lost: OnceLock<mpsc::Sender<Lost>>,
}

impl Warming {
    /// Nobody is connected yet.
    pub fn new(workers: u16) -> Self {
        Self {
            open: (0..workers).map(|_| CachePadded::default()).collect(),
            over: Arc::default(),
            lost: OnceLock::new(),
        }
    }

    /// From now on whoever connects hears of what is lost.
    pub fn listen(&self, lost: mpsc::Sender<Lost>) {
        self.lost.set(lost).expect("a node is started once");
    }

    /// Whether a miss in `shard` is worth a question. One relaxed load.
    #[inline]
    pub fn is_open(&self, shard: ShardId) -> bool {
        self.open[usize::from(shard.0)].load(Ordering::Relaxed)
    }

    /// The owner says whether it takes questions.
    pub fn set_open(&self, shard: ShardId, open: bool) {
        self.open[usize::from(shard.0)].store(open, Ordering::Relaxed);
    }

    /// Shards whose owners take questions.
    pub fn open_shards(&self) -> usize {
        self.open.iter().filter(|open| open.load(Ordering::Relaxed)).count()
    }

    /// Asks for another connection.
    pub fn lose(&self, lost: Lost) {
        // Whoever connects ends when the node stops.
        let _ = self.lost.get().map(|heard| heard.send(lost));
    }
}

/// What sessions of a worker use.
pub struct Lent {
    /// Questions that they have left in this turn.
    pub asks: Vec<Box<Ask>>,
    /// The keys of the worker's shard that clients have written.
    pub written: Written,
}

impl Lent {
    /// For one worker of a node that is configured so.
    pub fn new(config: &Config, warming: &Warming) -> Self {
        let memory_bytes = config.memory_bytes / u64::from(config.workers);
        Self { asks: Vec::new(), written: Written::new(memory_bytes, Arc::clone(&warming.over)) }
    }
}

#[cfg(test)]
mod tests {
    use super::is_askable;

    #[test]
    fn a_key_that_would_break_the_line_is_not_asked_for() {
        assert!(is_askable(b"user:1") && is_askable("gr\u{fc}n".as_bytes()));
        for key in [&b"a b"[..], b"a\r", b"a\nflush_all", b"\0", b"a\x7f"] {
            assert!(!is_askable(key), "{key:?}");
        }
    }
}
