//! Records leave one engine through a cursor and enter another through `install`: by slot, by log, damaged or whole.

use std::collections::HashMap;

use ringcache_engine::{
    Delete, Engine, EngineOptions, Expiry, Installed, KeyHash, LogCursor, Lookup, Now, Op, Reader,
    RecordError, Seconds, Shard, Slot, SlotCursor, Status, Step, Store, Version, Write,
};

const NOW: Now = Now { seconds: Seconds(1_800_000_000), unix_millis: 1_800_000_000_000 };
const LAST_SLOT: Slot = Slot(16_383);

struct Node {
    shards: Vec<Shard>,
    reader: Reader,
    engine: Engine,
}

impl Node {
    fn open(shards: u16, node: u8, log_changes: bool) -> Self {
        let options =
            EngineOptions { memory_bytes: 16 << 20, shards, node, log_changes, ..EngineOptions::default() };
        let (engine, shards) = Engine::open(&options, 1).expect("memory");
        Self { reader: engine.reader(), shards, engine }
    }

    fn apply(&mut self, key: &[u8], op: Op<'_>) -> Status {
        let hash = KeyHash::of(key);
        let shard = usize::from(hash.shard(self.shards.len() as u16).0);
        let outcome = self.shards[shard].apply(&Write { hash, key, op }, NOW);
        self.reader.end_turn();
        outcome.status
    }

    fn set(&mut self, key: &[u8], value: &[u8]) {
        assert_eq!(self.apply(key, Op::Store(Store::set(value, 7, Expiry::NEVER))), Status::Stored);
    }

    fn value(&self, key: &[u8]) -> Option<(Vec<u8>, u64, Expiry)> {
        match self.reader.get(KeyHash::of(key), key, NOW) {
            Lookup::Hit(record) => Some((record.value().to_vec(), record.cas(), record.expiry())),
            Lookup::Miss(_) => None,
        }
    }

    /// Installs all records of `bytes`, wherever they belong.
    fn install_all(&mut self, mut bytes: &[u8]) -> usize {
        let mut records = 0;
        while !bytes.is_empty() {
            let (mut installed, total) = self.shards[0].install(bytes, NOW).expect("an intact record");
            if let Installed::ElsewhereHere(shard) = installed {
                installed =
                    self.shards[usize::from(shard.0)].install(bytes, NOW).expect("an intact record").0;
            }
            assert!(matches!(installed, Installed::Applied | Installed::Older), "{installed:?}");
            self.reader.end_turn();
            bytes = &bytes[total..];
            records += 1;
        }
        records
    }
}

fn name(key: u64) -> Vec<u8> {
    format!("key:{key}").into_bytes()
}

#[test]
fn all_slots_of_two_shards_fill_three() {
    let mut source = Node::open(2, 1, false);
    let mut target = Node::open(3, 2, false);
    for key in 0..5_000u64 {
        source.set(&name(key), &vec![key as u8; (key % 700) as usize]);
    }
    source.set(b"large", &[5; 300_000]);
    let mut records = 0;
    for shard in &source.shards {
        for (first, last) in [(Slot(0), Slot(4_095)), (Slot(4_096), LAST_SLOT)] {
            let mut cursor = SlotCursor::new(first, last);
            while !cursor.is_done() {
                let mut batch = Vec::new();
                cursor.read(shard, NOW, 10_000, &mut batch);
                records += target.install_all(&batch);
            }
        }
    }
    assert_eq!(records, 5_001, "every record once");
    let evicted = |shard: &Shard| target.engine.stats(shard.id()).evictions;
    assert_eq!(
        target.shards.iter().map(evicted).sum::<u64>(),
        0,
        "a copy in bucket order crowds out nothing"
    );
}

/// Goal: a walk shows each key that lives all the time exactly once. Method: between its steps keys are overwritten,
/// added (so that the index grows under it) and deleted.
#[test]
fn a_walk_shows_what_lives_through_it_exactly_once() {
    const STABLE: u64 = 3_000;
    let mut node = Node::open(1, 1, false);
    (0..STABLE).for_each(|key| node.set(&name(key), b"first"));
    let buckets = node.engine.stats(node.shards[0].id()).index_buckets;
    let mut cursor = SlotCursor::new(Slot(0), LAST_SLOT);
    let mut shown: HashMap<Vec<u8>, u32> = HashMap::new();
    let mut round = 0;
    while !cursor.is_done() {
        let mut left = 5;
        cursor.visit(&node.shards[0], NOW, |record| {
            *shown.entry(record.key().to_vec()).or_default() += 1;
            left -= 1;
            left > 0
        });
        node.set(&name(round * 7 % STABLE), b"again");
        (0..20).for_each(|new| node.set(&name(STABLE + round * 20 + new), b"new"));
        node.apply(&name(STABLE + round * 11 % 20_000), Op::Delete(Delete::default()));
        node.shards[0].maintain(NOW);
        node.reader.end_turn();
        round += 1;
    }
    assert!(node.engine.stats(node.shards[0].id()).index_buckets > buckets, "the index grew meanwhile");
    assert!(shown.values().all(|count| *count == 1), "nothing is shown twice");
    assert!((0..STABLE).all(|key| shown.contains_key(&name(key))), "nothing is left out");
}

#[test]
fn a_log_cursor_carries_writes_deletes_touches_and_flushes() {
    let mut source = Node::open(1, 1, true);
    let mut target = Node::open(2, 2, true);
    let mut cursor = LogCursor::new(Version::ZERO);
    let mut state = 1u64;
    let mut random = move |bound: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % bound
    };
    for round in 0..60_000u64 {
        let key = name(random(2_000));
        match random(10) {
            0 => drop(source.apply(&key, Op::Delete(Delete::default()))),
            1 => {
                let expiry = Expiry::at(Seconds(NOW.seconds.0 + 1000 + random(1000) as u32));
                source.apply(&key, Op::Touch { expiry, fetches: true });
            }
            _ if round == 40_000 => drop(source.apply(b"", Op::Flush { at: None })),
            _ => source.set(&key, &vec![round as u8; random(900) as usize]),
        }
        if round % 50 == 0 {
            let mut batch = Vec::new();
            cursor.read(&mut source.shards[0], NOW, 1 + random(60_000) as usize, &mut batch);
            target.install_all(&batch);
            source.shards[0].maintain(NOW);
            source.reader.end_turn();
        }
    }
    loop {
        let mut batch = Vec::new();
        let step = cursor.read(&mut source.shards[0], NOW, 100_000, &mut batch);
        target.install_all(&batch);
        if matches!(step, Step::CaughtUp(_)) {
            break;
        }
    }
    let mut present = 0;
    for key in (0..2_000).map(name) {
        assert_eq!(source.value(&key), target.value(&key), "{}", String::from_utf8_lossy(&key));
        present += usize::from(source.value(&key).is_some());
    }
    assert!(present > 1_000, "{present}");
}

#[test]
fn the_newer_version_wins_in_any_order() {
    let mut source = Node::open(1, 1, true);
    let copy_of = |source: &Node| {
        let mut batch = Vec::new();
        SlotCursor::new(Slot(0), LAST_SLOT).read(&source.shards[0], NOW, usize::MAX, &mut batch);
        batch
    };
    source.set(b"k", b"first");
    let first = copy_of(&source);
    source.set(b"k", b"second");
    let second = copy_of(&source);
    source.apply(b"k", Op::Delete(Delete::default()));
    let deleted = copy_of(&source);
    for order in [[&first, &second, &deleted], [&deleted, &first, &second], [&second, &deleted, &first]] {
        let mut target = Node::open(1, 2, true);
        order.iter().for_each(|batch| assert!(target.install_all(batch) > 0));
        assert!(target.value(b"k").is_none(), "the delete is the newest");
    }
    let mut target = Node::open(1, 2, true);
    target.install_all(&second);
    target.install_all(&first);
    assert_eq!(target.value(b"k").expect("there").0, b"second");
}

#[test]
fn a_damaged_record_changes_nothing() {
    let mut source = Node::open(1, 1, false);
    source.set(b"key", b"some value of some length");
    let mut whole = Vec::new();
    SlotCursor::new(Slot(0), LAST_SLOT).read(&source.shards[0], NOW, usize::MAX, &mut whole);
    let mut target = Node::open(1, 2, false);
    for len in 0..whole.len() {
        let error = target.shards[0].install(&whole[..len], NOW).expect_err("cut short");
        assert!(matches!(error, RecordError::Short { .. }), "{error:?}");
    }
    let covered =
        |byte: usize| !(8..16).contains(&byte) && byte != 26 && byte != 27 && byte < 28 + 4 + 3 + 25;
    for bit in (0..whole.len() * 8).filter(|bit| covered(bit / 8)) {
        let mut damaged = whole.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        assert!(target.shards[0].install(&damaged, NOW).is_err(), "bit {bit} of {}", whole.len());
        assert!(target.value(b"key").is_none());
    }
    target.install_all(&whole);
    assert_eq!(target.value(b"key"), source.value(b"key"));
}

/// What was verified by others goes in as it is, flags of zero included, and its checksum fits afterwards.
#[test]
fn verified_records_keep_their_checksums() {
    let mut source = Node::open(1, 1, false);
    (0..200).for_each(|key| source.set(&name(key), &vec![key as u8; (key * 7) as usize]));
    let plain = Store::set(b"no flags", 0, Expiry::NEVER);
    source.apply(b"plain", Op::Store(plain));
    source.set(b"large", &[5; 300_000]);
    let (mut records, mut large) = (Vec::new(), Vec::new());
    let mut cursor = SlotCursor::new(Slot(0), LAST_SLOT);
    while !cursor.is_done() {
        cursor.hand_out(&source.shards[0], NOW, 4_000, &mut records, &mut large);
    }
    assert_eq!(large.len(), 1, "it has memory of its own");
    records.extend_from_slice(&large[0].head);
    records.extend_from_slice(large[0].value.bytes());
    records.resize(records.len() + usize::from(large[0].padding), 0);
    let mut target = Node::open(1, 2, false);
    let mut rest = &records[..];
    while !rest.is_empty() {
        let (installed, total) = target.shards[0].install_verified(rest, NOW).expect("records");
        assert_eq!(installed, Installed::Applied);
        target.reader.end_turn();
        rest = &rest[total..];
    }
    let mut shown = 0;
    SlotCursor::new(Slot(0), LAST_SLOT).visit(&target.shards[0], NOW, |record| {
        assert!(record.is_intact(), "{}", String::from_utf8_lossy(record.key()));
        shown += 1;
        true
    });
    assert_eq!(shown, 202);
    assert_eq!(target.value(b"large"), source.value(b"large"));
    assert_eq!(target.value(b"plain"), source.value(b"plain"));
}
