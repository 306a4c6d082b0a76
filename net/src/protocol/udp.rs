//! The frame around requests and answers in datagrams. Sans-IO: bytes in, bytes out.
//!
//! ```text
//! 0            2            4            6            8
//! +------------+------------+------------+------------+----------------------+
//! | request id | sequence   | datagrams  | reserved   | commands or answer   |
//! +------------+------------+------------+------------+----------------------+
//! ```
//!
//! Numbers are big endian. A request is one datagram and may hold several commands, in any of the protocols. The answer to each
//! command is a message of its own: as many datagrams as it needs, numbered from 0, all with the id of the request.

use crate::limits::{UDP_ANSWER_BYTES_MAX, UDP_DATAGRAM_BYTES_MAX, UDP_WIRE_BYTES};
use crate::output::Output;

/// Length of the frame's header.
pub const HEADER_BYTES: usize = 8;
/// Bytes of an answer in each of its datagrams but the last.
const PART_BYTES: usize = UDP_DATAGRAM_BYTES_MAX - HEADER_BYTES;

/// What a datagram asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request<'d> {
    /// The client's number of it.
    pub id: u16,
    /// One or more commands.
    pub commands: &'d [u8],
}

/// Why a datagram is not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Nothing behind the header, or not even all of the header.
    Short,
    /// A request in several datagrams, which memcached refuses as well.
    Parted,
}

impl<'d> Request<'d> {
    /// Reads a datagram. Sequence and reserved bytes are not looked at.
    pub fn read(datagram: &'d [u8]) -> Result<Self, Refused> {
        match datagram {
            [_, _, _, _, 0, 1, _, _, _, ..] => Ok(Self {
                id: u16::from_be_bytes([datagram[0], datagram[1]]),
                commands: &datagram[HEADER_BYTES..],
            }),
            [_, _, _, _, _, _, _, _, _, ..] => Err(Refused::Parted),
            _ => Err(Refused::Short),
        }
    }
}

/// The datagrams of an answer.
pub struct Parts<'o, I> {
    id: u16,
    sequence: u16,
    total: u16,
    answer_bytes: usize,
    pieces: I,
    piece: &'o [u8],
}

impl<'o> Parts<'o, ()> {
    /// Of the answer to request `id`, which is no longer than may be sent.
    pub fn of(id: u16, answer: &'o Output) -> Parts<'o, impl Iterator<Item = &'o [u8]>> {
        let total = answer.len().div_ceil(PART_BYTES);
        let total = u16::try_from(total).expect("an answer over the limit is not sent");
        Parts { id, sequence: 0, total, answer_bytes: answer.len(), pieces: answer.pieces(), piece: &[] }
    }
}

impl<'o, I: Iterator<Item = &'o [u8]>> Parts<'o, I> {
    /// Length of all datagrams together, headers included.
    pub fn bytes(&self) -> usize {
        self.answer_bytes + usize::from(self.total) * HEADER_BYTES
    }

    /// The same on the wire, where many small datagrams are more than their bytes.
    pub fn wire_bytes(&self) -> usize {
        self.bytes() + usize::from(self.total) * UDP_WIRE_BYTES
    }

    /// Writes the next datagram into an empty buffer; false when there is none.
    pub fn write_next(&mut self, datagram: &mut Vec<u8>) -> bool {
        if self.sequence == self.total {
            return false;
        }
        for number in [self.id, self.sequence, self.total, 0] {
            datagram.extend_from_slice(&number.to_be_bytes());
        }
        self.sequence += 1;
        while datagram.len() < UDP_DATAGRAM_BYTES_MAX {
            if self.piece.is_empty() {
                let Some(next) = self.pieces.next() else { break };
                self.piece = next;
            }
            let room = UDP_DATAGRAM_BYTES_MAX - datagram.len();
            let (part, rest) = self.piece.split_at(self.piece.len().min(room));
            datagram.extend_from_slice(part);
            self.piece = rest;
        }
        true
    }
}

const _: () =
    assert!(UDP_ANSWER_BYTES_MAX / PART_BYTES < u16::MAX as usize, "datagrams are numbered with 16 bits");

#[cfg(test)]
mod tests {
    use super::{HEADER_BYTES, PART_BYTES, Parts, Refused, Request};
    use crate::limits::UDP_DATAGRAM_BYTES_MAX;
    use crate::output::Output;

    #[test]
    fn only_whole_requests_are_read() {
        let read =
            |header: &[u8]| Request::read(header).map(|request| (request.id, request.commands.to_vec()));
        assert_eq!(read(b"\x12\x34\0\0\0\x01\0\0get a\r\n"), Ok((0x1234, b"get a\r\n".to_vec())));
        assert_eq!(
            read(b"\0\x07\0\x05\0\x01\x09\x09x"),
            Ok((7, b"x".to_vec())),
            "sequence and rest are ignored"
        );
        for length in 0..=HEADER_BYTES {
            assert_eq!(read(&b"\0\x01\0\0\0\x01\0\0"[..length]), Err(Refused::Short), "{length}");
        }
        for total in [[0, 0], [0, 2], [1, 1], [0xff, 0xff]] {
            let datagram = [b"\0\x01\0\0", &total[..], b"\0\0get a\r\n"].concat();
            assert_eq!(read(&datagram), Err(Refused::Parted), "{total:?}");
        }
    }

    /// Goal: whatever its length, an answer comes out whole, in datagrams that are numbered and full but for the last.
    #[test]
    fn an_answer_is_parted_and_numbered() {
        for length in [1, 7, PART_BYTES - 1, PART_BYTES, PART_BYTES + 1, 3 * PART_BYTES, 100_001] {
            let answer: Vec<u8> = (0..length).map(|at| (at * 31 / 7) as u8).collect();
            let mut output = Output::default();
            output.push(&answer);
            let mut rest = Parts::of(0xabcd, &output);
            let mut parts = Vec::new();
            let mut datagram = Vec::new();
            while rest.write_next(&mut datagram) {
                parts.push(std::mem::take(&mut datagram));
            }
            assert_eq!(rest.bytes(), parts.iter().map(Vec::len).sum::<usize>());
            let total = length.div_ceil(PART_BYTES);
            assert_eq!(parts.len(), total);
            for (number, part) in parts.iter().enumerate() {
                let header = [0xab, 0xcd, 0, number as u8, 0, total as u8, 0, 0];
                assert_eq!(part[..HEADER_BYTES], header, "{length}");
                assert!(part.len() == UDP_DATAGRAM_BYTES_MAX || number + 1 == total, "{length}");
            }
            let joined: Vec<u8> = parts.iter().flat_map(|part| &part[HEADER_BYTES..]).copied().collect();
            assert_eq!(joined, answer);
        }
    }
}
