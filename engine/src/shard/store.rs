//! set, add, replace, append, prepend and compare-and-swap, and what vivify creates.

use crate::engine::Shared;
use crate::index::Place;
use crate::limits::{ITEM_FIXED_BYTES, ITEM_FLAGS_BYTES};
use crate::record::{Draft, Kind, RECORD_ALIGN, RecordView, TOKEN_STALE, TOKEN_TAKEN, stored_access};
use crate::shard::Owner;
use crate::time::{Expiry, Now};
use crate::write::{Outcome, Status, Store, StoreMode, Write};

/// What the compare says.
enum Compared {
    /// No compare was asked for, or it matched.
    Go,
    /// A lower CAS with `invalidate`: the result is stale.
    GoStale,
    /// It did not match.
    Stop,
}

impl Owner {
    pub(super) fn store(
        &mut self,
        shared: &Shared,
        write: &Write<'_>,
        store: &Store<'_>,
        now: Now,
    ) -> Outcome {
        match store.mode {
            StoreMode::Append | StoreMode::Prepend => self.join(shared, write, store, now),
            StoreMode::Set | StoreMode::Add | StoreMode::Replace => {
                self.store_whole(shared, write, store, now)
            }
        }
    }

    fn store_whole(&mut self, shared: &Shared, write: &Write<'_>, store: &Store<'_>, now: Now) -> Outcome {
        let present = self.find_living(shared, write, now);
        let status = match (store.mode, present) {
            (StoreMode::Add, Some(place)) => {
                RecordView::at(&shared.arena, place.location).mark_found(now.seconds);
                Status::NotStored
            }
            (StoreMode::Replace, None) if store.compare.is_none() => Status::NotStored,
            (StoreMode::Set | StoreMode::Replace, None) if store.compare.is_some() => Status::NotFound,
            _ => Status::Stored,
        };
        if status != Status::Stored {
            return Outcome::bare(status);
        }
        let compared = present.map_or(Compared::Go, |place| compare(shared, place, store));
        let mut draft = draft(write, store, now);
        match (compared, present) {
            (Compared::Stop, _) => return Outcome::bare(Status::Exists),
            (Compared::GoStale, Some(place)) => {
                let view = RecordView::at(&shared.arena, place.location);
                draft.expiry = view.expiry();
                draft.token = view.token() & TOKEN_TAKEN | TOKEN_STALE;
            }
            _ => {}
        }
        self.commit(shared, write, draft, store.mode == StoreMode::Set, now)
    }

    /// append and prepend: the present value and the new part in one record. Flags, expiry and fetch history of the
    /// request are not looked at.
    fn join(&mut self, shared: &Shared, write: &Write<'_>, store: &Store<'_>, now: Now) -> Outcome {
        let Some(place) = self.find_living(shared, write, now) else {
            let Some(expiry) = store.vivify else { return Outcome::bare(Status::NotStored) };
            return self.commit(shared, write, Draft { expiry, ..draft(write, store, now) }, false, now);
        };
        if store.compare.is_some() && !matches!(compare(shared, place, store), Compared::Go) {
            return Outcome::bare(Status::Exists);
        }
        let view = RecordView::at(&shared.arena, place.location);
        let (expiry, joined) = (view.expiry(), view.value().len() + store.value.len());
        if item_bytes(write.key.len(), view.flags(), joined) > u64::from(shared.options.item_bytes_max) {
            self.part(shared).counters.too_large.add(1);
            return Outcome::bare(Status::TooLarge);
        }
        let room = view.total() + store.value.len() + RECORD_ALIGN;
        if !self.make_room(shared, room, expiry, now) {
            return self.no_memory(shared);
        }
        // Making room may have moved the record, or evicted it.
        let Some(place) = self.find_living(shared, write, now) else {
            return Outcome::bare(Status::NotStored);
        };
        let view = RecordView::at(&shared.arena, place.location);
        let value = match store.mode {
            StoreMode::Prepend => [store.value, view.value()],
            _ => [view.value(), store.value],
        };
        let joined = Draft { expiry, flags: view.flags(), value, ..draft(write, store, now) };
        self.put_outcome(shared, write, joined, now)
    }

    /// Makes room and publishes. With `or_remove` a present record does not survive a store that found no memory,
    /// so that no client reads what it believes replaced.
    pub(super) fn commit(
        &mut self,
        shared: &Shared,
        write: &Write<'_>,
        draft: Draft<'_>,
        or_remove: bool,
        now: Now,
    ) -> Outcome {
        let outcome = if self.make_room(shared, draft.shape().total(), draft.expiry, now) {
            self.put_outcome(shared, write, draft, now)
        } else {
            self.no_memory(shared)
        };
        if or_remove && outcome.status == Status::NoMemory {
            self.remove(shared, write, now);
        }
        outcome
    }

    fn put_outcome(&mut self, shared: &Shared, write: &Write<'_>, mut draft: Draft<'_>, now: Now) -> Outcome {
        draft.version = self.clock.next(now.unix_millis);
        if self.put(shared, write.hash, &draft, now).is_err() {
            return self.no_memory(shared);
        }
        Outcome {
            status: Status::Stored,
            cas: draft.explicit_cas.unwrap_or(draft.version.0),
            number: 0,
            value_bytes: draft.shape().value_len as u32,
            flags: draft.flags,
            expiry: draft.expiry,
            expiry_before: draft.expiry,
        }
    }

    pub(crate) fn no_memory(&self, shared: &Shared) -> Outcome {
        self.part(shared).counters.no_memory.add(1);
        Outcome::bare(Status::NoMemory)
    }

    /// An empty record on a miss, whose creator holds the win token.
    pub(super) fn vivify(
        &mut self,
        shared: &Shared,
        write: &Write<'_>,
        expiry: Expiry,
        explicit_cas: Option<u64>,
        now: Now,
    ) -> Outcome {
        if self.find_living(shared, write, now).is_some() {
            return Outcome::bare(Status::Exists);
        }
        let store = Store { explicit_cas, ..Store::set(&[], 0, expiry) };
        let draft = Draft { token: TOKEN_TAKEN, ..draft(write, &store, now) };
        let outcome = self.commit(shared, write, draft, false, now);
        match outcome.status {
            Status::Stored => Outcome { status: Status::Created, ..outcome },
            _ => outcome,
        }
    }
}

/// The record that a store asks for; `put_outcome` gives it its version.
pub(super) fn draft<'a>(write: &Write<'a>, store: &Store<'a>, now: Now) -> Draft<'a> {
    Draft {
        version: crate::version::Version::ZERO,
        expiry: store.expiry,
        access: stored_access(now.seconds),
        token: 0,
        mark: 0,
        kind: Kind::Value,
        flags: store.flags,
        explicit_cas: store.explicit_cas,
        crc: None,
        key: write.key,
        value: [store.value, &[]],
    }
}

fn compare(shared: &Shared, place: Place, store: &Store<'_>) -> Compared {
    let present = RecordView::at(&shared.arena, place.location).cas();
    match store.compare {
        None => Compared::Go,
        Some(asked) if asked == present && asked != 0 => Compared::Go,
        // Zero is no record's CAS, so it is not an older one either.
        Some(asked) if store.invalidate && asked != 0 && asked < present => Compared::GoStale,
        Some(_) => Compared::Stop,
    }
}

/// What memcached would take for an item, which is what `-I` limits.
fn item_bytes(key_len: usize, flags: u32, value_len: usize) -> u64 {
    let flags_bytes = if flags != 0 { ITEM_FLAGS_BYTES } else { 0 };
    ITEM_FIXED_BYTES + flags_bytes + (key_len + value_len) as u64
}
