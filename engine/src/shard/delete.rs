//! delete, and its meta forms that leave a marked or emptied record behind.

use crate::engine::Shared;
use crate::index::Place;
use crate::record::{Draft, RecordView, TOKEN_STALE};
use crate::shard::Owner;
use crate::time::{Expiry, Now};
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
            // It may have been here and been evicted, and still be where the log is followed.
            if self.settled.is_some() || self.find(shared, write.hash, write.key).is_none() {
                self.remove(shared, write, now);
            }
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
        self.remove(shared, write, now);
        outcome
    }

    /// Removes a key, if it is there. Where changes are logged a tombstone takes its place, so that no older copy of it
    /// comes back from a peer; it goes even if there is no memory to say so.
    pub(super) fn remove(&mut self, shared: &Shared, write: &Write<'_>, now: Now) {
        if !shared.options.log_changes {
            return self.take_key_out(shared, write);
        }
        let tombstone = Draft::tombstone(self.clock.next(now.unix_millis), write.key, now);
        let bytes = tombstone.shape().total();
        let mut has_room = self.make_room(shared, bytes, tombstone.expiry, now);
        if !has_room {
            self.take_key_out(shared, write);
            has_room = self.make_room(shared, bytes, tombstone.expiry, now);
        }
        if !has_room || self.put(shared, write.hash, &tombstone, now).is_err() {
            self.take_key_out(shared, write);
            self.forget(tombstone.version);
        }
    }

    fn take_key_out(&mut self, shared: &Shared, write: &Write<'_>) {
        if let Some(place) = self.find(shared, write.hash, write.key) {
            self.take_out(shared, place);
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
        let mut left = Draft { version: self.clock.next(now.unix_millis), expiry, mark: 0, ..view.draft() };
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
