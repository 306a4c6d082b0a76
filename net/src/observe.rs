//! Who looks on: statistics per prefix of keys (`stats detail`) and streams of events (`watch`).
//!
//! Most of the time nobody does, and all that a request pays is one look at [`Observers::wanted`] per call into a
//! session. While somebody looks on, each worker notes what it does under a lock of its own, and at the end of its
//! turn hands the noted events to the watchers, whose buffers have a bound: what a slow watcher misses is counted.

pub mod events;
mod prefixes;
mod watchers;

use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use crossbeam_utils::CachePadded;
use ringcache_engine::{Now, Op, Outcome, Status};

use crate::config::Config;
use crate::limits::PREFIXES_PER_STEP;
use crate::mesh::Ticket;
use crate::server::roster::Roster;
use events::{Event, Events, Got};
pub use prefixes::PrefixCounts;
use prefixes::{KnownPrefixes, Prefixes};
use watchers::Watchers;
pub use watchers::{TooMany, Watch, WatchCounts};

/// A stream that `watch` can ask for; several are combined by bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Streams(pub u32);

impl Streams {
    /// Reads of keys.
    pub const FETCHERS: Streams = Streams(1);
    /// Stores.
    pub const MUTATIONS: Streams = Streams(1 << 1);
    /// Evicted records.
    pub const EVICTIONS: Streams = Streams(1 << 2);
    /// Connections opened and closed.
    pub const CONNEVENTS: Streams = Streams(1 << 3);
    /// Deletes.
    pub const DELETIONS: Streams = Streams(1 << 4);
    /// Streams that memcached has and nothing here goes to: crawler, page mover, proxy.
    pub const SILENT: Streams = Streams(1 << 5);
    /// No stream: the counts of `stats detail`.
    const DETAIL: Streams = Streams(1 << 31);

    fn meets(self, other: Streams) -> bool {
        self.0 & other.0 != 0
    }
}

/// Everyone who looks on at a node.
pub struct Observers {
    /// The streams that are wanted by somebody, as bits.
    wanted: AtomicU32,
    /// One for each worker.
    seats: Box<[CachePadded<Observer>]>,
    watchers: Watchers,
    known: Arc<KnownPrefixes>,
}

/// Notes what one worker does.
pub struct Observer {
    /// As in [`Observers`], when the session at hand was called.
    wanted: AtomicU32,
    /// Descriptor of that session's connection.
    socket: AtomicI32,
    delimiter: u8,
    known: Arc<KnownPrefixes>,
    noted: Mutex<Noted>,
}

struct Noted {
    prefixes: Prefixes,
    events: Events,
}

impl Observers {
    /// Nobody looks on, but for the counts of `-D`.
    pub fn new(config: &Config) -> Self {
        let wanted = if config.detail_enabled { Streams::DETAIL.0 } else { 0 };
        let known = Arc::new(KnownPrefixes::default());
        let seat = || {
            CachePadded::new(Observer {
                wanted: AtomicU32::new(wanted),
                socket: AtomicI32::new(0),
                delimiter: config.prefix_delimiter,
                known: Arc::clone(&known),
                noted: Mutex::new(Noted {
                    prefixes: Prefixes::default(),
                    events: Events::new(config.worker_log_bytes),
                }),
            })
        };
        Self {
            wanted: AtomicU32::new(wanted),
            seats: (0..config.workers).map(|_| seat()).collect(),
            watchers: Watchers::new(config.watcher_log_bytes),
            known,
        }
    }

    /// What somebody wants to see, as bits; 0 when nobody looks on. One relaxed load.
    #[inline]
    pub fn wanted(&self) -> Streams {
        Streams(self.wanted.load(Ordering::Relaxed))
    }

    /// Where `worker` notes what it does for the session of `ticket`.
    #[cold]
    pub fn observer(&self, worker: u16, ticket: Ticket, roster: &Roster) -> &Observer {
        let observer = &self.seats[usize::from(worker)];
        observer.wanted.store(self.wanted().0, Ordering::Relaxed);
        observer.socket.store(roster.socket(worker, ticket), Ordering::Relaxed);
        observer
    }

    /// Notes something that a worker did for no session.
    pub fn note(&self, worker: u16, event: &Event<'_>) {
        let observer = &self.seats[usize::from(worker)];
        observer.wanted.store(self.wanted().0, Ordering::Relaxed);
        observer.note(event);
    }

    /// Whether a stream is wanted.
    pub fn wants(&self, streams: Streams) -> bool {
        self.wanted().meets(streams)
    }

    /// `stats detail on` and `off`.
    pub fn count_prefixes(&self, on: bool) {
        match on {
            true => self.wanted.fetch_or(Streams::DETAIL.0, Ordering::Relaxed),
            false => self.wanted.fetch_and(!Streams::DETAIL.0, Ordering::Relaxed),
        };
    }

    /// Whether prefixes are counted.
    pub fn counts_prefixes(&self) -> bool {
        self.wants(Streams::DETAIL)
    }

    /// The counts of all workers for at most [`PREFIXES_PER_STEP`] prefixes, in their order, that stand behind `last`.
    /// None behind the last one.
    pub fn prefixes_after(&self, last: Option<&[u8]>) -> Vec<(Box<[u8]>, PrefixCounts)> {
        let prefixes = self.known.some_after(last, PREFIXES_PER_STEP);
        let mut counted: Vec<_> =
            prefixes.into_iter().map(|prefix| (prefix, PrefixCounts::default())).collect();
        for seat in &self.seats {
            let noted = seat.noted();
            counted.iter_mut().for_each(|(prefix, sum)| noted.prefixes.add_to(prefix, sum));
        }
        counted
    }

    /// Forgets the counts of all workers (`stats reset`).
    pub fn forget_prefixes(&self) {
        self.known.forget();
        self.seats.iter().for_each(|seat| seat.noted().prefixes = Prefixes::default());
    }

    /// Begins to watch. Errors: as many as may be are there.
    pub fn watch(&self, streams: Streams) -> Result<Watch, TooMany> {
        if self.watchers.counts().watchers == 0 {
            // What was noted for those who have gone is nobody's.
            self.seats.iter().for_each(|seat| seat.noted().events.clear());
        }
        self.watchers.add(streams, |all| self.want(all))
    }

    /// Hands what `worker` has noted to the watchers. At the end of a turn, while somebody looks on.
    pub fn flush(&self, worker: u16, now: Now) {
        if self.wanted().0 & !Streams::DETAIL.0 != 0 {
            let mut noted = self.seats[usize::from(worker)].noted();
            self.watchers.take(&mut noted.events, now, |all| self.want(all));
        }
    }

    /// What was written and lost, for `stats`.
    pub fn watch_counts(&self) -> WatchCounts {
        self.watchers.counts()
    }

    /// Sets the streams that are wanted by watchers.
    fn want(&self, streams: Streams) {
        let replace = |wanted: u32| Some(wanted & Streams::DETAIL.0 | streams.0);
        self.wanted
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, replace)
            .expect("the new value is always given");
    }
}

impl Observer {
    /// Notes a read of a key. `counts` when it is a get, not a touch.
    #[cold]
    pub fn fetched(&self, key: &[u8], got: Got, counts: bool) {
        if counts {
            self.count(key, |prefix| {
                prefix.gets += 1;
                prefix.hits += u64::from(matches!(got, Got::Found { .. }));
            });
        }
        self.note(&Event::Fetch { key, got, socket: self.socket.load(Ordering::Relaxed) });
    }

    /// Notes a write that has been executed.
    #[cold]
    pub fn wrote(&self, key: &[u8], op: &Op<'_>, value_bytes: usize, outcome: &Outcome, now: Now) {
        let socket = self.socket.load(Ordering::Relaxed);
        match op {
            Op::Store(store) => {
                self.count(key, |prefix| prefix.sets += 1);
                self.note(&Event::Store { key, store, value_bytes, outcome, now, socket });
            }
            Op::Delete(delete) => {
                self.count(key, |prefix| prefix.deletes += 1);
                let is_gone = outcome.status == Status::Deleted && !delete.invalidate && !delete.clear;
                if is_gone {
                    self.note(&Event::Delete { key, outcome });
                }
            }
            Op::Touch { fetches, .. } => self.fetched(key, Got::of(outcome), !fetches),
            Op::Arithmetic(_) => self.fetched(key, Got::of(outcome), false),
            Op::Vivify { .. } | Op::Flush { .. } => {}
        }
    }

    fn count(&self, key: &[u8], change: impl FnOnce(&mut PrefixCounts)) {
        if self.wants(Streams::DETAIL) {
            self.noted().prefixes.count(key, self.delimiter, &self.known, change);
        }
    }

    fn note(&self, event: &Event<'_>) {
        if self.wants(event.stream()) {
            self.noted().events.push(event);
        }
    }

    fn wants(&self, streams: Streams) -> bool {
        Streams(self.wanted.load(Ordering::Relaxed)).meets(streams)
    }

    fn noted(&self) -> MutexGuard<'_, Noted> {
        self.noted.lock().expect("nothing panics while holding it")
    }
}
