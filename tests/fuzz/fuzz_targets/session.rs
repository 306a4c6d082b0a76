//! Any bytes in any pieces to a session, on a node with one shard and on one with three: no panic, nothing left
//! waiting, and the same answers from both, because where a key lives must not show.

#![no_main]

mod world;

use libfuzzer_sys::fuzz_target;
use ringcache_net::config::Config;
use world::World;

/// Lines longer than this may be cut off or not, depending on how they arrive.
const COMPARABLE_LINE_BYTES: usize = 1_000;

fuzz_target!(|data: &[u8]| {
    let Some((&pieces, input)) = data.split_first() else { return };
    let whole = World::new(1, Config::default()).play(input, usize::MAX);
    let pieced = World::new(3, Config::default()).play(input, 1 + usize::from(pieces));
    if is_comparable(input) {
        assert_eq!(whole.escape_ascii().to_string(), pieced.escape_ascii().to_string());
    }
});

/// Answers hold nothing that differs between two nodes: CAS uniques, statistics, cut lines. Frames are another target's.
fn is_comparable(input: &[u8]) -> bool {
    let has = |part: &[u8]| input.windows(part.len()).any(|window| window == part);
    let is_told_apart =
        [&b"gets"[..], b"dump", b"gats", b"cas", b"stats", b"me", b" c", b" E", b" C"].into_iter().any(has);
    let is_frames = input.first() == Some(&0x80);
    !is_told_apart
        && !is_frames
        && input.split(|byte| *byte == b'\n').all(|line| line.len() < COMPARABLE_LINE_BYTES)
}
