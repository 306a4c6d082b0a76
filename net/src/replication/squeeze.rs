//! Compression of batches, where it pays.

/// Compresses while that pays: after a batch that did not shrink by a tenth, the next ones are not tried.
#[derive(Default)]
pub(super) struct Squeeze {
    rests: u32,
    room: Vec<u8>,
}

/// Batches that go uncompressed after one that did not shrink.
const SQUEEZE_RESTS: u32 = 32;
/// Shorter batches are not worth the call.
const SQUEEZE_BYTES_MIN: usize = 512;

impl Squeeze {
    /// The records compressed, if that pays.
    pub(super) fn compress(&mut self, records: &[u8]) -> Option<&[u8]> {
        if records.len() < SQUEEZE_BYTES_MIN {
            return None;
        }
        if self.rests > 0 {
            self.rests -= 1;
            return None;
        }
        self.room.resize(lz4_flex::block::get_maximum_output_size(records.len()), 0);
        let bytes = lz4_flex::block::compress_into(records, &mut self.room)
            .expect("the room is what the library asks for");
        if bytes + records.len() / 10 > records.len() {
            self.rests = SQUEEZE_RESTS;
            return None;
        }
        Some(&self.room[..bytes])
    }
}

#[cfg(test)]
mod tests {
    use super::{SQUEEZE_RESTS, Squeeze};

    #[test]
    fn what_does_not_shrink_is_left_alone_for_a_while() {
        let mut squeeze = Squeeze::default();
        let plain = vec![7; 4096];
        let mut seed = 1u64;
        let mut next = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 56) as u8
        };
        let noise: Vec<u8> = (0..4096).map(|_| next()).collect();
        let small = squeeze.compress(&plain).expect("shrinks").to_vec();
        assert_eq!(lz4_flex::block::decompress(&small, 4096).expect("whole"), plain);
        assert!(squeeze.compress(&noise).is_none());
        for _ in 0..SQUEEZE_RESTS {
            assert!(squeeze.compress(&plain).is_none(), "it rests");
        }
        assert!(squeeze.compress(&plain).is_some());
        assert!(squeeze.compress(&plain[..100]).is_none(), "too short to be worth it");
    }
}
