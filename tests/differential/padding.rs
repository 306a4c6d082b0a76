//! How long a number is that shrank in its place.
//!
//! memcached writes a number that has no more digits than the old one in its place and fills up with spaces, but only
//! where nothing else points to it: an answer that is still on its way, of this connection or of another thread. Where
//! something does, the number becomes a new one without spaces. Which of the two it is depends on the moment. Here, it is
//! always filled up.
//!
//! This follows the numbers that a client may read through every change, and knows what each server may hold. A
//! difference is explained only where both answers are among that.

use std::collections::{BTreeSet, HashMap};

use crate::frames::{Frame, code};

/// Longest value that is followed; what grows beyond is no number for a long time to come.
const FOLLOWED_BYTES_MAX: usize = 4096;

/// Whether a server may give a number that does not grow as many bytes as it has digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shrinking {
    /// memcached: it depends on the moment.
    Sometimes,
    /// Its length stays, always.
    Never,
}

/// What one server may hold for the keys that hold numbers, or began as one.
pub struct Numbers {
    shrinking: Shrinking,
    possible: HashMap<Vec<u8>, BTreeSet<Vec<u8>>>,
}

impl Numbers {
    /// Nothing is known to be a number.
    pub fn new(shrinking: Shrinking) -> Self {
        Self { shrinking, possible: HashMap::new() }
    }

    /// Takes notice of a value that was read; false where `key` can't hold it.
    pub fn settle(&mut self, key: &[u8], value: &[u8]) -> bool {
        let Some(possible) = self.possible.get_mut(key).filter(|possible| possible.contains(value)) else {
            return false;
        };
        possible.retain(|other| other == value);
        true
    }

    /// Takes notice of a request that succeeded; `None` is the success of a quiet one.
    pub fn observe(&mut self, request: &Frame, response: Option<&Frame>) {
        let key = &request.key;
        match request.opcode {
            code::SET..=code::DELETE | code::SETQ..=code::DELETEQ => self.forget(key),
            code::INCREMENT | code::DECREMENT | code::INCREMENTQ | code::DECREMENTQ => self.count(request),
            code::APPEND | code::APPENDQ => self.change(key, |old| [old, &request.value].concat()),
            code::PREPEND | code::PREPENDQ => self.change(key, |old| [&request.value, old].concat()),
            code::FLUSH | code::FLUSHQ => self.possible.clear(),
            // A read with a new end that is silent found nothing.
            code::TOUCH | code::GAT | code::GATK if is_over(request) => self.forget(key),
            code::GATQ | code::GATKQ if is_over(request) && response.is_some() => self.forget(key),
            _ => {}
        }
    }

    fn forget(&mut self, key: &[u8]) {
        self.possible.remove(key);
    }

    fn change(&mut self, key: &[u8], change: impl Fn(&[u8]) -> Vec<u8>) {
        let Some(possible) = self.possible.get_mut(key) else { return };
        *possible = possible.iter().map(|old| change(old)).collect();
        if possible.iter().any(|value| value.len() > FOLLOWED_BYTES_MAX) {
            self.forget(key);
        }
    }

    fn count(&mut self, request: &Frame) {
        let number =
            |at: usize| u64::from_be_bytes(request.extras[at..at + 8].try_into().expect("eight bytes"));
        let (delta, initial) = (number(0), number(8));
        let is_decrement = matches!(request.opcode, code::DECREMENT | code::DECREMENTQ);
        let olds = self.possible.remove(&request.key).unwrap_or_default();
        let mut possible = BTreeSet::new();
        for old in &olds {
            let Some(number) = leading_number(old) else { continue };
            let number = if is_decrement { number.saturating_sub(delta) } else { number.wrapping_add(delta) };
            let mut text = number.to_string().into_bytes();
            if self.shrinking == Shrinking::Sometimes {
                possible.insert(text.clone());
            }
            text.resize(text.len().max(old.len()), b' ');
            possible.insert(text);
        }
        if possible.is_empty() {
            // No value that is not followed is a number, so that there was none.
            possible.insert(initial.to_string().into_bytes());
        }
        self.possible.insert(request.key.clone(), possible);
    }
}

/// The digits that a value begins with, where only a space may follow.
fn leading_number(value: &[u8]) -> Option<u64> {
    let end = value.iter().position(|byte| *byte == b' ').unwrap_or(value.len());
    std::str::from_utf8(&value[..end]).ok()?.parse().ok()
}

/// Whether the exptime that stands alone in the extras lies in the past.
fn is_over(request: &Frame) -> bool {
    const RELATIVE_SECONDS_MAX: u32 = 60 * 60 * 24 * 30;
    const LONG_PAST: u32 = 1_600_000_000;
    let exptime = u32::from_be_bytes(request.extras[..4].try_into().expect("four bytes"));
    (RELATIVE_SECONDS_MAX + 1..LONG_PAST).contains(&exptime)
}

#[cfg(test)]
mod tests {
    use super::{Numbers, Shrinking};
    use crate::frames::{Frame, code};

    fn numbers(shrinking: Shrinking, requests: &[Frame]) -> Numbers {
        let mut numbers = Numbers::new(shrinking);
        requests.iter().for_each(|request| numbers.observe(request, None));
        numbers
    }

    fn counted(opcode: u8, delta: u64) -> Frame {
        Frame::count(opcode, "key", delta, 100, 0)
    }

    fn joined(opcode: u8, value: &str) -> Frame {
        Frame::request(opcode).key("key").value(value)
    }

    #[test]
    fn only_what_shrank_may_be_shorter_and_only_by_its_spaces() {
        let history = [
            counted(code::INCREMENTQ, 0),
            counted(code::DECREMENTQ, 91),
            joined(code::APPENDQ, " v"),
            joined(code::PREPENDQ, "w"),
        ];
        for (shrinking, value, is_possible) in [
            (Shrinking::Sometimes, "w9 v", true),
            (Shrinking::Sometimes, "w9   v", true),
            (Shrinking::Sometimes, "w9  v", false),
            (Shrinking::Sometimes, "w9 v  ", false),
            (Shrinking::Never, "w9   v", true),
            (Shrinking::Never, "w9 v", false),
        ] {
            let mut numbers = numbers(shrinking, &history);
            assert_eq!(numbers.settle(b"key", value.as_bytes()), is_possible, "{shrinking:?}: {value}");
            assert!(!numbers.settle(b"other", value.as_bytes()));
        }
    }

    #[test]
    fn what_was_seen_is_all_that_is_possible() {
        let history = [counted(code::INCREMENT, 0), counted(code::DECREMENT, 1)];
        let mut numbers = numbers(Shrinking::Sometimes, &history);
        assert!(numbers.settle(b"key", b"99"));
        assert!(!numbers.settle(b"key", b"99 "));
        numbers.observe(&counted(code::INCREMENT, 1), None);
        assert!(numbers.settle(b"key", b"100"));
    }

    #[test]
    fn a_new_value_is_none_that_shrank() {
        let history = [counted(code::INCREMENT, 0), counted(code::DECREMENT, 1)];
        let touch = |exptime: u32| Frame::request(code::TOUCH).extras(exptime.to_be_bytes()).key("key");
        for (last, is_followed) in [
            (Frame::store(code::SETQ, "key", 0, 0, "v"), false),
            (Frame::request(code::DELETE).key("key"), false),
            (Frame::request(code::FLUSHQ), false),
            (touch(2_592_001), false),
            (touch(2_592_000), true),
            (touch(0), true),
            (touch(u32::MAX), true),
        ] {
            let mut numbers = numbers(Shrinking::Sometimes, &history);
            numbers.observe(&last, None);
            assert_eq!(numbers.settle(b"key", b"99"), is_followed, "{last:?}");
        }
    }
}
