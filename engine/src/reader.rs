//! The lock-free read side: any worker reads any shard.

use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::engine::{ShardShared, Shared};
use crate::hash::{KeyHash, Slot};
use crate::index::Home;
use crate::memory::LINE_BYTES;
use crate::record::{Kind, Location, RecordView, TOKEN_STALE, TOKEN_TAKEN};
use crate::time::{Expiry, Now, Seconds};
use crate::version::Version;

/// Reads every shard of a node. One per worker; it takes part in reclamation under its own seat.
///
/// What it returns borrows the reader, and [`Reader::end_turn`] takes `&mut self`: a record can't outlive the turn
/// in which it was found. A turn that never ends holds memory back, so an idle worker sleeps ([`Reader::sleep`]).
pub struct Reader {
    shared: Arc<Shared>,
    seat: usize,
    _not_sync: PhantomData<Cell<()>>,
}

/// The way to a key: its bucket line, which is being loaded.
#[derive(Clone, Copy)]
pub struct Approach<'r> {
    home: Home<'r>,
}

/// A place where a key may be: one bucket line has been read and the record's first lines are on their way.
#[derive(Clone, Copy)]
pub struct Candidate<'r> {
    location: Option<Location>,
    _reader: PhantomData<&'r Reader>,
}

/// How much of a record [`Reader::expect`] starts loading; what lies beyond is loaded in order, which the processor
/// foresees by itself.
const EXPECTED_BYTES_MAX: u64 = 1024;

/// What a read found.
pub enum Lookup<'r> {
    /// The living record.
    Hit(RecordRef<'r>),
    /// Nothing to show.
    Miss(Miss),
}

/// Why nothing was found; only statistics tell these apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Miss {
    /// No such key.
    Absent,
    /// It was there, its time is over.
    Expired,
    /// It was there, a flush_all hid it.
    Flushed,
}

/// A living record, valid until the reader's turn ends.
#[derive(Clone, Copy)]
pub struct RecordRef<'r> {
    shared: &'r Arc<Shared>,
    view: RecordView<'r>,
}

/// What a record holds.
#[derive(Clone, Copy, Debug)]
pub struct Parts<'r> {
    /// The client's 32 bits.
    pub flags: u32,
    /// The key's bytes.
    pub key: &'r [u8],
    /// The value's bytes.
    pub value: &'r [u8],
}

/// State of a record's win token (meta `W`, `Z`, `X`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token {
    /// The record is marked stale.
    pub stale: bool,
    /// Somebody holds the token already.
    pub taken: bool,
}

impl Reader {
    pub(crate) fn new(shared: Arc<Shared>, seat: usize) -> Self {
        shared.turns.begin(seat);
        Self { shared, seat, _not_sync: PhantomData }
    }

    #[inline]
    fn shard(&self, hash: KeyHash) -> &ShardShared {
        &self.shared.shards[usize::from(hash.shard(self.shards()).0)]
    }

    /// Starts loading the bucket line of `hash`.
    #[inline]
    pub fn approach(&self, hash: KeyHash) -> Approach<'_> {
        Approach { home: self.shard(hash).index.approach(hash) }
    }

    /// Probes the bucket and starts loading the record. Call some time after [`Reader::approach`].
    #[inline]
    pub fn candidate<'r>(&'r self, approach: Approach<'r>, hash: KeyHash) -> Candidate<'r> {
        // What the home line shows was so a moment ago, even if the index has grown since. Only a miss has to be
        // looked for everywhere.
        let location = approach.home.find(hash).or_else(|| self.shard(hash).index.find(hash, Some));
        if let Some(location) = location {
            self.shared.arena.prefetch(location.offset());
            self.shared.arena.prefetch(location.offset() + LINE_BYTES);
        }
        Candidate { location, _reader: PhantomData }
    }

    /// Reads the lengths at `candidate` and starts loading what [`Reader::candidate`] did not. Call some time after it.
    #[inline]
    pub fn expect(&self, candidate: Candidate<'_>) {
        let Some(location) = candidate.location else { return };
        let arena = &self.shared.arena;
        let total = (RecordView::at(arena, location).total() as u64).min(EXPECTED_BYTES_MAX);
        for line in (2 * LINE_BYTES..total).step_by(LINE_BYTES as usize) {
            arena.prefetch(location.offset() + line);
        }
        arena.prefetch(location.offset() + total - 1);
    }

    /// Compares the key at `candidate`; looks again from the bucket when it is another key's. No write of the same
    /// worker may lie between the two, or the answer may be from before it.
    #[inline]
    pub fn resolve<'r>(
        &'r self,
        candidate: Candidate<'r>,
        hash: KeyHash,
        key: &[u8],
        now: Now,
    ) -> Lookup<'r> {
        let Some(location) = candidate.location else { return Lookup::Miss(Miss::Absent) };
        let view = RecordView::at(&self.shared.arena, location);
        if view.has_key(key) { self.judge(hash, view, now) } else { self.get(hash, key, now) }
    }

    /// One lookup without batching. Two cache lines or three.
    #[inline]
    pub fn get(&self, hash: KeyHash, key: &[u8], now: Now) -> Lookup<'_> {
        let arena = &self.shared.arena;
        let same_key = |location| Some(RecordView::at(arena, location)).filter(|view| view.has_key(key));
        match self.shard(hash).index.find(hash, same_key) {
            Some(view) => self.judge(hash, view, now),
            None => Lookup::Miss(Miss::Absent),
        }
    }

    #[inline]
    fn judge<'r>(&'r self, hash: KeyHash, view: RecordView<'r>, now: Now) -> Lookup<'r> {
        let flushed = Version(self.shard(hash).flushed.load(Ordering::Acquire));
        match life(view, flushed, now.seconds) {
            Life::Alive => Lookup::Hit(RecordRef { shared: &self.shared, view }),
            Life::Expired => Lookup::Miss(Miss::Expired),
            Life::Flushed => Lookup::Miss(Miss::Flushed),
            Life::Deleted => Lookup::Miss(Miss::Absent),
        }
    }

    /// Number of shards of the node.
    #[inline]
    pub fn shards(&self) -> u16 {
        self.shared.shards.len() as u16
    }

    /// Announces that this worker holds no record any more. One store and one fence.
    #[inline]
    pub fn end_turn(&mut self) {
        self.shared.turns.begin(self.seat);
    }

    /// Announces sleep: reclamation does not wait for this reader until the guard is dropped.
    pub fn sleep(&mut self) -> Asleep<'_> {
        self.shared.turns.sleep(self.seat);
        Asleep { reader: self }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.shared.turns.sleep(self.seat);
    }
}

/// While it lives the reader is asleep and can't be used.
pub struct Asleep<'r> {
    reader: &'r mut Reader,
}

impl Drop for Asleep<'_> {
    fn drop(&mut self) {
        self.reader.end_turn();
    }
}

/// What a record is at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Life {
    Alive,
    Expired,
    Flushed,
    Deleted,
}

/// Judges a record: the one rule for readers, the owner and the sweeper.
#[inline]
pub(crate) fn life(view: RecordView<'_>, flushed: Version, now: Seconds) -> Life {
    if view.version() <= flushed {
        return Life::Flushed;
    }
    if view.expiry().is_past(now) {
        return Life::Expired;
    }
    if view.kind() == Kind::Value { Life::Alive } else { Life::Deleted }
}

impl<'r> RecordRef<'r> {
    pub(crate) fn new(shared: &'r Arc<Shared>, view: RecordView<'r>) -> Self {
        Self { shared, view }
    }

    /// Flags, key and value together: cheaper than one by one.
    #[inline]
    pub fn parts(&self) -> Parts<'r> {
        self.view.parts()
    }

    /// The key's bytes.
    #[inline]
    pub fn key(&self) -> &'r [u8] {
        self.view.key()
    }

    /// The value's bytes.
    #[inline]
    pub fn value(&self) -> &'r [u8] {
        self.view.value()
    }

    /// The client's 32 bits.
    #[inline]
    pub fn flags(&self) -> u32 {
        self.view.flags()
    }

    /// The CAS unique: the version, or the one a client gave with meta `E`.
    #[inline]
    pub fn cas(&self) -> u64 {
        self.view.cas()
    }

    /// When it ends.
    #[inline]
    pub fn expiry(&self) -> Expiry {
        self.view.expiry()
    }

    /// Whether it has been fetched since it was stored (meta `h`).
    #[inline]
    pub fn fetched(&self) -> bool {
        self.view.fetched()
    }

    /// Seconds since the last access (meta `l`).
    #[inline]
    pub fn idle_seconds(&self, now: Seconds) -> u32 {
        self.view.idle_seconds(now)
    }

    /// Marks an access: fetched, last access, credit. A relaxed store, skipped when nothing changes.
    #[inline]
    pub fn mark_access(&self, now: Seconds) {
        self.view.mark_access(now);
    }

    /// State of the win token.
    #[inline]
    pub fn token(&self) -> Token {
        let token = self.view.token();
        Token { stale: token & TOKEN_STALE != 0, taken: token & TOKEN_TAKEN != 0 }
    }

    /// Takes the win token; true for exactly one caller among all workers until it is freed again.
    #[inline]
    pub fn take_token(&self) -> bool {
        self.view.take_token()
    }

    /// Bytes of the whole record in memory, header included.
    pub fn footprint(&self) -> usize {
        self.view.total()
    }

    /// Whether the record's CRC32C still fits its bytes. Cost: one pass over the value.
    pub fn is_intact(&self) -> bool {
        self.view.is_intact()
    }

    /// The slot it belongs to.
    pub fn slot(&self) -> Slot {
        self.view.hash().slot()
    }

    /// Keeps the value's memory from being reused until [`PinnedValue`] is dropped, beyond the turn. Only large
    /// records, which have memory of their own, can be pinned; `None` means: copy it.
    pub fn pin(&self) -> Option<PinnedValue> {
        if self.view.total() as u64 <= self.shared.run_bytes_min {
            return None;
        }
        let slab = (self.view.location().offset() / self.shared.slab_bytes) as usize;
        self.shared.pins.as_slice()[slab].fetch_add(1, Ordering::AcqRel);
        Some(PinnedValue { shared: Arc::clone(self.shared), location: self.view.location(), slab })
    }
}

/// A large value whose memory stays until this is dropped. Bound to no turn and no thread.
pub struct PinnedValue {
    shared: Arc<Shared>,
    location: Location,
    slab: usize,
}

impl PinnedValue {
    /// The value's bytes.
    pub fn bytes(&self) -> &[u8] {
        RecordView::at(&self.shared.arena, self.location).value()
    }
}

impl Drop for PinnedValue {
    fn drop(&mut self) {
        let before = self.shared.pins.as_slice()[self.slab].fetch_sub(1, Ordering::AcqRel);
        assert!(before > 0, "a pin is let go once");
    }
}
