//! Malformed requests: lines and frames made from good ones by small changes, and memcached 1.6.45's answer to each.
//!
//! The answers are in `malformed.transcript`, two lines for each request, recorded with
//!
//! ```text
//! PATH=<directory of memcached 1.6.45>:$PATH RINGCACHE_RECORD=1 cargo test -p ringcache-net --test e2e -- malformed
//! ```
//!
//! Where a memcached of that text is installed, it is asked again. What differs on purpose has a name here, and its
//! reason in `docs/protocol.md`.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use crate::frames::{Frame, code};
use crate::server::{Connection, Server};
use crate::transcript::is_before_1_6_40;

/// Of the changed lines one in so many is asked, of the frames one in so many.
const LINES_ONE_IN: usize = 3;
const FRAMES_ONE_IN: usize = 2;
/// What every request finds.
const BEFORE: &str =
    "flush_all\r\nset k 5 0 2\r\n10\r\ncache_memlimit 64\r\nlru_crawler enable\r\nstats detail off\r\n";
/// Lines and their data blocks. None has an answer that holds a CAS unique or the time.
const LINES: &[(&str, &str)] = &[
    ("get k", ""),
    ("get none k", ""),
    ("gets none", ""),
    ("gat 0 k", ""),
    ("set k 0 0 2", "10\r\n"),
    ("set k 1 0 2 noreply", "10\r\n"),
    ("add k 0 0 2", "10\r\n"),
    ("append k 0 0 1", "1\r\n"),
    ("cas k 0 0 2 1", "10\r\n"),
    ("delete k", ""),
    ("delete k noreply", ""),
    ("incr k 1", ""),
    ("decr k 1 noreply", ""),
    ("touch k 0", ""),
    ("flush_all 0", ""),
    ("flush_all noreply", ""),
    ("verbosity 0", ""),
    ("stats detail on", ""),
    ("stats cachedump 63 0", ""),
    ("cache_memlimit 64", ""),
    ("shutdown", ""),
    ("slabs automove 1", ""),
    ("slabs automove ratio 0.5", ""),
    ("lru tune 10 25 0.1 2.0", ""),
    ("lru mode segmented", ""),
    ("lru temp_ttl 10", ""),
    ("lru_crawler tocrawl 0", ""),
    ("lru_crawler sleep 100", ""),
    ("mn", ""),
    ("me none", ""),
    ("mg k s v t f k q O1", ""),
    ("mg k T0 v", ""),
    ("mg none N0 v", ""),
    ("mg azE= b k v", ""),
    ("ms k 2 T0 F1 k O1 s", "10\r\n"),
    ("ms k 2 MA", "10\r\n"),
    ("ms azE= 2 b C1", "10\r\n"),
    ("md k I T0", ""),
    ("md k q O1 k", ""),
    ("ma k D1 v t N0 J1 MI", ""),
    ("ma none N0 J5 v", ""),
];
/// What a word is replaced by.
const WORDS: [&str; 12] = [
    "-1",
    "x",
    "99999999999999999999",
    "4294967296",
    "+5",
    "1.5",
    "noreply",
    "\t",
    "2147483648",
    "-2147483649",
    "",
    "5x",
];
/// What is put behind a line.
const TAILS: [&str; 8] = [
    " x",
    " 0",
    " noreply",
    " noreply x",
    " !",
    " v v",
    " Ooooooooooooooooooooooooooooooooooo",
    " k k k k k k k k k k k k k k k k k k k k k",
];

/// Why an answer of ours is another one; `docs/protocol.md` has the reasons.
fn deviation(request: &[u8]) -> Option<&'static str> {
    let text = String::from_utf8_lossy(request);
    let line = text.split(['\r', '\n']).next().unwrap_or_default();
    let words: Vec<&str> = line.split(' ').filter(|word| !word.is_empty()).collect();
    let starts = |verb: &str| words.first() == Some(&verb);
    let is_get = ["get", "gets", "gat", "gats"].into_iter().any(starts);
    let has_long_word = words.iter().any(|word| word.len() > 250);
    match () {
        () if line.starts_with(' ') => Some("spaces before a command"),
        () if starts("delete") && words.len() > 2 => Some("delete with more words"),
        () if is_get && has_long_word => Some("an empty line behind the error of a get"),
        () if ["lru", "slabs", "lru_crawler", "stats"].into_iter().any(starts) => {
            let begins =
                |word: &str| SUBCOMMANDS.iter().any(|whole| *whole != word && whole.starts_with(word));
            words.get(1).is_some_and(|word| begins(word)).then_some("a beginning of a sub-command")
        }
        () => None,
    }
}

const SUBCOMMANDS: [&str; 9] =
    ["automove", "cachedump", "detail", "mode", "reassign", "sleep", "temp_ttl", "tocrawl", "tune"];

#[test]
fn malformed_requests_are_answered_as_memcached_does() {
    let requests = requests();
    if std::env::var_os("RINGCACHE_RECORD").is_some() {
        record(&requests);
    }
    let recorded = recorded();
    assert_eq!(recorded.len(), requests.len(), "record again: the requests have changed");
    for workers in ["1", "4"] {
        let server = Server::ringcached(&["-t", workers]);
        compare(&server, &requests, &recorded, true);
    }
    let Some(peer) = Server::memcached(&[]) else { return };
    if is_before_1_6_40(&peer.connect().ask("version")) {
        return eprintln!("skipped: the memcached here has the texts of before 1.6.40");
    }
    compare(&peer, &requests, &recorded, false);
}

fn compare(server: &Server, requests: &[Vec<u8>], recorded: &[Vec<u8>], deviates: bool) {
    let mut wrong = String::new();
    for (request, expected) in requests.iter().zip(recorded) {
        let got = ask(server, request);
        if got != *expected && !(deviates && deviation(request).is_some()) {
            let (request, expected, got) =
                (request.escape_ascii(), expected.escape_ascii(), got.escape_ascii());
            writeln!(wrong, "{request:.120}\n  memcached 1.6.45 {expected}\n  here             {got}")
                .expect("a String");
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// Sends a request on a connection of its own, ends it, and receives all there is; CAS uniques blotted out.
fn ask(server: &Server, request: &[u8]) -> Vec<u8> {
    let exchange = |bytes: &[u8]| {
        let mut connection: Connection = server.connect();
        connection.send(bytes);
        connection.end_sending();
        connection.receive_to_end()
    };
    exchange(BEFORE.as_bytes());
    let mut answer = exchange(request);
    let mut at = 0;
    while answer.get(at) == Some(&0x81) && answer.len() >= at + 24 {
        let body = u32::from_be_bytes(answer[at + 8..at + 12].try_into().expect("four bytes"));
        answer[at + 16..at + 24].fill(0);
        at += 24 + body as usize;
    }
    answer
}

fn requests() -> Vec<Vec<u8>> {
    let lines: Vec<Vec<u8>> = LINES.iter().flat_map(|(line, data)| changed_lines(line, data)).collect();
    let frames = frames();
    let every = |requests: Vec<Vec<u8>>, nth: usize| {
        let mut seen = std::collections::HashSet::new();
        requests.into_iter().filter(move |one| seen.insert(one.clone())).step_by(nth)
    };
    every(lines, LINES_ONE_IN).chain(every(frames, FRAMES_ONE_IN)).collect()
}

/// One line with each word left out, doubled and replaced, odd spacing, other names and ends, and other data.
fn changed_lines(line: &str, data: &str) -> Vec<Vec<u8>> {
    let words: Vec<&str> = line.split(' ').collect();
    let long = "k".repeat(251);
    let mut lines = vec![
        line.to_owned(),
        format!(" {line}"),
        format!("{line} "),
        line.replace(' ', "  "),
        line.replace(' ', "\t"),
        line.to_uppercase(),
        line.replacen(' ', "x ", 1),
        line[1..].to_owned(),
    ];
    for at in 0..words.len() {
        let with = |middle: &[&str]| [&words[..at], middle, &words[at + 1..]].concat().join(" ");
        lines.push(with(&[]));
        if at > 0 {
            lines.push(words[..at].join(" "));
            lines.push(with(&[words[at], words[at]]));
            lines.extend(WORDS.iter().chain([&&long[..]]).map(|word| with(&[word])));
            let letter = &words[at][..1];
            lines.extend(["", "x", "-1", "+1", "0"].iter().map(|rest| with(&[&format!("{letter}{rest}")])));
        }
    }
    lines.extend(TAILS.iter().map(|tail| format!("{line}{tail}")));
    let mut requests: Vec<Vec<u8>> =
        lines.iter().map(|line| format!("{line}\r\n{data}").into_bytes()).collect();
    requests.push(format!("{line}\n{data}").into_bytes());
    if let Some(value) = data.strip_suffix("\r\n") {
        let wrong =
            [format!("{value}\n"), format!("1{data}"), data[1..].to_owned(), format!("{value}xx\r\n")];
        requests.extend(wrong.iter().map(|data| format!("{line}\r\n{data}").into_bytes()));
    }
    requests
}

/// Frames of every command with parts of other lengths, a `noop` behind each.
fn frames() -> Vec<Vec<u8>> {
    let mut requests = Vec::new();
    // What a command that does not exist swallows, and frames behind a wrong one, differ: `docs/protocol.md`.
    let known = (0..=code::PREPENDQ).chain([
        code::TOUCH,
        code::GAT,
        code::GATQ,
        code::SASL_LIST,
        code::GATK,
        code::GATKQ,
    ]);
    for opcode in known.filter(|opcode| *opcode != code::STAT) {
        let whole = whole_frame(opcode);
        let Frame { extras, key, value, .. } = whole.clone();
        let variants = [
            whole.clone(),
            whole.clone().cas(1),
            whole.clone().key(""),
            whole.clone().key("none"),
            whole.clone().key("k".repeat(250)),
            whole.clone().key("k".repeat(251)),
            whole.clone().extras(""),
            whole.clone().extras([&extras[..], b"\0"].concat()),
            whole.clone().extras(&extras[..extras.len().saturating_sub(1)]),
            Frame::request(opcode).key(&key),
            Frame::request(opcode).value(if value.is_empty() { vec![] } else { b"v".to_vec() }),
        ];
        requests.extend(variants.iter().map(Frame::bytes));
        for (place, number) in [(3, 1), (3, 255), (4, 1), (4, 255), (8, 0x40), (8, 0x7f), (11, 0), (5, 1)] {
            let mut bytes = whole.bytes();
            bytes[place] = number;
            requests.push(bytes);
        }
    }
    let noop = Frame::request(code::NOOP).bytes();
    requests.into_iter().map(|request| [request, noop.clone()].concat()).collect()
}

fn whole_frame(opcode: u8) -> Frame {
    match opcode {
        code::SET..=code::REPLACE | code::SETQ..=code::REPLACEQ => Frame::store(opcode, "k", 5, 0, "10"),
        code::INCREMENT | code::DECREMENT | code::INCREMENTQ | code::DECREMENTQ => {
            Frame::count(opcode, "k", 1, 5, 0)
        }
        code::APPEND | code::PREPEND | code::APPENDQ | code::PREPENDQ => {
            Frame::request(opcode).key("k").value("1")
        }
        code::TOUCH | code::GAT | code::GATQ | code::GATK | code::GATKQ => {
            Frame::request(opcode).extras([0; 4]).key("k")
        }
        code::QUIT
        | code::QUITQ
        | code::NOOP
        | code::VERSION
        | code::FLUSH
        | code::FLUSHQ
        | code::SASL_LIST => Frame::request(opcode),
        _ => Frame::request(opcode).key("k"),
    }
}

fn transcript() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/e2e/malformed.transcript")
}

/// Asks the memcached that is installed, and writes what it answers.
fn record(requests: &[Vec<u8>]) {
    let server = Server::memcached(&[]).expect("a memcached to record from");
    let version = server.connect().ask("version");
    assert!(version.ends_with("1.6.45"), "{version} is not the reference");
    let mut text = String::new();
    for request in requests {
        let answer = ask(&server, request);
        writeln!(text, "> {}\n< {}", request.escape_ascii(), answer.escape_ascii()).expect("a String");
    }
    fs::write(transcript(), text).expect("the source tree is writable");
}

/// The answers, in the order of the requests.
fn recorded() -> Vec<Vec<u8>> {
    let text = fs::read_to_string(transcript()).expect("the transcript belongs to the sources");
    text.lines().filter_map(|line| line.strip_prefix("< ")).map(unescape).collect()
}

/// The bytes of which `escape_ascii` made `text`.
fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        let (byte, taken) = match (byte, after) {
            (b'\\', [b'x', digits @ ..]) => {
                let digits = std::str::from_utf8(&digits[..2]).expect("two digits");
                (u8::from_str_radix(digits, 16).expect("two digits"), 3)
            }
            (b'\\', [b'r', ..]) => (b'\r', 1),
            (b'\\', [b'n', ..]) => (b'\n', 1),
            (b'\\', [b't', ..]) => (b'\t', 1),
            (b'\\', [other, ..]) => (*other, 1),
            _ => (*byte, 0),
        };
        bytes.push(byte);
        rest = &after[taken..];
    }
    bytes
}
