//! The bytes of a backup, both ways; the picture is in the module above.

use ringcache_engine::limits::{SHARDS_MAX, SLOTS};
use ringcache_engine::{RecordHead, Slot, Version};

use super::{Damage, Fault};

/// The format that this version writes, and the latest that it reads.
pub const FORMAT: u16 = 1;
/// Bytes of a block's head.
pub const HEAD_BYTES: usize = 40;
/// What every block begins with.
pub const BLOCK_MAGIC: [u8; 4] = *b"RBLK";

const MAGIC: [u8; 8] = *b"RINGBACK";
const HEADER_FIXED_BYTES: usize = 56;
const CRC_BYTES: usize = 4;
const CLOSING_FIXED_BYTES: usize = 32;

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Every living record.
    Whole = 0,
    /// Those of some slots.
    Slots = 1,
    /// What changed since another backup.
    Changes = 2,
}

/// What stands at the beginning of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// What the file holds.
    pub kind: Kind,
    /// Random.
    pub identity: u64,
    /// Identity of the backup that this one continues; 0: none.
    pub base: u64,
    /// Which cache it is of.
    pub history: u64,
    /// When it was begun, in Unix milliseconds.
    pub unix_millis: u64,
    /// First slot.
    pub first: Slot,
    /// Last slot, included.
    pub last: Slot,
    /// For each shard of the node: the position since which changes are here.
    pub since: Vec<Version>,
}

impl Header {
    /// The header's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER_FIXED_BYTES + self.since.len() * 8 + CRC_BYTES);
        let bytes = HEADER_FIXED_BYTES + self.since.len() * 8 + CRC_BYTES;
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&FORMAT.to_le_bytes());
        out.extend_from_slice(&[self.kind as u8, 0]);
        out.extend_from_slice(&(bytes as u32).to_le_bytes());
        for word in [self.identity, self.base, self.history, self.unix_millis] {
            out.extend_from_slice(&word.to_le_bytes());
        }
        for word in [self.first.0, self.last.0, self.since.len() as u16, 0] {
            out.extend_from_slice(&word.to_le_bytes());
        }
        self.since.iter().for_each(|version| out.extend_from_slice(&version.0.to_le_bytes()));
        out.extend_from_slice(&crc32c::crc32c(&out).to_le_bytes());
        out
    }

    /// Reads the header at the start of `file`, and tells how many bytes it takes.
    pub fn decode(file: &[u8]) -> Result<(Self, usize), Fault> {
        if !file.starts_with(&MAGIC) {
            return Err(Fault::Foreign);
        }
        let damaged = || Damage::Header.at(0);
        let fixed = file.get(..HEADER_FIXED_BYTES).ok_or_else(damaged)?;
        match u16_at(fixed, 8) {
            0 => return Err(damaged()),
            format if format > FORMAT => return Err(Fault::Newer(format)),
            _ => {}
        }
        let shards = u16_at(fixed, 52);
        let bytes = HEADER_FIXED_BYTES + usize::from(shards) * 8 + CRC_BYTES;
        let whole = file.get(..bytes).filter(|_| u32_at(fixed, 12) as usize == bytes).ok_or_else(damaged)?;
        if crc32c::crc32c(&whole[..bytes - CRC_BYTES]) != u32_at(whole, bytes - CRC_BYTES) {
            return Err(damaged());
        }
        let kind = match fixed[10] {
            0 => Kind::Whole,
            1 => Kind::Slots,
            2 => Kind::Changes,
            _ => return Err(damaged()),
        };
        let header = Self {
            kind,
            identity: u64_at(fixed, 16),
            base: u64_at(fixed, 24),
            history: u64_at(fixed, 32),
            unix_millis: u64_at(fixed, 40),
            first: Slot(u16_at(fixed, 48)),
            last: Slot(u16_at(fixed, 50)),
            since: versions(&whole[HEADER_FIXED_BYTES..bytes - CRC_BYTES]),
        };
        let is_possible = header.first <= header.last
            && usize::from(header.last.0) < SLOTS
            && (1..=SHARDS_MAX).contains(&shards);
        is_possible.then_some((header, bytes)).ok_or_else(damaged)
    }
}

/// What a block is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockKind {
    /// Records.
    Records,
    /// The end of a whole file.
    Closing,
}

/// How a payload is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    /// As it is.
    None,
    /// LZ4, one block of it.
    Lz4,
}

/// What stands before each payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockHead {
    /// What follows.
    pub kind: BlockKind,
    /// How it is stored.
    pub codec: Codec,
    /// The shard that its records come from.
    pub shard: u16,
    /// The file's.
    pub identity: u64,
    /// From zero, without gaps.
    pub number: u32,
    /// Records in it.
    pub records: u32,
    /// Bytes that follow.
    pub stored_bytes: u32,
    /// Bytes of the records.
    pub raw_bytes: u32,
    /// Checksum of the bytes that follow.
    pub payload_crc: u32,
}

impl BlockHead {
    /// The head's bytes.
    pub fn encode(&self) -> [u8; HEAD_BYTES] {
        let mut out = [0; HEAD_BYTES];
        out[0..4].copy_from_slice(&BLOCK_MAGIC);
        out[4] = if self.kind == BlockKind::Records { 1 } else { 2 };
        out[5] = if self.codec == Codec::None { 0 } else { 1 };
        out[6..8].copy_from_slice(&self.shard.to_le_bytes());
        out[8..16].copy_from_slice(&self.identity.to_le_bytes());
        let words = [self.number, self.records, self.stored_bytes, self.raw_bytes, self.payload_crc];
        for (at, word) in words.into_iter().enumerate() {
            out[16 + at * 4..20 + at * 4].copy_from_slice(&word.to_le_bytes());
        }
        let crc = crc32c::crc32c(&out[..HEAD_BYTES - CRC_BYTES]);
        out[HEAD_BYTES - CRC_BYTES..].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// Reads the head at the start of `bytes`; `None` where none is.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.get(..HEAD_BYTES)?;
        let is_intact = bytes.starts_with(&BLOCK_MAGIC)
            && crc32c::crc32c(&bytes[..HEAD_BYTES - CRC_BYTES]) == u32_at(bytes, HEAD_BYTES - CRC_BYTES);
        if !is_intact {
            return None;
        }
        Some(Self {
            kind: match bytes[4] {
                1 => BlockKind::Records,
                2 => BlockKind::Closing,
                _ => return None,
            },
            codec: match bytes[5] {
                0 => Codec::None,
                1 => Codec::Lz4,
                _ => return None,
            },
            shard: u16_at(bytes, 6),
            identity: u64_at(bytes, 8),
            number: u32_at(bytes, 16),
            records: u32_at(bytes, 20),
            stored_bytes: u32_at(bytes, 24),
            raw_bytes: u32_at(bytes, 28),
            payload_crc: u32_at(bytes, 32),
        })
    }
}

/// Sums of records, in whatever order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// How many.
    pub records: u64,
    /// Their bytes.
    pub bytes: u64,
    /// A sum over what tells one record from another: version and checksum, mixed.
    pub digest: u64,
}

impl Tally {
    /// Counts one record.
    #[inline]
    pub fn count(&mut self, version: Version, crc: u32, bytes: usize) {
        self.records += 1;
        self.bytes += bytes as u64;
        self.digest = self.digest.wrapping_add(mix(version.0 ^ u64::from(crc) << 32));
    }

    /// Counts the record with this head.
    #[inline]
    pub fn count_head(&mut self, head: &RecordHead<'_>) {
        self.count(head.version, head.crc, head.total);
    }

    /// Counts what another one has counted.
    pub fn add(&mut self, other: &Tally) {
        self.records += other.records;
        self.bytes += other.bytes;
        self.digest = self.digest.wrapping_add(other.digest);
    }
}

/// Spreads every bit over all of a word (the finisher of SplitMix64; Steele, Lea and Flood, 2014).
#[inline]
fn mix(word: u64) -> u64 {
    let word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ word >> 31
}

/// What the closing block says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closing {
    /// Of all records.
    pub tally: Tally,
    /// When it was finished, in Unix milliseconds.
    pub unix_millis: u64,
    /// For each shard: everything up to here is in this file and those that it continues.
    pub positions: Vec<Version>,
}

impl Closing {
    /// Its payload.
    pub fn encode(&self) -> Vec<u8> {
        let Tally { records, bytes, digest } = self.tally;
        let words = [records, bytes, digest, self.unix_millis];
        let positions = self.positions.iter().map(|version| version.0);
        words.into_iter().chain(positions).flat_map(u64::to_le_bytes).collect()
    }

    /// Reads a payload; `None` where it is none for so many shards.
    pub fn decode(payload: &[u8], shards: usize) -> Option<Self> {
        let payload = Some(payload).filter(|payload| payload.len() == CLOSING_FIXED_BYTES + shards * 8)?;
        let tally =
            Tally { records: u64_at(payload, 0), bytes: u64_at(payload, 8), digest: u64_at(payload, 16) };
        let positions = versions(&payload[CLOSING_FIXED_BYTES..]);
        Some(Self { tally, unix_millis: u64_at(payload, 24), positions })
    }
}

fn versions(bytes: &[u8]) -> Vec<Version> {
    bytes.chunks_exact(8).map(|word| Version(u64_at(word, 0))).collect()
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(bytes[at..at + 2].try_into().expect("two bytes"))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        Header {
            kind: Kind::Changes,
            identity: 1,
            base: 2,
            history: 3,
            unix_millis: 4,
            first: Slot(5),
            last: Slot(16_383),
            since: vec![Version(6), Version(7)],
        }
    }

    #[test]
    fn every_changed_bit_of_a_header_is_noticed() {
        let bytes = header().encode();
        assert_eq!(Header::decode(&bytes).expect("intact"), (header(), bytes.len()));
        assert!((0..bytes.len()).all(|len| Header::decode(&bytes[..len]).is_err()));
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(Header::decode(&damaged).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_later_format_says_so() {
        let mut bytes = header().encode();
        bytes[8] = 2;
        assert!(matches!(Header::decode(&bytes), Err(Fault::Newer(2))));
    }

    #[test]
    fn every_changed_bit_of_a_head_is_noticed() {
        let head = BlockHead {
            kind: BlockKind::Records,
            codec: Codec::Lz4,
            shard: 1,
            identity: 2,
            number: 3,
            records: 4,
            stored_bytes: 5,
            raw_bytes: 6,
            payload_crc: 7,
        };
        let bytes = head.encode();
        assert_eq!(BlockHead::decode(&bytes), Some(head));
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes;
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(BlockHead::decode(&damaged), None, "bit {bit}");
        }
    }

    #[test]
    fn a_tally_does_not_depend_on_order() {
        let (mut forth, mut back) = (Tally::default(), Tally::default());
        (0..100).for_each(|n| forth.count(Version(n), n as u32 * 7, 8));
        (0..100).rev().for_each(|n| back.count(Version(n), n as u32 * 7, 8));
        assert_eq!(forth, back);
        back.count(Version(5), 35, 8);
        assert_ne!(forth.digest, back.digest);
        let closing = Closing { tally: forth, unix_millis: 9, positions: vec![Version(1)] };
        assert_eq!(Closing::decode(&closing.encode(), 1), Some(closing.clone()));
        assert_eq!(Closing::decode(&closing.encode(), 2), None);
    }
}
