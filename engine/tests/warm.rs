//! Warm restart against what was there before: random writes, a stop, an adoption, and every key shows what it showed.
//! Books and files that are damaged, old or foreign are refused, and the engine is empty then.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;

use ringcache_engine::{
    Arithmetic, Beginning, Delete, Engine, EngineOptions, Expiry, KeepError, KeyHash, Lookup, MemoryFile,
    Now, Op, Reader, Refusal, Seconds, Shard, Status, Store, StoreMode, Token, Write,
};

const START: u64 = 1_800_000_000_000;

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}

/// A file without a name, in memory where that is possible.
fn file() -> File {
    let memory = Path::new("/dev/shm");
    let directory = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    let name = format!("ringcache-warm-{}-{:?}", std::process::id(), std::thread::current().id());
    let path = directory.join(name);
    let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path).expect("writable");
    std::fs::remove_file(&path).expect("it is there");
    file
}

struct Node {
    file: File,
    starts: u64,
    engine: Engine,
    reader: Reader,
    shards: Vec<Shard>,
    now: Now,
}

/// All that a reader can see of a record.
#[derive(Clone, Debug, PartialEq)]
struct Shown {
    value: Vec<u8>,
    flags: u32,
    expiry: Expiry,
    cas: u64,
    fetched: bool,
    idle_seconds: u32,
    token: Token,
}

type Stopped = (File, u64, Vec<u8>, Now);

impl Node {
    fn open(options: &EngineOptions) -> Self {
        Self::begin(options, (file(), 0, Vec::new(), Now::from_unix_millis(START)), false).0
    }

    fn begin(
        options: &EngineOptions,
        (file, starts, books, now): Stopped,
        with_books: bool,
    ) -> (Self, Beginning) {
        let mut identity = [0; 16];
        identity[..8].copy_from_slice(&(starts + 1).to_le_bytes());
        let memory = MemoryFile { file: file.try_clone().expect("a descriptor").into(), identity };
        let books = with_books.then_some(&books[..]);
        let (engine, shards, beginning) =
            Engine::open_in_file(options, 1, memory, books, now).expect("memory");
        let reader = engine.reader();
        (Self { file, starts: starts + 1, engine, reader, shards, now }, beginning)
    }

    fn stop(self) -> Stopped {
        drop(self.reader);
        let books = self.engine.keep(self.shards, self.now).expect("the file is writable");
        (self.file, self.starts, books, self.now)
    }

    fn apply(&mut self, key: &[u8], op: Op<'_>) -> ringcache_engine::Outcome {
        let hash = KeyHash::of(key);
        let shard = usize::from(hash.shard(self.shards.len() as u16).0);
        let outcome = self.shards[shard].apply(&Write { hash, key, op }, self.now);
        self.reader.end_turn();
        outcome
    }

    fn set(&mut self, key: &[u8], value: &[u8]) -> u64 {
        self.apply(key, Op::Store(Store::set(value, 0, Expiry::NEVER))).cas
    }

    fn maintain(&mut self, seconds: u64) {
        self.now = Now::from_unix_millis(self.now.unix_millis + seconds * 1000);
        let now = self.now;
        self.shards.iter_mut().for_each(|shard| {
            shard.maintain(now);
        });
        self.reader.end_turn();
    }

    fn show(&self, key: &[u8]) -> Option<Shown> {
        match self.reader.get(KeyHash::of(key), key, self.now) {
            Lookup::Miss(_) => None,
            Lookup::Hit(record) => Some(Shown {
                value: record.value().to_vec(),
                flags: record.flags(),
                expiry: record.expiry(),
                cas: record.cas(),
                fetched: record.fetched(),
                idle_seconds: record.idle_seconds(self.now.seconds),
                token: record.token(),
            }),
        }
    }

    fn items(&self) -> u64 {
        self.shards.iter().map(|shard| self.engine.stats(shard.id()).items).sum()
    }

    fn evictions(&self) -> u64 {
        self.shards.iter().map(|shard| self.engine.stats(shard.id()).evictions).sum()
    }

    /// One random command.
    fn step(&mut self, random: &mut Random, keys: u64, longest: u64) {
        let key = format!("key{}", random.below(keys)).into_bytes();
        let length = if random.below(30) == 0 { random.below(longest) } else { random.below(200) };
        let value = vec![random.below(256) as u8; length as usize];
        let expiry = match random.below(4) {
            0 => Expiry::at(Seconds(self.now.seconds.0 + 1 + random.below(100) as u32)),
            _ => Expiry::NEVER,
        };
        let mut store = Store::set(&value, random.below(3) as u32, expiry);
        match random.below(20) {
            0..=7 => _ = self.apply(&key, Op::Store(store)),
            8 => {
                store.explicit_cas = Some(1 + random.below(1000));
                self.apply(&key, Op::Store(store));
            }
            9 => {
                let joined = Store { mode: StoreMode::Append, ..Store::set(b"more", 0, Expiry::NEVER) };
                self.apply(&key, Op::Store(joined));
            }
            10 | 11 => _ = self.apply(&key, Op::Delete(Delete::default())),
            12 => {
                let invalidate = Delete { invalidate: true, expiry: Some(expiry), ..Delete::default() };
                self.apply(&key, Op::Delete(invalidate));
            }
            13 => _ = self.apply(&key, Op::Touch { expiry, fetches: true }),
            14 => self.count(&key),
            15 => self.maintain(random.below(3)),
            16 if random.below(200) == 0 => {
                let at = (random.below(2) == 0).then_some(Seconds(self.now.seconds.0 + 20));
                for shard in 0..self.shards.len() {
                    let (hash, op) = (KeyHash(0), Op::Flush { at });
                    self.shards[shard].apply(&Write { hash, key: b"", op }, self.now);
                }
            }
            _ => {
                if let Lookup::Hit(record) = self.reader.get(KeyHash::of(&key), &key, self.now) {
                    record.mark_access(self.now.seconds);
                    if random.below(4) == 0 {
                        record.take_token();
                    }
                }
                self.reader.end_turn();
            }
        }
    }

    fn count(&mut self, key: &[u8]) {
        let arithmetic = Arithmetic {
            delta: 3,
            decrement: false,
            compare: None,
            explicit_cas: None,
            create: Some((Expiry::NEVER, 5)),
            expiry: None,
        };
        self.apply(key, Op::Arithmetic(arithmetic));
    }
}

/// Stops and begins again, and compares what every key shows.
fn restart(node: Node, options: &EngineOptions, keys: u64, seed: u64) -> Node {
    let name = |number: u64| format!("key{number}").into_bytes();
    let before: Vec<_> = (0..keys).map(|number| node.show(&name(number))).collect();
    let (node, beginning) = Node::begin(options, node.stop(), true);
    let present = before.iter().flatten().count() as u64;
    let Beginning::Adopted(adopted) = beginning else { panic!("seed {seed}: {beginning:?}") };
    assert_eq!((adopted.records, node.items()), (present, present), "seed {seed}");
    for (number, shown) in before.into_iter().enumerate() {
        assert_eq!(node.show(&name(number as u64)), shown, "seed {seed}, key{number}");
    }
    node
}

#[test]
fn what_was_there_is_there_again() {
    for (seed, shards, memory_bytes, keys) in
        [(1, 1, 16 << 20, 2_000), (2, 3, 16 << 20, 10_000), (3, 2, 1 << 20, 20_000), (4, 1, 256 << 10, 5_000)]
    {
        let options =
            EngineOptions { memory_bytes, shards, item_bytes_max: 60_000, ..EngineOptions::default() };
        let mut random = Random(seed);
        let mut node = Node::open(&options);
        for _ in 0..8 {
            (0..20_000).for_each(|_| node.step(&mut random, keys, 60_000));
            node = restart(node, &options, keys, seed);
            assert_eq!(node.evictions(), 0, "seed {seed}: an adoption evicts nothing");
        }
    }
}

/// Where a full cache is adopted again and again, nothing is lost in between.
#[test]
fn twenty_restarts_of_a_full_cache_lose_nothing() {
    let options = EngineOptions { memory_bytes: 1 << 20, shards: 2, ..EngineOptions::default() };
    let mut node = Node::open(&options);
    (0..20_000u64).for_each(|number| _ = node.set(format!("key{number}").as_bytes(), &[b'v'; 64]));
    assert!(node.evictions() > 0, "it is full");
    for round in 0..20 {
        node = restart(node, &options, 20_000, round);
    }
}

#[test]
fn versions_never_run_backwards_not_even_with_the_clock() {
    let options = EngineOptions::default();
    let mut node = Node::open(&options);
    let before = (0..100).map(|number: u32| node.set(&number.to_le_bytes(), b"v")).max().expect("some");
    let mut stopped = node.stop();
    stopped.3 = Now::from_unix_millis(START - 86_400_000);
    let (mut node, beginning) = Node::begin(&options, stopped, true);
    assert!(matches!(beginning, Beginning::Adopted(_)));
    assert!(node.set(b"new", b"v") > before);
}

#[test]
fn a_pending_flush_still_comes_and_an_older_one_still_hides() {
    let options = EngineOptions::default();
    let mut node = Node::open(&options);
    node.set(b"hidden", b"v");
    let flush = |at| Write { hash: KeyHash(0), key: b"", op: Op::Flush { at } };
    node.shards[0].apply(&flush(None), node.now);
    node.maintain(1);
    node.set(b"key", b"v");
    let at = Some(Seconds(node.now.seconds.0 + 10));
    node.shards[0].apply(&flush(at), node.now);
    let (mut node, _) = Node::begin(&options, node.stop(), true);
    assert!(node.show(b"hidden").is_none() && node.show(b"key").is_some());
    node.maintain(11);
    assert!(node.show(b"key").is_none());
}

#[test]
fn what_ended_in_between_is_gone() {
    let options = EngineOptions::default();
    let mut node = Node::open(&options);
    let end = Expiry::at(Seconds(node.now.seconds.0 + 5));
    node.apply(b"short", Op::Store(Store::set(b"v", 0, end)));
    node.set(b"long", b"v");
    let mut stopped = node.stop();
    stopped.3 = Now::from_unix_millis(START + 6_000);
    let (node, beginning) = Node::begin(&options, stopped, true);
    let Beginning::Adopted(adopted) = beginning else { panic!("{beginning:?}") };
    assert_eq!((adopted.records, adopted.expired, node.items()), (1, 1, 1));
    assert!(node.show(b"short").is_none() && node.show(b"long").is_some());
}

/// With slabs of one size, more or less memory is adopted as it is.
#[test]
fn the_memory_may_change() {
    let with =
        |memory_bytes| EngineOptions { memory_bytes, slab_bytes: Some(4096), ..EngineOptions::default() };
    let mut node = Node::open(&with(2 << 20));
    (0..5_000u64).for_each(|number| _ = node.set(format!("key{number}").as_bytes(), &[b'v'; 100]));
    let node = restart(node, &with(4 << 20), 5_000, 0);
    let (mut node, beginning) = Node::begin(&with(512 << 10), node.stop(), true);
    assert!(matches!(beginning, Beginning::Adopted(adopted) if adopted.records == 5_000), "{beginning:?}");
    for _ in 0..10_000 {
        node.maintain(0);
    }
    assert!(node.engine.memory_used() <= 512 << 10, "{}", node.engine.memory_used());
    assert!(node.items() > 1_000);
}

fn small() -> (EngineOptions, Stopped) {
    let options = EngineOptions {
        memory_bytes: 1 << 20,
        slab_bytes: Some(4096),
        shards: 2,
        ..EngineOptions::default()
    };
    let mut node = Node::open(&options);
    for number in 0..50u64 {
        node.set(format!("key{number}").as_bytes(), &vec![b'v'; number as usize * 5]);
    }
    node.set(b"large", &[b'v'; 20_000]);
    (options, node.stop())
}

fn refused(options: &EngineOptions, stopped: Stopped) -> (Stopped, Refusal) {
    let (node, beginning) = Node::begin(options, stopped, true);
    assert_eq!(node.items(), 0);
    assert!((0..50u64).all(|number| node.show(format!("key{number}").as_bytes()).is_none()));
    let Beginning::Refused(refusal) = beginning else { panic!("{beginning:?}") };
    (node.stop(), refusal)
}

#[test]
fn damaged_books_are_refused_wherever_the_damage_is() {
    let (options, stopped) = small();
    let books = stopped.2.clone();
    let mut stopped = stopped;
    for place in 0..books.len() {
        stopped.2 = books.clone();
        stopped.2[place] ^= 1 << (place % 8);
        let refusal;
        (stopped, refusal) = refused(&options, stopped);
        assert!(matches!(refusal, Refusal::Foreign | Refusal::Format { .. } | Refusal::Torn), "{refusal}");
    }
    for length in [0, 1, 7, 8, 27, 28, books.len() - 1] {
        stopped.2 = books[..length].to_vec();
        (stopped, _) = refused(&options, stopped);
    }
    stopped.2 = [&books[..], b"more"].concat();
    assert_eq!(refused(&options, stopped).1, Refusal::Torn);
}

#[test]
fn books_are_about_one_file_at_one_time() {
    let (options, stopped) = small();
    let old = stopped.2.clone();
    let (node, _) = Node::begin(&options, stopped, true);
    let mut stopped = node.stop();
    stopped.2 = old;
    assert_eq!(refused(&options, stopped).1, Refusal::Identity);
    let (_, (_, _, books, now)) = small();
    assert_eq!(refused(&options, (file(), 7, books, now)).1, Refusal::Identity);
}

#[test]
fn a_slab_that_has_changed_is_refused() {
    let (_, stopped) = small();
    let length = stopped.0.metadata().expect("a file").len();
    let mut page = [0; 4096];
    let used: Vec<u64> = (1..length / 4096)
        .filter(|number| {
            stopped.0.read_exact_at(&mut page, number * 4096).expect("inside");
            page.iter().any(|byte| *byte != 0)
        })
        .collect();
    assert!(used.len() > 3);
    drop(stopped);
    for number in used {
        // Expiry, last access and token are in no record's checksum: the slab's covers them.
        for byte in [0, 8, 12, 26, 27, 30] {
            let (options, stopped) = small();
            stopped.0.read_exact_at(&mut page[..1], number * 4096 + byte).expect("inside");
            page[0] ^= 1;
            stopped.0.write_all_at(&page[..1], number * 4096 + byte).expect("inside");
            let (node, beginning) = Node::begin(&options, stopped, true);
            assert!(matches!(beginning, Beginning::Refused(Refusal::Slab { .. })), "{number}: {beginning:?}");
            assert_eq!(node.items(), 0);
        }
    }
    let (options, stopped) = small();
    stopped.0.set_len(length / 2).expect("writable");
    stopped.0.set_len(3 * 4096).expect("writable");
    assert!(matches!(refused(&options, stopped).1, Refusal::Slab { .. }));
}

/// Whatever the number of shards and the size of slabs were: everything is installed anew.
#[test]
fn other_shards_and_slabs_get_the_same_records() {
    let with = |shards, slab_bytes| EngineOptions {
        memory_bytes: 24 << 20,
        shards,
        slab_bytes: Some(slab_bytes),
        item_bytes_max: 300_000,
        ..EngineOptions::default()
    };
    let shapes = [(1, 4096), (3, 4096), (2, 64 << 10), (5, 16 << 10), (5, 4096), (1, 128 << 10), (1, 4096)];
    let mut random = Random(5);
    let mut node = Node::open(&with(2, 8192));
    for (seed, (shards, slab_bytes)) in (0..).zip(shapes) {
        (0..10_000).for_each(|_| node.step(&mut random, 5_000, 300_000));
        node = restart(node, &with(shards, slab_bytes), 5_000, seed);
        assert_eq!(node.evictions(), 0, "seed {seed}");
    }
    // And the address space of former slabs is used again.
    for round in 0..30u64 {
        let (shards, slab_bytes) = shapes[round as usize % shapes.len()];
        (0..2_000).for_each(|_| node.step(&mut random, 5_000, 300_000));
        node = restart(node, &with(shards, slab_bytes), 5_000, round);
    }
    let length = node.file.metadata().expect("a file").len();
    assert!(length < 4 * 40 * (24 << 20), "{length} bytes of address space");
}

/// A pending flush and the clock go on in other shards.
#[test]
fn other_shards_continue_the_clock_and_the_flush() {
    let with = |shards| EngineOptions { shards, ..EngineOptions::default() };
    let mut node = Node::open(&with(3));
    let before = (0..100).map(|number: u32| node.set(&number.to_le_bytes(), b"v")).max().expect("some");
    let at = Some(Seconds(node.now.seconds.0 + 10));
    for shard in &mut node.shards {
        shard.apply(&Write { hash: KeyHash(0), key: b"", op: Op::Flush { at } }, node.now);
    }
    let (mut node, beginning) = Node::begin(&with(2), node.stop(), true);
    assert!(matches!(beginning, Beginning::Adopted(adopted) if adopted.records == 100), "{beginning:?}");
    assert!((0..1000u32).all(|number| node.set(format!("new{number}").as_bytes(), b"v") > before));
    node.maintain(11);
    assert!((0..100u32).all(|number| node.show(&number.to_le_bytes()).is_none()));
}

#[test]
fn a_slab_that_has_changed_is_refused_by_other_shards_too() {
    let (options, stopped) = small();
    let mut page = [0; 4096];
    for number in 1..10 {
        stopped.0.read_exact_at(&mut page, number * 4096).expect("inside");
        page[9] ^= 1;
        stopped.0.write_all_at(&page, number * 4096).expect("inside");
    }
    let options = EngineOptions { shards: 1, ..options };
    assert!(matches!(refused(&options, stopped).1, Refusal::Slab { .. }));
}

/// Less memory than there was: what fits is there.
#[test]
fn less_memory_for_other_shards_evicts_and_is_kept() {
    let with = |shards, memory_bytes| EngineOptions { memory_bytes, shards, ..EngineOptions::default() };
    let mut node = Node::open(&with(1, 8 << 20));
    (0..50_000u64).for_each(|number| _ = node.set(format!("key{number}").as_bytes(), &[b'v'; 100]));
    let (node, beginning) = Node::begin(&with(2, 2 << 20), node.stop(), true);
    assert!(matches!(beginning, Beginning::Adopted(_)), "{beginning:?}");
    assert!(node.engine.memory_used() <= 2 << 20, "{}", node.engine.memory_used());
    assert!(node.items() > 8_000, "{}", node.items());
}

#[test]
fn books_are_kept_only_of_a_file_and_after_the_last_reader() {
    let options = EngineOptions::default();
    let (engine, shards) = Engine::open(&options, 1).expect("memory");
    assert!(matches!(engine.keep(shards, Now::from_unix_millis(START)), Err(KeepError::NoFile)));
    let node = Node::open(&options);
    assert!(matches!(node.engine.keep(node.shards, node.now), Err(KeepError::Read)));
}

#[test]
fn large_values_survive_too() {
    let options =
        EngineOptions { memory_bytes: 16 << 20, item_bytes_max: 5 << 20, ..EngineOptions::default() };
    let mut node = Node::open(&options);
    for number in 0..4u64 {
        assert_eq!(
            node.apply(
                format!("key{number}").as_bytes(),
                Op::Store(Store::set(&vec![number as u8; 2 << 20], 1, Expiry::NEVER))
            )
            .status,
            Status::Stored
        );
    }
    node.apply(b"key2", Op::Delete(Delete::default()));
    for round in 0..3 {
        node = restart(node, &options, 4, round);
        node.set(b"key3", &vec![round as u8; 3 << 20]);
    }
}
