//! Datagrams, most of them requests: no panic, no command half done, and the same answers from a node with one shard and
//! from one with three. What comes out is put together again from its datagrams, as a client would.

#![no_main]

mod world;

use libfuzzer_sys::fuzz_target;
use ringcache_net::config::Config;
use ringcache_net::protocol::udp::{HEADER_BYTES, Parts, Request};
use ringcache_net::session::datagram::{Answer, Datagram, Stage};
use world::World;

/// Ends a datagram in the fuzzer's input.
const END: u8 = 0xfe;
const DATAGRAM_BYTES_MAX: usize = 1400;

fuzz_target!(|data: &[u8]| {
    let (mut one, mut three) = (World::new(1, Config::default()), World::new(3, Config::default()));
    for datagram in data.split(|byte| *byte == END) {
        let Ok(request) = Request::read(datagram) else { continue };
        let (answers, others) = (ask(&mut one, &request), ask(&mut three, &request));
        if is_comparable(request.commands) {
            assert_eq!(shown(&answers), shown(&others));
        }
    }
});

/// The messages that answer a request.
fn ask(world: &mut World, request: &Request<'_>) -> Vec<Vec<u8>> {
    let mut datagram = Datagram::new();
    let mut answers = Vec::new();
    let mut tell = |answer: Answer<'_>| match answer {
        Answer::Whole(output) => answers.push(joined(request.id, Parts::of(request.id, output))),
        Answer::TooLarge => answers.push(b"too large".to_vec()),
    };
    let mut stage = world.turn(|reach| datagram.begin(request.commands, reach, &mut tell));
    while stage == Stage::Waiting {
        stage = world
            .deliver(|shard, outcome, reach| datagram.handle_outcome(shard, outcome, reach, &mut tell))
            .expect("what waits has a write under way");
    }
    answers
}

fn joined<'o>(id: u16, mut parts: Parts<'o, impl Iterator<Item = &'o [u8]>>) -> Vec<u8> {
    let (mut whole, mut datagram, mut sequence) = (Vec::new(), Vec::new(), 0_u16);
    while parts.write_next(&mut datagram) {
        assert!((HEADER_BYTES + 1..=DATAGRAM_BYTES_MAX).contains(&datagram.len()));
        assert_eq!(datagram[..4], [id.to_be_bytes(), sequence.to_be_bytes()].concat());
        whole.extend_from_slice(&datagram[HEADER_BYTES..]);
        sequence += 1;
        datagram.clear();
    }
    whole
}

/// As for sessions: answers hold nothing that differs between two nodes, and frames are another target's.
fn is_comparable(commands: &[u8]) -> bool {
    let has = |part: &[u8]| commands.windows(part.len()).any(|window| window == part);
    let told_apart =
        [&b"gets"[..], b"dump", b"gats", b"cas", b"stats", b"me", b" c", b" E", b" C"].into_iter().any(has);
    !told_apart && commands.first() != Some(&0x80)
}

fn shown(answers: &[Vec<u8>]) -> Vec<String> {
    answers.iter().map(|answer| answer.escape_ascii().to_string()).collect()
}
