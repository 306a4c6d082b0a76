//! Writes on their way to another worker's shard, and their outcomes on the way back, in one piece of memory.

use ringcache_engine::{KeyHash, Now, Op, Outcome, Reader, Shard, Status, Store, Write, WriteRefusal};

use super::Ticket;
use crate::limits::{LOOKUP_DISTANCE, MESH_BATCH_BYTES, MESH_BATCH_WRITES};

/// Belongs to the worker that holds it; the sender gets it back with the outcomes and uses it again.
#[derive(Default)]
pub struct WriteBatch {
    /// Keys and values, one write behind the other.
    bytes: Vec<u8>,
    posted: Vec<Posted>,
    outcomes: Vec<Outcome>,
}

/// A write that another worker has executed.
pub struct Executed<'b> {
    /// Who asked for it.
    pub ticket: Ticket,
    /// Its key.
    pub key: &'b [u8],
    /// What was asked, without a value.
    pub op: &'b Op<'static>,
    /// Length of the value.
    pub value_bytes: usize,
    /// How it ended.
    pub outcome: &'b Outcome,
}

/// One write without its bytes: the key is `key_bytes` long from `at`, the value stands behind it.
struct Posted {
    ticket: Ticket,
    hash: KeyHash,
    at: usize,
    key_bytes: usize,
    value_bytes: usize,
    op: Op<'static>,
    is_noted: bool,
}

impl WriteBatch {
    /// Copies a write into the batch. `is_noted`: [`WriteBatch::executed`] tells of it.
    pub fn push(&mut self, ticket: Ticket, write: &Write<'_>, is_noted: bool) {
        let (op, value) = parted(&write.op);
        self.posted.push(Posted {
            ticket,
            hash: write.hash,
            at: self.bytes.len(),
            key_bytes: write.key.len(),
            value_bytes: value.len(),
            op,
            is_noted,
        });
        self.bytes.extend_from_slice(write.key);
        self.bytes.extend_from_slice(value);
    }

    /// Whether it should travel before it takes another write.
    pub fn is_full(&self) -> bool {
        self.posted.len() >= MESH_BATCH_WRITES || self.bytes.len() >= MESH_BATCH_BYTES
    }

    /// Executes every write, in order, and keeps the outcomes. The ways of those behind it are announced to the processor.
    /// With a refusal nothing is executed.
    pub fn apply(&mut self, shard: &mut Shard, reader: &Reader, refusal: Option<WriteRefusal>, now: Now) {
        if let Some(refusal) = refusal {
            let outcome = Outcome::bare(Status::Refused(refusal));
            return self.outcomes.resize(self.posted.len(), outcome);
        }
        for soon in self.posted.iter().take(2 * LOOKUP_DISTANCE) {
            reader.approach(soon.hash);
        }
        for (number, posted) in self.posted.iter().enumerate() {
            if let Some(later) = self.posted.get(number + 2 * LOOKUP_DISTANCE) {
                reader.approach(later.hash);
            }
            if let Some(next) = self.posted.get(number + LOOKUP_DISTANCE) {
                reader.candidate(reader.approach(next.hash), next.hash);
            }
            let key_end = posted.at + posted.key_bytes;
            let value = &self.bytes[key_end..key_end + posted.value_bytes];
            let op = match posted.op {
                Op::Store(store) => Op::Store(Store { value, ..store }),
                other => other,
            };
            let write = Write { hash: posted.hash, key: &self.bytes[posted.at..key_end], op };
            self.outcomes.push(shard.apply(&write, now));
        }
    }

    /// Keys and operations of the writes, in order; without values.
    pub fn writes(&self) -> impl Iterator<Item = (KeyHash, &Op<'static>)> {
        self.posted.iter().map(|posted| (posted.hash, &posted.op))
    }

    /// What was changed here may be lost with this node: the answers say so. Gives their number.
    pub fn mark_in_doubt(&mut self) -> u64 {
        let changed = self.outcomes.iter_mut().filter(|outcome| outcome.status.is_change());
        changed.map(|outcome| outcome.status = Status::Refused(WriteRefusal::InDoubt)).count() as u64
    }

    /// The outcomes with the sessions they belong to, in the order of the writes.
    pub fn outcomes(&self) -> impl Iterator<Item = (Ticket, &Outcome)> {
        assert_eq!(self.posted.len(), self.outcomes.len(), "a batch comes back with all its outcomes");
        self.posted.iter().map(|posted| posted.ticket).zip(&self.outcomes)
    }

    /// The writes with the sessions they belong to and their outcomes, for those who look on; without those that
    /// nobody asked for. A store's value is told by its length only.
    pub fn executed(&self) -> impl Iterator<Item = Executed<'_>> {
        let noted = self.posted.iter().zip(&self.outcomes).filter(|(posted, _)| posted.is_noted);
        noted.map(|(posted, outcome)| Executed {
            ticket: posted.ticket,
            key: &self.bytes[posted.at..posted.at + posted.key_bytes],
            op: &posted.op,
            value_bytes: posted.value_bytes,
            outcome,
        })
    }

    /// The sessions of its writes, in order.
    #[cfg(test)]
    pub fn tickets(&self) -> impl Iterator<Item = Ticket> {
        self.posted.iter().map(|posted| posted.ticket)
    }

    /// Makes it ready for other writes. The memory that a large value needed is given back.
    pub fn clear(&mut self) {
        self.posted.clear();
        self.outcomes.clear();
        self.bytes.clear();
        self.bytes.shrink_to(2 * MESH_BATCH_BYTES);
    }
}

/// Parts the value from the rest of an operation.
fn parted<'a>(op: &Op<'a>) -> (Op<'static>, &'a [u8]) {
    match *op {
        Op::Store(store) => {
            let without_value = Store {
                value: &[],
                flags: store.flags,
                expiry: store.expiry,
                mode: store.mode,
                compare: store.compare,
                explicit_cas: store.explicit_cas,
                invalidate: store.invalidate,
                vivify: store.vivify,
            };
            (Op::Store(without_value), store.value)
        }
        Op::Delete(delete) => (Op::Delete(delete), &[]),
        Op::Arithmetic(arithmetic) => (Op::Arithmetic(arithmetic), &[]),
        Op::Touch { expiry, fetches } => (Op::Touch { expiry, fetches }, &[]),
        Op::Vivify { expiry, explicit_cas } => (Op::Vivify { expiry, explicit_cas }, &[]),
        Op::Flush { at } => (Op::Flush { at }, &[]),
    }
}
