//! A full copy that was broken off, as its replica may come again for the rest of it.

use ringcache_engine::{LogCursor, Shard, Version};

/// See the module's text.
#[derive(Clone)]
pub struct Parked {
    /// Its name.
    pub name: u64,
    /// Behind what is acknowledged.
    pub(super) cursor: LogCursor,
}

impl Parked {
    /// Changes after this are still needed in the log.
    pub fn needs_after(&self) -> Version {
        self.cursor.followed()
    }

    /// The log does not show any more what is missing.
    pub fn has_lost(&self, shard: &Shard) -> bool {
        self.cursor.has_lost(shard)
    }
}
