//! Frames of the binary protocol, as a client writes and reads them.
#![allow(dead_code, reason = "several tests share this file, and none needs all of it")]

use std::fmt;

/// Length of a header.
const HEADER_BYTES: usize = 24;
const REQUEST: u8 = 0x80;
const RESPONSE: u8 = 0x81;

/// Operation codes, by the names of the protocol.
pub mod code {
    #![allow(missing_docs, reason = "the names are those of the protocol")]
    pub const GET: u8 = 0x00;
    pub const SET: u8 = 0x01;
    pub const ADD: u8 = 0x02;
    pub const REPLACE: u8 = 0x03;
    pub const DELETE: u8 = 0x04;
    pub const INCREMENT: u8 = 0x05;
    pub const DECREMENT: u8 = 0x06;
    pub const QUIT: u8 = 0x07;
    pub const FLUSH: u8 = 0x08;
    pub const GETQ: u8 = 0x09;
    pub const NOOP: u8 = 0x0a;
    pub const VERSION: u8 = 0x0b;
    pub const GETK: u8 = 0x0c;
    pub const GETKQ: u8 = 0x0d;
    pub const APPEND: u8 = 0x0e;
    pub const PREPEND: u8 = 0x0f;
    pub const STAT: u8 = 0x10;
    pub const SETQ: u8 = 0x11;
    pub const ADDQ: u8 = 0x12;
    pub const REPLACEQ: u8 = 0x13;
    pub const DELETEQ: u8 = 0x14;
    pub const INCREMENTQ: u8 = 0x15;
    pub const DECREMENTQ: u8 = 0x16;
    pub const QUITQ: u8 = 0x17;
    pub const FLUSHQ: u8 = 0x18;
    pub const APPENDQ: u8 = 0x19;
    pub const PREPENDQ: u8 = 0x1a;
    pub const VERBOSITY: u8 = 0x1b;
    pub const TOUCH: u8 = 0x1c;
    pub const GAT: u8 = 0x1d;
    pub const GATQ: u8 = 0x1e;
    pub const SASL_LIST: u8 = 0x20;
    pub const SASL_AUTH: u8 = 0x21;
    pub const SASL_STEP: u8 = 0x22;
    pub const GATK: u8 = 0x23;
    pub const GATKQ: u8 = 0x24;
}

/// Statuses of responses, with the text that reports them.
pub mod status {
    #![allow(missing_docs, reason = "the names are those of the protocol")]
    pub const NOT_FOUND: (u16, &str) = (0x01, "Not found");
    pub const EXISTS: (u16, &str) = (0x02, "Data exists for key.");
    pub const TOO_LARGE: (u16, &str) = (0x03, "Too large.");
    pub const INVALID: (u16, &str) = (0x04, "Invalid arguments");
    pub const NOT_STORED: (u16, &str) = (0x05, "Not stored.");
    pub const NON_NUMERIC: (u16, &str) = (0x06, "Non-numeric server-side value for incr or decr");
    pub const AUTH: (u16, &str) = (0x20, "Auth failure.");
    pub const AUTH_CONTINUES: (u16, &str) = (0x21, "");
    pub const UNKNOWN: (u16, &str) = (0x81, "Unknown command");
}

/// A request or a response.
#[derive(Clone, PartialEq, Eq)]
pub struct Frame {
    /// 0x80 or 0x81.
    pub magic: u8,
    /// One of [`code`].
    pub opcode: u8,
    /// Of a response; in a request the virtual bucket.
    pub status: u16,
    /// Comes back as it was sent.
    pub opaque: u32,
    /// 0 is none.
    pub cas: u64,
    /// Fixed fields of the command.
    pub extras: Vec<u8>,
    /// The key.
    pub key: Vec<u8>,
    /// The value.
    pub value: Vec<u8>,
}

impl Frame {
    /// A request with nothing in it.
    pub fn request(opcode: u8) -> Frame {
        let (extras, key, value) = (Vec::new(), Vec::new(), Vec::new());
        Frame { magic: REQUEST, opcode, status: 0, opaque: 0, cas: 0, extras, key, value }
    }

    /// A success with nothing in it.
    pub fn response(opcode: u8) -> Frame {
        Frame { magic: RESPONSE, ..Frame::request(opcode) }
    }

    /// The response that reports `status`.
    pub fn error(opcode: u8, (status, text): (u16, &str)) -> Frame {
        Frame { status, value: text.as_bytes().to_vec(), ..Frame::response(opcode) }
    }

    /// A store of `value` with client flags and exptime.
    pub fn store(
        opcode: u8,
        key: impl AsRef<[u8]>,
        flags: u32,
        exptime: u32,
        value: impl AsRef<[u8]>,
    ) -> Frame {
        let extras = [flags.to_be_bytes(), exptime.to_be_bytes()].concat();
        Frame::request(opcode).extras(extras).key(key).value(value)
    }

    /// Arithmetic by `delta` that begins with `initial`.
    pub fn count(opcode: u8, key: impl AsRef<[u8]>, delta: u64, initial: u64, exptime: u32) -> Frame {
        let numbers = [delta.to_be_bytes(), initial.to_be_bytes()].concat();
        Frame::request(opcode).extras([&numbers[..], &exptime.to_be_bytes()].concat()).key(key)
    }

    /// With these extras.
    pub fn extras(mut self, extras: impl AsRef<[u8]>) -> Frame {
        self.extras = extras.as_ref().to_vec();
        self
    }

    /// With this key.
    pub fn key(mut self, key: impl AsRef<[u8]>) -> Frame {
        self.key = key.as_ref().to_vec();
        self
    }

    /// With this value.
    pub fn value(mut self, value: impl AsRef<[u8]>) -> Frame {
        self.value = value.as_ref().to_vec();
        self
    }

    /// With this CAS unique.
    pub fn cas(mut self, cas: u64) -> Frame {
        self.cas = cas;
        self
    }

    /// With this opaque.
    pub fn opaque(mut self, opaque: u32) -> Frame {
        self.opaque = opaque;
        self
    }

    /// As it is sent.
    pub fn bytes(&self) -> Vec<u8> {
        let body_bytes = self.extras.len() + self.key.len() + self.value.len();
        let mut bytes = vec![self.magic, self.opcode];
        bytes.extend((self.key.len() as u16).to_be_bytes());
        bytes.extend([self.extras.len() as u8, 0]);
        bytes.extend(self.status.to_be_bytes());
        bytes.extend((body_bytes as u32).to_be_bytes());
        bytes.extend(self.opaque.to_be_bytes());
        bytes.extend(self.cas.to_be_bytes());
        bytes.extend([&self.extras[..], &self.key, &self.value].concat());
        bytes
    }

    /// The frame at the front of `bytes`, and what follows it; `None` where it is not complete.
    pub fn read(bytes: &[u8]) -> Option<(Frame, &[u8])> {
        let header = bytes.first_chunk::<HEADER_BYTES>()?;
        let number = |at: usize| u32::from_be_bytes(header[at..at + 4].try_into().expect("four bytes"));
        let key_at = usize::from(header[4]);
        let value_at = key_at + usize::from(u16::from_be_bytes([header[2], header[3]]));
        let end = HEADER_BYTES + number(8) as usize;
        let body = bytes.get(HEADER_BYTES..end)?;
        let frame = Frame {
            magic: header[0],
            opcode: header[1],
            status: u16::from_be_bytes([header[6], header[7]]),
            opaque: number(12),
            cas: u64::from_be_bytes(header[16..].try_into().expect("eight bytes")),
            extras: body[..key_at].to_vec(),
            key: body[key_at..value_at].to_vec(),
            value: body[value_at..].to_vec(),
        };
        Some((frame, &bytes[end..]))
    }

    /// All frames in `bytes`, which must be whole.
    pub fn read_all(mut bytes: &[u8]) -> Vec<Frame> {
        let mut frames = Vec::new();
        while !bytes.is_empty() {
            let (frame, rest) =
                Frame::read(bytes).unwrap_or_else(|| panic!("half a frame: {}", bytes.escape_ascii()));
            frames.push(frame);
            bytes = rest;
        }
        frames
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Frame { magic, opcode, status, opaque, cas, .. } = self;
        write!(f, "{magic:#x} code {opcode:#x} status {status:#x} opaque {opaque:#x} cas {cas}")?;
        for (name, bytes) in [("extras", &self.extras), ("key", &self.key), ("value", &self.value)] {
            write!(f, " {name} \"{}\"", bytes[..bytes.len().min(100)].escape_ascii())?;
        }
        Ok(())
    }
}
