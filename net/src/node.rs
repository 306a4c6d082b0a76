//! What all workers of a node share: configuration, counters, the engine's statistics, the wish to stop.
//!
//! Written before the workers start, or through atomics; never locked on a request's way.

use std::sync::atomic::{AtomicBool, AtomicU8};

use ringcache_engine::{Engine, Seconds};

use crate::config::Config;
use crate::stats::WorkerStats;

/// One per process, behind an `Arc`.
pub struct Node {
    /// The checked command line.
    pub config: Config,
    /// Shards' counters and the memory limit.
    pub engine: Engine,
    /// Counters of each worker; only the worker itself writes its own.
    pub workers: Box<[WorkerStats]>,
    /// Coarse time of the start: absolute exptimes at or before it are over.
    pub started: Seconds,
    /// Set by SIGTERM, SIGINT and the `shutdown` command; every worker then drains and stops.
    pub stopping: AtomicBool,
    /// `verbosity`, 0 to 2 by command.
    pub verbosity: AtomicU8,
}
