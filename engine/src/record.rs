//! The record: the same bytes in memory, on a link and in a file.
//!
//! ```text
//!  0        8         12        16          20     24      25     26     27     28
//! +--------+---------+---------+-----------+------+-------+------+------+------+- - - - -+- - - -+-----+-------+
//! | version| expiry  | access  | value len | crc  | key   | kind | token| mark | flags   | cas   | key | value |
//! | u64    | u32 (a) | u32 (a) | u32       | u32  | len u8| u8   | u8(a)| u8(a)| u32 (o) | u64(o)|     |       |
//! +--------+---------+---------+-----------+------+-------+------+------+------+- - - - -+- - - -+-----+-------+
//! ```
//!
//! Little-endian, at a multiple of 4 bytes, padded to one. (a): changed in place through atomics; everything else
//! never changes after publication and is what the CRC32C covers. (o): there only when its bit in `kind` is set.
//!
//! ```text
//! access   31 .. 28 | 27      | 26 ........ 0                  token   7 .. 4 | 3    | 2    | 1     | 0
//!          credit   | fetched | last access, seconds mod 2^27          zero   | lost | late | taken | stale
//! kind     7 .. 6 | 5       | 4         | 3 .. 0
//!          zero   | has cas | has flags | value 0, tombstone 1, touch 2, flush 3
//! ```
//!
//! `lost`, `late` and `mark` are this node's own notes, zero on the wire: what those who follow the log must know of a
//! dead record, and how a record was received (`install.rs`).
#![allow(unsafe_code)]

mod draft;
mod head;
mod received;
mod touched;

use std::sync::atomic::Ordering;

use crate::hash::KeyHash;
use crate::memory::{Arena, Reservation};
use crate::reader::Parts;
use crate::time::{Expiry, Seconds};
use crate::version::Version;

use draft::checksum;
pub(crate) use draft::{Draft, Shape};
pub use head::RecordHead;
pub(crate) use received::{Received, parse, parse_verified};
pub use received::{RecordError, record_bytes};
pub(crate) use touched::Touched;

/// Bytes before the optional fields.
pub(crate) const HEADER_BYTES: usize = 28;
/// Records start at multiples of this.
pub(crate) const RECORD_ALIGN: usize = 4;

const EXPIRY_AT: u64 = 8;
const ACCESS_AT: u64 = 12;
const VALUE_LEN_AT: u64 = 16;
const CRC_AT: u64 = 20;
const SHAPE_AT: u64 = 24;
const TOKEN_AT: u64 = 26;
const MARK_AT: u64 = 27;

const HAS_FLAGS: u8 = 1 << 4;
const HAS_CAS: u8 = 1 << 5;
const KIND_MASK: u8 = 0x0f;

const ACCESS_SECONDS_MASK: u32 = (1 << 27) - 1;
const ACCESS_FETCHED: u32 = 1 << 27;
const ACCESS_CREDIT_SHIFT: u32 = 28;
/// Credit saturates here: four bits.
pub(crate) const CREDIT_MAX: u32 = 15;
/// What a new record begins with.
pub(crate) const CREDIT_OF_A_STORE: u32 = 2;
/// What each access earns (docs/decisions/0005-eviction.md).
pub(crate) const CREDIT_OF_AN_ACCESS: u32 = 3;

pub(crate) const TOKEN_STALE: u8 = 1;
pub(crate) const TOKEN_TAKEN: u8 = 2;
/// The bits of the token that clients know of.
pub(crate) const TOKEN_OF_CLIENTS: u8 = TOKEN_STALE | TOKEN_TAKEN;
/// It was installed with a version below positions that had been given: who follows the log tells by this that it is
/// new to him (`log.rs`).
pub(crate) const TOKEN_LATE: u8 = 4;
/// It is dead, and was the last word about its key: no newer record took its place.
pub(crate) const TOKEN_LOST: u8 = 8;

const _: () = assert!(SHAPE_AT as usize + 4 == HEADER_BYTES);
const _: () = assert!(ACCESS_CREDIT_SHIFT == ACCESS_FETCHED.trailing_zeros() + 1);
const _: () = assert!(CREDIT_MAX == u32::MAX >> ACCESS_CREDIT_SHIFT);

/// What a record says about its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// It has this value.
    Value = 0,
    /// It was deleted.
    Tombstone = 1,
    /// Its expiry changed; the value is the version that it changed.
    Touch = 2,
    /// Everything up to the version in the value is gone; no key.
    Flush = 3,
}

impl Kind {
    fn of(byte: u8) -> Option<Self> {
        Some(match byte & KIND_MASK {
            0 => Kind::Value,
            1 => Kind::Tombstone,
            2 => Kind::Touch,
            3 => Kind::Flush,
            _ => return None,
        })
    }
}

/// Place of a published record in the arena, in units of 4 bytes; 40 bits, never zero.
///
/// A `Location` is the proof that [`RecordView::at`] asks for. It is made in two places only: by the owner's slab
/// when a record is published there, and by a bucket from the word that the owner stored. Whoever holds one
/// must let go of it before its reader's turn ends (the public API ties it to the reader's borrow), and an owner
/// before it retires the slab.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Location(u64);

impl Location {
    /// Bits of a location.
    pub(crate) const BITS: u32 = 40;

    /// From the byte offset of a published record.
    #[inline]
    pub(crate) fn from_offset(offset: u64) -> Self {
        debug_assert!(offset != 0 && offset.is_multiple_of(RECORD_ALIGN as u64));
        debug_assert!(offset < crate::limits::ARENA_BYTES_MAX);
        Self(offset / RECORD_ALIGN as u64)
    }

    /// From the low bits of an index word that is not empty.
    #[inline]
    pub(crate) fn from_bits(bits: u64) -> Self {
        Self(bits & ((1 << Self::BITS) - 1))
    }

    /// As the low bits of an index word.
    #[inline]
    pub(crate) fn to_bits(self) -> u64 {
        self.0
    }

    /// Byte offset in the arena.
    #[inline]
    pub(crate) fn offset(self) -> u64 {
        self.0 * RECORD_ALIGN as u64
    }
}

/// Writes a record where the owner reserved room for it. Others learn of it when its location is stored in a bucket.
pub(crate) fn publish(arena: &Arena, room: Reservation, draft: &Draft<'_>) -> Location {
    // SAFETY: a reservation stands for clauses 1 and 4, and it is consumed here.
    draft.fill(unsafe { arena.reserved(room.offset, room.bytes) });
    Location::from_offset(room.offset)
}

/// The access word of a record stored at `now`.
#[inline]
pub(crate) fn stored_access(now: Seconds) -> u32 {
    access_word(now, false, CREDIT_OF_A_STORE)
}

/// An access word with another credit.
#[inline]
pub(crate) fn with_credit(access: u32, credit: u32) -> u32 {
    access & !(u32::MAX << ACCESS_CREDIT_SHIFT) | credit.min(CREDIT_MAX) << ACCESS_CREDIT_SHIFT
}

#[inline]
fn access_word(now: Seconds, fetched: bool, credit: u32) -> u32 {
    (now.0 & ACCESS_SECONDS_MASK)
        | if fetched { ACCESS_FETCHED } else { 0 }
        | credit.min(CREDIT_MAX) << ACCESS_CREDIT_SHIFT
}

/// Compares two keys, word by word in place: most are too short to be worth the call of a general comparison.
#[inline]
fn is_same(one: &[u8], other: &[u8]) -> bool {
    if one.len() != other.len() {
        return false;
    }
    let (words, _) = one.as_chunks::<8>();
    let (other_words, _) = other.as_chunks::<8>();
    match (one.last_chunk::<8>(), other.last_chunk::<8>()) {
        // The last eight bytes overlap the words before them.
        (Some(last), Some(other_last)) => last == other_last && words.iter().eq(other_words),
        _ => one.iter().eq(other),
    }
}

/// A published record in the arena.
#[derive(Clone, Copy)]
pub(crate) struct RecordView<'a> {
    arena: &'a Arena,
    offset: u64,
}

impl<'a> RecordView<'a> {
    /// The record at `location`; see [`Location`] for why this needs no more proof.
    #[inline]
    pub(crate) fn at(arena: &'a Arena, location: Location) -> Self {
        Self { arena, offset: location.offset() }
    }

    #[inline]
    pub(crate) fn location(self) -> Location {
        Location::from_offset(self.offset)
    }

    #[inline]
    fn load32(self, at: u64) -> u32 {
        // SAFETY: the location was published (3), so a whole header lies there (1), 4-aligned (2).
        unsafe { self.arena.word32(self.offset + at) }.load(Ordering::Relaxed)
    }

    #[inline]
    fn store32(self, at: u64, word: u32) {
        // SAFETY: as for `load32`; only the two mutable words are ever stored to.
        unsafe { self.arena.word32(self.offset + at) }.store(word, Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn version(self) -> Version {
        Version(u64::from_le_bytes(self.bytes(0, 8).try_into().expect("eight bytes")))
    }

    #[inline]
    pub(crate) fn expiry(self) -> Expiry {
        Expiry::from_bits(self.load32(EXPIRY_AT))
    }

    /// Only the owner calls this.
    #[inline]
    pub(crate) fn set_expiry(self, expiry: Expiry) {
        self.store32(EXPIRY_AT, expiry.to_bits());
    }

    #[inline]
    pub(crate) fn access(self) -> u32 {
        self.load32(ACCESS_AT)
    }

    /// Only the owner calls this; a reader's mark may overwrite it, which is harmless.
    pub(crate) fn set_access(self, access: u32) {
        self.store32(ACCESS_AT, access);
    }

    #[inline]
    pub(crate) fn fetched(self) -> bool {
        self.access() & ACCESS_FETCHED != 0
    }

    #[inline]
    pub(crate) fn credit(self) -> u32 {
        self.access() >> ACCESS_CREDIT_SHIFT
    }

    #[inline]
    pub(crate) fn idle_seconds(self, now: Seconds) -> u32 {
        now.0.wrapping_sub(self.access()) & ACCESS_SECONDS_MASK
    }

    /// Counts an access. Racing readers may lose one of two increments, which is harmless.
    #[inline]
    pub(crate) fn mark_access(self, now: Seconds) {
        self.count_access(now, true);
    }

    /// As [`RecordView::mark_access`], for a use that showed the value to nobody: an add that found the record.
    pub(crate) fn mark_found(self, now: Seconds) {
        self.count_access(now, self.access() & ACCESS_FETCHED != 0);
    }

    #[inline]
    fn count_access(self, now: Seconds, is_fetched: bool) {
        let before = self.access();
        let latest = access_word(now, is_fetched, (before >> ACCESS_CREDIT_SHIFT) + CREDIT_OF_AN_ACCESS);
        if latest != before {
            self.store32(ACCESS_AT, latest);
        }
    }

    #[inline]
    pub(crate) fn token(self) -> u8 {
        // SAFETY: clauses 1 and 3 hold for a published location.
        unsafe { self.arena.byte(self.offset + TOKEN_AT) }.load(Ordering::Relaxed)
    }

    /// True for the one caller that turned the token from free to taken.
    #[inline]
    pub(crate) fn take_token(self) -> bool {
        // SAFETY: clauses 1 and 3 hold for a published location.
        let token = unsafe { self.arena.byte(self.offset + TOKEN_AT) };
        token.load(Ordering::Relaxed) & TOKEN_TAKEN == 0
            && token.fetch_or(TOKEN_TAKEN, Ordering::AcqRel) & TOKEN_TAKEN == 0
    }

    /// Notes that it died as the last word about its key.
    pub(crate) fn set_lost(self) {
        // SAFETY: clauses 1 and 3 hold for a published location.
        unsafe { self.arena.byte(self.offset + TOKEN_AT) }.fetch_or(TOKEN_LOST, Ordering::Relaxed);
    }

    /// The copy that it was last received in; zero for none.
    pub(crate) fn mark(self) -> u8 {
        // SAFETY: clauses 1 and 3 hold for a published location.
        unsafe { self.arena.byte(self.offset + MARK_AT) }.load(Ordering::Relaxed)
    }

    /// Only the owner calls this.
    pub(crate) fn set_mark(self, mark: u8) {
        // SAFETY: clauses 1 and 3 hold for a published location.
        unsafe { self.arena.byte(self.offset + MARK_AT) }.store(mark, Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn shape(self) -> Shape {
        let [key_len, kind] = self.key_len_and_kind();
        Shape {
            key_len: usize::from(key_len),
            value_len: self.load32(VALUE_LEN_AT) as usize,
            has_flags: kind & HAS_FLAGS != 0,
            has_cas: kind & HAS_CAS != 0,
        }
    }

    #[inline]
    pub(crate) fn kind(self) -> Kind {
        Kind::of(self.key_len_and_kind()[1]).expect("only known kinds are published")
    }

    /// The two immutable bytes beside the token, which has accesses of its own.
    #[inline]
    fn key_len_and_kind(self) -> [u8; 2] {
        self.bytes(SHAPE_AT as usize, 2).try_into().expect("two bytes")
    }

    #[inline]
    fn bytes(self, at: usize, len: usize) -> &'a [u8] {
        // SAFETY: the callers stay inside the record's shape (1) and off its mutable words (3).
        unsafe { self.arena.published(self.offset + at as u64, len) }
    }

    #[inline]
    pub(crate) fn flags(self) -> u32 {
        if !self.shape().has_flags {
            return 0;
        }
        u32::from_le_bytes(self.bytes(HEADER_BYTES, 4).try_into().expect("four bytes"))
    }

    /// The CAS unique: the one a client gave, else the version.
    #[inline]
    pub(crate) fn cas(self) -> u64 {
        let shape = self.shape();
        if !shape.has_cas {
            return self.version().0;
        }
        u64::from_le_bytes(self.bytes(shape.key_at() - 8, 8).try_into().expect("eight bytes"))
    }

    #[inline]
    pub(crate) fn explicit_cas(self) -> Option<u64> {
        self.shape().has_cas.then(|| self.cas())
    }

    #[inline]
    pub(crate) fn key(self) -> &'a [u8] {
        let shape = self.shape();
        self.bytes(shape.key_at(), shape.key_len)
    }

    #[inline]
    pub(crate) fn parts(self) -> Parts<'a> {
        let shape = self.shape();
        let key_at = shape.key_at();
        Parts {
            flags: if shape.has_flags { self.flags() } else { 0 },
            key: self.bytes(key_at, shape.key_len),
            value: self.bytes(key_at + shape.key_len, shape.value_len),
        }
    }

    /// Whether this is the record of `key`.
    #[inline]
    pub(crate) fn has_key(self, key: &[u8]) -> bool {
        is_same(self.key(), key)
    }

    #[inline]
    pub(crate) fn value(self) -> &'a [u8] {
        let shape = self.shape();
        self.bytes(shape.key_at() + shape.key_len, shape.value_len)
    }

    #[inline]
    pub(crate) fn total(self) -> usize {
        self.shape().total()
    }

    #[inline]
    pub(crate) fn hash(self) -> KeyHash {
        KeyHash::of(self.key())
    }

    /// The checksum that it was published with.
    pub(crate) fn crc(self) -> u32 {
        self.load32(CRC_AT)
    }

    /// Whether its kind and its lengths can be those of a record of at most `left` bytes.
    pub(crate) fn is_plausible(self, left: u64) -> bool {
        let [key_len, kind] = self.key_len_and_kind();
        left >= HEADER_BYTES as u64
            && Kind::of(kind).is_some()
            && usize::from(key_len) <= crate::limits::KEY_BYTES_MAX
            && self.total() as u64 <= left
    }

    /// Whether the checksum still fits the bytes: what the scrubber and every receiver ask.
    pub(crate) fn is_intact(self) -> bool {
        let shape = self.shape();
        let [key_len, kind] = self.key_len_and_kind();
        let rest = self.bytes(HEADER_BYTES, shape.end() - HEADER_BYTES);
        let crc = checksum(self.version(), shape.value_len as u32, key_len, kind, rest);
        crc == self.crc()
    }

    /// The record as a draft that makes the same record elsewhere.
    pub(crate) fn draft(self) -> Draft<'a> {
        Draft {
            version: self.version(),
            expiry: self.expiry(),
            access: self.access(),
            token: self.token(),
            mark: self.mark(),
            kind: self.kind(),
            flags: self.flags(),
            explicit_cas: self.explicit_cas(),
            crc: None,
            key: self.key(),
            value: [self.value(), &[]],
        }
    }

    /// Appends the record's bytes as they go on the wire, mutable words as they stand.
    pub(crate) fn copy_to(self, out: &mut Vec<u8>) {
        self.copy_part_to(self.total(), out);
    }

    /// Appends the bytes before the value, as they go on the wire.
    pub(crate) fn copy_head_to(self, out: &mut Vec<u8>) {
        let shape = self.shape();
        self.copy_part_to(shape.key_at() + shape.key_len, out);
    }

    /// The zeros behind the value.
    pub(crate) fn padding(self) -> u8 {
        let shape = self.shape();
        (shape.total() - shape.end()) as u8
    }

    fn copy_part_to(self, len: usize, out: &mut Vec<u8>) {
        out.reserve(len);
        out.extend_from_slice(&self.version().0.to_le_bytes());
        out.extend_from_slice(&self.expiry().to_bits().to_le_bytes());
        out.extend_from_slice(&self.access().to_le_bytes());
        out.extend_from_slice(&self.load32(VALUE_LEN_AT).to_le_bytes());
        out.extend_from_slice(&self.load32(CRC_AT).to_le_bytes());
        out.extend_from_slice(&self.key_len_and_kind());
        out.extend_from_slice(&[self.token() & TOKEN_OF_CLIENTS, 0]);
        out.extend_from_slice(self.bytes(HEADER_BYTES, len - HEADER_BYTES));
    }
}

#[cfg(test)]
mod tests {
    use super::is_same;

    #[test]
    fn keys_are_the_same_only_when_every_byte_is() {
        for length in 0..40 {
            let one: Vec<u8> = (0..length).collect();
            assert!(is_same(&one, &one.clone()));
            assert!(!is_same(&one, &[&one[..], &[0]].concat()), "one byte longer than {length}");
            for place in 0..usize::from(length) {
                let mut other = one.clone();
                other[place] ^= 0x80;
                assert!(!is_same(&one, &other), "byte {place} of {length}");
            }
        }
    }
}
