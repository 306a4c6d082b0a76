//! Base64 of meta keys (`b`): the standard alphabet, padded.

/// What a byte that is no base64 digit maps to.
const NONE: u8 = 0xff;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

const VALUES: [u8; 256] = {
    let mut values = [NONE; 256];
    let mut index = 0;
    while index < ALPHABET.len() {
        values[ALPHABET[index] as usize] = index as u8;
        index += 1;
    }
    values
};

/// Decodes `text` to the front of `out` and gives the length; `None` where it is not padded base64 of at least
/// one byte, or `out` is too short.
pub fn decode(text: &[u8], out: &mut [u8]) -> Option<usize> {
    if text.is_empty() || !text.len().is_multiple_of(4) {
        return None;
    }
    let padding = text.iter().rev().take(2).take_while(|&&byte| byte == b'=').count();
    let length = text.len() / 4 * 3 - padding;
    let out = out.get_mut(..length)?;
    for (quad, bytes) in text.chunks_exact(4).zip(out.chunks_mut(3)) {
        let mut bits = 0u32;
        for (index, &digit) in quad.iter().enumerate() {
            // A full chunk of output has no padding in its quad; a shorter one has none before its last digits.
            let value = if index <= bytes.len() { VALUES[usize::from(digit)] } else { 0 };
            if value == NONE {
                return None;
            }
            bits = bits << 6 | u32::from(value);
        }
        let triple = bits.to_be_bytes();
        bytes.copy_from_slice(&triple[1..1 + bytes.len()]);
    }
    Some(length)
}

/// Appends `bytes` in base64.
pub fn encode(bytes: &[u8], out: &mut Vec<u8>) {
    for chunk in bytes.chunks(3) {
        let mut triple = [0u8; 4];
        triple[1..1 + chunk.len()].copy_from_slice(chunk);
        let bits = u32::from_be_bytes(triple);
        for index in 0..4 {
            let digit = ALPHABET[(bits >> (18 - 6 * index) & 63) as usize];
            out.push(if index <= chunk.len() { digit } else { b'=' });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{decode, encode};

    #[test]
    fn every_length_comes_back() {
        for length in 1..=187usize {
            let bytes: Vec<u8> = (0..length).map(|index| (index * 37 + length) as u8).collect();
            let mut text = Vec::new();
            encode(&bytes, &mut text);
            let mut out = [0u8; 250];
            let decoded = decode(&text, &mut out).unwrap();
            assert_eq!(&out[..decoded], &bytes[..]);
        }
    }

    #[test]
    fn the_alphabet_is_the_standard_one() {
        let mut text = Vec::new();
        encode(b"\xfb\xff\xfe foo", &mut text);
        assert_eq!(text, b"+//+IGZvbw==");
    }

    #[test]
    fn broken_text_is_refused() {
        let mut out = [0u8; 250];
        for text in [
            &b""[..],
            b"A",
            b"AB",
            b"ABC",
            b"AB=C",
            b"A===",
            b"====",
            b"AB*=",
            b"AB==AB==",
            b"Zm9v\xff\xff\xff\xff",
        ] {
            assert_eq!(decode(text, &mut out), None, "{text:?}");
        }
        assert_eq!(decode(b"Zm9v", &mut out[..2]), None);
    }
}
