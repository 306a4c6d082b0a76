//! Command lines and the tokens on them.
//!
//! A line ends at `\n`, with an optional `\r` before it. Tokens are separated by runs of spaces and by nothing
//! else: a tab is part of a token, also of a key.

use memchr::memrchr;
use ringcache_engine::limits::KEY_BYTES_MAX;

use crate::limits::{KEY_LINE_BYTES_MAX, LEADING_SPACES_MAX, LINE_BYTES_MAX};
use crate::protocol::scan;

/// One whole command line in the input.
#[derive(Clone, Copy)]
pub struct Command<'i> {
    /// What follows the verb, without the line's end.
    pub args: &'i [u8],
    /// What was received, from the line's start on.
    pub input: &'i [u8],
    /// Length of the line with its end: where a data block begins.
    pub line_bytes: usize,
}

/// The tokens of a piece of a line.
#[derive(Clone, Copy)]
pub struct Tokens<'i> {
    rest: &'i [u8],
}

impl<'i> Tokens<'i> {
    /// The tokens of `text`.
    #[inline]
    pub fn of(text: &'i [u8]) -> Self {
        Self { rest: skip_spaces(text) }
    }

    /// What has not been taken, from the next token on; empty when there is none.
    #[inline]
    pub fn rest(&self) -> &'i [u8] {
        self.rest
    }
}

impl<'i> Iterator for Tokens<'i> {
    type Item = &'i [u8];

    /// Takes a token and the spaces behind it, so that `rest` tells whether it was the last.
    #[inline]
    fn next(&mut self) -> Option<&'i [u8]> {
        if self.rest.is_empty() {
            return None;
        }
        let (token, rest) = match scan::find(b' ', self.rest) {
            Some(end) => (&self.rest[..end], skip_spaces(&self.rest[end..])),
            None => (self.rest, &[][..]),
        };
        self.rest = rest;
        Some(token)
    }
}

/// Whether the last token of `args` asks for silence.
#[inline]
pub fn is_noreply(args: &[u8]) -> bool {
    let mut args = args;
    while let [front @ .., b' '] = args {
        args = front;
    }
    match args.strip_suffix(b"noreply") {
        Some(front) => front.is_empty() || front.ends_with(b" "),
        None => false,
    }
}

/// Whether a token may be a key.
#[inline]
pub fn is_key(token: &[u8]) -> bool {
    token.len() <= KEY_BYTES_MAX
}

/// Whether every token of `text` may be a key. Looks at every 250th byte and a few before it.
#[inline]
pub fn are_keys(text: &[u8]) -> bool {
    let mut rest = text;
    // Behind a space, a token that is too long leaves none in the bytes that follow.
    while rest.len() > KEY_BYTES_MAX {
        match memrchr(b' ', &rest[..=KEY_BYTES_MAX]) {
            Some(space) => rest = &rest[space + 1..],
            None => return false,
        }
    }
    true
}

/// Whether a line without an end may become longer: only a list of keys may beyond a few KiB.
pub fn may_grow(line: &[u8]) -> bool {
    if line.len() <= LINE_BYTES_MAX {
        return true;
    }
    let verb = line.iter().position(|&byte| byte != b' ').unwrap_or(line.len());
    let is_list = line[verb..].starts_with(b"get ") || line[verb..].starts_with(b"gets ");
    is_list && verb <= LEADING_SPACES_MAX && line.len() <= KEY_LINE_BYTES_MAX
}

/// A browser, or a request made through one: memcached closes without a word.
pub fn is_http(args: &[u8]) -> bool {
    Tokens::of(args).last().is_some_and(|token| token.starts_with(b"HTTP/"))
}

#[inline]
fn skip_spaces(mut text: &[u8]) -> &[u8] {
    while let [b' ', rest @ ..] = text {
        text = rest;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{Tokens, are_keys, is_key, is_noreply};

    #[test]
    fn only_spaces_separate_tokens() {
        let tokens: Vec<&[u8]> = Tokens::of(b"  a \t b\rc   d ").collect();
        assert_eq!(tokens, [&b"a"[..], b"\t", b"b\rc", b"d"]);
        assert_eq!(Tokens::of(b"   ").next(), None);
        assert_eq!(Tokens::of(b"").next(), None);
    }

    #[test]
    fn a_key_that_is_too_long_is_found_among_others() {
        for before in 0..600 {
            for length in [1, 249, 250, 251, 252, 600] {
                for behind in [0, 1, 251] {
                    let text =
                        format!("{} {} {}", "k".repeat(before % 251), "l".repeat(length), "m".repeat(behind));
                    let text = [" ".repeat(before / 3), text].concat();
                    let each = Tokens::of(text.as_bytes()).all(is_key);
                    assert_eq!(are_keys(text.as_bytes()), each, "{text}");
                }
            }
        }
    }

    #[test]
    fn noreply_is_the_whole_last_token() {
        assert!(is_noreply(b"k 0 0 1 noreply"));
        assert!(is_noreply(b"noreply  "));
        assert!(!is_noreply(b"k 0 0 1 noreply x"));
        assert!(!is_noreply(b"k xnoreply"));
        assert!(!is_noreply(b"k noreply\r"));
        assert!(!is_noreply(b""));
    }
}
