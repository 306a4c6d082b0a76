//! Hash to location: single writer, many readers, growing while it is read.
//!
//! A bucket is `order * buckets / 2^64`, where the order is made of hash bits that choose neither slot nor shard. So
//! any number of buckets is possible, and growth goes through both tables in the same order. A key that finds its home bucket full goes on to the next lines; the home
//! counts how many passed it by, so that a miss costs one line nearly always (F14's overflow counts, on lines).
//!
//! Growth makes a second table and moves home buckets over in order, a few per write and per turn:
//!
//! ```text
//! older    [.. moved, cleared ..|.. not yet moved ..]      moved = first home that is still in the older table
//! current  [.. filled ..........|..... empty .......]
//! ```
//!
//! The owner copies a home's keys, then raises `moved`, then clears the old places. A reader that missed in the
//! older table looks at `moved` again: a place is cleared only after `moved` was raised, and both are
//! release/acquire, so whoever sees the cleared place sees the raised count too and looks in the current table.
//! The older table's memory goes back while keys move, so that growth needs little more than the difference of the two.
//! docs/decisions/0001-index.md tells why it grows by eighths.

mod bucket;
mod table;

use std::sync::OnceLock;

use crate::hash::{KeyHash, Order, Slot, slot_of_tag};
use crate::index::bucket::{BUCKET_SLOTS, Bucket};
use crate::index::table::{ALL_MOVED, Table};
use crate::limits::{BUCKETS_MIN, GROWTH_STRIDE, LOAD_PER_BUCKET, PROBE_LINES, TABLES_MAX};
use crate::memory::{Line, prefetch};
use crate::record::Location;
use crate::sync::{AtomicU32, Ordering};

/// The part that readers see.
pub(crate) struct IndexShared {
    tables: Box<[OnceLock<Table>]>,
    current: AtomicU32,
}

impl IndexShared {
    /// An empty index of `buckets`, at least [`BUCKETS_MIN`].
    pub(crate) fn new(buckets: u64) -> std::io::Result<Self> {
        let tables: Box<[OnceLock<Table>]> = (0..TABLES_MAX).map(|_| OnceLock::new()).collect();
        let first = Table::zeroed(buckets, ALL_MOVED)?;
        assert!(tables[0].set(first).is_ok(), "the first table is set once");
        Ok(Self { tables, current: AtomicU32::new(0) })
    }

    /// Takes the memory of the present table, which is about to be filled.
    pub(crate) fn populate(&self) {
        self.current().1.lines.populate();
    }

    #[inline]
    fn table(&self, number: u32) -> &Table {
        self.tables[number as usize].get().expect("a table is made before its number is published")
    }

    #[inline]
    fn current(&self) -> (u32, &Table) {
        let number = self.current.load(Ordering::Acquire);
        (number, self.table(number))
    }

    /// Starts loading the home line of `hash`.
    #[inline]
    pub(crate) fn approach(&self, hash: KeyHash) -> Home<'_> {
        let (_, table) = self.current();
        let line = table.line(hash.order().bucket(table.buckets));
        prefetch(std::ptr::from_ref(line));
        Home(Bucket(line))
    }

    /// The same for a caller that goes its own way afterwards.
    #[inline]
    pub(crate) fn prefetch(&self, hash: KeyHash) {
        let _ = self.approach(hash);
    }

    /// The first location that `accept` takes among those whose tag fits. One line for most keys.
    #[inline]
    pub(crate) fn find<R>(&self, hash: KeyHash, mut accept: impl FnMut(Location) -> Option<R>) -> Option<R> {
        loop {
            let (number, table) = self.current();
            if table.moved.load(Ordering::Acquire) != ALL_MOVED {
                let older = self.table(number - 1);
                let home = hash.order().bucket(older.buckets);
                if home >= table.moved.load(Ordering::Acquire) {
                    if let Some((found, ..)) = older.search(home, hash.tag(), &mut accept) {
                        return Some(found);
                    }
                    if home >= table.moved.load(Ordering::Acquire) {
                        return None;
                    }
                }
            }
            if let Some((found, ..)) =
                table.search(hash.order().bucket(table.buckets), hash.tag(), &mut accept)
            {
                return Some(found);
            }
            if self.current.load(Ordering::Acquire) == number {
                return None;
            }
        }
    }
}

/// A home line that is being loaded.
#[derive(Clone, Copy)]
pub(crate) struct Home<'s>(Bucket<'s>);

impl Home<'_> {
    /// The first location of this line whose tag fits. `None` does not say that the key is absent: it may have passed
    /// this line by, or the index may have grown.
    #[inline]
    pub(crate) fn find(self, hash: KeyHash) -> Option<Location> {
        let tag = hash.tag();
        let fitting = self.0.fitting(tag);
        (fitting != 0).then(|| self.0.location_if(fitting.trailing_zeros() as usize, tag)).flatten()
    }
}

/// Where the owner found a key; good until the index next changes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    table: u32,
    home: u64,
    number: u64,
    place: usize,
    pub(crate) location: Location,
}

/// The owner's side. It does not hold the shared part; the shard passes it in.
pub(crate) struct Index {
    keys: u64,
    /// Bytes of all lines that are in use.
    bytes: u64,
    /// Homes of the older table for which the current one has been granted memory.
    granted: u64,
    /// Lines of the older table whose memory has been given back.
    released: u64,
}

/// Why the index could not take a key.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Full;

impl Index {
    /// The owner's side of an index that is still empty.
    pub(crate) fn new(shared: &IndexShared) -> Self {
        Self { keys: 0, bytes: table_bytes(shared.current().1.buckets), granted: 0, released: 0 }
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) fn buckets(&self, shared: &IndexShared) -> u64 {
        shared.current().1.buckets
    }

    pub(crate) fn is_growing(&self, shared: &IndexShared) -> bool {
        shared.current().1.moved.load(Ordering::Relaxed) != ALL_MOVED
    }

    /// The table and home bucket where a key of this order lives at present.
    fn home<'s>(&self, shared: &'s IndexShared, order: Order) -> (u32, &'s Table, u64) {
        let (number, table) = shared.current();
        let moved = table.moved.load(Ordering::Relaxed);
        if moved != ALL_MOVED {
            let older = shared.table(number - 1);
            let home = order.bucket(older.buckets);
            if home >= moved {
                return (number - 1, older, home);
            }
        }
        (number, table, order.bucket(table.buckets))
    }

    /// The place of the key that `accept` recognises.
    pub(crate) fn find(
        &self,
        shared: &IndexShared,
        hash: KeyHash,
        mut accept: impl FnMut(Location) -> bool,
    ) -> Option<Place> {
        let (table_number, table, home) = self.home(shared, hash.order());
        let mut recognise = |location| accept(location).then_some(location);
        let (location, number, place) = table.search(home, hash.tag(), &mut recognise)?;
        Some(Place { table: table_number, home, number, place, location })
    }

    /// Adds a key that is not there; `read` tells the hash of the key at a location. Afterwards the caller calls `grow` some steps.
    pub(crate) fn insert(
        &mut self,
        shared: &IndexShared,
        hash: KeyHash,
        location: Location,
        read: impl Fn(Location) -> KeyHash,
    ) -> Result<(), Full> {
        let (_, table, _) = self.home(shared, hash.order());
        if !table.insert(hash, location, &read) {
            return Err(Full);
        }
        self.keys += 1;
        Ok(())
    }

    /// Some key in the home bucket of `hash`: what has to go when the lines behind it are full.
    pub(crate) fn neighbour(&self, shared: &IndexShared, hash: KeyHash) -> Option<Location> {
        let (_, table, home) = self.home(shared, hash.order());
        (0..BUCKET_SLOTS).find_map(|place| table.bucket(home).location(place))
    }

    /// Points a key that is there to its newer record. Readers see one or the other.
    pub(crate) fn replace(&mut self, shared: &IndexShared, place: Place, location: Location) {
        shared.table(place.table).bucket(place.number).replace(place.place, location);
    }

    /// Takes a key out.
    pub(crate) fn remove(&mut self, shared: &IndexShared, place: Place) {
        shared.table(place.table).remove(place.home, place.number, place.place);
        self.keys -= 1;
    }

    /// Remembers that a key of this hash was evicted.
    pub(crate) fn remember_ghost(&self, shared: &IndexShared, hash: KeyHash) {
        let (_, table, home) = self.home(shared, hash.order());
        table.bucket(home).push_ghost(hash);
    }

    /// Whether a key of this hash was evicted lately; it is forgotten by the question.
    pub(crate) fn take_ghost(&self, shared: &IndexShared, hash: KeyHash) -> bool {
        let (_, table, home) = self.home(shared, hash.order());
        table.bucket(home).take_ghost(hash)
    }

    /// Whether a larger table can be made: not while the index grows, nor at its last size.
    pub(crate) fn can_grow(&self, shared: &IndexShared) -> bool {
        !self.is_growing(shared) && (shared.current().0 as usize) + 1 < TABLES_MAX
    }

    /// Whether the load asks for a larger table, and there can be one.
    pub(crate) fn wants_growth(&self, shared: &IndexShared) -> bool {
        self.keys > shared.current().1.buckets * LOAD_PER_BUCKET && self.can_grow(shared)
    }

    /// The most that the index will take beyond what it has, when its load is near the next growth or it grows.
    pub(crate) fn bytes_to_come(&self, shared: &IndexShared, small_bytes: u64) -> u64 {
        let (_, table) = shared.current();
        let is_near = self.keys > table.buckets * (LOAD_PER_BUCKET - 1);
        let buckets = match self.is_growing(shared) {
            true => table.buckets,
            false if is_near => next_size(table.buckets, small_bytes),
            false => return 0,
        };
        (table_bytes(buckets) + 2 * table_bytes(GROWTH_STRIDE)).saturating_sub(self.bytes)
    }

    /// Makes the next larger table. It takes no memory before it is granted some.
    pub(crate) fn start_growth(&mut self, shared: &IndexShared, small_bytes: u64) -> std::io::Result<()> {
        let (number, table) = shared.current();
        let larger = Table::zeroed(next_size(table.buckets, small_bytes), 0)?;
        assert!(shared.tables[number as usize + 1].set(larger).is_ok(), "a table is made once");
        (self.granted, self.released) = (0, 0);
        shared.current.store(number + 1, Ordering::Release);
        Ok(())
    }

    /// Bytes that a growing index must be granted before it can go on; zero while it can.
    pub(crate) fn lacks_bytes(&self, shared: &IndexShared) -> u64 {
        let (number, table) = shared.current();
        if table.moved.load(Ordering::Relaxed) != self.granted || !self.is_growing(shared) {
            return 0;
        }
        let older = shared.table(number - 1).buckets;
        let bytes_for = |homes: u64| table_bytes(table.buckets) * homes.min(older) / older;
        bytes_for(self.granted + GROWTH_STRIDE) - bytes_for(self.granted)
    }

    /// Takes note that the caller has set aside what [`Index::lacks_bytes`] said.
    pub(crate) fn grant(&mut self, shared: &IndexShared) {
        self.bytes += self.lacks_bytes(shared);
        self.granted += GROWTH_STRIDE;
    }

    /// Gives back the memory of lines of the older table that no key is at home in any more, some pages at a time, and
    /// returns their bytes. Readers that are still there find zeros, as they find cleared places; see `grow`.
    pub(crate) fn release_moved(&mut self, shared: &IndexShared) -> u64 {
        let (number, table) = shared.current();
        let moved = table.moved.load(Ordering::Relaxed);
        if moved == ALL_MOVED || moved < self.released + GROWTH_STRIDE {
            return 0;
        }
        let lines = self.released..self.released + GROWTH_STRIDE;
        self.released = lines.end;
        shared.table(number - 1).lines.decommit_some(lines.start as usize..lines.end as usize);
        let bytes = GROWTH_STRIDE * size_of::<Line>() as u64;
        self.bytes -= bytes;
        bytes
    }

    /// Moves up to `homes` home buckets to the current table. `read` tells the hash of the key at a location, after
    /// `expect` announced it. Returns the bytes of the older table when that was the last of it: the caller retires
    /// it and later calls `release_older`. A key that finds no place goes to `lost`. Stops where `lacks_bytes` says so.
    pub(crate) fn grow(
        &mut self,
        shared: &IndexShared,
        homes: u64,
        expect: impl Fn(Location),
        read: impl Fn(Location) -> KeyHash,
        mut lost: impl FnMut(Location),
    ) -> Option<u64> {
        let (number, table) = shared.current();
        let from = table.moved.load(Ordering::Relaxed);
        if from == ALL_MOVED {
            return None;
        }
        let older = shared.table(number - 1);
        let to = (from + homes).min(older.buckets).min(self.granted);
        for home in from..to {
            (0..BUCKET_SLOTS).filter_map(|place| older.bucket(home).location(place)).for_each(&expect);
        }
        for home in from..to {
            self.move_home(older, table, home, &read, &mut lost);
        }
        if to < older.buckets {
            return None;
        }
        table.moved.store(ALL_MOVED, Ordering::Release);
        let bytes = table_bytes(older.buckets) - self.released * size_of::<Line>() as u64;
        self.bytes -= bytes;
        Some(bytes)
    }

    fn move_home(
        &mut self,
        older: &Table,
        table: &Table,
        home: u64,
        read: &impl Fn(Location) -> KeyHash,
        lost: &mut impl FnMut(Location),
    ) {
        let mut taken = [(0u64, 0usize); (PROBE_LINES as usize) * BUCKET_SLOTS];
        let mut taken_len = 0;
        for number in home..home + PROBE_LINES {
            let bucket = older.bucket(number);
            for place in 0..BUCKET_SLOTS {
                let Some(location) = bucket.location(place) else { continue };
                let hash = read(location);
                if hash.order().bucket(older.buckets) != home {
                    continue;
                }
                if !table.insert(hash, location, read) {
                    self.keys -= 1;
                    lost(location);
                }
                taken[taken_len] = (number, place);
                taken_len += 1;
            }
            if bucket.passed_by() == 0 {
                break;
            }
        }
        let ratio_home = (u128::from(home) * u128::from(table.buckets) / u128::from(older.buckets)) as u64;
        older.bucket(home).copy_ghosts(table.bucket(ratio_home));
        table.moved.store(home + 1, Ordering::Release);
        for &(number, place) in &taken[..taken_len] {
            older.remove(home, number, place);
        }
    }

    /// Gives the outgrown table's memory back, once no reader can be in it.
    pub(crate) fn release_older(&self, shared: &IndexShared) {
        let (number, _) = shared.current();
        for older in 0..number {
            if !(self.is_growing(shared) && older + 1 == number) {
                shared.table(older).lines.decommit();
            }
        }
    }

    /// The locations that `is_asked` takes. Cost: a pass over the whole index.
    pub(crate) fn locations(
        &self,
        shared: &IndexShared,
        is_asked: impl Fn(Location) -> bool,
    ) -> Vec<Location> {
        self.places(shared)
            .filter_map(|(bucket, place)| bucket.location(place))
            .filter(|&location| is_asked(location))
            .collect()
    }

    /// Takes a location out whose key can't be read any more. What the key's home counts of keys that passed it stays too
    /// high, which costs searches a line.
    pub(crate) fn strike(&mut self, shared: &IndexShared, location: Location) {
        let place = self.places(shared).find(|(bucket, place)| bucket.location(*place) == Some(location));
        if let Some((bucket, place)) = place {
            bucket.clear(place);
            self.keys -= 1;
        }
    }

    /// All places of the tables in use.
    fn places<'s>(&self, shared: &'s IndexShared) -> impl Iterator<Item = (Bucket<'s>, usize)> {
        let (number, table) = shared.current();
        let older = self.is_growing(shared).then(|| shared.table(number - 1));
        let lines = older.into_iter().chain([table]).flat_map(|table| table.lines.as_slice());
        lines.flat_map(|line| (0..BUCKET_SLOTS).map(move |place| (Bucket(line), place)))
    }

    /// Visits the keys of some slots whose home bucket holds `from`, and returns the first place of the next home, or
    /// `None` at the end. A cursor that only keeps its place stays valid while the index grows.
    pub(crate) fn visit_home(
        &self,
        shared: &IndexShared,
        from: Order,
        is_asked: impl Fn(Slot) -> bool,
        read: impl Fn(Location) -> KeyHash,
        mut visit: impl FnMut(Location),
    ) -> Option<Order> {
        let (table_number, table, home) = self.home(shared, from);
        for line in home..home + PROBE_LINES {
            let bucket = table.bucket(line);
            let asked = (0..BUCKET_SLOTS).filter_map(|place| bucket.tagged(place));
            for (_, location) in asked.filter(|&(tag, _)| is_asked(slot_of_tag(tag))) {
                let order = read(location).order();
                if order.bucket(table.buckets) == home && order >= from {
                    visit(location);
                }
            }
            if bucket.passed_by() == 0 {
                break;
            }
        }
        let next = Order::first_of(home + 1, table.buckets);
        let boundary = self.first_unmoved(shared, table_number);
        next.into_iter().chain(boundary).min()
    }

    /// While the index grows, where the part that is in the table of this number ends and the older table's begins:
    /// a home of the current table may reach over that.
    fn first_unmoved(&self, shared: &IndexShared, table_number: u32) -> Option<Order> {
        let (number, table) = shared.current();
        let moved = table.moved.load(Ordering::Relaxed);
        if table_number != number || moved == ALL_MOVED {
            return None;
        }
        Order::first_of(moved, shared.table(number - 1).buckets)
    }

    /// Keys, living or not yet swept.
    pub(crate) fn keys(&self) -> u64 {
        self.keys
    }
}

/// Memory of a table.
pub(crate) fn table_bytes(buckets: u64) -> u64 {
    (buckets + PROBE_LINES) * size_of::<Line>() as u64
}

/// Buckets of the smallest table on the way of growth that has room for so many keys.
pub(crate) fn buckets_for(keys: u64, small_bytes: u64) -> u64 {
    let sizes = std::iter::successors(Some(BUCKETS_MIN), |&buckets| Some(next_size(buckets, small_bytes)));
    sizes.into_iter().find(|buckets| buckets * LOAD_PER_BUCKET >= keys).expect("sizes grow without end")
}

/// A small table doubles; a large one grows by an eighth, so that little of it stands empty.
fn next_size(buckets: u64, small_bytes: u64) -> u64 {
    if table_bytes(buckets) < small_bytes { buckets * 2 } else { buckets + buckets / 8 }
}
