//! Clients that write to whoever is the primary, and remember everything: each has keys of its own, and one connection.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::ledger::{Deed, Fit, History, Outcome, State, What};
use super::records::{Shown, is_counted, key, recognize};
use super::talk::{Talk, append, unix_millis};
use crate::keys::Random;
use crate::target::Target;

/// All writers of a run.
pub struct Writers {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    /// Where the primary is; changes with `epoch`.
    target: Mutex<Target>,
    epoch: AtomicU64,
    is_paused: AtomicBool,
    is_over: AtomicBool,
    /// Gives each written value a number of its own.
    written: AtomicU64,
    ledgers: Vec<Mutex<Ledger>>,
}

/// What one writer knows.
pub struct Ledger {
    first_key: u32,
    histories: Vec<History>,
    /// What came of its deeds.
    pub count: Count,
    /// What can't be, as text.
    pub wrong: Vec<String>,
}

/// How many deeds were answered how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Acknowledged.
    pub acked: u64,
    /// In doubt.
    pub doubt: u64,
    /// Refused.
    pub refused: u64,
    /// Without an answer.
    pub unanswered: u64,
}

/// What a node lacks, and what it shows that can't be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Judgement {
    /// When each missing deed was acknowledged, in Unix milliseconds.
    pub lost: Vec<u64>,
    /// What happened to their keys.
    pub stories: Vec<String>,
    /// Keys and what is wrong with them.
    pub wrong: Vec<String>,
}

impl Writers {
    /// Starts `count` of them, which write to the node at `target`.
    pub fn start(count: u32, target: Target, seed: u64) -> Writers {
        let ledgers = (0..count).map(|writer| Mutex::new(Ledger::new(writer * KEYS)));
        let shared = Arc::new(Shared {
            target: Mutex::new(target),
            epoch: AtomicU64::new(1),
            is_paused: AtomicBool::new(false),
            is_over: AtomicBool::new(false),
            written: AtomicU64::new(0),
            ledgers: ledgers.collect(),
        });
        let threads = (0..count as usize).map(|place| {
            let shared = Arc::clone(&shared);
            let random = Random::new(seed ^ (place as u64 + 1) << 32);
            std::thread::spawn(move || Writer { shared, place, random, talk: None }.run())
        });
        Writers { threads: threads.collect(), shared }
    }

    /// The keys that they write.
    pub fn keys(&self) -> std::ops::Range<u32> {
        0..self.shared.ledgers.len() as u32 * KEYS
    }

    /// Lets nobody write while the result is there.
    pub fn pause(&self) -> Paused<'_> {
        self.shared.is_paused.store(true, Ordering::SeqCst);
        let ledgers = self.shared.ledgers.iter().map(lock).collect();
        Paused { shared: &self.shared, ledgers }
    }

    /// Ends them all. What they know stays.
    pub fn stop(&mut self) {
        self.shared.is_over.store(true, Ordering::SeqCst);
        for thread in self.threads.drain(..) {
            thread.join().expect("a writer returns its failures");
        }
    }
}

impl Drop for Writers {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::SeqCst);
    }
}

/// Nobody writes.
pub struct Paused<'w> {
    shared: &'w Shared,
    ledgers: Vec<MutexGuard<'w, Ledger>>,
}

impl Paused<'_> {
    /// The node at `target` is the primary from now on.
    pub fn aim(&mut self, target: Target) {
        *lock(&self.shared.target) = target;
        self.shared.epoch.fetch_add(1, Ordering::SeqCst);
    }

    /// Notes what the primary, which is here and not another one after a failure, has said to a `flush_all`.
    pub fn note_flush(&mut self, outcome: Outcome) {
        let now = unix_millis() / 1000;
        for ledger in &mut self.ledgers {
            let Ledger { histories, wrong, .. } = &mut **ledger;
            let noted = histories.iter_mut().map(|history| history.note(Deed::Flush, outcome, now));
            wrong.extend(noted.filter_map(Result::err));
        }
    }

    /// Judges what a node shows, and takes it for what is there from now on.
    pub fn judge(&mut self, shown: &[(u32, Option<Shown>)]) -> Judgement {
        let now = unix_millis() / 1000;
        let mut judgement = Judgement::default();
        for (number, shown) in shown {
            let ledger = &mut self.ledgers[(number / KEYS) as usize];
            let place = (number - ledger.first_key) as usize;
            let history = &mut ledger.histories[place];
            match recognize(*number, shown.as_ref()) {
                Err(strange) => judgement.wrong.push(strange),
                Ok(state) => {
                    match history.fit(state, now) {
                        Fit::Whole => {}
                        Fit::Behind(lost) => {
                            let what = if state == State::Absent { "gone" } else { "old" };
                            judgement.stories.push(format!(
                                "{} is {what}: {state:?}; {}",
                                key(*number),
                                history.tell()
                            ));
                            judgement.lost.extend(lost);
                        }
                        Fit::Never => {
                            judgement.wrong.push(format!(
                                "{} shows {state:?}, which was never there: {}",
                                key(*number),
                                history.tell()
                            ));
                        }
                    }
                    *history = History::new(state);
                }
            }
        }
        judgement
    }

    /// What came of all deeds so far, and what can't be among it.
    pub fn take(&mut self) -> (Count, Vec<String>) {
        let mut sum = Count::default();
        let mut wrong = Vec::new();
        for ledger in &mut self.ledgers {
            let Count { acked, doubt, refused, unanswered } = std::mem::take(&mut ledger.count);
            sum.acked += acked;
            sum.doubt += doubt;
            sum.refused += refused;
            sum.unanswered += unanswered;
            wrong.append(&mut ledger.wrong);
        }
        (sum, wrong)
    }
}

impl Drop for Paused<'_> {
    fn drop(&mut self) {
        self.shared.is_paused.store(false, Ordering::SeqCst);
    }
}

impl Ledger {
    fn new(first_key: u32) -> Ledger {
        let histories = vec![History::new(State::Absent); KEYS as usize];
        Ledger { first_key, histories, count: Count::default(), wrong: Vec::new() }
    }

    fn note(&mut self, number: u32, deed: Deed, outcome: Outcome) {
        let count = match outcome {
            Outcome::Acked(..) => &mut self.count.acked,
            Outcome::Doubt => &mut self.count.doubt,
            Outcome::Refused => &mut self.count.refused,
            Outcome::Unanswered => &mut self.count.unanswered,
        };
        *count += 1;
        let history = &mut self.histories[(number - self.first_key) as usize];
        if let Err(wrong) = history.note(deed, outcome, unix_millis() / 1000) {
            self.wrong.push(format!("{}: {wrong}; {}", key(number), history.tell()));
        }
    }
}

/// One of them.
struct Writer {
    shared: Arc<Shared>,
    place: usize,
    random: Random,
    /// With the epoch of its target.
    talk: Option<(u64, Talk)>,
}

impl Writer {
    fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        while !shared.is_over.load(Ordering::SeqCst) {
            if shared.is_paused.load(Ordering::SeqCst) {
                std::thread::sleep(PAUSE);
                continue;
            }
            let mut ledger = lock(&shared.ledgers[self.place]);
            if shared.is_paused.load(Ordering::SeqCst) {
                continue;
            }
            let is_served = self.write_some(&mut ledger);
            drop(ledger);
            // Nobody answers, or nobody may write: there is no hurry.
            std::thread::sleep(if is_served { BREATH } else { REST });
        }
    }

    /// One batch; false where it was not served.
    fn write_some(&mut self, ledger: &mut Ledger) -> bool {
        let epoch = self.shared.epoch.load(Ordering::SeqCst);
        let mut talk = match self.talk.take() {
            Some((of, talk)) if of == epoch => talk,
            _ => match Talk::connect(&lock(&self.shared.target).clone(), ANSWER_TIME_MAX) {
                Ok(talk) => talk,
                Err(_) => return false,
            },
        };
        let batch = self.batch(ledger.first_key);
        let mut requests = Vec::new();
        batch.iter().for_each(|(number, deed)| append(&mut requests, *number, *deed));
        let mut done = 0;
        let mut refused = 0;
        let result = talk.send(&requests).and_then(|()| {
            for (number, deed) in &batch {
                match talk.receive(*number, *deed)? {
                    Ok(outcome) => {
                        refused += usize::from(outcome == Outcome::Refused);
                        ledger.note(*number, *deed, outcome);
                    }
                    Err(wrong) => ledger.wrong.push(wrong),
                }
                done += 1;
            }
            Ok::<(), io::Error>(())
        });
        batch[done..].iter().for_each(|(number, deed)| ledger.note(*number, *deed, Outcome::Unanswered));
        if result.is_ok() {
            self.talk = Some((epoch, talk));
        }
        result.is_ok() && refused == 0
    }

    fn batch(&mut self, first_key: u32) -> Vec<(u32, Deed)> {
        let count = 1 + self.random.below(BATCH_MAX);
        (0..count).map(|_| self.deed(first_key)).collect()
    }

    fn deed(&mut self, first_key: u32) -> (u32, Deed) {
        let number = first_key + self.random.below(KEYS);
        let now = unix_millis() / 1000;
        let expires = match self.random.below(100) {
            0..70 => 0,
            70..95 => now + 1_000 + u64::from(self.random.below(1_000)),
            _ => now + 2 + u64::from(self.random.below(3)),
        };
        let written = || self.shared.written.fetch_add(1, Ordering::Relaxed) + 1;
        let deed = match (self.random.below(100), is_counted(number)) {
            (0..12, _) => Deed::Delete,
            (12..22, _) => Deed::Touch(expires),
            (22..30, _) => Deed::Read,
            (30..80, true) => Deed::Count(1 + u64::from(self.random.below(5))),
            (_, true) => Deed::Set(What::Count(u64::from(self.random.below(1_000))), expires),
            (_, false) => Deed::Set(What::Value(written()), expires),
        };
        (number, deed)
    }
}

/// No thread panics while it holds one of these.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Keys of a writer: few, so that each is written over and over.
const KEYS: u32 = 1_200;
/// Deeds that are under way at once, at most.
const BATCH_MAX: u32 = 40;
/// A primary that is stopped for a while is waited for; none is stopped for so long.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(8);
/// Between two batches: the nodes and this program share few CPUs, and the nodes are what is tried.
const BREATH: Duration = Duration::from_micros(200);
const PAUSE: Duration = Duration::from_millis(1);
const REST: Duration = Duration::from_millis(5);
