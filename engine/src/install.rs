//! Installing a record that came from elsewhere: a replica, a migration target and a restore all end here.
//!
//! One rule settles every conflict: the newer version wins. Installing is idempotent, and records of one key may
//! come in any order.

use crate::engine::Shared;
use crate::hash::KeyHash;
use crate::limits::VERSION_AHEAD_MILLIS_MAX;
use crate::record::{Draft, Kind, Received, RecordError, RecordView, parse};
use crate::shard::{Owner, Shard};
use crate::time::{Expiry, Now};
use crate::version::Version;

/// What became of an installed record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Installed {
    /// It is the key's record now, or its change was applied.
    Applied,
    /// A version at least as new is there.
    Older,
    /// Its time is over already; nothing was stored.
    Expired,
    /// No memory could be freed.
    NoMemory,
    /// Its key belongs to another shard of this node.
    ElsewhereHere(crate::hash::ShardId),
}

impl Shard {
    /// Installs the record at the start of `bytes` and tells how many bytes it takes. A damaged record changes
    /// nothing. Cost: as a set, plus a CRC.
    pub fn install(&mut self, bytes: &[u8], now: Now) -> Result<(Installed, usize), RecordError> {
        let Received { draft, total } = parse(bytes)?;
        let (owner, shared) = (&mut self.owner, &*self.shared);
        let latest = now.unix_millis + VERSION_AHEAD_MILLIS_MAX;
        if draft.version.unix_millis() > latest {
            return Err(RecordError::Ahead { unix_millis: draft.version.unix_millis() });
        }
        Ok((owner.install(shared, &draft, now)?, total))
    }
}

impl Owner {
    fn install(&mut self, shared: &Shared, draft: &Draft<'_>, now: Now) -> Result<Installed, RecordError> {
        match draft.kind {
            Kind::Flush => self.install_flush(shared, draft),
            Kind::Touch => self.install_touch(shared, draft),
            Kind::Value | Kind::Tombstone => Ok(self.install_value(shared, draft, now)),
        }
    }

    pub(crate) fn install_value(&mut self, shared: &Shared, draft: &Draft<'_>, now: Now) -> Installed {
        let hash = KeyHash::of(draft.key);
        let home = hash.shard(shared.options.shards);
        if home != self.part_id() {
            return Installed::ElsewhereHere(home);
        }
        self.clock.observe(draft.version);
        let is_older = |owner: &Self| {
            let present = owner.find(shared, hash, draft.key);
            present
                .is_some_and(|place| RecordView::at(&shared.arena, place.location).version() >= draft.version)
        };
        if draft.version <= self.flushed(shared) || is_older(self) {
            return Installed::Older;
        }
        if draft.expiry.is_past(now.seconds) {
            // What it would have replaced is older still.
            if let Some(place) = self.find(shared, hash, draft.key) {
                self.take_out(shared, place);
            }
            return Installed::Expired;
        }
        if !self.make_room(shared, draft.shape().total(), draft.expiry, now) {
            return Installed::NoMemory;
        }
        match self.put(shared, hash, draft, now) {
            Ok(_) => Installed::Applied,
            Err(_) => Installed::NoMemory,
        }
    }

    /// A touch names the version it changed; any other version has an expiry of its own.
    fn install_touch(&mut self, shared: &Shared, draft: &Draft<'_>) -> Result<Installed, RecordError> {
        let change: &[u8; 12] =
            draft.value[0].try_into().map_err(|_| RecordError::Kind(Kind::Touch as u8))?;
        let version = Version(u64::from_le_bytes(change[..8].try_into().expect("eight bytes")));
        let expiry = Expiry::from_bits(u32::from_le_bytes(change[8..].try_into().expect("four bytes")));
        let hash = KeyHash::of(draft.key);
        let home = hash.shard(shared.options.shards);
        if home != self.part_id() {
            return Ok(Installed::ElsewhereHere(home));
        }
        let Some(place) = self.find(shared, hash, draft.key) else { return Ok(Installed::Older) };
        let view = RecordView::at(&shared.arena, place.location);
        if view.version() != version {
            return Ok(Installed::Older);
        }
        view.set_expiry(expiry);
        let id = self.slab_of(shared, place.location);
        self.widen_expiry(id, expiry);
        Ok(Installed::Applied)
    }

    fn install_flush(&mut self, shared: &Shared, draft: &Draft<'_>) -> Result<Installed, RecordError> {
        let bytes: &[u8; 8] = draft.value[0].try_into().map_err(|_| RecordError::Kind(Kind::Flush as u8))?;
        let version = Version(u64::from_le_bytes(*bytes));
        if version > draft.version {
            return Err(RecordError::Ahead { unix_millis: version.unix_millis() });
        }
        self.clock.observe(draft.version);
        Ok(if self.raise_flushed(shared, version) { Installed::Applied } else { Installed::Older })
    }
}
