//! When the upstream is connected to again: soon after the first failure, seldom after many.

use std::time::Duration;

use crate::limits::{WARM_PAUSE_MAX, WARM_PAUSE_MIN};

/// One worker's connection, seen from outside.
#[derive(Clone, Copy, Debug)]
struct Line {
    /// When to connect; `None`: it is connected.
    due: Option<Duration>,
    since: Duration,
    pause: Duration,
}

/// The connections of all workers. All times are on one clock.
pub struct Redials {
    lines: Vec<Line>,
}

impl Redials {
    /// Each of the workers wants a connection, at once.
    pub fn new(workers: u16) -> Self {
        let line = Line { due: Some(Duration::ZERO), since: Duration::ZERO, pause: WARM_PAUSE_MIN };
        Self { lines: vec![line; usize::from(workers)] }
    }

    /// The next worker to connect for, and when.
    pub fn next(&self) -> Option<(u16, Duration)> {
        let due = (0..).zip(&self.lines).filter_map(|(worker, line)| Some((worker, line.due?)));
        due.min_by_key(|(_, due)| *due)
    }

    /// The worker has a connection.
    pub fn connected(&mut self, worker: u16, at: Duration) {
        let line = &mut self.lines[usize::from(worker)];
        (line.due, line.since) = (None, at);
    }

    /// None could be made.
    pub fn failed(&mut self, worker: u16, at: Duration) {
        let line = &mut self.lines[usize::from(worker)];
        line.due = Some(at + line.pause);
        line.pause = (2 * line.pause).min(WARM_PAUSE_MAX);
    }

    /// The worker has lost its connection. One that lasted is made again soon.
    pub fn lost(&mut self, worker: u16, at: Duration) {
        let line = &mut self.lines[usize::from(worker)];
        if at.saturating_sub(line.since) >= WARM_PAUSE_MAX {
            line.pause = WARM_PAUSE_MIN;
        }
        self.failed(worker, at);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Redials;
    use crate::limits::{WARM_PAUSE_MAX, WARM_PAUSE_MIN};

    #[test]
    fn pauses_grow_until_a_connection_lasts() {
        let mut redials = Redials::new(2);
        assert_eq!(redials.next(), Some((0, Duration::ZERO)));
        redials.connected(0, Duration::ZERO);
        assert_eq!(redials.next(), Some((1, Duration::ZERO)));
        let mut at = Duration::ZERO;
        let mut pauses = Vec::new();
        for _ in 0..12 {
            redials.failed(1, at);
            let (worker, due) = redials.next().expect("one is not connected");
            assert_eq!(worker, 1);
            pauses.push(due - at);
            at = due;
        }
        assert!(pauses[0] == WARM_PAUSE_MIN && pauses.is_sorted() && pauses[11] == WARM_PAUSE_MAX);
        redials.connected(1, at);
        redials.lost(1, at);
        assert_eq!(redials.next(), Some((1, at + WARM_PAUSE_MAX)), "it did not last");
        redials.connected(1, at);
        redials.lost(1, at + WARM_PAUSE_MAX);
        assert_eq!(redials.next(), Some((1, at + WARM_PAUSE_MAX + WARM_PAUSE_MIN)));
    }
}
