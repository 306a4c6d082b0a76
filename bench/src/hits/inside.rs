//! A replay inside this process: against the engine alone, or against an ideal cache that spends a fixed number of bytes on
//! each record and loses none to anything else. Seconds instead of minutes, and the trace's own time.

use ringcache_engine::{
    Delete, Engine, EngineOptions, Expiry, KeyHash, Lookup, Now, Op, Reader, Seconds, Shard, Store, Write,
};

use crate::error::BenchError;
use crate::hits::Held;
use crate::hits::ideal::Ideal;
use crate::hits::requests::{Action, Replay, Request};

/// Replays against the engine.
pub fn replay_engine(replay: &Replay, memory_bytes: u64, shards: u16) -> Result<Held, BenchError> {
    let options = EngineOptions { memory_bytes, shards, ..EngineOptions::default() };
    let (engine, shards) =
        Engine::open(&options, 1).map_err(|error| BenchError::Usage(format!("the engine: {error}")))?;
    let mut node = Node { reader: engine.reader(), shards, key: Vec::new() };
    let mut held = Held::default();
    for (at, request) in replay.requests.iter().enumerate() {
        let now = now(replay, at);
        node.request(replay, request, now, &mut held);
        if at % REQUESTS_PER_TURN == 0 {
            node.end_turn(now);
        }
    }
    held.records = node.shards.iter().map(|shard| engine.stats(shard.id()).items).sum();
    Ok(held)
}

/// Replays against an ideal cache.
pub fn replay_ideal(replay: &Replay, mut cache: impl Ideal) -> Held {
    let mut held = Held::default();
    let mut key = Vec::new();
    for (at, request) in replay.requests.iter().enumerate() {
        key.clear();
        replay.append_key(request.key, &mut key);
        let now = now(replay, at).seconds.0;
        let bytes = (key.len() + request.value_bytes as usize) as u64 + IDEAL_OVERHEAD_BYTES;
        let end = if request.ttl_seconds == 0 { u32::MAX } else { now + request.ttl_seconds };
        match request.action {
            Action::Get => {
                held.gets += 1;
                if !cache.get(request.key, now) {
                    held.misses += 1;
                    cache.set(request.key, bytes, end);
                }
            }
            Action::Set => cache.set(request.key, bytes, end),
            Action::Delete => cache.delete(request.key),
        }
    }
    held.records = cache.records();
    held
}

/// The engine, used as a worker uses it.
struct Node {
    reader: Reader,
    shards: Vec<Shard>,
    key: Vec<u8>,
}

impl Node {
    fn request(&mut self, replay: &Replay, request: &Request, now: Now, held: &mut Held) {
        self.key.clear();
        replay.append_key(request.key, &mut self.key);
        let hash = KeyHash::of(&self.key);
        match request.action {
            Action::Get => {
                held.gets += 1;
                if let Lookup::Hit(record) = self.reader.get(hash, &self.key, now) {
                    record.mark_access(now.seconds);
                } else {
                    held.misses += 1;
                    self.set(hash, request, now, held);
                }
            }
            Action::Set => self.set(hash, request, now, held),
            Action::Delete => self.apply(hash, Op::Delete(Delete::default()), now, held),
        }
    }

    fn set(&mut self, hash: KeyHash, request: &Request, now: Now, held: &mut Held) {
        let expiry = match request.ttl_seconds {
            0 => Expiry::NEVER,
            seconds => Expiry::at(Seconds(now.seconds.0 + seconds)),
        };
        let value = &VALUE[..request.value_bytes as usize];
        self.apply(hash, Op::Store(Store::set(value, 0, expiry)), now, held);
    }

    fn end_turn(&mut self, now: Now) {
        for shard in &mut self.shards {
            shard.maintain(now);
        }
        self.reader.end_turn();
    }

    /// As the worker does it: a turn ends before memory that waits for readers runs short.
    fn apply(&mut self, hash: KeyHash, op: Op<'_>, now: Now, held: &mut Held) {
        let owner = usize::from(hash.shard(self.shards.len() as u16).0);
        if self.shards[owner].turn_budget() < VALUE.len() as u64 {
            self.end_turn(now);
        }
        let outcome = self.shards[owner].apply(&Write { hash, key: &self.key, op }, now);
        held.refused += u64::from(outcome.status == ringcache_engine::Status::NoMemory);
    }
}

fn now(replay: &Replay, at: usize) -> Now {
    let rate = replay.rate.unwrap_or(RATE_WITHOUT_TIME);
    Now::from_unix_millis(START_MILLIS + (at as f64 / rate * 1000.0) as u64)
}

/// Header and index of a record, as budgeted.
const IDEAL_OVERHEAD_BYTES: u64 = 44;
const REQUESTS_PER_TURN: usize = 16;
/// Requests per second of a trace that has no time of its own: about what a server answers.
const RATE_WITHOUT_TIME: f64 = 200_000.0;
const START_MILLIS: u64 = 1_800_000_000_000;
static VALUE: [u8; 1 << 20] = [b'v'; 1 << 20];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clusters::Cluster;
    use crate::hits::ideal::{Lru, S3Fifo};

    /// Goal: where everything fits, all three miss the same requests: the first of each key, and the expired.
    #[test]
    fn with_room_for_everything_only_first_requests_miss() {
        let mut replay = Replay::from_cluster(Cluster::find(4).unwrap(), 500, 20_000);
        replay.requests.iter_mut().for_each(|request| {
            request.ttl_seconds = 0;
            request.action = Action::Get;
        });
        let (keys, _) = replay.footprint();
        let memory = 64 << 20;
        for held in [
            replay_engine(&replay, memory, 2).unwrap(),
            replay_ideal(&replay, Lru::new(memory)),
            replay_ideal(&replay, S3Fifo::new(memory)),
        ] {
            assert_eq!((held.gets, held.misses, held.records, held.refused), (20_000, keys, keys, 0));
        }
    }

    #[test]
    fn expired_records_miss() {
        let mut replay = Replay::from_cluster(Cluster::find(35).unwrap(), 1, 3060 * 200);
        replay.requests.iter_mut().for_each(|request| request.action = Action::Get);
        let misses = replay_engine(&replay, 64 << 20, 1).unwrap().misses;
        assert_eq!(misses, 4, "200 seconds of one key that lives for 60");
        assert_eq!(replay_ideal(&replay, Lru::new(64 << 20)).misses, 4);
    }
}
