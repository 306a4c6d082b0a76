//! What the micro-benchmarks and `ringcount` measure: an engine and a session, filled and without sockets.
//!
//! Both are the real ones; only the ring and the other workers are missing. Every sequence of keys is fixed, so two
//! runs execute the same instructions.

mod engine;
pub mod protocol;
mod session;

pub use engine::FilledEngine;
pub use session::LoneSession;

/// Length of every value stored here.
pub const VALUE_BYTES: usize = 100;
/// How many keys or requests are measured together: what a client with 16 open requests sends at once.
pub const BATCH: usize = 16;

const VALUE: [u8; VALUE_BYTES] = [b'v'; VALUE_BYTES];

/// The 14 bytes of a numbered key.
pub fn key(number: u64) -> [u8; 14] {
    let mut key = *b"key:0000000000";
    let mut rest = number;
    for digit in key[4..].iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    key
}

/// A node with one shard and `memory_bytes` of memory.
fn open(memory_bytes: u64) -> (ringcache_engine::Engine, ringcache_engine::Shard) {
    let options = ringcache_engine::EngineOptions { memory_bytes, ..Default::default() };
    let (engine, mut shards) = ringcache_engine::Engine::open(&options, 1).expect("the memory can be mapped");
    (engine, shards.pop().expect("one shard was asked for"))
}

/// The time in here, which never passes.
const NOW_MILLIS: u64 = 1_800_000_000_000;
