//! The head of a record outside of memory: what decides where it goes, before it is installed.

use crate::hash::KeyHash;
use crate::record::received::{RecordError, parse, parse_verified};
use crate::record::{Draft, Kind, Received};
use crate::time::Expiry;
use crate::version::Version;

/// What a record says of itself, its value left aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordHead<'a> {
    /// Bytes of the whole record, padding included: the next one begins behind them.
    pub total: usize,
    /// Its place in the order of writes.
    pub version: Version,
    /// When it ends.
    pub expiry: Expiry,
    /// What it says about its key.
    pub kind: Kind,
    /// Its checksum.
    pub crc: u32,
    /// The key's bytes; none for a flush.
    pub key: &'a [u8],
}

impl<'a> RecordHead<'a> {
    /// Reads the head of the record at the start of `bytes`, which have to hold the whole record. Its checksum is not
    /// compared. Cost: some loads.
    ///
    /// Errors: fewer bytes than the lengths say, an unknown kind, a key length that the kind does not allow.
    pub fn read(bytes: &'a [u8]) -> Result<Self, RecordError> {
        parse_verified(bytes).map(|received| Self::of(&received, bytes))
    }

    /// As [`RecordHead::read`], and compares the checksum. Cost: one pass over the record.
    ///
    /// Errors: those, and bytes that do not fit the checksum.
    pub fn verify(bytes: &'a [u8]) -> Result<Self, RecordError> {
        parse(bytes).map(|received| Self::of(&received, bytes))
    }

    fn of(received: &Received<'a>, bytes: &[u8]) -> Self {
        let Received { draft: Draft { version, expiry, kind, key, .. }, total } = *received;
        let crc = u32::from_le_bytes(bytes[20..24].try_into().expect("a whole header was read"));
        Self { total, version, expiry, kind, crc, key }
    }

    /// The key's hash: it names the shard.
    pub fn hash(&self) -> KeyHash {
        KeyHash::of(self.key)
    }
}
