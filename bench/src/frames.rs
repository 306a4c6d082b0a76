//! Frames of memcached's binary protocol: requests written, replies read as the pieces that the other protocols have
//! (memcached's protocol_binary.h: a header of 24 bytes, then extras, key and value).

use crate::mix::Operation;
use crate::reply::{Malformed, Piece};

/// Bytes of every frame's header.
pub const HEADER_BYTES: usize = 24;
/// Flags of a value, in the extras of a reply to a get and to a touch.
pub const FLAGS_BYTES: usize = 4;

const GET: u8 = 0x00;
const SET: u8 = 0x01;
const DELETE: u8 = 0x04;
const INCREMENT: u8 = 0x05;
const DECREMENT: u8 = 0x06;
const NO_OPERATION: u8 = 0x0a;
const GET_NAMED_QUIETLY: u8 = 0x0d;
const TOUCH: u8 = 0x1c;

const REQUEST: u8 = 0x80;
const REPLY: u8 = 0x81;
/// A counter that is not there is not made.
const CREATE_NOTHING: [u8; 4] = [0xff; 4];
/// Larger than any value a server takes.
const BODY_BYTES_MAX: usize = 2 << 30;

/// One get; its reply is a value without its key, or a miss.
pub fn append_get(key: &[u8], output: &mut Vec<u8>) {
    append(GET, &[], key, &[], output);
}

/// One of many gets: a hit names its key, a miss says nothing.
pub fn append_quiet_get(key: &[u8], output: &mut Vec<u8>) {
    append(GET_NAMED_QUIETLY, &[], key, &[], output);
}

/// What ends a row of quiet gets. Returns the length of its reply.
pub fn append_end(output: &mut Vec<u8>) -> usize {
    append(NO_OPERATION, &[], &[], &[], output);
    HEADER_BYTES
}

/// A set without flags and expiry. Returns the length of its reply.
pub fn append_set(key: &[u8], value: &[u8], output: &mut Vec<u8>) -> usize {
    append(SET, &[0; 8], key, value, output);
    HEADER_BYTES
}

/// Everything that carries no value. Returns the length of its reply when the key is there.
pub fn append_plain(operation: Operation, key: &[u8], output: &mut Vec<u8>) -> usize {
    match operation {
        Operation::Delete => {
            append(DELETE, &[], key, &[], output);
            HEADER_BYTES
        }
        Operation::Incr | Operation::Decr => {
            let opcode = if operation == Operation::Incr { INCREMENT } else { DECREMENT };
            let mut extras = [0; 20];
            extras[..8].copy_from_slice(&1u64.to_be_bytes());
            extras[16..].copy_from_slice(&CREATE_NOTHING);
            append(opcode, &extras, key, &[], output);
            HEADER_BYTES + size_of::<u64>()
        }
        Operation::Touch => {
            append(TOUCH, &[0; 4], key, &[], output);
            HEADER_BYTES + FLAGS_BYTES
        }
        Operation::Get | Operation::Set => unreachable!("gets and sets have functions of their own"),
    }
}

fn append(opcode: u8, extras: &[u8], key: &[u8], value: &[u8], output: &mut Vec<u8>) {
    let body_bytes = (extras.len() + key.len() + value.len()) as u32;
    let mut header = [0; HEADER_BYTES];
    (header[0], header[1]) = (REQUEST, opcode);
    header[2..4].copy_from_slice(&(key.len() as u16).to_be_bytes());
    header[4] = extras.len() as u8;
    header[8..12].copy_from_slice(&body_bytes.to_be_bytes());
    for part in [&header, extras, key, value] {
        output.extend_from_slice(part);
    }
}

/// The first reply of `bytes` and its length; `None` where it is not complete yet. What is no value becomes the line
/// that the text protocol has for it.
pub fn parse_reply(bytes: &[u8]) -> Result<Option<(Piece<'_>, usize)>, Malformed> {
    let Some((header, rest)) = bytes.split_first_chunk::<HEADER_BYTES>() else { return Ok(None) };
    let key_bytes = usize::from(u16::from_be_bytes([header[2], header[3]]));
    let key_at = usize::from(header[4]);
    let body_bytes = u32::from_be_bytes([header[8], header[9], header[10], header[11]]) as usize;
    if header[0] != REPLY || key_at + key_bytes > body_bytes || body_bytes > BODY_BYTES_MAX {
        return Err(Malformed);
    }
    let Some(body) = rest.get(..body_bytes) else { return Ok(None) };
    let (key, data) = body[key_at..].split_at(key_bytes);
    let piece = match (u16::from_be_bytes([header[6], header[7]]), header[1]) {
        (0, GET | GET_NAMED_QUIETLY) => Piece::Value { key, data },
        (status, opcode) => Piece::Line(line(status, opcode)),
    };
    Ok(Some((piece, HEADER_BYTES + body_bytes)))
}

fn line(status: u16, opcode: u8) -> &'static [u8] {
    match (status, opcode) {
        (0, SET) => b"STORED",
        (0, DELETE) => b"DELETED",
        // Which number it is, nobody here asks.
        (0, INCREMENT | DECREMENT) => b"1",
        (0, TOUCH) => b"TOUCHED",
        (0, NO_OPERATION) => b"END",
        (1, GET) => b"EN",
        (1, _) => b"NOT_FOUND",
        (3, _) => b"SERVER_ERROR object too large",
        (5, _) => b"NOT_STORED",
        (0x82, _) => b"SERVER_ERROR out of memory",
        _ => b"SERVER_ERROR of another kind",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(opcode: u8, status: u16, extras: &[u8], key: &[u8], value: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        append(opcode, extras, key, value, &mut bytes);
        bytes[0] = REPLY;
        bytes[6..8].copy_from_slice(&status.to_be_bytes());
        bytes
    }

    #[test]
    fn a_get_is_written_as_the_protocol_says() {
        let mut output = Vec::new();
        append_get(b"Hello", &mut output);
        let mut expected = vec![0x80, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 5];
        expected.resize(HEADER_BYTES, 0);
        assert_eq!(output, [&expected[..], b"Hello"].concat());
    }

    #[test]
    fn replies_are_pieces_as_in_the_text_protocol() {
        for (bytes, expected) in [
            (reply(GET, 0, &[0; 4], b"", b"world"), Piece::Value { key: b"", data: b"world" }),
            (reply(GET_NAMED_QUIETLY, 0, &[0; 4], b"k", b""), Piece::Value { key: b"k", data: b"" }),
            (reply(GET, 1, &[], b"", b"Not found"), Piece::Line(b"EN")),
            (reply(SET, 0, &[], b"", b""), Piece::Line(b"STORED")),
            (reply(DELETE, 1, &[], b"", b"Not found"), Piece::Line(b"NOT_FOUND")),
            (reply(INCREMENT, 0, &[], b"", &[0; 8]), Piece::Line(b"1")),
            (reply(NO_OPERATION, 0, &[], b"", b""), Piece::Line(b"END")),
        ] {
            assert_eq!(parse_reply(&bytes), Ok(Some((expected, bytes.len()))));
            for cut in 0..bytes.len() {
                assert_eq!(parse_reply(&bytes[..cut]), Ok(None), "cut at {cut}");
            }
        }
        assert_eq!(parse_reply(&[REQUEST; HEADER_BYTES]), Err(Malformed));
    }
}
