//! Decimal numbers as memcached reads and writes them.

/// All numbers of two digits, so that a division yields two of them.
const PAIRS: &[u8; 200] = b"0001020304050607080910111213141516171819\
    2021222324252627282930313233343536373839\
    4041424344454647484950515253545556575859\
    6061626364656667686970717273747576777879\
    8081828384858687888990919293949596979899";

/// The first number of more than four digits.
pub const SHORT_END: u64 = 10_000;

/// Longest decimal text of a `u64`.
const DIGITS_MAX: usize = 20;

/// Appends `number` in decimal. No allocation where `out` has room for four bytes more.
#[inline]
pub fn push_u64(out: &mut Vec<u8>, number: u64) {
    if number >= SHORT_END {
        return push_long(out, number);
    }
    let (word, length) = short(number);
    let end = out.len() + length;
    out.extend_from_slice(&word.to_le_bytes());
    out.truncate(end);
}

/// The text of a number below [`SHORT_END`] in the low bytes of a word, and its length.
#[inline]
pub fn short(number: u64) -> (u32, usize) {
    let pair = |at: u64| u32::from(u16::from_le_bytes([PAIRS[at as usize * 2], PAIRS[at as usize * 2 + 1]]));
    let four = pair(number / 100) | pair(number % 100) << 16;
    let length = 1 + usize::from(number >= 10) + usize::from(number >= 100) + usize::from(number >= 1000);
    (four >> (8 * (4 - length)), length)
}

fn push_long(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0u8; DIGITS_MAX];
    let mut start = DIGITS_MAX;
    while number >= 100 {
        let pair = (number % 100) as usize * 2;
        number /= 100;
        start -= 2;
        digits[start..start + 2].copy_from_slice(&PAIRS[pair..pair + 2]);
    }
    if number >= 10 {
        let pair = number as usize * 2;
        start -= 2;
        digits[start..start + 2].copy_from_slice(&PAIRS[pair..pair + 2]);
    } else {
        start -= 1;
        digits[start] = b'0' + number as u8;
    }
    out.extend_from_slice(&digits[start..]);
}

/// How many digits [`push_u64`] writes.
#[inline]
pub fn digits(number: u64) -> u64 {
    u64::from(number.checked_ilog10().unwrap_or(0)) + 1
}

/// An unsigned number; `None` for anything else and past 2^64 - 1.
#[inline]
pub fn parse_u64(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    // 19 digits can't overflow, which keeps the usual case free of checks.
    let (sure, rest) = digits.split_at(digits.len().min(DIGITS_MAX - 1));
    let mut number = 0u64;
    for &byte in sure {
        number = number * 10 + u64::from(digit(byte)?);
    }
    for &byte in rest {
        number = number.checked_mul(10)?.checked_add(u64::from(digit(byte)?))?;
    }
    Some(number)
}

/// A signed number of 64 bits.
#[inline]
pub fn parse_i64(text: &[u8]) -> Option<i64> {
    match text.strip_prefix(b"-") {
        Some(rest) => 0i64.checked_sub_unsigned(parse_u64(rest)?),
        None => i64::try_from(parse_u64(text)?).ok(),
    }
}

/// A signed number of 32 bits.
#[inline]
pub fn parse_i32(text: &[u8]) -> Option<i32> {
    i32::try_from(parse_i64(text)?).ok()
}

/// An unsigned number of 32 bits.
#[inline]
pub fn parse_u32(text: &[u8]) -> Option<u32> {
    u32::try_from(parse_u64(text)?).ok()
}

/// The client flags of a classic store: memcached reads 64 bits as C does and keeps the low 32 of them.
#[inline]
pub fn parse_flags(text: &[u8]) -> Option<u32> {
    parse_u64(text).or_else(|| parse_u64(as_c_reads(text)?)).map(|wide| wide as u32)
}

/// The exptime of a classic store, likewise.
#[inline]
pub fn parse_exptime(text: &[u8]) -> Option<i32> {
    parse_i64(text).or_else(|| parse_i64(as_c_reads(text)?)).map(|wide| wide as i32)
}

/// The number in a text that C's `strtol` reads: white space before it, a plus, white space behind it and then anything. White
/// space alone is 0.
#[cold]
fn as_c_reads(text: &[u8]) -> Option<&[u8]> {
    let is_space = |byte: &u8| byte.is_ascii_whitespace() || *byte == 0x0b;
    let Some(start) = text.iter().position(|byte| !is_space(byte)) else {
        return (!text.is_empty()).then_some(b"0");
    };
    let number = text[start..].split(is_space).next().unwrap_or_default();
    Some(number.strip_prefix(b"+").filter(|rest| rest.first() != Some(&b'-')).unwrap_or(number))
}

#[inline]
fn digit(byte: u8) -> Option<u8> {
    let digit = byte.wrapping_sub(b'0');
    (digit < 10).then_some(digit)
}

#[cfg(test)]
mod tests {
    use super::{digits, parse_exptime, parse_flags, parse_i32, parse_i64, parse_u64, push_u64};

    fn text(number: u64) -> String {
        let mut out = Vec::new();
        push_u64(&mut out, number);
        assert_eq!(digits(number), out.len() as u64);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn numbers_are_written_as_the_standard_library_does() {
        let mut number = 1u64;
        for _ in 0..64 {
            for near in [number - 1, number, number + 9] {
                assert_eq!(text(near), near.to_string());
            }
            number = number.wrapping_mul(2).max(1);
        }
        for power in 0..20 {
            let number = 10u64.pow(power);
            assert_eq!(text(number), number.to_string());
            assert_eq!(text(number - 1), (number - 1).to_string());
        }
        assert_eq!(text(u64::MAX), u64::MAX.to_string());
    }

    #[test]
    fn numbers_are_read_up_to_their_last_value() {
        assert_eq!(parse_u64(b"0"), Some(0));
        assert_eq!(parse_u64(b"18446744073709551615"), Some(u64::MAX));
        assert_eq!(parse_u64(b"18446744073709551616"), None);
        assert_eq!(parse_u64(b"000000000000000000000000000007"), Some(7));
        assert_eq!(parse_i64(b"-9223372036854775808"), Some(i64::MIN));
        assert_eq!(parse_i64(b"9223372036854775808"), None);
        assert_eq!(parse_i32(b"-1"), Some(-1));
        assert_eq!(parse_i32(b"2147483648"), None);
        assert_eq!(parse_flags(b"4294967296"), Some(0));
        for text in [&b"5"[..], b"+5", b"\t5", b"5\t", b"\x0b+5\tx"] {
            assert_eq!((parse_flags(text), parse_exptime(text)), (Some(5), Some(5)), "{text:?}");
        }
        assert_eq!((parse_flags(b"\t"), parse_exptime(b"\t")), (Some(0), Some(0)));
        assert_eq!((parse_exptime(b"-1"), parse_exptime(b"4294967297")), (Some(-1), Some(1)));
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [&b""[..], b"+", b"-", b"-+1", b"+-1", b"1a", b"0x1", b"\xff"] {
            assert_eq!(parse_i64(text), None, "{text:?}");
            assert_eq!(parse_u64(text), None, "{text:?}");
            assert_eq!((parse_flags(text), parse_exptime(text)), (None, None), "{text:?}");
        }
        for text in [&b"+1"[..], b" 1", b"1 ", b"\t1"] {
            assert_eq!((parse_i64(text), parse_u64(text)), (None, None), "{text:?}");
        }
        assert_eq!((parse_u64(b"-1"), parse_flags(b"-1")), (None, None));
    }
}
