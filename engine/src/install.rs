//! Installing a record that came from elsewhere: a replica, a migration target and a restore all end here.
//!
//! One rule settles every conflict: the newer version wins. Installing is idempotent, and records of one key may
//! come in any order. A full copy from an authority is the exception (`copy.rs`): its word counts.

use std::cmp::Ordering;

use crate::copy::CopyMark;
use crate::engine::Shared;
use crate::hash::KeyHash;
use crate::limits::{TOMBSTONE_SECONDS, VERSION_AHEAD_MILLIS_MAX};
use crate::record::{
    Draft, Kind, Received, RecordError, RecordView, TOKEN_LATE, Touched, parse, parse_verified,
};
use crate::shard::{Owner, Shard};
use crate::time::{Expiry, Now, Seconds};
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
        self.install_as(parse(bytes)?, None, now)
    }

    /// As [`Shard::install`], for bytes that a larger checksum was verified for, as that of a block in a file: the
    /// record's own is not compared, and goes along as it is. Cost: as a set.
    pub fn install_verified(&mut self, bytes: &[u8], now: Now) -> Result<(Installed, usize), RecordError> {
        self.install_as(parse_verified(bytes)?, None, now)
    }

    /// As [`Shard::install`], for a record of a full copy ([`Shard::begin_copy`]): it wins over one that has not got the
    /// mark, whatever their versions, and gets the mark.
    pub fn install_copied(
        &mut self,
        bytes: &[u8],
        now: Now,
        mark: CopyMark,
    ) -> Result<(Installed, usize), RecordError> {
        self.install_as(parse(bytes)?, Some(mark), now)
    }

    fn install_as(
        &mut self,
        received: Received<'_>,
        mark: Option<CopyMark>,
        now: Now,
    ) -> Result<(Installed, usize), RecordError> {
        let Received { draft, total } = received;
        let (owner, shared) = (&mut self.owner, &*self.shared);
        let latest = now.unix_millis + VERSION_AHEAD_MILLIS_MAX;
        if draft.version.unix_millis() > latest {
            return Err(RecordError::Ahead { unix_millis: draft.version.unix_millis() });
        }
        let installed = owner.install(shared, &draft, mark, now)?;
        owner.publish_latest(shared);
        Ok((installed, total))
    }
}

impl Owner {
    fn install(
        &mut self,
        shared: &Shared,
        draft: &Draft<'_>,
        mark: Option<CopyMark>,
        now: Now,
    ) -> Result<Installed, RecordError> {
        match draft.kind {
            Kind::Flush => self.install_flush(shared, draft),
            Kind::Touch => self.install_touch(shared, draft, now),
            Kind::Value | Kind::Tombstone => Ok(self.install_value(shared, draft, mark, now)),
        }
    }

    pub(crate) fn install_value(
        &mut self,
        shared: &Shared,
        draft: &Draft<'_>,
        mark: Option<CopyMark>,
        now: Now,
    ) -> Installed {
        let hash = KeyHash::of(draft.key);
        let home = hash.shard(shared.options.shards);
        if home != self.part_id() {
            return Installed::ElsewhereHere(home);
        }
        self.clock.observe(draft.version);
        if draft.version <= self.flushed(shared) {
            return Installed::Older;
        }
        if let Some(place) = self.find(shared, hash, draft.key) {
            let view = RecordView::at(&shared.arena, place.location);
            match compare(view, draft, mark) {
                Compared::Newer => return Installed::Older,
                Compared::Same => {
                    view.set_mark(mark.map_or(view.mark(), |mark| mark.0));
                    return self.install_expiry(shared, draft.key, view, draft.expiry, now);
                }
                Compared::Older => {}
            }
        }
        let draft = &Draft {
            token: draft.token | if draft.version <= self.given { TOKEN_LATE } else { 0 },
            mark: mark.map_or(0, |mark| mark.0),
            ..*draft
        };
        if draft.expiry.is_past(now.seconds) {
            self.install_ended(shared, hash, draft, now);
            return Installed::Expired;
        }
        self.replace(shared, hash, draft, now)
    }

    /// What is there is replaced, or goes where no memory is left to replace it.
    fn replace(&mut self, shared: &Shared, hash: KeyHash, draft: &Draft<'_>, now: Now) -> Installed {
        let has_room = self.make_room(shared, draft.shape().total(), draft.expiry, now);
        if has_room && self.put(shared, hash, draft, now).is_ok() {
            return Installed::Applied;
        }
        self.no_memory(shared);
        if let Some(place) = self.find(shared, hash, draft.key) {
            self.take_out(shared, place);
        }
        self.forget(draft.version);
        Installed::NoMemory
    }

    /// What has ended on its way still ends what is older. Where changes are logged a tombstone says so to those who
    /// follow, and to what may still be on its way.
    fn install_ended(&mut self, shared: &Shared, hash: KeyHash, draft: &Draft<'_>, now: Now) {
        let present = self.find(shared, hash, draft.key);
        let is_lately = !draft.expiry.is_past(Seconds(now.seconds.0.saturating_sub(TOMBSTONE_SECONDS)));
        if shared.options.log_changes && (present.is_some() || is_lately) {
            let (token, mark) = (draft.token, draft.mark);
            let tombstone = Draft { token, mark, ..Draft::tombstone(draft.version, draft.key, now) };
            self.replace(shared, hash, &tombstone, now);
        } else if let Some(place) = present {
            self.take_out(shared, place);
        }
    }

    /// A touch names the version it changed; any other version has an expiry of its own.
    fn install_touch(
        &mut self,
        shared: &Shared,
        draft: &Draft<'_>,
        now: Now,
    ) -> Result<Installed, RecordError> {
        let touched = Touched::of(draft.value[0]).ok_or(RecordError::Kind(Kind::Touch as u8))?;
        let hash = KeyHash::of(draft.key);
        let home = hash.shard(shared.options.shards);
        if home != self.part_id() {
            return Ok(Installed::ElsewhereHere(home));
        }
        self.clock.observe(draft.version);
        let Some(place) = self.find(shared, hash, draft.key) else { return Ok(Installed::Older) };
        let view = RecordView::at(&shared.arena, place.location);
        if view.version() != touched.version {
            return Ok(Installed::Older);
        }
        let installed = self.install_expiry(shared, draft.key, view, touched.expiry, now);
        if installed == Installed::Older && view.kind() == Kind::Value && shared.options.log_changes {
            // The record came with it. Who follows this node's log may have had it before.
            let version = self.clock.next(now.unix_millis);
            self.append_dead(shared, &Draft::touch(version, draft.key, &touched.to_bytes(), now), now);
        }
        Ok(installed)
    }

    /// The record is there; its expiry is the later word. Who follows this node's log is told by a touch of its own.
    fn install_expiry(
        &mut self,
        shared: &Shared,
        key: &[u8],
        view: RecordView<'_>,
        expiry: Expiry,
        now: Now,
    ) -> Installed {
        let touched = Touched { version: view.version(), before: view.expiry(), expiry };
        if touched.before == expiry || view.kind() == Kind::Tombstone {
            return Installed::Older;
        }
        view.set_expiry(expiry);
        let id = self.slab_of(shared, view.location());
        self.widen_expiry(id, expiry);
        if shared.options.log_changes {
            let version = self.clock.next(now.unix_millis);
            self.append_dead(shared, &Draft::touch(version, key, &touched.to_bytes(), now), now);
        }
        Installed::Applied
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

/// What a present record is to the one that came.
enum Compared {
    Older,
    Same,
    Newer,
}

fn compare(view: RecordView<'_>, draft: &Draft<'_>, mark: Option<CopyMark>) -> Compared {
    let is_to_yield = mark.is_some_and(|mark| view.mark() != mark.0);
    match view.version().cmp(&draft.version) {
        Ordering::Equal if is_same(view, draft) => Compared::Same,
        // It has ended where it comes from; or it has ended here, and a touch before its end came too late for that.
        Ordering::Equal if is_to_yield || draft.kind != view.kind() => Compared::Older,
        Ordering::Greater if is_to_yield => Compared::Older,
        Ordering::Less => Compared::Older,
        Ordering::Equal | Ordering::Greater => Compared::Newer,
    }
}

/// Bit for bit, but for what changes in place.
fn is_same(view: RecordView<'_>, draft: &Draft<'_>) -> bool {
    view.kind() == draft.kind
        && view.flags() == draft.flags
        && view.explicit_cas() == draft.explicit_cas
        && view.value() == draft.value[0]
}
