//! When requests are due. An open loop sends at its rate whatever the server does, and a request's latency counts from
//! the time it was due, so a stalled server can't hide its stall by slowing the load down (coordinated omission).

use std::time::Duration;

/// The due times of one thread's share of a fixed rate, in nanoseconds from the start of the run.
#[derive(Clone, Debug)]
pub struct Schedule {
    interval_ns: f64,
    /// Shifts the threads against each other, so that together they are even too.
    offset_ns: f64,
    issued: u64,
    /// Nothing is due from here on.
    end_ns: u64,
}

impl Schedule {
    /// The share of thread `thread` of `threads` in `rate` requests per second, for `length`.
    pub fn new(rate: f64, thread: usize, threads: usize, length: Duration) -> Schedule {
        let interval_ns = 1e9 / rate * threads as f64;
        Schedule {
            interval_ns,
            offset_ns: interval_ns * thread as f64 / threads as f64,
            issued: 0,
            end_ns: u64::try_from(length.as_nanos()).expect("a run lasts less than 500 years"),
        }
    }

    /// How many requests this schedule has had due in all that were not taken.
    pub fn untaken(&self) -> u64 {
        let all = ((self.end_ns as f64 - self.offset_ns) / self.interval_ns).ceil().max(0.0) as u64;
        all.saturating_sub(self.issued)
    }

    /// Whether every request was taken.
    pub fn is_over(&self) -> bool {
        self.due_ns() >= self.end_ns
    }

    /// When the next request is due.
    pub fn due_ns(&self) -> u64 {
        (self.offset_ns + self.interval_ns * self.issued as f64) as u64
    }

    /// The due time of the next request if it has come, and moves on to the one after it.
    pub fn take(&mut self, now_ns: u64) -> Option<u64> {
        let due_ns = self.due_ns();
        if due_ns > now_ns || due_ns >= self.end_ns {
            return None;
        }
        self.issued += 1;
        Some(due_ns)
    }

    /// How long nothing is due.
    pub fn pause(&self, now_ns: u64) -> Duration {
        Duration::from_nanos(self.due_ns().saturating_sub(now_ns))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(1000);

    #[test]
    fn keeps_the_rate_without_drift() {
        let mut schedule = Schedule::new(3.0, 0, 1, LONG);
        let due: Vec<u64> = std::iter::from_fn(|| schedule.take(10_000_000_000)).collect();
        assert_eq!(due.len(), 31);
        assert_eq!(due[3], 1_000_000_000);
        assert_eq!(due[30], 10_000_000_000);
    }

    #[test]
    fn what_was_due_before_the_end_stays_due_after_it() {
        let mut schedule = Schedule::new(1000.0, 0, 1, Duration::from_millis(10));
        assert_eq!(schedule.untaken(), 10);
        assert_eq!(schedule.take(3_000_000), Some(0));
        assert_eq!((schedule.untaken(), schedule.is_over()), (9, false));
        let late: Vec<u64> = std::iter::from_fn(|| schedule.take(1_000_000_000)).collect();
        assert_eq!((late.len(), late[8]), (9, 9_000_000));
        assert_eq!((schedule.untaken(), schedule.is_over()), (0, true));
    }

    #[test]
    fn slow_rates_are_exact() {
        let due = |thread| {
            let mut schedule = Schedule::new(0.5, thread, 2, Duration::from_secs(9));
            std::iter::from_fn(|| schedule.take(u64::MAX)).collect::<Vec<_>>()
        };
        assert_eq!(due(0), [0, 4_000_000_000, 8_000_000_000]);
        assert_eq!(due(1), [2_000_000_000, 6_000_000_000]);
    }

    #[test]
    fn a_late_request_keeps_the_time_it_was_due() {
        let mut schedule = Schedule::new(1000.0, 0, 1, LONG);
        assert_eq!(schedule.take(0), Some(0));
        assert_eq!(schedule.take(999_999), None);
        assert_eq!(schedule.pause(400_000), Duration::from_nanos(600_000));
        // After a stall of 5 ms everything missed is due at once, each with its own time.
        let due: Vec<u64> = std::iter::from_fn(|| schedule.take(5_000_000)).collect();
        assert_eq!(due, [1_000_000, 2_000_000, 3_000_000, 4_000_000, 5_000_000]);
    }

    #[test]
    fn threads_interleave() {
        let first = Schedule::new(1000.0, 0, 2, LONG);
        let second = Schedule::new(1000.0, 1, 2, LONG);
        assert_eq!((first.due_ns(), second.due_ns()), (0, 1_000_000));
    }
}
