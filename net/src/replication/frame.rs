//! Frames: what travels on a link between two nodes once they have greeted each other.
//!
//! ```text
//!  0          4      5       6        8            16            20           24
//! +----------+------+-------+--------+------------+-------------+------------+- - - - - - +
//! | payload  | kind | flags | zero   | sequence   | CRC32C of   | CRC32C of  | payload    |
//! | bytes u32| u8   | u8    | u16    | u64        | payload u32 | 0 .. 20    |            |
//! +----------+------+-------+--------+------------+-------------+------------+- - - - - - +
//! ```
//!
//! Integers are little-endian. A damaged header ends the link, because nobody knows where the next frame begins; a
//! damaged payload is asked for again (`Nack`).

use crate::limits::{LINK_LARGE_SLACK_BYTES, LINK_PAYLOAD_BYTES_MAX};

/// Bytes before the payload.
pub const HEADER_BYTES: usize = 24;

/// What a frame says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Replica: what it has and where it wants to go on ([`super::message::Follow`]).
    Follow = 1,
    /// Primary: how it goes on ([`super::message::Welcome`]).
    Welcome = 2,
    /// Either: why the link ends, as a code and text ([`super::message::Refuse`]).
    Refuse = 3,
    /// Primary: whole records, and the position that they complete.
    Records = 4,
    /// Primary: one record that has a run of its own.
    Large = 5,
    /// Replica: what it has applied ([`super::message::Ack`]).
    Ack = 6,
    /// Replica: the payload of that sequence came damaged; everything from it on is wanted again.
    Nack = 7,
    /// Either: are you there? The payload comes back.
    Ping = 8,
    /// The answer.
    Pong = 9,
    /// In a comparison: a question ([`super::verify::words::Ask`]).
    Ask = 10,
    /// And a part of its answer ([`super::verify::words::Tell`]).
    Tell = 11,
}

impl Kind {
    fn of(byte: u8) -> Option<Self> {
        use Kind::{Ack, Ask, Follow, Large, Nack, Ping, Pong, Records, Refuse, Tell, Welcome};
        let kinds = [Follow, Welcome, Refuse, Records, Large, Ack, Nack, Ping, Pong, Ask, Tell];
        kinds.into_iter().find(|kind| *kind as u8 == byte)
    }

    /// Whether a damaged one can be asked for again.
    pub fn is_repeatable(self) -> bool {
        matches!(self, Kind::Records | Kind::Large)
    }
}

/// The records are compressed (LZ4 block, the raw length before it).
pub const FLAG_LZ4: u8 = 1;
/// The first frame after a `Nack`: its sequence follows on what was applied.
pub const FLAG_REWOUND: u8 = 2;
/// With this frame the full copy is complete.
pub const FLAG_COPY_END: u8 = 4;
const FLAGS_KNOWN: u8 = FLAG_LZ4 | FLAG_REWOUND | FLAG_COPY_END;

/// What stands before a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Length of the payload.
    pub payload_bytes: u32,
    /// What it is.
    pub kind: Kind,
    /// How it is.
    pub flags: u8,
    /// Counts the records' frames of a link from 1; of a `Ping` the frames before it ([`super::liveness`]); of a `Nack`
    /// the damaged frame's; zero for all others.
    pub sequence: u64,
    /// CRC32C of the payload; of a `Large` only of its head, because the record carries its own.
    pub payload_crc: u32,
}

/// Why bytes are no frame. The link ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The header's own checksum does not fit.
    #[error("a damaged frame header")]
    Header,
    /// A kind or flag of another version.
    #[error("a frame of unknown kind {0}")]
    Kind(u8),
    /// More than such a frame may carry.
    #[error("a frame of {0} bytes, more than it may have")]
    Long(u32),
    /// The payload's checksum does not fit, and it can't be asked for again.
    #[error("a damaged frame")]
    Payload,
    /// The payload is not what its kind says.
    #[error("a malformed frame: {0}")]
    Malformed(&'static str),
}

impl Header {
    /// The bytes that go before the payload.
    pub fn to_bytes(self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[0..4].copy_from_slice(&self.payload_bytes.to_le_bytes());
        bytes[4] = self.kind as u8;
        bytes[5] = self.flags;
        bytes[8..16].copy_from_slice(&self.sequence.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.payload_crc.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..20]);
        bytes[20..24].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads and checks a header. `item_bytes_max` is the largest value that this node takes.
    pub fn parse(bytes: &[u8; HEADER_BYTES], item_bytes_max: u32) -> Result<Self, FrameError> {
        let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
        if crc32c::crc32c(&bytes[..20]) != word(20) {
            return Err(FrameError::Header);
        }
        let kind = Kind::of(bytes[4]).ok_or(FrameError::Kind(bytes[4]))?;
        if bytes[5] & !FLAGS_KNOWN != 0 || bytes[6..8] != [0, 0] {
            return Err(FrameError::Kind(bytes[4]));
        }
        let most = match kind {
            Kind::Large => item_bytes_max.saturating_add(LINK_LARGE_SLACK_BYTES),
            _ => LINK_PAYLOAD_BYTES_MAX,
        };
        let payload_bytes = word(0);
        if payload_bytes > most {
            return Err(FrameError::Long(payload_bytes));
        }
        let sequence = u64::from_le_bytes(bytes[8..16].try_into().expect("eight bytes"));
        Ok(Self { payload_bytes, kind, flags: bytes[5], sequence, payload_crc: word(16) })
    }
}

/// Appends a whole frame.
pub fn push(out: &mut Vec<u8>, kind: Kind, flags: u8, sequence: u64, payload: &[u8]) {
    push_parts(out, kind, flags, sequence, &[payload]);
}

/// Appends a whole frame whose payload is in parts.
pub fn push_parts(out: &mut Vec<u8>, kind: Kind, flags: u8, sequence: u64, parts: &[&[u8]]) {
    let start = open(out);
    parts.iter().for_each(|part| out.extend_from_slice(part));
    seal(out, start, kind, flags, sequence);
}

/// Leaves room for a header. What is appended from now on is the frame's payload, until [`seal`] with the place that
/// this gives.
pub fn open(out: &mut Vec<u8>) -> usize {
    let start = out.len();
    out.resize(start + HEADER_BYTES, 0);
    start
}

/// Writes the header of the frame that was opened at `start`. Gives the frame's bytes.
pub fn seal(out: &mut [u8], start: usize, kind: Kind, flags: u8, sequence: u64) -> usize {
    let (header, payload) = out[start..].split_at_mut(HEADER_BYTES);
    let payload_bytes = u32::try_from(payload.len()).expect("a payload is bounded");
    let payload_crc = crc32c::crc32c(payload);
    header.copy_from_slice(&Header { payload_bytes, kind, flags, sequence, payload_crc }.to_bytes());
    HEADER_BYTES + payload.len()
}

/// A frame that has come whole.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'b> {
    /// What stands before it.
    pub header: Header,
    /// What it carries.
    pub payload: &'b [u8],
    /// The payload's checksum fits. Only a kind that can be repeated comes without.
    pub is_intact: bool,
}

/// Puts received bytes together to frames. Holds at most what the sender's window allows to be under way.
#[derive(Default)]
pub struct FrameReader {
    kept: Vec<u8>,
    done: usize,
}

impl FrameReader {
    /// Takes what was received.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.done == self.kept.len() {
            self.kept.clear();
            self.done = 0;
        } else if self.done > self.kept.len() / 2 {
            self.kept.drain(..self.done);
            self.done = 0;
        }
        self.kept.extend_from_slice(bytes);
    }

    /// What waits: the frame at the front, and what has come behind it.
    pub fn waiting(&self) -> &[u8] {
        &self.kept[self.done..]
    }

    /// Bytes that wait.
    pub fn len(&self) -> usize {
        self.kept.len() - self.done
    }

    /// Nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The next frame, if it is whole; [`FrameReader::advance`] is called when it is done with.
    pub fn front(&self, item_bytes_max: u32) -> Result<Option<Frame<'_>>, FrameError> {
        let waiting = self.waiting();
        let Some(head) = waiting.first_chunk::<HEADER_BYTES>() else { return Ok(None) };
        let header = Header::parse(head, item_bytes_max)?;
        let end = HEADER_BYTES + header.payload_bytes as usize;
        let Some(payload) = waiting.get(HEADER_BYTES..end) else { return Ok(None) };
        let checked = match header.kind {
            Kind::Large => {
                large_head(payload).ok_or(FrameError::Malformed("a large record without a head"))?
            }
            _ => payload,
        };
        let is_intact = crc32c::crc32c(checked) == header.payload_crc;
        if !is_intact && !header.kind.is_repeatable() {
            return Err(FrameError::Payload);
        }
        Ok(Some(Frame { header, payload, is_intact }))
    }

    /// Is done with the frame at the front.
    pub fn advance(&mut self, frame_bytes: usize) {
        self.done += frame_bytes;
        assert!(self.done <= self.kept.len(), "only what has come is done with");
        if self.done == self.kept.len() {
            self.kept.clear();
            self.kept.shrink_to(LINK_PAYLOAD_BYTES_MAX as usize);
            self.done = 0;
        }
    }
}

/// Length of the head at the front of a large record's payload: its own length, then header and key of the record.
const LARGE_HEAD_MAX: usize = 4 + 512;

/// The part of a large record's payload that the frame's checksum covers.
fn large_head(payload: &[u8]) -> Option<&[u8]> {
    let length = u32::from_le_bytes(*payload.first_chunk::<4>()?) as usize;
    let end = length.checked_add(4).filter(|end| *end <= LARGE_HEAD_MAX)?;
    payload.get(..end)
}

/// Where the record, its wire bytes, begins in the payload of a `Large`.
pub const LARGE_RECORD_AT: usize = 4;

#[cfg(test)]
mod tests {
    use super::{FLAG_REWOUND, FrameError, FrameReader, HEADER_BYTES, Header, Kind, push};

    #[test]
    fn frames_come_whole_however_they_are_cut() {
        let mut bytes = Vec::new();
        push(&mut bytes, Kind::Ping, 0, 0, b"12345678");
        push(&mut bytes, Kind::Records, FLAG_REWOUND, 7, &[3; 1000]);
        for step in [1, 3, 24, 25, 500, bytes.len()] {
            let mut reader = FrameReader::default();
            let mut seen = Vec::new();
            for piece in bytes.chunks(step) {
                reader.push(piece);
                while let Some(frame) = reader.front(1 << 20).expect("intact") {
                    assert!(frame.is_intact);
                    seen.push((frame.header.kind, frame.header.sequence, frame.payload.to_vec()));
                    let whole = HEADER_BYTES + frame.payload.len();
                    reader.advance(whole);
                }
            }
            assert!(reader.is_empty());
            assert_eq!(seen, [(Kind::Ping, 0, b"12345678".to_vec()), (Kind::Records, 7, vec![3; 1000])]);
        }
    }

    /// Goal: no single flipped bit passes. Records are told to be damaged, everything else ends the link.
    #[test]
    fn every_flipped_bit_is_seen() {
        for kind in [Kind::Records, Kind::Ack] {
            let mut bytes = Vec::new();
            push(&mut bytes, kind, 0, 9, &[0x5a; 40]);
            for bit in 0..bytes.len() * 8 {
                let mut damaged = bytes.clone();
                damaged[bit / 8] ^= 1 << (bit % 8);
                let mut reader = FrameReader::default();
                reader.push(&damaged);
                match reader.front(1 << 20) {
                    Err(FrameError::Header) => assert!(bit < HEADER_BYTES * 8),
                    Err(FrameError::Payload) => assert!(kind == Kind::Ack && bit >= HEADER_BYTES * 8),
                    Ok(Some(frame)) => {
                        assert!(!frame.is_intact && kind == Kind::Records && bit >= HEADER_BYTES * 8);
                    }
                    other => panic!("bit {bit} of {kind:?}: {other:?}"),
                }
            }
        }
    }

    #[test]
    fn what_another_version_or_an_enemy_would_send_is_refused() {
        let header = Header { payload_bytes: 8, kind: Kind::Ping, flags: 0, sequence: 0, payload_crc: 0 };
        let refused = |change: fn(&mut [u8; HEADER_BYTES])| {
            let mut bytes = header.to_bytes();
            change(&mut bytes);
            let crc = crc32c::crc32c(&bytes[..20]);
            bytes[20..].copy_from_slice(&crc.to_le_bytes());
            Header::parse(&bytes, 1 << 20).expect_err("refused")
        };
        assert_eq!(refused(|bytes| bytes[4] = 200), FrameError::Kind(200));
        assert_eq!(refused(|bytes| bytes[5] = 128), FrameError::Kind(8));
        assert_eq!(refused(|bytes| bytes[6] = 1), FrameError::Kind(8));
        assert_eq!(refused(|bytes| bytes[3] = 0xff), FrameError::Long(0xff00_0008));
    }
}
