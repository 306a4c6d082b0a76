//! `get`, `gets`, `gat`, `gats`.
//!
//! ```text
//! get <key>+                    VALUE <key> <flags> <bytes>[ <cas>]
//! gat <exptime> <key>+          <data>
//!                               END
//! ```

use ringcache_engine::{Expiry, KeyHash, Lookup as Found, Miss, Outcome, Parts, RecordRef};

use crate::output::Output;
use crate::protocol::exptime::expiry;
use crate::protocol::line::{Command, Tokens, are_keys};
use crate::protocol::number::{SHORT_END, parse_i32, push_u64, short};
use crate::protocol::text::touch;
use crate::protocol::{BAD_FORMAT, push_short, push_value, refused};
use crate::session::answers::{Form, Verb};
use crate::session::lookups::{Reply, Sight};
use crate::session::touching::{Touched, found};
use crate::session::{Exchange, Flow, KeyList};
use crate::stats::Counters;

/// Behind the last value of a line.
pub const END: &[u8] = b"END\r\n";
const BAD_EXPTIME: &[u8] = b"CLIENT_ERROR invalid exptime argument\r\n";
/// Bytes of a `VALUE` line besides key and value, at most.
const VALUE_LINE_BYTES_MAX: usize = 64;

/// `get` and `gets`.
#[inline]
pub fn get<'i>(x: &mut Exchange<'_, 'i, '_>, command: Command<'i>, cas: bool) -> Flow {
    let keys = Tokens::of(command.args).rest();
    if keys.is_empty() || !are_keys(keys) {
        return x.answer(BAD_FORMAT, command.line_bytes);
    }
    walk(x, command, keys, KeyList { cas, touch: None })
}

/// `gat` and `gats`.
pub fn get_and_touch<'i>(x: &mut Exchange<'_, 'i, '_>, command: Command<'i>, cas: bool) -> Flow {
    let mut tokens = Tokens::of(command.args);
    let Some(exptime) = tokens.next() else {
        return x.answer(BAD_FORMAT, command.line_bytes);
    };
    let keys = tokens.rest();
    if keys.is_empty() {
        return x.answer(BAD_FORMAT, command.line_bytes);
    }
    let Some(exptime) = parse_i32(exptime) else {
        return x.answer(BAD_EXPTIME, command.line_bytes);
    };
    if !are_keys(keys) {
        return x.answer(BAD_FORMAT, command.line_bytes);
    }
    if let Some(refusal) = x.reach.guard.refusal {
        return x.answer(refused::line(refusal), command.line_bytes);
    }
    let touch = Some(expiry(exptime, x.reach.now, x.reach.node.started));
    walk(x, command, keys, KeyList { cas, touch })
}

/// Goes through `keys`, the rest of the command's line.
#[inline]
pub fn walk<'i>(x: &mut Exchange<'_, 'i, '_>, command: Command<'i>, keys: &'i [u8], list: KeyList) -> Flow {
    let mut tokens = Tokens::of(keys);
    loop {
        let rest = tokens.rest();
        let Some(key) = tokens.next() else {
            return Flow::Taken(command.line_bytes);
        };
        let last = tokens.rest().is_empty();
        // `rest` is a piece of the command's input, which makes this the key's place in it.
        let taken = rest.as_ptr().addr() - command.input.as_ptr().addr();
        let is_done = match list.touch {
            None => x.look_up(key, x.input_at + taken, Reply::Value { cas: list.cas, last }),
            Some(expiry) => touch_one(x, key, expiry, list.cas, last),
        };
        if !is_done {
            return Flow::WaitInKeys { taken, keys: list };
        }
    }
}

/// The answer to one key, without the `END`.
#[inline]
pub fn answer(found: Found<'_>, cas: bool, sight: Sight<'_>, output: &mut Output) {
    sight.counters.cmd_get.add(1);
    match found {
        Found::Hit(record) => {
            sight.counters.get_hits.add(1);
            push_record(&record, cas, sight, output);
        }
        Found::Miss(miss) => count_miss(miss, sight.counters),
    }
}

/// The answer to one key of get or gets that waited for a write.
pub fn answer_deferred(key: &[u8], cas: bool, last: bool, sight: Sight<'_>, output: &mut Output) {
    let found = sight.reader.get(KeyHash::of(key), key, sight.now);
    sight.note_fetch(key, &found);
    answer(found, cas, sight, output);
    if last {
        output.push(END);
    }
}

/// The answer to one key of gat or gats, once its owner has touched it.
pub fn answer_touched(key: &[u8], outcome: &Outcome, cas: bool, sight: Sight<'_>, output: &mut Output) {
    push_touched(found(key, outcome, sight), cas, sight, output);
}

/// Counts a get that found nothing.
#[inline]
pub fn count_miss(miss: Miss, counters: &Counters) {
    counters.get_misses.add(1);
    match miss {
        Miss::Absent => {}
        Miss::Expired => counters.get_expired.add(1),
        Miss::Flushed => counters.get_flushed.add(1),
    }
}

fn touch_one(x: &mut Exchange<'_, '_, '_>, key: &[u8], expiry: Expiry, cas: bool, last: bool) -> bool {
    if !x.settle() {
        return false;
    }
    let form = Form { verb: Verb::GetAndTouch { cas }, silent: false };
    match x.read_and_touch(key, expiry, form, key) {
        Touched::Wait => return false,
        Touched::Away => {}
        Touched::Found(found) => push_touched(found, cas, x.sight(), x.sink()),
    }
    if last {
        x.sink().push(END);
    }
    true
}

fn push_touched(found: Found<'_>, cas: bool, sight: Sight<'_>, output: &mut Output) {
    touch::count(matches!(found, Found::Hit(_)), sight.counters);
    if let Found::Hit(record) = found {
        push_record(&record, cas, sight, output);
    }
}

#[inline]
fn push_record(record: &RecordRef<'_>, cas: bool, sight: Sight<'_>, output: &mut Output) {
    let Parts { flags, key, value } = record.parts();
    let bytes = &mut output.bytes;
    bytes.reserve(VALUE_LINE_BYTES_MAX + key.len());
    bytes.extend_from_slice(b"VALUE ");
    push_short(bytes, key);
    push_sizes(bytes, flags, value.len() as u64);
    if cas {
        bytes.push(b' ');
        push_u64(bytes, sight.shown(record.cas()));
    }
    bytes.extend_from_slice(b"\r\n");
    push_value(record, value, output);
    record.mark_access(sight.now.seconds);
}

/// Appends flags and length of a value, each behind a space. Most have no flags and are short.
#[inline]
fn push_sizes(bytes: &mut Vec<u8>, flags: u32, value_bytes: u64) {
    if flags != 0 || value_bytes >= SHORT_END {
        bytes.push(b' ');
        push_u64(bytes, u64::from(flags));
        bytes.push(b' ');
        return push_u64(bytes, value_bytes);
    }
    let (digits, length) = short(value_bytes);
    let end = bytes.len() + 3 + length;
    bytes.extend_from_slice(&(u64::from(digits) << 24 | 0x20_30_20).to_le_bytes());
    bytes.truncate(end);
}
