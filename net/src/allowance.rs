//! How much more than it was asked a node may send to each source of datagrams.
//!
//! Whoever sends a datagram may lie about where it comes from, and the answer hits a stranger. So an answer that is not
//! much longer than its request always goes, and what is above that comes out of the source's allowance: a bucket that
//! holds [`UDP_BURST_BYTES`] and is filled with the bytes per second of `--udp-limit`. Sources share a fixed number of buckets by
//! their hash: a flood from many invented sources makes large answers rare for everyone, and never grows a table.
//!
//! A bucket is one number, the moment at which it will be full again, so taking from it needs no lock.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::limits::{UDP_ALLOWANCES, UDP_ANSWER_FACTOR, UDP_BURST_BYTES, UDP_WIRE_BYTES};

const MICROS: u64 = 1_000_000;

/// The allowances of all sources; shared by the workers.
pub struct Allowances {
    bytes_per_second: u64,
    /// When each bucket is full again, in microseconds of Unix time.
    full_at: Box<[AtomicU64]>,
    /// Seeded anew in each process, so that nobody knows who shares a bucket.
    hasher: RandomState,
}

/// Bytes that may be sent for a request of `asked_bytes` whoever asks, on the wire as those of the request. Those of several
/// answers are counted together.
pub fn free_bytes(asked_bytes: usize) -> usize {
    (asked_bytes + UDP_WIRE_BYTES) * UDP_ANSWER_FACTOR
}

impl Allowances {
    /// Every bucket is full. A rate of 0 bounds nothing.
    pub fn new(bytes_per_second: u64) -> Self {
        let buckets = if bytes_per_second == 0 { 0 } else { UDP_ALLOWANCES };
        Self {
            bytes_per_second,
            full_at: (0..buckets).map(|_| AtomicU64::new(0)).collect(),
            hasher: RandomState::new(),
        }
    }

    /// Takes `bytes` from the allowance of `source`; false, and nothing taken, when it has not as much.
    pub fn take(&self, source: IpAddr, bytes: usize, now_millis: u64) -> bool {
        if self.bytes_per_second == 0 {
            return true;
        }
        let now = now_millis * 1000;
        let (cost, latest) = (self.micros(bytes as u64), now + self.micros(UDP_BURST_BYTES));
        let mut is_taken = false;
        let place = self.hasher.hash_one(network(source)) as usize % self.full_at.len();
        self.full_at[place]
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |full_at| {
                // After a step back of the clock no bucket is further from full than an empty one.
                let full_at = full_at.clamp(now, latest);
                is_taken = full_at.saturating_add(cost) <= latest;
                Some(if is_taken { full_at + cost } else { full_at })
            })
            .expect("the new value is always given");
        is_taken
    }

    /// How long a bucket takes to gain so many bytes.
    fn micros(&self, bytes: u64) -> u64 {
        bytes.saturating_mul(MICROS).div_ceil(self.bytes_per_second)
    }
}

/// What one owner has: an IPv4 address, or the half of an IPv6 address that names a network.
fn network(source: IpAddr) -> u64 {
    match source {
        IpAddr::V4(v4) => u64::from(v4.to_bits()),
        IpAddr::V6(v6) => (v6.to_bits() >> 64) as u64,
    }
}

#[cfg(test)]
mod tests {
    use super::Allowances;
    use crate::limits::UDP_BURST_BYTES;
    use std::net::IpAddr;

    const NOW: u64 = 1_700_000_000_000;
    const RATE: u64 = 1 << 20;
    const FULL_AFTER_MILLIS: u64 = UDP_BURST_BYTES * 1000 / RATE + 1;

    fn source() -> IpAddr {
        "192.0.2.1".parse().unwrap()
    }

    /// Bytes that go through when `piece` bytes are asked for again and again for `millis`.
    fn passed(allowances: &Allowances, piece: usize, from: u64, millis: u64) -> usize {
        let times = (0..millis).flat_map(|at| [from + at; 100]);
        times.filter(|now| allowances.take(source(), piece, *now)).count() * piece
    }

    #[test]
    fn a_burst_and_a_rate_bound_what_is_sent() {
        let allowances = Allowances::new(RATE);
        let burst = UDP_BURST_BYTES as usize;
        let at_once = passed(&allowances, 1400, NOW, 50);
        assert!((burst - 2800..burst + 50 * RATE as usize / 1000).contains(&at_once), "{at_once}");
        let later = passed(&allowances, 1400, NOW + 50, 2000);
        let expected = 2 * RATE as usize;
        assert!((expected - 5000..expected + 5000).contains(&later), "{later}");
        assert!(!allowances.take(source(), burst, NOW + 2050), "it is empty");
        assert!(allowances.take(source(), burst, NOW + 2050 + FULL_AFTER_MILLIS), "it is full again");
    }

    #[test]
    fn more_than_a_bucket_holds_never_goes() {
        let allowances = Allowances::new(RATE);
        assert!(!allowances.take(source(), UDP_BURST_BYTES as usize + 1400, NOW));
        assert!(!allowances.take(source(), usize::MAX, NOW));
        assert!(allowances.take(source(), UDP_BURST_BYTES as usize, NOW), "a refusal takes nothing");
    }

    #[test]
    fn sources_have_allowances_of_their_own() {
        let allowances = Allowances::new(RATE);
        let empty = |host: u16| {
            let source = IpAddr::from(std::net::Ipv6Addr::new(0x2001, 0xdb8, host, 0, 0, 0, 0, host));
            !allowances.take(source, UDP_BURST_BYTES as usize, NOW)
        };
        let shared = (0..100).filter(|host| empty(*host)).count();
        assert!(shared < 10, "{shared} of a hundred share a bucket");
        let neighbour = IpAddr::from(std::net::Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 9, 9));
        assert!(!allowances.take(neighbour, 1, NOW), "a network is one source");
    }

    #[test]
    fn without_a_rate_everything_goes() {
        let allowances = Allowances::new(0);
        assert!((0..100).all(|_| allowances.take(source(), UDP_BURST_BYTES as usize, NOW)));
    }

    #[test]
    fn a_clock_that_is_set_back_closes_nothing_for_long() {
        let allowances = Allowances::new(RATE);
        assert!(allowances.take(source(), UDP_BURST_BYTES as usize, NOW + 1_000_000));
        assert!(!allowances.take(source(), RATE as usize / 100, NOW));
        assert!(allowances.take(source(), 1, NOW + FULL_AFTER_MILLIS));
    }
}
