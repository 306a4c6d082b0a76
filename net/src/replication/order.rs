//! What a link asks of the shards of this node, one of which is its own worker's.

use ringcache_engine::{CopyMark, Installed, Now, Part, RecordError, Shard, SweepCursor, Version};

use super::follow::Manner;
use crate::limits::TURN_BUDGET_LOW;
use crate::mesh::Ticket;

/// Work for the owner of a shard. It travels there in a box and comes back when it is done.
pub struct Order {
    /// The link that asks.
    pub ticket: Ticket,
    /// What the link knows it by.
    pub sequence: u64,
    task: Task,
    /// Records that found no memory.
    pub no_memory: u64,
    /// Records that were damaged before they were sent.
    pub damaged: u64,
}

/// What is to be done.
pub enum Task {
    /// Install whole records, one behind the other.
    Install {
        /// Their wire bytes.
        records: Vec<u8>,
        /// How far it is done.
        at: usize,
        /// Which one wins.
        manner: Manner,
    },
    /// Prepare for a full copy.
    BeginCopy {
        /// Its mark.
        mark: CopyMark,
        /// What its authority has flushed.
        flushed: Version,
    },
    /// Take out what a full copy has not confirmed.
    Sweep {
        /// Whose keys.
        part: Part,
        /// Its mark.
        mark: CopyMark,
        /// What it is a copy of.
        position: Version,
        /// How far it is done.
        cursor: SweepCursor,
    },
}

impl Order {
    /// For the link of `ticket`.
    pub fn new(ticket: Ticket, sequence: u64, task: Task) -> Box<Self> {
        Box::new(Self { ticket, sequence, task, no_memory: 0, damaged: 0 })
    }

    /// Goes on as far as this turn allows; true when it is done.
    pub fn run(&mut self, shard: &mut Shard, now: Now) -> bool {
        match &mut self.task {
            Task::BeginCopy { mark, flushed } => {
                shard.begin_copy(*mark, *flushed);
                true
            }
            Task::Sweep { part, mark, position, cursor } => {
                // Who stands below that position at the same history has not seen what the copy left out.
                shard.rise_above(*position);
                shard.sweep_unmarked(cursor, *mark, *part)
            }
            Task::Install { records, at, manner } => {
                while *at < records.len() {
                    if !has_room(shard) {
                        return false;
                    }
                    match install(shard, &records[*at..], *manner, now) {
                        Ok((installed, total)) => {
                            self.no_memory += u64::from(installed == Installed::NoMemory);
                            *at += total;
                        }
                        // The link's worker has found every record's end before it sent them here.
                        Err(_) => {
                            self.damaged += 1;
                            *at += ringcache_engine::record_bytes(&records[*at..])
                                .expect("whole records were sent");
                        }
                    }
                }
                true
            }
        }
    }
}

/// Whether more records may be installed in this turn.
pub fn has_room(shard: &Shard) -> bool {
    shard.turn_budget() >= TURN_BUDGET_LOW
}

/// Installs the record at the front of `bytes`.
pub fn install(
    shard: &mut Shard,
    bytes: &[u8],
    manner: Manner,
    now: Now,
) -> Result<(Installed, usize), RecordError> {
    match manner {
        Manner::Newer => shard.install(bytes, now),
        Manner::Copied(mark) => shard.install_copied(bytes, now, mark),
    }
}
