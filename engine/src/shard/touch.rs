//! touch: another expiry for a record, in place, or as a record of its own version where several nodes take writes.

use crate::engine::Shared;
use crate::index::Place;
use crate::record::{Draft, RecordView, TOKEN_OF_CLIENTS, Touched};
use crate::shard::Owner;
use crate::time::{Expiry, Now};
use crate::write::{Outcome, Status, Write};

impl Owner {
    /// The CAS does not change. The log gets a touch record that names the version it belongs to.
    pub(super) fn touch(
        &mut self,
        shared: &Shared,
        write: &Write<'_>,
        expiry: Expiry,
        fetches: bool,
        now: Now,
    ) -> Outcome {
        let Some(place) = self.find_living(shared, write, now) else {
            return Outcome::bare(Status::NotFound);
        };
        let view = RecordView::at(&shared.arena, place.location);
        let outcome = Outcome {
            status: Status::Touched,
            cas: view.cas(),
            number: 0,
            value_bytes: view.value().len() as u32,
            flags: view.flags(),
            expiry,
            expiry_before: view.expiry(),
        };
        if fetches {
            view.mark_access(now.seconds);
        }
        if self.settled.is_some() {
            self.write_anew(shared, write, expiry, now);
        } else {
            self.touch_in_place(shared, write, place, expiry, now);
        }
        outcome
    }

    fn touch_in_place(&mut self, shared: &Shared, write: &Write<'_>, place: Place, expiry: Expiry, now: Now) {
        let view = RecordView::at(&shared.arena, place.location);
        let touched = Touched { version: view.version(), before: view.expiry(), expiry };
        view.set_expiry(expiry);
        let id = self.slab_of(shared, place.location);
        self.widen_expiry(id, expiry);
        if shared.options.log_changes {
            let version = self.clock.next(now.unix_millis);
            self.append_dead(shared, &Draft::touch(version, write.key, &touched.to_bytes(), now), now);
        }
    }

    /// Without memory for another record, the one that is there is touched where it is.
    fn write_anew(&mut self, shared: &Shared, write: &Write<'_>, expiry: Expiry, now: Now) {
        let anew = |owner: &Self, place: Place| {
            let view = RecordView::at(&shared.arena, place.location);
            let (token, version) = (view.token() & TOKEN_OF_CLIENTS, owner.clock.latest());
            Draft { version, expiry, token, mark: 0, explicit_cas: Some(view.cas()), ..view.draft() }
        };
        let Some(place) = self.find(shared, write.hash, write.key) else { return };
        let has_room = self.make_room(shared, anew(self, place).shape().total(), expiry, now);
        // Making room may have moved the record, or evicted it.
        let Some(place) = self.find(shared, write.hash, write.key) else { return };
        let draft = Draft { version: self.clock.next(now.unix_millis), ..anew(self, place) };
        if !has_room || self.put(shared, write.hash, &draft, now).is_err() {
            self.touch_in_place(shared, write, place, expiry, now);
        }
    }
}
