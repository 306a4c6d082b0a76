//! `get`, `getq`, `getk`, `getkq`.
//!
//! ```text
//! request   key
//! response  extras: client flags, 4 bytes · key (getk) · value
//! ```

use ringcache_engine::{KeyHash, Lookup as Found, Parts, RecordRef};

use super::Request;
use super::header::{Asked, Opcode, Response, Status, push_error};
use crate::output::Output;
use crate::protocol::push_data;
use crate::protocol::text::get::count_miss;
use crate::session::lookups::{Reply, Sight};
use crate::session::{Exchange, Flow};

/// Adds the read to the batch of lookups.
#[inline]
pub fn get<'i>(x: &mut Exchange<'_, 'i, '_>, request: &Request<'i>) -> Flow {
    let is_added = x.look_up(request.key, x.input_at, Reply::Binary(request.asked));
    if is_added { Flow::Taken(request.head_bytes) } else { Flow::Wait }
}

/// Counts and encodes what was found.
#[inline]
pub fn answer(found: Found<'_>, key: &[u8], asked: Asked, sight: Sight<'_>, output: &mut Output) {
    sight.counters.cmd_get.add(1);
    match found {
        Found::Hit(record) => {
            sight.counters.get_hits.add(1);
            push_record(&record, asked, sight, output);
        }
        Found::Miss(miss) => {
            count_miss(miss, sight.counters);
            push_miss(key, asked, output);
        }
    }
}

/// The answer to a get that waited for a write; `kept` is what it left behind and its key.
pub fn answer_deferred(kept: &[u8], sight: Sight<'_>, output: &mut Output) {
    let (asked, key) = Asked::from_bytes(kept);
    let found = sight.reader.get(KeyHash::of(key), key, sight.now);
    sight.note_fetch(key, &found);
    answer(found, key, asked, sight, output);
}

/// Encodes a record, in the form of get and of get-and-touch.
#[inline]
pub fn push_record(record: &RecordRef<'_>, asked: Asked, sight: Sight<'_>, output: &mut Output) {
    let Parts { flags, key, value } = record.parts();
    let response = Response {
        cas: sight.shown(record.cas()),
        extras: &flags.to_be_bytes(),
        key: if returns_key(asked) { key } else { &[] },
        value_bytes: value.len(),
        ..Response::SUCCESS
    };
    response.push(asked, output);
    push_data(record, value, output);
    record.mark_access(sight.now.seconds);
}

/// Encodes a miss, in the same two forms: silence, the key, or the error's text.
pub fn push_miss(key: &[u8], asked: Asked, output: &mut Output) {
    if asked.quiet {
        return;
    }
    if returns_key(asked) {
        return Response { status: Status::NotFound, key, ..Response::SUCCESS }.push(asked, output);
    }
    push_error(asked, Status::NotFound, output);
}

#[inline]
fn returns_key(asked: Asked) -> bool {
    matches!(asked.opcode, Opcode::GetKey | Opcode::GetKeyAndTouch)
}
