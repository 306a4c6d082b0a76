//! Dialects of the memcached protocol: each file holds a dialect's parsing, execution and encoding together.
//!
//! A command is a function from what stands on its line to a [`Flow`](crate::session::Flow); it reads and writes
//! through an [`Exchange`](crate::session::Exchange). Behaviour and texts follow memcached 1.6.45; deviations are
//! listed in `docs/protocol.md`.

use ringcache_engine::RecordRef;

use crate::limits::PINNED_VALUE_BYTES_MIN;
use crate::output::Output;

pub mod base64;
pub mod binary;
pub mod exptime;
pub mod glance;
pub mod line;
pub mod meta;
pub mod number;
pub mod refused;
pub mod scan;
pub mod text;
pub mod udp;

/// The answer to a known command that was not understood.
pub const BAD_FORMAT: &[u8] = b"CLIENT_ERROR bad command line format\r\n";
/// The answer to an unknown command.
pub const UNKNOWN: &[u8] = b"ERROR\r\n";
/// The data block did not end where it should.
pub const BAD_DATA: &[u8] = b"CLIENT_ERROR bad data chunk\r\n";
/// The value is over `-I`.
pub const TOO_LARGE: &[u8] = b"SERVER_ERROR object too large for cache\r\n";
/// The cache is full and may not evict.
pub const NO_MEMORY_TO_STORE: &[u8] = b"SERVER_ERROR out of memory storing object\r\n";
/// As [`NO_MEMORY_TO_STORE`], of commands that are no stores.
pub const NO_MEMORY: &[u8] = b"SERVER_ERROR out of memory\r\n";
/// Arithmetic on a value that is no number.
pub const NON_NUMERIC: &[u8] = b"CLIENT_ERROR cannot increment or decrement non-numeric value\r\n";

/// Appends a value of `record` and the end of its data block; a large one is not copied.
#[inline]
fn push_value(record: &RecordRef<'_>, value: &[u8], output: &mut Output) {
    push_data(record, value, output);
    output.push(b"\r\n");
}

/// As [`push_value`], without the end.
#[inline]
fn push_data(record: &RecordRef<'_>, value: &[u8], output: &mut Output) {
    match (value.len() >= PINNED_VALUE_BYTES_MIN).then(|| record.pin()).flatten() {
        Some(pinned) => output.push_pinned(pinned),
        None => output.push(value),
    }
}

/// Appends a text that is nearly always short, where that is cheaper in place than with a call.
#[inline]
fn push_short(bytes: &mut Vec<u8>, text: &[u8]) {
    let (Some(first), Some(last)) = (text.first_chunk::<8>(), text.last_chunk::<8>()) else {
        return bytes.extend_from_slice(text);
    };
    if text.len() > 16 {
        return bytes.extend_from_slice(text);
    }
    // The last eight bytes are laid over the end of the first.
    let overlap = bytes.len() + text.len() - 8;
    bytes.extend_from_slice(first);
    bytes.truncate(overlap);
    bytes.extend_from_slice(last);
}
