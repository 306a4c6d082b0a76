//! Large input buffers between two uses.
//!
//! A value that comes in many pieces is kept in a buffer of its length until it is complete. To get such a buffer from
//! the allocator and back means to map, fault in and unmap each of its pages, which takes longer than filling it. So
//! a worker keeps some for the next values of its sessions. They were in use at one time before, so what is resident
//! at most does not grow by them, and what nobody wanted for a second goes back.

use crate::limits::{KEPT_INPUT_STEP_BYTES, SPARE_INPUT_BYTES_MAX, SPARE_INPUTS_MAX};

/// The emptied large input buffers of one worker.
#[derive(Default)]
pub struct SpareInputs {
    buffers: Vec<Vec<u8>>,
    /// Capacity of all of them.
    bytes: usize,
    /// The fewest that there were since the last [`SpareInputs::age`].
    unused: usize,
}

impl SpareInputs {
    /// An empty buffer for a command of `needed` bytes; without room where the command is short, or none is spare.
    pub fn take(&mut self, needed: usize) -> Vec<u8> {
        if needed <= KEPT_INPUT_STEP_BYTES {
            return Vec::new();
        }
        let buffer = self.buffers.pop().unwrap_or_default();
        self.bytes -= buffer.capacity();
        self.unused = self.unused.min(self.buffers.len());
        buffer
    }

    /// Takes a buffer that is not needed any more. A small one, and one too many, goes back to the allocator.
    pub fn put(&mut self, mut buffer: Vec<u8>) {
        let bytes = self.bytes + buffer.capacity();
        if buffer.capacity() <= KEPT_INPUT_STEP_BYTES
            || bytes > SPARE_INPUT_BYTES_MAX
            || self.buffers.len() == SPARE_INPUTS_MAX
        {
            return;
        }
        buffer.clear();
        self.buffers.push(buffer);
        self.bytes = bytes;
    }

    /// Once a second: lets go of the buffers that nobody wanted since the last time.
    pub fn age(&mut self) {
        for buffer in self.buffers.drain(..self.unused) {
            self.bytes -= buffer.capacity();
        }
        self.unused = self.buffers.len();
    }

    /// Bytes that are kept.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::{KEPT_INPUT_STEP_BYTES, SPARE_INPUT_BYTES_MAX, SPARE_INPUTS_MAX, SpareInputs};

    #[test]
    fn only_so_many_and_so_large_are_kept() {
        let mut spare = SpareInputs::default();
        spare.put(Vec::with_capacity(KEPT_INPUT_STEP_BYTES));
        assert_eq!(spare.bytes(), 0, "a small one is cheap to get");
        spare.put(Vec::with_capacity(SPARE_INPUT_BYTES_MAX + 1));
        assert_eq!(spare.bytes(), 0, "too large");
        for _ in 0..2 * SPARE_INPUTS_MAX {
            spare.put(vec![1; 2 * KEPT_INPUT_STEP_BYTES]);
        }
        assert_eq!(spare.bytes(), SPARE_INPUTS_MAX * 2 * KEPT_INPUT_STEP_BYTES);
        assert_eq!(spare.take(100).capacity(), 0, "a short command needs none");
        let taken = spare.take(KEPT_INPUT_STEP_BYTES + 1);
        assert_eq!((taken.len(), taken.capacity()), (0, 2 * KEPT_INPUT_STEP_BYTES));
        assert_eq!(spare.bytes(), (SPARE_INPUTS_MAX - 1) * 2 * KEPT_INPUT_STEP_BYTES);
    }

    #[test]
    fn what_nobody_wants_for_a_second_goes() {
        let mut spare = SpareInputs::default();
        let large = || Vec::with_capacity(2 * KEPT_INPUT_STEP_BYTES);
        (0..3).for_each(|_| spare.put(large()));
        spare.age();
        let taken = spare.take(2 * KEPT_INPUT_STEP_BYTES);
        spare.put(taken);
        spare.age();
        assert_eq!(spare.bytes(), 2 * KEPT_INPUT_STEP_BYTES, "two of three were never taken");
        spare.age();
        assert_eq!(spare.bytes(), 0);
    }
}
