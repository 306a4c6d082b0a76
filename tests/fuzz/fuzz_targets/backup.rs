//! Any bytes as a backup: nothing panics, whatever they say, and where nobody forged a checksum a file is restored as it was
//! written or refused; salvage shows nothing that was not in it.

#![no_main]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use libfuzzer_sys::fuzz_target;
use ringcache_engine::{
    Engine, EngineOptions, Expiry, KeyHash, Lookup, Now, Op, Reader, Shard, Slot, SlotCursor, Store, Version,
    Write,
};
use ringcache_net::backup::file::Mode;
use ringcache_net::backup::format::{BlockHead, HEAD_BYTES, Header, Kind};
use ringcache_net::backup::restore::{check_all, into_shards};
use ringcache_net::backup::writer::Writer;
use ringcache_net::clock::Clock;

/// Before any clock that this runs by: a version of times to come is refused.
const NOW: Now = Now { seconds: ringcache_engine::Seconds(1_700_000_000), unix_millis: 1_700_000_000_000 };
const KEYS: u8 = 60;

fuzz_target!(|data: &[u8]| {
    let Some((&mode, data)) = data.split_first() else { return };
    let whole = backup(mode & 8 != 0);
    let (bytes, is_forged) = match mode % 4 {
        0 => (data.to_vec(), true),
        1 => (changed(&whole, data), false),
        2 => (whole[..whole.len().min(data.len() * 37)].to_vec(), false),
        _ => (forged(changed(&whole, data)), true),
    };
    let is_same = bytes == whole;
    let path = fresh_path();
    fs::write(&path, &bytes).expect("writable");
    for salvage in [Mode::Strict, Mode::Salvage] {
        let mut node = Node::open(1 + u16::from(mode >> 4 & 3));
        let Ok(files) = check_all(&[path.clone()], salvage, NOW, |_, _| true) else {
            assert!(!is_same, "what was written is accepted");
            continue;
        };
        into_shards(&files, &mut node.shards, &Clock::new(false)).expect("nobody changes it");
        if !is_forged {
            assert!(salvage == Mode::Salvage || is_same, "a changed file is refused");
            node.check(is_same);
        }
    }
    fs::remove_file(&path).expect("written above");
});

fn fresh_path() -> PathBuf {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let name = format!("ringcache-backup-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { memory.join(name) } else { std::env::temp_dir().join(name) }
}

/// A backup of two shards in many small blocks.
fn backup(compresses: bool) -> Vec<u8> {
    let mut node = Node::open(2);
    (0..KEYS).for_each(|key| node.set(key));
    let last = Slot(16_383);
    let header = Header {
        kind: Kind::Whole,
        identity: 7,
        base: 0,
        history: 9,
        unix_millis: NOW.unix_millis,
        first: Slot(0),
        last,
        since: vec![Version::ZERO; 2],
    };
    let path = fresh_path();
    let mut writer = Writer::create(&path, header, compresses).expect("writable");
    for (number, shard) in (0..).zip(&node.shards) {
        let mut cursor = SlotCursor::new(Slot(0), last);
        while !cursor.is_done() {
            let (mut records, mut large) = (Vec::new(), Vec::new());
            cursor.hand_out(shard, NOW, 900, &mut records, &mut large);
            if !records.is_empty() {
                writer.records(number, &records).expect("writable");
            }
            for record in &large {
                let padding = vec![0; usize::from(record.padding)];
                writer.large_record(number, &[&record.head, record.value.bytes(), &padding]).expect("writable");
            }
        }
    }
    writer.close(vec![Version::ZERO; 2], NOW.unix_millis).expect("writable");
    let bytes = fs::read(&path).expect("it is whole");
    fs::remove_file(&path).expect("it is there");
    bytes
}

fn value(key: u8) -> Vec<u8> {
    vec![key; if key == 7 { 30_000 } else { usize::from(key) * 9 }]
}

/// Each three bytes change one byte.
fn changed(bytes: &[u8], data: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for change in data.chunks_exact(3) {
        let place = usize::from(u16::from_le_bytes([change[0], change[1]])) % bytes.len();
        bytes[place] ^= change[2];
    }
    bytes
}

/// Makes the checksums of all blocks fit what they cover, as far as blocks are found.
fn forged(mut bytes: Vec<u8>) -> Vec<u8> {
    let Ok((_, mut at)) = Header::decode(&bytes) else { return bytes };
    while at + HEAD_BYTES <= bytes.len() {
        let crc = crc32c(&bytes[at..at + HEAD_BYTES - 4]);
        bytes[at + HEAD_BYTES - 4..at + HEAD_BYTES].copy_from_slice(&crc.to_le_bytes());
        let Some(head) = BlockHead::decode(&bytes[at..]) else { break };
        let payload = at + HEAD_BYTES..at + HEAD_BYTES + head.stored_bytes as usize;
        let Some(covered) = bytes.get(payload.clone()) else { break };
        let head = BlockHead { payload_crc: crc32c(covered), ..head };
        bytes[at..at + HEAD_BYTES].copy_from_slice(&head.encode());
        at = payload.end;
    }
    bytes
}

/// CRC32C, bit by bit: the inputs are small.
fn crc32c(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
        }
    }
    !crc
}

struct Node {
    _engine: Engine,
    reader: Reader,
    shards: Vec<Shard>,
}

impl Node {
    fn open(shards: u16) -> Self {
        let options = EngineOptions {
            memory_bytes: 2 << 20,
            shards,
            item_bytes_max: 1 << 16,
            slab_bytes: Some(4096),
            ..EngineOptions::default()
        };
        let (engine, shards) = Engine::open(&options, 1).expect("the memory is enough");
        Self { reader: engine.reader(), _engine: engine, shards }
    }

    fn set(&mut self, key: u8) {
        let key_bytes = &[b'k', key];
        let hash = KeyHash::of(key_bytes);
        let shard = usize::from(hash.shard(self.shards.len() as u16).0);
        let value = value(key);
        let op = Op::Store(Store::set(&value, u32::from(key), Expiry::NEVER));
        self.shards[shard].apply(&Write { hash, key: key_bytes, op }, NOW);
        self.reader.end_turn();
    }

    /// What is shown is what was stored, all of it where `is_whole`.
    fn check(&self, is_whole: bool) {
        for key in 0..=u8::MAX {
            let name = &[b'k', key];
            match self.reader.get(KeyHash::of(name), name, NOW) {
                Lookup::Hit(record) => {
                    assert!(key < KEYS && record.value() == value(key), "{key} is wrong");
                    assert!(record.flags() == u32::from(key), "{key} is wrong");
                }
                Lookup::Miss(_) => assert!(!is_whole || key >= KEYS, "{key} is missing"),
            }
        }
    }
}
