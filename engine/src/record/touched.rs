//! What a touch says: which version of its key has another expiry now.

use crate::time::Expiry;
use crate::version::Version;

/// The value of a touch record: the version that was touched (u64) and its new expiry (u32), little-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Touched {
    pub(crate) version: Version,
    pub(crate) expiry: Expiry,
}

impl Touched {
    /// Reads the value of a touch record.
    pub(crate) fn of(value: &[u8]) -> Option<Self> {
        let value: &[u8; 12] = value.try_into().ok()?;
        let (version, expiry) = value.split_first_chunk().expect("eight of twelve bytes");
        Some(Self {
            version: Version(u64::from_le_bytes(*version)),
            expiry: Expiry::from_bits(u32::from_le_bytes(expiry.try_into().expect("the other four"))),
        })
    }

    /// The value of its record.
    pub(crate) fn to_bytes(self) -> [u8; 12] {
        let mut bytes = [0; 12];
        bytes[..8].copy_from_slice(&self.version.0.to_le_bytes());
        bytes[8..].copy_from_slice(&self.expiry.to_bits().to_le_bytes());
        bytes
    }
}
