//! `ms <key> <bytes> <flag>*`, then the data block.

use ringcache_engine::limits::KEY_BYTES_MAX;
use ringcache_engine::{KeyHash, Op, Outcome, Status, Store, StoreMode, Write};

use crate::output::Output;
use crate::protocol::exptime::expiry;
use crate::protocol::line::{Command, Tokens};
use crate::protocol::meta::flags::{Flags, Key, are_letters};
use crate::protocol::meta::{push_key, push_number, push_token};
use crate::protocol::text::store::{self, Data, Large};
use crate::protocol::{BAD_DATA, BAD_FORMAT, NO_MEMORY_TO_STORE, TOO_LARGE};
use crate::session::answers::{Form, Verb};
use crate::session::lookups::Sight;
use crate::session::{Delivery, Exchange, Flow};

const BAD_MODE: &[u8] = b"CLIENT_ERROR invalid mode for ms M token\r\n";
/// Tokens before the flags.
const WORDS: usize = 3;

/// Parses and executes the command.
pub fn set(x: &mut Exchange<'_, '_, '_>, command: Command<'_>) -> Flow {
    let mut tokens = Tokens::of(command.args);
    let (Some(word), Some(bytes)) = (tokens.next(), tokens.next()) else {
        return x.answer(BAD_FORMAT, command.line_bytes);
    };
    let Some(bytes) = store::parse_data_bytes(bytes) else {
        return x.answer(BAD_FORMAT, command.line_bytes);
    };
    let mut room = [0; KEY_BYTES_MAX];
    let (key, flags) = match Flags::parse(word, tokens.rest(), WORDS, &mut room) {
        Ok(parsed) => parsed,
        Err(line) if !are_letters(tokens.rest()) => return x.answer(line, command.line_bytes),
        Err(line) => return x.refuse_data(false, line, command.line_bytes, bytes),
    };
    let Some(mode) = mode(&flags) else {
        return x.refuse_data(false, BAD_MODE, command.line_bytes, bytes);
    };
    let hash = KeyHash::of(key.bytes);
    if !store::fits(key.bytes, flags.client_flags, bytes, &x.reach.node.config) {
        let store = store_of(&flags, mode, &[], x.sight());
        let large = Large { hash, key: key.bytes, store, removes: true, bytes };
        return store::refuse_large(x, &large, false, command.line_bytes);
    }
    let value = match Data::of(command, bytes) {
        Data::Whole(value) => value,
        Data::Missing => return Flow::More(command.line_bytes + bytes + 2),
        Data::BadEnd => {
            x.reach.counters.cmd_set.add(1);
            return x.answer(BAD_DATA, command.line_bytes + bytes + 2);
        }
    };
    let sight = x.sight();
    let write = Write { hash, key: key.bytes, op: Op::Store(store_of(&flags, mode, value, sight)) };
    match x.send(&write, Form { verb: Verb::MetaSet, silent: false }, command.args) {
        Delivery::Wait => return Flow::Wait,
        Delivery::Away => {}
        Delivery::Done(outcome) => answer(&key, &flags, bytes, &outcome, sight, x.sink()),
    }
    x.reach.counters.cmd_set.add(1);
    Flow::Taken(command.line_bytes + bytes + 2)
}

/// The answer to an `ms` that went away; `text` is what followed the verb on its line.
pub fn answer_later(text: &[u8], outcome: &Outcome, sight: Sight<'_>, output: &mut Output) {
    let mut tokens = Tokens::of(text);
    let word = tokens.next().unwrap_or_default();
    let bytes = tokens.next().and_then(store::parse_data_bytes).unwrap_or_default();
    let mut room = [0; KEY_BYTES_MAX];
    let (key, flags) = Flags::parse(word, tokens.rest(), WORDS, &mut room)
        .expect("the same text was parsed before its write was sent");
    answer(&key, &flags, bytes, outcome, sight, output);
}

fn mode(flags: &Flags<'_>) -> Option<StoreMode> {
    match flags.mode {
        None | Some(b'S') => Some(StoreMode::Set),
        Some(b'E') => Some(StoreMode::Add),
        Some(b'A') => Some(StoreMode::Append),
        Some(b'P') => Some(StoreMode::Prepend),
        Some(b'R') => Some(StoreMode::Replace),
        Some(_) => None,
    }
}

fn joins(mode: StoreMode) -> bool {
    matches!(mode, StoreMode::Append | StoreMode::Prepend)
}

fn store_of<'v>(flags: &Flags<'_>, mode: StoreMode, value: &'v [u8], sight: Sight<'_>) -> Store<'v> {
    let compare = flags.compared(sight);
    Store {
        value,
        flags: flags.client_flags,
        expiry: expiry(flags.touch.unwrap_or(0), sight.now, sight.started),
        // With a compare set and replace are the same; a missing record is told as such.
        mode: if compare.is_some() && mode == StoreMode::Replace { StoreMode::Set } else { mode },
        // An append takes zero for "no compare"; an add never compares.
        compare: match mode {
            StoreMode::Append | StoreMode::Prepend => compare.filter(|_| flags.compare != Some(0)),
            StoreMode::Add => None,
            StoreMode::Set | StoreMode::Replace => compare,
        },
        explicit_cas: flags.given_cas(sight),
        invalidate: flags.has(b'I') && !joins(mode) && mode != StoreMode::Add,
        vivify: flags.vivify.filter(|_| joins(mode)).map(|exptime| expiry(exptime, sight.now, sight.started)),
    }
}

/// Counts and encodes the outcome; `bytes` is the length of the data that was sent.
fn answer(
    key: &Key<'_>,
    flags: &Flags<'_>,
    bytes: usize,
    outcome: &Outcome,
    sight: Sight<'_>,
    output: &mut Output,
) {
    let mode = mode(flags).unwrap_or(StoreMode::Set);
    if flags.compare.is_some() && !joins(mode) && mode != StoreMode::Add {
        store::count_compare(outcome.status, sight.counters);
    }
    if !joins(mode) {
        store::count_refusal(outcome.status, sight.counters);
    }
    let word: &[u8] = match outcome.status {
        Status::Stored | Status::Created if flags.has(b'q') => return,
        Status::Stored | Status::Created => b"HD",
        Status::Exists => b"EX",
        Status::NotFound if !joins(mode) => b"NF",
        Status::TooLarge if !joins(mode) => return output.push(TOO_LARGE),
        Status::NoMemory if !joins(mode) => return output.push(NO_MEMORY_TO_STORE),
        _ => b"NS",
    };
    output.push(word);
    let is_stored = word == b"HD";
    for token in flags.tokens() {
        match token[0] {
            b'c' => push_number(b'c', if is_stored { sight.shown(outcome.cas) } else { 0 }, output),
            b's' => push_number(
                b's',
                if is_stored { u64::from(outcome.value_bytes) } else { bytes as u64 },
                output,
            ),
            b'O' => push_token(token, output),
            b'k' => push_key(key, output),
            _ => {}
        }
    }
    output.push(b"\r\n");
}
