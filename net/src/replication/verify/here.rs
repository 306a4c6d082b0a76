//! This node's side of a comparison: its workers are asked by errands, one bounded step at a time.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use ringcache_engine::{Cut, KeyHash, Now, RecordDigest, ShardId, SlotCursor, SlotDigests, SlotSet, Version};

use super::{Side, Stand, Tell, VerifyError};
use crate::errand::{Desk, Errands};
use crate::limits::VERIFY_LIST_RECORDS_MAX;
use crate::node::Node;
use crate::replication::node::{Entry, Replication};

/// Keys that one step looks at: a record each, in any place.
const KEYS_PER_STEP: usize = 1024;

/// This node.
#[derive(Clone)]
pub struct Here {
    /// What all workers share.
    pub node: Arc<Node>,
    /// And what it knows of others.
    pub replication: Arc<Replication>,
    /// The ways to the workers.
    pub errands: Errands,
}

impl Side for Here {
    fn stand(&mut self) -> Result<Stand, VerifyError> {
        let stands = self.errands.run_on_all(|desk| (desk.shard.latest(), desk.shard.flushed()))?;
        let stats: Vec<_> =
            (0..self.errands.workers()).map(|id| self.node.engine.stats(ShardId(id))).collect();
        Ok(Stand {
            node: self.replication.node,
            positions: stands.iter().map(|(latest, _)| *latest).collect(),
            follows: self.follows(),
            flushed: stands.iter().map(|(_, flushed)| *flushed).max().unwrap_or_default(),
            seconds: Now::from_unix_millis(self.node.clock.unix_millis()).seconds,
            lost: stats.iter().map(|shard| shard.evictions + shard.no_memory).sum(),
            records: stats.iter().map(|shard| shard.items).sum(),
        })
    }

    fn digests(&mut self, cut: &Cut, tell: Tell<'_>) -> Result<SlotDigests, VerifyError> {
        let cut = Arc::new(cut.clone());
        let mut all = SlotDigests::default();
        for shard in 0..self.errands.workers() {
            let (mut cursor, mut digests, mut is_done) = (SlotCursor::all(), SlotDigests::default(), false);
            while !is_done {
                let cut = Arc::clone(&cut);
                let step = move |desk: &mut Desk<'_>| {
                    let is_done = desk.shard.digest_step(&mut cursor, &mut digests, &cut, desk.now);
                    (cursor, digests, is_done)
                };
                (cursor, digests, is_done) = self.errands.run_on(shard, step)?;
                tell(all.records() + digests.records())?;
            }
            all.merge(&digests);
        }
        Ok(all)
    }

    fn list(&mut self, slots: &SlotSet) -> Result<Vec<RecordDigest>, VerifyError> {
        let slots = Arc::new(slots.clone());
        let mut all = Vec::new();
        for shard in 0..self.errands.workers() {
            let (mut cursor, mut is_done) = (SlotCursor::all(), false);
            while !is_done {
                let slots = Arc::clone(&slots);
                let step = move |desk: &mut Desk<'_>| {
                    let is_done = desk.shard.slot_list(&mut cursor, &slots, desk.now, &mut all);
                    (cursor, all, is_done)
                };
                (cursor, all, is_done) = self.errands.run_on(shard, step)?;
                if all.len() > VERIFY_LIST_RECORDS_MAX {
                    return Err(VerifyError::TooMany);
                }
            }
        }
        Ok(all)
    }

    fn look(&mut self, hashes: &[KeyHash]) -> Result<Vec<RecordDigest>, VerifyError> {
        let shards = self.errands.workers();
        let mut by_shard = vec![Vec::new(); usize::from(shards)];
        hashes.iter().for_each(|hash| by_shard[usize::from(hash.shard(shards).0)].push(*hash));
        let mut all = Vec::new();
        for (shard, hashes) in (0..).zip(by_shard) {
            for some in hashes.chunks(KEYS_PER_STEP) {
                let some = some.to_vec();
                let step = move |desk: &mut Desk<'_>| {
                    desk.shard.look(&some, desk.now, &mut all);
                    all
                };
                all = self.errands.run_on(shard, step)?;
            }
        }
        Ok(all)
    }
}

impl Here {
    /// Whom this node follows, and how far each shard of theirs is applied.
    fn follows(&self) -> Vec<(u128, Vec<Version>)> {
        let mut follows: Vec<(u128, Vec<Version>)> = Vec::new();
        for entry in self.replication.entries() {
            let Entry::Follow { node, shard, tally, .. } = entry else { continue };
            let place = follows.iter().position(|(followed, _)| *followed == node).unwrap_or_else(|| {
                follows.push((node, Vec::new()));
                follows.len() - 1
            });
            let (applied, shard) = (&mut follows[place].1, usize::from(shard));
            applied.resize(applied.len().max(shard + 1), Version::ZERO);
            applied[shard] = Version(tally.position.load(Ordering::Relaxed));
        }
        follows
    }
}
