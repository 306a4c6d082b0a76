//! `mg <key> <flag>*`.
//!
//! Without `T` and `N` it is a read and joins the batch of lookups. `T` is a touch at the key's owner followed by
//! a read; `N` a read, followed by a vivify at the owner when nothing is there.

use ringcache_engine::limits::KEY_BYTES_MAX;
use ringcache_engine::{
    Expiry, KeyHash, Lookup as Found, Miss, Op, Outcome, RecordRef, Status, Token, Write,
};

use crate::output::Output;
use crate::protocol::exptime::expiry;
use crate::protocol::line::{Command, Tokens};
use crate::protocol::meta::flags::{Flags, Key};
use crate::protocol::meta::{push_echoes, push_key, push_left, push_number, push_token};
use crate::protocol::number::push_u64;
use crate::protocol::text::get::count_miss;
use crate::protocol::{BAD_FORMAT, push_value};
use crate::session::answers::{Form, Verb};
use crate::session::asking::Asked;
use crate::session::lookups::{Reply, Sight};
use crate::session::{Delivery, Exchange, Flow};

/// An `mg` that is a read and no more, as it waits in the batch of lookups.
#[derive(Clone, Copy)]
pub struct PlainGet<'i> {
    /// The flags on the line; checked.
    text: &'i [u8],
    compare: Option<u64>,
    recache: Expiry,
    value: bool,
    quiet: bool,
    unbumped: bool,
}

/// What is shown of a record.
struct Shown<'a, 'r> {
    /// `None`: `N` made it just now, empty, for this client.
    record: Option<&'a RecordRef<'r>>,
    /// Before `T` and `N`.
    expiry_before: Expiry,
    /// From `T` on, which may come before or behind `t` on the line.
    expiry_touched: Expiry,
    /// From `N` on, where it made the record.
    expiry_made: Option<Expiry>,
    cas: u64,
}

/// Parses and executes the command.
pub fn get<'i>(x: &mut Exchange<'_, 'i, '_>, command: Command<'i>) -> Flow {
    let mut tokens = Tokens::of(command.args);
    let Some(word) = tokens.next() else {
        return x.answer(BAD_FORMAT, command.line_bytes);
    };
    let mut room = [0; KEY_BYTES_MAX];
    let (key, flags) = match Flags::parse(word, tokens.rest(), 2, &mut room) {
        Ok(parsed) => parsed,
        Err(line) => return x.answer(line, command.line_bytes),
    };
    if !key.is_binary && flags.touch.is_none() && flags.vivify.is_none() {
        let reply = Reply::Meta(PlainGet::of(&flags, x.sight()));
        let is_added = x.look_up(word, x.input_at, reply);
        return if is_added { Flow::Taken(command.line_bytes) } else { Flow::Wait };
    }
    if !x.settle() {
        return Flow::Wait;
    }
    get_with_write(x, command, &key, &flags)
}

/// The answer to an `mg` that only reads.
#[inline]
pub fn answer_plain(
    found: Found<'_>,
    plain: &PlainGet<'_>,
    key: &Key<'_>,
    sight: Sight<'_>,
    output: &mut Output,
) {
    sight.counters.cmd_get.add(1);
    match found {
        Found::Hit(record) => {
            sight.counters.get_hits.add(1);
            push_record(&record, plain, key, [record.expiry(); 2], sight, output);
        }
        Found::Miss(miss) => {
            count_miss(miss, sight.counters);
            push_miss(plain, key, output);
        }
    }
}

/// The answer to an `mg` that only reads and waited for a write; `text` is its key and flags.
pub fn answer_deferred(text: &[u8], sight: Sight<'_>, output: &mut Output) {
    let mut room = [0; KEY_BYTES_MAX];
    let (key, flags) = Flags::parse_again(text, &mut room);
    let found = sight.reader.get(KeyHash::of(key.bytes), key.bytes, sight.now);
    sight.note_fetch(key.bytes, &found);
    answer_plain(found, &PlainGet::of(&flags, sight), &key, sight, output);
}

/// The answer to an `mg` whose write went away; `text` is what followed the verb on its line.
pub fn answer_later(text: &[u8], outcome: &Outcome, sight: Sight<'_>, output: &mut Output) {
    let mut room = [0; KEY_BYTES_MAX];
    let (key, flags) = Flags::parse_again(text, &mut room);
    answer_written(&key, &flags, outcome, sight, output);
}

impl<'i> PlainGet<'i> {
    /// The flags as the client wrote them.
    pub fn text(&self) -> &'i [u8] {
        self.text
    }

    fn of(flags: &Flags<'i>, sight: Sight<'_>) -> Self {
        Self {
            text: flags.text(),
            compare: flags.compare,
            recache: flags.recache.map_or(Expiry::NEVER, |exptime| expiry(exptime, sight.now, sight.started)),
            value: flags.has(b'v'),
            quiet: flags.has(b'q'),
            unbumped: flags.has(b'u'),
        }
    }
}

/// An `mg` with a binary key, or one that may write.
fn get_with_write(
    x: &mut Exchange<'_, '_, '_>,
    command: Command<'_>,
    key: &Key<'_>,
    flags: &Flags<'_>,
) -> Flow {
    let hash = KeyHash::of(key.bytes);
    let sight = x.sight();
    let touch = flags.touch.map(|exptime| expiry(exptime, sight.now, sight.started));
    if let (Some(touch), None, false) = (touch, flags.vivify, key.is_binary) {
        match x.ask_and_touch(key.bytes, touch, Verb::MetaGet, command.args) {
            Asked::Unneeded => {}
            Asked::Away => return Flow::Taken(command.line_bytes),
            Asked::Wait => return Flow::Wait,
        }
    }
    let op = match (touch, flags.vivify) {
        (Some(touch), None) if !touch.is_past(sight.now.seconds) => {
            Op::Touch { expiry: touch, fetches: false }
        }
        _ => {
            if !x.may_read(hash) {
                return Flow::Wait;
            }
            match (sight.reader.get(hash, key.bytes, sight.now), touch, flags.vivify) {
                (Found::Hit(record), Some(touch), _) if touch.is_past(sight.now.seconds) => {
                    return touch_into_past(x, command, &record, touch, key, flags);
                }
                (Found::Hit(_), Some(expiry), _) => Op::Touch { expiry, fetches: false },
                (Found::Miss(_), touch, Some(exptime)) => {
                    let vivify = expiry(exptime, sight.now, sight.started);
                    // Of T and N the later one on the line sets the expiry.
                    let last = touch.filter(|_| flags.is_before(b'N', b'T'));
                    Op::Vivify { expiry: last.unwrap_or(vivify), explicit_cas: flags.given_cas(sight) }
                }
                (Found::Miss(_), Some(_), None) => {
                    answer_missed_touch(key, flags, sight, x.sink());
                    return Flow::Taken(command.line_bytes);
                }
                (found, None, _) => {
                    sight.note_fetch(key.bytes, &found);
                    answer_plain(found, &PlainGet::of(flags, sight), key, sight, x.sink());
                    return Flow::Taken(command.line_bytes);
                }
            }
        }
    };
    let write = Write { hash, key: key.bytes, op };
    match x.send(&write, Form { verb: Verb::MetaGet, silent: false }, command.args) {
        Delivery::Wait => return Flow::Wait,
        Delivery::Away => {}
        Delivery::Done(outcome) => answer_written(key, flags, &outcome, sight, x.sink()),
    }
    Flow::Taken(command.line_bytes)
}

/// After such a touch nobody sees the record, and yet it is the answer: it was read before.
fn touch_into_past(
    x: &mut Exchange<'_, '_, '_>,
    command: Command<'_>,
    record: &RecordRef<'_>,
    touch: Expiry,
    key: &Key<'_>,
    flags: &Flags<'_>,
) -> Flow {
    let expiry_before = record.expiry();
    let write = Write {
        hash: KeyHash::of(key.bytes),
        key: key.bytes,
        op: Op::Touch { expiry: touch, fetches: false },
    };
    if let Delivery::Wait = x.send(&write, Form { verb: Verb::Unasked, silent: true }, &[]) {
        return Flow::Wait;
    }
    let sight = x.sight();
    sight.note_fetch(key.bytes, &Found::Hit(*record));
    count_hit(flags, sight);
    // The touch may still be on its way to the key's owner, and the record then shows the expiry it had.
    push_record(record, &PlainGet::of(flags, sight), key, [expiry_before, touch], sight, x.sink());
    Flow::Taken(command.line_bytes)
}

/// The answer after a touch or a vivify at the key's owner.
fn answer_written(
    key: &Key<'_>,
    flags: &Flags<'_>,
    outcome: &Outcome,
    sight: Sight<'_>,
    output: &mut Output,
) {
    let plain = PlainGet::of(flags, sight);
    if outcome.status == Status::Created {
        count_hit(flags, sight);
        let at = |exptime: Option<i32>| exptime.map(|exptime| expiry(exptime, sight.now, sight.started));
        let shown = Shown {
            record: None,
            expiry_before: Expiry::NEVER,
            expiry_touched: at(flags.touch).unwrap_or(outcome.expiry),
            expiry_made: at(flags.vivify),
            cas: sight.shown(outcome.cas),
        };
        push_shown(&shown, &plain, key, sight, output);
        // The answer was a fetch of what it made, unless a write behind this one has replaced that already.
        let made = sight.reader.get(KeyHash::of(key.bytes), key.bytes, sight.now);
        if let Found::Hit(record) = made
            && !plain.unbumped
            && record.cas() == outcome.cas
        {
            record.mark_access(sight.now.seconds);
        }
        return;
    }
    let found = match outcome.status {
        Status::Touched | Status::Exists => sight.reader.get(KeyHash::of(key.bytes), key.bytes, sight.now),
        // Gone since it was looked at, or no memory to create it.
        _ => Found::Miss(Miss::Absent),
    };
    match found {
        Found::Hit(record) => {
            count_hit(flags, sight);
            let is_touched = outcome.status == Status::Touched;
            let expiry_before = if is_touched { outcome.expiry_before } else { record.expiry() };
            push_record(&record, &plain, key, [expiry_before, record.expiry()], sight, output);
        }
        Found::Miss(_) if flags.touch.is_some() => answer_missed_touch(key, flags, sight, output),
        miss => answer_plain(miss, &plain, key, sight, output),
    }
}

fn answer_missed_touch(key: &Key<'_>, flags: &Flags<'_>, sight: Sight<'_>, output: &mut Output) {
    sight.counters.cmd_touch.add(1);
    sight.counters.touch_misses.add(1);
    push_miss(&PlainGet::of(flags, sight), key, output);
}

fn count_hit(flags: &Flags<'_>, sight: Sight<'_>) {
    if flags.touch.is_some() {
        sight.counters.cmd_touch.add(1);
        sight.counters.touch_hits.add(1);
    } else {
        sight.counters.cmd_get.add(1);
        sight.counters.get_hits.add(1);
    }
}

fn push_miss(plain: &PlainGet<'_>, key: &Key<'_>, output: &mut Output) {
    if plain.quiet {
        return;
    }
    output.push(b"EN");
    push_echoes(plain.text, key, output);
    output.push(b"\r\n");
}

#[inline]
fn push_record(
    record: &RecordRef<'_>,
    plain: &PlainGet<'_>,
    key: &Key<'_>,
    [expiry_before, expiry_touched]: [Expiry; 2],
    sight: Sight<'_>,
    output: &mut Output,
) {
    let cas = sight.shown(record.cas());
    let shown = Shown { record: Some(record), expiry_before, expiry_touched, expiry_made: None, cas };
    push_shown(&shown, plain, key, sight, output);
    if !plain.unbumped {
        record.mark_access(sight.now.seconds);
    }
}

#[inline]
fn push_shown(
    shown: &Shown<'_, '_>,
    plain: &PlainGet<'_>,
    key: &Key<'_>,
    sight: Sight<'_>,
    output: &mut Output,
) {
    let value_bytes = shown.record.map_or(0, |record| record.value().len() as u64);
    let value = plain.value && plain.compare != Some(shown.cas);
    if value {
        output.push(b"VA ");
        push_u64(&mut output.bytes, value_bytes);
    } else {
        output.push(b"HD");
    }
    let mut expiry = shown.expiry_before;
    let mut ends_early = false;
    for token in Tokens::of(plain.text) {
        match token[0] {
            b's' => push_number(b's', value_bytes, output),
            b't' => push_left(expiry.left(sight.now.seconds), output),
            b'T' => expiry = shown.expiry_touched,
            b'N' => expiry = shown.expiry_made.unwrap_or(expiry),
            b'R' => ends_early = expiry != Expiry::NEVER && expiry.to_bits() < plain.recache.to_bits(),
            b'c' => push_number(b'c', shown.cas, output),
            b'f' => push_number(b'f', shown.record.map_or(0, |record| u64::from(record.flags())), output),
            b'l' => {
                let idle = shown.record.map_or(0, |record| record.idle_seconds(sight.now.seconds));
                push_number(b'l', u64::from(idle), output);
            }
            b'h' => output.push(if shown.record.is_some_and(RecordRef::fetched) { b" h1" } else { b" h0" }),
            b'O' => push_token(token, output),
            b'k' => push_key(key, output),
            _ => {}
        }
    }
    push_token_state(shown, ends_early, output);
    output.push(b"\r\n");
    if !value {
        return;
    }
    match shown.record {
        Some(record) => push_value(record, record.value(), output),
        None => output.push(b"\r\n"),
    }
}

/// Appends `Z`, `X` and `W`. The token is taken here, so that exactly one client is told `W`. `ends_early`: sooner than
/// `R` asked for, as it stood where `R` is on the line.
#[inline]
fn push_token_state(shown: &Shown<'_, '_>, ends_early: bool, output: &mut Output) {
    let Some(record) = shown.record else {
        output.push(b" W");
        return;
    };
    let Token { stale, taken } = record.token();
    let wants = !taken && (stale || ends_early);
    let has_won = wants && record.take_token();
    if taken || wants && !has_won {
        output.push(b" Z");
    }
    if stale {
        output.push(b" X");
    }
    if has_won {
        output.push(b" W");
    }
}
