//! Looking for something to do a little longer before going to sleep.
//!
//! A wake-up costs the sleeper and the one who wakes it, on virtual machines many times the work that follows. Where
//! the next request comes within microseconds it is cheaper to look for it. A look that finds nothing is wasted, so
//! looking has to pay: after each look in vain twice as many waits go straight to sleep, up to [`SKIPPED_MAX`], and
//! a node without load, which waits once per second, spins for some microseconds per minute.
//!
//! While it looks the worker gives its core to whoever else wants it, a client on the same machine above all. Time
//! that others use counts against the look.

use std::time::{Duration, Instant};

/// Waits between two looks when none has paid for long.
const SKIPPED_MAX: u32 = 63;
/// Looks between two system calls that offer the core to others.
const LOOKS: u32 = 32;

/// The habit of one worker.
pub struct Spin {
    limit: Duration,
    /// Waits that go straight to sleep after each look in vain.
    skips: u32,
    /// How many of them are left.
    skips_left: u32,
}

impl Spin {
    /// Looks for at most `limit`; never with a limit of zero.
    pub fn new(limit: Duration) -> Self {
        Self { limit, skips: 0, skips_left: 0 }
    }

    /// Whether this wait begins with a look.
    #[inline]
    pub fn is_due(&mut self) -> bool {
        if self.limit.is_zero() {
            return false;
        }
        let is_due = self.skips_left == 0;
        self.skips_left = self.skips_left.saturating_sub(1);
        is_due
    }

    /// Looks until `has_news` says so or the time is over; tells which, and remembers it.
    pub fn look(&mut self, mut has_news: impl FnMut() -> bool) -> bool {
        let begun = Instant::now();
        let found = loop {
            if (0..LOOKS).any(|_| {
                std::hint::spin_loop();
                has_news()
            }) {
                break true;
            }
            if begun.elapsed() >= self.limit {
                break false;
            }
            std::thread::yield_now();
        };
        self.learn(found);
        found
    }

    fn learn(&mut self, found: bool) {
        self.skips = if found { self.skips / 2 } else { (2 * self.skips + 1).min(SKIPPED_MAX) };
        self.skips_left = self.skips;
    }
}

#[cfg(test)]
mod tests {
    use super::{SKIPPED_MAX, Spin};
    use std::time::Duration;

    /// Waits until the next look.
    fn skipped(spin: &mut Spin) -> u32 {
        (0..).find(|_| spin.is_due()).expect("a worker that spins looks again some time")
    }

    #[test]
    fn looks_in_vain_become_rare_and_looks_that_pay_frequent() {
        let mut spin = Spin::new(Duration::from_nanos(1));
        let mut waits = Vec::new();
        for _ in 0..8 {
            waits.push(skipped(&mut spin));
            assert!(!spin.look(|| false));
        }
        assert_eq!(waits, [0, 1, 3, 7, 15, 31, SKIPPED_MAX, SKIPPED_MAX]);
        waits.clear();
        for _ in 0..8 {
            waits.push(skipped(&mut spin));
            assert!(spin.look(|| true));
        }
        assert_eq!(waits, [SKIPPED_MAX, 31, 15, 7, 3, 1, 0, 0]);
    }

    #[test]
    fn a_limit_of_zero_never_spins() {
        let mut spin = Spin::new(Duration::ZERO);
        assert!((0..1000).all(|_| !spin.is_due()));
    }
}
