//! Adopting the records that an earlier node left in its memory file.
//!
//! Nothing is believed: a slab has to be bit for bit what it was, each record has to be whole, and the index is built
//! anew from the keys that are there.

use crate::engine::Shared;
use crate::hash::KeyHash;
use crate::memory::Still;
use crate::record::{Draft, Kind, Location, parse};
use crate::shard::reclaim::BATCH;
use crate::shard::{Owner, Shard};
use crate::slab::SlabId;
use crate::time::Now;
use crate::warm::{Adopted, Form, Refusal, ShardBook, SlabBook};

/// A record that was checked, and whether it was alive.
struct Found<'a> {
    draft: Draft<'a>,
    hash: KeyHash,
    location: Location,
    total: u64,
    is_alive: bool,
}

impl Shard {
    /// Takes over what the book names. After a refusal the shard must not be used. Cost: a pass over all bytes and an
    /// insertion for each record that is alive.
    pub(crate) fn adopt(&mut self, book: &ShardBook, now: Now) -> Result<Adopted, Refusal> {
        let (owner, shared) = (&mut self.owner, &*self.shared);
        owner.clock.observe(book.position);
        owner.raise_flushed(shared, book.flushed);
        owner.flush_at = book.flush_at;
        owner.prices = book.prices.clone();
        owner.part(shared).index.populate();
        let mut adopted = Adopted::default();
        for slab in &book.slabs {
            owner.adopt_slab(shared, slab, now, &mut adopted)?;
        }
        owner.flush_if_due(shared, now);
        owner.publish_sizes(shared);
        Ok(adopted)
    }
}

impl Owner {
    fn adopt_slab(
        &mut self,
        shared: &Shared,
        book: &SlabBook,
        now: Now,
        adopted: &mut Adopted,
    ) -> Result<(), Refusal> {
        let offset = u64::from(book.number.0) * shared.slab_bytes;
        let bytes = shared.arena.still(&Still { offset, bytes: book.filled });
        if crc32c::crc32c(bytes) != book.crc {
            return Err(Refusal::Slab { slab: book.number.0 });
        }
        let id = self.slabs.add(book.number, book.queue, book.class, book.run_bytes());
        shared.ids.as_slice()[book.number.0 as usize].store(id.0, std::sync::atomic::Ordering::Relaxed);
        self.slabs.get_mut(id).filled = book.filled;
        let (mut at, mut records) = (0, 0);
        while at < bytes.len() {
            let mut batch = [const { None }; BATCH];
            for found in &mut batch {
                if at == bytes.len() {
                    break;
                }
                *found = Some(self.check_record(shared, book, &bytes[at..], offset + at as u64, records)?);
                at += found.as_ref().map_or(0, |found| found.total as usize);
                records += 1;
            }
            for found in batch.iter().flatten() {
                self.adopt_record(shared, id, found, now, adopted)?;
            }
        }
        if records != book.records {
            return Err(Refusal::Contradiction("the number of records in a slab"));
        }
        if book.form == Form::Sealed {
            self.slabs.seal(book.queue, book.class);
        }
        self.retire_if_dead(shared, id);
        Ok(())
    }

    /// The record at the start of `bytes`, whose index line is being loaded from here on.
    fn check_record<'a>(
        &self,
        shared: &Shared,
        book: &SlabBook,
        bytes: &'a [u8],
        offset: u64,
        record: u32,
    ) -> Result<Found<'a>, Refusal> {
        if record >= book.records {
            return Err(Refusal::Contradiction("the number of records in a slab"));
        }
        let received = parse(bytes).map_err(|reason| Refusal::Record { slab: book.number.0, reason })?;
        let hash = KeyHash::of(received.draft.key);
        self.part(shared).index.prefetch(hash);
        Ok(Found {
            draft: received.draft,
            hash,
            location: Location::from_offset(offset),
            total: received.total as u64,
            is_alive: book.is_alive(record),
        })
    }

    fn adopt_record(
        &mut self,
        shared: &Shared,
        id: SlabId,
        found: &Found<'_>,
        now: Now,
        adopted: &mut Adopted,
    ) -> Result<(), Refusal> {
        let Found { draft, hash, location, total, is_alive } = found;
        let slab = self.slabs.get_mut(id);
        slab.version_max = slab.version_max.max(draft.version);
        slab.expiry.include(draft.expiry);
        if !is_alive {
            return Ok(());
        }
        if !matches!(draft.kind, Kind::Value | Kind::Tombstone)
            || hash.shard(shared.options.shards) != self.id
        {
            return Err(Refusal::Contradiction("a living record where none can be"));
        }
        if draft.version <= self.flushed(shared) || draft.expiry.is_past(now.seconds) {
            adopted.expired += 1;
            return Ok(());
        }
        if self.find(shared, *hash, draft.key).is_some() {
            return Err(Refusal::Contradiction("a key that is there twice"));
        }
        self.slabs.get_mut(id).live += total;
        let counters = &self.part(shared).counters;
        counters.bytes.add(*total);
        counters.total_items.add(1);
        if draft.kind == Kind::Tombstone {
            counters.tombstones.add(1);
        }
        adopted.records += 1;
        adopted.bytes += total;
        // Where no line is free and none can be made, one record less is there; it is counted as evicted.
        let _ = self.insert(shared, *hash, *location);
        Ok(())
    }
}
