//! What two copies compare: a number per slot that depends on its records, and on nothing else.
//!
//! Each living record is mixed to 64 bits from the hash of its key, its version, its checksum and its expiry; a slot's
//! digest is their sum and their count. So neither order nor shards matter, digests of shards add up, and two copies
//! that hold the same differ in no slot. Of slots that differ, [`Shard::slot_list`] tells the records, and of keys that are
//! looked at again [`Shard::look`] does. The checksum is made anew from the bytes: memory that has changed by itself is
//! a difference.

use xxhash_rust::xxh3::xxh3_64;

use crate::export::SlotCursor;
use crate::hash::{KeyHash, Slot};
use crate::limits::{DIGEST_BYTES, DIGEST_RECORDS, SHARDS_MAX, SLOTS};
use crate::reader::{Life, life};
use crate::record::{Kind, Location, RecordView};
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
    /// CRC32C of what never changes in it; its complement where the bytes do not fit it, so that no intact copy equals it.
    pub crc: u32,
    /// When it ends.
    pub expiry: Expiry,
    /// It says that the key was deleted.
    pub is_tombstone: bool,
    /// Its bytes do not fit its checksum.
    pub is_damaged: bool,
}

/// A moment in the life of a node: a position for each of its shards. Another node, whose shards may be others, can say
/// of each of its own records whether it is from before that moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut(Vec<Version>);

impl Cut {
    /// Of the node whose shards stand at these positions.
    ///
    /// # Panics
    ///
    /// When they are none, or more than a node has shards.
    pub fn at(positions: Vec<Version>) -> Self {
        assert!((1..=usize::from(SHARDS_MAX)).contains(&positions.len()), "a position for each shard");
        Self(positions)
    }

    /// After everything.
    pub fn never() -> Self {
        Self(vec![Version(u64::MAX)])
    }

    /// The positions, by shard.
    pub fn positions(&self) -> &[Version] {
        &self.0
    }

    /// The last version of a key that is from before.
    fn up_to(&self, hash: KeyHash) -> Version {
        self.0[usize::from(hash.shard(self.0.len() as u16).0)]
    }
}

/// Some of the slots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotSet(Box<[u64; SLOTS / 64]>);

impl Default for SlotSet {
    fn default() -> Self {
        Self(Box::new([0; SLOTS / 64]))
    }
}

impl SlotSet {
    /// Takes a slot in.
    pub fn insert(&mut self, slot: Slot) {
        self.0[usize::from(slot.0) / 64] |= 1 << (slot.0 % 64);
    }

    /// Whether it is one of them.
    pub fn has(&self, slot: Slot) -> bool {
        self.0[usize::from(slot.0) / 64] >> (slot.0 % 64) & 1 != 0
    }

    /// How many they are.
    pub fn len(&self) -> u32 {
        self.0.iter().map(|word| word.count_ones()).sum()
    }

    /// None at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// As words of 64 slots each, the first slot in the lowest bit of the first one.
    pub fn words(&self) -> &[u64; SLOTS / 64] {
        &self.0
    }

    /// From such words.
    pub fn from_words(words: [u64; SLOTS / 64]) -> Self {
        Self(Box::new(words))
    }
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

    /// How many records they sum up. What another node says of its own may be anything, so it ends at the largest number.
    pub fn records(&self) -> u64 {
        self.0.iter().fold(0, |sum, digest| sum.saturating_add(digest.records))
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

impl FromIterator<SlotDigest> for SlotDigests {
    /// From the digests of the slots in order; of those that are left out nothing is there.
    fn from_iter<I: IntoIterator<Item = SlotDigest>>(digests: I) -> Self {
        let mut all = Self::default();
        all.0.iter_mut().zip(digests).for_each(|(own, digest)| *own = digest);
        all
    }
}

impl RecordDigest {
    fn of(view: RecordView<'_>) -> Self {
        let is_damaged = !view.is_intact();
        Self {
            hash: view.hash(),
            version: view.version(),
            crc: if is_damaged { !view.crc() } else { view.crc() },
            expiry: view.expiry(),
            is_tombstone: view.kind() == Kind::Tombstone,
            is_damaged,
        }
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
    /// Adds the living records from before `cut` in the cursor's slots: some thousand per call, or some hundred KiB. True
    /// when there are no more. A key that lives all the time is counted exactly once, however long it takes. Cost: a
    /// checksum of each record.
    pub fn digest_step(
        &self,
        cursor: &mut SlotCursor,
        digests: &mut SlotDigests,
        cut: &Cut,
        now: Now,
    ) -> bool {
        self.digest(
            cursor,
            |_| true,
            |view, life| {
                if life == Life::Alive && view.version() <= cut.up_to(view.hash()) {
                    digests.add(&RecordDigest::of(view));
                }
            },
            now,
        )
    }

    /// Appends the living records and the tombstones of `slots` to `out`; likewise.
    pub fn slot_list(
        &self,
        cursor: &mut SlotCursor,
        slots: &SlotSet,
        now: Now,
        out: &mut Vec<RecordDigest>,
    ) -> bool {
        self.digest(
            cursor,
            |slot| slots.has(slot),
            |view, life| {
                if matches!(life, Life::Alive | Life::Deleted) {
                    out.push(RecordDigest::of(view));
                }
            },
            now,
        )
    }

    /// Appends the records of keys with these hashes to `out`, as far as they live or are tombstones. Cost: as so many
    /// lookups, and a checksum of each record.
    pub fn look(&self, hashes: &[KeyHash], now: Now, out: &mut Vec<RecordDigest>) {
        let (owner, shared) = (&self.owner, &*self.shared);
        let index = &owner.part(shared).index;
        for hash in hashes {
            let is_asked = |location| self.sound(location).is_some_and(|view| view.hash() == *hash);
            let Some(place) = owner.index.find(index, *hash, is_asked) else { continue };
            let view = RecordView::at(&shared.arena, place.location);
            if matches!(life(view, self.flushed(), now.seconds), Life::Alive | Life::Deleted) {
                out.push(RecordDigest::of(view));
            }
        }
    }

    fn digest(
        &self,
        cursor: &mut SlotCursor,
        is_asked: impl Fn(Slot) -> bool,
        mut take: impl FnMut(RecordView<'_>, Life),
        now: Now,
    ) -> bool {
        let flushed = self.flushed();
        let (mut records, mut bytes) = (0, 0);
        cursor.walk_some(self, is_asked, |view| {
            if let Some(view) = self.sound(view.location()) {
                take(view, life(view, flushed, now.seconds));
                bytes += view.total();
            }
            records += 1;
            records < DIGEST_RECORDS && bytes < DIGEST_BYTES
        });
        cursor.is_done()
    }

    /// The record at a place, unless its lengths can't be a record's: then it can't be told from a missing one.
    fn sound(&self, location: Location) -> Option<RecordView<'_>> {
        let (owner, shared) = (&self.owner, &*self.shared);
        let slab = owner.slabs.get(owner.slab_of(shared, location));
        let end = u64::from(slab.number.0) * shared.slab_bytes + slab.filled;
        let view = RecordView::at(&shared.arena, location);
        view.is_plausible(end - location.offset()).then_some(view)
    }
}
