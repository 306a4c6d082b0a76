//! The watchers of a node and what waits for each of them.

use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Weak};

use ringcache_engine::Now;

use super::Streams;
use super::events::Events;
use crate::limits::WATCHERS_MAX;
use crate::output::Output;

/// No watcher more may be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooMany;

/// What has been done for watchers so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WatchCounts {
    /// Events that a worker's buffer had no room for.
    pub dropped: u64,
    /// Events noted.
    pub written: u64,
    /// Events that a watcher's buffer had no room for.
    pub skipped: u64,
    /// Events handed to watchers.
    pub sent: u64,
    /// Present watchers.
    pub watchers: u64,
}

pub(super) struct Watchers {
    list: Mutex<Vec<Weak<Watcher>>>,
    bytes_max: usize,
    /// Number of the latest event.
    latest: AtomicU64,
    dropped: AtomicU64,
    skipped: AtomicU64,
    sent: AtomicU64,
}

/// A watcher's end of its stream; when it is dropped, the stream ends.
pub struct Watch(Arc<Watcher>);

struct Watcher {
    streams: Streams,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    text: Vec<u8>,
    skipped: u64,
}

impl Watchers {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self {
            list: Mutex::default(),
            bytes_max,
            latest: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            skipped: AtomicU64::new(0),
            sent: AtomicU64::new(0),
        }
    }

    /// Adds a watcher. `want` is told, in the order of all changes, what the watchers want together.
    pub(super) fn add(&self, streams: Streams, want: impl FnOnce(Streams)) -> Result<Watch, TooMany> {
        let mut list = self.present();
        if list.len() >= WATCHERS_MAX {
            return Err(TooMany);
        }
        let watcher = Arc::new(Watcher { streams, waiting: Mutex::default() });
        list.push(Arc::downgrade(&watcher));
        want(all_streams(&list));
        Ok(Watch(watcher))
    }

    /// Takes the events of a worker. `want` as for [`Watchers::add`]: some may have gone.
    pub(super) fn take(&self, events: &mut Events, now: Now, want: impl FnOnce(Streams)) {
        self.dropped.fetch_add(events.take_dropped(), Ordering::Relaxed);
        let list = self.present();
        for (text, stream) in events.iter() {
            let number = self.latest.fetch_add(1, Ordering::Relaxed) + 1;
            let line = Line { number, now, text };
            list.iter().filter_map(Weak::upgrade).filter(|watcher| watcher.streams.meets(stream)).for_each(
                |watcher| match watcher.push(&line, self.bytes_max) {
                    true => drop(self.sent.fetch_add(1, Ordering::Relaxed)),
                    false => drop(self.skipped.fetch_add(1, Ordering::Relaxed)),
                },
            );
        }
        events.clear();
        want(all_streams(&list));
    }

    pub(super) fn counts(&self) -> WatchCounts {
        WatchCounts {
            dropped: self.dropped.load(Ordering::Relaxed),
            written: self.latest.load(Ordering::Relaxed),
            skipped: self.skipped.load(Ordering::Relaxed),
            sent: self.sent.load(Ordering::Relaxed),
            watchers: self.present().len() as u64,
        }
    }

    /// The list without those that have gone.
    fn present(&self) -> MutexGuard<'_, Vec<Weak<Watcher>>> {
        let mut list = self.list.lock().expect("nothing panics while holding it");
        list.retain(|watcher| watcher.strong_count() > 0);
        list
    }
}

fn all_streams(list: &[Weak<Watcher>]) -> Streams {
    Streams(list.iter().filter_map(Weak::upgrade).fold(0, |all, watcher| all | watcher.streams.0))
}

struct Line<'t> {
    number: u64,
    now: Now,
    text: &'t [u8],
}

impl Watcher {
    /// Appends a line; false when there is no room for it.
    fn push(&self, line: &Line<'_>, bytes_max: usize) -> bool {
        let mut waiting = self.waiting();
        let before = waiting.text.len();
        if waiting.skipped > 0 {
            let skipped = waiting.skipped;
            writeln!(waiting.text, "skipped={skipped}").expect("a Vec takes every write");
        }
        let (seconds, micros) = (line.now.unix_millis / 1000, line.now.unix_millis % 1000 * 1000);
        write!(waiting.text, "ts={seconds}.{micros:06} gid={} ", line.number)
            .expect("a Vec takes every write");
        waiting.text.extend_from_slice(line.text);
        if waiting.text.len() > bytes_max {
            waiting.text.truncate(before);
            waiting.skipped += 1;
            return false;
        }
        waiting.skipped = 0;
        true
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().expect("nothing panics while holding it")
    }
}

impl Watch {
    /// Moves what waits to the output.
    pub fn send(&self, output: &mut Output) {
        let mut waiting = self.0.waiting();
        output.push(&waiting.text);
        waiting.text.clear();
    }
}

#[cfg(test)]
mod tests;
