//! What two copies compare: a number per slot that depends on its records, and on nothing else.
//!
//! Each living record is mixed to 64 bits from the hash of its key, its version, its checksum and its expiry; a slot's
//! digest is their sum and their count. So neither order nor shards matter, digests of shards add up, and two copies
//! that hold the same differ in no slot. Of a slot that differs, [`Shard::slot_list`] tells the records.

use xxhash_rust::xxh3::xxh3_64;

use crate::export::SlotCursor;
use crate::hash::{KeyHash, Slot};
use crate::limits::{DIGEST_RECORDS, SLOTS};
use crate::reader::{Life, life};
use crate::record::RecordView;
use crate::shard::Shard;
use crate::time::{Expiry, Now};
use crate::version::Version;

/// One slot's digest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SlotDigest {
    /// Of all its records, modulo 2^64.
    pub sum: u64,
    /// How many they are.
    pub records: u64,
}

/// The digests of all slots: 256 KiB.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotDigests(Box<[SlotDigest]>);

/// What a record is compared by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordDigest {
    /// Of its key.
    pub hash: KeyHash,
    /// Its place in the order of writes.
    pub version: Version,
    /// CRC32C of what never changes in it.
    pub crc: u32,
    /// When it ends.
    pub expiry: Expiry,
}

impl Default for SlotDigests {
    fn default() -> Self {
        Self(vec![SlotDigest::default(); SLOTS].into_boxed_slice())
    }
}

impl SlotDigests {
    /// Takes a record in.
    pub fn add(&mut self, record: &RecordDigest) {
        self.add_slot(record.hash.slot(), SlotDigest { sum: record.mix(), records: 1 });
    }

    /// Takes a slot's digest in: another shard's, or one that came over a link.
    pub fn add_slot(&mut self, slot: Slot, digest: SlotDigest) {
        let sum = &mut self.0[usize::from(slot.0)];
        sum.sum = sum.sum.wrapping_add(digest.sum);
        sum.records += digest.records;
    }

    /// Takes in what another shard holds.
    pub fn merge(&mut self, other: &Self) {
        other.iter().for_each(|(slot, digest)| self.add_slot(slot, digest));
    }

    /// All slots in order.
    pub fn iter(&self) -> impl Iterator<Item = (Slot, SlotDigest)> {
        self.0.iter().enumerate().map(|(slot, digest)| (Slot(slot as u16), *digest))
    }

    /// The slots in which two copies differ.
    pub fn differing(&self, other: &Self) -> Vec<Slot> {
        let pairs = self.iter().zip(&other.0);
        pairs.filter(|((_, digest), other)| digest != *other).map(|((slot, _), _)| slot).collect()
    }
}

impl RecordDigest {
    fn of(view: RecordView<'_>) -> Self {
        Self { hash: view.hash(), version: view.version(), crc: view.crc(), expiry: view.expiry() }
    }

    fn mix(&self) -> u64 {
        let mut bytes = [0; 24];
        bytes[..8].copy_from_slice(&self.hash.0.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.version.0.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.crc.to_le_bytes());
        bytes[20..].copy_from_slice(&self.expiry.to_bits().to_le_bytes());
        xxh3_64(&bytes)
    }
}

impl Shard {
    /// Adds the living records of the cursor's slots with versions up to `up_to`: some thousand per call. True when
    /// there are no more. A key that lives all the time is counted exactly once, however long it takes. Cost: one line
    /// of each record.
    pub fn digest_step(
        &self,
        cursor: &mut SlotCursor,
        digests: &mut SlotDigests,
        up_to: Version,
        now: Now,
    ) -> bool {
        self.digest(cursor, up_to, now, |record| digests.add(&record))
    }

    /// The same records one by one, appended to `out`.
    pub fn slot_list(
        &self,
        cursor: &mut SlotCursor,
        up_to: Version,
        now: Now,
        out: &mut Vec<RecordDigest>,
    ) -> bool {
        self.digest(cursor, up_to, now, |record| out.push(record))
    }

    fn digest(
        &self,
        cursor: &mut SlotCursor,
        up_to: Version,
        now: Now,
        mut take: impl FnMut(RecordDigest),
    ) -> bool {
        let flushed = self.flushed();
        let mut left = DIGEST_RECORDS;
        cursor.walk(self, |view| {
            if view.version() <= up_to && life(view, flushed, now.seconds) == Life::Alive {
                take(RecordDigest::of(view));
            }
            left = usize::saturating_sub(left, 1);
            left > 0
        });
        cursor.is_done()
    }
}
