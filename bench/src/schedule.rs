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
}

impl Schedule {
    /// The share of thread `thread` of `threads` in `rate` requests per second.
    pub fn new(rate: f64, thread: usize, threads: usize) -> Schedule {
        let interval_ns = 1e9 / rate * threads as f64;
        Schedule { interval_ns, offset_ns: interval_ns * thread as f64 / threads as f64, issued: 0 }
    }

    /// When the next request is due.
    pub fn due_ns(&self) -> u64 {
        (self.offset_ns + self.interval_ns * self.issued as f64) as u64
    }

    /// The due time of the next request if it has come, and moves on to the one after it.
    pub fn take(&mut self, now_ns: u64) -> Option<u64> {
        let due_ns = self.due_ns();
        if due_ns > now_ns {
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

    #[test]
    fn keeps_the_rate_without_drift() {
        let mut schedule = Schedule::new(3.0, 0, 1);
        let due: Vec<u64> = std::iter::from_fn(|| schedule.take(10_000_000_000)).collect();
        assert_eq!(due.len(), 31);
        assert_eq!(due[3], 1_000_000_000);
        assert_eq!(due[30], 10_000_000_000);
    }

    #[test]
    fn a_late_request_keeps_the_time_it_was_due() {
        let mut schedule = Schedule::new(1000.0, 0, 1);
        assert_eq!(schedule.take(0), Some(0));
        assert_eq!(schedule.take(999_999), None);
        assert_eq!(schedule.pause(400_000), Duration::from_nanos(600_000));
        // After a stall of 5 ms everything missed is due at once, each with its own time.
        let due: Vec<u64> = std::iter::from_fn(|| schedule.take(5_000_000)).collect();
        assert_eq!(due, [1_000_000, 2_000_000, 3_000_000, 4_000_000, 5_000_000]);
    }

    #[test]
    fn threads_interleave() {
        let first = Schedule::new(1000.0, 0, 2);
        let second = Schedule::new(1000.0, 1, 2);
        assert_eq!((first.due_ns(), second.due_ns()), (0, 1_000_000));
    }
}
