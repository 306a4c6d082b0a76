//! Flags of meta commands: one letter each, some with a token.

use ringcache_engine::limits::KEY_BYTES_MAX;

use crate::limits::{META_TOKENS_MAX, OPAQUE_BYTES_MAX};
use crate::protocol::line::Tokens;
use crate::protocol::number::{parse_i32, parse_u32, parse_u64};
use crate::protocol::{BAD_FORMAT, base64};
use crate::session::lookups::Sight;

const DUPLICATE: &[u8] = b"CLIENT_ERROR duplicate flag\r\n";
const INVALID: &[u8] = b"CLIENT_ERROR invalid flag\r\n";
const BAD_TOKEN: &[u8] = b"CLIENT_ERROR bad token in command line format\r\n";
const BAD_KEY: &[u8] = b"CLIENT_ERROR error decoding key\r\n";
const BAD_DELTA: &[u8] = b"CLIENT_ERROR invalid numeric delta value\r\n";
const BAD_INITIAL: &[u8] = b"CLIENT_ERROR invalid numeric initial value\r\n";
const TOO_MANY: &[u8] = b"CLIENT_ERROR options flags are too long\r\n";
/// An opaque of more than 32 bytes.
pub const OPAQUE_TOO_LONG: &[u8] = b"CLIENT_ERROR opaque token too long\r\n";

/// The letters that are flags, a bit for each.
const LETTERS: u128 = bits_of(b"bcfhklqstuvxCDEFIJLMNOPRT");

const fn bits_of(letters: &[u8]) -> u128 {
    let (mut bits, mut at) = (0, 0);
    while at < letters.len() {
        bits |= 1 << letters[at];
        at += 1;
    }
    bits
}

/// The key of a meta command.
#[derive(Clone, Copy)]
pub struct Key<'k> {
    /// What the engine knows it as.
    pub bytes: &'k [u8],
    /// It was given in base64.
    pub is_binary: bool,
}

/// Room for a key decoded from base64.
pub type KeyRoom = [u8; KEY_BYTES_MAX];

/// The checked flags of one command. A letter that the command does not use is accepted and ignored.
#[derive(Default)]
pub struct Flags<'i> {
    text: &'i [u8],
    seen: u128,
    /// `T`.
    pub touch: Option<i32>,
    /// `N`.
    pub vivify: Option<i32>,
    /// `R`.
    pub recache: Option<i32>,
    /// `F`.
    pub client_flags: u32,
    /// `C`; see [`Flags::compared`].
    pub compare: Option<u64>,
    /// `E`; see [`Flags::given_cas`].
    explicit_cas: Option<u64>,
    /// `D`.
    pub delta: Option<u64>,
    /// `J`.
    pub initial: u64,
    /// `M`: the letter behind it, a space when there is none.
    pub mode: Option<u8>,
}

/// Whether every flag in `text` begins with a byte that memcached's parser takes for a flag's letter. A line on which one does
/// not is malformed: no data block follows it.
pub fn are_letters(text: &[u8]) -> bool {
    Tokens::of(text).all(|token| (b'A'..=b'z').contains(&token[0]) || token[0].is_ascii_digit())
}

impl<'i> Flags<'i> {
    /// Parses again what followed the verb of a line, for an answer that is made later. Before its command had to
    /// wait the same text was parsed without an error.
    pub fn parse_again<'k>(text: &'i [u8], room: &'k mut KeyRoom) -> (Key<'k>, Self)
    where
        'i: 'k,
    {
        let mut tokens = Tokens::of(text);
        let word = tokens.next().unwrap_or_default();
        Self::parse(word, tokens.rest(), 2, room)
            .expect("the same text was parsed before its command had to wait")
    }

    /// Parses the flags in `text` and decodes the key into `room` where they ask for it; `before` is the number of
    /// tokens on the line before the flags. The error is the line to answer.
    pub fn parse<'k>(
        key: &'k [u8],
        text: &'i [u8],
        before: usize,
        room: &'k mut KeyRoom,
    ) -> Result<(Key<'k>, Self), &'static [u8]> {
        if key.len() > KEY_BYTES_MAX {
            return Err(BAD_FORMAT);
        }
        let mut flags = Flags { text, ..Flags::default() };
        if text.len() > 2 * (META_TOKENS_MAX - before) && flags.tokens().count() > META_TOKENS_MAX - before {
            return Err(if are_letters(text) { TOO_MANY } else { BAD_FORMAT });
        }
        // As in memcached a flag that can't be at all ends the parse, and of bad tokens the last is reported.
        let mut error = None;
        for token in flags.tokens() {
            flags.mark(token[0]).map_err(|line| if are_letters(text) { line } else { BAD_FORMAT })?;
            if let Err(line) = flags.take(token) {
                error = line.or(error).or(Some(BAD_FORMAT));
            }
        }
        if let Some(line) = error {
            return Err(if are_letters(text) { line } else { BAD_FORMAT });
        }
        if !flags.has(b'b') {
            return Ok((Key { bytes: key, is_binary: false }, flags));
        }
        let length = base64::decode(key, room).ok_or(BAD_KEY)?;
        Ok((Key { bytes: &room[..length], is_binary: true }, flags))
    }

    /// The flags in the order in which they stand on the line.
    #[inline]
    pub fn tokens(&self) -> Tokens<'i> {
        Tokens::of(self.text)
    }

    /// As they stand on the line.
    #[inline]
    pub fn text(&self) -> &'i [u8] {
        self.text
    }

    /// Whether the flag was given.
    #[inline]
    pub fn has(&self, letter: u8) -> bool {
        self.seen >> letter & 1 == 1
    }

    /// `C`, as the engine compares it.
    #[inline]
    pub fn compared(&self, sight: Sight<'_>) -> Option<u64> {
        self.compare.map(|cas| sight.comparable(cas))
    }

    /// `E`; without CAS uniques there is none to give.
    #[inline]
    pub fn given_cas(&self, sight: Sight<'_>) -> Option<u64> {
        self.explicit_cas.filter(|_| sight.cas)
    }

    /// Whether both flags were given, in this order.
    pub fn is_before(&self, first: u8, second: u8) -> bool {
        let mut letters = self.tokens().map(|token| token[0]);
        letters.any(|letter| letter == first) && letters.any(|letter| letter == second)
    }

    #[inline]
    fn mark(&mut self, letter: u8) -> Result<(), &'static [u8]> {
        if letter >= 127 || self.has(letter) {
            return Err(DUPLICATE);
        }
        if LETTERS >> letter & 1 == 0 {
            return Err(INVALID);
        }
        self.seen |= 1 << letter;
        Ok(())
    }

    /// Reads the token behind a letter. An error without a line of its own is the general one.
    #[inline]
    fn take(&mut self, token: &'i [u8]) -> Result<(), Option<&'static [u8]>> {
        let argument = &token[1..];
        match token[0] {
            b'T' => self.touch = Some(parse_i32(argument).ok_or(Some(BAD_TOKEN))?),
            b'N' => self.vivify = Some(parse_i32(argument).ok_or(Some(BAD_TOKEN))?),
            b'R' => self.recache = Some(parse_i32(argument).ok_or(Some(BAD_TOKEN))?),
            b'C' => self.compare = Some(parse_u64(argument).ok_or(Some(BAD_TOKEN))?),
            b'E' => self.explicit_cas = Some(parse_u64(argument).ok_or(Some(BAD_TOKEN))?),
            // Unlike the classic commands, which keep the low 32 bits of a larger number.
            b'F' => self.client_flags = parse_u32(argument).ok_or(None)?,
            b'D' => self.delta = Some(parse_u64(argument).ok_or(Some(BAD_DELTA))?),
            b'J' => self.initial = parse_u64(argument).ok_or(Some(BAD_INITIAL))?,
            b'M' => self.mode = Some(argument.first().copied().unwrap_or(b' ')),
            b'O' if token.len() > OPAQUE_BYTES_MAX => return Err(Some(OPAQUE_TOO_LONG)),
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{BAD_DELTA, BAD_FORMAT, BAD_KEY, BAD_TOKEN, DUPLICATE, Flags, INVALID, TOO_MANY};

    fn error(key: &[u8], text: &[u8]) -> Option<&'static [u8]> {
        Flags::parse(key, text, 2, &mut [0; 250]).err()
    }

    #[test]
    fn every_flag_is_read() {
        let text = b"T-1 N30 R5 F7 C8 E9 D10 J11 MI v q b Oabc P1 Lx";
        let mut room = [0; 250];
        let (key, flags) = Flags::parse(b"Zm9v", text, 2, &mut room).ok().unwrap();
        assert_eq!((key.bytes, key.is_binary), (&b"foo"[..], true));
        assert_eq!((flags.touch, flags.vivify, flags.recache), (Some(-1), Some(30), Some(5)));
        assert_eq!((flags.client_flags, flags.compare, flags.explicit_cas), (7, Some(8), Some(9)));
        assert_eq!((flags.delta, flags.initial, flags.mode), (Some(10), 11, Some(b'I')));
        assert!(flags.has(b'v') && flags.has(b'q') && !flags.has(b'k'));
    }

    #[test]
    fn each_mistake_has_its_line() {
        assert_eq!(error(b"k", b"v v"), Some(DUPLICATE));
        assert_eq!(error(b"k", b"\xff"), Some(BAD_FORMAT));
        assert_eq!(error(b"k", b"v v !"), Some(BAD_FORMAT));
        assert_eq!(error(b"k", b"["), Some(INVALID));
        assert_eq!(error(b"k", b"S10"), Some(INVALID));
        assert_eq!(error(b"k", b"Tx"), Some(BAD_TOKEN));
        assert_eq!(error(b"k", b"T"), Some(BAD_TOKEN));
        assert_eq!(error(b"k", b"Fx"), Some(BAD_FORMAT));
        assert_eq!(error(b"k", b"F4294967295"), None);
        assert_eq!(error(b"k", b"F4294967296"), Some(BAD_FORMAT));
        assert_eq!(error(b"k", b"Tx D-1"), Some(BAD_DELTA));
        assert_eq!(error(b"k", b"b"), Some(BAD_KEY));
        assert_eq!(error(&[b'k'; 251], b""), Some(BAD_FORMAT));
        assert_eq!(error(b"k", b"a a a a a a a a a a a a a a a a a a"), Some(INVALID));
        assert_eq!(error(b"k", b"a a a a a a a a a a a a a a a a a a a"), Some(TOO_MANY));
    }
}
