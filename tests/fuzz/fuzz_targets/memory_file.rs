//! Any books beside a small memory file: nothing panics, whatever they say, and where nobody forged a checksum a node
//! begins with exactly what was left, or with nothing.

#![no_main]

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use libfuzzer_sys::fuzz_target;
use ringcache_engine::{
    Beginning, Engine, EngineOptions, Expiry, KeyHash, Lookup, MemoryFile, Now, Op, Reader, Shard, Store,
    Write,
};

const START_MILLIS: u64 = 1_800_000_000_000;
const KEYS: u8 = 40;
const SLAB_BYTES: u64 = 4096;
/// Where the parts of the books stand that a forger has to make fit again.
const LENGTH_AT: usize = 16;
const CRC_AT: usize = 24;
const COVERED_FROM: usize = 28;
const FREE_AT: usize = 56;
/// Lists of free space before the ranges: warm, cold, and runs of each class.
const FREE_LISTS: usize = 2 + 24;

fuzz_target!(|data: &[u8]| {
    let Some((&mode, data)) = data.split_first() else { return };
    let (file, books) = left();
    let options = options(1 + u16::from(mode >> 4 & 1));
    match mode % 4 {
        0 => {
            let (node, beginning) = Node::begin(&options, file, data);
            assert!(!matches!(beginning, Beginning::Adopted(_)) || data == books, "{beginning:?}");
            node.check();
        }
        1 => {
            let damaged = changed(&books, data);
            let (node, _) = Node::begin(&options, file, &damaged);
            node.check();
        }
        2 => {
            change_file(&file, data);
            let (node, _) = Node::begin(&options, file, &books);
            node.check();
        }
        _ => {
            change_file(&file, &data[data.len() / 2..]);
            let forged = forged(changed(&books, &data[..data.len() / 2]), &file);
            Node::begin(&options, file, &forged).0.exercise();
        }
    }
});

fn options(shards: u16) -> EngineOptions {
    EngineOptions {
        memory_bytes: 1 << 20,
        shards,
        item_bytes_max: 1 << 16,
        slab_bytes: Some(SLAB_BYTES as u32),
        ..EngineOptions::default()
    }
}

fn file() -> File {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let name = format!("ringcache-fuzz-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let memory = Path::new("/dev/shm");
    let path = if memory.is_dir() { memory.join(name) } else { std::env::temp_dir().join(name) };
    let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path).expect("writable");
    std::fs::remove_file(&path).expect("it is there");
    file
}

/// A memory file with some records, and its books.
fn left() -> (File, Vec<u8>) {
    let file = file();
    let (mut node, _) = Node::begin(&options(1), file.try_clone().expect("a descriptor"), b"");
    for round in 0..2 {
        for key in (0..KEYS).filter(|key| round == 0 || key % 3 == 0) {
            node.set(key);
        }
    }
    for key in (0..KEYS).filter(|key| key % 5 == 0) {
        node.delete(key);
    }
    drop(node.reader);
    let books = node.engine.keep(node.shards, node.now).expect("the file is writable");
    (file, books)
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

/// The same in the slabs of the file.
fn change_file(file: &File, data: &[u8]) {
    for change in data.chunks_exact(3) {
        let place = SLAB_BYTES + u64::from(u16::from_le_bytes([change[0], change[1]])) % (20 * SLAB_BYTES);
        let mut byte = [0];
        file.read_exact_at(&mut byte, place).expect("inside");
        file.write_all_at(&[byte[0] ^ change[2]], place).expect("inside");
    }
}

/// Makes the checksums fit what they cover: of the slabs as far as they can be found, and of the books.
fn forged(mut books: Vec<u8>, file: &File) -> Vec<u8> {
    for (crc_at, offset, bytes) in slabs(&books) {
        let mut slab = vec![0; bytes];
        if file.read_exact_at(&mut slab, offset).is_ok() {
            books[crc_at..crc_at + 4].copy_from_slice(&crc32c(&slab).to_le_bytes());
        }
    }
    let length = books.len() as u64;
    books[LENGTH_AT..CRC_AT].copy_from_slice(&length.to_le_bytes());
    let crc = crc32c(&books[COVERED_FROM..]);
    books[CRC_AT..COVERED_FROM].copy_from_slice(&crc.to_le_bytes());
    books
}

/// Where each slab's checksum is, and what it covers. Ends where the books make no sense.
fn slabs(books: &[u8]) -> Vec<(usize, u64, usize)> {
    let word = |at: usize| {
        let bytes = books.get(at..at + 4)?;
        Some(u32::from_le_bytes(bytes.try_into().expect("four bytes")) as usize)
    };
    let mut slabs = Vec::new();
    let mut find = || {
        let mut at = FREE_AT;
        for _ in 0..FREE_LISTS {
            at = at.checked_add(word(at)?.checked_mul(4)?)?.checked_add(4)?;
        }
        at = at.checked_add(word(at)?.checked_mul(8)?)?.checked_add(4)?;
        // One shard: position, flushed, flush, prices.
        at = at.checked_add(16 + 4 + 24)?;
        let count = word(at)?;
        at += 4;
        for _ in 0..count {
            let (number, filled, records) = (word(at)? as u64, word(at + 8)?, word(at + 16)?);
            if filled > 1 << 16 {
                return None;
            }
            word(at + 20)?;
            slabs.push((at + 20, number * SLAB_BYTES, filled));
            at = at.checked_add(24 + records.div_ceil(8))?;
        }
        Some(())
    };
    let _ = find();
    slabs
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
    engine: Engine,
    reader: Reader,
    shards: Vec<Shard>,
    now: Now,
}

impl Node {
    fn begin(options: &EngineOptions, file: File, books: &[u8]) -> (Self, Beginning) {
        let memory = MemoryFile { file: file.into(), identity: [1; 16] };
        let now = Now::from_unix_millis(START_MILLIS);
        let (engine, shards, beginning) =
            Engine::open_in_file(options, 1, memory, Some(books), now).expect("the memory is enough");
        let reader = engine.reader();
        (Self { engine, reader, shards, now }, beginning)
    }

    fn apply(&mut self, key: u8, op: Op<'_>) {
        let key = &[b'k', key];
        let hash = KeyHash::of(key);
        let shard = usize::from(hash.shard(self.shards.len() as u16).0);
        self.shards[shard].apply(&Write { hash, key, op }, self.now);
        self.reader.end_turn();
    }

    fn set(&mut self, key: u8) {
        self.apply(key, Op::Store(Store::set(&value(key), u32::from(key), Expiry::NEVER)));
    }

    fn delete(&mut self, key: u8) {
        self.apply(key, Op::Delete(ringcache_engine::Delete::default()));
    }

    /// What is shown is what was stored.
    fn check(&self) {
        for key in 0..=u8::MAX {
            let name = &[b'k', key];
            if let Lookup::Hit(record) = self.reader.get(KeyHash::of(name), name, self.now) {
                assert!(key < KEYS && key % 5 != 0, "{key} should be gone");
                assert!(record.value() == value(key) && record.flags() == u32::from(key), "{key} is wrong");
            }
        }
    }

    /// Whatever was adopted, the engine goes on with it.
    fn exercise(mut self) {
        for round in 0..3u8 {
            for key in 0..=u8::MAX {
                let name = &[b'k', key];
                if let Lookup::Hit(record) = self.reader.get(KeyHash::of(name), name, self.now) {
                    std::hint::black_box((record.value().len(), record.cas(), record.expiry()));
                }
                self.reader.end_turn();
                if key % 4 == round {
                    self.set(key);
                }
            }
            self.now = Now::from_unix_millis(self.now.unix_millis + 2_000);
            let now = self.now;
            self.shards.iter_mut().for_each(|shard| {
                shard.maintain(now);
            });
        }
        drop(self.reader);
        self.engine.keep(self.shards, self.now).expect("the file is writable");
    }
}
