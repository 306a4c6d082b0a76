//! `touch <key> <exptime> [noreply]`.

use ringcache_engine::{KeyHash, Op, Outcome, Status, Write};

use crate::output::Output;
use crate::protocol::BAD_FORMAT;
use crate::protocol::exptime::expiry;
use crate::protocol::line::{Command, Tokens, is_key, is_noreply};
use crate::protocol::number::parse_i32;
use crate::session::answers::{Form, Verb};
use crate::session::{Delivery, Exchange, Flow};
use crate::stats::Counters;

const BAD_EXPTIME: &[u8] = b"CLIENT_ERROR invalid exptime argument\r\n";

/// Parses and executes the command.
pub fn touch(x: &mut Exchange<'_, '_, '_>, command: Command<'_>) -> Flow {
    let mut tokens = Tokens::of(command.args);
    let (Some(key), Some(exptime)) = (tokens.next(), tokens.next()) else {
        return x.answer(BAD_FORMAT, command.line_bytes);
    };
    let silent = is_noreply(command.args);
    if !is_key(key) {
        return x.answer_unless(silent, BAD_FORMAT, command.line_bytes);
    }
    let Some(exptime) = parse_i32(exptime) else {
        return x.answer_unless(silent, BAD_EXPTIME, command.line_bytes);
    };
    let expiry = expiry(exptime, x.reach.now, x.reach.node.started);
    let write = Write { hash: KeyHash::of(key), key, op: Op::Touch { expiry, fetches: true } };
    match x.send(&write, Form { verb: Verb::Touch, silent }, &[]) {
        Delivery::Wait => return Flow::Wait,
        Delivery::Away => {}
        Delivery::Done(outcome) => {
            let counters = x.reach.counters;
            answer(&outcome, silent, counters, x.sink());
        }
    }
    Flow::Taken(command.line_bytes)
}

/// Counts and encodes the outcome.
pub fn answer(outcome: &Outcome, silent: bool, counters: &Counters, output: &mut Output) {
    let is_touched = outcome.status == Status::Touched;
    count(is_touched, counters);
    if !silent {
        output.push(if is_touched { b"TOUCHED\r\n" } else { b"NOT_FOUND\r\n" });
    }
}

/// Counts a touch, with or without a read, of any dialect.
pub fn count(is_touched: bool, counters: &Counters) {
    counters.cmd_touch.add(1);
    if is_touched {
        counters.touch_hits.add(1);
    } else {
        counters.touch_misses.add(1);
    }
}
