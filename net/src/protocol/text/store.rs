//! `set`, `add`, `replace`, `append`, `prepend` and `cas`.
//!
//! ```text
//! set <key> <flags> <exptime> <bytes> [noreply]       STORED | NOT_STORED | EXISTS | NOT_FOUND
//! cas <key> <flags> <exptime> <bytes> <cas> [noreply]
//! <data>
//! ```

use ringcache_engine::{Delete, Expiry, KeyHash, Op, Outcome, Status, Store, StoreMode, Write};

use crate::config::Config;
use crate::limits::{DATA_BYTES_MAX, ITEM_CAS_BYTES, ITEM_ENDS_BYTES, ITEM_FLAGS_BYTES, ITEM_HEADER_BYTES};
use crate::output::Output;
use crate::protocol::exptime::expiry;
use crate::protocol::line::{Command, Tokens, is_key, is_noreply};
use crate::protocol::number::{parse_exptime, parse_flags, parse_i64, parse_u64};
use crate::protocol::{BAD_DATA, BAD_FORMAT, NO_MEMORY_TO_STORE, TOO_LARGE};
use crate::session::answers::{Form, Verb};
use crate::session::{Delivery, Exchange, Flow};
use crate::stats::Counters;

/// The length of a data block as written on the line; `None` where it is no acceptable number.
#[inline]
pub fn parse_data_bytes(token: &[u8]) -> Option<usize> {
    let bytes = parse_i64(token)?;
    (0..=i64::from(DATA_BYTES_MAX)).contains(&bytes).then_some(bytes as usize)
}

/// Whether a record of this size is stored at all, by memcached's arithmetic for `-I`.
#[inline]
pub fn fits(key: &[u8], flags: u32, value_bytes: usize, config: &Config) -> bool {
    let header = ITEM_HEADER_BYTES + if config.cas { ITEM_CAS_BYTES } else { 0 };
    let flags = if flags != 0 { ITEM_FLAGS_BYTES } else { 0 };
    header + key.len() as u64 + flags + value_bytes as u64 + ITEM_ENDS_BYTES
        <= u64::from(config.item_bytes_max)
}

/// The data block of a command.
pub enum Data<'i> {
    /// All of it, well ended.
    Whole(&'i [u8]),
    /// All of it, but its end is not where it should be.
    BadEnd,
    /// Not yet received.
    Missing,
}

impl<'i> Data<'i> {
    /// The block of `bytes` bytes behind the command's line.
    #[inline]
    pub fn of(command: Command<'i>, bytes: usize) -> Self {
        match command.input.get(command.line_bytes..command.line_bytes + bytes + 2) {
            Some([value @ .., b'\r', b'\n']) => Data::Whole(value),
            Some(_) => Data::BadEnd,
            None => Data::Missing,
        }
    }
}

/// Parses and executes any of the commands but `cas`.
#[inline]
pub fn store(x: &mut Exchange<'_, '_, '_>, command: Command<'_>, mode: StoreMode) -> Flow {
    let verb = match mode {
        StoreMode::Append | StoreMode::Prepend => Verb::Join,
        StoreMode::Set | StoreMode::Add | StoreMode::Replace => Verb::Store,
    };
    store_with(x, command, mode, verb)
}

/// Parses and executes `cas`.
pub fn compare_and_store(x: &mut Exchange<'_, '_, '_>, command: Command<'_>) -> Flow {
    store_with(x, command, StoreMode::Set, Verb::CompareAndStore)
}

#[inline]
fn store_with(x: &mut Exchange<'_, '_, '_>, command: Command<'_>, mode: StoreMode, verb: Verb) -> Flow {
    let mut tokens = Tokens::of(command.args);
    let (Some(key), Some(flags), Some(exptime), Some(bytes)) =
        (tokens.next(), tokens.next(), tokens.next(), tokens.next())
    else {
        return x.answer(BAD_FORMAT, command.line_bytes);
    };
    let Some(bytes) = parse_data_bytes(bytes) else {
        return x.answer(BAD_FORMAT, command.line_bytes);
    };
    let silent = !tokens.rest().is_empty() && is_noreply(tokens.rest());
    // memcached cuts this exptime to 32 bits where it refuses others.
    let (Some(flags), Some(exptime), true) = (parse_flags(flags), parse_exptime(exptime), is_key(key)) else {
        return x.refuse_data(silent, BAD_FORMAT, command.line_bytes, bytes);
    };
    let compare = match verb {
        Verb::CompareAndStore => match tokens.next().and_then(parse_u64) {
            Some(cas) => Some(cas),
            None => return x.refuse_data(silent, BAD_FORMAT, command.line_bytes, bytes),
        },
        _ => None,
    };
    let hash = KeyHash::of(key);
    if !fits(key, flags, bytes, &x.reach.node.config) {
        let removes = mode == StoreMode::Set && verb == Verb::Store;
        let store = Store { mode, compare, ..Store::set(&[], flags, Expiry::NEVER) };
        let large = Large { hash, key, store, removes, bytes };
        return refuse_large(x, &large, silent, command.line_bytes);
    }
    let value = match Data::of(command, bytes) {
        Data::Whole(value) => value,
        Data::Missing => return Flow::More(command.line_bytes + bytes + 2),
        Data::BadEnd => {
            x.reach.counters.cmd_set.add(1);
            return x.answer_unless(silent, BAD_DATA, command.line_bytes + bytes + 2);
        }
    };
    let sight = x.sight();
    let compare = compare.map(|cas| sight.comparable(cas));
    let expiry = expiry(exptime, sight.now, sight.started);
    let store = Store { mode, compare, ..Store::set(value, flags, expiry) };
    match x.send(&Write { hash, key, op: Op::Store(store) }, Form { verb, silent }, &[]) {
        Delivery::Wait => return Flow::Wait,
        Delivery::Away => {}
        Delivery::Done(outcome) => {
            answer(&outcome, verb, silent, sight.counters, x.sink());
        }
    }
    sight.counters.cmd_set.add(1);
    Flow::Taken(command.line_bytes + bytes + 2)
}

/// A store over `-I`.
pub struct Large<'k> {
    /// The key's hash.
    pub hash: KeyHash,
    /// The key.
    pub key: &'k [u8],
    /// What was asked, without a value.
    pub store: Store<'static>,
    /// Whether what the key held goes.
    pub removes: bool,
    /// Length of the value.
    pub bytes: usize,
}

/// Refuses a value over `-I`: its data is swallowed, and what the key held must not be taken for it.
pub fn refuse_large(
    x: &mut Exchange<'_, '_, '_>,
    large: &Large<'_>,
    silent: bool,
    line_bytes: usize,
) -> Flow {
    if large.removes && !remove(x, large.hash, large.key) {
        return Flow::Wait;
    }
    x.note_too_large(large.key, large.store, large.bytes);
    x.reach.counters.store_too_large.add(1);
    x.refuse_data(silent, TOO_LARGE, line_bytes, large.bytes)
}

/// Removes what a key holds, unasked; false when that has to wait.
pub fn remove(x: &mut Exchange<'_, '_, '_>, hash: KeyHash, key: &[u8]) -> bool {
    let write = Write { hash, key, op: Op::Delete(Delete::default()) };
    !matches!(x.send(&write, Form { verb: Verb::Unasked, silent: true }, &[]), Delivery::Wait)
}

/// Counts and encodes the outcome.
#[inline]
pub fn answer(outcome: &Outcome, verb: Verb, silent: bool, counters: &Counters, output: &mut Output) {
    let line: &[u8] = match (outcome.status, verb) {
        (Status::Stored | Status::Created, _) => b"STORED\r\n",
        (Status::Exists, _) => b"EXISTS\r\n",
        (Status::NotFound, Verb::CompareAndStore) => b"NOT_FOUND\r\n",
        (Status::TooLarge, Verb::Store | Verb::CompareAndStore) => TOO_LARGE,
        (Status::NoMemory, Verb::Store | Verb::CompareAndStore) => NO_MEMORY_TO_STORE,
        _ => b"NOT_STORED\r\n",
    };
    if verb == Verb::CompareAndStore {
        count_compare(outcome.status, counters);
    }
    if verb != Verb::Join {
        count_refusal(outcome.status, counters);
    }
    if !silent {
        output.push(line);
    }
}

/// Counts a store that compared, of either dialect.
pub fn count_compare(status: Status, counters: &Counters) {
    match status {
        Status::Stored | Status::Created => counters.cas_hits.add(1),
        Status::Exists => counters.cas_badval.add(1),
        Status::NotFound => counters.cas_misses.add(1),
        _ => {}
    }
}

/// Counts a store that the engine had no room for, of either dialect.
#[inline]
pub fn count_refusal(status: Status, counters: &Counters) {
    match status {
        Status::TooLarge => counters.store_too_large.add(1),
        Status::NoMemory => counters.store_no_memory.add(1),
        _ => {}
    }
}
