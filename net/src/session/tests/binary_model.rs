//! Random pipelined frames against a model of a few lines. Without CAS uniques, so that every byte is known.

use std::collections::BTreeMap;

use super::frames::{Frame, code, status};
use super::{FRAGMENTS, Random, SHARDS, World};
use crate::config::Config;

/// What a cache of one client holds: client flags and value of each key.
#[derive(Default)]
struct Model(BTreeMap<String, (u32, Vec<u8>)>);

impl Model {
    /// A random request and its answer, if it has one.
    fn request(&mut self, random: &mut Random) -> (Frame, Option<Frame>) {
        let key = format!("key{}", random.below(12));
        let quiet = random.below(2) == 0;
        let opaque = random.below(1 << 30) as u32;
        let (send, expect) = match random.below(10) {
            0..3 => self.get(&key, random, quiet),
            3 => self.get_and_touch(&key, random, quiet),
            4 | 5 => self.store(&key, random, quiet),
            6 => self.join(&key, random, quiet),
            7 => self.delete(&key, quiet),
            8 => self.count(&key, random, quiet),
            _ if random.below(20) == 0 => self.flush(quiet),
            _ => (Frame::request(code::NOOP), Some(Frame::response(code::NOOP))),
        };
        (send.opaque(opaque), expect.map(|frame| frame.opaque(opaque)))
    }

    /// What a read of `opcode` answers.
    fn read(&self, opcode: u8, key: &str, quiet: bool) -> Option<Frame> {
        let shows_key = [code::GETK, code::GETKQ, code::GATK, code::GATKQ].contains(&opcode);
        let shown = if shows_key { key } else { "" };
        match self.0.get(key) {
            Some((flags, value)) => {
                Some(Frame::response(opcode).extras(flags.to_be_bytes()).key(shown).value(value))
            }
            None if quiet => None,
            None if shows_key => Some(Frame { status: 1, ..Frame::response(opcode).key(key) }),
            None => Some(Frame::error(opcode, status::NOT_FOUND)),
        }
    }

    fn get(&self, key: &str, random: &mut Random, quiet: bool) -> (Frame, Option<Frame>) {
        let opcodes = if quiet { [code::GETQ, code::GETKQ] } else { [code::GET, code::GETK] };
        let opcode = opcodes[random.below(2)];
        (Frame::request(opcode).key(key), self.read(opcode, key, quiet))
    }

    fn get_and_touch(&self, key: &str, random: &mut Random, quiet: bool) -> (Frame, Option<Frame>) {
        let opcodes = if quiet { [code::GATQ, code::GATKQ] } else { [code::GAT, code::GATK] };
        let opcode = opcodes[random.below(2)];
        let exptime = [0, 1000, u32::MAX][random.below(3)];
        (Frame::request(opcode).extras(exptime.to_be_bytes()).key(key), self.read(opcode, key, quiet))
    }

    fn store(&mut self, key: &str, random: &mut Random, quiet: bool) -> (Frame, Option<Frame>) {
        let (loud, silent, error) = [
            (code::SET, code::SETQ, None),
            (code::ADD, code::ADDQ, self.0.get(key).map(|_| status::EXISTS)),
            (code::REPLACE, code::REPLACEQ, (!self.0.contains_key(key)).then_some(status::NOT_FOUND)),
        ][random.below(3)];
        let opcode = if quiet { silent } else { loud };
        let (flags, value) = (random.below(3) as u32, value(random));
        let send = Frame::store(opcode, key, flags, 0, &value);
        if let Some(error) = error {
            return (send, Some(Frame::error(opcode, error)));
        }
        self.0.insert(key.to_owned(), (flags, value));
        (send, (!quiet).then(|| Frame::response(opcode)))
    }

    fn join(&mut self, key: &str, random: &mut Random, quiet: bool) -> (Frame, Option<Frame>) {
        let is_append = random.below(2) == 0;
        let opcode = match (is_append, quiet) {
            (true, false) => code::APPEND,
            (true, true) => code::APPENDQ,
            (false, false) => code::PREPEND,
            (false, true) => code::PREPENDQ,
        };
        let part = value(random);
        let send = Frame::request(opcode).key(key).value(&part);
        let Some((_, value)) = self.0.get_mut(key) else {
            return (send, Some(Frame::error(opcode, status::NOT_STORED)));
        };
        *value = if is_append { [&value[..], &part].concat() } else { [&part[..], value].concat() };
        (send, (!quiet).then(|| Frame::response(opcode)))
    }

    fn delete(&mut self, key: &str, quiet: bool) -> (Frame, Option<Frame>) {
        let opcode = if quiet { code::DELETEQ } else { code::DELETE };
        let send = Frame::request(opcode).key(key);
        match self.0.remove(key) {
            None => (send, Some(Frame::error(opcode, status::NOT_FOUND))),
            Some(_) => (send, (!quiet).then(|| Frame::response(opcode))),
        }
    }

    fn count(&mut self, key: &str, random: &mut Random, quiet: bool) -> (Frame, Option<Frame>) {
        let opcode = if quiet { code::INCREMENTQ } else { code::INCREMENT };
        let (delta, initial) = (random.below(50) as u64, random.below(50) as u64);
        let send = Frame::count(opcode, key, delta, initial, 0);
        let number = match self.0.get(key) {
            None => initial,
            Some((_, value)) => match std::str::from_utf8(value).ok().and_then(|text| text.parse().ok()) {
                None => return (send, Some(Frame::error(opcode, status::NON_NUMERIC))),
                Some::<u64>(number) => number.wrapping_add(delta),
            },
        };
        let flags = self.0.get(key).map_or(0, |(flags, _)| *flags);
        self.0.insert(key.to_owned(), (flags, number.to_string().into_bytes()));
        (send, (!quiet).then(|| Frame::response(opcode).value(number.to_be_bytes())))
    }

    fn flush(&mut self, quiet: bool) -> (Frame, Option<Frame>) {
        self.0.clear();
        let opcode = if quiet { code::FLUSHQ } else { code::FLUSH };
        (Frame::request(opcode), (!quiet).then(|| Frame::response(opcode)))
    }
}

fn value(random: &mut Random) -> Vec<u8> {
    match random.below(3) {
        0 => (1 + random.below(1000)).to_string().into_bytes(),
        1 => vec![b'x'; 1 + random.below(40)],
        _ => vec![b'v'; 1 + random.below(3000)],
    }
}

#[test]
fn random_frames_answer_as_the_model_does() {
    for seed in 0..150 {
        let mut random = Random::new(seed);
        let shards = SHARDS[random.below(SHARDS.len())];
        let fragment = FRAGMENTS[random.below(FRAGMENTS.len())];
        let mut world = World::with_config(shards, Config { cas: false, ..Config::default() });
        let mut model = Model::default();
        for _ in 0..8 {
            let (mut send, mut expect) = (Vec::new(), Vec::new());
            for _ in 0..random.below(60) {
                let (request, answer) = model.request(&mut random);
                send.extend(request.bytes());
                expect.extend(answer);
            }
            world.send(&send, fragment);
            world.settle();
            let received = Frame::read_all(&std::mem::take(&mut world.received));
            assert_eq!(received, expect, "seed {seed}, {shards} shards, fragments of {fragment}");
        }
    }
}
