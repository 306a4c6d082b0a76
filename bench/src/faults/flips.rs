//! Bits that are turned on the way between two nodes, one at a time on each link. Each is watched until a node has
//! noticed it: the batch is asked for again, or the link ends. What nobody notices is counted, and must be nothing.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ringcache_net::replication::frame::{FLAG_REWOUND, HEADER_BYTES, Kind as FrameKind};

use super::cluster::Cluster;
use super::plan::{Kind, Mode, Plan};
use super::writers::Writers;
use crate::error::BenchError;
use crate::interference::{Passage, Passages, Piece};
use crate::keys::Random;
use crate::progress::announce;

/// Which part of what goes over a link is hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Greeting,
    Header,
    Payload,
}

/// Which way it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    ToPrimary,
    ToReplica,
}

/// What became of the bits that hit one part on one way.
#[derive(Debug, Default)]
struct Count {
    flips: AtomicU64,
    nacked: AtomicU64,
    ended: AtomicU64,
    unseen: AtomicU64,
}

/// What became of all of them.
#[derive(Debug)]
pub struct Tally {
    goal: AtomicU64,
    flips: AtomicU64,
    connections: AtomicU64,
    counts: [Count; 6],
}

impl Tally {
    fn count(&self, (part, way): (Part, Way)) -> &Count {
        &self.counts[part as usize * 2 + way as usize]
    }

    /// Takes one more, unless there are as many as there shall be.
    fn begin(&self, place: (Part, Way)) -> bool {
        let goal = self.goal.load(Ordering::Relaxed);
        let begun = self
            .flips
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |flips| (flips < goal).then_some(flips + 1));
        self.count(place).flips.fetch_add(u64::from(begun.is_ok()), Ordering::Relaxed);
        begun.is_ok()
    }

    fn unseen(&self) -> u64 {
        self.counts.iter().map(|count| count.unseen.load(Ordering::Relaxed)).sum()
    }

    fn text(&self) -> String {
        let mut text = format!(
            "{:<9} {:<11} {:>8} {:>8} {:>8} {:>8}\n",
            "part", "way", "flips", "nacked", "ended", "unseen"
        );
        for part in [Part::Greeting, Part::Header, Part::Payload] {
            for way in [Way::ToPrimary, Way::ToReplica] {
                let Count { flips, nacked, ended, unseen } = self.count((part, way));
                let [flips, nacked, ended, unseen] =
                    [flips, nacked, ended, unseen].map(|count| count.load(Ordering::Relaxed));
                let (part, way) = (format!("{part:?}").to_lowercase(), format!("{way:?}"));
                writeln!(text, "{part:<9} {way:<11} {flips:>8} {nacked:>8} {ended:>8} {unseen:>8}")
                    .expect("a string takes every write");
            }
        }
        text
    }
}

/// Both directions of the connections whose bits are turned.
pub fn passages(tally: &Arc<Tally>) -> Box<Passages> {
    let tally = Arc::clone(tally);
    Box::new(move || {
        let seed = tally.connections.fetch_add(1, Ordering::Relaxed);
        let watch = Watch {
            open: None,
            pause: PAUSE_FIRST,
            next: Way::ToReplica,
            is_thrown_away: false,
            random: Random::new(seed),
        };
        let watch = Arc::new(Mutex::new(watch));
        [Way::ToPrimary, Way::ToReplica].map(|way| {
            Box::new(Flipping { way, watch: Arc::clone(&watch), tally: Arc::clone(&tally) })
                as Box<dyn Passage>
        })
    })
}

/// What both directions of a connection know.
struct Watch {
    /// The bit that nobody has noticed yet.
    open: Option<((Part, Way), Instant)>,
    /// Frames to the replica before the next one, so that some arrive whole.
    pause: u32,
    /// Where it will be.
    next: Way,
    /// What goes to the replica is thrown away there, whatever it is, until the batch that it asked for comes again.
    is_thrown_away: bool,
    random: Random,
}

struct Flipping {
    way: Way,
    watch: Arc<Mutex<Watch>>,
    tally: Arc<Tally>,
}

impl Flipping {
    fn watch(&self) -> MutexGuard<'_, Watch> {
        self.watch.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Passage for Flipping {
    fn is_framed(&self) -> bool {
        true
    }

    fn treat(&mut self, piece: Piece) -> Vec<u8> {
        let mut watch = self.watch();
        let is_nack = piece.is_frame && piece.bytes[4] == FrameKind::Nack as u8;
        if self.way == Way::ToPrimary && is_nack {
            watch.is_thrown_away = true;
            if let Some((place, _)) = watch.open.take() {
                self.tally.count(place).nacked.fetch_add(1, Ordering::Relaxed);
            }
            return piece.bytes;
        }
        watch.give_up_old(&self.tally);
        if watch.open.is_some() || !watch.is_due(&piece, self.way) {
            return piece.bytes;
        }
        let (place, bit) = watch.aim(&piece, self.way);
        let mut bytes = piece.bytes;
        if self.tally.begin(place) {
            bytes[bit / 8] ^= 1 << (bit % 8);
            watch.open = Some((place, Instant::now()));
        }
        bytes
    }

    fn rest(&mut self) -> Vec<u8> {
        self.watch().give_up_old(&self.tally);
        Vec::new()
    }

    fn end(&mut self) {
        if let Some((place, _)) = self.watch().open.take() {
            self.tally.count(place).ended.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Watch {
    /// Whether this piece is the one to be hit.
    fn is_due(&mut self, piece: &Piece, way: Way) -> bool {
        if !piece.is_frame {
            return self.random.below(GREETING_ONE_IN) == 0;
        }
        if way == Way::ToReplica {
            self.pause = self.pause.saturating_sub(1);
            self.is_thrown_away &= piece.bytes[5] & FLAG_REWOUND == 0;
        }
        self.pause == 0 && way == self.next && !(way == Way::ToReplica && self.is_thrown_away)
    }

    /// Which of its bits, and what comes after it.
    fn aim(&mut self, piece: &Piece, way: Way) -> ((Part, Way), usize) {
        self.pause = 1 + self.random.below(PAUSE_MAX);
        self.next = if self.random.below(TO_PRIMARY_ONE_IN) == 0 { Way::ToPrimary } else { Way::ToReplica };
        let bits = piece.bytes.len() as u32 * 8;
        let header = HEADER_BYTES as u32 * 8;
        let bit = match self.random.below(4) {
            0 => self.random.below(header.min(bits)),
            1 => self.random.below((header + FRONT_BITS).min(bits)),
            _ => self.random.below(bits),
        };
        let part = match piece.is_frame {
            false => Part::Greeting,
            true if bit < header => Part::Header,
            true => Part::Payload,
        };
        ((part, way), bit as usize)
    }

    fn give_up_old(&mut self, tally: &Tally) {
        if let Some((place, _)) = self.open.take_if(|(_, at)| at.elapsed() > NOTICE_TIME_MAX) {
            tally.count(place).unseen.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Turns `goal` bits, half of them with compression; says what became of them. Exit code 1 where one went unnoticed or
/// anything is wrong afterwards.
pub fn run(goal: u64, seed: u64, ringcached: &Path, folder: &Path) -> Result<(), BenchError> {
    let tally = Arc::new(Tally {
        goal: AtomicU64::new(0),
        flips: AtomicU64::new(0),
        connections: AtomicU64::new(seed << 32),
        counts: Default::default(),
    });
    let mut wrong = Vec::new();
    let mut time = Duration::ZERO;
    for compress in [false, true] {
        tally.goal.store(if compress { goal } else { goal / 2 }, Ordering::Relaxed);
        let plan = Plan {
            kind: Kind::Flip,
            seed,
            mode: Mode::Async,
            workers: vec![LINKS, 3],
            compress,
            writers: 3,
            faults: 0,
        };
        let mut cluster = Cluster::start(&plan, ringcached, folder, Some(&tally))?;
        time += turn(&tally, &plan, &mut cluster, &mut wrong)?;
        wrong.extend(cluster.nodes.iter().filter_map(|node| node.log().panic()));
    }
    let flips = tally.flips.load(Ordering::Relaxed);
    let rate = flips as f64 / time.as_secs_f64();
    let text = format!("{}{flips} flips, {rate:.0} per second, {} unseen", tally.text(), tally.unseen());
    crate::report::print(&text)?;
    if tally.unseen() > 0 {
        wrong.insert(0, format!("{} flips went unnoticed", tally.unseen()));
    }
    if wrong.is_empty() {
        return Ok(());
    }
    wrong.truncate(WRONG_TOLD);
    Err(BenchError::Violated(wrong.join("\n")))
}

/// Writes until all bits are turned and both nodes show the same. Returns how long the first took.
fn turn(
    tally: &Tally,
    plan: &Plan,
    cluster: &mut Cluster,
    wrong: &mut Vec<String>,
) -> Result<Duration, BenchError> {
    let mut writers = Writers::start(plan.writers, cluster.primary().target(), plan.seed);
    let keys = writers.keys().end;
    let goal = tally.goal.load(Ordering::Relaxed);
    let begun = Instant::now();
    let (mut flips, mut moved) = (0, begun);
    while flips < goal {
        cluster.linger(LOOK_TIME, keys, wrong)?;
        let now = tally.flips.load(Ordering::Relaxed);
        if now > flips {
            (flips, moved) = (now, Instant::now());
            announce(&format!("{flips} of {goal} bits"));
        } else if moved.elapsed() > STILL_TIME_MAX {
            return Err(BenchError::Violated(format!("nothing goes over the links after {flips} flips")));
        }
    }
    let time = begun.elapsed();
    writers.stop();
    cluster.await_followed()?;
    wrong.extend(cluster.await_equal(keys)?);
    let shown = cluster.read(cluster.primary, 0..keys)?;
    let mut paused = writers.pause();
    let judgement = paused.judge(&shown);
    wrong.extend(judgement.stories.into_iter().chain(judgement.wrong).chain(paused.take().1));
    Ok(time)
}

/// Shards of the primary: a link that ends rests for a while, and the others go on meanwhile.
const LINKS: u32 = 12;
const GREETING_ONE_IN: u32 = 20;
const TO_PRIMARY_ONE_IN: u32 = 5;
const PAUSE_MAX: u32 = 3;
/// A link that is told how it goes on comes again sooner.
const PAUSE_FIRST: u32 = 4;
/// Behind the header: position, length, and the first record's header.
const FRONT_BITS: u32 = 64 * 8;
/// More than the patience of a link.
const NOTICE_TIME_MAX: Duration = Duration::from_secs(3);
const LOOK_TIME: Duration = Duration::from_millis(250);
const WRONG_TOLD: usize = 10;
const STILL_TIME_MAX: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use ringcache_net::replication::frame::push;

    use super::*;

    fn tally(goal: u64) -> Arc<Tally> {
        let none = || AtomicU64::new(0);
        Arc::new(Tally {
            goal: AtomicU64::new(goal),
            flips: none(),
            connections: none(),
            counts: Default::default(),
        })
    }

    fn frame(kind: FrameKind) -> Piece {
        let mut bytes = Vec::new();
        push(&mut bytes, kind, 0, 0, b"some payload");
        Piece { bytes, is_frame: true }
    }

    #[test]
    fn one_bit_at_a_time_is_turned_until_it_is_noticed() {
        let tally = tally(2);
        let [mut to_primary, mut to_replica] = passages(&tally)();
        (1..PAUSE_FIRST).for_each(|_| {
            assert_eq!(to_replica.treat(frame(FrameKind::Welcome)), frame(FrameKind::Welcome).bytes)
        });
        let mut send = |flags| {
            let mut piece = frame(FrameKind::Records);
            piece.bytes[5] = flags;
            let whole = piece.bytes.clone();
            let sent = to_replica.treat(piece);
            sent.iter().zip(&whole).map(|(sent, was)| (sent ^ was).count_ones()).sum::<u32>()
        };
        assert_eq!(
            [send(0), send(0), send(0)],
            [1, 0, 0],
            "the second one waits for the first to be noticed"
        );
        to_primary.treat(frame(FrameKind::Ack));
        assert_eq!(send(0), 0);
        to_primary.treat(frame(FrameKind::Nack));
        let more: u32 = (0..10).map(|_| send(0)).sum();
        assert_eq!(more, 0, "who has asked for it again throws the rest away");
        let turned: u32 = (0..20)
            .map(|_| {
                to_primary.treat(frame(FrameKind::Ack));
                send(FLAG_REWOUND)
            })
            .sum();
        to_primary.end();
        to_replica.end();
        let sum = |of: fn(&Count) -> &AtomicU64| {
            tally.counts.iter().map(|count| of(count).load(Ordering::Relaxed)).sum::<u64>()
        };
        assert_eq!((sum(|count| &count.flips), sum(|count| &count.nacked)), (2, 1));
        assert_eq!((sum(|count| &count.ended), tally.unseen()), (1, 0));
        assert!(turned <= 1, "the other one may have gone to the primary");
    }
}
