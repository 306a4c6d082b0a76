//! `delete` and `deleteq`: the key in, nothing out.

use ringcache_engine::{Delete, KeyHash, Op, Outcome, Status as Ending, Write};

use super::Request;
use super::header::{Asked, Response, Status, push_error};
use crate::output::Output;
use crate::session::answers::{Form, Verb};
use crate::session::{Delivery, Exchange, Flow};
use crate::stats::Counters;

/// Executes the command.
pub fn delete(x: &mut Exchange<'_, '_, '_>, request: &Request<'_>) -> Flow {
    let sight = x.sight();
    let compare = (request.cas != 0).then(|| sight.comparable(request.cas));
    let op = Op::Delete(Delete { compare, ..Delete::default() });
    let write = Write { hash: KeyHash::of(request.key), key: request.key, op };
    match x.send(&write, Form { verb: Verb::Binary, silent: false }, &request.asked.to_bytes()) {
        Delivery::Wait => return Flow::Wait,
        Delivery::Away => {}
        Delivery::Done(outcome) => answer(request.asked, &outcome, sight.counters, x.sink()),
    }
    Flow::Taken(request.bytes())
}

/// Counts and encodes the outcome; a record with another CAS is neither hit nor miss.
pub fn answer(asked: Asked, outcome: &Outcome, counters: &Counters, output: &mut Output) {
    match outcome.status {
        Ending::Deleted => {
            counters.delete_hits.add(1);
            if !asked.quiet {
                Response::SUCCESS.push(asked, output);
            }
        }
        Ending::Exists => push_error(asked, Status::Exists, output),
        _ => {
            counters.delete_misses.add(1);
            push_error(asked, Status::NotFound, output);
        }
    }
}
