//! What replicas mean for writes: when those of this worker's shard are answered.

use ringcache_engine::{ShardId, Status, Version, WriteRefusal};

use crate::mesh::Message;
use crate::mesh::batch::WriteBatch;
use crate::replication::held::Waiting;
use crate::replication::liveness::Moment;
use crate::worker::{Local, Worker};

impl Worker {
    /// Lets the answers go that have waited for replicas.
    pub(super) fn release_held(&mut self, moment: Moment) {
        while let Some(held) = self.local.held.as_mut().filter(|held| !held.is_empty()) {
            let position = self.links.as_mut().expect("the caller has looked").answerable();
            let Some((waiting, in_doubt)) = held.release(position, moment) else { return };
            match waiting {
                Waiting::Own(ticket, mut outcome) => {
                    if in_doubt {
                        self.local.counters().writes_in_doubt.add(1);
                        outcome.status = Status::Refused(WriteRefusal::InDoubt);
                    }
                    self.handle_outcome(ticket, ShardId(self.local.number), &outcome);
                }
                Waiting::Batch(worker, mut batch) => {
                    if in_doubt {
                        let writes = batch.mark_in_doubt();
                        self.local.counters().writes_in_doubt.add(writes);
                    }
                    self.local.outbox.send(worker, Message::Outcomes(batch));
                }
            }
        }
    }

    /// Executes another worker's writes, and holds their outcomes where replicas have to have them first.
    pub(in crate::worker) fn handle_writes(&mut self, worker: u16, mut batch: Box<WriteBatch>) {
        if self.local.gate.is_some() {
            self.local.counters().writes_refused.add(batch.writes().count() as u64);
        }
        let Local { shard, reader, outbox, gate, held, warming, now, at, .. } = &mut self.local;
        if let Some(warming) = warming {
            batch.writes().for_each(|(hash, op)| warming.written.note(hash, op));
        }
        let before = if held.is_some() { shard.latest() } else { Version::ZERO };
        batch.apply(shard, reader, *gate, *now);
        match held {
            // Batches go back in the order in which they came, so one that changed nothing waits for those before it.
            Some(held) if shard.latest() != before || !held.is_empty() => {
                held.hold(shard.latest(), Waiting::Batch(worker, batch), *at);
            }
            _ => outbox.send(worker, Message::Outcomes(batch)),
        }
    }
}
