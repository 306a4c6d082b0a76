//! What the upstream is asked and what it says, in bytes, in one of two dialects of memcached's text protocol.
//!
//! ```text
//! Meta     mg <key> v f t k           VA <bytes> f<flags> t<seconds> k<key>      EN k<key>
//!                                     <data>
//! Classic  get <key>                  VALUE <key> <flags> <bytes>                END
//!                                     <data>
//!                                     END
//! ```
//!
//! An upstream that keeps the key as one that was given in base64 says so with `b`, and names it in base64. A line
//! `SERVER_ERROR ...` is an answer, too: there is no value this time.
//!
//! Answers come in the order of the questions, and a value names its key: a stream that has lost its step is ended, so
//! that no key ever gets another one's value.

use ringcache_engine::limits::{ITEM_BYTES_MAX, KEY_BYTES_MAX};

use crate::limits::{RECEIVE_BUFFER_BYTES, WARM_LINE_BYTES_MAX};
use crate::protocol::base64;
use crate::protocol::line::Tokens;
use crate::protocol::number::{parse_u32, parse_u64};

/// What an upstream understands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// memcached from 1.6 on: answers tell how long a value lives.
    Meta,
    /// Every server.
    Classic,
}

impl Dialect {
    /// Appends the question for a key.
    pub fn ask(self, key: &[u8], out: &mut Vec<u8>) {
        let (before, behind): (&[u8], &[u8]) = match self {
            Dialect::Meta => (b"mg ", b" v f t k\r\n"),
            Dialect::Classic => (b"get ", b"\r\n"),
        };
        out.extend_from_slice(before);
        out.extend_from_slice(key);
        out.extend_from_slice(behind);
    }
}

/// How long a value of the upstream lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// Until it is deleted or evicted.
    Endless,
    /// So many seconds from now on.
    Seconds(u32),
    /// It does not say.
    Unknown,
}

/// An answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer<'a> {
    /// It has none, or one that it takes for outdated itself, or can't say.
    Miss,
    /// A value that is too large to be kept here; it is passed over.
    TooLarge,
    /// A value.
    Value {
        /// The client's 32 bits.
        flags: u32,
        /// How long it lives.
        life: Life,
        /// The value.
        value: &'a [u8],
    },
}

/// What came is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the upstream's answer is {0}")]
pub struct Garbled(pub &'static str);

const ANOTHER_KEY: Garbled = Garbled("about another key");

/// Reads answers from bytes in any pieces. Bytes of one value are kept until it is whole, and no others.
pub struct AnswerReader {
    dialect: Dialect,
    value_bytes_max: u32,
    kept: Vec<u8>,
    /// Bytes at the front of `kept` that are done with.
    done: usize,
    /// Bytes of a value that is passed over.
    skip: usize,
}

/// The line before a value, or in its place.
enum Head {
    Nothing,
    Value { flags: u32, life: Life, bytes: u32, is_stale: bool },
}

impl AnswerReader {
    /// For values of up to so many bytes.
    pub fn new(dialect: Dialect, value_bytes_max: u32) -> Self {
        Self { dialect, value_bytes_max, kept: Vec::new(), done: 0, skip: 0 }
    }

    /// The dialect of its upstream.
    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// Takes what was received.
    pub fn push(&mut self, bytes: &[u8]) {
        let skipped = self.skip.min(bytes.len());
        self.skip -= skipped;
        if self.done == self.kept.len() {
            self.kept.clear();
            self.kept.shrink_to(4 * RECEIVE_BUFFER_BYTES);
            self.done = 0;
        } else if self.done > self.kept.len() / 2 {
            self.kept.drain(..self.done);
            self.done = 0;
        }
        self.kept.extend_from_slice(&bytes[skipped..]);
    }

    /// Nothing has come that was not asked for.
    pub fn is_empty(&self) -> bool {
        self.done == self.kept.len()
    }

    /// The answer to the oldest question, which was for `key`, as soon as it is whole.
    ///
    /// Errors: it is none. Then nobody knows where the next one begins.
    pub fn next(&mut self, key: &[u8]) -> Result<Option<Answer<'_>>, Garbled> {
        let waiting = &self.kept[self.done..];
        let Some(end) = memchr::memchr(b'\n', waiting) else {
            let is_long = waiting.len() > WARM_LINE_BYTES_MAX;
            return if is_long { Err(Garbled("longer than a line may be")) } else { Ok(None) };
        };
        let line = waiting[..end].strip_suffix(b"\r").unwrap_or(&waiting[..end]);
        let head = match self.dialect {
            _ if line.starts_with(b"SERVER_ERROR ") => Ok(Head::Nothing),
            Dialect::Meta => meta_head(line, key),
            Dialect::Classic => classic_head(line, key),
        }?;
        let Head::Value { flags, life, bytes, is_stale } = head else {
            self.done += end + 1;
            return Ok(Some(Answer::Miss));
        };
        if bytes > ITEM_BYTES_MAX {
            return Err(Garbled("larger than any value"));
        }
        let behind: &[u8] = match self.dialect {
            Dialect::Meta => b"\r\n",
            Dialect::Classic => b"\r\nEND\r\n",
        };
        let (from, to) = (end + 1, end + 1 + bytes as usize);
        let whole = to + behind.len();
        if bytes > self.value_bytes_max {
            let here = whole.min(waiting.len());
            self.skip = whole - here;
            self.done += here;
            return Ok(Some(Answer::TooLarge));
        }
        if waiting.len() < whole {
            return Ok(None);
        }
        if &waiting[to..whole] != behind {
            return Err(Garbled("not as long as it says"));
        }
        let at = self.done;
        self.done += whole;
        if is_stale {
            return Ok(Some(Answer::Miss));
        }
        Ok(Some(Answer::Value { flags, life, value: &self.kept[at + from..at + to] }))
    }
}

fn meta_head(line: &[u8], key: &[u8]) -> Result<Head, Garbled> {
    let mut tokens = Tokens::of(line);
    match tokens.next() {
        // Some servers name the key of a miss, too.
        Some(b"EN") if names_key(tokens.rest(), key).unwrap_or(true) => return Ok(Head::Nothing),
        Some(b"EN") => return Err(ANOTHER_KEY),
        Some(b"VA") => {}
        _ => return Err(Garbled("neither VA nor EN")),
    }
    let bytes = tokens.next().and_then(parse_u32).ok_or(Garbled("a VA without a length"))?;
    if names_key(tokens.rest(), key) != Some(true) {
        return Err(ANOTHER_KEY);
    }
    let (mut flags, mut life, mut is_stale) = (None, None, false);
    for token in tokens {
        match token[0] {
            b'f' => flags = parse_u32(&token[1..]),
            b't' => life = parse_life(&token[1..]),
            // Outdated; or somebody is about to replace it, and what there is may be no more than a place.
            b'X' | b'Z' => is_stale = true,
            _ => {}
        }
    }
    let flags = flags.ok_or(Garbled("a VA without client flags"))?;
    let life = life.ok_or(Garbled("a VA without a time to live"))?;
    Ok(Head::Value { flags, is_stale: is_stale || life == Life::Seconds(0), life, bytes })
}

/// Whether the key on the line is `key`; `None`: there is none.
fn names_key(text: &[u8], key: &[u8]) -> Option<bool> {
    let (mut named, mut is_encoded) = (None, false);
    for token in Tokens::of(text) {
        match token[0] {
            b'k' => named = Some(&token[1..]),
            b'b' => is_encoded = true,
            _ => {}
        }
    }
    let named = named?;
    if !is_encoded {
        return Some(named == key);
    }
    let mut room = [0; KEY_BYTES_MAX];
    Some(base64::decode(named, &mut room).is_some_and(|length| &room[..length] == key))
}

fn parse_life(text: &[u8]) -> Option<Life> {
    if text == b"-1" {
        return Some(Life::Endless);
    }
    parse_u64(text).map(|seconds| Life::Seconds(u32::try_from(seconds).unwrap_or(u32::MAX)))
}

fn classic_head(line: &[u8], key: &[u8]) -> Result<Head, Garbled> {
    if line == b"END" {
        return Ok(Head::Nothing);
    }
    let mut tokens = Tokens::of(line);
    if tokens.next() != Some(b"VALUE") {
        return Err(Garbled("neither VALUE nor END"));
    }
    if tokens.next() != Some(key) {
        return Err(ANOTHER_KEY);
    }
    let flags = tokens.next().and_then(parse_u32).ok_or(Garbled("a VALUE without client flags"))?;
    let bytes = tokens.next().and_then(parse_u32).ok_or(Garbled("a VALUE without a length"))?;
    Ok(Head::Value { flags, life: Life::Unknown, bytes, is_stale: false })
}

#[cfg(test)]
mod tests {
    use super::{Answer, AnswerReader, Dialect, Garbled};

    /// All answers to questions for `keys`, whatever the pieces the bytes come in.
    fn read(dialect: Dialect, bytes: &[u8], keys: &[&str]) -> Result<Vec<String>, Garbled> {
        let mut first = None;
        for piece in [usize::MAX, 7, 2, 1] {
            let mut reader = AnswerReader::new(dialect, 10);
            let mut answers = Vec::new();
            let read: Result<(), Garbled> = bytes.chunks(piece.min(bytes.len())).try_for_each(|piece| {
                reader.push(piece);
                while let Some(key) = keys.get(answers.len())
                    && let Some(answer) = reader.next(key.as_bytes())?
                {
                    answers.push(match answer {
                        Answer::Value { flags, life, value } => {
                            format!("{} {flags} {life:?}", String::from_utf8_lossy(value))
                        }
                        other => format!("{other:?}"),
                    });
                }
                Ok(())
            });
            let result = read.map(|()| answers);
            assert_eq!(*first.get_or_insert_with(|| result.clone()), result, "in pieces of {piece}");
        }
        first.expect("some piece was tried")
    }

    #[test]
    fn answers_follow_each_other_in_both_dialects() {
        let meta = b"VA 3 f7 t60 ka\r\nx\r\n\r\nEN\r\nVA 0 kc t-1 f0\r\n\r\nVA 12 f0 t5 kd\r\n0123456789ab\r\nEN ke\r\n";
        let expected = ["x\r\n 7 Seconds(60)", "Miss", " 0 Endless", "TooLarge", "Miss"];
        assert_eq!(read(Dialect::Meta, meta, &["a", "b", "c", "d", "e"]).unwrap(), expected);
        let classic = b"VALUE a 7 3\r\nEND\r\nEND\r\nEND\r\nVALUE c 0 11\r\n0123456789a\r\nEND\r\nVALUE d 1 0 9\r\n\r\nEND\r\n";
        let expected = ["END 7 Unknown", "Miss", "TooLarge", " 1 Unknown"];
        assert_eq!(read(Dialect::Classic, classic, &["a", "b", "c", "d"]).unwrap(), expected);
    }

    #[test]
    fn what_the_upstream_takes_for_outdated_is_a_miss() {
        let stale = b"VA 1 f0 t9 ka W X\r\nx\r\nVA 1 f0 t0 kb\r\ny\r\nVA 0 f0 t9 kc Z\r\n\r\n";
        assert_eq!(read(Dialect::Meta, stale, &["a", "b", "c"]).unwrap(), ["Miss", "Miss", "Miss"]);
    }

    #[test]
    fn a_key_may_come_back_in_base64() {
        let encoded = b"VA 3 f0 t-1 kZm9v b\r\nbar\r\nVA 1 b kZm9v f0 t-1\r\nx\r\nEN kZm9v b\r\n";
        let expected = ["bar 0 Endless", "x 0 Endless", "Miss"];
        assert_eq!(read(Dialect::Meta, encoded, &["foo", "foo", "foo"]).unwrap(), expected);
        for bytes in
            [&b"VA 3 f0 t-1 kZm9v\r\nbar\r\n"[..], b"VA 3 f0 t-1 kYmFy b\r\nbar\r\n", b"EN kfoo b\r\n"]
        {
            assert_eq!(read(Dialect::Meta, bytes, &["foo"]), Err(Garbled("about another key")));
        }
    }

    #[test]
    fn an_upstream_in_trouble_has_nothing_and_goes_on() {
        let trouble = "SERVER_ERROR out of memory writing get response\r\n";
        let meta = format!("{trouble}VA 1 f0 t-1 kb\r\nx\r\n");
        assert_eq!(read(Dialect::Meta, meta.as_bytes(), &["a", "b"]).unwrap(), ["Miss", "x 0 Endless"]);
        let classic = format!("{trouble}VALUE b 0 1\r\nx\r\nEND\r\n");
        assert_eq!(read(Dialect::Classic, classic.as_bytes(), &["a", "b"]).unwrap(), ["Miss", "x 0 Unknown"]);
    }

    #[test]
    fn a_stream_out_of_step_is_no_answer() {
        for (bytes, wrong) in [
            (&b"VA 1 f0 t9 kb\r\nx\r\n"[..], "about another key"),
            (b"VA 1 f0 t9\r\nx\r\n", "about another key"),
            (b"EN kb\r\n", "about another key"),
            (b"VA 1 f0 t9 ka\r\nxyz\r\n", "not as long as it says"),
            (b"VA 4000000000 f0 t9 ka\r\n", "larger than any value"),
            (b"VA -1 f0 t9 ka\r\n", "a VA without a length"),
            (b"VA 1 t9 ka\r\nx\r\n", "a VA without client flags"),
            (b"VA 1 f0 ka\r\nx\r\n", "a VA without a time to live"),
            (b"HTTP/1.1 400 Bad Request\r\n", "neither VA nor EN"),
            (b"\r\n", "neither VA nor EN"),
        ] {
            assert_eq!(read(Dialect::Meta, bytes, &["a"]), Err(Garbled(wrong)));
        }
        assert_eq!(read(Dialect::Meta, &[b'x'; 3000], &["a"]), Err(Garbled("longer than a line may be")));
        let other = read(Dialect::Classic, b"VALUE b 0 1\r\nx\r\nEND\r\n", &["a"]);
        assert_eq!(other, Err(Garbled("about another key")));
    }
}
