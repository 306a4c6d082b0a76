//! incr, decr and `ma`: unsigned 64-bit arithmetic on a decimal value.

use crate::engine::Shared;
use crate::limits::COUNTER_DIGITS_MAX;
use crate::record::{RecordView, TOKEN_OF_CLIENTS};
use crate::shard::Owner;
use crate::time::Now;
use crate::write::{Arithmetic, Outcome, Status, Store, Write};

impl Owner {
    pub(super) fn arithmetic(
        &mut self,
        shared: &Shared,
        write: &Write<'_>,
        arithmetic: &Arithmetic,
        now: Now,
    ) -> Outcome {
        let Some(place) = self.find_living(shared, write, now) else {
            return self.create_number(shared, write, arithmetic, now);
        };
        let view = RecordView::at(&shared.arena, place.location);
        if view.value().is_empty() {
            return Outcome::bare(Status::NonNumeric);
        }
        if arithmetic.compare.is_some_and(|asked| asked != 0 && asked != view.cas()) {
            return Outcome::bare(Status::Exists);
        }
        let Some(present) = parse_counter(view.value()) else { return Outcome::bare(Status::NonNumeric) };
        let number = if arithmetic.decrement {
            present.saturating_sub(arithmetic.delta)
        } else {
            present.wrapping_add(arithmetic.delta)
        };
        let mut digits = [b' '; COUNTER_TEXT_MAX];
        let digits_len = write_decimal(number, &mut digits);
        // memcached writes a result that is not longer in place and pads it: clients see the old length.
        // One that has grown is a new item there, neither stale nor fetched.
        let has_grown = digits_len > view.value().len();
        let value_len = digits_len.max(view.value().len());
        let mut longer = Vec::new();
        let text = if value_len <= COUNTER_TEXT_MAX {
            &digits[..value_len]
        } else {
            // A number at the front of a long text is rare enough for an allocation.
            longer.resize(value_len, b' ');
            longer[..digits_len].copy_from_slice(&digits[..digits_len]);
            &longer
        };
        let expiry_before = view.expiry();
        let expiry = arithmetic.expiry.unwrap_or(expiry_before);
        let (flags, access, token) = (view.flags(), view.access(), view.token() & TOKEN_OF_CLIENTS);
        let store = Store { explicit_cas: arithmetic.explicit_cas, ..Store::set(text, flags, expiry) };
        let mut draft = super::store::draft(write, &store, now);
        if !has_grown {
            (draft.access, draft.token) = (access, token);
        }
        let outcome = self.commit(shared, write, draft, false, now);
        Outcome { number, expiry_before, ..outcome }
    }

    fn create_number(
        &mut self,
        shared: &Shared,
        write: &Write<'_>,
        arithmetic: &Arithmetic,
        now: Now,
    ) -> Outcome {
        let Some((expiry, number)) = arithmetic.create else { return Outcome::bare(Status::NotFound) };
        let mut digits = [b' '; COUNTER_TEXT_MAX];
        let digits_len = write_decimal(number, &mut digits);
        let store =
            Store { explicit_cas: arithmetic.explicit_cas, ..Store::set(&digits[..digits_len], 0, expiry) };
        let outcome = self.commit(shared, write, super::store::draft(write, &store, now), false, now);
        match outcome.status {
            Status::Stored => Outcome { status: Status::Created, number, ..outcome },
            _ => outcome,
        }
    }
}

/// Longest value that is counted without an allocation: the digits and the padding that shrinking numbers leave.
const COUNTER_TEXT_MAX: usize = 64;
/// Longest value that can be a counter; memcached keeps larger ones in pieces and does not look for a number there.
const COUNTER_VALUE_MAX: usize = 512 * 1024;

const _: () = assert!(COUNTER_TEXT_MAX >= COUNTER_DIGITS_MAX);

/// The number at the start of a value: digits, then nothing or white space, as strtoull reads it.
fn parse_counter(value: &[u8]) -> Option<u64> {
    if value.len() > COUNTER_VALUE_MAX {
        return None;
    }
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c);
    let start = value.iter().position(|byte| !is_space(byte))?;
    let digits = value[start..].strip_prefix(b"+").unwrap_or(&value[start..]);
    let end = digits.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(digits.len());
    if end == 0 || digits.get(end).is_some_and(|byte| !is_space(byte)) {
        return None;
    }
    digits[..end]
        .iter()
        .try_fold(0u64, |number, digit| number.checked_mul(10)?.checked_add(u64::from(digit - b'0')))
}

/// Decimal digits of `number` at the start of `text`; returns how many.
fn write_decimal(mut number: u64, text: &mut [u8; COUNTER_TEXT_MAX]) -> usize {
    let mut reversed = [0u8; COUNTER_DIGITS_MAX];
    let mut len = 0;
    loop {
        reversed[len] = b'0' + (number % 10) as u8;
        number /= 10;
        len += 1;
        if number == 0 {
            break;
        }
    }
    for (to, from) in text.iter_mut().zip(reversed[..len].iter().rev()) {
        *to = *from;
    }
    len
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_read_as_memcached_reads_them() {
        for (text, number) in [
            (&b"0"[..], Some(0)),
            (b"9 ", Some(9)),
            (b"007", Some(7)),
            (b"18446744073709551615", Some(u64::MAX)),
            (b"18446744073709551616", None),
            (b"", None),
            (b"-1", None),
            (b"1x", None),
            (b"x1", None),
            (b"  ", None),
        ] {
            assert_eq!(parse_counter(text), number, "{text:?}");
        }
    }

    #[test]
    fn decimals_are_written_whole() {
        for number in [0, 9, 10, 12_345, u64::MAX] {
            let mut text = [0u8; COUNTER_TEXT_MAX];
            let len = write_decimal(number, &mut text);
            assert_eq!(&text[..len], number.to_string().as_bytes());
        }
    }
}
