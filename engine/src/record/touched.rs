//! What a touch says: which version of its key has another expiry now.

use crate::time::Expiry;
use crate::version::Version;

/// The value of a touch record: the version that was touched (u64), its expiry before (u32) and since (u32),
/// little-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Touched {
    pub(crate) version: Version,
    pub(crate) before: Expiry,
    pub(crate) expiry: Expiry,
}

impl Touched {
    /// Reads the value of a touch record.
    pub(crate) fn of(value: &[u8]) -> Option<Self> {
        let (version, expiries) = value.split_first_chunk::<8>()?;
        let (before, expiry) = expiries.split_first_chunk::<4>()?;
        Some(Self {
            version: Version(u64::from_le_bytes(*version)),
            before: Expiry::from_bits(u32::from_le_bytes(*before)),
            expiry: Expiry::from_bits(u32::from_le_bytes(expiry.try_into().ok()?)),
        })
    }

    /// The value of its record.
    pub(crate) fn to_bytes(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.version.0.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.before.to_bits().to_le_bytes());
        bytes[12..].copy_from_slice(&self.expiry.to_bits().to_le_bytes());
        bytes
    }
}
