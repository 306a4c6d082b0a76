//! `watch [<stream>*]`: the connection becomes a stream of events until the client closes it.

use crate::observe::Streams;
use crate::protocol::UNKNOWN;
use crate::protocol::line::{Command, Tokens};
use crate::protocol::text::admin::OK;
use crate::session::stream::Stream;
use crate::session::{Exchange, Flow};

const FORBIDDEN: &[u8] = b"CLIENT_ERROR watch commands not allowed\r\n";
const TOO_MANY: &[u8] = b"WATCHER_TOO_MANY log watcher limit reached\r\n";

/// Parses and executes the command.
pub fn watch(x: &mut Exchange<'_, '_, '_>, command: Command<'_>) -> Flow {
    if !x.reach.node.config.watch_enabled || x.is_datagram {
        return x.answer(FORBIDDEN, command.line_bytes);
    }
    if !x.may_take_over() {
        return Flow::Wait;
    }
    let Some(streams) = streams(command.args) else {
        return x.answer(UNKNOWN, command.line_bytes);
    };
    match x.reach.node.observers.watch(streams) {
        Err(_) => x.answer(TOO_MANY, command.line_bytes),
        Ok(watch) => {
            x.output.push(OK);
            x.take_over(Stream::Watch(watch), command.line_bytes)
        }
    }
}

fn streams(words: &[u8]) -> Option<Streams> {
    if Tokens::of(words).next().is_none() {
        return Some(Streams::FETCHERS);
    }
    Tokens::of(words).try_fold(Streams(0), |all, word| {
        let stream = match word {
            b"fetchers" => Streams::FETCHERS,
            b"mutations" => Streams::MUTATIONS,
            b"evictions" => Streams::EVICTIONS,
            b"connevents" => Streams::CONNEVENTS,
            b"deletions" => Streams::DELETIONS,
            // memcached knows these streams, and 1.6.45 without a proxy sends nothing, or what its crawler and its page
            // mover do.
            b"rawcmds" | b"sysevents" | b"proxyreqs" | b"proxyevents" | b"proxyuser" => Streams::SILENT,
            _ => return None,
        };
        Some(Streams(all.0 | stream.0))
    })
}
