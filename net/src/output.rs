//! The answers of one connection that wait to be sent.
//!
//! Small answers are bytes in one buffer, encoded in place. A large value is not copied: it stays pinned in the
//! engine's memory and only its place in the byte stream is kept.
//!
//! ```text
//! bytes    [VALUE k 0 1048576\r\n][\r\nEND\r\n][VALUE ...]
//!                                ^ at
//! pinned                         [ 1 MiB of the value, in slab memory ]
//! ```

use std::collections::VecDeque;
use std::iter;
use std::ops::Range;

use ringcache_engine::PinnedValue;

/// A pinned value and where in the byte stream it belongs.
pub struct Pinned {
    /// Offset in `Output::bytes` before which the value is sent.
    pub at: usize,
    /// The value.
    pub value: PinnedValue,
}

/// Belongs to one connection while it has answers to send; its buffers return to the worker's pool afterwards.
#[derive(Default)]
pub struct Output {
    /// Encoded answers.
    pub bytes: Vec<u8>,
    /// Values between them, in order of `at`.
    pub pinned: VecDeque<Pinned>,
    pinned_bytes: usize,
}

impl Output {
    /// Appends encoded bytes.
    #[inline]
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Appends a value that stays where it is.
    pub fn push_pinned(&mut self, value: PinnedValue) {
        self.pinned_bytes += value.bytes().len();
        self.pinned.push_back(Pinned { at: self.bytes.len(), value });
    }

    /// Appends the part of `other` whose encoded bytes are in `range`, with the values between them. The parts of
    /// one output have to be taken in order.
    pub fn take(&mut self, other: &mut Output, range: Range<usize>) {
        let base = self.bytes.len();
        // A value at the very end belongs to this part: its header stands before it, and never the next part's.
        while other.pinned.front().is_some_and(|pinned| pinned.at <= range.end) {
            let pinned = other.pinned.pop_front().expect("looked at just before");
            let value_bytes = pinned.value.bytes().len();
            other.pinned_bytes -= value_bytes;
            self.pinned_bytes += value_bytes;
            self.pinned.push_back(Pinned { at: base + pinned.at - range.start, value: pinned.value });
        }
        self.bytes.extend_from_slice(&other.bytes[range]);
    }

    /// All of it, piece by piece: encoded bytes and pinned values in the order of the stream. Some may be empty.
    pub fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        let mut from = 0;
        let parts = self.pinned.iter().flat_map(move |pinned| {
            let bytes = &self.bytes[from..pinned.at];
            from = pinned.at;
            [bytes, pinned.value.bytes()]
        });
        let behind = self.pinned.back().map_or(0, |pinned| pinned.at);
        parts.chain(iter::once(&self.bytes[behind..]))
    }

    /// Bytes that wait, pinned values included.
    #[inline]
    pub fn len(&self) -> usize {
        self.bytes.len() + self.pinned_bytes
    }

    /// Nothing waits.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Forgets everything and keeps the buffer.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.pinned.clear();
        self.pinned_bytes = 0;
    }
}
