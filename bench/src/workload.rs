//! What is asked: the mix of operations, the keys, the values, and their bytes on the wire.

use std::collections::VecDeque;
use std::io::Write;
use std::str::FromStr;

use crate::keys::{Distribution, KeyChooser, Random};

/// The dialect requests are written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Protocol {
    /// `get`, `set`, `delete`, `touch`.
    Text,
    /// `mg`, `ms`, `md`.
    Meta,
}

/// One kind of request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Reads one key, or `multiget` keys.
    Get,
    /// Stores a value without expiry.
    Set,
    /// Removes a key.
    Delete,
    /// Sets the expiry to never.
    Touch,
}

impl Operation {
    /// As on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Operation::Get => "get",
            Operation::Set => "set",
            Operation::Delete => "delete",
            Operation::Touch => "touch",
        }
    }
}

/// The shares of the operations, such as `get=90,set=10`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mix {
    shares: Vec<(Operation, u32)>,
    total: u32,
}

impl Mix {
    /// Nothing but `operation`.
    pub fn only(operation: Operation) -> Mix {
        Mix { shares: vec![(operation, 1)], total: 1 }
    }

    /// Whether the mix asks for `operation` at all.
    pub fn has(&self, operation: Operation) -> bool {
        self.shares.iter().any(|(shared, _)| *shared == operation)
    }

    fn choose(&self, random: &mut Random) -> Operation {
        if let [(only, _)] = self.shares[..] {
            return only;
        }
        let mut point = random.below(self.total);
        for (operation, share) in &self.shares {
            if point < *share {
                return *operation;
            }
            point -= share;
        }
        unreachable!("the shares add up to the total")
    }
}

impl FromStr for Mix {
    type Err = String;

    fn from_str(text: &str) -> Result<Mix, String> {
        let mut mix = Mix { shares: Vec::new(), total: 0 };
        for part in text.split(',') {
            let (name, share) =
                part.split_once('=').ok_or_else(|| format!("{part} is not OPERATION=SHARE"))?;
            let operation = [Operation::Get, Operation::Set, Operation::Delete, Operation::Touch]
                .into_iter()
                .find(|operation| operation.name() == name)
                .ok_or_else(|| format!("{name} is none of get, set, delete, touch"))?;
            if mix.has(operation) {
                return Err(format!("{name} is given twice"));
            }
            let share: u32 = share.parse().map_err(|_| format!("{share} is not a share"))?;
            if share > 1_000_000 {
                return Err("a share is at most 1000000".to_string());
            }
            if share > 0 {
                mix.shares.push((operation, share));
                mix.total += share;
            }
        }
        if mix.total == 0 { Err("every share is zero".to_string()) } else { Ok(mix) }
    }
}

/// Everything about the requests that does not depend on time.
#[derive(Clone, Debug)]
pub struct Workload {
    /// Shares of the operations.
    pub mix: Mix,
    /// Keys per get.
    pub multiget: u32,
    /// Length of every value.
    pub value_bytes: usize,
    /// Number of different keys.
    pub keys: u32,
    /// How they are drawn.
    pub distribution: Distribution,
    /// How requests are written.
    pub protocol: Protocol,
    /// Derive values from key and version, so that a wrong byte in a reply is seen.
    pub verify: bool,
}

impl Default for Workload {
    /// Gets of a hundred thousand keys with values of 100 bytes.
    fn default() -> Workload {
        Workload {
            mix: Mix::only(Operation::Get),
            multiget: 1,
            value_bytes: 100,
            keys: 100_000,
            distribution: Distribution::Uniform,
            protocol: Protocol::Text,
            verify: false,
        }
    }
}

/// A request on its way, as its reply will be judged.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    /// What was asked.
    pub operation: Operation,
    /// Of how many keys.
    pub keys: u32,
    /// Length of the reply when every key is there.
    pub reply_bytes: u32,
    /// A value is the whole reply, with no line behind it: a single `mg`.
    pub ends_with_value: bool,
}

/// Writes requests; one per load thread.
#[derive(Debug)]
pub struct Encoder {
    workload: Workload,
    chooser: KeyChooser,
    random: Random,
    /// The next verified value's version.
    version: u32,
    value: Vec<u8>,
    /// `" 0 0 100\r\n"` or `" 100\r\n"`: what follows the key of a set.
    set_tail: Vec<u8>,
    hit_bytes: u32,
}

impl Encoder {
    /// Draws from the workload's distribution; each `seed` has its own sequence.
    pub fn new(workload: &Workload, seed: u64) -> Encoder {
        let chooser = KeyChooser::new(workload.distribution, workload.keys);
        Encoder::with_chooser(workload, chooser, seed)
    }

    /// Sets each key once, in order.
    pub fn in_order(workload: &Workload) -> Encoder {
        let workload = Workload { mix: Mix::only(Operation::Set), ..workload.clone() };
        Encoder::with_chooser(&workload, KeyChooser::InOrder(0), 0)
    }

    fn with_chooser(workload: &Workload, chooser: KeyChooser, seed: u64) -> Encoder {
        let set_tail = match workload.protocol {
            Protocol::Text => format!(" 0 0 {}\r\n", workload.value_bytes),
            Protocol::Meta => format!(" {}\r\n", workload.value_bytes),
        };
        Encoder {
            chooser,
            random: Random::new(seed + 1),
            version: 1,
            value: vec![b'v'; workload.value_bytes],
            set_tail: set_tail.into_bytes(),
            hit_bytes: hit_bytes(workload),
            workload: workload.clone(),
        }
    }

    /// Appends the next request to `output`. Its key numbers go to `asked_keys` when values are verified.
    /// No allocation beyond the growth of the buffers.
    pub fn encode(&mut self, output: &mut Vec<u8>, asked_keys: &mut VecDeque<u32>) -> Asked {
        let operation = self.workload.mix.choose(&mut self.random);
        match (operation, self.workload.protocol) {
            (Operation::Get, Protocol::Text) => self.encode_get(output, asked_keys),
            (Operation::Get, Protocol::Meta) => self.encode_meta_get(output, asked_keys),
            (Operation::Set, Protocol::Text) => self.encode_set(b"set ", output, 8),
            (Operation::Set, Protocol::Meta) => self.encode_set(b"ms ", output, 4),
            (Operation::Delete, Protocol::Text) => {
                self.encode_line(operation, b"delete ", b"\r\n", output, 9)
            }
            (Operation::Delete, Protocol::Meta) => self.encode_line(operation, b"md ", b"\r\n", output, 4),
            (Operation::Touch, Protocol::Text) => {
                self.encode_line(operation, b"touch ", b" 0\r\n", output, 9)
            }
            (Operation::Touch, Protocol::Meta) => self.encode_line(operation, b"mg ", b" T0\r\n", output, 4),
        }
    }

    fn encode_get(&mut self, output: &mut Vec<u8>, asked_keys: &mut VecDeque<u32>) -> Asked {
        output.extend_from_slice(b"get");
        for _ in 0..self.workload.multiget {
            output.push(b' ');
            let key = self.chooser.next(&mut self.random);
            append_key(output, key);
            if self.workload.verify {
                asked_keys.push_back(key);
            }
        }
        output.extend_from_slice(b"\r\n");
        let keys = self.workload.multiget;
        Asked {
            operation: Operation::Get,
            keys,
            reply_bytes: keys * self.hit_bytes + 5,
            ends_with_value: false,
        }
    }

    /// One `mg`, or `multiget` quiet ones closed by `mn`.
    fn encode_meta_get(&mut self, output: &mut Vec<u8>, asked_keys: &mut VecDeque<u32>) -> Asked {
        let keys = self.workload.multiget;
        let flags: &[u8] = match (self.workload.verify, keys) {
            (false, 1) => b" v\r\n",
            (true, 1) => b" v k\r\n",
            (false, _) => b" v q\r\n",
            (true, _) => b" v k q\r\n",
        };
        for _ in 0..keys {
            output.extend_from_slice(b"mg ");
            let key = self.chooser.next(&mut self.random);
            append_key(output, key);
            output.extend_from_slice(flags);
            if self.workload.verify {
                asked_keys.push_back(key);
            }
        }
        if keys > 1 {
            output.extend_from_slice(b"mn\r\n");
        }
        let closing = if keys > 1 { 4 } else { 0 };
        let reply_bytes = keys * self.hit_bytes + closing;
        Asked { operation: Operation::Get, keys, reply_bytes, ends_with_value: keys == 1 }
    }

    fn encode_set(&mut self, verb: &[u8], output: &mut Vec<u8>, reply_bytes: u32) -> Asked {
        let key = self.chooser.next(&mut self.random);
        if self.workload.verify {
            fill_value(&mut self.value, key, self.version);
            self.version = self.version.wrapping_add(1);
        }
        output.extend_from_slice(verb);
        append_key(output, key);
        output.extend_from_slice(&self.set_tail);
        output.extend_from_slice(&self.value);
        output.extend_from_slice(b"\r\n");
        Asked { operation: Operation::Set, keys: 1, reply_bytes, ends_with_value: false }
    }

    fn encode_line(
        &mut self,
        operation: Operation,
        verb: &[u8],
        tail: &[u8],
        output: &mut Vec<u8>,
        reply_bytes: u32,
    ) -> Asked {
        output.extend_from_slice(verb);
        append_key(output, self.chooser.next(&mut self.random));
        output.extend_from_slice(tail);
        Asked { operation, keys: 1, reply_bytes, ends_with_value: false }
    }
}

/// Appends the text of a key: `key:` and ten digits, so that all keys have one length.
pub fn append_key(output: &mut Vec<u8>, key: u32) {
    let mut text = *b"key:0000000000";
    let mut rest = key;
    for digit in text[4..].iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    output.extend_from_slice(&text);
}

/// Whether `data` is a value that `fill_value` made for this key, of any version.
pub fn is_value_of(key: u32, data: &[u8], expected: &mut Vec<u8>) -> bool {
    let Some(Ok(version)) = data.get(8..16).map(std::str::from_utf8) else { return false };
    let Ok(version) = u32::from_str_radix(version, 16) else { return false };
    expected.resize(data.len(), 0);
    fill_value(expected, key, version);
    expected == data
}

/// Fills a verified value: key number and version in 8 hex digits each, then bytes that depend on both. Every byte
/// value occurs, line ends too.
fn fill_value(value: &mut [u8], key: u32, version: u32) {
    let (mut head, rest) = value.split_at_mut(VERIFIED_BYTES_MIN);
    write!(head, "{key:08x}{version:08x}").expect("the head has room for 16 digits");
    let mut random = Random::new(u64::from(key) << 32 | u64::from(version));
    for chunk in rest.chunks_mut(8) {
        chunk.copy_from_slice(&random.bits().to_le_bytes()[..chunk.len()]);
    }
}

/// Bytes of one key's part of a get's reply when it is there.
fn hit_bytes(workload: &Workload) -> u32 {
    let digits = workload.value_bytes.to_string().len();
    let key = if workload.verify { KEY_BYTES + 2 } else { 0 };
    let header = match workload.protocol {
        Protocol::Text => "VALUE ".len() + KEY_BYTES + " 0 ".len() + digits + 2,
        Protocol::Meta => "VA ".len() + digits + key + 2,
    };
    u32::try_from(header + workload.value_bytes + 2).expect("values stay below 1 GiB")
}

/// Shorter values have no room for key number and version.
pub const VERIFIED_BYTES_MIN: usize = 16;
/// Length of every key.
pub const KEY_BYTES: usize = 14;

#[cfg(test)]
mod tests {
    use super::*;

    fn workload(mix: &str, protocol: Protocol, multiget: u32) -> Workload {
        Workload {
            mix: mix.parse().unwrap(),
            multiget,
            value_bytes: 20,
            keys: 1,
            distribution: Distribution::Uniform,
            protocol,
            verify: false,
        }
    }

    fn encoded(workload: &Workload) -> (String, Asked) {
        let mut output = Vec::new();
        let asked = Encoder::new(workload, 0).encode(&mut output, &mut VecDeque::new());
        (String::from_utf8(output).unwrap(), asked)
    }

    #[test]
    fn requests_are_written_as_the_protocol_says() {
        let key = "key:0000000000";
        let value = "v".repeat(20);
        let text = |mix, multiget| encoded(&workload(mix, Protocol::Text, multiget)).0;
        let meta = |mix, multiget| encoded(&workload(mix, Protocol::Meta, multiget)).0;
        assert_eq!(text("get=1", 2), format!("get {key} {key}\r\n"));
        assert_eq!(text("set=1", 1), format!("set {key} 0 0 20\r\n{value}\r\n"));
        assert_eq!(text("delete=1", 1), format!("delete {key}\r\n"));
        assert_eq!(text("touch=1", 1), format!("touch {key} 0\r\n"));
        assert_eq!(meta("get=1", 1), format!("mg {key} v\r\n"));
        assert_eq!(meta("get=1", 2), format!("mg {key} v q\r\nmg {key} v q\r\nmn\r\n"));
        assert_eq!(meta("set=1", 1), format!("ms {key} 20\r\n{value}\r\n"));
    }

    #[test]
    fn reply_lengths_are_exact() {
        let value = "v".repeat(20);
        let text = format!("VALUE key:0000000000 0 20\r\n{value}\r\n");
        let asked = encoded(&workload("get=1", Protocol::Text, 3)).1;
        assert_eq!(asked.reply_bytes as usize, 3 * text.len() + "END\r\n".len());
        let asked = encoded(&workload("get=1", Protocol::Meta, 1)).1;
        assert_eq!(asked.reply_bytes as usize, format!("VA 20\r\n{value}\r\n").len());
        let mut verified = workload("get=1", Protocol::Meta, 2);
        verified.verify = true;
        let one = format!("VA 20 kkey:0000000000\r\n{value}\r\n");
        assert_eq!(encoded(&verified).1.reply_bytes as usize, 2 * one.len() + "MN\r\n".len());
    }

    #[test]
    fn a_changed_byte_is_seen() {
        let (mut value, mut scratch) = (vec![0; 100], Vec::new());
        fill_value(&mut value, 12, 9);
        assert!(is_value_of(12, &value, &mut scratch));
        assert!(!is_value_of(13, &value, &mut scratch), "another key's value");
        for position in 0..value.len() {
            let mut changed = value.clone();
            changed[position] ^= 1;
            assert!(!is_value_of(12, &changed, &mut scratch), "byte {position}");
        }
        assert!(!is_value_of(12, b"short", &mut scratch));
    }

    #[test]
    fn mixes_are_read_and_kept() {
        let mix: Mix = "get=90,set=10".parse().unwrap();
        let mut random = Random::new(5);
        let sets = (0..100_000).filter(|_| mix.choose(&mut random) == Operation::Set).count();
        assert!((9_500..10_500).contains(&sets), "{sets} of 100000");
        for wrong in ["", "get", "get=x", "fetch=1", "get=0", "get=1,get=2", "get=99999999"] {
            assert!(wrong.parse::<Mix>().is_err(), "{wrong}");
        }
    }
}
