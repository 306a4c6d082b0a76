//! Writes that stand behind the one at hand, announced to the processor before their turn comes.
//!
//! A write goes to its bucket and to the record that it replaces, and waits for both. Reads are parsed ahead and made
//! together ([`super::lookups`]); a write must be executed in its place, so only its way is looked at beforehand:
//!
//! ```text
//! at command n:   load the bucket of n + 2,   probe that of n + 1 and load its record,   execute n
//! ```
//!
//! Twice as far ahead gained nothing (docs/decisions/0013-writes-ahead.md). What is seen is a hint. That it is wrong, or the key another worker's, costs time and nothing else.

use ringcache_engine::{KeyHash, Reader};

use crate::protocol::glance;

/// How many writes ahead the bucket is announced.
const AHEAD: usize = 2;
/// And the record.
const RECORD_AHEAD: usize = 1;

/// A write that has not been executed.
#[derive(Clone, Copy)]
struct Foreseen {
    /// Where in the input it begins.
    at: usize,
    hash: KeyHash,
}

/// What is known of the input behind the command at hand.
#[derive(Default)]
pub struct Foresight {
    /// The next writes, in order.
    ahead: [Option<Foreseen>; AHEAD],
    /// Where the first command begins that was not looked at.
    seen_until: usize,
}

impl Foresight {
    /// Looks ahead from the write that `rest` begins with, `at` bytes into the input. Cost: one glance at a command
    /// line, and one more at the first write of each input.
    #[inline]
    pub fn look(&mut self, rest: &[u8], at: usize, reader: &Reader) {
        if self.seen_until <= at {
            self.ahead = [None; AHEAD];
            self.seen_until = at + glance::write(rest).map_or(0, |glance| glance.bytes);
        }
        while let Some(foreseen) = self.ahead[0]
            && foreseen.at <= at
        {
            self.ahead.rotate_left(1);
            self.ahead[AHEAD - 1] = None;
        }
        if let Some(foreseen) = self.ahead[RECORD_AHEAD - 1] {
            reader.candidate(reader.approach(foreseen.hash), foreseen.hash);
        }
        for place in 0..AHEAD {
            if self.ahead[place].is_none() {
                self.ahead[place] = self.see(rest, at);
                let Some(foreseen) = self.ahead[place] else { break };
                reader.approach(foreseen.hash);
            }
        }
    }

    /// The write behind what has been seen.
    #[inline]
    fn see(&mut self, rest: &[u8], at: usize) -> Option<Foreseen> {
        let begins = self.seen_until;
        let glance = glance::write(rest.get(begins - at..)?)?;
        self.seen_until = begins + glance.bytes;
        Some(Foreseen { at: begins, hash: KeyHash::of(glance.key) })
    }
}

#[cfg(test)]
mod tests {
    use ringcache_engine::{Engine, EngineOptions};

    use super::*;

    const INPUT: &[u8] =
        b"set a 0 0 1\r\n1\r\ndelete b\r\nset c 0 0 2 noreply\r\n12\r\nget d\r\nset e 0 0 1\r\n1\r\n";

    fn place_of(text: &[u8]) -> usize {
        INPUT.windows(text.len()).position(|window| window == text).expect("it is in the input")
    }

    #[test]
    fn the_next_two_writes_are_foreseen_and_reads_end_the_view() {
        let options = EngineOptions { memory_bytes: 8 << 20, ..EngineOptions::default() };
        let (engine, _shards) = Engine::open(&options, 1).expect("memory");
        let reader = engine.reader();
        let mut foresight = Foresight::default();
        let mut seen = |command: &[u8]| {
            let at = place_of(command);
            foresight.look(&INPUT[at..], at, &reader);
            foresight.ahead.map(|foreseen| foreseen.map(|foreseen| (foreseen.at, foreseen.hash)))
        };
        let write = |command: &[u8], key: &[u8]| Some((place_of(command), KeyHash::of(key)));
        assert_eq!(seen(b"set a"), [write(b"delete b", b"b"), write(b"set c", b"c")]);
        assert_eq!(seen(b"delete b"), [write(b"set c", b"c"), None]);
        assert_eq!(seen(b"set c"), [None, None]);
        assert_eq!(seen(b"set e"), [None, None], "nothing stands behind it");
    }

    #[test]
    fn after_a_command_that_is_no_write_the_view_begins_anew() {
        let options = EngineOptions { memory_bytes: 8 << 20, ..EngineOptions::default() };
        let (engine, _shards) = Engine::open(&options, 1).expect("memory");
        let reader = engine.reader();
        let mut foresight = Foresight::default();
        foresight.look(INPUT, 0, &reader);
        let at = place_of(b"set c");
        foresight.look(&INPUT[at..], at, &reader);
        assert!(foresight.ahead.iter().all(Option::is_none), "a get stands behind it");
    }
}
