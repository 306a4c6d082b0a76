//! `incr <key> <delta> [noreply]` and `decr`.

use ringcache_engine::{Arithmetic, KeyHash, Op, Outcome, Status, Write};

use crate::output::Output;
use crate::protocol::line::{Command, Tokens, is_key, is_noreply};
use crate::protocol::number::{parse_u64, push_u64};
use crate::protocol::{BAD_FORMAT, NO_MEMORY, NON_NUMERIC};
use crate::session::answers::{Form, Verb};
use crate::session::{Delivery, Exchange, Flow};
use crate::stats::Counters;

const BAD_DELTA: &[u8] = b"CLIENT_ERROR invalid numeric delta argument\r\n";

/// Parses and executes either command.
pub fn arithmetic(x: &mut Exchange<'_, '_, '_>, command: Command<'_>, decrement: bool) -> Flow {
    let mut tokens = Tokens::of(command.args);
    let (Some(key), Some(delta)) = (tokens.next(), tokens.next()) else {
        return x.answer(BAD_FORMAT, command.line_bytes);
    };
    let silent = is_noreply(command.args);
    if !is_key(key) {
        return x.answer_unless(silent, BAD_FORMAT, command.line_bytes);
    }
    let Some(delta) = parse_u64(delta) else {
        return x.answer_unless(silent, BAD_DELTA, command.line_bytes);
    };
    let op = Arithmetic { delta, decrement, compare: None, explicit_cas: None, create: None, expiry: None };
    let write = Write { hash: KeyHash::of(key), key, op: Op::Arithmetic(op) };
    let verb = if decrement { Verb::Decrement } else { Verb::Increment };
    match x.send(&write, Form { verb, silent }, &[]) {
        Delivery::Wait => return Flow::Wait,
        Delivery::Away => {}
        Delivery::Done(outcome) => {
            let counters = x.reach.counters;
            answer(&outcome, decrement, silent, counters, x.sink());
        }
    }
    Flow::Taken(command.line_bytes)
}

/// Counts and encodes the outcome.
pub fn answer(outcome: &Outcome, decrement: bool, silent: bool, counters: &Counters, output: &mut Output) {
    count(outcome.status, decrement, counters);
    if silent {
        return;
    }
    match outcome.status {
        Status::Stored => {
            push_u64(&mut output.bytes, outcome.number);
            output.push(b"\r\n");
        }
        Status::NotFound => output.push(b"NOT_FOUND\r\n"),
        Status::NonNumeric => output.push(NON_NUMERIC),
        _ => output.push(NO_MEMORY),
    }
}

/// Counts an arithmetic command of either dialect; one that created its record is neither hit nor miss.
pub fn count(status: Status, decrement: bool, counters: &Counters) {
    match (status, decrement) {
        (Status::Stored, false) => counters.incr_hits.add(1),
        (Status::Stored, true) => counters.decr_hits.add(1),
        (Status::NotFound, false) => counters.incr_misses.add(1),
        (Status::NotFound, true) => counters.decr_misses.add(1),
        _ => {}
    }
}
