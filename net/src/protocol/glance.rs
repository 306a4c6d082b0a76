//! What stands in input, seen at a glance: good for a hint to the processor, never for an answer.
//!
//! Whatever does not look like the plain form of a common command is not seen.

use ringcache_engine::limits::KEY_BYTES_MAX;

use crate::protocol::binary::header::{HEADER_BYTES, Header, REQUEST};
use crate::protocol::scan;

/// A command that has one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Glance<'i> {
    /// Its key.
    pub key: &'i [u8],
    /// Its length, data block included: the next command begins behind it.
    pub bytes: usize,
}

/// The first key that `input` asks for.
#[inline]
pub fn first_key(input: &[u8]) -> Option<&[u8]> {
    let line = &input[..input.len().min(VERB_BYTES_MAX + KEY_BYTES_MAX)];
    if line.first() == Some(&REQUEST) {
        return framed(input).map(|glance| glance.key);
    }
    let verb = scan::find(b' ', line)?;
    let rest = &line[verb + 1..];
    let args = &rest[..scan::find(b'\r', rest).unwrap_or(rest.len())];
    Some(scan::find(b' ', args).map_or(args, |end| &args[..end]))
}

/// The write that `input` begins with.
#[inline]
pub fn write(input: &[u8]) -> Option<Glance<'_>> {
    if input.first() == Some(&REQUEST) {
        return framed(input);
    }
    let end = scan::find(b'\n', input)?;
    let line = input[..end].strip_suffix(b"\r").unwrap_or(&input[..end]);
    let verb = scan::find(b' ', line)?;
    let args = &line[verb + 1..];
    let (key, tail) = args.split_at(scan::find(b' ', args).unwrap_or(args.len()));
    let data = match &line[..verb] {
        b"set" | b"add" | b"replace" | b"append" | b"prepend" => last_number(tail)?,
        b"cas" => last_number(&tail[..tail.iter().rposition(|&byte| byte == b' ')?])?,
        b"ms" => first_number(tail)?,
        b"delete" | b"incr" | b"decr" | b"touch" | b"md" | b"ma" => {
            return Some(Glance { key, bytes: end + 1 });
        }
        _ => return None,
    };
    (key.len() <= KEY_BYTES_MAX).then_some(Glance { key, bytes: end + 1 + data + LINE_END_BYTES })
}

/// The number that `text` ends with, whether or not the client waits for an answer.
#[inline]
fn last_number(text: &[u8]) -> Option<usize> {
    let text = text.strip_suffix(b" noreply").unwrap_or(text);
    let digits = text.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    number(&text[text.len() - digits..])
}

/// The number behind the space that `text` begins with.
#[inline]
fn first_number(text: &[u8]) -> Option<usize> {
    let text = text.get(1..)?;
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    number(&text[..digits])
}

#[inline]
fn number(digits: &[u8]) -> Option<usize> {
    let is_plain = (1..=DIGITS_MAX).contains(&digits.len());
    is_plain.then(|| digits.iter().fold(0, |number, digit| number * 10 + usize::from(digit - b'0')))
}

/// A frame of the binary protocol.
#[inline]
fn framed(input: &[u8]) -> Option<Glance<'_>> {
    let header = Header::read(input)?;
    let key_at = HEADER_BYTES + header.extras_bytes;
    let key = input.get(key_at..key_at + header.key_bytes)?;
    let is_key = (1..=KEY_BYTES_MAX).contains(&key.len());
    is_key.then_some(Glance { key, bytes: HEADER_BYTES + header.body_bytes })
}

/// Longest verb with its space: `replace `, `prepend `.
const VERB_BYTES_MAX: usize = 8;
/// Of the length of a data block.
const DIGITS_MAX: usize = 9;
/// A data block's end.
const LINE_END_BYTES: usize = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_writes_are_seen_with_their_length() {
        let seen = |input: &'static str| write(input.as_bytes()).map(|glance| (glance.key, glance.bytes));
        assert_eq!(seen("set k 0 0 3\r\nabc\r\nset "), Some((&b"k"[..], 18)));
        assert_eq!(seen("cas key 0 0 3 77\nabc\r\n"), Some((&b"key"[..], 22)));
        assert_eq!(seen("ms key 2 T9\r\nab\r\n"), Some((&b"key"[..], 17)));
        assert_eq!(seen("incr n 5\r\n"), Some((&b"n"[..], 10)));
        for unseen in
            ["", "set k 0 0 3", "set k\r\n", "set k 0 0 x\r\n", "get k\r\n", "set k 0 0 99999999999\r\n"]
        {
            assert_eq!(seen(unseen), None, "{unseen}");
        }
    }

    #[test]
    fn the_first_key_is_seen_in_every_protocol() {
        assert_eq!(first_key(b"get one two\r\n"), Some(&b"one"[..]));
        assert_eq!(first_key(b"mg one\r\n"), Some(&b"one"[..]));
        assert_eq!(first_key(b"set one 0 0 1\r\na\r\n"), Some(&b"one"[..]));
        let mut frame = [0_u8; HEADER_BYTES + 3];
        frame[0] = REQUEST;
        frame[3] = 3;
        frame[11] = 3;
        frame[HEADER_BYTES..].copy_from_slice(b"one");
        assert_eq!(first_key(&frame), Some(&b"one"[..]));
        assert_eq!(first_key(&frame[..20]), None);
        for unseen in [&b""[..], b"version\r\n", b"get", b"\x80"] {
            assert_eq!(first_key(unseen), None);
        }
    }
}
