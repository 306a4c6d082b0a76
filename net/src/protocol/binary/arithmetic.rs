//! `increment`, `decrement` and their quiet forms.
//!
//! ```text
//! request   extras: delta, 8 bytes · first value, 8 bytes · exptime, 4 bytes · key
//! response  the new number, 8 bytes
//! ```

use ringcache_engine::{Arithmetic, KeyHash, Op, Outcome, Status as Ending, Write};

use super::Request;
use super::header::{Asked, Opcode, Response, Status, push_error, push_error_text};
use crate::output::Output;
use crate::protocol::exptime::expiry_unsigned;
use crate::protocol::text::arithmetic::count;
use crate::session::answers::{Form, Verb};
use crate::session::lookups::Sight;
use crate::session::{Delivery, Exchange, Flow};

/// Delta, first value, exptime.
pub const EXTRAS_BYTES: usize = 20;

/// This exptime says that a missing record is not to be made.
const NOT_TO_CREATE: u32 = u32::MAX;
const NO_MEMORY: &[u8] = b"Out of memory incrementing value";

/// Executes either command.
pub fn arithmetic(x: &mut Exchange<'_, '_, '_>, request: &Request<'_>) -> Flow {
    let (delta, initial, exptime) = read_extras(request.extras);
    let sight = x.sight();
    let create =
        (exptime != NOT_TO_CREATE).then(|| (expiry_unsigned(exptime, sight.now, sight.started), initial));
    let op = Arithmetic {
        delta,
        decrement: request.asked.opcode == Opcode::Decrement,
        compare: (request.cas != 0).then(|| sight.comparable(request.cas)),
        explicit_cas: None,
        create,
        expiry: None,
    };
    let write = Write { hash: KeyHash::of(request.key), key: request.key, op: Op::Arithmetic(op) };
    match x.send(&write, Form { verb: Verb::Binary, silent: false }, &request.asked.to_bytes()) {
        Delivery::Wait => return Flow::Wait,
        Delivery::Away => {}
        Delivery::Done(outcome) => answer(request.asked, &outcome, sight, x.sink()),
    }
    Flow::Taken(request.bytes())
}

/// Counts and encodes the outcome.
pub fn answer(asked: Asked, outcome: &Outcome, sight: Sight<'_>, output: &mut Output) {
    count(outcome.status, asked.opcode == Opcode::Decrement, sight.counters);
    match outcome.status {
        Ending::Stored | Ending::Created if asked.quiet => {}
        Ending::Stored | Ending::Created => {
            let number = outcome.number.to_be_bytes();
            let (cas, value_bytes) = (sight.shown(outcome.cas), number.len());
            Response { cas, value_bytes, ..Response::SUCCESS }.push(asked, output);
            output.push(&number);
        }
        Ending::NotFound => push_error(asked, Status::NotFound, output),
        Ending::Exists => push_error(asked, Status::Exists, output),
        Ending::NonNumeric => push_error(asked, Status::NonNumeric, output),
        _ => push_error_text(asked, Status::NoMemory, NO_MEMORY, output),
    }
}

fn read_extras(extras: &[u8]) -> (u64, u64, u32) {
    let there = "the frame was checked to have them";
    let (delta, rest) = extras.split_first_chunk().expect(there);
    let (initial, rest) = rest.split_first_chunk().expect(there);
    let exptime = rest.try_into().expect(there);
    (u64::from_be_bytes(*delta), u64::from_be_bytes(*initial), u32::from_be_bytes(exptime))
}
