//! `ringcount`: executes one row of operations a given number of times, for callgrind to count. `ringbench regress` runs it.
//!
//! ```text
//! ringcount                 lists the rows: name and operations per call
//! ringcount ROW CALLS       prepares the row, then calls `measured`
//! ```
//!
//! Only what runs inside [`measured`] is counted (`--toggle-collect`), so the preparation may do what it likes as long as
//! it does the same every time.

use std::hint::black_box;
use std::process::ExitCode;

use ringcache_bench::{BATCH, FilledEngine, LoneSession, protocol};

/// One call; returns how much it found or wrote, by which a wrong result is noticed.
type Call = Box<dyn FnMut() -> usize>;

struct Row {
    name: &'static str,
    /// Operations in one call: the count is divided by them.
    operations: usize,
    /// What one call returns.
    result: usize,
    prepare: fn() -> Call,
}

const ROWS: &[Row] = &[
    Row { name: "engine-get-hit", operations: BATCH, result: BATCH, prepare: engine_get_hit },
    Row { name: "engine-get-batch", operations: BATCH, result: BATCH, prepare: engine_get_batch },
    Row { name: "engine-get-miss", operations: BATCH, result: 0, prepare: engine_get_miss },
    Row { name: "engine-set-overwrite", operations: BATCH, result: BATCH, prepare: engine_set_overwrite },
    Row { name: "engine-set-evicting", operations: BATCH, result: BATCH, prepare: engine_set_evicting },
    Row {
        name: "session-get",
        operations: BATCH,
        result: BATCH * (HIT_BYTES + END_BYTES),
        prepare: session_get,
    },
    Row { name: "session-get-miss", operations: BATCH, result: BATCH * END_BYTES, prepare: session_get_miss },
    Row {
        name: "session-multiget50",
        operations: 50,
        result: 50 * HIT_BYTES + END_BYTES,
        prepare: session_multiget,
    },
    Row { name: "session-set", operations: BATCH, result: BATCH * b"STORED\r\n".len(), prepare: session_set },
    Row { name: "session-mg", operations: BATCH, result: BATCH * META_HIT_BYTES, prepare: session_mg },
    Row { name: "session-ms", operations: BATCH, result: BATCH * b"HD\r\n".len(), prepare: session_ms },
    Row { name: "parse-set", operations: 1, result: 100, prepare: || Box::new(protocol::parse_set) },
    Row {
        name: "parse-meta-flags",
        operations: 1,
        result: 6,
        prepare: || Box::new(protocol::parse_meta_flags),
    },
    Row { name: "encode-get", operations: BATCH, result: BATCH * HIT_BYTES, prepare: encode_get },
    Row { name: "encode-number", operations: 1, result: 10, prepare: encode_number },
];

const HIT_BYTES: usize = b"VALUE key:0000000000 0 100\r\n".len() + 100 + 2;
const END_BYTES: usize = b"END\r\n".len();
const META_HIT_BYTES: usize = b"VA 100\r\n".len() + 100 + 2;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.as_slice() {
        [] => {
            ROWS.iter().for_each(|row| println!("{} {}", row.name, row.operations));
            ExitCode::SUCCESS
        }
        [name, calls] => match (ROWS.iter().find(|row| row.name == name), calls.parse()) {
            (Some(row), Ok(calls)) => count(row, calls),
            _ => usage(),
        },
        _ => usage(),
    }
}

fn usage() -> ExitCode {
    eprintln!("usage: ringcount [ROW CALLS]; without arguments the rows are listed");
    ExitCode::from(2)
}

fn count(row: &Row, calls: usize) -> ExitCode {
    let mut call = (row.prepare)();
    for _ in 0..WARM_UP_CALLS {
        call();
    }
    let result = measured(calls, &mut call);
    if result == calls * row.result {
        return ExitCode::SUCCESS;
    }
    eprintln!("ringcount: {} gave {result} in {calls} calls, not {} in each", row.name, row.result);
    ExitCode::FAILURE
}

/// What callgrind counts. Never inlined, because it is found by its name.
#[inline(never)]
fn measured(calls: usize, call: &mut Call) -> usize {
    (0..calls).map(|_| call()).sum()
}

fn engine_get_hit() -> Call {
    let mut filled = FilledEngine::new(64 << 20, ENGINE_KEYS);
    let keys = filled.stored_keys();
    Box::new(move || black_box(&keys).iter().filter(|key| filled.get(key.as_slice())).count())
}

fn engine_get_batch() -> Call {
    let mut filled = FilledEngine::new(64 << 20, ENGINE_KEYS);
    let keys = filled.stored_keys();
    Box::new(move || filled.get_batch(black_box(&keys)))
}

fn engine_get_miss() -> Call {
    let mut filled = FilledEngine::new(64 << 20, ENGINE_KEYS);
    let keys = filled.fresh_keys();
    Box::new(move || black_box(&keys).iter().filter(|key| filled.get(key.as_slice())).count())
}

fn engine_set_overwrite() -> Call {
    let mut filled = FilledEngine::new(64 << 20, ENGINE_KEYS);
    Box::new(move || {
        let keys = filled.stored_keys();
        keys.iter().for_each(|key| filled.set(key));
        filled.end_turn();
        keys.len()
    })
}

/// Memory for a part of the keys: every set must make room.
fn engine_set_evicting() -> Call {
    let mut filled = FilledEngine::new(2 << 20, ENGINE_KEYS);
    Box::new(move || {
        let keys = filled.fresh_keys();
        keys.iter().for_each(|key| filled.set(key));
        filled.end_turn();
        keys.len()
    })
}

fn session_get() -> Call {
    session_turn(LoneSession::batch(|number| LoneSession::keyed("get", number, "\r\n")))
}

fn session_get_miss() -> Call {
    session_turn(LoneSession::batch(|number| LoneSession::keyed("get", number + LoneSession::KEYS, "\r\n")))
}

fn session_multiget() -> Call {
    session_turn(LoneSession::multiget(50))
}

fn session_set() -> Call {
    session_turn(LoneSession::batch(LoneSession::set))
}

fn session_mg() -> Call {
    session_turn(LoneSession::batch(|number| LoneSession::keyed("mg", number, " v\r\n")))
}

fn session_ms() -> Call {
    let value = format!(" 100\r\n{}\r\n", "v".repeat(100));
    session_turn(LoneSession::batch(|number| LoneSession::keyed("ms", number, &value)))
}

fn session_turn(input: Vec<u8>) -> Call {
    let mut lone = LoneSession::new();
    Box::new(move || lone.turn(&input))
}

fn encode_get() -> Call {
    let mut lone = LoneSession::new();
    Box::new(move || lone.encode())
}

fn encode_number() -> Call {
    let mut output = Vec::with_capacity(64);
    Box::new(move || protocol::encode_number(&mut output))
}

/// More than the index's smallest tables hold; few enough that callgrind stores them within a second.
const ENGINE_KEYS: u64 = 20_000;
/// Calls before the count begins: what happens once must not be in it.
const WARM_UP_CALLS: usize = 200;
