//! Adopting the records that an earlier node left in its memory file.
//!
//! Nothing is believed: a slab has to be bit for bit what it was, each record has to be whole, and the index is built
//! anew from the keys that are there.

use std::sync::atomic::Ordering;

use crate::copy::Marks;
use crate::engine::Shared;
use crate::hash::KeyHash;
use crate::install::Installed;
use crate::record::{Draft, Kind, Location, Received, RecordView, parse_verified};
use crate::shard::{Owner, Shard};
use crate::slab::SlabId;
use crate::time::Now;
use crate::version::Version;
use crate::warm::{Adopted, Form, Refusal, ShardBook, SlabBook};

/// Records whose index lines are loaded together.
const BATCH: usize = 32;

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
        owner.clock.observe(book.position.max(book.flushed));
        owner.raise_flushed(shared, book.flushed);
        shared.flush_at.store(book.flush_at.map_or(0, |at| at.0), Ordering::Relaxed);
        owner.prices = book.prices.clone();
        owner.begin_after(book.position);
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

impl Shard {
    /// Goes on with the clock and the flushes of former shards, whichever they were.
    pub(crate) fn continue_from(&mut self, books: &[ShardBook], now: Now) {
        let (owner, shared) = (&mut self.owner, &*self.shared);
        books.iter().for_each(|book| owner.clock.observe(book.position.max(book.flushed)));
        // What a former shard shows is alive there; a later flush of another one must not hide it.
        let flushed = books.iter().map(|book| book.flushed).min();
        owner.raise_flushed(shared, flushed.unwrap_or(Version::ZERO));
        let flush_at = books.iter().filter_map(|book| book.flush_at).min();
        shared.flush_at.store(flush_at.map_or(0, |at| at.0), Ordering::Relaxed);
        owner.begin_after(owner.clock.latest());
        owner.flush_if_due(shared, now);
    }

    /// Installs the records of former slabs that are alive and belong here. The slabs were verified.
    pub(crate) fn install_slabs(
        &mut self,
        slabs: &[&SlabBook],
        slab_bytes: u64,
        now: Now,
    ) -> Result<Adopted, Refusal> {
        let (owner, shared) = (&mut self.owner, &*self.shared);
        let mut adopted = Adopted::default();
        for slab in slabs {
            let bytes = slab.bytes(&shared.arena, slab_bytes);
            let (mut at, mut record) = (0, 0);
            while at < bytes.len() && record < slab.records {
                let received = parse_verified(&bytes[at..]);
                let received = received.map_err(|reason| Refusal::Record { slab: slab.number.0, reason })?;
                if slab.is_alive(record) {
                    adopted = adopted.plus(owner.install_former(shared, &received, now)?);
                }
                at += received.total;
                record += 1;
            }
        }
        owner.publish_sizes(shared);
        Ok(adopted)
    }
}

impl Owner {
    /// Who followed a former shard may have any position up to its last one, and nobody knows what its log had lost.
    fn begin_after(&mut self, position: Version) {
        self.given = position;
        self.forget(position);
        self.marks = Marks::ALL;
    }

    fn install_former(
        &mut self,
        shared: &Shared,
        received: &Received<'_>,
        now: Now,
    ) -> Result<Adopted, Refusal> {
        if !matches!(received.draft.kind, Kind::Value | Kind::Tombstone) {
            return Err(Refusal::Contradiction("a living record that is none"));
        }
        self.check_version(received.draft.version)?;
        let nothing = Adopted::default();
        Ok(match self.install_value(shared, &received.draft, None, now) {
            Installed::Applied => Adopted { records: 1, bytes: received.total as u64, ..nothing },
            Installed::Expired => Adopted { expired: 1, ..nothing },
            Installed::NoMemory => Adopted { lost: 1, ..nothing },
            Installed::Older | Installed::ElsewhereHere(_) => nothing,
        })
    }

    /// Every version of a former node is at or below where its clock stood, which this one's has observed.
    fn check_version(&self, version: Version) -> Result<(), Refusal> {
        let is_later = version > self.clock.latest();
        if is_later { Err(Refusal::Contradiction("a record of a later time")) } else { Ok(()) }
    }

    fn adopt_slab(
        &mut self,
        shared: &Shared,
        book: &SlabBook,
        now: Now,
        adopted: &mut Adopted,
    ) -> Result<(), Refusal> {
        let offset = u64::from(book.number.0) * shared.slab_bytes;
        let bytes = book.verify(&shared.arena, shared.slab_bytes)?;
        // What will be written behind its records must have its room, also in a copy of the file.
        if book.form == Form::Open && !shared.arena.commit(offset, shared.slab_bytes) {
            return Err(Refusal::Mapping(offset + shared.slab_bytes));
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
        let received =
            parse_verified(bytes).map_err(|reason| Refusal::Record { slab: book.number.0, reason })?;
        // Who sends from a slab relies on large records having a run.
        if book.form != Form::Run && received.total as u64 > shared.run_bytes_min {
            return Err(Refusal::Contradiction("a large record in a slab"));
        }
        self.check_version(received.draft.version)?;
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
        self.slabs.get_mut(id).live += total;
        let counters = &self.part(shared).counters;
        counters.bytes.add(*total);
        counters.total_items.add(1);
        if draft.kind == Kind::Tombstone {
            counters.tombstones.add(1);
        }
        adopted.records += 1;
        adopted.bytes += total;
        let read = |location| RecordView::at(&shared.arena, location).hash();
        if self.index.insert(&self.part(shared).index, *hash, *location, read).is_err() {
            // Where no line is free and none can be made, one record less is there; it is counted as evicted.
            let _ = self.insert(shared, *hash, *location, now);
        }
        Ok(())
    }
}
