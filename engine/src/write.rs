//! What a write asks and what it answers, free of protocol words.
//!
//! A [`Write`] borrows its key and value: from a receive buffer when the shard is local, from a mesh batch when
//! it is another worker's. [`Outcome`] is plain data, so that it travels back without an allocation.

use crate::hash::KeyHash;
use crate::time::Expiry;

/// One write to one key.
#[derive(Clone, Copy, Debug)]
pub struct Write<'a> {
    /// `KeyHash::of(key)`.
    pub hash: KeyHash,
    /// 1 to 250 bytes; empty only for [`Op::Flush`].
    pub key: &'a [u8],
    /// What to do.
    pub op: Op<'a>,
}

impl Write<'_> {
    /// Bytes of its key and value.
    #[inline]
    pub fn bytes(&self) -> usize {
        self.key.len() + self.value_bytes()
    }

    /// Bytes of the value that it brings.
    #[inline]
    pub fn value_bytes(&self) -> usize {
        match &self.op {
            Op::Store(store) => store.value.len(),
            _ => 0,
        }
    }
}

/// The kinds of write.
#[derive(Clone, Copy, Debug)]
pub enum Op<'a> {
    /// set, add, replace, append, prepend, cas and `ms`.
    Store(Store<'a>),
    /// delete and `md`.
    Delete(Delete),
    /// incr, decr and `ma`.
    Arithmetic(Arithmetic),
    /// touch, gat and `mg` with `T`: a new expiry for the record, in place.
    Touch {
        /// The new end of life.
        expiry: Expiry,
        /// Mark the record as fetched, as touch does. An answer that shows the record does that itself, later.
        fetches: bool,
    },
    /// `mg` with `N` on a miss: creates an empty record whose creator holds the win token.
    Vivify {
        /// Expiry of the created record.
        expiry: Expiry,
        /// CAS to give instead of the version (`E`).
        explicit_cas: Option<u64>,
    },
    /// flush_all: everything that the node stored up to now is gone, now or at a later second. For any one shard.
    Flush {
        /// `None`: at once. `Some`: when the coarse clock reaches it; replaces a pending one.
        at: Option<crate::time::Seconds>,
    },
}

/// How a store treats what is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreMode {
    /// Whatever is there.
    Set,
    /// Only when nothing is there. `compare` is ignored.
    Add,
    /// Only when something is there.
    Replace,
    /// After the present value; flags and expiry of the present record stay.
    Append,
    /// Before the present value; flags and expiry of the present record stay.
    Prepend,
}

/// Parameters of a store.
#[derive(Clone, Copy, Debug)]
pub struct Store<'a> {
    /// The new value, or the part to join.
    pub value: &'a [u8],
    /// The client's 32 bits.
    pub flags: u32,
    /// End of life of the new record.
    pub expiry: Expiry,
    /// How to treat what is there.
    pub mode: StoreMode,
    /// `cas` and meta `C`: only if the present CAS is this one. Missing record: [`Status::NotFound`].
    pub compare: Option<u64>,
    /// Meta `E`: the CAS to give instead of the version.
    pub explicit_cas: Option<u64>,
    /// Meta `I`: with `compare`, a lower CAS is accepted too and marks the result stale.
    pub invalidate: bool,
    /// Meta `N` with append or prepend: create a missing record with this expiry.
    pub vivify: Option<Expiry>,
}

impl<'a> Store<'a> {
    /// An unconditional set.
    pub fn set(value: &'a [u8], flags: u32, expiry: Expiry) -> Self {
        Self {
            value,
            flags,
            expiry,
            mode: StoreMode::Set,
            compare: None,
            explicit_cas: None,
            invalidate: false,
            vivify: None,
        }
    }
}

/// Parameters of a delete.
#[derive(Clone, Copy, Debug, Default)]
pub struct Delete {
    /// Only if the present CAS is this one.
    pub compare: Option<u64>,
    /// CAS to give when the record stays (`I` or `x`).
    pub explicit_cas: Option<u64>,
    /// Meta `I`: keep the record but mark it stale and free its win token.
    pub invalidate: bool,
    /// Meta `T`: with `invalidate` or `clear`, the expiry to set.
    pub expiry: Option<Expiry>,
    /// Meta `x`: swap in an empty value instead of deleting; flags become `flags`.
    pub clear: bool,
    /// Meta `F` with `clear`.
    pub flags: u32,
}

/// Parameters of arithmetic on a decimal value.
#[derive(Clone, Copy, Debug)]
pub struct Arithmetic {
    /// How much.
    pub delta: u64,
    /// Down instead of up. Up wraps at 2^64, down stops at zero.
    pub decrement: bool,
    /// Only if the present CAS is this one.
    pub compare: Option<u64>,
    /// CAS to give instead of the version.
    pub explicit_cas: Option<u64>,
    /// On a miss create the record: its expiry and its first value (the delta is not applied).
    pub create: Option<(Expiry, u64)>,
    /// New expiry on success.
    pub expiry: Option<Expiry>,
}

/// How a write ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// A store (or vivify, or arithmetic on a present record) took effect.
    Stored,
    /// Vivify or arithmetic created the record.
    Created,
    /// The mode's condition did not hold.
    NotStored,
    /// The compare did not match; for vivify: somebody else's record is there.
    Exists,
    /// No such record.
    NotFound,
    /// The record is gone, or marked (`invalidate`, `clear`).
    Deleted,
    /// The expiry was set.
    Touched,
    /// Larger than the item limit; a present record of that key is gone.
    TooLarge,
    /// No memory could be freed; a present record of that key is gone for a set.
    NoMemory,
    /// The present value is not a decimal number.
    NonNumeric,
    /// The flush was taken.
    Flushed,
    /// No shard says this: the node has refused the write, or can't promise what it should.
    Refused(WriteRefusal),
}

impl Status {
    /// Something is different after the write.
    pub fn is_change(self) -> bool {
        matches!(self, Status::Stored | Status::Created | Status::Deleted | Status::Touched | Status::Flushed)
    }
}

/// Why a node answers a write in its shards' place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteRefusal {
    /// It follows another node, which accepts writes. Nothing was done.
    Replica,
    /// Fewer replicas are there than a write needs. Nothing was done.
    TooFewReplicas,
    /// Too few replicas are near enough. Nothing was done.
    ReplicasLag,
    /// It is done here, but too few replicas have said in time that they have it.
    InDoubt,
}

/// The answer to a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// How it ended.
    pub status: Status,
    /// CAS unique of the record as it stands; 0 when nothing was stored.
    pub cas: u64,
    /// Arithmetic's result.
    pub number: u64,
    /// Length of the value as it stands after the write; of the deleted value after a delete.
    pub value_bytes: u32,
    /// Client flags of the record as it stands.
    pub flags: u32,
    /// Expiry of the record after the write.
    pub expiry: Expiry,
    /// Expiry before a touch or arithmetic (for `t` before `T`).
    pub expiry_before: Expiry,
}

impl Outcome {
    /// An outcome that carries nothing but its status.
    pub fn bare(status: Status) -> Self {
        Self {
            status,
            cas: 0,
            number: 0,
            value_bytes: 0,
            flags: 0,
            expiry: Expiry::NEVER,
            expiry_before: Expiry::NEVER,
        }
    }
}
