//! `delete <key> [0] [noreply]`.

use ringcache_engine::{Delete, KeyHash, Op, Outcome, Status, Write};

use crate::output::Output;
use crate::protocol::BAD_FORMAT;
use crate::protocol::line::{Command, Tokens, is_key, is_noreply};
use crate::session::answers::{Form, Verb};
use crate::session::{Delivery, Exchange, Flow};
use crate::stats::Counters;

const USAGE: &[u8] = b"CLIENT_ERROR bad command line format.  Usage: delete <key> [noreply]\r\n";

/// Parses and executes the command. Surplus words are an error, as they were up to memcached 1.6.39: clients'
/// test suites ask for it. A literal zero is the delay that old clients still send.
pub fn delete(x: &mut Exchange<'_, '_, '_>, command: Command<'_>) -> Flow {
    let mut tokens = Tokens::of(command.args);
    let Some(key) = tokens.next() else {
        return x.answer(BAD_FORMAT, command.line_bytes);
    };
    let surplus = tokens.rest();
    // Also where the word is the key.
    let silent = is_noreply(command.args);
    if !surplus.is_empty() && !is_tolerated(tokens) {
        return x.answer_unless(silent, USAGE, command.line_bytes);
    }
    if !is_key(key) {
        return x.answer_unless(silent, BAD_FORMAT, command.line_bytes);
    }
    let write = Write { hash: KeyHash::of(key), key, op: Op::Delete(Delete::default()) };
    match x.send(&write, Form { verb: Verb::Delete, silent }, &[]) {
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
    let is_deleted = outcome.status == Status::Deleted;
    if is_deleted {
        counters.delete_hits.add(1);
    } else {
        counters.delete_misses.add(1);
    }
    if !silent {
        output.push(if is_deleted { b"DELETED\r\n" } else { b"NOT_FOUND\r\n" });
    }
}

/// `0`, `noreply` or `0 noreply`.
fn is_tolerated(mut tokens: Tokens<'_>) -> bool {
    match (tokens.next(), tokens.next(), tokens.next()) {
        (Some(only), None, _) => only == b"0" || only == b"noreply",
        (Some(delay), Some(last), None) => delay == b"0" && last == b"noreply",
        _ => false,
    }
}
