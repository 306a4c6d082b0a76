//! Whether the other end of a link is still there.

use std::time::Duration;

use ringcache_engine::Now;

use super::frame::{self, Kind};
use super::message::Fields;

/// The moment of a call: what the engine takes, and a clock that never jumps.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// Wall clock.
    pub now: Now,
    /// Since some beginning, the same for all calls.
    pub at: Duration,
}

/// Asks after a silence, gives up after a longer one. The asked one sends the time of the question back, so that the
/// round trip is known.
#[derive(Debug)]
pub struct Liveness {
    heard: Duration,
    asked: Duration,
    patience: Duration,
    round_trip: Option<Duration>,
}

impl Liveness {
    /// Gives up when nothing has come for `patience`.
    pub fn new(patience: Duration, moment: Moment) -> Self {
        Self { heard: moment.at, asked: moment.at, patience, round_trip: None }
    }

    /// Something has come.
    pub fn note_heard(&mut self, moment: Moment) {
        self.heard = moment.at;
    }

    /// Nothing has come for too long.
    pub fn is_over(&self, moment: Moment) -> bool {
        moment.at.saturating_sub(self.heard) > self.patience
    }

    /// Asks when it is time to. Cost: two comparisons.
    pub fn poll(&mut self, moment: Moment, out: &mut Vec<u8>) {
        let pause = self.patience / 4;
        if moment.at.saturating_sub(self.asked) < pause {
            return;
        }
        self.asked = moment.at;
        frame::push(out, Kind::Ping, 0, 0, &(moment.at.as_micros() as u64).to_le_bytes());
    }

    /// Takes the answer to a question. One that is none is left to the frame's checks.
    pub fn handle_pong(&mut self, payload: &[u8], moment: Moment) {
        if let Ok(asked) = Fields(payload).u64() {
            self.round_trip = moment.at.checked_sub(Duration::from_micros(asked));
        }
    }

    /// Time between the last question and its answer.
    pub fn round_trip(&self) -> Option<Duration> {
        self.round_trip
    }
}
