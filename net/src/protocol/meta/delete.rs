//! `md <key> <flag>*`.

use ringcache_engine::limits::KEY_BYTES_MAX;
use ringcache_engine::{Delete, KeyHash, Op, Outcome, Status, Write};

use crate::output::Output;
use crate::protocol::exptime::expiry;
use crate::protocol::line::{Command, Tokens};
use crate::protocol::meta::flags::{Flags, Key};
use crate::protocol::meta::push_echoes;
use crate::protocol::{BAD_FORMAT, NO_MEMORY};
use crate::session::answers::{Form, Verb};
use crate::session::lookups::Sight;
use crate::session::{Delivery, Exchange, Flow};

/// Parses and executes the command.
pub fn delete(x: &mut Exchange<'_, '_, '_>, command: Command<'_>) -> Flow {
    let mut tokens = Tokens::of(command.args);
    let Some(word) = tokens.next() else {
        return x.answer(BAD_FORMAT, command.line_bytes);
    };
    let mut room = [0; KEY_BYTES_MAX];
    let (key, flags) = match Flags::parse(word, tokens.rest(), 2, &mut room) {
        Ok(parsed) => parsed,
        Err(line) => return x.answer(line, command.line_bytes),
    };
    let sight = x.sight();
    let write =
        Write { hash: KeyHash::of(key.bytes), key: key.bytes, op: Op::Delete(delete_of(&flags, sight)) };
    match x.send(&write, Form { verb: Verb::MetaDelete, silent: false }, command.args) {
        Delivery::Wait => return Flow::Wait,
        Delivery::Away => {}
        Delivery::Done(outcome) => answer(&key, &flags, &outcome, sight, x.sink()),
    }
    Flow::Taken(command.line_bytes)
}

/// The answer to an `md` that went away; `text` is what followed the verb on its line.
pub fn answer_later(text: &[u8], outcome: &Outcome, sight: Sight<'_>, output: &mut Output) {
    let mut room = [0; KEY_BYTES_MAX];
    let (key, flags) = Flags::parse_again(text, &mut room);
    answer(&key, &flags, outcome, sight, output);
}

fn delete_of(flags: &Flags<'_>, sight: Sight<'_>) -> Delete {
    Delete {
        // Without CAS uniques every record's is zero, which is equal to zero alone.
        compare: flags
            .compare
            .filter(|&cas| sight.cas || cas != 0)
            .map(|cas| if sight.cas { cas } else { 0 }),
        explicit_cas: flags.given_cas(sight),
        invalidate: flags.has(b'I'),
        expiry: flags.touch.map(|exptime| expiry(exptime, sight.now, sight.started)),
        clear: flags.has(b'x'),
        flags: flags.client_flags,
    }
}

fn answer(key: &Key<'_>, flags: &Flags<'_>, outcome: &Outcome, sight: Sight<'_>, output: &mut Output) {
    let is_deleted = outcome.status == Status::Deleted;
    match is_deleted {
        // A record that stays, marked stale, was not deleted.
        true if flags.has(b'I') => {}
        true => sight.counters.delete_hits.add(1),
        false => sight.counters.delete_misses.add(1),
    }
    if is_deleted && flags.has(b'q') {
        return;
    }
    output.push(match outcome.status {
        Status::Deleted => b"HD",
        Status::Exists => b"EX",
        Status::NoMemory | Status::TooLarge => return output.push(NO_MEMORY),
        _ => b"NF",
    });
    push_echoes(flags.text(), key, output);
    output.push(b"\r\n");
}
