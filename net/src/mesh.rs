//! Writes to other workers' shards and their answers.
//!
//! One bounded single-producer single-consumer queue per ordered pair of workers; a message is a whole batch,
//! and a batch goes back to its sender with its outcomes filled in, so that nothing is allocated on the way.

use ringcache_engine::{ShardId, Write};

/// Names a session on its worker. The generation tells a reused place from its former session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// Place in the worker's table of connections.
    pub connection: u32,
    /// How often that place was used.
    pub generation: u32,
}

/// The sending end of a worker towards all others.
pub struct Outbox {
    _private: (),
}

impl Outbox {
    /// Copies the write into the batch for `shard`. Never fails: past a full batch or queue it is kept here until
    /// the queue has room; sessions are held back by their own bound (`SESSION_WRITES_WAITING_MAX`).
    pub fn push(&mut self, _shard: ShardId, _ticket: Ticket, _write: &Write<'_>) {
        unreachable!()
    }
}
