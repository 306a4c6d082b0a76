//! `ma <key> <flag>*`.

use ringcache_engine::limits::KEY_BYTES_MAX;
use ringcache_engine::{Arithmetic, Expiry, KeyHash, Op, Outcome, Status, Write};

use crate::output::Output;
use crate::protocol::exptime::expiry;
use crate::protocol::line::{Command, Tokens};
use crate::protocol::meta::flags::{Flags, Key, OPAQUE_TOO_LONG, are_letters};
use crate::protocol::meta::{push_echoes, push_key, push_left, push_number, push_token};
use crate::protocol::number::{digits, push_u64};
use crate::protocol::text::arithmetic::count;
use crate::protocol::{BAD_FORMAT, NO_MEMORY, NON_NUMERIC};
use crate::session::answers::{Form, Verb};
use crate::session::lookups::Sight;
use crate::session::{Delivery, Exchange, Flow};

const BAD_FLAGS: &[u8] = b"CLIENT_ERROR invalid or duplicate flag\r\n";
const BAD_MODE: &[u8] = b"CLIENT_ERROR invalid mode for ma M token\r\n";

/// Parses and executes the command.
pub fn arithmetic(x: &mut Exchange<'_, '_, '_>, command: Command<'_>) -> Flow {
    let mut tokens = Tokens::of(command.args);
    let Some(word) = tokens.next() else {
        return x.answer(BAD_FORMAT, command.line_bytes);
    };
    let mut room = [0; KEY_BYTES_MAX];
    let (key, flags) = match Flags::parse(word, tokens.rest(), 2, &mut room) {
        Ok(parsed) => parsed,
        // Of all mistakes memcached names only this one here.
        Err(OPAQUE_TOO_LONG) => return x.answer(OPAQUE_TOO_LONG, command.line_bytes),
        Err(line) if !are_letters(tokens.rest()) => return x.answer(line, command.line_bytes),
        Err(_) => return x.answer(BAD_FLAGS, command.line_bytes),
    };
    let Some(decrement) = is_decrement(&flags) else {
        return x.answer(BAD_MODE, command.line_bytes);
    };
    let sight = x.sight();
    let op = Op::Arithmetic(arithmetic_of(&flags, decrement, sight));
    let write = Write { hash: KeyHash::of(key.bytes), key: key.bytes, op };
    match x.send(&write, Form { verb: Verb::MetaArithmetic, silent: false }, command.args) {
        Delivery::Wait => return Flow::Wait,
        Delivery::Away => {}
        Delivery::Done(outcome) => answer(&key, &flags, &outcome, sight, x.sink()),
    }
    Flow::Taken(command.line_bytes)
}

/// The answer to an `ma` that went away; `text` is what followed the verb on its line.
pub fn answer_later(text: &[u8], outcome: &Outcome, sight: Sight<'_>, output: &mut Output) {
    let mut room = [0; KEY_BYTES_MAX];
    let (key, flags) = Flags::parse_again(text, &mut room);
    answer(&key, &flags, outcome, sight, output);
}

fn is_decrement(flags: &Flags<'_>) -> Option<bool> {
    match flags.mode {
        None | Some(b'I' | b'+') => Some(false),
        Some(b'D' | b'-') => Some(true),
        Some(_) => None,
    }
}

fn arithmetic_of(flags: &Flags<'_>, decrement: bool, sight: Sight<'_>) -> Arithmetic {
    let expiry = |exptime| expiry(exptime, sight.now, sight.started);
    let touch = flags.touch.map(expiry);
    Arithmetic {
        delta: flags.delta.unwrap_or(1),
        decrement,
        // Zero means "no compare".
        compare: flags.compared(sight).filter(|_| flags.compare != Some(0)),
        explicit_cas: flags.given_cas(sight),
        create: flags.vivify.map(|exptime| {
            // Of T and N the later one on the line sets the expiry.
            let last = touch.filter(|_| flags.is_before(b'N', b'T'));
            (last.unwrap_or(expiry(exptime)), flags.initial)
        }),
        expiry: touch,
    }
}

fn answer(key: &Key<'_>, flags: &Flags<'_>, outcome: &Outcome, sight: Sight<'_>, output: &mut Output) {
    count(outcome.status, is_decrement(flags) == Some(true), sight.counters);
    let word: &[u8] = match outcome.status {
        Status::Stored | Status::Created if flags.has(b'q') => return,
        Status::Stored | Status::Created => return push_result(key, flags, outcome, sight, output),
        Status::NonNumeric => return output.push(NON_NUMERIC),
        Status::NotFound => b"NF",
        Status::Exists => b"EX",
        Status::NotStored => b"NS",
        _ => return output.push(NO_MEMORY),
    };
    output.push(word);
    push_echoes(flags.text(), key, output);
    output.push(b"\r\n");
}

fn push_result(key: &Key<'_>, flags: &Flags<'_>, outcome: &Outcome, sight: Sight<'_>, output: &mut Output) {
    if flags.has(b'v') {
        output.push(b"VA ");
        push_u64(&mut output.bytes, digits(outcome.number));
    } else {
        output.push(b"HD");
    }
    // N and T take effect where they stand on the line.
    let at = |exptime: Option<i32>| exptime.map(|exptime| expiry(exptime, sight.now, sight.started));
    let is_made = outcome.status == Status::Created;
    let mut shown = if is_made { Expiry::NEVER } else { outcome.expiry_before };
    for token in flags.tokens() {
        match token[0] {
            b'T' => shown = at(flags.touch).unwrap_or(shown),
            b'N' if is_made => shown = at(flags.vivify).unwrap_or(shown),
            b't' => push_left(shown.left(sight.now.seconds), output),
            b'c' => push_number(b'c', sight.shown(outcome.cas), output),
            b'O' => push_token(token, output),
            b'k' => push_key(key, output),
            _ => {}
        }
    }
    if flags.has(b'v') {
        output.push(b"\r\n");
        push_u64(&mut output.bytes, outcome.number);
    }
    output.push(b"\r\n");
}
