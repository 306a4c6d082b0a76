//! touch: another expiry for a record, in place.

use crate::engine::Shared;
use crate::record::{Draft, RecordView, Touched};
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
        let expiry_before = view.expiry();
        view.set_expiry(expiry);
        if fetches {
            view.mark_access(now.seconds);
        }
        let id = self.slab_of(shared, place.location);
        self.widen_expiry(id, expiry);
        let outcome = Outcome {
            status: Status::Touched,
            cas: view.cas(),
            number: 0,
            value_bytes: view.value().len() as u32,
            flags: view.flags(),
            expiry,
            expiry_before,
        };
        if shared.options.log_changes {
            let touched = Touched { version: view.version(), before: expiry_before, expiry }.to_bytes();
            let version = self.clock.next(now.unix_millis);
            self.append_dead(shared, &Draft::touch(version, write.key, &touched, now), now);
        }
        outcome
    }
}
