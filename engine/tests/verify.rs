//! Two copies are compared by digests, and memory that has changed by itself is found and goes.

mod bed;

use std::fs::File;
use std::os::unix::fs::FileExt;

use bed::{Draw, LastWords, Node, Random, START, seeds};
use ringcache_engine::{
    Cut, Delete, Engine, EngineOptions, Expiry, KeyHash, MemoryFile, Now, Op, ScrubCursor, Seconds,
    SlotCursor, SlotDigests, SlotSet, Store,
};

fn digests(node: &Node, cut: &Cut) -> SlotDigests {
    let mut all = SlotDigests::default();
    for shard in &node.shards {
        let (mut cursor, mut own) = (SlotCursor::all(), SlotDigests::default());
        while !shard.digest_step(&mut cursor, &mut own, cut, node.now) {}
        all.merge(&own);
    }
    all
}

/// Installs all that `from` holds, whatever the shards, by slots in an order of its own.
fn copy(from: &Node, to: &mut Node) {
    for shard in from.shards.iter().rev() {
        let mut cursor = SlotCursor::all();
        while !cursor.is_done() {
            let mut batch = Vec::new();
            cursor.read(shard, from.now, 50_000, &mut batch);
            to.install(&batch, None);
        }
    }
}

fn options(shards: u16, node: u8) -> EngineOptions {
    EngineOptions { memory_bytes: 32 << 20, shards, node, log_changes: true, ..EngineOptions::default() }
}

#[test]
fn copies_have_equal_digests_whatever_their_shards_and_every_difference_shows() {
    for seed in seeds(4) {
        let mut random = Random(seed);
        let (mut one, mut other) = (Node::open(&options(1, 1)), Node::open(&options(3, 2)));
        let draw = Draw { keys: 3_000, longest: 12_000, flushes: 1 << 40 };
        let mut words = LastWords::default();
        for round in 0..8_000 {
            words.write(&mut one, &mut random, draw);
            if round % 50 == 0 {
                words.pass(&mut one, 100);
            }
        }
        other.now = one.now;
        copy(&one, &mut other);
        assert_eq!(digests(&one, &Cut::never()), digests(&other, &Cut::never()));
        let living = |key: &&Vec<u8>| one.show(key).is_some();
        let key = words.keys.keys().filter(living).min().expect("some key lives").clone();
        let before = digests(&one, &Cut::never());
        let records: u64 = before.iter().map(|(_, digest)| digest.records).sum();
        assert!(records > 500, "{records} records are too few to say anything");
        let slot = KeyHash::of(&key).slot();
        other.apply(&key, Op::Touch { expiry: Expiry::at(Seconds(one.now.seconds.0 + 77)), fetches: false });
        assert_eq!(before.differing(&digests(&other, &Cut::never())), [slot], "another expiry");
        let position = one.shards[0].position();
        one.apply(&key, Op::Store(Store::set(b"another", 0, Expiry::NEVER)));
        assert_eq!(before.differing(&digests(&one, &Cut::never())), [slot], "another value");
        assert_eq!(
            before.differing(&digests(&one, &Cut::at(vec![position]))),
            [slot],
            "a value of later is not counted"
        );
        let (mut slots, mut cursor, mut list) = (SlotSet::default(), SlotCursor::all(), Vec::new());
        slots.insert(slot);
        while !one.shards[0].slot_list(&mut cursor, &slots, one.now, &mut list) {}
        let hash = KeyHash::of(&key);
        let listed = list.iter().find(|record| record.hash == hash).expect("its key is in the slot");
        assert!(listed.version > position);
        assert!(list.iter().all(|record| record.hash.slot() == slot));
        let count =
            digests(&one, &Cut::never()).iter().nth(usize::from(slot.0)).map(|(_, digest)| digest.records);
        assert_eq!(Some(list.iter().filter(|record| !record.is_tombstone).count() as u64), count);
        let mut seen = Vec::new();
        one.shards[0].look(&[KeyHash(0), hash], one.now, &mut seen);
        assert_eq!(seen, [*listed]);
    }
}

/// A node in a file, whose bytes can be changed behind its back.
fn in_file() -> (Node, File) {
    let file = tempfile();
    let memory = MemoryFile { file: file.try_clone().expect("a descriptor").into(), identity: [7; 16] };
    let options = EngineOptions { memory_bytes: 1 << 20, slab_bytes: Some(4096), ..options(1, 1) };
    let now = Now::from_unix_millis(START);
    let (engine, shards, _) = Engine::open_in_file(&options, 1, memory, None, now).expect("memory");
    (Node { reader: engine.reader(), engine, shards, now }, file)
}

/// Where the file holds records of `key` with an empty flags field, dead ones too.
fn places(file: &File, key: &[u8]) -> Vec<u64> {
    let mut bytes = vec![0; file.metadata().expect("its length").len().min(4 << 20) as usize];
    let read = file.read_at(&mut bytes, 0).expect("readable");
    let is_record = |at: &usize| {
        bytes[*at + 28..].starts_with(key)
            && usize::from(bytes[*at + 24]) == key.len()
            && bytes[*at + 25] == 0
    };
    (4096..read - 28 - key.len()).step_by(4).filter(is_record).map(|at| at as u64).collect()
}

/// Goal: a bit that flips in a record is found, nothing wrong is shown, nothing else is lost, and the node goes on.
/// Method: one bit after the other, in keys, lengths, versions and values, of living and of dead records.
#[test]
fn a_flipped_bit_is_found_and_costs_its_record_only() {
    let mut random = Random(seeds(1).start);
    let (mut node, file) = in_file();
    let name = |number: u64| format!("key:{number:04}").into_bytes();
    let mut values = vec![Vec::new(); 500];
    let mut found = 0;
    for round in 0..150 {
        for _ in 0..200 {
            let number = random.below(500);
            let length = if random.one_in(50) { 9_000 } else { 20 + random.below(300) };
            let value = vec![random.next() as u8; length as usize];
            node.apply(&name(number), Op::Store(Store::set(&value, 0, Expiry::NEVER)));
            values[number as usize] = value;
        }
        node.maintain();
        let victim = random.below(500);
        let places = places(&file, &name(victim));
        if places.is_empty() {
            continue;
        }
        let start = places[random.below(places.len() as u64) as usize];
        let covered = [0, 3, 7, 16, 17, 18, 20, 24, 25, 28, 33, 40][random.below(12) as usize];
        let mut byte = [0];
        file.read_exact_at(&mut byte, start + covered).expect("readable");
        file.write_all_at(&[byte[0] ^ 1 << random.below(8)], start + covered).expect("writable");
        let (mut cursor, mut damaged) = (ScrubCursor::default(), 0);
        loop {
            let scrubbed = node.shards[0].scrub_step(&mut cursor, 50_000, node.now);
            damaged += scrubbed.damaged;
            if scrubbed.is_done {
                break;
            }
        }
        assert!(damaged <= 1, "round {round}: one record was changed, {damaged} went");
        found += damaged;
        node.reader.end_turn();
        for (number, value) in values.iter_mut().enumerate() {
            match node.show(&name(number as u64)) {
                Some(shown) => assert_eq!(shown.value, *value, "round {round}: {number}"),
                None => {
                    assert!(value.is_empty() || number as u64 == victim, "round {round}: {number} is lost")
                }
            }
        }
        values[victim as usize].clear();
        node.apply(&name(victim), Op::Delete(Delete::default()));
    }
    assert!(found > 15, "{found} damaged records were alive");
}

/// Goal: what changes by itself in memory is a difference, wherever it is. Method: one bit after the other in the only
/// record, compared with an untouched copy.
#[test]
fn no_flipped_bit_has_an_equal_digest() {
    let (mut node, file) = in_file();
    node.apply(b"key", Op::Store(Store::set(b"some value", 0, Expiry::NEVER)));
    let before = digests(&node, &Cut::never());
    let [start] = places(&file, b"key")[..] else { panic!("one record is there") };
    // The last access and the win token say nothing about the value, and change in place.
    for place in (0..12).chain(16..26).chain(28..41) {
        for bit in 0..8 {
            let mut byte = [0];
            file.read_exact_at(&mut byte, start + place).expect("readable");
            file.write_all_at(&[byte[0] ^ 1 << bit], start + place).expect("writable");
            assert_ne!(digests(&node, &Cut::never()), before, "bit {bit} of byte {place}");
            file.write_all_at(&byte, start + place).expect("writable");
        }
    }
    assert_eq!(digests(&node, &Cut::never()), before);
}

/// Goal: carrying a damaged record does not make it look intact. Method: one byte of one value, and so many overwrites of
/// others that its slab is cleaned.
#[test]
fn damage_is_carried_as_damage() {
    let (mut node, file) = in_file();
    node.apply(b"victim", Op::Store(Store::set(b"some value", 0, Expiry::NEVER)));
    let [start] = places(&file, b"victim")[..] else { panic!("one record is there") };
    file.write_all_at(b"S", start + 34).expect("writable");
    // Overwritten at random, slabs die in parts.
    let mut random = Random(7);
    for _ in 0..400 {
        for _ in 0..100 {
            let key = random.below(3_000).to_le_bytes();
            node.apply(&key, Op::Store(Store::set(&[random.next() as u8; 90], 0, Expiry::NEVER)));
        }
        node.maintain();
        node.reader.end_turn();
    }
    assert!(places(&file, b"victim").iter().any(|place| *place != start), "it was carried");
    let mut seen = Vec::new();
    node.shards[0].look(&[KeyHash::of(b"victim")], node.now, &mut seen);
    let [record] = seen[..] else { panic!("nothing had to be evicted") };
    assert!(record.is_damaged);
}

fn tempfile() -> File {
    let path = std::env::temp_dir().join(format!("ringcache-verify-{}", std::process::id()));
    let file = File::options().read(true).write(true).create_new(true).open(&path).expect("a file");
    std::fs::remove_file(&path).expect("its name goes");
    file
}
