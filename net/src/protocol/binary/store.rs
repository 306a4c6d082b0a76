//! `set`, `add`, `replace`, `append`, `prepend` and their quiet forms.
//!
//! ```text
//! request   extras: client flags, 4 bytes · exptime, 4 bytes (none with append and prepend) · key · value
//! response  nothing; the header has the new CAS unique
//! ```

use ringcache_engine::{Expiry, KeyHash, Op, Outcome, Status as Ending, Store, StoreMode, Write};

use super::Request;
use super::header::{Asked, Opcode, Response, Status, push_error, push_error_text};
use crate::output::Output;
use crate::protocol::exptime::expiry_unsigned;
use crate::protocol::text::store::{count_compare, fits, remove};
use crate::session::answers::{Form, Verb};
use crate::session::lookups::Sight;
use crate::session::{Delivery, Exchange, Flow};

/// Client flags and exptime.
pub const EXTRAS_BYTES: usize = 8;

const NO_MEMORY: &[u8] = b"Out of memory allocating item";

/// Executes `set`, `add` or `replace`. With a CAS in the header all three are the same: store if it matches.
#[inline]
pub fn store(x: &mut Exchange<'_, '_, '_>, request: &Request<'_>) -> Flow {
    let [f0, f1, f2, f3, e0, e1, e2, e3]: [u8; EXTRAS_BYTES] =
        request.extras.try_into().expect("the frame was checked to have them");
    let flags = u32::from_be_bytes([f0, f1, f2, f3]);
    let expiry = expiry_unsigned(u32::from_be_bytes([e0, e1, e2, e3]), x.reach.now, x.reach.node.started);
    let compares = request.cas != 0 && x.reach.node.config.cas;
    let mode = match request.asked.opcode {
        Opcode::Add if !compares => StoreMode::Add,
        Opcode::Replace if !compares => StoreMode::Replace,
        _ => StoreMode::Set,
    };
    let store = Store { mode, ..Store::set(&[], flags, expiry) };
    let mut request = *request;
    request.asked.compares = compares;
    store_value(x, &request, store)
}

/// Executes `append` or `prepend`, which keep flags and expiry.
pub fn join(x: &mut Exchange<'_, '_, '_>, request: &Request<'_>) -> Flow {
    let mode = if request.asked.opcode == Opcode::Append { StoreMode::Append } else { StoreMode::Prepend };
    store_value(x, request, Store { mode, ..Store::set(&[], 0, Expiry::NEVER) })
}

/// Sends the store with the request's value, once that is there.
#[inline]
fn store_value(x: &mut Exchange<'_, '_, '_>, request: &Request<'_>, store: Store<'_>) -> Flow {
    let hash = KeyHash::of(request.key);
    if !fits(request.key, store.flags, request.value_bytes, &x.reach.node.config) {
        // What the key held must not be taken for the value that is refused.
        if request.asked.opcode == Opcode::Set && !remove(x, hash, request.key) {
            return Flow::Wait;
        }
        x.note_too_large(request.key, store, request.value_bytes);
        return request.refuse(x, Status::TooLarge);
    }
    let Some(value) = request.value() else { return Flow::More(request.bytes()) };
    let sight = x.sight();
    // Without CAS uniques memcached has nothing to compare with, and stores.
    let compare = (request.cas != 0 && sight.cas).then_some(request.cas);
    let write = Write { hash, key: request.key, op: Op::Store(Store { value, compare, ..store }) };
    match x.send(&write, Form { verb: Verb::Binary, silent: false }, &request.asked.to_bytes()) {
        Delivery::Wait => return Flow::Wait,
        Delivery::Away => {}
        Delivery::Done(outcome) => answer(request.asked, &outcome, sight, x.sink()),
    }
    sight.counters.cmd_set.add(1);
    Flow::Taken(request.bytes())
}

/// Counts and encodes the outcome.
#[inline]
pub fn answer(asked: Asked, outcome: &Outcome, sight: Sight<'_>, output: &mut Output) {
    if asked.compares {
        count_compare(outcome.status, sight.counters);
    }
    let status = match (outcome.status, asked.opcode) {
        (Ending::Stored | Ending::Created, _) => Status::Success,
        (Ending::Exists, _) => Status::Exists,
        (Ending::NotFound, _) if asked.compares => Status::NotFound,
        (Ending::NoMemory, _) => return push_error_text(asked, Status::NoMemory, NO_MEMORY, output),
        (Ending::TooLarge, Opcode::Set | Opcode::Add | Opcode::Replace) => Status::TooLarge,
        (_, Opcode::Add) => Status::Exists,
        (_, Opcode::Replace) => Status::NotFound,
        _ => Status::NotStored,
    };
    match status {
        Status::Success if asked.quiet => {}
        Status::Success => {
            Response { cas: sight.shown(outcome.cas), ..Response::SUCCESS }.push(asked, output);
        }
        error => push_error(asked, error, output),
    }
}
