//! Random frames of the binary protocol, quiet and loud, with and without CAS, some of them malformed.
//!
//! Responses are compared field by field; CAS uniques are each server's own, and only whether there is one is compared.
//! At the end the counters of both servers must agree. Numbers that shrank may be shorter in memcached: `padding.rs`
//! tells when.
//!
//! What is left out, because memcached's own reply depends on timing or on a version:
//! - Text without a space behind a number that is read: whether it still is a number would depend on its spaces. It is
//!   joined to counters that are never read, whose values are seen in the answers to arithmetic.
//! - A flush with a delay, and commands that do not exist with a key or extras: `docs/protocol.md` tells.
//! - A malformed frame with a value: memcached closes with input unread, which can cost the client the answer.
//! - Another first byte behind other requests: memcached closes without sending the answers before it.

use std::collections::HashMap;

use crate::exceptions::{Exception, Met};
use crate::frames::{Frame, code};
use crate::padding::{Numbers, Shrinking};
use crate::random::Random;
use crate::server::{Connection, Server};
use crate::{STOCK_FLAGS, seed_of_today, variable};

/// Frames of the short run, for each seed.
const FRAMES_SHORT: usize = 30_000;
/// The seed that every run tries.
const SEED: u64 = 20_260_709;
/// Connections in turn, so that each worker meets every key.
const CONNECTIONS: usize = 4;
/// Plain keys, keys that hold counters and are never read, and keys that hold numbers and are read.
const KEYS: usize = 24;
const COUNTERS: usize = 6;
const NUMBERS: usize = 3;
/// Opaque of the frame that ends a batch.
const END: u32 = u32::MAX;
/// Statistics that count the same in both servers.
const COUNTED: [&str; 16] = [
    "cmd_get",
    "cmd_set",
    "cmd_touch",
    "cmd_flush",
    "get_hits",
    "get_misses",
    "delete_hits",
    "delete_misses",
    "incr_hits",
    "incr_misses",
    "decr_hits",
    "decr_misses",
    "cas_hits",
    "cas_misses",
    "cas_badval",
    "touch_hits",
];

#[test]
fn ringcached_answers_random_frames_as_memcached_does() {
    let Some(stock) = Server::memcached(&STOCK_FLAGS) else { return };
    let ours = Server::ringcached(&["-m", "256", "-t", "4"]);
    let count = variable("RINGCACHE_DIFFERENTIAL_COMMANDS").unwrap_or(FRAMES_SHORT as u64) as usize;
    match variable("RINGCACHE_DIFFERENTIAL_SEED") {
        Some(seed) => run(&stock, &ours, Shrinking::Never, seed, count),
        None => {
            run(&stock, &ours, Shrinking::Never, SEED, count);
            run(&stock, &ours, Shrinking::Never, seed_of_today(), count.min(FRAMES_SHORT));
        }
    }
}

/// Two servers of the same kind must agree, or the comparison would find differences that are none.
#[test]
fn memcached_agrees_with_itself_on_frames() {
    let (Some(one), Some(other)) = (Server::memcached(&STOCK_FLAGS), Server::memcached(&STOCK_FLAGS)) else {
        return;
    };
    run(&one, &other, Shrinking::Sometimes, SEED, FRAMES_SHORT);
}

/// A request; the CAS unique to send to each server is found when it is sent.
struct Asked {
    frame: Frame,
    compare: Compare,
}

/// What a request compares with.
#[derive(Clone, Copy, Debug)]
enum Compare {
    Nothing,
    /// The CAS unique last seen of the key, which may be an old one.
    LastSeen,
    /// One that no record has.
    Other,
}

/// `shrinking` is what numbers of `ours` do.
fn run(stock: &Server, ours: &Server, shrinking: Shrinking, seed: u64, count: usize) {
    println!("differential run of frames: seed {seed}, {count} frames");
    let mut random = Random::from_seed(seed);
    let mut pair = [Side::open(stock), Side::open(ours)];
    let mut known =
        Known { numbers: [Shrinking::Sometimes, shrinking].map(Numbers::new), met: Met::default() };
    let (mut done, mut batches) = (0, 0);
    while done < count {
        let mut batch: Vec<Asked> = (0..=random.below(60)).map(|_| request(&mut random)).collect();
        for (number, asked) in batch.iter_mut().enumerate() {
            asked.frame.opaque = number as u32;
        }
        let last = if random.once_in(10) { closing(&mut random) } else { Frame::request(code::NOOP) };
        let piece = *random.pick(&[usize::MAX, usize::MAX, 16_384, 1_000, 77]);
        let turn = batches % CONNECTIONS;
        let replies = std::thread::scope(|scope| {
            let [stock, ours] = &mut pair;
            let stock = scope.spawn(|| stock.exchange(&batch, &last, turn, piece));
            let ours = ours.exchange(&batch, &last, turn, piece);
            [stock.join().expect("a missing reply is no panic"), ours]
        });
        compare(&batch, &last, &replies, &mut known).unwrap_or_else(|difference| {
            panic!("seed {seed}, batch {batches}, after {done} frames: {difference}")
        });
        done += batch.len() + 1;
        batches += 1;
    }
    let [stock, ours] = pair.map(|side| side.counted());
    assert_eq!(stock, ours, "seed {seed}: counters");
    println!("{done} frames, 0 unexplained differences; exceptions met: {:?}", known.met);
}

/// What may differ.
struct Known {
    /// What the keys may hold in either server.
    numbers: [Numbers; 2],
    met: Met,
}

fn compare(
    batch: &[Asked],
    last: &Frame,
    [stock, ours]: &[Vec<Frame>; 2],
    known: &mut Known,
) -> Result<(), String> {
    let about = |opaque: u32| match batch.get(opaque as usize) {
        Some(asked) => format!("{:?} compares with {:?}", asked.frame, asked.compare),
        None => format!("the last one, {last:?}"),
    };
    let mut unanswered = batch.iter().enumerate().peekable();
    for (at, stock) in stock.iter().enumerate() {
        let Some(ours) = ours.get(at) else {
            return Err(format!("no response\n  to        {}\n  memcached {stock:?}", about(stock.opaque)));
        };
        while let Some((_, silent)) = unanswered.next_if(|(number, _)| (*number as u32) < stock.opaque) {
            known.observe(&silent.frame, None);
        }
        if !same(stock, ours, batch.get(stock.opaque as usize), known) {
            return Err(format!(
                "\n  to        {}\n  memcached {stock:?}\n  ours      {ours:?}",
                about(stock.opaque)
            ));
        }
        // Statistics come in several frames.
        if let Some((_, answered)) = unanswered.next_if(|(number, _)| *number as u32 == stock.opaque) {
            known.observe(&answered.frame, Some(stock));
        }
    }
    // A connection that closes without a word answers nothing behind them.
    unanswered.for_each(|(_, silent)| known.observe(&silent.frame, None));
    match ours.get(stock.len()) {
        None => Ok(()),
        Some(surplus) => {
            Err(format!("surplus response {surplus:?}\n  to {}\n  before {last:?}", about(surplus.opaque)))
        }
    }
}

fn same(stock: &Frame, ours: &Frame, asked: Option<&Asked>, known: &mut Known) -> bool {
    let without_value = |frame: &Frame| Frame { cas: 0, value: Vec::new(), ..frame.clone() };
    if (stock.cas == 0) != (ours.cas == 0) || without_value(stock) != without_value(ours) {
        return false;
    }
    let is_same = stock.value == ours.value;
    let Some(asked) = asked.filter(|asked| stock.status == 0 && is_read(asked.frame.opcode)) else {
        return is_same;
    };
    let [in_stock, in_ours] = &mut known.numbers;
    let is_possible =
        in_stock.settle(&asked.frame.key, &stock.value) & in_ours.settle(&asked.frame.key, &ours.value);
    *known.met.entry(Exception::Padding).or_default() += u64::from(!is_same && is_possible);
    is_same || is_possible
}

/// Whether the value of its response is the key's.
fn is_read(opcode: u8) -> bool {
    let get = [code::GET, code::GETQ, code::GETK, code::GETKQ];
    let get_and_touch = [code::GAT, code::GATQ, code::GATK, code::GATKQ];
    get.contains(&opcode) || get_and_touch.contains(&opcode)
}

impl Known {
    fn observe(&mut self, request: &Frame, response: Option<&Frame>) {
        if response.is_none_or(|response| response.status == 0) {
            self.numbers.iter_mut().for_each(|numbers| numbers.observe(request, response));
        }
    }
}

/// One of the two servers.
struct Side<'a> {
    server: &'a Server,
    connections: Vec<Connection>,
    /// CAS unique last seen of each key.
    uniques: HashMap<Vec<u8>, u64>,
}

impl<'a> Side<'a> {
    /// Empties the cache and the counters, and connects.
    fn open(server: &'a Server) -> Self {
        let mut connection = server.connect();
        assert_eq!(connection.ask("flush_all"), "OK");
        assert_eq!(connection.ask("stats reset"), "RESET");
        let connections = (0..CONNECTIONS).map(|_| server.connect()).collect();
        Side { server, connections, uniques: HashMap::new() }
    }

    /// Sends a batch and what ends it; the responses up to its end. A connection that was closed is opened again.
    fn exchange(&mut self, batch: &[Asked], last: &Frame, turn: usize, piece: usize) -> Vec<Frame> {
        let last = last.clone().opaque(END);
        let requests = batch.iter().map(|asked| self.with_unique(asked).bytes());
        let bytes: Vec<u8> = requests.chain([last.bytes()]).flatten().collect();
        let connection = &mut self.connections[turn];
        let mut sender = connection.another_handle();
        let mut replies = Vec::new();
        let is_over = std::thread::scope(|scope| {
            // A server that closes is noticed by the missing replies.
            scope.spawn(move || {
                bytes.chunks(piece.min(bytes.len())).try_for_each(|part| sender.try_send(part))
            });
            loop {
                let Some(frame) = receive(connection) else { return true };
                let is_end = frame.opaque == END && frame.opcode == code::NOOP && frame.status == 0;
                replies.push(frame);
                if is_end {
                    return false;
                }
            }
        });
        if is_over {
            self.connections[turn] = self.server.connect();
        }
        for reply in replies.iter().filter(|reply| reply.cas != 0) {
            if let Some(asked) = batch.get(reply.opaque as usize) {
                self.uniques.insert(asked.frame.key.clone(), reply.cas);
            }
        }
        replies
    }

    fn with_unique(&self, asked: &Asked) -> Frame {
        let cas = match asked.compare {
            Compare::Nothing => 0,
            Compare::LastSeen => self.uniques.get(&asked.frame.key).copied().unwrap_or(u64::MAX),
            Compare::Other => u64::MAX,
        };
        asked.frame.clone().cas(cas)
    }

    fn counted(&self) -> Vec<(&'static str, u64)> {
        COUNTED.iter().map(|&name| (name, self.server.stat_number(name))).collect()
    }
}

fn receive(connection: &mut Connection) -> Option<Frame> {
    let header = connection.receive(24);
    let body_bytes = u32::from_be_bytes(header.get(8..12)?.try_into().expect("four bytes"));
    let frame = [header, connection.receive(body_bytes as usize)].concat();
    Frame::read(&frame).map(|(frame, _)| frame)
}

/// Any request that leaves its connection open.
fn request(random: &mut Random) -> Asked {
    let key = key(random);
    let counter = format!("counter{}", random.below(COUNTERS)).into_bytes();
    let number = format!("number{}", random.below(NUMBERS)).into_bytes();
    let exptime = *random.pick(&[0, 0, 1000, 2_592_000, 2_592_001, 2_000_000_000, 0x8000_0000, u32::MAX]);
    let frame = match random.below(100) {
        0..25 => {
            let opcode =
                *random.pick(&[code::SET, code::SETQ, code::ADD, code::ADDQ, code::REPLACE, code::REPLACEQ]);
            let flags = *random.pick(&[0, 0, 1, u32::MAX]);
            Frame::store(opcode, &key, flags, exptime, value(random))
        }
        25..50 => {
            let key = if random.once_in(5) { number } else { key };
            Frame::request(*random.pick(&[code::GET, code::GETQ, code::GETK, code::GETKQ])).key(key)
        }
        50..58 => {
            let opcode = *random.pick(&[code::APPEND, code::APPENDQ, code::PREPEND, code::PREPENDQ]);
            let text = "v".repeat(random.below(30));
            let is_append = matches!(opcode, code::APPEND | code::APPENDQ);
            let (key, text) = match random.below(10) {
                0 => (counter, text),
                1 if is_append => (number, format!(" {text}")),
                _ if is_append => (key, format!(" {text}")),
                _ => (key, text),
            };
            Frame::request(opcode).key(key).value(text)
        }
        58..64 => {
            let key = random.pick(&[key, counter, number]).clone();
            Frame::request(*random.pick(&[code::DELETE, code::DELETEQ])).key(key)
        }
        64..76 => {
            let opcode = *random.pick(&[code::TOUCH, code::GAT, code::GATQ, code::GATK, code::GATKQ]);
            let key = if random.once_in(5) { number } else { key };
            Frame::request(opcode).extras(exptime.to_be_bytes()).key(key)
        }
        76..92 => {
            let opcode =
                *random.pick(&[code::INCREMENT, code::INCREMENTQ, code::DECREMENT, code::DECREMENTQ]);
            let key = match random.below(8) {
                0 => key,
                1..4 => number,
                _ => counter,
            };
            let delta = *random.pick(&[0, 1, 9, 1000, 1 << 40]);
            let exptime = *random.pick(&[0, 1000, u32::MAX]);
            Frame::count(opcode, key, delta, random.below(1000) as u64, exptime)
        }
        92..94 => Frame::request(code::NOOP),
        94..96 => Frame::request(code::STAT).key(*random.pick(&["none", "sizes"])),
        96..98 => Frame::request(*random.pick(&[code::SASL_LIST, 0x1f, 0x25, 0x30, 0x7f, 0xff])),
        98 => Frame::request(code::SASL_AUTH).key("PLAIN").value("\0user\0password"),
        _ if random.once_in(20) => Frame::request(*random.pick(&[code::FLUSH, code::FLUSHQ])),
        _ => Frame::request(code::GETK).key(&key),
    };
    let is_store = frame.opcode <= code::DECREMENT || (code::APPEND..=code::PREPENDQ).contains(&frame.opcode);
    let compare = match random.below(10) {
        0..3 if is_store => Compare::LastSeen,
        3 if is_store => Compare::Other,
        _ => Compare::Nothing,
    };
    Asked { frame, compare }
}

/// Any request that ends its connection, complete but for a value.
fn closing(random: &mut Random) -> Frame {
    let opcode = random.below(0x25) as u8;
    match random.below(5) {
        0 => Frame::request(code::QUIT),
        1 => Frame::request(code::QUITQ),
        2 => Frame::request(opcode).key("k".repeat(251)),
        3 => {
            Frame::request(*random.pick(&[code::GET, code::DELETE, code::SETQ, code::INCREMENT, code::GATK]))
        }
        _ => {
            Frame::request(*random.pick(&[code::NOOP, code::GETKQ, code::FLUSH, code::VERSION, code::APPEND]))
                .extras([0; 3])
                .key("key")
        }
    }
}

/// Keys may hold any byte.
fn key(random: &mut Random) -> Vec<u8> {
    match random.below(KEYS) {
        0 => vec![b'k'; 250],
        1 => b"\0\r\n \xff".to_vec(),
        number => format!("key{number}").into_bytes(),
    }
}

/// None of them is a number.
fn value(random: &mut Random) -> String {
    match random.below(200) {
        0 => "x".repeat(1_100_000),
        1..4 => "x".repeat(400_000),
        4..100 => "v".repeat(random.below(40)),
        _ => "v".repeat(random.below(3000)),
    }
}
