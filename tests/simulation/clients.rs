//! The clients of a seed: what they write, and what they hear of it.

use ringcache_engine::{
    Arithmetic, Delete, Expiry, KeyHash, Op, Outcome, Seconds, Status, Store, Version, Write, WriteRefusal,
};
use ringcache_net::replication::node::Role;

use crate::network::mix;
use crate::random::Random;
use crate::tally::Seen;
use crate::world::{START_MILLIS, World};

/// A write whose answer waits for replicas.
pub enum Issued {
    Store(Vec<u8>),
    Delete(Vec<u8>, Version),
    Flush(Version),
    Other,
}

impl World {
    pub fn hear_answers(&mut self) {
        for place in 0..self.nodes.len() {
            for worker in 0..self.nodes[place].workers.len() {
                let released = std::mem::take(&mut self.nodes[place].workers[worker].released);
                for (number, outcome) in released {
                    self.hear(number as usize, &outcome);
                }
            }
        }
    }

    /// A client hears what has become of its write.
    fn hear(&mut self, number: usize, outcome: &Outcome) {
        self.report.trace = mix(self.report.trace, number as u64 ^ outcome.cas);
        if let Status::Refused(why) = outcome.status {
            let seen = if why == WriteRefusal::InDoubt { Seen::InDoubt } else { Seen::Refused };
            return self.report.tally.see(seen);
        }
        self.report.tally.see(Seen::Acknowledged);
        match &self.issued[number] {
            Issued::Store(key) if outcome.status == Status::Stored => {
                self.judge.acknowledge_store(key, Version(outcome.cas));
            }
            Issued::Delete(key, version) => self.judge.acknowledge_delete(key, *version),
            Issued::Flush(version) => self.judge.acknowledge_flush(*version),
            _ => {}
        }
    }

    /// One write of one client, whatever it is.
    pub fn write(&mut self) {
        let node = &mut self.nodes[self.primary];
        if node.paused > self.at || node.role() == Role::Replica {
            return;
        }
        let moment = node.moment(START_MILLIS + self.at.as_millis() as u64, self.at);
        let random = &mut self.random;
        let key = format!("key:{}", random.below(self.keys)).into_bytes();
        let length = if random.one_in(16) { 3_000 + random.below(9_000) } else { random.below(120) };
        let byte = random.next() as u8;
        let value: Vec<u8> = (0..length).map(|at| byte.wrapping_add(at as u8)).collect();
        let op = draw(random, &value, moment.now.seconds);
        let is_flush = matches!(op, Op::Flush { .. });
        let key = if is_flush { Vec::new() } else { key };
        let write = Write { hash: KeyHash::of(&key), key: &key, op };
        let number = self.issued.len();
        let shard = if is_flush { 0 } else { usize::from(write.hash.shard(node.plan.shards).0) };
        let before = node.workers[shard].shard.latest();
        let answer = node.write(number as u32, &write, moment);
        if let Some(Outcome { status: Status::Refused(_), .. }) = answer {
            self.issued.push(Issued::Other);
            return self.report.tally.see(Seen::Refused);
        }
        self.report.tally.see(Seen::Write);
        let latest = node.workers[shard].shard.latest();
        let flushed = node.workers[0].shard.flushed();
        self.tell(|| {
            let key = String::from_utf8_lossy(&key);
            format!("write {number}: {} {key} {length} bytes up to {}", name(&write.op), latest.0)
        });
        let issued = self.note(&write, latest, latest != before, flushed);
        self.issued.push(issued);
        if let Some(outcome) = answer {
            self.hear(number, &outcome);
        }
    }

    /// The judge takes note of a write that was taken.
    fn note(&mut self, write: &Write<'_>, latest: Version, has_changed: bool, flushed: Version) -> Issued {
        let key = write.key;
        if !key.is_empty() {
            self.judge.know(key);
        }
        match &write.op {
            // It was gone already.
            Op::Delete(_) if !has_changed => Issued::Other,
            Op::Delete(_) => {
                self.judge.note_delete(key, latest);
                Issued::Delete(key.to_vec(), latest)
            }
            Op::Flush { .. } => {
                self.report.tally.see(Seen::Flush);
                self.judge.note_flush(flushed);
                Issued::Flush(flushed)
            }
            Op::Store(store) if store.expiry == Expiry::NEVER => Issued::Store(key.to_vec()),
            Op::Arithmetic(_) => Issued::Other,
            _ => {
                self.judge.may_be_gone(key, latest);
                Issued::Other
            }
        }
    }
}

fn draw<'v>(random: &mut Random, value: &'v [u8], now: Seconds) -> Op<'v> {
    let ending = Expiry::at(Seconds(now.0 + 2 + random.below(6) as u32));
    let expiry = if random.one_in(4) { ending } else { Expiry::NEVER };
    let flags = random.below(4) as u32;
    match random.below(20) {
        0..4 => Op::Delete(Delete::default()),
        4 | 5 => Op::Touch { expiry, fetches: false },
        6 | 7 => Op::Arithmetic(Arithmetic {
            delta: 3,
            decrement: false,
            compare: None,
            explicit_cas: None,
            create: Some((Expiry::NEVER, 7)),
            expiry: None,
        }),
        8 if random.one_in(12) => Op::Flush { at: None },
        _ => Op::Store(Store::set(value, flags, expiry)),
    }
}

fn name(op: &Op<'_>) -> &'static str {
    match op {
        Op::Delete(_) => "delete",
        Op::Touch { .. } => "touch",
        Op::Arithmetic(_) => "incr",
        Op::Flush { .. } => "flush_all",
        _ => "set",
    }
}
