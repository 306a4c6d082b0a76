//! What a new record is made of, where its parts lie, and how it is written.

use crate::limits::TOMBSTONE_SECONDS;
use crate::record::{HAS_CAS, HAS_FLAGS, HEADER_BYTES, Kind, RECORD_ALIGN, stored_access};
use crate::time::{Expiry, Now, Seconds};
use crate::version::Version;

/// Sizes that decide where the parts of a record are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) key_len: usize,
    pub(crate) value_len: usize,
    pub(crate) has_flags: bool,
    pub(crate) has_cas: bool,
}

impl Shape {
    pub(super) fn key_at(self) -> usize {
        HEADER_BYTES + if self.has_flags { 4 } else { 0 } + if self.has_cas { 8 } else { 0 }
    }

    pub(super) fn end(self) -> usize {
        self.key_at() + self.key_len + self.value_len
    }

    /// Bytes in memory and on the wire, padding included.
    pub(crate) fn total(self) -> usize {
        self.end().next_multiple_of(RECORD_ALIGN)
    }
}

/// Everything that a new record is made of. The value comes in up to two parts, so that append copies once.
#[derive(Clone, Copy)]
pub(crate) struct Draft<'a> {
    pub(crate) version: Version,
    pub(crate) expiry: Expiry,
    pub(crate) access: u32,
    pub(crate) token: u8,
    pub(crate) mark: u8,
    pub(crate) kind: Kind,
    pub(crate) flags: u32,
    pub(crate) explicit_cas: Option<u64>,
    /// The checksum, where the record has one already; else it is made when the record is filled.
    pub(crate) crc: Option<u32>,
    pub(crate) key: &'a [u8],
    pub(crate) value: [&'a [u8]; 2],
}

impl<'a> Draft<'a> {
    /// Says that a key was deleted. Kept for [`TOMBSTONE_SECONDS`].
    pub(crate) fn tombstone(version: Version, key: &'a [u8], now: Now) -> Self {
        Self::change(Kind::Tombstone, version, key, &[], now)
    }

    /// Says that the expiry of a record was changed; `value` is a [`Touched`](crate::record::Touched).
    pub(crate) fn touch(version: Version, key: &'a [u8], value: &'a [u8], now: Now) -> Self {
        Self::change(Kind::Touch, version, key, value, now)
    }

    fn change(kind: Kind, version: Version, key: &'a [u8], value: &'a [u8], now: Now) -> Self {
        Self {
            version,
            expiry: Expiry::at(Seconds(now.seconds.0 + TOMBSTONE_SECONDS)),
            access: stored_access(now.seconds),
            token: 0,
            mark: 0,
            kind,
            flags: 0,
            explicit_cas: None,
            crc: None,
            key,
            value: [value, &[]],
        }
    }

    /// Appends, as it goes on the wire, the word that everything up to `version` is gone.
    pub(crate) fn append_flush(version: Version, out: &mut Vec<u8>) {
        let value = version.0.to_le_bytes();
        let flush = Draft {
            version,
            expiry: Expiry::NEVER,
            access: 0,
            token: 0,
            mark: 0,
            kind: Kind::Flush,
            flags: 0,
            explicit_cas: None,
            crc: None,
            key: &[],
            value: [&value, &[]],
        };
        flush.append_to(out);
    }
}

impl Draft<'_> {
    pub(crate) fn shape(&self) -> Shape {
        Shape {
            key_len: self.key.len(),
            value_len: self.value[0].len() + self.value[1].len(),
            has_flags: self.flags != 0,
            has_cas: self.explicit_cas.is_some(),
        }
    }

    /// Appends the record's bytes, as they go on the wire.
    pub(crate) fn append_to(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.resize(start + self.shape().total(), 0);
        self.fill(&mut out[start..]);
    }

    /// Writes the record's bytes; `bytes` is exactly `shape().total()` long.
    pub(crate) fn fill(&self, bytes: &mut [u8]) {
        let shape = self.shape();
        assert_eq!(bytes.len(), shape.total(), "a record fills what was reserved for it");
        bytes[0..8].copy_from_slice(&self.version.0.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.expiry.to_bits().to_le_bytes());
        bytes[12..16].copy_from_slice(&self.access.to_le_bytes());
        bytes[16..20].copy_from_slice(&(shape.value_len as u32).to_le_bytes());
        bytes[24] = shape.key_len as u8;
        bytes[25] = self.kind as u8
            | if shape.has_flags { HAS_FLAGS } else { 0 }
            | if shape.has_cas { HAS_CAS } else { 0 };
        bytes[26] = self.token;
        bytes[27] = self.mark;
        let mut at = HEADER_BYTES;
        if shape.has_flags {
            bytes[at..at + 4].copy_from_slice(&self.flags.to_le_bytes());
            at += 4;
        }
        if let Some(cas) = self.explicit_cas {
            bytes[at..at + 8].copy_from_slice(&cas.to_le_bytes());
            at += 8;
        }
        for part in [self.key, self.value[0], self.value[1]] {
            bytes[at..at + part.len()].copy_from_slice(part);
            at += part.len();
        }
        bytes[at..].fill(0);
        let rest = &bytes[HEADER_BYTES..at];
        let crc = self
            .crc
            .unwrap_or_else(|| checksum(self.version, shape.value_len as u32, bytes[24], bytes[25], rest));
        bytes[20..24].copy_from_slice(&crc.to_le_bytes());
    }
}

/// CRC32C over the immutable bytes: version, value length, key length, kind, then all that follows the header.
pub(super) fn checksum(version: Version, value_len: u32, key_len: u8, kind: u8, rest: &[u8]) -> u32 {
    let mut fixed = [0u8; 14];
    fixed[0..8].copy_from_slice(&version.0.to_le_bytes());
    fixed[8..12].copy_from_slice(&value_len.to_le_bytes());
    fixed[12] = key_len;
    fixed[13] = kind;
    crc32c::crc32c_append(crc32c::crc32c(&fixed), rest)
}
