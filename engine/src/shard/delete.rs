//! delete, and its meta forms that leave a marked or emptied record behind.

use crate::engine::Shared;
use crate::index::Place;
use crate::record::{Draft, Kind, RecordView, TOKEN_STALE, stored_access};
use crate::shard::Owner;
use crate::time::{Expiry, Now, Seconds};
use crate::write::{Delete, Outcome, Status, Write};

impl Owner {
    pub(super) fn delete(
        &mut self,
        shared: &Shared,
        write: &Write<'_>,
        delete: &Delete,
        now: Now,
    ) -> Outcome {
        let Some(place) = self.find_living(shared, write, now) else {
            return Outcome::bare(Status::NotFound);
        };
        let view = RecordView::at(&shared.arena, place.location);
        if delete.compare.is_some_and(|asked| asked != view.cas()) {
            return Outcome::bare(Status::Exists);
        }
        let outcome = Outcome {
            cas: view.cas(),
            flags: view.flags(),
            value_bytes: view.value().len() as u32,
            ..Outcome::bare(Status::Deleted)
        };
        if delete.invalidate || delete.clear {
            return self.leave_behind(shared, write, delete, outcome, now);
        }
        if shared.options.log_changes {
            return self.bury_under_tombstone(shared, write, outcome, now);
        }
        self.take_out(shared, place);
        outcome
    }

    /// A tombstone in place of the record, so that no older copy of it comes back from a peer.
    fn bury_under_tombstone(
        &mut self,
        shared: &Shared,
        write: &Write<'_>,
        outcome: Outcome,
        now: Now,
    ) -> Outcome {
        let expiry = Expiry::at(Seconds(now.seconds.0 + crate::limits::TOMBSTONE_SECONDS));
        let tombstone = Draft {
            version: crate::version::Version::ZERO,
            expiry,
            access: stored_access(now.seconds),
            token: 0,
            kind: Kind::Tombstone,
            flags: 0,
            explicit_cas: None,
            key: write.key,
            value: [&[], &[]],
        };
        let stored = self.commit(shared, write, tombstone, true, now);
        match stored.status {
            Status::Stored => outcome,
            _ => Outcome::bare(Status::NoMemory),
        }
    }

    /// `I` marks the record stale under a new CAS and frees its token; `x` empties it and keeps its CAS unless `I`
    /// or `E` gives another.
    fn leave_behind(
        &mut self,
        shared: &Shared,
        write: &Write<'_>,
        delete: &Delete,
        outcome: Outcome,
        now: Now,
    ) -> Outcome {
        let room = |view: RecordView<'_>| view.total() + 16;
        let Some(place) = self.find_living(shared, write, now) else {
            return Outcome::bare(Status::NotFound);
        };
        let view = RecordView::at(&shared.arena, place.location);
        let expiry = delete.expiry.unwrap_or(if delete.clear { Expiry::NEVER } else { view.expiry() });
        if !self.make_room(shared, room(view), expiry, now) {
            return self.no_memory(shared);
        }
        let Some(place) = self.find_living(shared, write, now) else {
            return Outcome::bare(Status::NotFound);
        };
        let left = self.left_behind(shared, delete, place, expiry, now);
        let cas = left.explicit_cas.unwrap_or(left.version.0);
        match self.put(shared, write.hash, &left, now) {
            Ok(_) => Outcome { cas, expiry, flags: left.flags, ..outcome },
            Err(_) => self.no_memory(shared),
        }
    }

    fn left_behind<'s>(
        &mut self,
        shared: &'s Shared,
        delete: &Delete,
        place: Place,
        expiry: Expiry,
        now: Now,
    ) -> Draft<'s> {
        let view = RecordView::at(&shared.arena, place.location);
        let mut left = Draft { version: self.clock.next(now.unix_millis), expiry, ..view.draft() };
        left.explicit_cas = delete.explicit_cas;
        if delete.clear {
            left.flags = delete.flags;
            left.value = [&[], &[]];
            left.token = 0;
            if !delete.invalidate {
                left.explicit_cas = Some(delete.explicit_cas.unwrap_or(view.cas()));
            }
        }
        if delete.invalidate {
            left.token = TOKEN_STALE;
        }
        left
    }
}
