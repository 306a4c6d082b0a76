//! Random commands: every classic and meta command that has a comparable reply, with every flag that both servers
//! know, sensible and senseless arguments, odd spacing, quiet and silent forms.
//!
//! What is left out, because memcached's own reply depends on timing or on a version:
//! - `flush_all` with a delay: while one is pending memcached shows again what an earlier one had hidden.
//! - Arithmetic on a key whose value was fetched in the same batch or the one before: memcached pads a shrinking number
//!   in place only when no reply of any connection still points to the value.
//! - Arithmetic on stored numbers from 2^63 on: memcached 1.6.18 looks for a minus sign behind the end of the item.
//! - Long values that begin with a number and white space: memcached counts with them, and overwrites the rest.
//! - `ma` with `T`: memcached sets the expiry on the old item when the number has grown into a new one.
//! - A `get` that fails for a long key behind other commands: memcached drops the unsent replies before it with it,
//!   so such a command opens a batch. The keys before the long one are absent, because memcached touches them.
//! - A base64 key without `b`, vivified with it, or asked back by `mg`: memcached notes in the item how the key was
//!   written, and forgets it with an append.
//! - Times to live of a few seconds, and flags that appeared after the Debian 12 version.

use crate::exceptions::Exception;
use crate::random::Random;

/// Stands in a command for the CAS unique last seen of the key whose number follows as one byte.
pub const CAS_MARK: u8 = 1;
/// Number of different plain keys.
pub const KEYS: usize = 24;
/// A key that is never stored.
const ABSENT: &str = "absent";
/// A key whose value is never fetched.
const UNFETCHED: &str = "unfetched";
/// Batches for which a key stays a counter, or none.
const BATCHES_PER_ROLE: usize = 5;
const BASE64_KEYS: [&str; 4] = ["AP8KDQ==", "aGVsbG8gd29ybGQ=", "Zm9v", "/////w=="];
const VALUE_LETTERS: &[u8] = b"abcdefghijklmnopqrstuvwxyz0123456789 \r\n.-\xfe\x00";

/// One command with its data block, and what may differ in its reply.
#[derive(Clone, Debug)]
pub struct Command {
    /// The bytes to send; [`CAS_MARK`] is replaced for each server.
    pub bytes: Vec<u8>,
    /// `None`: both replies are the same.
    pub exception: Option<Exception>,
    /// Number of the batch it is sent with.
    pub batch: usize,
}

/// Makes batches of commands.
pub struct Commands {
    random: Random,
    batches: usize,
    peer: Peer,
}

/// What is known of the memcached that answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// 1.6.39 and earlier.
    Older,
    /// 1.6.40 and later: it parses lines anew, and deviates from here where the older ones do not.
    Newer,
}

impl Peer {
    /// By the answer to `version`.
    pub fn of_version(version: &str) -> Peer {
        let minor = version.strip_prefix("VERSION 1.6.").and_then(|minor| minor.parse::<u32>().ok());
        if minor.is_some_and(|minor| minor < 40) { Peer::Older } else { Peer::Newer }
    }
}

/// Name of a plain key.
pub fn key_name(number: usize) -> String {
    match number {
        0 => "k".repeat(250),
        1 => "\u{e9}t\u{e9}".to_owned(),
        _ => format!("key{number}"),
    }
}

impl Commands {
    /// The commands of `seed`.
    pub fn from_seed(seed: u64, peer: Peer) -> Commands {
        Commands { random: Random::from_seed(seed), batches: 0, peer }
    }

    /// The next batch: up to 200 commands that are sent without waiting.
    pub fn batch(&mut self) -> Vec<Command> {
        let count = 1 + self.random.below(200);
        let mut batch = Vec::with_capacity(count + 1);
        if self.random.once_in(20) {
            batch.push(self.failing_get());
        }
        batch.extend((0..count).map(|_| self.command()));
        self.batches += 1;
        batch.iter_mut().for_each(|command| command.batch = self.batches);
        batch
    }

    fn command(&mut self) -> Command {
        match self.random.below(100) {
            0..14 => self.classic_store(),
            14..28 => self.classic_fetch(),
            28..36 => self.classic_arithmetic(),
            36..41 => self.classic_delete(),
            41..45 => self.classic_touch(),
            45..60 => self.meta_get(),
            60..75 => self.meta_set(),
            75..81 => self.meta_delete(),
            81..88 => self.meta_arithmetic(),
            88..90 => self.meta_show(),
            90..97 => self.bad_input(),
            97..99 => self.known_difference(),
            _ => self.rare(),
        }
    }

    fn classic_store(&mut self) -> Command {
        let key = self.key();
        let verb = *self.random.pick(&["set", "set", "set", "add", "replace", "append", "prepend", "cas"]);
        let value = if verb.ends_with("pend") { self.part() } else { self.value() };
        let flags = *self.random.pick(&["0", "0", "1", "4294967295", "77", "4294967296", "+3"]);
        let exptime = self.exptime();
        let noreply = if self.random.once_in(8) { " noreply" } else { "" };
        let mut bytes = format!("{verb} {key} {flags} {exptime} {}", value.len()).into_bytes();
        if verb == "cas" {
            bytes.push(b' ');
            bytes.extend(self.cas(&key));
        }
        bytes.extend(noreply.bytes());
        self.spaced(bytes, &value)
    }

    fn classic_fetch(&mut self) -> Command {
        let verb = *self.random.pick(&["get", "get", "get", "gets", "gets", "gat", "gats"]);
        let mut line = verb.to_owned();
        if verb.starts_with("gat") {
            line += &format!(" {}", self.exptime());
        }
        for _ in 0..1 + self.random.below(5) {
            line += &format!(" {}", self.key_to_fetch());
        }
        self.plain(line)
    }

    fn classic_arithmetic(&mut self) -> Command {
        let verb = *self.random.pick(&["incr", "decr"]);
        let deltas = ["1", "1", "9", "10", "0", "100", "99999", "18446744073709551616", "-1", "x"];
        let delta = *self.random.pick(&deltas);
        let noreply = if self.random.once_in(8) { " noreply" } else { "" };
        let key = self.key_to_change();
        self.plain(format!("{verb} {key} {delta}{noreply}"))
    }

    fn classic_delete(&mut self) -> Command {
        let key = self.key();
        let end = *self.random.pick(&["", "", "", " 0", " 10", " noreply", " 0 noreply"]);
        // A newer one deletes whatever follows the key.
        let end = if self.peer == Peer::Newer && end == " 10" { " 0" } else { end };
        self.plain(format!("delete {key}{end}"))
    }

    fn classic_touch(&mut self) -> Command {
        let (key, exptime) = (self.key_to_fetch(), self.exptime());
        let noreply = if self.random.once_in(8) { " noreply" } else { "" };
        self.plain(format!("touch {key} {exptime}{noreply}"))
    }

    fn meta_get(&mut self) -> Command {
        let is_base64 = self.random.once_in(10);
        let key = if is_base64 { self.base64_key() } else { self.key_to_fetch() };
        let mut flags = self.some_of(&["v", "s", "t", "c", "f", "k", "h", "l", "u", "q", "Oabc", "P1", "Lx"]);
        if self.random.once_in(4) {
            flags.push(self.token('T'));
        }
        if self.random.once_in(5) && !is_base64 {
            flags.push(self.token('N'));
        }
        if self.random.once_in(4) {
            flags.push((*self.random.pick(&["R30", "R10000", "R100000"])).to_owned());
        }
        if is_base64 {
            flags.retain(|flag| flag != "k");
            flags.push("b".to_owned());
        }
        self.shuffle(&mut flags);
        self.plain(format!("mg {key} {}", flags.join(" ")))
    }

    fn meta_set(&mut self) -> Command {
        let is_base64 = self.random.once_in(10);
        let key = if is_base64 { self.base64_key() } else { self.key() };
        let mode = *self.random.pick(&["", "", "MS", "ME", "MA", "MP", "MR", "MX"]);
        let value = if ["MA", "MP"].contains(&mode) { self.part() } else { self.value() };
        let mut flags = self.some_of(&["c", "k", "Oxyz", "q", "I", "F5", "F4294967295"]);
        if self.random.once_in(3) {
            flags.push(self.token('T'));
        }
        if !mode.is_empty() {
            flags.push(mode.to_owned());
        }
        if is_base64 {
            flags.push("b".to_owned());
        }
        // Two F would be a duplicate flag, which is worth a try but not so often.
        if flags.iter().filter(|flag| flag.starts_with('F')).count() > 1 && !self.random.once_in(10) {
            flags.retain(|flag| flag != "F5");
        }
        self.shuffle(&mut flags);
        let mut bytes = format!("ms {key} {} {}", value.len(), flags.join(" ")).into_bytes();
        if self.random.once_in(4) {
            bytes.extend(b" C");
            bytes.extend(self.cas(&key));
        }
        self.spaced(bytes, &value)
    }

    fn meta_delete(&mut self) -> Command {
        let is_base64 = self.random.once_in(10);
        let key = if is_base64 { self.base64_key() } else { self.key() };
        let mut flags = self.some_of(&["k", "Oq", "q", "I"]);
        if self.random.once_in(4) {
            flags.push(self.token('T'));
        }
        if is_base64 {
            flags.push("b".to_owned());
        }
        let mut bytes = format!("md {key} {}", flags.join(" ")).into_bytes();
        if self.random.once_in(4) {
            bytes.extend(b" C");
            bytes.extend(self.cas(&key));
        }
        bytes.extend(b"\r\n");
        Command { bytes, exception: None, batch: 0 }
    }

    fn meta_arithmetic(&mut self) -> Command {
        let key = self.key_to_change();
        let mut flags = self.some_of(&["v", "t", "c", "k", "Oabc"]);
        if self.random.once_in(3) {
            flags.push((*self.random.pick(&["MI", "MD", "M+", "M-", "MX"])).to_owned());
        }
        if self.random.once_in(2) {
            flags.push((*self.random.pick(&["D1", "D10", "D0", "D18446744073709551616", "Dx"])).to_owned());
        }
        if self.random.once_in(3) {
            flags.push(self.token('N'));
            flags.push((*self.random.pick(&["J0", "J13", "J4611686018427"])).to_owned());
        } else if self.random.once_in(4) {
            // Together with N they fall under the exception about creating quietly.
            flags.push("q".to_owned());
        }
        self.shuffle(&mut flags);
        let mut bytes = format!("ma {key} {}", flags.join(" ")).into_bytes();
        if self.random.once_in(5) {
            bytes.extend(b" C");
            bytes.extend(self.cas(&key));
        }
        bytes.extend(b"\r\n");
        Command { bytes, exception: None, batch: 0 }
    }

    fn meta_show(&mut self) -> Command {
        let key = self.key();
        self.plain(format!("me {key}"))
    }

    /// Input that is wrong in a way that both versions answer alike.
    fn bad_input(&mut self) -> Command {
        let key = self.key();
        let long = "l".repeat(251 + self.random.below(20));
        let line = match self.random.below(22) {
            0 => "nonsense".to_owned(),
            1 => format!("GET {key}"),
            2 => format!("get\t{key}"),
            3 => format!("set {key} 0 0 -{}", 1 + self.random.below(9)),
            4 => format!("set {key} 0 0 x{}", self.random.below(9)),
            5 => format!("touch {key} soon"),
            6 => format!("gat soon {key}"),
            7 => format!("incr {long} 1"),
            8 => format!("delete {long}"),
            9 => format!("mg {long} v"),
            10 => format!("mg {key} v v"),
            11 => format!("mg {key} 5"),
            12 => format!("mg {ABSENT} O{}", "o".repeat(32 + self.random.below(9))),
            13 => format!("mg {key} Tsoon"),
            14 => format!("mg {key} a b c d e f g h i j k l m n o p q r s t u v"),
            15 => "mg @@ b".to_owned(),
            16 => format!("ms {key} {}", *self.random.pick(&["x", "-1", "99999999999999999999", ""])),
            17 => format!("touch {long} 0"),
            18 => "verbosity x".to_owned(),
            19 => format!("stats {}", *self.random.pick(&["noreply", "nonsense"])),
            20 => "flush_all soon".to_owned(),
            _ => return self.bad_data(&key),
        };
        self.plain(line)
    }

    /// A data block that is longer or shorter than the line said, or flags that are refused.
    fn bad_data(&mut self, key: &str) -> Command {
        let bytes = match self.random.below(8) {
            0 => format!("set {key} 0 0 3\r\nabcdefghijkl\r\n"),
            1 => format!("set {key} 0 0 10\r\nabc\r\nxxxxxxxxxx\r\n"),
            2 => format!("ms {key} 3\r\nabcdefghijkl\r\n"),
            3 => format!("ms {key} 3 q\r\nabcdefghijkl\r\n"),
            4 => format!("add {key} 0 0 4 noreply\r\nabcdefghijkl\r\n"),
            5 => format!("ms {key} 3 Fx\r\nabc\r\n"),
            6 => format!("ms {key} 3 Cx\r\nabc\r\n"),
            _ => format!("ms {key} 3 S3\r\nabc\r\n"),
        };
        Command { bytes: bytes.into_bytes(), exception: None, batch: 0 }
    }

    /// Input whose reply changed on purpose after the Debian 12 version: the difference itself is checked.
    fn known_difference(&mut self) -> Command {
        let key = self.key();
        let long = "l".repeat(251);
        let (text, exception) = match self.random.below(17) {
            0 => ("get".to_owned(), Exception::Arguments),
            1 => (format!("set {key}"), Exception::Arguments),
            2 => (format!("set {key} 0 0"), Exception::Arguments),
            3 => (format!("incr {key}"), Exception::Arguments),
            4 => (format!("touch {key}"), Exception::Arguments),
            5 => ("delete".to_owned(), Exception::Arguments),
            6 => ("mg".to_owned(), Exception::Arguments),
            7 => (String::new(), Exception::Arguments),
            8 => (format!("set {key} x 0 9\r\nsome data"), Exception::Swallowed),
            9 => (format!("set {key} 0 x 9\r\nsome data"), Exception::Swallowed),
            10 => (format!("add {key} -1 0 9\r\nsome data"), Exception::Swallowed),
            11 => (format!("set {long} 0 0 9\r\nsome data"), Exception::Swallowed),
            12 => (format!("cas {key} 0 0 9 x\r\nsome data"), Exception::Swallowed),
            13 => (format!("md {key} q q"), Exception::DeleteFlags),
            14 => (format!("md {key} 5"), Exception::DeleteFlags),
            15 => (format!("ms {ABSENT} 3 MRR\r\nabc"), Exception::ModeLength),
            _ => ("version".to_owned(), Exception::Version),
        };
        Command { bytes: format!("{text}\r\n").into_bytes(), exception: Some(exception), batch: 0 }
    }

    fn rare(&mut self) -> Command {
        let key = self.key();
        match self.random.below(9) {
            0 => self.plain("flush_all".to_owned()),
            1 => self.plain("flush_all 0 noreply".to_owned()),
            2 => self.plain("verbosity 0".to_owned()),
            3 => self.plain("stats reset".to_owned()),
            4 => self.around_the_largest(),
            5 => {
                let others = " missing".repeat(self.random.below(300));
                self.plain(format!("set {key} 0 0 0\r\n\r\nget nothing{others}"))
            }
            6 => Command {
                bytes: format!("ma silent{} N0 q\r\n", self.random.bits()).into_bytes(),
                exception: Some(Exception::QuietCreate),
                batch: 0,
            },
            7 => self.plain("verbosity noreply".to_owned()),
            _ => self.plain("cache_memlimit 4".to_owned()),
        }
    }

    /// A value at the limit of `-I`, one byte on either side.
    fn around_the_largest(&mut self) -> Command {
        let flags = *self.random.pick(&[0, 7]);
        let fits = 1_048_517 - "large".len() - if flags == 0 { 0 } else { 4 };
        let bytes = fits - 1 + self.random.below(3);
        let value = vec![b'x'; bytes];
        let verb = *self.random.pick(&["set", "add", "replace", "append"]);
        let mut command = format!("{verb} large {flags} 0 {bytes}\r\n").into_bytes();
        command.extend(&value);
        command.extend(b"\r\n");
        Command { bytes: command, exception: None, batch: 0 }
    }

    fn failing_get(&mut self) -> Command {
        let long = "l".repeat(251);
        let line = match self.random.below(3) {
            0 => format!("get {long}"),
            1 => format!("gets {ABSENT} {long}"),
            _ => format!("gat 0 {ABSENT} {long}"),
        };
        let exception = Some(Exception::EmptyLine);
        Command { exception, ..self.plain(line) }
    }

    fn plain(&mut self, line: String) -> Command {
        let mut bytes = line.into_bytes();
        if self.random.once_in(20) {
            bytes = doubled_spaces(&bytes);
        }
        let end: &[u8] = if self.random.once_in(20) { b"\n" } else { b"\r\n" };
        bytes.extend(end);
        Command { bytes, exception: None, batch: 0 }
    }

    fn spaced(&mut self, line: Vec<u8>, value: &[u8]) -> Command {
        let mut bytes = if self.random.once_in(20) { doubled_spaces(&line) } else { line };
        bytes.extend(b"\r\n");
        bytes.extend(value);
        bytes.extend(b"\r\n");
        Command { bytes, exception: None, batch: 0 }
    }

    fn key(&mut self) -> String {
        key_name(self.random.below(KEYS))
    }

    fn key_to_fetch(&mut self) -> String {
        loop {
            let number = self.random.below(KEYS);
            if !self.is_counter(number) {
                return key_name(number);
            }
        }
    }

    fn key_to_change(&mut self) -> String {
        if self.batches.is_multiple_of(BATCHES_PER_ROLE) {
            // Replies to the batch before may still point to what were no counters there.
            return UNFETCHED.to_owned();
        }
        loop {
            let number = self.random.below(KEYS);
            if self.is_counter(number) {
                return key_name(number);
            }
        }
    }

    /// For some batches in turn each key is one that arithmetic changes and no command fetches.
    fn is_counter(&self, number: usize) -> bool {
        (number + self.batches / BATCHES_PER_ROLE).is_multiple_of(3)
    }

    fn base64_key(&mut self) -> String {
        (*self.random.pick(&BASE64_KEYS)).to_owned()
    }

    fn exptime(&mut self) -> &'static str {
        let times = ["0", "0", "0", "0", "20000", "200000", "2592000", "2000000000", "-1", "2592001"];
        times[self.random.below(times.len())]
    }

    fn token(&mut self, letter: char) -> String {
        let ttl = *self.random.pick(&["0", "0", "20000", "200000", "-1", "2000000000"]);
        format!("{letter}{ttl}")
    }

    /// The CAS unique last seen of this key, or one that nobody has.
    fn cas(&mut self, key: &str) -> Vec<u8> {
        let number = (0..KEYS).find(|number| key_name(*number) == key);
        match (self.random.below(6), number) {
            (0, _) => b"0".to_vec(),
            (1, _) | (_, None) => b"18446744073709551615".to_vec(),
            (_, Some(number)) => vec![CAS_MARK, b'A' + number as u8],
        }
    }

    /// What is joined to a value: seldom digits, so that no number grows past 2^63.
    fn part(&mut self) -> Vec<u8> {
        if self.random.once_in(4) { self.value() } else { b"part".to_vec() }
    }

    fn value(&mut self) -> Vec<u8> {
        let numbers = ["0", "1", "9", "10", "99", "100", "4611686018427", "18446744073709551616", "12 ", ""];
        if self.random.once_in(2) {
            return self.random.pick(&numbers).as_bytes().to_vec();
        }
        let bytes_max = match self.random.below(100) {
            0..70 => 50,
            70..92 => 2_000,
            92..99 => 20_000,
            _ => 100_000,
        };
        let bytes = self.random.below(bytes_max);
        let first = (bytes > 0).then_some(b'v');
        first.into_iter().chain((1..bytes).map(|_| *self.random.pick(VALUE_LETTERS))).collect()
    }

    fn some_of(&mut self, flags: &[&str]) -> Vec<String> {
        flags.iter().filter(|_| self.random.once_in(4)).map(|flag| (*flag).to_owned()).collect()
    }

    fn shuffle(&mut self, flags: &mut [String]) {
        for last in (1..flags.len()).rev() {
            flags.swap(last, self.random.below(last + 1));
        }
    }
}

fn doubled_spaces(line: &[u8]) -> Vec<u8> {
    line.iter().flat_map(|byte| if *byte == b' ' { vec![b' ', b' '] } else { vec![*byte] }).collect()
}
