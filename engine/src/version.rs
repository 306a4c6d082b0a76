//! Versions: a 64-bit hybrid logical clock, the order of writes to one key, shown to clients as the CAS unique.
//!
//! ```text
//!  63                      22 21            6 5        0
//! +--------------------------+---------------+----------+
//! | milliseconds (42)        | counter (16)  | node (6) |
//! +--------------------------+---------------+----------+
//! ```
//!
//! Milliseconds count from 2020-01-01 and last until 2159. The counter runs on into the milliseconds when a shard
//! writes more than 65,536 times in one. A wall clock that jumps back does not: the clock only goes forward, and a
//! version seen from elsewhere moves it past that version (Kulkarni et al., "Logical Physical Clocks", 2014).

/// Unix milliseconds of 2020-01-01T00:00:00Z.
const EPOCH_MILLIS: u64 = 1_577_836_800_000;
const COUNTER_BITS: u32 = 16;
const NODE_BITS: u32 = 6;

/// Order of writes to one key. Zero is no version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(pub u64);

impl Version {
    /// Before every version.
    pub const ZERO: Version = Version(0);

    /// The last version that a write before Unix second `seconds` can carry on a clock that kept time.
    pub(crate) fn before_second(seconds: u32) -> Self {
        let millis = (u64::from(seconds) * 1000).saturating_sub(EPOCH_MILLIS);
        Version((millis << (COUNTER_BITS + NODE_BITS)).saturating_sub(1))
    }

    /// The node that gave it: 0 to 63.
    pub fn node(self) -> u8 {
        (self.0 & ((1 << NODE_BITS) - 1)) as u8
    }

    /// Wall-clock part, as Unix milliseconds.
    pub fn unix_millis(self) -> u64 {
        (self.0 >> (COUNTER_BITS + NODE_BITS)) + EPOCH_MILLIS
    }
}

/// One shard's clock.
#[derive(Debug)]
pub(crate) struct VersionClock {
    /// Milliseconds and counter of the latest version given or seen.
    stamp: u64,
    node: u64,
}

impl VersionClock {
    /// A clock of node `node`.
    pub(crate) fn new(node: u8) -> Self {
        assert!(u32::from(node) < 1 << NODE_BITS, "a node number has {NODE_BITS} bits");
        Self { stamp: 0, node: u64::from(node) }
    }

    /// A version above every version that this clock has given or seen.
    #[inline]
    pub(crate) fn next(&mut self, unix_millis: u64) -> Version {
        let wall = unix_millis.saturating_sub(EPOCH_MILLIS) << COUNTER_BITS;
        self.stamp = wall.max(self.stamp + 1);
        Version(self.stamp << NODE_BITS | self.node)
    }

    /// Moves past a version from elsewhere.
    pub(crate) fn observe(&mut self, version: Version) {
        self.stamp = self.stamp.max(version.0 >> NODE_BITS);
    }

    /// The latest version given or seen, as an inclusive upper bound.
    pub(crate) fn latest(&self) -> Version {
        Version(self.stamp << NODE_BITS | ((1 << NODE_BITS) - 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_jumps_back_still_goes_forward() {
        let mut clock = VersionClock::new(3);
        let first = clock.next(EPOCH_MILLIS + 5_000);
        let second = clock.next(EPOCH_MILLIS + 1_000);
        assert!(second > first);
        assert_eq!(first.unix_millis(), EPOCH_MILLIS + 5_000);
    }

    #[test]
    fn a_version_seen_is_overtaken() {
        let mut here = VersionClock::new(1);
        let there = VersionClock::new(2).next(EPOCH_MILLIS + 9_000);
        here.observe(there);
        assert!(here.next(EPOCH_MILLIS) > there);
    }

    #[test]
    fn more_writes_than_the_counter_holds_run_into_the_next_millisecond() {
        let mut clock = VersionClock::new(0);
        let mut before = clock.next(EPOCH_MILLIS + 1);
        for _ in 0..200_000 {
            let latest = clock.next(EPOCH_MILLIS + 1);
            assert!(latest > before);
            before = latest;
        }
        assert!(before.unix_millis() >= EPOCH_MILLIS + 4);
    }
}
