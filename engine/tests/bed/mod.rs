//! Nodes without sockets for the models of copying: random writes, what the last word about each key is, and the
//! comparison of another node with it.
#![allow(dead_code, reason = "each test file uses its part")]

use std::collections::HashMap;

use ringcache_engine::{
    CopyMark, Delete, Engine, EngineOptions, Expiry, Installed, KeyHash, LargeRecord, Lookup, Now, Op,
    Outcome, Reader, Seconds, Shard, Status, Store, StoreMode, Write,
};

pub const START: u64 = 1_800_000_000_000;

/// SplitMix64: small, seeded, good enough for choosing operations.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub fn one_in(&mut self, bound: u64) -> bool {
        self.below(bound) == 0
    }
}

/// How many seeds a model runs: some in every run of the tests, as many as `MODEL_SEEDS` says in a campaign.
pub fn seeds(usual: u64) -> std::ops::Range<u64> {
    let asked = std::env::var("MODEL_SEEDS").ok().and_then(|seeds| seeds.parse().ok());
    let first = std::env::var("MODEL_FIRST").ok().and_then(|seed| seed.parse().ok()).unwrap_or(0);
    first..first + asked.unwrap_or(usual)
}

/// What a client sees of a key.
#[derive(Clone, PartialEq)]
pub struct Shown {
    pub value: Vec<u8>,
    pub flags: u32,
    pub expiry: Expiry,
    pub cas: u64,
}

impl std::fmt::Debug for Shown {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { value, flags, expiry, cas } = self;
        write!(out, "{} bytes from {:?}, flags {flags}, {expiry:?}, cas {cas}", value.len(), value.first())
    }
}

pub struct Node {
    pub engine: Engine,
    pub shards: Vec<Shard>,
    pub reader: Reader,
    pub now: Now,
}

impl Node {
    pub fn open(options: &EngineOptions) -> Self {
        let (engine, shards) = Engine::open(options, 1).expect("memory");
        Self { reader: engine.reader(), engine, shards, now: Now::from_unix_millis(START) }
    }

    pub fn apply(&mut self, key: &[u8], op: Op<'_>) -> Outcome {
        let hash = KeyHash::of(key);
        let shard = usize::from(hash.shard(self.shards.len() as u16).0);
        let outcome = self.shards[shard].apply(&Write { hash, key, op }, self.now);
        self.reader.end_turn();
        outcome
    }

    /// A flush as a client asks for it: every shard is told.
    pub fn flush(&mut self, at: Option<Seconds>) {
        for shard in &mut self.shards {
            shard.apply(&Write { hash: KeyHash::of(b""), key: b"", op: Op::Flush { at } }, self.now);
        }
        self.reader.end_turn();
    }

    pub fn maintain(&mut self) {
        for shard in &mut self.shards {
            shard.maintain(self.now);
        }
        self.reader.end_turn();
    }

    pub fn show(&self, key: &[u8]) -> Option<Shown> {
        match self.reader.get(KeyHash::of(key), key, self.now) {
            Lookup::Hit(record) => Some(Shown {
                value: record.value().to_vec(),
                flags: record.flags(),
                expiry: record.expiry(),
                cas: record.cas(),
            }),
            Lookup::Miss(_) => None,
        }
    }

    /// Asks for a key, so that it is worth keeping.
    pub fn ask(&self, key: &[u8]) {
        if let Lookup::Hit(record) = self.reader.get(KeyHash::of(key), key, self.now) {
            record.mark_access(self.now.seconds);
        }
    }

    /// Installs all records of `bytes`, wherever they belong.
    pub fn install(&mut self, mut bytes: &[u8], mark: Option<CopyMark>) {
        while !bytes.is_empty() {
            let (installed, total) = self.install_one(0, bytes, mark);
            if let Installed::ElsewhereHere(shard) = installed {
                self.install_one(usize::from(shard.0), bytes, mark);
            }
            self.reader.end_turn();
            bytes = &bytes[total..];
        }
    }

    fn install_one(&mut self, shard: usize, bytes: &[u8], mark: Option<CopyMark>) -> (Installed, usize) {
        let shard = &mut self.shards[shard];
        let installed = match mark {
            Some(mark) => shard.install_copied(bytes, self.now, mark),
            None => shard.install(bytes, self.now),
        };
        installed.expect("an intact record")
    }

    pub fn evictions(&self) -> u64 {
        self.shards.iter().map(|shard| self.engine.stats(shard.id()).evictions).sum()
    }
}

/// The bytes of a large record as they go on the wire.
pub fn whole(large: &LargeRecord) -> Vec<u8> {
    [&large.head[..], large.value.bytes(), &vec![0; usize::from(large.padding)]].concat()
}

/// What the writes so far have said about each key.
#[derive(Default)]
pub struct LastWords {
    pub keys: HashMap<Vec<u8>, Option<Shown>>,
    pub flush_at: Option<Seconds>,
}

/// How writes are drawn.
#[derive(Clone, Copy, Debug)]
pub struct Draw {
    pub keys: u64,
    pub longest: u64,
    /// One write in so many is a flush.
    pub flushes: u64,
}

impl LastWords {
    /// Draws one write, applies it to `node` and takes note of it.
    pub fn write(&mut self, node: &mut Node, random: &mut Random, draw: Draw) {
        let key = format!("key:{}", random.below(draw.keys)).into_bytes();
        if random.one_in(draw.flushes) {
            return self.flush(node, random);
        }
        match random.below(12) {
            0 | 1 => {
                node.apply(&key, Op::Delete(Delete::default()));
                self.keys.insert(key, None);
            }
            2 => self.touch(node, random, key),
            3 => (0..4).for_each(|_| node.ask(&key)),
            4 => self.append(node, random, key),
            _ => self.set(node, random, key, draw.longest),
        }
    }

    /// Writes to one key, or deletes it.
    pub fn write_key(
        &mut self,
        node: &mut Node,
        random: &mut Random,
        key: &[u8],
        longest: u64,
        is_delete: bool,
    ) {
        match random.below(6) {
            _ if is_delete => {
                node.apply(key, Op::Delete(Delete::default()));
            }
            0 => {
                let expiry = expiry(random, node.now.seconds);
                node.apply(key, Op::Touch { expiry, fetches: random.one_in(2) });
            }
            _ => self.set(node, random, key.to_vec(), longest),
        }
    }

    fn flush(&mut self, node: &mut Node, random: &mut Random) {
        let at = random.one_in(2).then(|| Seconds(node.now.seconds.0 + 1 + random.below(4) as u32));
        node.flush(at);
        self.flush_at = at;
        if at.is_none() {
            self.keys.values_mut().for_each(|word| *word = None);
        }
    }

    fn set(&mut self, node: &mut Node, random: &mut Random, key: Vec<u8>, longest: u64) {
        let length = if random.one_in(20) { random.below(longest) } else { random.below(200) };
        let (byte, flags) = (random.next() as u8, random.below(3) as u32);
        let value: Vec<u8> = (0..length).map(|at| byte.wrapping_add(at as u8)).collect();
        let expiry = expiry(random, node.now.seconds);
        let outcome = node.apply(&key, Op::Store(Store::set(&value, flags, expiry)));
        let word = match outcome.status {
            Status::Stored => Some(Shown { value, flags, expiry, cas: outcome.cas }),
            Status::NoMemory => None,
            status => panic!("{status:?}"),
        };
        self.keys.insert(key, word);
    }

    fn append(&mut self, node: &mut Node, random: &mut Random, key: Vec<u8>) {
        let part = vec![random.next() as u8; random.below(50) as usize];
        let store = Store { mode: StoreMode::Append, ..Store::set(&part, 0, Expiry::NEVER) };
        let outcome = node.apply(&key, Op::Store(store));
        if outcome.status == Status::Stored {
            let shown = self.keys.get_mut(&key).and_then(Option::as_mut).expect("joined to something");
            shown.value.extend_from_slice(&part);
            shown.cas = outcome.cas;
        }
    }

    fn touch(&mut self, node: &mut Node, random: &mut Random, key: Vec<u8>) {
        let expiry = expiry(random, node.now.seconds);
        let outcome = node.apply(&key, Op::Touch { expiry, fetches: random.one_in(2) });
        if outcome.status == Status::Touched {
            self.keys.get_mut(&key).and_then(Option::as_mut).expect("touched while it was there").expiry =
                expiry;
        }
    }

    /// Time passes at `node`.
    pub fn pass(&mut self, node: &mut Node, millis: u64) {
        node.now = Now::from_unix_millis(node.now.unix_millis + millis);
        if self.flush_at.is_some_and(|at| at <= node.now.seconds) {
            let at = self.flush_at.take().expect("checked above");
            let before = u64::from(at.0) * 1000;
            let is_before = |shown: &Shown| ringcache_engine::Version(shown.cas).unix_millis() < before;
            self.keys.values_mut().for_each(|word| *word = word.take().filter(|shown| !is_before(shown)));
        }
        node.maintain();
    }

    /// What `source` shows `copy` must show, and of what `source` has not got it may show the last word only.
    pub fn compare(&self, source: &Node, copy: &Node, case: &str) {
        for (key, word) in &self.keys {
            let name = String::from_utf8_lossy(key);
            let alive = word.as_ref().filter(|shown| !shown.expiry.is_past(source.now.seconds));
            let (here, there) = (source.show(key), copy.show(key));
            if let Some(here) = &here {
                assert_eq!(Some(here), alive, "{case}: the source shows another {name} than was written");
                assert!(there.is_some(), "{case}: {name} is missing in the copy");
            }
            if let Some(there) = &there {
                assert_eq!(Some(there), alive, "{case}: {name} in the copy is not the last word");
            }
        }
    }
}

pub fn expiry(random: &mut Random, now: Seconds) -> Expiry {
    match random.below(5) {
        0 => Expiry::at(Seconds(now.0 + 1 + random.below(4) as u32)),
        1 => Expiry::at(Seconds(now.0 + 1 + random.below(200) as u32)),
        2 => Expiry::at(Seconds(now.0 + 5000)),
        _ => Expiry::NEVER,
    }
}
