//! The 24 bytes at the front of every frame, the commands they name and the statuses they report.
//!
//! ```text
//! byte       0     1       2          4              5          6       8            12      16
//! request  [0x80][opcode][key bytes][extras bytes][data type][vbucket][body bytes][opaque][CAS    ]
//! response [0x81][opcode][key bytes][extras bytes][0        ][status ][body bytes][opaque][CAS    ]
//! ```
//!
//! Numbers are big endian. The body is extras, key and value in this order, and its length is that of all three.

use crate::output::Output;

/// First byte of a request.
pub const REQUEST: u8 = 0x80;
/// First byte of a response.
pub const RESPONSE: u8 = 0x81;
/// Length of a header.
pub const HEADER_BYTES: usize = 24;

/// What a request asks for; its quiet form is the same command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of the protocol; docs/protocol.md explains them")]
pub enum Opcode {
    Get,
    GetKey,
    Set,
    Add,
    Replace,
    Append,
    Prepend,
    Delete,
    Increment,
    Decrement,
    Touch,
    GetAndTouch,
    GetKeyAndTouch,
    Flush,
    Noop,
    Version,
    Stat,
    Quit,
    SaslMechanisms,
    SaslAuth,
    SaslStep,
    Unknown,
}

impl Opcode {
    /// The command that `code` stands for, and whether it is the quiet form.
    #[inline]
    fn of(code: u8) -> (Opcode, bool) {
        match code {
            0x00 => (Opcode::Get, false),
            0x01 => (Opcode::Set, false),
            0x02 => (Opcode::Add, false),
            0x03 => (Opcode::Replace, false),
            0x04 => (Opcode::Delete, false),
            0x05 => (Opcode::Increment, false),
            0x06 => (Opcode::Decrement, false),
            0x07 => (Opcode::Quit, false),
            0x08 => (Opcode::Flush, false),
            0x09 => (Opcode::Get, true),
            0x0a => (Opcode::Noop, false),
            0x0b => (Opcode::Version, false),
            0x0c => (Opcode::GetKey, false),
            0x0d => (Opcode::GetKey, true),
            0x0e => (Opcode::Append, false),
            0x0f => (Opcode::Prepend, false),
            0x10 => (Opcode::Stat, false),
            0x11 => (Opcode::Set, true),
            0x12 => (Opcode::Add, true),
            0x13 => (Opcode::Replace, true),
            0x14 => (Opcode::Delete, true),
            0x15 => (Opcode::Increment, true),
            0x16 => (Opcode::Decrement, true),
            0x17 => (Opcode::Quit, true),
            0x18 => (Opcode::Flush, true),
            0x19 => (Opcode::Append, true),
            0x1a => (Opcode::Prepend, true),
            0x1c => (Opcode::Touch, false),
            0x1d => (Opcode::GetAndTouch, false),
            0x1e => (Opcode::GetAndTouch, true),
            0x20 => (Opcode::SaslMechanisms, false),
            0x21 => (Opcode::SaslAuth, false),
            0x22 => (Opcode::SaslStep, false),
            0x23 => (Opcode::GetKeyAndTouch, false),
            0x24 => (Opcode::GetKeyAndTouch, true),
            _ => (Opcode::Unknown, false),
        }
    }
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
#[expect(missing_docs, reason = "the names are those of the protocol")]
pub enum Status {
    Success = 0,
    NotFound = 1,
    Exists = 2,
    TooLarge = 3,
    Invalid = 4,
    NotStored = 5,
    NonNumeric = 6,
    Unauthenticated = 0x20,
    AuthContinues = 0x21,
    UnknownCommand = 0x81,
    NoMemory = 0x82,
    Temporary = 0x86,
}

impl Status {
    /// The body of a response that reports an error.
    fn text(self) -> &'static [u8] {
        match self {
            Status::Success | Status::AuthContinues => b"",
            Status::NotFound => b"Not found",
            Status::Exists => b"Data exists for key.",
            Status::TooLarge => b"Too large.",
            Status::Invalid => b"Invalid arguments",
            Status::NotStored => b"Not stored.",
            Status::NonNumeric => b"Non-numeric server-side value for incr or decr",
            Status::Unauthenticated => b"Auth failure.",
            Status::UnknownCommand => b"Unknown command",
            Status::NoMemory => b"Out of memory",
            Status::Temporary => b"Temporary failure",
        }
    }
}

/// What the answer to a request needs of it, besides the outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The command.
    pub opcode: Opcode,
    /// Successes, and misses of reads, are not answered.
    pub quiet: bool,
    /// It is a store that compares.
    pub compares: bool,
    code: u8,
    opaque: [u8; 4],
}

/// Length of an [`Asked`] where it is kept as bytes.
pub const ASKED_BYTES: usize = 6;

impl Asked {
    #[inline]
    fn of(code: u8, opaque: [u8; 4]) -> Self {
        let (opcode, quiet) = Opcode::of(code);
        Self { opcode, quiet, compares: false, code, opaque }
    }

    /// Its bytes, for a wait.
    pub fn to_bytes(self) -> [u8; ASKED_BYTES] {
        let [a, b, c, d] = self.opaque;
        [self.code, u8::from(self.compares), a, b, c, d]
    }

    /// From what [`Asked::to_bytes`] gave, at the front of `kept`; and what follows there.
    pub fn from_bytes(kept: &[u8]) -> (Self, &[u8]) {
        let (&[code, compares, a, b, c, d], rest) =
            kept.split_first_chunk().expect("whoever waits has kept all of it");
        (Self { compares: compares != 0, ..Self::of(code, [a, b, c, d]) }, rest)
    }
}

/// The header of a request, its numbers in the host's order.
#[derive(Clone, Copy, Debug)]
pub struct Header {
    /// Command, quiet or not, opaque.
    pub asked: Asked,
    /// Bytes of the key.
    pub key_bytes: usize,
    /// Bytes of the extras.
    pub extras_bytes: usize,
    /// Bytes of extras, key and value, as announced: not yet checked against the other two.
    pub body_bytes: usize,
    /// 0 is none.
    pub cas: u64,
}

impl Header {
    /// The header at the front of `input`; `None` where it is not complete.
    #[inline]
    pub fn read(input: &[u8]) -> Option<Self> {
        let (header, _) = input.split_first_chunk::<HEADER_BYTES>()?;
        let [_, code, key0, key1, extras, _, _, _, b0, b1, b2, b3, o0, o1, o2, o3, cas @ ..] = *header;
        Some(Self {
            asked: Asked::of(code, [o0, o1, o2, o3]),
            key_bytes: usize::from(u16::from_be_bytes([key0, key1])),
            extras_bytes: usize::from(extras),
            body_bytes: u32::from_be_bytes([b0, b1, b2, b3]) as usize,
            cas: u64::from_be_bytes(cas),
        })
    }
}

/// A response up to its value.
pub struct Response<'b> {
    /// How it ended.
    pub status: Status,
    /// CAS unique of the record; 0 for none.
    pub cas: u64,
    /// What the command returns before the key.
    pub extras: &'b [u8],
    /// The key, where the command returns it.
    pub key: &'b [u8],
    /// Bytes that the caller appends.
    pub value_bytes: usize,
}

impl Response<'_> {
    /// A success that returns nothing.
    pub const SUCCESS: Response<'static> =
        Response { status: Status::Success, cas: 0, extras: &[], key: &[], value_bytes: 0 };

    /// Appends header, extras and key.
    #[inline]
    pub fn push(&self, asked: Asked, output: &mut Output) {
        let body_bytes = self.extras.len() + self.key.len() + self.value_bytes;
        let mut header = [0; HEADER_BYTES];
        header[0] = RESPONSE;
        header[1] = asked.code;
        header[2..4].copy_from_slice(&(self.key.len() as u16).to_be_bytes());
        header[4] = self.extras.len() as u8;
        header[6..8].copy_from_slice(&(self.status as u16).to_be_bytes());
        header[8..12].copy_from_slice(&(body_bytes as u32).to_be_bytes());
        header[12..16].copy_from_slice(&asked.opaque);
        header[16..24].copy_from_slice(&self.cas.to_be_bytes());
        output.bytes.reserve(HEADER_BYTES + self.extras.len() + self.key.len());
        output.push(&header);
        output.push(self.extras);
        output.push(self.key);
    }
}

/// Appends a success with a value and nothing else.
pub fn push_value(asked: Asked, value: &[u8], output: &mut Output) {
    Response { value_bytes: value.len(), ..Response::SUCCESS }.push(asked, output);
    output.push(value);
}

/// Appends an error. Quiet commands are told of errors too.
pub fn push_error(asked: Asked, status: Status, output: &mut Output) {
    push_error_text(asked, status, status.text(), output);
}

/// As [`push_error`], with a body of its own.
pub fn push_error_text(asked: Asked, status: Status, text: &[u8], output: &mut Output) {
    Response { status, value_bytes: text.len(), ..Response::SUCCESS }.push(asked, output);
    output.push(text);
}

#[cfg(test)]
mod tests {
    use super::{Asked, HEADER_BYTES, Header, Opcode};

    #[test]
    fn what_waits_comes_back_whole() {
        for code in 0..=u8::MAX {
            let asked = Asked { compares: code % 2 == 0, ..Asked::of(code, [1, 2, 3, code]) };
            let kept = [&asked.to_bytes()[..], b"key"].concat();
            assert_eq!(Asked::from_bytes(&kept), (asked, &b"key"[..]));
        }
    }

    #[test]
    fn every_quiet_code_has_a_loud_one() {
        for (quiet, loud) in [
            (0x09, 0x00),
            (0x0d, 0x0c),
            (0x11, 0x01),
            (0x12, 0x02),
            (0x13, 0x03),
            (0x14, 0x04),
            (0x15, 0x05),
            (0x16, 0x06),
            (0x17, 0x07),
            (0x18, 0x08),
            (0x19, 0x0e),
            (0x1a, 0x0f),
            (0x1e, 0x1d),
            (0x24, 0x23),
        ] {
            assert_eq!(Opcode::of(quiet), (Opcode::of(loud).0, true), "{quiet:#x}");
            assert!(!Opcode::of(loud).1, "{loud:#x}");
        }
        let quiet = (0..=u8::MAX).filter(|&code| Opcode::of(code).1).count();
        assert_eq!(quiet, 14, "and no other code is quiet");
    }

    #[test]
    fn a_header_is_read_as_it_is_written() {
        let bytes: [u8; HEADER_BYTES] = std::array::from_fn(|at| at as u8);
        let header = Header::read(&bytes).unwrap();
        assert_eq!(header.key_bytes, 0x0203);
        assert_eq!(header.extras_bytes, 4);
        assert_eq!(header.body_bytes, 0x0809_0a0b);
        assert_eq!(header.asked.opaque, [12, 13, 14, 15]);
        assert_eq!(header.cas, 0x1011_1213_1415_1617);
        assert!(Header::read(&bytes[1..]).is_none());
    }
}
