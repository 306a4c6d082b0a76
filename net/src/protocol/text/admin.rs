//! Commands about the node: `flush_all`, `version`, `verbosity`, `stats`, `cache_memlimit`, `shutdown`.

use std::sync::atomic::Ordering;

use ringcache_engine::{KeyHash, Op, Seconds, Write};

use crate::limits::{MEMORY_LIMIT_MIB_MAX, MEMORY_LIMIT_MIB_MIN, VERBOSITY_MAX};
use crate::log;
use crate::protocol::exptime::expiry;
use crate::protocol::line::{Command, Tokens, is_noreply};
use crate::protocol::number::{parse_i32, parse_i64, parse_u32};
use crate::protocol::{BAD_FORMAT, UNKNOWN, refused};
use crate::session::answers::{Form, Verb};
use crate::session::stream::Stream;
use crate::session::{Delivery, Exchange, Flow};
use crate::stats::{self, detail::PrefixDump};

/// memcached's version whose behaviour this is; clients read features out of it.
pub const VERSION: &[u8] = b"VERSION 1.6.45\r\n";
/// `flush_all` was taken.
pub const OK: &[u8] = b"OK\r\n";

const BAD_EXPTIME: &[u8] = b"CLIENT_ERROR invalid exptime argument\r\n";
const FLUSH_FORBIDDEN: &[u8] = b"CLIENT_ERROR flush_all not allowed\r\n";
const SHUTDOWN_DISABLED: &[u8] = b"SERVER_ERROR: shutdown not enabled\r\n";
const BAD_SHUTDOWN_MODE: &[u8] = b"CLIENT_ERROR invalid shutdown mode\r\n";
const MEMLIMIT_TOO_SMALL: &[u8] = b"MEMLIMIT_TOO_SMALL cannot set maxbytes to less than 8m\r\n";
const MEMLIMIT_NOT_BYTES: &[u8] = b"MEMLIMIT_ADJUST_FAILED input value is megabytes not bytes\r\n";
const MEMLIMIT_REFUSED: &[u8] = b"MEMLIMIT_ADJUST_FAILED out of bounds or unable to adjust\r\n";

/// `flush_all [delay] [noreply]`: the node forgets what it stored up to now, or up to a later second.
pub fn flush_all(x: &mut Exchange<'_, '_, '_>, command: Command<'_>) -> Flow {
    let silent = is_noreply(command.args);
    let words = Tokens::of(command.args).count() - usize::from(silent);
    let exptime = match Tokens::of(command.args).next().filter(|_| words > 0) {
        None => Some(0),
        Some(word) => parse_i32(word),
    };
    if !may_flush(x) {
        return Flow::Wait;
    }
    x.reach.counters.cmd_flush.add(1);
    if !x.reach.node.config.flush_enabled {
        return x.answer_unless(silent, FLUSH_FORBIDDEN, command.line_bytes);
    }
    let Some(exptime) = exptime else {
        return x.answer_unless(silent, BAD_EXPTIME, command.line_bytes);
    };
    if let Some(refusal) = x.reach.guard.refusal {
        return x.answer_unless(silent, refused::line(refusal), command.line_bytes);
    }
    let at = (exptime > 0).then(|| Seconds(expiry(exptime, x.reach.now, x.reach.node.started).to_bits()));
    flush_node(x, at);
    x.answer_unless(silent, OK, command.line_bytes)
}

/// Whether [`flush_node`] may be called: every write of this session before it has been answered, so that it is flushed
/// wherever it was made.
pub fn may_flush(x: &Exchange<'_, '_, '_>) -> bool {
    x.answers.is_empty()
}

/// Flushes all shards of the node. An answer behind this write leaves when it is done.
pub fn flush_node(x: &mut Exchange<'_, '_, '_>, at: Option<Seconds>) {
    let write = Write { hash: KeyHash(0), key: &[], op: Op::Flush { at } };
    let form = Form { verb: Verb::Unasked, silent: true };
    let delivery = x.send_to(x.reach.shard.id(), &write, form, &[]);
    debug_assert!(!matches!(delivery, Delivery::Wait), "nothing of this session is under way");
}

/// `verbosity <level> [noreply]`.
pub fn verbosity(x: &mut Exchange<'_, '_, '_>, command: Command<'_>) -> Flow {
    let silent = is_noreply(command.args);
    let Some(level) = Tokens::of(command.args).next().and_then(parse_u32) else {
        return x.answer_unless(silent, BAD_FORMAT, command.line_bytes);
    };
    let level = level.min(u32::from(VERBOSITY_MAX)) as u8;
    x.reach.node.verbosity.store(level, Ordering::Relaxed);
    log::set_verbosity(level);
    x.answer_unless(silent, OK, command.line_bytes)
}

/// `stats [what]`.
pub fn stats(x: &mut Exchange<'_, '_, '_>, command: Command<'_>) -> Flow {
    let what = trim_spaces(command.args);
    if let Some(form) = stats::dump(&x.reach.node.config, what) {
        if x.is_datagram {
            return x.answer(UNKNOWN, command.line_bytes);
        }
        return if x.may_take_over() { x.dump(form, None, command.line_bytes) } else { Flow::Wait };
    }
    // Writes to other workers are counted by prefix when their outcomes are back.
    if what.starts_with(b"detail") && !x.may_take_over() {
        return Flow::Wait;
    }
    let (node, now) = (x.reach.node, x.reach.now);
    if !x.is_datagram && stats::detail::asks_for_prefixes(&node.config, what) {
        return x.take_over(Stream::Prefixes(PrefixDump::default()), command.line_bytes);
    }
    if !stats::report(node, now, what, &mut x.sink().bytes) {
        x.sink().push(UNKNOWN);
    }
    // `stats detail on` holds for the commands behind it.
    x.sight.observer = x.reach.observer();
    Flow::Taken(command.line_bytes)
}

/// A tab is no space.
fn trim_spaces(mut text: &[u8]) -> &[u8] {
    while let [b' ', rest @ ..] | [rest @ .., b' '] = text {
        text = rest;
    }
    text
}

/// `debugtime p|r|<seconds>`: stops the clock, lets it go on, moves it. Only with `-o relaxed_privileges`.
pub fn debugtime(x: &mut Exchange<'_, '_, '_>, command: Command<'_>) -> Flow {
    let clock = &x.reach.node.clock;
    let silent = is_noreply(command.args);
    let word = Tokens::of(command.args).next().filter(|_| clock.is_debug());
    match word {
        Some(b"p") => clock.stop(),
        Some(b"r") => clock.go_on(),
        word => match word.and_then(parse_i64) {
            Some(seconds) => clock.move_by(seconds),
            None => return x.answer_unless(silent, UNKNOWN, command.line_bytes),
        },
    }
    x.answer_unless(silent, OK, command.line_bytes)
}

/// `cache_memlimit <mebibytes> [noreply]`.
pub fn cache_memlimit(x: &mut Exchange<'_, '_, '_>, command: Command<'_>) -> Flow {
    let silent = is_noreply(command.args);
    let line = match Tokens::of(command.args).next().and_then(parse_u32) {
        None => UNKNOWN,
        Some(mebibytes) if mebibytes < MEMORY_LIMIT_MIB_MIN => MEMLIMIT_TOO_SMALL,
        Some(mebibytes) if mebibytes > MEMORY_LIMIT_MIB_MAX => MEMLIMIT_NOT_BYTES,
        Some(mebibytes) if x.reach.node.engine.set_memory_limit(u64::from(mebibytes) << 20) => OK,
        Some(_) => MEMLIMIT_REFUSED,
    };
    x.answer_unless(silent, line, command.line_bytes)
}

/// `refresh_certs`: reads the certificates again, for the connections from now on.
pub fn refresh_certs(x: &mut Exchange<'_, '_, '_>, command: Command<'_>) -> Flow {
    match x.reach.node.tls.load() {
        Ok(()) => x.answer(OK, command.line_bytes),
        Err(error) => x.answer(format!("{error}\r\n").as_bytes(), command.line_bytes),
    }
}

/// `shutdown [graceful]`: the workers drain and stop; a graceful one leaves the memory file to the next start.
pub fn shutdown(x: &mut Exchange<'_, '_, '_>, command: Command<'_>) -> Flow {
    let silent = is_noreply(command.args);
    if !x.reach.node.config.shutdown_enabled {
        return x.answer_unless(silent, SHUTDOWN_DISABLED, command.line_bytes);
    }
    match Tokens::of(command.args).rest() {
        b"" => {}
        b"graceful" => x.reach.node.keeping.store(true, Ordering::Release),
        _ => return x.answer_unless(silent, BAD_SHUTDOWN_MODE, command.line_bytes),
    }
    x.reach.node.stopping.store(true, Ordering::Release);
    Flow::Close
}
