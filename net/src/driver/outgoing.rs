//! The answers of a connection from the moment they are final until the last byte is sent.

use crate::limits::OUTPUT_BYTES_KEPT;
use crate::output::Output;

/// Filled by a session, then owned by the driver while the kernel reads it, then used again.
#[derive(Default)]
pub struct Outgoing {
    /// The answers.
    pub output: Output,
    /// How many bytes of them have been sent.
    sent: usize,
}

impl Outgoing {
    /// Bytes that are still to be sent.
    pub fn left(&self) -> usize {
        self.output.len() - self.sent
    }

    /// Counts `bytes` as sent.
    pub fn advance(&mut self, bytes: usize) {
        assert!(bytes <= self.left(), "the kernel sends no more than it was given");
        self.sent += bytes;
    }

    /// Makes it ready for other answers; the memory that long ones needed is given back.
    pub fn clear(&mut self) {
        self.output.clear();
        self.output.bytes.shrink_to(OUTPUT_BYTES_KEPT);
        self.sent = 0;
    }

    /// Makes it ready for other bytes of about the same length.
    pub fn reuse(&mut self) {
        self.output.clear();
        self.sent = 0;
    }

    /// What is still to be sent, piece by piece: encoded bytes and pinned values in the order of the stream.
    pub fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        let mut skip = self.sent;
        self.output.pieces().filter_map(move |piece| {
            let skipped = skip.min(piece.len());
            skip -= skipped;
            (skipped < piece.len()).then(|| &piece[skipped..])
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Outgoing;

    #[test]
    fn what_is_sent_is_not_sent_again() {
        let mut outgoing = Outgoing::default();
        outgoing.output.push(b"0123456789");
        outgoing.advance(3);
        assert_eq!(outgoing.left(), 7);
        assert_eq!(outgoing.pieces().collect::<Vec<_>>(), [b"3456789"]);
        outgoing.advance(7);
        assert_eq!(outgoing.left(), 0);
        assert_eq!(outgoing.pieces().count(), 0);
        outgoing.clear();
        outgoing.output.push(b"ab");
        assert_eq!(outgoing.pieces().collect::<Vec<_>>(), [b"ab"]);
    }
}
