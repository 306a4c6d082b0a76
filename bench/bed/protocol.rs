//! Pieces of the protocol by themselves: what a request's line costs to read and a number to write.

use std::hint::black_box;

use ringcache_net::protocol::line::Tokens;
use ringcache_net::protocol::meta::flags::{Flags, KeyRoom};
use ringcache_net::protocol::number::{parse_flags, parse_i64, push_u64};
use ringcache_net::protocol::text::store::parse_data_bytes;

/// Reads what stands behind the verb of a set; the length of the data block.
pub fn parse_set() -> usize {
    let mut tokens = Tokens::of(black_box(b"key:0000000000 0 3600 100"));
    let key_and_flags = tokens.next().zip(tokens.next().and_then(parse_flags));
    let exptime = tokens.next().and_then(parse_i64);
    black_box((key_and_flags, exptime));
    tokens.next().and_then(parse_data_bytes).unwrap_or_default()
}

/// Reads what stands behind the verb of an `mg` with six flags; how many of them were seen.
pub fn parse_meta_flags() -> usize {
    let mut room: KeyRoom = [0; std::mem::size_of::<KeyRoom>()];
    let parsed = Flags::parse(b"key:0000000000", black_box(b"v t f c Oabc T30"), 2, &mut room);
    parsed.map_or(0, |(key, flags)| {
        black_box((key.bytes, flags.touch));
        b"vtfcOT".iter().filter(|letter| flags.has(**letter)).count()
    })
}

/// Splits the keys of a `get` line; how many there are.
pub fn split_keys(keys: &[u8]) -> usize {
    Tokens::of(black_box(keys)).count()
}

/// Writes a number of ten digits; how many digits that were.
pub fn encode_number(output: &mut Vec<u8>) -> usize {
    output.clear();
    push_u64(output, black_box(1_234_567_890));
    output.len()
}
