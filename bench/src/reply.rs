//! Replies of memcached's text and meta protocols (protocol.txt, "Retrieval command" and "Meta commands") and of Redis,
//! one piece at a time, from bytes that may end anywhere.

use crate::frames::parse_reply;

/// One value, or one line that is not followed by a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// `VALUE key flags bytes` or `VA bytes flags*` with its data.
    Value {
        /// Of a `VALUE` line, or the `k` flag of a `VA` line; empty where the reply names none.
        key: &'a [u8],
        /// Without the closing `\r\n`.
        data: &'a [u8],
    },
    /// Any other line, without its `\r\n`.
    Line(&'a [u8]),
}

/// Who replies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Syntax {
    /// Text and meta protocol.
    #[default]
    Memcached,
    /// memcached's binary protocol.
    Binary,
    /// Redis's protocol, version 2: each bulk string is a value, everything else is a line.
    Resp,
}

/// The bytes can't be the beginning of a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// The first piece of `bytes` and its length; `None` where it is not complete yet. No allocation; one scan for the line
/// end, and none over the data.
pub fn parse_piece(syntax: Syntax, bytes: &[u8]) -> Result<Option<(Piece<'_>, usize)>, Malformed> {
    if syntax == Syntax::Binary {
        return parse_reply(bytes);
    }
    let Some(end) = memchr::memchr(b'\n', bytes) else {
        return if bytes.len() > LINE_BYTES_MAX { Err(Malformed) } else { Ok(None) };
    };
    if end == 0 || bytes[end - 1] != b'\r' {
        return Err(Malformed);
    }
    let line = &bytes[..end - 1];
    let (key, data_bytes) = match (syntax, line) {
        (Syntax::Memcached, [b'V', b'A', b'L', b'U', b'E', b' ', rest @ ..]) => value_header(rest)?,
        (Syntax::Memcached, [b'V', b'A', b' ', rest @ ..]) => meta_header(rest)?,
        (Syntax::Resp, [b'$', rest @ ..]) if rest != b"-1" => (Default::default(), number(rest)?),
        _ => return Ok(Some((Piece::Line(line), end + 1))),
    };
    let start = end + 1;
    let Some(data) = bytes.get(start..start + data_bytes + 2) else { return Ok(None) };
    let Some(data) = data.strip_suffix(b"\r\n") else { return Err(Malformed) };
    Ok(Some((Piece::Value { key, data }, start + data_bytes + 2)))
}

/// `key flags bytes [cas]`.
fn value_header(rest: &[u8]) -> Result<(&[u8], usize), Malformed> {
    let mut words = rest.split(|byte| *byte == b' ');
    let key = words.next().ok_or(Malformed)?;
    let bytes = words.nth(1).ok_or(Malformed)?;
    Ok((key, number(bytes)?))
}

/// `bytes flags*`.
fn meta_header(rest: &[u8]) -> Result<(&[u8], usize), Malformed> {
    let mut words = rest.split(|byte| *byte == b' ');
    let bytes = number(words.next().ok_or(Malformed)?)?;
    let key = words.find_map(|word| word.strip_prefix(b"k")).unwrap_or_default();
    Ok((key, bytes))
}

fn number(digits: &[u8]) -> Result<usize, Malformed> {
    if digits.is_empty() || digits.len() > 10 {
        return Err(Malformed);
    }
    digits.iter().try_fold(0, |number, digit| match digit {
        b'0'..=b'9' => Ok(number * 10 + usize::from(digit - b'0')),
        _ => Err(Malformed),
    })
}

/// Joins what arrives in fragments: pieces come out whole, what is left waits for the next fragment.
#[derive(Debug, Default)]
pub struct ReplyReader {
    /// The beginning of a piece whose end has not arrived; empty most of the time.
    rest: Vec<u8>,
    syntax: Syntax,
}

impl ReplyReader {
    /// Nothing received yet.
    pub fn new(syntax: Syntax) -> ReplyReader {
        ReplyReader { rest: Vec::new(), syntax }
    }

    /// Hands every complete piece to `take`, in order. Copies only what a fragment cut apart.
    pub fn handle_bytes<E: From<Malformed>>(
        &mut self,
        bytes: &[u8],
        mut take: impl FnMut(Piece<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        if self.rest.is_empty() {
            let taken = take_pieces(self.syntax, bytes, &mut take)?;
            self.rest.extend_from_slice(&bytes[taken..]);
        } else {
            self.rest.extend_from_slice(bytes);
            let taken = take_pieces(self.syntax, &self.rest, &mut take)?;
            self.rest.drain(..taken);
        }
        Ok(())
    }
}

fn take_pieces<E: From<Malformed>>(
    syntax: Syntax,
    bytes: &[u8],
    take: &mut impl FnMut(Piece<'_>) -> Result<(), E>,
) -> Result<usize, E> {
    let mut taken = 0;
    while let Some((piece, length)) = parse_piece(syntax, &bytes[taken..])? {
        take(piece)?;
        taken += length;
    }
    Ok(taken)
}

/// Longer than any line a server sends: a key has 250 bytes, flags and error texts stay below the rest.
const LINE_BYTES_MAX: usize = 2048;

#[cfg(test)]
mod tests {
    use super::*;

    const TRANSCRIPT: &[u8] =
        b"VALUE a 0 3\r\nx\r\n\r\nEND\r\nSTORED\r\nVALUE bb 5 0 77\r\n\r\nVALUE c 0 2\r\n\r\n\r\nEND\r\n\
        VA 4 kkey t-1\r\nVA 2\r\nVA 1\r\nz\r\nHD\r\nEN\r\nSERVER_ERROR out of memory\r\n";

    fn pieces(syntax: Syntax, bytes: &[u8], fragment: usize) -> Result<Vec<String>, Malformed> {
        let mut reader = ReplyReader::new(syntax);
        let mut seen = Vec::new();
        for part in bytes.chunks(fragment) {
            reader.handle_bytes(part, |piece| {
                seen.push(match piece {
                    Piece::Value { key, data } => format!("{}={}", key.escape_ascii(), data.escape_ascii()),
                    Piece::Line(line) => line.escape_ascii().to_string(),
                });
                Ok::<(), Malformed>(())
            })?;
        }
        assert!(reader.rest.is_empty(), "everything was whole");
        Ok(seen)
    }

    #[test]
    fn fragments_of_every_size_give_the_same_pieces() {
        let whole = pieces(Syntax::Memcached, TRANSCRIPT, TRANSCRIPT.len()).unwrap();
        let expected = [
            r"a=x\r\n",
            "END",
            "STORED",
            "bb=",
            r"c=\r\n",
            "END",
            "key=VA 2",
            "=z",
            "HD",
            "EN",
            "SERVER_ERROR out of memory",
        ];
        assert_eq!(whole, expected);
        for fragment in 1..TRANSCRIPT.len() {
            assert_eq!(
                pieces(Syntax::Memcached, TRANSCRIPT, fragment).unwrap(),
                whole,
                "fragments of {fragment}"
            );
        }
    }

    #[test]
    fn redis_is_read_from_fragments_of_every_size() {
        let transcript = b"*2\r\n$3\r\nx\r\n\r\n$-1\r\n+OK\r\n:12\r\n-ERR no\r\n$0\r\n\r\n";
        for fragment in 1..=transcript.len() {
            let seen = pieces(Syntax::Resp, transcript, fragment).unwrap();
            assert_eq!(
                seen,
                ["*2", r"=x\r\n", "$-1", "+OK", ":12", "-ERR no", "="],
                "fragments of {fragment}"
            );
        }
        assert_eq!(parse_piece(Syntax::Resp, b"$x\r\n"), Err(Malformed));
        assert_eq!(parse_piece(Syntax::Resp, b"$1\r\nxyz"), Err(Malformed));
    }

    #[test]
    fn refuses_what_is_no_reply() {
        for wrong in [
            &b"STORED\n"[..],
            b"\n",
            b"VALUE a 0\r\n",
            b"VALUE a 0 x\r\n",
            b"VALUE a 0 99999999999\r\n",
            b"VALUE a 0 1\r\nxyz",
            b"VA \r\n",
            b"VA 1\r\nx\rx",
        ] {
            assert_eq!(parse_piece(Syntax::Memcached, wrong), Err(Malformed), "{}", wrong.escape_ascii());
        }
        assert_eq!(parse_piece(Syntax::Memcached, &[b'x'; LINE_BYTES_MAX + 1]), Err(Malformed));
        assert_eq!(parse_piece(Syntax::Memcached, b"VALUE a 0 1\r\nx\r"), Ok(None));
    }
}
