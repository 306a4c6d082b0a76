//! Finding the end of a token and of a line. Both are nearly always close by, and a short way is cheaper gone in
//! place, eight bytes a step, than with a call; a long one is left to `memchr`.

use memchr::memchr;

/// How far this module looks by itself.
const NEAR_BYTES: usize = 32;
const WORD_BYTES: usize = size_of::<u64>();
/// A one in each byte.
const ONES: u64 = u64::MAX / 0xff;

/// Where `byte` stands first in `text`.
#[inline]
pub fn find(byte: u8, text: &[u8]) -> Option<usize> {
    let mut at = 0;
    while let Some(word) = text.get(at..).and_then(<[u8]>::first_chunk) {
        if at == NEAR_BYTES {
            return memchr(byte, &text[at..]).map(|further| at + further);
        }
        if let Some(place) = find_in(byte, *word) {
            return Some(at + place);
        }
        at += WORD_BYTES;
    }
    match text.last_chunk() {
        // Overlaps the bytes before, in which there is none.
        Some(word) => find_in(byte, *word).map(|place| text.len() - WORD_BYTES + place),
        None => text.iter().position(|other| *other == byte),
    }
}

/// The same in one word (Mycroft's test for a zero byte; the lowest byte that it finds is right, the others may not be).
#[inline]
fn find_in(byte: u8, word: [u8; WORD_BYTES]) -> Option<usize> {
    let zero_where_found = u64::from_le_bytes(word) ^ (ONES * u64::from(byte));
    let found = zero_where_found.wrapping_sub(ONES) & !zero_where_found & (ONES << 7);
    (found != 0).then_some(found.trailing_zeros() as usize / 8)
}

#[cfg(test)]
mod tests {
    use super::find;

    #[test]
    fn the_first_of_several_is_found_at_every_place() {
        for length in 0..100 {
            for place in 0..length {
                let mut text = vec![b'!'; length];
                text[place..].fill(b' ');
                assert_eq!(find(b' ', &text), Some(place), "of {length}");
                assert_eq!(find(b'\n', &text), None);
                text[place] = 0xa0;
                assert_eq!(find(b' ', &text), (place + 1 < length).then_some(place + 1), "of {length}");
            }
        }
    }
}
