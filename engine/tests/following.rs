//! Copies that follow a log, against what was written: links that lose and repeat batches, sources that evict, clean and
//! end records meanwhile, copies of copies, and full copies that replace what was there.

mod bed;

use bed::{Draw, LastWords, Node, Random, seeds, whole};
use ringcache_engine::{
    CopyMark, EngineOptions, Expiry, LogCursor, Now, Op, Part, Seconds, Step, Store, SweepCursor, Version,
};

/// A link from one shard: a cursor, and where to go back to when what it put out was not acknowledged.
struct Link {
    cursor: LogCursor,
    acknowledged: LogCursor,
}

impl Link {
    fn new(source: &mut Node, at: usize, position: Version) -> Self {
        let mut cursor = LogCursor::new(position);
        cursor.begin(&mut source.shards[at]);
        Self { acknowledged: cursor.clone(), cursor }
    }
}

/// A node that follows another one over a link per shard.
struct Follower {
    links: Vec<Link>,
    mark: CopyMark,
    /// The links of a full copy that has not come to its end.
    copying: bool,
    /// What a sweep has still to go through.
    copies: u32,
}

impl Follower {
    fn new(source: &mut Node, target: &mut Node) -> Self {
        let mut follower = Self { links: Vec::new(), mark: CopyMark::FIRST, copying: false, copies: 0 };
        follower.begin_copy(source, target);
        follower
    }

    fn begin_copy(&mut self, source: &mut Node, target: &mut Node) {
        self.links = (0..source.shards.len()).map(|at| Link::new(source, at, Version::ZERO)).collect();
        self.mark = self.mark.next();
        self.copying = true;
        self.copies += 1;
        let flushed = source.shards[0].flushed();
        target.shards.iter_mut().for_each(|shard| shard.begin_copy(self.mark, flushed));
    }

    /// One step of one link. What it puts out may get lost, or be put out again.
    fn step(&mut self, source: &mut Node, target: &mut Node, random: &mut Random, bytes: usize) {
        let at = random.below(self.links.len() as u64) as usize;
        if self.links[at].cursor.has_lost(&source.shards[at]) {
            return self.begin_copy(source, target);
        }
        let is_lost = random.one_in(6);
        let (_, out) = self.read(source, at, bytes);
        if !is_lost {
            target.install(&out, self.copying.then_some(self.mark));
        }
        let link = &mut self.links[at];
        if is_lost || random.one_in(6) {
            link.cursor = link.acknowledged.clone();
        } else {
            link.acknowledged = link.cursor.clone();
        }
        let followed = link.acknowledged.followed();
        source.shards[at].set_followed(Some(followed));
        self.end_copy(target);
    }

    fn read(&mut self, source: &mut Node, at: usize, bytes: usize) -> (bool, Vec<u8>) {
        let mut out = Vec::new();
        let step = self.links[at].cursor.read(&mut source.shards[at], source.now, bytes, &mut out);
        match step {
            Step::Full => (false, out),
            Step::CaughtUp(_) => (true, out),
            Step::Large(large) => {
                out.extend(whole(&large));
                (false, out)
            }
        }
    }

    /// A full copy is over when every link has come to a position.
    fn end_copy(&mut self, target: &mut Node) {
        let has_position = |link: &Link| link.acknowledged.position() > Version::ZERO;
        if !self.copying || !self.links.iter().all(has_position) {
            return;
        }
        for shard in &mut target.shards {
            let mut cursor = SweepCursor::default();
            while !shard.sweep_unmarked(&mut cursor, self.mark, Part::WHOLE) {}
        }
        self.copying = false;
    }

    /// The links break off and begin again at the positions that the follower has.
    fn reconnect(&mut self, source: &mut Node) {
        if self.copying {
            return;
        }
        for (at, link) in self.links.iter_mut().enumerate() {
            *link = Link::new(source, at, link.acknowledged.position());
        }
    }

    /// Reads on until nothing is unread.
    fn catch_up(&mut self, source: &mut Node, target: &mut Node) {
        let mut at = 0;
        while at < self.links.len() {
            if self.links[at].cursor.has_lost(&source.shards[at]) {
                self.begin_copy(source, target);
                at = 0;
            }
            let (is_end, out) = self.read(source, at, 100_000);
            target.install(&out, self.copying.then_some(self.mark));
            self.links[at].acknowledged = self.links[at].cursor.clone();
            at += usize::from(is_end);
        }
        self.end_copy(target);
        assert!(!self.copying, "a copy ends when all links have caught up");
    }
}

fn small(shards: u16) -> EngineOptions {
    EngineOptions {
        memory_bytes: 3 << 20,
        shards,
        slab_bytes: Some(4096),
        node: 1,
        log_changes: true,
        ..EngineOptions::default()
    }
}

fn large(shards: u16, node: u8) -> EngineOptions {
    EngineOptions {
        memory_bytes: 64 << 20,
        shards,
        slab_bytes: Some(8192),
        node,
        log_changes: true,
        ..EngineOptions::default()
    }
}

#[derive(Clone, Copy)]
struct Pace {
    /// Writes between two steps of a link.
    writes: u64,
    /// Bytes that a step puts out at most.
    bytes: u64,
    /// One step in so many is followed by a pause of so many writes.
    pause: (u64, u64),
    /// One step in so many is followed by a break of the links.
    breaks: u64,
}

struct Run {
    copies: u32,
    evictions: u64,
}

/// Goal: whatever happens between two steps, a follower that has caught up shows what its source shows, and never what
/// was overwritten, deleted, flushed or over. Method: the source's memory is far too small for its keys; the follower's
/// is large, so that nothing that came is missing there.
fn run(seed: u64, pace: Pace, steps: u64) -> Run {
    let mut random = Random(seed);
    let (here, there) = (1 + random.below(3) as u16, 1 + random.below(3) as u16);
    let (mut source, mut target) = (Node::open(&small(here)), Node::open(&large(there, 2)));
    let draw = Draw { keys: 20_000, longest: 12_000, flushes: 20_000 };
    let mut words = LastWords::default();
    (0..30_000).for_each(|_| words.write(&mut source, &mut random, draw));
    let mut follower = Follower::new(&mut source, &mut target);
    for step in 0..steps {
        let is_pause = random.one_in(pace.pause.0);
        let writes = if is_pause { pace.pause.1 } else { random.below(2 * pace.writes) };
        for _ in 0..writes {
            words.write(&mut source, &mut random, draw);
        }
        if random.one_in(4) {
            words.pass(&mut source, random.below(1500));
            target.now = source.now;
            target.maintain();
        }
        let bytes = 1 + random.below(pace.bytes) as usize;
        follower.step(&mut source, &mut target, &mut random, bytes);
        if random.one_in(pace.breaks) {
            follower.reconnect(&mut source);
        }
        if step % (steps / 4) == steps / 8 {
            follower.catch_up(&mut source, &mut target);
            words.compare(&source, &target, &format!("seed {seed}, step {step}"));
        }
    }
    follower.catch_up(&mut source, &mut target);
    words.compare(&source, &target, &format!("seed {seed}, end"));
    Run { copies: follower.copies, evictions: source.evictions() }
}

#[test]
fn a_follower_that_keeps_up_is_equal_after_one_copy() {
    let pace = Pace { writes: 8, bytes: 40_000, pause: (u64::MAX, 0), breaks: 200 };
    let mut evictions = 0;
    for seed in seeds(8) {
        let run = run(seed, pace, 3_000);
        evictions += run.evictions;
        assert_eq!(run.copies, 1, "seed {seed}: nothing that a follower needs is lost");
    }
    assert!(evictions > 1_000, "the memory was too large to test eviction");
}

#[test]
fn a_follower_that_lags_is_equal_after_more_copies() {
    let pace = Pace { writes: 40, bytes: 12_000, pause: (60, 4_000), breaks: 20 };
    let mut copies = 0;
    for seed in seeds(12) {
        let run = run(seed, pace, 1_000);
        copies += run.copies - 1;
    }
    assert!(copies > 12, "the log has forgotten something only {copies} times");
}

/// Goal: a copy makes a node what its source is, even if that node has written newer versions and keys of its own, and
/// goes on from there. Method: the target writes by itself, on a clock that is ahead, before some of the copies.
#[test]
fn a_copy_replaces_what_its_target_wrote_by_itself() {
    for seed in seeds(6) {
        let mut random = Random(seed);
        let (mut source, mut target) = (Node::open(&large(2, 1)), Node::open(&large(3, 2)));
        let draw = Draw { keys: 800, longest: 9_000, flushes: 3_000 };
        let (mut words, mut own) = (LastWords::default(), LastWords::default());
        (0..2_000).for_each(|_| words.write(&mut source, &mut random, draw));
        let mut follower = Follower::new(&mut source, &mut target);
        for round in 0..12 {
            target.now = Now::from_unix_millis(source.now.unix_millis + 4_000);
            for _ in 0..400 {
                let key = format!("key:{}", random.below(1_200)).into_bytes();
                let is_delete = random.one_in(5);
                own.write_key(&mut target, &mut random, &key, 9_000, is_delete);
            }
            target.now = source.now;
            follower.begin_copy(&mut source, &mut target);
            for _ in 0..random.below(400) {
                words.write(&mut source, &mut random, draw);
                follower.step(&mut source, &mut target, &mut random, 4_000);
            }
            follower.catch_up(&mut source, &mut target);
            words.compare(&source, &target, &format!("seed {seed}, round {round}"));
            let is_own = |key: &&Vec<u8>| !words.keys.contains_key(*key) && target.show(key).is_some();
            assert_eq!(own.keys.keys().find(is_own), None, "seed {seed}: not the source's");
            words.pass(&mut source, 500);
            target.now = source.now;
        }
    }
}

/// Goal: who follows a follower is equal too, through copies that replace what the one between them had.
#[test]
fn a_follower_of_a_follower_is_equal() {
    for seed in seeds(6) {
        let mut random = Random(seed);
        let mut source = Node::open(&small(2));
        let (mut between, mut last) = (Node::open(&large(3, 2)), Node::open(&large(1, 3)));
        let draw = Draw { keys: 4_000, longest: 9_000, flushes: 8_000 };
        let mut words = LastWords::default();
        (0..4_000).for_each(|_| words.write(&mut source, &mut random, draw));
        let mut first = Follower::new(&mut source, &mut between);
        let mut second = Follower::new(&mut between, &mut last);
        for round in 0..2_000 {
            (0..random.below(12)).for_each(|_| words.write(&mut source, &mut random, draw));
            if random.one_in(4) {
                words.pass(&mut source, random.below(800));
                (between.now, last.now) = (source.now, source.now);
                between.maintain();
                last.maintain();
            }
            if random.one_in(500) {
                first.begin_copy(&mut source, &mut between);
            }
            first.step(&mut source, &mut between, &mut random, 30_000);
            second.step(&mut between, &mut last, &mut random, 30_000);
            if round % 500 == 499 {
                first.catch_up(&mut source, &mut between);
                second.catch_up(&mut between, &mut last);
                words.compare(&source, &between, &format!("seed {seed}, round {round}, the one between"));
                words.compare(&source, &last, &format!("seed {seed}, round {round}, the last one"));
            }
        }
    }
}

/// A touch that was read too late by a follower that has let the record go brings the record back.
#[test]
fn a_touch_brings_a_record_back_that_has_ended_where_it_comes_late() {
    let (mut source, mut target) = (Node::open(&large(1, 1)), Node::open(&large(2, 2)));
    let end = |seconds| Expiry::at(Seconds(source_seconds() + seconds));
    source.apply(b"session", Op::Store(Store::set(b"state", 0, end(2))));
    let mut follower = Follower::new(&mut source, &mut target);
    follower.catch_up(&mut source, &mut target);
    source.apply(b"session", Op::Touch { expiry: end(900), fetches: false });
    for node in [&mut target, &mut source] {
        node.now = Now::from_unix_millis(node.now.unix_millis + 5_000);
        (0..100).for_each(|_| node.maintain());
    }
    assert!(target.show(b"session").is_none(), "it has ended there");
    follower.catch_up(&mut source, &mut target);
    assert_eq!(target.show(b"session"), source.show(b"session"));
    assert!(source.show(b"session").is_some());
}

fn source_seconds() -> u32 {
    (bed::START / 1000) as u32
}
