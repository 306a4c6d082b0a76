//! The node's memory budget: which part of the mapping is whose, and how much of `-m` is taken.
//!
//! The mapping is many times larger than `-m`, because address space is free and contiguous runs must always be
//! found; what `-m` limits is the bytes in use. Memory that was retired and waits for readers no longer counts as
//! used: its successor may be written before the readers have passed, so for the length of a turn a little more
//! than `-m` can be resident. When the wait is over, what exceeds the limit is given back to the kernel; what does
//! not stays warm, because the kernel takes longer to give a page again than a record takes to fill it.
//!
//! ```text
//! slab, run  cold --take--> used --retire--> waiting --passed--> warm --take--> used
//!             ^                                                    |
//!             +----------------------- given back -----------------+
//! ```
//!
//! One lock, taken once per slab (64 KiB to 1 MiB of records), run or index table; never per request.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};

use crate::memory::{Arena, PAGE_BYTES, Vacant};

/// Classes of runs: powers of two of slabs, up to the largest item.
pub(crate) const RUN_CLASSES: usize = 24;

/// Warm runs that are kept at most; the one that was freed first goes back.
const WARM_RUNS_MAX: usize = 64;

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
    /// Runs by class, those that are not warm.
    pub(crate) runs: [Vec<u32>; RUN_CLASSES],
    /// Slabs that were never used: the ends of the mapping that are left.
    pub(crate) fresh: Vec<Range<u32>>,
}

/// A free run of which the first bytes, whole pages, are resident.
#[derive(Clone, Copy)]
struct WarmRun {
    number: u32,
    class: usize,
    resident: u64,
}

/// The lists, under the lock.
struct Lists {
    free: FreeSpace,
    /// In the order in which they were freed.
    warm_runs: VecDeque<WarmRun>,
    /// Bytes resident: used, waiting and warm.
    resident: u64,
}

/// Shared by all shards.
pub(crate) struct Pool {
    slab_bytes: u64,
    limit: AtomicU64,
    /// The least limit with which every shard can go on.
    least: u64,
    used: AtomicU64,
    /// Bytes that some shard could not find among its own slabs; the others make room for them.
    demand: AtomicU64,
    lists: Mutex<Lists>,
    /// Slabs get their pages when they are taken, not one by one when these are written.
    populates: AtomicBool,
}

impl Pool {
    /// A pool with `limit` bytes to give, never less than `least`, and the slabs of `free` to give them in. Tables, slabs and runs that have an
    /// owner already take `used` bytes.
    pub(crate) fn new(slab_bytes: u64, limit: u64, least: u64, free: FreeSpace, used: u64) -> Self {
        let resident = used + free.warm.len() as u64 * slab_bytes;
        Self {
            slab_bytes,
            limit: AtomicU64::new(limit),
            least,
            used: AtomicU64::new(used),
            demand: AtomicU64::new(0),
            lists: Mutex::new(Lists { free, warm_runs: VecDeque::new(), resident }),
            populates: AtomicBool::new(false),
        }
    }

    /// What nobody has at this moment. No run stays warm.
    pub(crate) fn free_space(&self, arena: &Arena) -> FreeSpace {
        let mut lists = self.lists();
        while self.cool_run(&mut lists, arena) {}
        lists.free.clone()
    }

    /// More slabs that were never used.
    pub(crate) fn add_fresh(&self, slabs: Range<u32>) {
        self.lists().free.fresh.push(slabs);
    }

    fn lists(&self) -> MutexGuard<'_, Lists> {
        self.lists.lock().expect("a panic ends the process before another worker gets here")
    }

    pub(crate) fn limit(&self) -> u64 {
        self.limit.load(Ordering::Relaxed)
    }

    /// Sets the limit; false when no shard could go on with it.
    pub(crate) fn set_limit(&self, arena: &Arena, bytes: u64) -> bool {
        if bytes < self.least {
            return false;
        }
        self.limit.store(bytes, Ordering::Relaxed);
        self.trim(&mut self.lists(), arena, 0);
        true
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
            self.shrink(&lists);
            return None;
        }
        lists.resident += self.slab_bytes;
        drop(lists);
        if self.populates.load(Ordering::Relaxed) {
            arena.populate(self.offset(number), self.slab_bytes);
        }
        Some(SlabNumber(number))
    }

    /// Begins or ends to fetch the pages of whole slabs: worth it while all of them will be written soon.
    pub(crate) fn set_populates(&self, on: bool) {
        self.populates.store(on, Ordering::Relaxed);
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
        let Some(run) = lists.take_run(self.run_class(bytes)) else {
            self.refund(pages);
            return None;
        };
        let start = self.offset(run.number);
        if run.resident > pages {
            self.decommit(arena, start + pages, run.resident - pages);
        }
        lists.resident -= run.resident - run.resident.min(pages);
        let more = pages.saturating_sub(run.resident);
        self.trim(&mut lists, arena, more);
        if !arena.commit(start, pages) {
            lists.warm_runs.push_back(WarmRun { resident: run.resident.min(pages), ..run });
            self.refund(pages);
            self.shrink(&lists);
            return None;
        }
        lists.resident += more;
        Some(SlabNumber(run.number))
    }

    /// The run's record is dead.
    pub(crate) fn retire_run(&self, bytes: u64) {
        self.refund(bytes.next_multiple_of(PAGE_BYTES));
    }

    /// No reader is in the run any more.
    pub(crate) fn recycle_run(&self, arena: &Arena, number: SlabNumber, bytes: u64) {
        let (class, resident) = (self.run_class(bytes), bytes.next_multiple_of(PAGE_BYTES));
        let mut lists = self.lists();
        lists.warm_runs.push_back(WarmRun { number: number.0, class, resident });
        if lists.warm_runs.len() > WARM_RUNS_MAX {
            self.cool_run(&mut lists, arena);
        }
        self.trim(&mut lists, arena, 0);
    }

    /// A run that is still being sent when its node ends: free for the next node, with what it holds.
    pub(crate) fn abandon_run(&self, number: SlabNumber, bytes: u64) {
        self.retire_run(bytes);
        let mut lists = self.lists();
        lists.resident -= bytes.next_multiple_of(PAGE_BYTES);
        lists.free.runs[self.run_class(bytes)].push(number.0);
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

    /// Gives what is warm back to the kernel while more than the limit would be resident with `more` bytes: runs first,
    /// of which one call gives back most.
    fn trim(&self, lists: &mut Lists, arena: &Arena, more: u64) {
        while lists.resident + more > self.limit() {
            if self.cool_run(lists, arena) {
                continue;
            }
            let Some(number) = lists.free.warm.pop() else { return };
            self.decommit(arena, self.offset(number), self.slab_bytes);
            lists.resident -= self.slab_bytes;
            lists.free.cold.push(number);
        }
    }

    /// Gives the pages of the warm run back that was freed first. False when there is none.
    fn cool_run(&self, lists: &mut Lists, arena: &Arena) -> bool {
        let Some(run) = lists.warm_runs.pop_front() else { return false };
        self.decommit(arena, self.offset(run.number), run.resident);
        lists.resident -= run.resident;
        lists.free.runs[run.class].push(run.number);
        true
    }

    /// A file system that is full gives the limit: a sixteenth less than what it holds now, so that there is room for
    /// successors of what waits for readers.
    fn shrink(&self, lists: &Lists) {
        let fits = lists.resident - lists.resident / 16;
        self.limit.fetch_min(fits.max(self.least), Ordering::Relaxed);
    }

    /// The bytes are on their way between two lists, or between a list and their next owner: they have no owner, and
    /// they were recycled, so no reader is in them.
    fn decommit(&self, arena: &Arena, offset: u64, bytes: u64) {
        arena.decommit(Vacant { offset, bytes });
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

impl Lists {
    /// A run of a class: the warm one that was freed last, else one of which nothing is resident.
    fn take_run(&mut self, class: usize) -> Option<WarmRun> {
        if let Some(at) = self.warm_runs.iter().rposition(|run| run.class == class) {
            return self.warm_runs.remove(at);
        }
        let number = self.free.runs[class].pop().or_else(|| self.free.take_fresh(1 << class))?;
        Some(WarmRun { number, class, resident: 0 })
    }
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

    /// What is free when the mapping is no longer of `before` slabs but of `now`.
    pub(crate) fn resize(&mut self, before: u32, now: u32) {
        if now >= before {
            return self.fresh.push(before..now);
        }
        let is_inside = |number: &u32, slabs: u32| *number < now && slabs <= now - *number;
        self.warm.retain(|number| is_inside(number, 1));
        self.cold.retain(|number| is_inside(number, 1));
        for (class, numbers) in self.runs.iter_mut().enumerate() {
            numbers.retain(|number| is_inside(number, 1 << class));
        }
        for range in &mut self.fresh {
            *range = range.start.min(now)..range.end.min(now);
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
        let pool = Pool::new(SLAB, 4 * SLAB, 0, FreeSpace::of(64), 0);
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
        let pool = Pool::new(SLAB, 2 * SLAB, 0, FreeSpace::of(64), 0);
        let first = pool.take_slab(&arena, 0).expect("room");
        let second = pool.take_slab(&arena, 0).expect("room");
        pool.retire_slab();
        let third = pool.take_slab(&arena, 0).expect("a retired slab counts as free");
        assert!(third != first && third != second);
        pool.recycle_slab(&arena, first);
        let lists = pool.lists();
        assert_eq!((lists.free.warm.len(), lists.free.cold.len(), lists.resident), (0, 1, 2 * SLAB));
    }

    /// Slabs and runs of many lengths come and go: what counts as resident is what is used and what is warm, and
    /// never more than the limit.
    #[test]
    fn the_resident_bytes_are_counted_to_the_page() {
        let arena = Arena::reserve(4096 * SLAB, false).expect("address space");
        let pool = Pool::new(SLAB, 64 * SLAB, 0, FreeSpace::of(4096), 0);
        let mut taken: Vec<(SlabNumber, u64)> = Vec::new();
        let mut seed = 1_u64;
        for step in 0..20_000 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let draw = seed >> 33;
            let bytes = if draw.is_multiple_of(4) { 0 } else { 1 + draw % (5 * SLAB) };
            let number = if bytes == 0 { pool.take_slab(&arena, 0) } else { pool.take_run(&arena, bytes, 0) };
            if let Some(number) = number {
                taken.push((number, bytes));
            }
            if number.is_none() || draw.is_multiple_of(3) {
                give_back(&pool, &arena, taken.swap_remove(draw as usize % taken.len()));
            }
            let lists = pool.lists();
            assert_eq!(lists.resident, pool.used() + lists.warm_bytes(), "in step {step}");
            assert!(lists.resident <= pool.limit());
        }
        taken.drain(..).for_each(|one| give_back(&pool, &arena, one));
        assert_eq!(pool.used(), 0);
        assert_ne!(pool.lists().resident, 0, "what was freed is warm");
        assert!(pool.set_limit(&arena, 0));
        let lists = pool.lists();
        assert_eq!((lists.resident, lists.warm_bytes()), (0, 0));
    }

    fn give_back(pool: &Pool, arena: &Arena, (number, bytes): (SlabNumber, u64)) {
        if bytes == 0 {
            pool.retire_slab();
            return pool.recycle_slab(arena, number);
        }
        pool.retire_run(bytes);
        pool.recycle_run(arena, number, bytes);
    }

    impl Lists {
        fn warm_bytes(&self) -> u64 {
            let runs = self.warm_runs.iter().map(|run| run.resident).sum::<u64>();
            self.free.warm.len() as u64 * SLAB + runs
        }
    }
}
