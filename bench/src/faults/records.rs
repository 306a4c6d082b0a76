//! Keys and values that tell who wrote them: a value is made of its key and its number alone, so that every byte of it
//! can be checked wherever it is shown.

use super::ledger::{State, What};
use crate::keys::Random;

/// What a node shows under a key, as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// The value.
    pub value: Vec<u8>,
    /// Client flags.
    pub flags: u32,
    /// When it ends, in Unix seconds; 0 is never.
    pub expires: u64,
}

/// The name of key `number`.
pub fn key(number: u32) -> String {
    format!("fault-{number:05}")
}

/// Whether numbers are counted under it.
pub fn is_counted(number: u32) -> bool {
    number.is_multiple_of(COUNTED_ONE_IN)
}

/// The value and the flags of `what` under key `number`.
pub fn render(number: u32, what: What) -> (Vec<u8>, u32) {
    let What::Value(written) = what else {
        let What::Count(count) = what else { unreachable!("there are two of them") };
        return (count.to_string().into_bytes(), COUNT_FLAGS);
    };
    let mut random = Random::new(written << 20 ^ u64::from(number));
    let length = match written % LARGE_ONE_IN {
        0 => LARGE_BYTES_MIN + random.below(LARGE_BYTES_MAX - LARGE_BYTES_MIN),
        _ => random.below(SMALL_BYTES_MAX),
    } as usize;
    let mut value = format!("{}|{written}|", key(number)).into_bytes();
    let end = value.len() + length;
    while value.len() < end {
        // Every second value can be compressed.
        match written % 2 {
            0 => value.extend_from_slice(&[b'a' + random.below(26) as u8; 16]),
            _ => value.extend_from_slice(&random.bits().to_le_bytes()),
        }
    }
    value.truncate(end);
    (value, random.below(u32::MAX))
}

/// What a node shows under key `number`, checked byte by byte. Errors: nobody has written that.
pub fn recognize(number: u32, shown: Option<&Shown>) -> Result<State, String> {
    let Some(shown) = shown else { return Ok(State::Absent) };
    let what = if is_counted(number) { counted(&shown.value) } else { written(&shown.value) };
    let begin = &shown.value[..shown.value.len().min(40)];
    let strange =
        || format!("{} shows {:?}, which nobody wrote", key(number), begin.escape_ascii().to_string());
    let what = what.ok_or_else(strange)?;
    if render(number, what) != (shown.value.clone(), shown.flags) {
        return Err(format!("{} shows {what:?} with other bytes or flags than were written", key(number)));
    }
    Ok(State::Holds { what, expires: shown.expires })
}

fn counted(value: &[u8]) -> Option<What> {
    std::str::from_utf8(value).ok()?.trim_end().parse().ok().map(What::Count)
}

/// The number between the first two bars.
fn written(value: &[u8]) -> Option<What> {
    let number = value.split(|byte| *byte == b'|').nth(1)?;
    std::str::from_utf8(number).ok()?.parse().ok().map(What::Value)
}

/// One key in so many is counted.
pub const COUNTED_ONE_IN: u32 = 8;
const COUNT_FLAGS: u32 = 7;
/// One value in so many has a run of its own, and travels alone.
const LARGE_ONE_IN: u64 = 600;
const LARGE_BYTES_MIN: u32 = 70_000;
const LARGE_BYTES_MAX: u32 = 400_000;
const SMALL_BYTES_MAX: u32 = 900;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_of_a_value_is_checked() {
        for (number, what) in [(8, What::Count(70)), (9, What::Value(1)), (9, What::Value(2 * LARGE_ONE_IN))]
        {
            let (value, flags) = render(number, what);
            let good = Shown { value, flags, expires: 5 };
            assert_eq!(recognize(number, Some(&good)), Ok(State::Holds { what, expires: 5 }));
            let other = if is_counted(number) { number + 1 } else { number + 8 };
            assert!(recognize(other, Some(&good)).is_err(), "another key's");
            assert!(recognize(number, Some(&Shown { flags: flags ^ 1, ..good.clone() })).is_err());
            let mut damaged = good.clone();
            *damaged.value.last_mut().unwrap() ^= 0x80;
            assert!(recognize(number, Some(&damaged)).is_err());
        }
        assert_eq!(recognize(9, None), Ok(State::Absent));
    }
}
