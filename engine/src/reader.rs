//! The lock-free read side: any worker reads any shard.

use crate::{Expiry, KeyHash, Now, Seconds, Slot};

/// Reads every shard of a node. One per worker; it takes part in reclamation under its own number.
///
/// What it returns borrows the reader, and [`Reader::end_turn`] takes `&mut self`: a record can't outlive the
/// turn in which it was found.
pub struct Reader {
    _not_sync: std::marker::PhantomData<std::cell::Cell<()>>,
}

/// A place where a key may be: one bucket line has been read and the record's first lines are on their way.
#[derive(Clone, Copy)]
pub struct Candidate<'r> {
    _reader: std::marker::PhantomData<&'r Reader>,
}

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
    _reader: std::marker::PhantomData<&'r Reader>,
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
    /// Starts loading the bucket line of `hash`.
    #[inline]
    pub fn prefetch(&self, _hash: KeyHash) {
        unreachable!()
    }
    /// Probes the bucket and starts loading the record. Call some time after [`Reader::prefetch`].
    #[inline]
    pub fn candidate(&self, _hash: KeyHash) -> Candidate<'_> {
        unreachable!()
    }
    /// Compares the key at `candidate`; looks again from the bucket when it is another key's.
    #[inline]
    pub fn resolve<'r>(
        &'r self,
        _candidate: Candidate<'r>,
        _hash: KeyHash,
        _key: &[u8],
        _now: Now,
    ) -> Lookup<'r> {
        unreachable!()
    }
    /// One lookup without batching.
    #[inline]
    pub fn get(&self, _hash: KeyHash, _key: &[u8], _now: Now) -> Lookup<'_> {
        unreachable!()
    }
    /// Number of shards of the node.
    pub fn shards(&self) -> u16 {
        unreachable!()
    }
    /// Announces that this worker holds no record any more. One store and one fence.
    #[inline]
    pub fn end_turn(&mut self) {
        unreachable!()
    }
    /// Announces sleep: reclamation does not wait for this reader until the guard is dropped.
    pub fn sleep(&mut self) -> Asleep<'_> {
        unreachable!()
    }
}

/// While it lives the reader is asleep and can't be used.
pub struct Asleep<'r> {
    _reader: &'r mut Reader,
}

impl<'r> RecordRef<'r> {
    /// The key's bytes.
    #[inline]
    pub fn key(&self) -> &'r [u8] {
        unreachable!()
    }
    /// The value's bytes.
    #[inline]
    pub fn value(&self) -> &'r [u8] {
        unreachable!()
    }
    /// The client's 32 bits.
    #[inline]
    pub fn flags(&self) -> u32 {
        unreachable!()
    }
    /// The CAS unique: the version, or the one a client gave with meta `E`.
    #[inline]
    pub fn cas(&self) -> u64 {
        unreachable!()
    }
    /// When it ends.
    #[inline]
    pub fn expiry(&self) -> Expiry {
        unreachable!()
    }
    /// Whether it has been fetched since it was stored (meta `h`).
    #[inline]
    pub fn fetched(&self) -> bool {
        unreachable!()
    }
    /// Seconds since the last access (meta `l`).
    #[inline]
    pub fn idle_seconds(&self, _now: Seconds) -> u32 {
        unreachable!()
    }
    /// Marks an access: fetched, last access, frequency. A relaxed store, skipped when nothing changes.
    #[inline]
    pub fn mark_access(&self, _now: Seconds) {
        unreachable!()
    }
    /// State of the win token.
    #[inline]
    pub fn token(&self) -> Token {
        unreachable!()
    }
    /// Takes the win token; true for exactly one caller among all workers until it is freed again.
    #[inline]
    pub fn take_token(&self) -> bool {
        unreachable!()
    }
    /// Bytes of the whole record in memory, header included.
    pub fn footprint(&self) -> usize {
        unreachable!()
    }
    /// The slot it belongs to.
    pub fn slot(&self) -> Slot {
        unreachable!()
    }
    /// Keeps the value's memory from being reused until [`PinnedValue`] is dropped, beyond the turn. Only large
    /// records, which have memory of their own, can be pinned; `None` means: copy it.
    pub fn pin(&self) -> Option<PinnedValue> {
        unreachable!()
    }
}

/// A large value whose memory stays until this is dropped. Not bound to a turn; it stays on its worker.
pub struct PinnedValue {
    _p: std::marker::PhantomData<*const ()>,
}

impl PinnedValue {
    /// The value's bytes.
    pub fn bytes(&self) -> &[u8] {
        unreachable!()
    }
}
