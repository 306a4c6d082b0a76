//! `touch`, and the reads that touch: `gat`, `gatq`, `gatk`, `gatkq`.
//!
//! ```text
//! request   extras: exptime, 4 bytes · key
//! response  touch: extras: client flags, 4 bytes
//!           gat:   as get
//! ```

use ringcache_engine::limits::KEY_BYTES_MAX;
use ringcache_engine::{Expiry, KeyHash, Lookup as Found, Op, Outcome, Status as Ending, Write};

use super::Request;
use super::get::{push_miss, push_record};
use super::header::{ASKED_BYTES, Asked, Response, Status, push_error};
use crate::output::Output;
use crate::protocol::exptime::expiry_unsigned;
use crate::protocol::text::touch::count;
use crate::session::answers::{Form, Verb};
use crate::session::lookups::Sight;
use crate::session::touching::{Touched, found};
use crate::session::{Delivery, Exchange, Flow};

/// Exptime.
pub const EXTRAS_BYTES: usize = 4;

/// Executes `touch`. A value behind the key is not looked at: what follows is the next request.
pub fn touch(x: &mut Exchange<'_, '_, '_>, request: &Request<'_>) -> Flow {
    let op = Op::Touch { expiry: asked_expiry(x, request), fetches: true };
    let write = Write { hash: KeyHash::of(request.key), key: request.key, op };
    match x.send(&write, Form { verb: Verb::Binary, silent: false }, &request.asked.to_bytes()) {
        Delivery::Wait => return Flow::Wait,
        Delivery::Away => {}
        Delivery::Done(outcome) => answer(request.asked, &outcome, x.sight(), x.sink()),
    }
    Flow::Taken(request.head_bytes)
}

/// Counts and encodes the outcome of `touch`.
pub fn answer(asked: Asked, outcome: &Outcome, sight: Sight<'_>, output: &mut Output) {
    let is_touched = outcome.status == Ending::Touched;
    count(is_touched, sight.counters);
    if !is_touched {
        return push_error(asked, Status::NotFound, output);
    }
    let extras = &outcome.flags.to_be_bytes();
    Response { cas: sight.shown(outcome.cas), extras, ..Response::SUCCESS }.push(asked, output);
}

/// Executes the others.
pub fn get_and_touch(x: &mut Exchange<'_, '_, '_>, request: &Request<'_>) -> Flow {
    let mut room = [0; ASKED_BYTES + KEY_BYTES_MAX];
    let (asked, key) = room.split_at_mut(ASKED_BYTES);
    asked.copy_from_slice(&request.asked.to_bytes());
    key[..request.key.len()].copy_from_slice(request.key);
    let kept = &room[..ASKED_BYTES + request.key.len()];
    let form = Form { verb: Verb::BinaryGetAndTouch, silent: false };
    match x.read_and_touch(request.key, asked_expiry(x, request), form, kept) {
        Touched::Wait => return Flow::Wait,
        Touched::Away => {}
        Touched::Found(found) => answer_found(found, request.key, request.asked, x.sight(), x.sink()),
    }
    Flow::Taken(request.head_bytes)
}

/// The answer to a get-and-touch whose touch went away; `kept` is what it left behind and its key.
pub fn answer_later(kept: &[u8], outcome: &Outcome, sight: Sight<'_>, output: &mut Output) {
    let (asked, key) = Asked::from_bytes(kept);
    answer_found(found(key, outcome, sight), key, asked, sight, output);
}

fn answer_found(found: Found<'_>, key: &[u8], asked: Asked, sight: Sight<'_>, output: &mut Output) {
    count(matches!(found, Found::Hit(_)), sight.counters);
    match found {
        Found::Hit(record) => push_record(&record, asked, sight, output),
        Found::Miss(_) => push_miss(key, asked, output),
    }
}

fn asked_expiry(x: &Exchange<'_, '_, '_>, request: &Request<'_>) -> Expiry {
    let exptime = request.extras.try_into().expect("the frame was checked to have it");
    expiry_unsigned(u32::from_be_bytes(exptime), x.reach.now, x.reach.node.started)
}
