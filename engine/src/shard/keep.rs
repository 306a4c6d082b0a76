//! Keeping the books: what the next node must know of a shard, once nobody writes or reads any more.

use std::sync::atomic::Ordering;

use crate::engine::Shared;
use crate::memory::Still;
use crate::reader::{Life, life};
use crate::record::{Location, RecordView};
use crate::shard::reclaim::BATCH;
use crate::shard::{Owner, Shard};
use crate::slab::{Slab, SlabId, State};
use crate::time::{Now, Seconds};
use crate::warm::{Form, ShardBook, SlabBook};

impl Shard {
    /// The shard's book. All readers have ended. Cost: a pass over all records with a look into the index for each.
    pub(crate) fn keep(&mut self, now: Now) -> ShardBook {
        let (owner, shared) = (&mut self.owner, &*self.shared);
        owner.flush_if_due(shared, now);
        owner.let_go(shared);
        let slabs = owner.slabs.in_order().into_iter().map(|id| owner.slab_book(shared, id, now)).collect();
        ShardBook {
            position: owner.clock.latest(),
            flushed: owner.flushed(shared),
            flush_at: Some(Seconds(shared.flush_at.load(Ordering::Relaxed))).filter(|at| at.0 != 0),
            prices: owner.prices.clone(),
            slabs,
        }
    }
}

impl Owner {
    /// Ends what is under way: a walk over a slab, and the wait for readers, of whom there are none.
    fn let_go(&mut self, shared: &Shared) {
        self.job = None;
        self.followed = None;
        self.release_all(shared);
        let dead: Vec<SlabId> = self.slabs.iter().map(|(id, _)| id).collect();
        dead.into_iter().for_each(|id| self.retire_if_dead(shared, id));
        self.recycle(shared);
        // The kernel may still read from those for a slow client, so their bytes stay as they are.
        for (number, bytes) in std::mem::take(&mut self.pinned) {
            shared.pool.abandon_run(number, bytes);
        }
    }

    fn slab_book(&self, shared: &Shared, id: SlabId, now: Now) -> SlabBook {
        let slab = self.slabs.get(id);
        let offset = u64::from(slab.number.0) * shared.slab_bytes;
        let (records, living) = self.living(shared, slab, offset, now);
        SlabBook {
            number: slab.number,
            queue: slab.queue,
            class: slab.class,
            form: match slab.state {
                _ if slab.is_run() => Form::Run,
                State::Open => Form::Open,
                State::Sealed | State::Held | State::Retired => Form::Sealed,
            },
            filled: slab.filled,
            records,
            crc: crc32c::crc32c(shared.arena.still(&Still { offset, bytes: slab.filled })),
            living,
        }
    }

    /// How many records a slab has, and a bit for each that is its key's and not over.
    fn living(&self, shared: &Shared, slab: &Slab, start: u64, now: Now) -> (u32, Vec<u8>) {
        let (mut records, mut living) = (0u32, Vec::new());
        let mut at = 0;
        while at < slab.filled {
            let mut batch = [None; BATCH];
            at = self.load_batch(shared, start, at, slab.filled, &mut batch);
            for location in batch.into_iter().flatten() {
                if records.is_multiple_of(8) {
                    living.push(0);
                }
                let bit = u8::from(self.is_kept(shared, location, now)) << (records % 8);
                *living.last_mut().expect("pushed for the first of eight") |= bit;
                records += 1;
            }
        }
        (records, living)
    }

    fn is_kept(&self, shared: &Shared, location: Location, now: Now) -> bool {
        let view = RecordView::at(&shared.arena, location);
        let index = &self.part(shared).index;
        matches!(life(view, self.flushed(shared), now.seconds), Life::Alive | Life::Deleted)
            && self.index.find(index, view.hash(), |other| other == location).is_some()
    }
}
