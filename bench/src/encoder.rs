//! Writes requests, and knows how long their replies are.

use std::collections::VecDeque;

use crate::frames;
use crate::keys::{KeyChooser, Random};
use crate::mix::{Choice, Operation};
use crate::values::fill_value;
use crate::workload::{Protocol, Workload};

/// A request on its way, as its reply will be judged.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    /// Length of the reply when every key is there.
    pub reply_bytes: u64,
    /// Of how many keys.
    pub keys: u32,
    /// What was asked.
    pub operation: Operation,
    /// The reply has one piece for each key and nothing behind them; otherwise a line ends it.
    pub is_piece_per_key: bool,
}

/// Writes requests; one per load thread.
#[derive(Debug)]
pub struct Encoder {
    workload: Workload,
    chooser: KeyChooser,
    random: Random,
    /// Store everything once instead of drawing from the mix.
    stores: bool,
    /// The next verified value's version.
    version: u32,
    /// What values are cut from.
    value: Vec<u8>,
}

impl Encoder {
    /// Draws from the workload's distribution, or takes every `threads`-th key of its trace; each thread has a sequence of
    /// its own.
    pub fn new(workload: &Workload, thread: usize, threads: usize) -> Encoder {
        let chooser = match &workload.trace {
            Some(keys) => KeyChooser::Trace { keys: keys.clone(), next: thread % keys.len(), step: threads },
            None => KeyChooser::new(workload.distribution, workload.keys),
        };
        // Far more seeds per run than any run has threads.
        Encoder::with_chooser(workload, chooser, workload.seed << 16 | thread as u64, false)
    }

    /// Stores each key once, in order, then each counter; whichever of both the mix asks for.
    pub fn in_order(workload: &Workload) -> Encoder {
        Encoder::with_chooser(workload, KeyChooser::InOrder(0), 0, true)
    }

    fn with_chooser(workload: &Workload, chooser: KeyChooser, seed: u64, stores: bool) -> Encoder {
        Encoder {
            chooser,
            // Neighbouring seeds begin neighbouring sequences, which one more round sets apart.
            random: Random::new(Random::new(seed).bits()),
            stores,
            version: 1,
            value: vec![b'v'; workload.sizes.largest()],
            workload: workload.clone(),
        }
    }

    /// Appends the next request to `output`. Its key numbers go to `asked_keys` when values are verified.
    /// No allocation beyond the growth of the buffers.
    pub fn encode(&mut self, output: &mut Vec<u8>, asked_keys: &mut VecDeque<u32>) -> Asked {
        if self.stores {
            return self.encode_store(output);
        }
        let Choice { operation, protocol } = self.workload.mix.choose(&mut self.random);
        let protocol = protocol.unwrap_or(self.workload.protocol);
        match (operation, protocol) {
            (Operation::Get, Protocol::Text) => self.encode_get(output, asked_keys),
            (Operation::Get, Protocol::Meta) => self.encode_meta_get(output, asked_keys),
            (Operation::Get, Protocol::Binary) => self.encode_binary_get(output, asked_keys),
            (Operation::Get, Protocol::Resp) => self.encode_resp_get(output, asked_keys),
            (Operation::Set, _) => {
                let key = self.chooser.next(&mut self.random);
                self.encode_set(protocol, key, output)
            }
            _ => encode_line(operation, protocol, self.chooser.next(&mut self.random), output),
        }
    }

    fn encode_store(&mut self, output: &mut Vec<u8>) -> Asked {
        let number = self.chooser.next(&mut self.random);
        let values = if self.workload.has_values() { self.workload.keys } else { 0 };
        if number < values {
            return self.encode_set(self.workload.protocol, number, output);
        }
        let counter = key_text(COUNTER_PREFIX, number - values);
        append_set(self.workload.protocol, &counter, COUNTER_START, output)
    }

    fn encode_get(&mut self, output: &mut Vec<u8>, asked_keys: &mut VecDeque<u32>) -> Asked {
        output.extend_from_slice(b"get");
        let mut reply_bytes = "END\r\n".len();
        for _ in 0..self.workload.multiget {
            output.push(b' ');
            let value_bytes = self.append_asked_key(output, asked_keys);
            reply_bytes +=
                "VALUE ".len() + KEY_BYTES + " 0 \r\n\r\n".len() + digits(value_bytes) + value_bytes;
        }
        output.extend_from_slice(b"\r\n");
        self.asked_for_all(reply_bytes, false)
    }

    /// One `mg`, or `multiget` quiet ones closed by `mn`.
    fn encode_meta_get(&mut self, output: &mut Vec<u8>, asked_keys: &mut VecDeque<u32>) -> Asked {
        let is_single = self.workload.multiget == 1;
        let (flags, key_flag_bytes): (&[u8], usize) = match (self.workload.verify, is_single) {
            (false, true) => (b" v\r\n", 0),
            (true, true) => (b" v k\r\n", " k".len() + KEY_BYTES),
            (false, false) => (b" v q\r\n", 0),
            (true, false) => (b" v k q\r\n", " k".len() + KEY_BYTES),
        };
        let mut reply_bytes = if is_single { 0 } else { "MN\r\n".len() };
        for _ in 0..self.workload.multiget {
            output.extend_from_slice(b"mg ");
            let value_bytes = self.append_asked_key(output, asked_keys);
            output.extend_from_slice(flags);
            reply_bytes += "VA \r\n\r\n".len() + digits(value_bytes) + key_flag_bytes + value_bytes;
        }
        if !is_single {
            output.extend_from_slice(b"mn\r\n");
        }
        self.asked_for_all(reply_bytes, is_single)
    }

    /// One `GET`, or an `MGET`.
    fn encode_resp_get(&mut self, output: &mut Vec<u8>, asked_keys: &mut VecDeque<u32>) -> Asked {
        let keys = self.workload.multiget;
        let mut reply_bytes = 0;
        if keys == 1 {
            output.extend_from_slice(b"*2\r\n$3\r\nGET\r\n");
        } else {
            output.push(b'*');
            append_number(output, keys as usize + 1);
            output.extend_from_slice(b"\r\n$4\r\nMGET\r\n");
            reply_bytes = "*\r\n".len() + digits(keys as usize);
        }
        for _ in 0..keys {
            output.extend_from_slice(RESP_KEY_HEAD);
            let value_bytes = self.append_asked_key(output, asked_keys);
            output.extend_from_slice(b"\r\n");
            reply_bytes += "$\r\n\r\n".len() + digits(value_bytes) + value_bytes;
        }
        self.asked_for_all(reply_bytes, true)
    }

    /// One get, or `multiget` quiet ones closed by a no-operation.
    fn encode_binary_get(&mut self, output: &mut Vec<u8>, asked_keys: &mut VecDeque<u32>) -> Asked {
        let is_single = self.workload.multiget == 1;
        let mut reply_bytes = 0;
        for _ in 0..self.workload.multiget {
            let (key, value_bytes) = self.asked_key(asked_keys);
            reply_bytes += frames::HEADER_BYTES + frames::FLAGS_BYTES + value_bytes;
            if is_single {
                frames::append_get(&key, output);
            } else {
                frames::append_quiet_get(&key, output);
                reply_bytes += KEY_BYTES;
            }
        }
        if !is_single {
            reply_bytes += frames::append_end(output);
        }
        self.asked_for_all(reply_bytes, is_single)
    }

    /// Draws a key and appends it; returns the length of its value.
    fn append_asked_key(&mut self, output: &mut Vec<u8>, asked_keys: &mut VecDeque<u32>) -> usize {
        let (key, value_bytes) = self.asked_key(asked_keys);
        output.extend_from_slice(&key);
        value_bytes
    }

    /// Draws a key; returns its text and the length of its value.
    fn asked_key(&mut self, asked_keys: &mut VecDeque<u32>) -> ([u8; KEY_BYTES], usize) {
        let key = self.chooser.next(&mut self.random);
        if self.workload.verify {
            asked_keys.push_back(key);
        }
        (key_text(VALUE_PREFIX, key), self.workload.sizes.of(key))
    }

    fn asked_for_all(&self, reply_bytes: usize, is_piece_per_key: bool) -> Asked {
        Asked {
            reply_bytes: reply_bytes as u64,
            keys: self.workload.multiget,
            operation: Operation::Get,
            is_piece_per_key,
        }
    }

    fn encode_set(&mut self, protocol: Protocol, key: u32, output: &mut Vec<u8>) -> Asked {
        let value = &mut self.value[..self.workload.sizes.of(key)];
        if self.workload.verify {
            fill_value(value, key, self.version);
            self.version = self.version.wrapping_add(1);
        }
        append_set(protocol, &key_text(VALUE_PREFIX, key), value, output)
    }
}

fn append_set(protocol: Protocol, key: &[u8; KEY_BYTES], value: &[u8], output: &mut Vec<u8>) -> Asked {
    let asked = |reply_bytes| Asked {
        reply_bytes,
        keys: 1,
        operation: Operation::Set,
        is_piece_per_key: protocol == Protocol::Resp,
    };
    let (head, middle, reply_bytes): (&[u8], &[u8], usize) = match protocol {
        Protocol::Binary => return asked(frames::append_set(key, value, output) as u64),
        Protocol::Text => (b"set ", b" 0 0 ", "STORED\r\n".len()),
        Protocol::Meta => (b"ms ", b" ", "HD\r\n".len()),
        Protocol::Resp => (b"*3\r\n$3\r\nSET\r\n$14\r\n", b"\r\n$", "+OK\r\n".len()),
    };
    output.extend_from_slice(head);
    output.extend_from_slice(key);
    output.extend_from_slice(middle);
    append_number(output, value.len());
    output.extend_from_slice(b"\r\n");
    output.extend_from_slice(value);
    output.extend_from_slice(b"\r\n");
    asked(reply_bytes as u64)
}

/// The requests that are one line in memcached's protocols: everything without a value.
fn encode_line(operation: Operation, protocol: Protocol, key: u32, output: &mut Vec<u8>) -> Asked {
    use Operation::{Decr, Delete, Get, Incr, Set, Touch};
    let key = key_text(if operation.counts() { COUNTER_PREFIX } else { VALUE_PREFIX }, key);
    let asked = |reply_bytes: usize| Asked {
        reply_bytes: reply_bytes as u64,
        keys: 1,
        operation,
        is_piece_per_key: protocol == Protocol::Resp,
    };
    let (head, tail, reply_bytes): (&[u8], &[u8], usize) = match (operation, protocol) {
        (Delete, Protocol::Text) => (b"delete ", b"\r\n", "DELETED\r\n".len()),
        (Delete, Protocol::Meta) => (b"md ", b"\r\n", "HD\r\n".len()),
        (Delete, Protocol::Resp) => (b"*2\r\n$3\r\nDEL\r\n$14\r\n", b"\r\n", ":1\r\n".len()),
        (Incr, Protocol::Text) => (b"incr ", b" 1\r\n", COUNTER_START.len() + 2),
        (Incr, Protocol::Meta) => (b"ma ", b"\r\n", "HD\r\n".len()),
        (Incr, Protocol::Resp) => (b"*2\r\n$4\r\nINCR\r\n$14\r\n", b"\r\n", COUNTER_START.len() + 3),
        (Decr, Protocol::Text) => (b"decr ", b" 1\r\n", COUNTER_START.len() + 2),
        (Decr, Protocol::Meta) => (b"ma ", b" MD\r\n", "HD\r\n".len()),
        (Decr, Protocol::Resp) => (b"*2\r\n$4\r\nDECR\r\n$14\r\n", b"\r\n", COUNTER_START.len() + 3),
        (Touch, Protocol::Text) => (b"touch ", b" 0\r\n", "TOUCHED\r\n".len()),
        (Touch, Protocol::Meta) => (b"mg ", b" T0\r\n", "HD\r\n".len()),
        (Touch, Protocol::Resp) => (b"*2\r\n$5\r\nTOUCH\r\n$14\r\n", b"\r\n", ":1\r\n".len()),
        (Delete | Incr | Decr | Touch, Protocol::Binary) => {
            return asked(frames::append_plain(operation, &key, output));
        }
        (Get | Set, _) => unreachable!("gets and sets have functions of their own"),
    };
    output.extend_from_slice(head);
    output.extend_from_slice(&key);
    output.extend_from_slice(tail);
    asked(reply_bytes)
}

/// The text of a value's key.
pub fn value_key(key: u32) -> [u8; KEY_BYTES] {
    key_text(VALUE_PREFIX, key)
}

/// A prefix and ten digits, so that all keys have one length.
fn key_text(prefix: [u8; 4], key: u32) -> [u8; KEY_BYTES] {
    let mut text = *b"....0000000000";
    text[..4].copy_from_slice(&prefix);
    let mut rest = key;
    for digit in text[4..].iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    text
}

fn append_number(output: &mut Vec<u8>, number: usize) {
    let mut text = [0; 20];
    let mut at = text.len();
    let mut rest = number;
    loop {
        at -= 1;
        text[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    output.extend_from_slice(&text[at..]);
}

fn digits(number: usize) -> usize {
    number.checked_ilog10().map_or(1, |log| log as usize + 1)
}

/// Length of every key.
pub const KEY_BYTES: usize = 14;
const VALUE_PREFIX: [u8; 4] = *b"key:";
const COUNTER_PREFIX: [u8; 4] = *b"ctr:";
const RESP_KEY_HEAD: &[u8] = b"$14\r\n";
/// So far from both ends of 64 bits with sign that no run changes the number of its digits.
const COUNTER_START: &[u8] = b"5000000000000000000";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::values::{Sizes, ValueBytes};

    fn workload(mix: &str, protocol: Protocol, multiget: u32) -> Workload {
        Workload {
            mix: mix.parse().unwrap(),
            multiget,
            sizes: Sizes::fixed(20),
            keys: 1,
            protocol,
            ..Workload::default()
        }
    }

    fn encoded(workload: &Workload) -> (String, Asked) {
        let mut output = Vec::new();
        let asked = Encoder::new(workload, 0, 1).encode(&mut output, &mut VecDeque::new());
        (String::from_utf8(output).unwrap(), asked)
    }

    #[test]
    fn requests_are_written_as_the_protocols_say() {
        use Protocol::{Meta, Resp, Text};
        let (key, counter, value) = ("key:0000000000", "ctr:0000000000", "v".repeat(20));
        let resp = |verb: &str, key: &str| format!("*2\r\n${}\r\n{verb}\r\n$14\r\n{key}\r\n", verb.len());
        for (mix, protocol, multiget, expected) in [
            ("get=1", Text, 2, format!("get {key} {key}\r\n")),
            ("set=1", Text, 1, format!("set {key} 0 0 20\r\n{value}\r\n")),
            ("delete=1", Text, 1, format!("delete {key}\r\n")),
            ("touch=1", Text, 1, format!("touch {key} 0\r\n")),
            ("incr=1", Text, 1, format!("incr {counter} 1\r\n")),
            ("decr=1", Text, 1, format!("decr {counter} 1\r\n")),
            ("get=1", Meta, 1, format!("mg {key} v\r\n")),
            ("get=1", Meta, 2, format!("mg {key} v q\r\nmg {key} v q\r\nmn\r\n")),
            ("set=1", Meta, 1, format!("ms {key} 20\r\n{value}\r\n")),
            ("decr=1", Meta, 1, format!("ma {counter} MD\r\n")),
            ("md=1", Text, 1, format!("md {key}\r\n")),
            ("ma=1", Text, 1, format!("ma {counter}\r\n")),
            ("mt=1", Text, 1, format!("mg {key} T0\r\n")),
            ("get=1", Resp, 1, resp("GET", key)),
            ("get=1", Resp, 2, format!("*3\r\n$4\r\nMGET\r\n$14\r\n{key}\r\n$14\r\n{key}\r\n")),
            ("set=1", Resp, 1, format!("*3\r\n$3\r\nSET\r\n$14\r\n{key}\r\n$20\r\n{value}\r\n")),
            ("incr=1", Resp, 1, resp("INCR", counter)),
            ("delete=1", Resp, 1, resp("DEL", key)),
            ("touch=1", Resp, 1, resp("TOUCH", key)),
        ] {
            assert_eq!(encoded(&workload(mix, protocol, multiget)).0, expected);
        }
    }

    #[test]
    fn reply_lengths_are_exact() {
        let value = "v".repeat(20);
        let mut verified = workload("get=1", Protocol::Meta, 2);
        verified.verify = true;
        for (workload, expected) in [
            (
                workload("get=1", Protocol::Text, 3),
                format!("{}END\r\n", format!("VALUE key:0000000000 0 20\r\n{value}\r\n").repeat(3)),
            ),
            (workload("get=1", Protocol::Meta, 1), format!("VA 20\r\n{value}\r\n")),
            (verified, format!("{}MN\r\n", format!("VA 20 kkey:0000000000\r\n{value}\r\n").repeat(2))),
            (workload("get=1", Protocol::Resp, 1), format!("$20\r\n{value}\r\n")),
            (
                workload("get=1", Protocol::Resp, 12),
                format!("*12\r\n{}", format!("$20\r\n{value}\r\n").repeat(12)),
            ),
            (workload("incr=1", Protocol::Text, 1), "5000000000000000001\r\n".to_string()),
            (workload("incr=1", Protocol::Resp, 1), ":5000000000000000001\r\n".to_string()),
        ] {
            assert_eq!(encoded(&workload).1.reply_bytes as usize, expected.len(), "{expected}");
        }
    }

    #[test]
    fn everything_the_mix_works_on_is_stored_once() {
        let stored = |mix: &str| {
            let workload = Workload { keys: 2, sizes: Sizes::fixed(0), ..workload(mix, Protocol::Text, 1) };
            let mut encoder = Encoder::in_order(&workload);
            let mut output = Vec::new();
            for _ in 0..workload.preloads() {
                encoder.encode(&mut output, &mut VecDeque::new());
            }
            String::from_utf8(output).unwrap()
        };
        let values = "set key:0000000000 0 0 0\r\n\r\nset key:0000000001 0 0 0\r\n\r\n";
        let counter = |key| format!("set ctr:{key:010} 0 0 19\r\n5000000000000000000\r\n");
        let counters = counter(0) + &counter(1);
        assert_eq!(stored("get=1"), values);
        assert_eq!(stored("incr=1,decr=1"), counters);
        assert_eq!(stored("delete=1,ma=1"), format!("{values}{counters}"));
    }

    #[test]
    fn each_key_has_the_length_of_its_value() {
        let sizes = Sizes::new(&ValueBytes::Trace, &[0, 9, 10], 0);
        let workload = Workload { keys: 3, sizes, ..workload("set=1", Protocol::Text, 1) };
        let mut encoder = Encoder::in_order(&workload);
        let mut output = Vec::new();
        for _ in 0..3 {
            encoder.encode(&mut output, &mut VecDeque::new());
        }
        let text = String::from_utf8(output).unwrap();
        let set =
            |key: usize, bytes: usize| format!("set key:{key:010} 0 0 {bytes}\r\n{}\r\n", "v".repeat(bytes));
        assert_eq!(text, set(0, 0) + &set(1, 9) + &set(2, 10));
    }

    #[test]
    fn every_thread_and_every_seed_draws_keys_of_its_own() {
        let mut seen = std::collections::HashSet::new();
        for (seed, thread) in [(0, 0), (0, 1), (0, 2), (1, 0), (2, 0), (2, 1)] {
            let workload = Workload { keys: u32::MAX, seed, ..workload("delete=1", Protocol::Text, 1) };
            let mut encoder = Encoder::new(&workload, thread, 3);
            for _ in 0..10_000 {
                seen.insert(encoder.chooser.next(&mut encoder.random));
            }
        }
        // Of 60,000 draws from 2^32 some are drawn twice by chance, but hardly ten.
        assert!(seen.len() > 59_990, "{} different keys", seen.len());
    }

    #[test]
    fn threads_share_a_trace() {
        let workload =
            Workload { trace: Some(vec![5, 6, 7].into()), ..workload("delete=1", Protocol::Text, 1) };
        let keys = |thread| {
            let mut encoder = Encoder::new(&workload, thread, 2);
            let mut output = Vec::new();
            for _ in 0..3 {
                encoder.encode(&mut output, &mut VecDeque::new());
            }
            String::from_utf8(output).unwrap().replace("delete key:000000000", "").replace("\r\n", "")
        };
        assert_eq!((keys(0), keys(1)), ("576".to_string(), "657".to_string()));
    }
}
