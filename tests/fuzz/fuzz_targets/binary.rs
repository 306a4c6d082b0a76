//! Frames of the binary protocol, most of them well formed, in any pieces: no panic, nothing left waiting, and the same
//! answers from a node with one shard and from one with three, but for CAS uniques.

#![no_main]

mod world;

use libfuzzer_sys::fuzz_target;
use ringcache_net::config::Config;
use world::World;

const HEADER_BYTES: usize = 24;
/// Its answers hold the clock and the numbers of shards.
const STAT: u8 = 0x10;
const CODES: u8 = 0x26;

fuzz_target!(|data: &[u8]| {
    let Some((&pieces, data)) = data.split_first() else { return };
    let (input, is_comparable) = frames(data);
    let whole = World::new(1, Config::default()).play(&input, usize::MAX);
    let pieced = World::new(3, Config::default()).play(&input, 1 + usize::from(pieces));
    if is_comparable {
        let (whole, pieced) = (without_uniques(whole), without_uniques(pieced));
        assert_eq!(whole.escape_ascii().to_string(), pieced.escape_ascii().to_string());
    }
});

/// Frames made of the fuzzer's bytes, four for each: code, shape, key and value. Says whether two nodes answer alike.
fn frames(data: &[u8]) -> (Vec<u8>, bool) {
    let (mut bytes, mut is_comparable) = (Vec::new(), true);
    for chunk in data.chunks_exact(4) {
        let &[code, shape, key, value] = chunk else { continue };
        let code = if shape & 0x40 == 0 { code % CODES } else { code };
        // What a command with a value left unread sees as its next frame may be any code.
        is_comparable &= code != STAT && shape & 0x80 == 0;
        let key = match key {
            0 => vec![],
            255 => vec![b'k'; 251],
            _ => vec![b'k', key % 8],
        };
        let has_key = !matches!(code, 0x07 | 0x08 | 0x0a | 0x0b | 0x17 | 0x18);
        let key = if has_key || shape & 0x20 != 0 { key } else { vec![] };
        let extras = vec![value; extras_bytes(code, shape)];
        let has_value = matches!(code, 0x01..=0x03 | 0x0e | 0x0f | 0x11..=0x13 | 0x19 | 0x1a | 0x21 | 0x22);
        let value = if has_value || shape & 0x20 != 0 { vec![value; usize::from(value)] } else { vec![] };
        let announced = extras.len() + key.len() + value.len() + usize::from(shape & 0x80 != 0);
        let mut frame = vec![0x80, code, 0, key.len() as u8, extras.len() as u8, 0, 0, 0];
        frame.extend((announced as u32).to_be_bytes());
        frame.extend([shape; 4]);
        // Either no compare, or one that never matches: uniques are not known here.
        frame.extend([if shape & 0x10 != 0 { 0xff } else { 0 }; 8]);
        bytes.extend([frame, extras, key, value].concat());
    }
    (bytes, is_comparable)
}

/// What the command wants, or sometimes something else.
fn extras_bytes(code: u8, shape: u8) -> usize {
    if shape & 0x0f == 0x0f {
        return usize::from(shape);
    }
    match code {
        0x01..=0x03 | 0x11..=0x13 => 8,
        0x05 | 0x06 | 0x15 | 0x16 => 20,
        0x1c..=0x1e | 0x23 | 0x24 => 4,
        _ => 0,
    }
}

/// The answers with the CAS unique of each blotted out. A flush asks every shard, so its answer is alike too.
fn without_uniques(mut bytes: Vec<u8>) -> Vec<u8> {
    let mut at = 0;
    while at < bytes.len() {
        assert_eq!(bytes[at], 0x81, "answers are whole frames");
        let body = u32::from_be_bytes(bytes[at + 8..at + 12].try_into().expect("four bytes")) as usize;
        bytes[at + 16..at + HEADER_BYTES].fill(0);
        at += HEADER_BYTES + body;
    }
    assert_eq!(at, bytes.len(), "answers are whole frames");
    bytes
}
