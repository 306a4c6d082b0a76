//! Records that came from elsewhere, checked before anything is believed.

use crate::record::draft::{Draft, Shape, checksum};
use crate::record::{HAS_CAS, HAS_FLAGS, HEADER_BYTES, Kind, TOKEN_OF_CLIENTS};
use crate::time::Expiry;
use crate::version::Version;

/// Why received bytes are no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Fewer bytes than the header or the lengths say.
    #[error("record cut short: {have} bytes of {need}")]
    Short {
        /// Bytes that are there.
        have: usize,
        /// Bytes that the header asks for.
        need: usize,
    },
    /// A kind that this version does not know.
    #[error("unknown record kind {0}")]
    Kind(u8),
    /// A key length that the kind does not allow.
    #[error("a key of {0} bytes")]
    Key(usize),
    /// A version from a time too far ahead.
    #[error("a version of Unix millisecond {unix_millis}, too far ahead of this node's clock")]
    Ahead {
        /// The version's time.
        unix_millis: u64,
    },
    /// The CRC32C does not fit.
    #[error("checksum mismatch")]
    Checksum,
}

/// A record that came from elsewhere, checked: from a link, a batch or a file.
pub(crate) struct Received<'a> {
    pub(crate) draft: Draft<'a>,
    /// Bytes it takes of the input.
    pub(crate) total: usize,
}

/// Checks the record at the start of `bytes`. Never panics, whatever the bytes.
pub(crate) fn parse(bytes: &[u8]) -> Result<Received<'_>, RecordError> {
    let received = parse_verified(bytes)?;
    let end = received.draft.shape().end();
    let long = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
    let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
    let crc = checksum(Version(long(0)), word(16), bytes[24], bytes[25], &bytes[HEADER_BYTES..end]);
    if crc == word(20) { Ok(received) } else { Err(RecordError::Checksum) }
}

/// Bytes of the record at the front of `bytes`, whose checksum is not looked at: where the next one begins.
pub fn record_bytes(bytes: &[u8]) -> Result<usize, RecordError> {
    Ok(parse_verified(bytes)?.total)
}

/// As [`parse`], for bytes that a larger checksum has been verified for: the record's own is not looked at.
pub(crate) fn parse_verified(bytes: &[u8]) -> Result<Received<'_>, RecordError> {
    if bytes.len() < HEADER_BYTES {
        return Err(RecordError::Short { have: bytes.len(), need: HEADER_BYTES });
    }
    let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
    let long = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
    let kind_byte = bytes[25];
    let kind = Kind::of(kind_byte).filter(|_| kind_byte >> 6 == 0).ok_or(RecordError::Kind(kind_byte))?;
    let shape = Shape {
        key_len: usize::from(bytes[24]),
        value_len: word(16) as usize,
        has_flags: kind_byte & HAS_FLAGS != 0,
        has_cas: kind_byte & HAS_CAS != 0,
    };
    if bytes.len() < shape.total() {
        return Err(RecordError::Short { have: bytes.len(), need: shape.total() });
    }
    if (shape.key_len == 0) != (kind == Kind::Flush) || shape.key_len > crate::limits::KEY_BYTES_MAX {
        return Err(RecordError::Key(shape.key_len));
    }
    let key_at = shape.key_at();
    let draft = Draft {
        version: Version(long(0)),
        expiry: Expiry::from_bits(word(8)),
        access: word(12),
        token: bytes[26] & TOKEN_OF_CLIENTS,
        mark: 0,
        kind,
        flags: if shape.has_flags { word(HEADER_BYTES) } else { 0 },
        explicit_cas: shape.has_cas.then(|| long(key_at - 8)),
        // Flags of zero are left out when the record is filled, and its checksum is another one then.
        crc: (!shape.has_flags || word(HEADER_BYTES) != 0).then(|| word(20)),
        key: &bytes[key_at..key_at + shape.key_len],
        value: [&bytes[key_at + shape.key_len..shape.end()], &[]],
    };
    Ok(Received { draft, total: shape.total() })
}
