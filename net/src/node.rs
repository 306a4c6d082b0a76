//! What all workers of a node share: configuration, counters, the engine's statistics, the wish to stop.
//!
//! Written before the workers start, or through atomics; never locked on a request's way.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU16};
use std::sync::{Arc, Mutex, OnceLock};

use ringcache_engine::{Engine, Seconds};

use crate::admin::replication::Replication;
use crate::allowance::Allowances;
use crate::auth::Auth;
use crate::backup::Backups;
use crate::clock::Clock;
use crate::config::{Config, Tuning};
use crate::dump::Crawls;
use crate::observe::Observers;
use crate::replication;
use crate::server::reload::Reload;
use crate::server::roster::Roster;
use crate::server::tls::Tls;
use crate::stats::{Baseline, WorkerStats};
use crate::warming::Warming;

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
    /// Set with `stopping`, by SIGUSR1 and `shutdown graceful`: the memory file of `-e` is left for the next start.
    pub keeping: AtomicBool,
    /// Workers that have not sent their last answer; counts down once the node stops.
    pub draining: AtomicU16,
    /// Who may give commands, where `-S` or `-Y` asks.
    pub auth: Arc<Auth>,
    /// Certificates, where `-Z` asks for them.
    pub tls: Arc<Tls>,
    /// Who is connected.
    pub roster: Roster,
    /// `lru_crawler`'s dumps.
    pub crawls: Crawls,
    /// What operators have tuned, for `stats settings`. As `baseline`, only touched by commands about the node.
    pub tuning: Mutex<Tuning>,
    /// The time.
    pub clock: Clock,
    /// Watchers and counts per prefix.
    pub observers: Observers,
    /// How much more than it asked for each source of datagrams may be sent.
    pub allowances: Allowances,
    /// What a replicating node lends to its operator's commands; set once, before operators are let in.
    pub replication: OnceLock<Arc<dyn Replication>>,
    /// Backups of this node.
    pub backups: Backups,
    /// Links to other nodes, where there may be some.
    pub replicating: Option<Arc<replication::node::Replication>>,
    /// The upstream, where there is one.
    pub warming: Option<Arc<Warming>>,
    /// What SIGHUP reads again.
    pub reload: Reload,
    /// `verbosity`, 0 to 2 by command.
    pub verbosity: AtomicU8,
    /// What the counters stood at when `stats reset` was last given. Only the stats commands touch it, so no
    /// request waits for this lock.
    pub baseline: Mutex<Baseline>,
}

impl Node {
    /// A node that has served nothing yet, with one set of counters per worker of `config`.
    pub fn new(config: Config, engine: Engine, started: Seconds) -> Self {
        Self {
            workers: (0..config.workers).map(|_| WorkerStats::default()).collect(),
            verbosity: AtomicU8::new(config.verbosity),
            stopping: AtomicBool::new(false),
            keeping: AtomicBool::new(false),
            draining: AtomicU16::new(config.workers),
            auth: Arc::new(Auth::of(&config)),
            tls: Arc::new(Tls::of(&config)),
            roster: Roster::new(config.workers),
            crawls: Crawls::default(),
            tuning: Mutex::new(config.tuning.clone()),
            clock: Clock::new(config.debug_clock),
            observers: Observers::new(&config),
            allowances: Allowances::new(config.udp_bytes_per_second),
            replication: OnceLock::new(),
            backups: Backups::new(config.workers),
            replicating: None,
            warming: None,
            reload: Reload::default(),
            baseline: Mutex::default(),
            config,
            engine,
            started,
        }
    }
}
