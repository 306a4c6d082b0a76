//! The node's memory budget: which part of the mapping is whose, and how much of `-m` is taken.
//!
//! The mapping is many times larger than `-m`, because address space is free and contiguous runs must always be
//! found; what `-m` limits is the bytes in use. Memory that was retired and waits for readers no longer counts as
//! used: its successor may be written before the readers have passed, so for the length of a turn a little more
//! than `-m` can be resident. When the wait is over, what exceeds the limit is given back to the kernel.
//!
//! ```text
//! slab  cold --take--> used --retire--> waiting --passed--> warm --take--> used
//!        ^                                  |                 |
//!        +---------- given back ------------+-----------------+
//! ```
//!
//! One lock, taken once per slab (64 KiB to 1 MiB of records), run or index table; never per request.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};

use crate::memory::{Arena, PAGE_BYTES, Vacant};

/// Classes of runs: powers of two of slabs, up to the largest item.
pub(crate) const RUN_CLASSES: usize = 24;

/// Number of a slab in the mapping. Slab 0 is never handed out, so that no location is zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SlabNumber(pub(crate) u32);

/// Slabs and runs that nobody has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FreeSpace {
    /// Resident and free.
    pub(crate) warm: Vec<u32>,
    /// Free, nothing resident.
    pub(crate) cold: Vec<u32>,
    /// Runs by class; nothing resident.
    pub(crate) runs: [Vec<u32>; RUN_CLASSES],
    /// Slabs that were never used: the ends of the mapping that are left.
    pub(crate) fresh: Vec<Range<u32>>,
}

/// The lists, under the lock.
struct Lists {
    free: FreeSpace,
    /// Bytes resident: used, waiting and warm.
    resident: u64,
}

/// Shared by all shards.
pub(crate) struct Pool {
    slab_bytes: u64,
    limit: AtomicU64,
    used: AtomicU64,
    /// Bytes that some shard could not find among its own slabs; the others make room for them.
    demand: AtomicU64,
    lists: Mutex<Lists>,
}

impl Pool {
    /// A pool with `limit` bytes to give and the slabs of `free` to give them in. Tables, slabs and runs that have an
    /// owner already take `used` bytes.
    pub(crate) fn new(slab_bytes: u64, limit: u64, free: FreeSpace, used: u64) -> Self {
        let resident = used + free.warm.len() as u64 * slab_bytes;
        Self {
            slab_bytes,
            limit: AtomicU64::new(limit),
            used: AtomicU64::new(used),
            demand: AtomicU64::new(0),
            lists: Mutex::new(Lists { free, resident }),
        }
    }

    /// What nobody has at this moment.
    pub(crate) fn free_space(&self) -> FreeSpace {
        self.lists().free.clone()
    }

    fn lists(&self) -> MutexGuard<'_, Lists> {
        self.lists.lock().expect("a panic ends the process before another worker gets here")
    }

    pub(crate) fn limit(&self) -> u64 {
        self.limit.load(Ordering::Relaxed)
    }

    pub(crate) fn set_limit(&self, bytes: u64) {
        self.limit.store(bytes, Ordering::Relaxed);
    }

    /// Bytes in use by slabs, runs and index tables.
    pub(crate) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// Bytes that are still to give; zero when the limit was lowered below what is used.
    pub(crate) fn left(&self) -> u64 {
        self.limit().saturating_sub(self.used())
    }

    /// A shard has too little to reclaim and needs `bytes`: those with more than their part reclaim until they are left.
    pub(crate) fn ask(&self, bytes: u64) {
        self.demand.fetch_max(bytes, Ordering::Relaxed);
    }

    /// A send still holds a retired run: its bytes count again until they are given back.
    pub(crate) fn hold_run(&self, bytes: u64) {
        self.used.fetch_add(bytes.next_multiple_of(PAGE_BYTES), Ordering::Relaxed);
    }

    /// Bytes that were asked for and are not yet left. More than half of the limit is nobody's to ask for.
    pub(crate) fn demand(&self) -> u64 {
        let demand = self.demand.load(Ordering::Relaxed);
        if demand != 0 && (self.left() >= demand || demand > self.limit() / 2) {
            self.demand.store(0, Ordering::Relaxed);
        }
        demand
    }

    /// Takes `bytes` from the budget, if at least `spare` stay behind.
    fn charge(&self, bytes: u64, spare: u64) -> bool {
        let limit = self.limit();
        self.used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                let after = used + bytes;
                (after + spare <= limit).then_some(after)
            })
            .is_ok()
    }

    fn refund(&self, bytes: u64) {
        let before = self.used.fetch_sub(bytes, Ordering::Relaxed);
        assert!(before >= bytes, "only what was taken is given back: {before} < {bytes}");
    }

    /// A slab, if `spare` bytes stay behind for the mover.
    pub(crate) fn take_slab(&self, arena: &Arena, spare: u64) -> Option<SlabNumber> {
        if !self.charge(self.slab_bytes, spare) {
            return None;
        }
        let mut lists = self.lists();
        if let Some(number) = lists.free.warm.pop() {
            return Some(SlabNumber(number));
        }
        let number = lists.free.cold.pop().or_else(|| lists.free.take_fresh(1));
        let Some(number) = number else {
            self.refund(self.slab_bytes);
            return None;
        };
        self.trim(&mut lists, arena, self.slab_bytes);
        if !arena.commit(self.offset(number), self.slab_bytes) {
            lists.free.cold.push(number);
            self.refund(self.slab_bytes);
            return None;
        }
        lists.resident += self.slab_bytes;
        Some(SlabNumber(number))
    }

    /// The slab's records are dead; its bytes may be used by others at once.
    pub(crate) fn retire_slab(&self) {
        self.refund(self.slab_bytes);
    }

    /// No reader is in the slab any more.
    pub(crate) fn recycle_slab(&self, arena: &Arena, number: SlabNumber) {
        let mut lists = self.lists();
        lists.free.warm.push(number.0);
        self.trim(&mut lists, arena, 0);
    }

    /// Address space for `bytes` in a row, of which only the pages count.
    pub(crate) fn take_run(&self, arena: &Arena, bytes: u64, spare: u64) -> Option<SlabNumber> {
        let pages = bytes.next_multiple_of(PAGE_BYTES);
        if !self.charge(pages, spare) {
            return None;
        }
        let mut lists = self.lists();
        let class = self.run_class(bytes);
        let number = lists.free.runs[class].pop().or_else(|| lists.free.take_fresh(1 << class));
        let Some(number) = number else {
            self.refund(pages);
            return None;
        };
        self.trim(&mut lists, arena, pages);
        if !arena.commit(self.offset(number), pages) {
            lists.free.runs[class].push(number);
            self.refund(pages);
            return None;
        }
        lists.resident += pages;
        Some(SlabNumber(number))
    }

    /// The run's record is dead.
    pub(crate) fn retire_run(&self, bytes: u64) {
        self.refund(bytes.next_multiple_of(PAGE_BYTES));
    }

    /// No reader is in the run any more: its pages go back to the kernel.
    pub(crate) fn recycle_run(&self, arena: &Arena, number: SlabNumber, bytes: u64) {
        let pages = bytes.next_multiple_of(PAGE_BYTES);
        self.decommit(arena, number, pages);
        let mut lists = self.lists();
        lists.resident -= pages;
        let class = self.run_class(bytes);
        lists.free.runs[class].push(number.0);
    }

    /// Takes memory for an index table, which has a mapping of its own.
    /// `spare` bytes stay behind.
    pub(crate) fn take_table(&self, arena: &Arena, bytes: u64, spare: u64) -> bool {
        if !self.charge(bytes, spare) {
            return false;
        }
        let mut lists = self.lists();
        self.trim(&mut lists, arena, bytes);
        lists.resident += bytes;
        true
    }

    /// The table is outgrown.
    pub(crate) fn retire_table(&self, bytes: u64) {
        self.refund(bytes);
    }

    /// Its memory has been given back to the kernel.
    pub(crate) fn recycle_table(&self, bytes: u64) {
        self.lists().resident -= bytes;
    }

    /// Gives warm slabs back to the kernel while more than the limit would be resident with `more` bytes.
    fn trim(&self, lists: &mut Lists, arena: &Arena, more: u64) {
        while lists.resident + more > self.limit() {
            let Some(number) = lists.free.warm.pop() else { return };
            self.decommit(arena, SlabNumber(number), self.slab_bytes);
            lists.resident -= self.slab_bytes;
            lists.free.cold.push(number);
        }
    }

    /// The slab is on its way between two lists: it has no owner, and it was recycled, so no reader is in it.
    fn decommit(&self, arena: &Arena, number: SlabNumber, bytes: u64) {
        arena.decommit(Vacant { offset: self.offset(number.0), bytes });
    }

    fn offset(&self, number: u32) -> u64 {
        u64::from(number) * self.slab_bytes
    }

    fn run_class(&self, bytes: u64) -> usize {
        run_class(bytes, self.slab_bytes)
    }
}

/// The class of a run of `bytes`: it takes two to the power of that many slabs of address space.
pub(crate) fn run_class(bytes: u64, slab_bytes: u64) -> usize {
    bytes.div_ceil(slab_bytes).next_power_of_two().trailing_zeros() as usize
}

impl FreeSpace {
    /// A mapping of so many slabs, none of which was used yet.
    pub(crate) fn of(slabs: u32) -> Self {
        Self {
            warm: Vec::new(),
            cold: Vec::new(),
            runs: [const { Vec::new() }; RUN_CLASSES],
            fresh: Vec::from([Range { start: 1, end: slabs }]),
        }
    }

    fn take_fresh(&mut self, count: u32) -> Option<u32> {
        let range = self.fresh.iter_mut().find(|range| range.end - range.start >= count)?;
        let first = range.start;
        range.start += count;
        Some(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLAB: u64 = 64 * 1024;

    #[test]
    fn the_budget_is_kept_and_address_space_is_reused() {
        let arena = Arena::reserve(64 * SLAB, false).expect("address space");
        let pool = Pool::new(SLAB, 4 * SLAB, FreeSpace::of(64), 0);
        let taken: Vec<_> = std::iter::from_fn(|| pool.take_slab(&arena, SLAB)).collect();
        assert_eq!(taken.len(), 3, "one slab stays spare");
        assert!(pool.take_slab(&arena, 0).is_some());
        assert!(pool.take_run(&arena, 1, 0).is_none(), "the budget is spent");
        pool.retire_slab();
        let run = pool.take_run(&arena, 10_000, 0).expect("the retired slab's bytes");
        pool.recycle_slab(&arena, taken[0]);
        assert_eq!(pool.used(), 3 * SLAB + 3 * PAGE_BYTES);
        for _ in 0..1000 {
            pool.retire_run(10_000);
            pool.recycle_run(&arena, run, 10_000);
            assert_eq!(pool.take_run(&arena, 10_000, 0), Some(run), "the same address space");
        }
    }

    #[test]
    fn what_is_resident_beyond_the_limit_goes_back() {
        let arena = Arena::reserve(64 * SLAB, false).expect("address space");
        let pool = Pool::new(SLAB, 2 * SLAB, FreeSpace::of(64), 0);
        let first = pool.take_slab(&arena, 0).expect("room");
        let second = pool.take_slab(&arena, 0).expect("room");
        pool.retire_slab();
        let third = pool.take_slab(&arena, 0).expect("a retired slab counts as free");
        assert!(third != first && third != second);
        pool.recycle_slab(&arena, first);
        let lists = pool.lists();
        assert_eq!((lists.free.warm.len(), lists.free.cold.len(), lists.resident), (0, 1, 2 * SLAB));
    }
}
