//! What all threads of a node share about replication. Locks are taken when links come and go, never for a request.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::Duration;

use ringcache_engine::{CopyMark, Version};

use super::coordinator::Event;
use super::feed::FeedOptions;
use super::follow::Progress;
use super::greeting::Hello;
use super::held::Quorum;
use super::history::{Histories, HistoryId, Standing};
use super::tally::{FeedTally, FollowTally, Totals};

/// Everything that the command line says about replication.
#[derive(Clone, Debug, PartialEq)]
pub struct ReplicationOptions {
    /// `--replication-port`: where replicas connect; `Some(0)`: the kernel chooses.
    pub port: Option<u16>,
    /// `--replica-of`: whom this node follows.
    pub replica_of: Option<String>,
    /// `--replication-mode`.
    pub quorum: Quorum,
    /// `--sync-timeout-ms`: after this an answer is in doubt.
    pub sync_timeout: Duration,
    /// `--min-replicas`: with fewer, writes are refused.
    pub min_replicas: u16,
    /// `--max-lag-ms`: a replica that is further behind does not count.
    pub max_lag: Option<Duration>,
    /// `--replication-timeout-ms`: a link is given up after this silence.
    pub patience: Duration,
    /// `--replication-window`: bytes that may be under way on a link.
    pub window_bytes: usize,
    /// `--replication-compress`.
    pub compress: bool,
    /// `--replication-secret`: a file whose content both ends must know.
    pub secret_file: Option<PathBuf>,
    /// `--node-number`: what this node's versions carry.
    pub node_number: u8,
    /// `--node-file`: where the node's name is kept.
    pub node_file: Option<PathBuf>,
}

impl ReplicationOptions {
    /// Whether this node hands out or follows a log at all.
    pub fn is_wanted(&self) -> bool {
        self.port.is_some() || self.replica_of.is_some()
    }
}

/// What a node is to others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Role {
    /// It accepts writes, and others may follow it.
    Primary = 0,
    /// It follows a primary and refuses writes.
    Replica = 1,
    /// It accepts writes, and so do the peers that it follows and that follow it.
    Peer = 2,
}

impl Role {
    /// As `ringctl` names it.
    pub fn name(self) -> &'static str {
        match self {
            Role::Primary => "primary",
            Role::Replica => "replica",
            Role::Peer => "peer",
        }
    }
}

/// A link that has been greeted, on its way to the worker that owns it.
pub struct Joined {
    /// The connection.
    pub socket: OwnedFd,
    /// Who is at the other end.
    pub peer: Hello,
    /// Its address, for people.
    pub address: String,
    /// What came behind the greeting.
    pub early: Vec<u8>,
    /// Which end this one is.
    pub end: JoinedEnd,
}

/// Which end of a link is here.
pub enum JoinedEnd {
    /// A replica follows this shard.
    Feed,
    /// This node follows `shard` of a source.
    Follow {
        /// Which source, and which of its beginnings.
        source: SourceId,
        /// The source's shard.
        shard: u16,
        /// Where this node stands with the source's history.
        standing: Standing,
        /// And with that shard.
        progress: Progress,
        /// Both ends accept writes.
        is_peer: bool,
    },
}

/// A node that this one follows. The generation tells reports of links that were closed from those of their successors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SourceId {
    /// Place among the sources.
    pub place: usize,
    /// Counts the changes of sources.
    pub generation: u32,
}

/// A link as `ringctl status` shows it.
#[derive(Clone)]
pub enum Entry {
    /// A replica follows this node.
    Feed {
        /// Its name.
        node: u128,
        /// Where it is.
        address: String,
        /// The shard of this node.
        shard: u16,
        /// What the link has done.
        tally: Arc<FeedTally>,
    },
    /// This node follows another.
    Follow {
        /// Its name.
        node: u128,
        /// Where it is.
        address: String,
        /// The shard of the other node.
        shard: u16,
        /// What the link has done.
        tally: Arc<FollowTally>,
    },
}

impl Entry {
    fn add_to(&self, totals: &mut Totals) {
        match self {
            Entry::Feed { tally, .. } => totals.add_feed(tally),
            Entry::Follow { tally, .. } => totals.add_follow(tally),
        }
    }
}

/// See the module's text.
pub struct Replication {
    /// What was asked for.
    pub options: ReplicationOptions,
    /// The node's name.
    pub node: u128,
    /// Counts its starts.
    pub incarnation: u64,
    role: AtomicU8,
    histories: Mutex<Histories>,
    /// What this node writes as a primary has versions above this one.
    floor: AtomicU64,
    copy_names: AtomicU64,
    marks: Mutex<CopyMark>,
    entries: Mutex<Vec<(u64, Entry)>>,
    /// What closed links have done.
    closed: Mutex<Totals>,
    last_entry: AtomicU64,
    events: Mutex<Option<mpsc::Sender<Event>>>,
}

impl Replication {
    /// A node that nobody follows yet. `names` is random: the history's and the copies' names begin with it.
    pub fn new(options: ReplicationOptions, node: u128, incarnation: u64, names: u128) -> Self {
        let role = match () {
            () if options.replica_of.is_some() => Role::Replica,
            () => Role::Primary,
        };
        Self {
            options,
            node,
            incarnation,
            role: AtomicU8::new(role as u8),
            histories: Mutex::new(Histories { current: HistoryId(names | 1), former: None }),
            floor: AtomicU64::new(0),
            copy_names: AtomicU64::new((names >> 64) as u64 | 1),
            marks: Mutex::new(CopyMark::FIRST),
            entries: Mutex::default(),
            closed: Mutex::default(),
            last_entry: AtomicU64::new(0),
            events: Mutex::default(),
        }
    }

    /// What the node is. One load; what was set before the role is seen.
    #[inline]
    pub fn role(&self) -> Role {
        match self.role.load(Ordering::Acquire) {
            0 => Role::Primary,
            1 => Role::Replica,
            _ => Role::Peer,
        }
    }

    /// Changes what the node is.
    pub fn set_role(&self, role: Role) {
        self.role.store(role as u8, Ordering::Release);
    }

    /// Changes the histories, before the role.
    pub fn set_histories(&self, histories: Histories) {
        let highest = histories.former.as_ref().map(Standing::highest).unwrap_or_default();
        self.floor.fetch_max(highest.0, Ordering::Relaxed);
        *self.histories() = histories;
    }

    /// Every version that this node gives as a primary has to be above this one: its shards have not seen all the
    /// positions that those who followed the same history go on from.
    pub fn floor(&self) -> Version {
        Version(self.floor.load(Ordering::Relaxed))
    }

    /// How feeds are to be.
    pub fn feed_options(&self) -> FeedOptions {
        FeedOptions {
            window_bytes: self.options.window_bytes,
            turn_bytes: crate::limits::LINK_TURN_BYTES,
            compress: self.options.compress,
            gathers: self.options.quorum == Quorum::None,
            own_node: self.options.node_number,
        }
    }

    /// The histories, locked.
    pub fn histories(&self) -> MutexGuard<'_, Histories> {
        lock(&self.histories)
    }

    /// A name that no other full copy of this node has.
    pub fn next_copy_name(&self) -> u64 {
        self.copy_names.fetch_add(2, Ordering::Relaxed) | 1
    }

    /// A mark that no full copy to this node had lately.
    pub fn next_mark(&self) -> CopyMark {
        let mut last = lock(&self.marks);
        *last = last.next();
        *last
    }

    /// Shows a link until [`Replication::remove`].
    pub fn enter(&self, entry: Entry) -> u64 {
        let number = self.last_entry.fetch_add(1, Ordering::Relaxed) + 1;
        lock(&self.entries).push((number, entry));
        number
    }

    /// The link is gone.
    pub fn remove(&self, number: u64) {
        let mut entries = lock(&self.entries);
        if let Some(place) = entries.iter().position(|(entered, _)| *entered == number) {
            let (_, entry) = entries.remove(place);
            entry.add_to(&mut lock(&self.closed));
        }
    }

    /// What all links have done since the start.
    pub fn totals(&self) -> Totals {
        // Locked in the order of `remove`, so that no link is counted twice or not at all.
        let entries = lock(&self.entries);
        let mut totals = lock(&self.closed).clone();
        entries.iter().for_each(|(_, entry)| entry.add_to(&mut totals));
        totals
    }

    /// The links there are.
    pub fn entries(&self) -> Vec<Entry> {
        lock(&self.entries).iter().map(|(_, entry)| entry.clone()).collect()
    }

    /// Where the coordinator hears from workers and operators.
    pub fn listen(&self, events: mpsc::Sender<Event>) {
        *lock(&self.events) = Some(events);
    }

    /// Tells the coordinator. Nobody listens on a node that does not replicate, and then nothing happens.
    pub fn tell(&self, event: Event) -> bool {
        lock(&self.events).as_ref().is_some_and(|events| events.send(event).is_ok())
    }
}

/// A thread that panicked while it held one of these ends the process, so none is ever poisoned for long.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
