//! `me <key> [b]`: what is known about a record, without touching it.

use ringcache_engine::limits::KEY_BYTES_MAX;
use ringcache_engine::{KeyHash, Lookup as Found, RecordRef};

use crate::output::Output;
use crate::protocol::line::{Command, Tokens, is_key};
use crate::protocol::meta::flags::are_letters;
use crate::protocol::number::push_u64;
use crate::protocol::{BAD_FORMAT, base64};
use crate::session::lookups::Sight;
use crate::session::{Exchange, Flow};

/// Parses and executes the command.
pub fn debug(x: &mut Exchange<'_, '_, '_>, command: Command<'_>) -> Flow {
    let mut tokens = Tokens::of(command.args);
    let Some(word) = tokens.next().filter(|word| is_key(word)) else {
        return x.answer(BAD_FORMAT, command.line_bytes);
    };
    if !are_letters(tokens.rest()) {
        return x.answer(BAD_FORMAT, command.line_bytes);
    }
    let mut room = [0; KEY_BYTES_MAX];
    let key = match tokens.next() {
        Some(b"b") => match base64::decode(word, &mut room) {
            Some(length) => &room[..length],
            None => return x.answer(BAD_FORMAT, command.line_bytes),
        },
        _ => word,
    };
    let hash = KeyHash::of(key);
    if !x.may_read(hash) {
        return Flow::Wait;
    }
    let sight = x.sight();
    sight.counters.cmd_meta.add(1);
    match sight.reader.get(hash, key, sight.now) {
        Found::Hit(record) => push_record(&record, word, sight, x.sink()),
        Found::Miss(_) => x.sink().push(b"EN\r\n"),
    }
    Flow::Taken(command.line_bytes)
}

/// Appends the answer; `word` is the key as the client wrote it.
fn push_record(record: &RecordRef<'_>, word: &[u8], sight: Sight<'_>, output: &mut Output) {
    output.push(b"ME ");
    output.push(word);
    output.push(b" exp=");
    match record.expiry().left(sight.now.seconds) {
        Some(seconds) => push_u64(&mut output.bytes, u64::from(seconds)),
        None => output.push(b"-1"),
    }
    output.push(b" la=");
    push_u64(&mut output.bytes, u64::from(record.idle_seconds(sight.now.seconds)));
    output.push(b" cas=");
    push_u64(&mut output.bytes, sight.shown(record.cas()));
    output.push(if record.fetched() { b" fetch=yes" } else { b" fetch=no" });
    // There are no size classes; clients expect the field.
    output.push(b" cls=1 size=");
    push_u64(&mut output.bytes, record.footprint() as u64);
    output.push(b"\r\n");
}
