//! The time of a node: the system's, or with `-o relaxed_privileges` one that the `debugtime` command stops and moves.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use crate::sys;

/// Belongs to the node; every worker reads it once per turn.
pub struct Clock {
    /// Can be stopped and moved.
    is_debug: bool,
    /// When it was stopped, in Unix milliseconds; 0 while it runs.
    stopped_at: AtomicU64,
    /// How far it has been moved, in milliseconds.
    moved: AtomicI64,
}

impl Clock {
    /// The system's clock, or one that obeys `debugtime`.
    pub fn new(is_debug: bool) -> Self {
        Self { is_debug, stopped_at: AtomicU64::new(0), moved: AtomicI64::new(0) }
    }

    /// Unix time in milliseconds. No system call.
    #[inline]
    pub fn unix_millis(&self) -> u64 {
        let millis = sys::unix_millis();
        if self.is_debug { self.shown(millis) } else { millis }
    }

    /// Whether it obeys the calls below.
    pub fn is_debug(&self) -> bool {
        self.is_debug
    }

    /// Stands still from now on, but for moves.
    pub fn stop(&self) {
        self.stopped_at.store(sys::unix_millis(), Ordering::Relaxed);
    }

    /// Goes on where the system's clock is by now.
    pub fn go_on(&self) {
        self.stopped_at.store(0, Ordering::Relaxed);
    }

    /// Jumps.
    pub fn move_by(&self, seconds: i64) {
        self.moved.fetch_add(seconds.saturating_mul(1000), Ordering::Relaxed);
    }

    fn shown(&self, running: u64) -> u64 {
        let stopped = self.stopped_at.load(Ordering::Relaxed);
        let millis = if stopped == 0 { running } else { stopped };
        millis.saturating_add_signed(self.moved.load(Ordering::Relaxed))
    }
}
