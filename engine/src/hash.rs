//! The hash of a key and what its bits decide.
//!
//! ```text
//!  63          50 49                            18 17         10 9            0
//! +--------------+--------------------------------+-------------+--------------+
//! | slot (14)    | bucket order                   | shard       | rest of tag  |
//! +--------------+--------------------------------+-------------+--------------+
//! tag = slot, rest of tag
//! ```
//!
//! The parts do not overlap where it matters: a node that owns a tenth of the slots still fills all its buckets, and
//! a shard's keys are spread over all of them. The slot is in the tag, so that a cursor tells a slot's keys apart
//! without touching their records (docs/decisions/0001-index.md).

use xxhash_rust::xxh3::xxh3_64;

use crate::limits::SLOT_BITS;

/// Low bits of the hash that complete the tag.
const TAG_REST_BITS: u32 = 10;
/// Where the sixteen bits begin of which the shard is made; the lower ones hardly count.
const SHARD_SHIFT: u32 = 2;

/// A place in the order of buckets: the hash with its slot turned to the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Order(pub(crate) u64);

/// XXH3-64 of the key, unseeded: every node must agree on it, because the slot is part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyHash(pub u64);

/// Routing unit of the key space: the top 14 bits of the hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(pub u16);

/// One worker's part of the data of a node, counted from zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardId(pub u16);

impl KeyHash {
    /// Hashes `key`. Cost: about 3 ns for 20 bytes.
    #[inline]
    pub fn of(key: &[u8]) -> Self {
        Self(xxh3_64(key))
    }

    /// The slot that owns the key, on every node alike.
    #[inline]
    pub fn slot(self) -> Slot {
        Slot((self.0 >> (64 - SLOT_BITS)) as u16)
    }

    /// The shard that holds the key on a node with `shards` shards.
    #[inline]
    pub fn shard(self, shards: u16) -> ShardId {
        let part = self.0 >> SHARD_SHIFT & 0xffff;
        ShardId(((part * u64::from(shards)) >> 16) as u16)
    }

    /// The 24 bits that the index keeps of a key: its slot, and ten bits more to tell keys of one bucket apart.
    #[inline]
    pub(crate) fn tag(self) -> u32 {
        (u32::from(self.slot().0) << TAG_REST_BITS) | (self.0 & ((1 << TAG_REST_BITS) - 1)) as u32
    }

    /// Where the key stands in bucket order.
    #[inline]
    pub(crate) fn order(self) -> Order {
        Order(self.0.rotate_left(SLOT_BITS))
    }
}

impl Order {
    /// The bucket of this place in the order among `buckets`, for any number of buckets.
    #[inline]
    pub(crate) fn bucket(self, buckets: u64) -> u64 {
        ((u128::from(self.0) * u128::from(buckets)) >> 64) as u64
    }

    /// The first place of a bucket, or `None` past the last one.
    pub(crate) fn first_of(bucket: u64, buckets: u64) -> Option<Self> {
        let scaled = u128::from(bucket) << 64;
        (bucket < buckets).then(|| Self(scaled.div_ceil(u128::from(buckets)) as u64))
    }
}

/// The slot of the key that a tag was made of.
#[inline]
pub(crate) fn slot_of_tag(tag: u32) -> Slot {
    Slot((tag >> TAG_REST_BITS) as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_a_bucket_is_in_it_and_the_one_before_is_not() {
        for buckets in [64u64, 65, 80, 1000, 12_345_677] {
            for bucket in [1, 2, 63, buckets / 2, buckets - 1] {
                let first = Order::first_of(bucket, buckets).expect("inside");
                assert_eq!(first.bucket(buckets), bucket);
                assert_eq!(Order(first.0 - 1).bucket(buckets), bucket - 1);
            }
            assert!(Order::first_of(buckets, buckets).is_none());
        }
    }

    #[test]
    fn shards_and_slots_get_equal_parts() {
        let mut shards = [0u32; 3];
        let mut halves = [0u32; 2];
        for key in 0..30_000u32 {
            let hash = KeyHash::of(&key.to_le_bytes());
            shards[usize::from(hash.shard(3).0)] += 1;
            halves[usize::from(hash.slot().0 >> 13)] += 1;
            assert_eq!(slot_of_tag(hash.tag()), hash.slot());
        }
        assert!(shards.iter().all(|count| (9_500..10_500).contains(count)), "{shards:?}");
        assert!(halves.iter().all(|count| (14_500..15_500).contains(count)), "{halves:?}");
    }
}
