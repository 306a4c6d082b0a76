//! Whether the other end of a link is still there, and has got everything.

use std::time::Duration;

use ringcache_engine::Now;

use super::frame::{self, Kind};
use super::message::Fields;
use crate::limits::LINK_TRICKLE_BYTES;

/// The moment of a call: what the engine takes, and a clock that never jumps.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// Wall clock.
    pub now: Now,
    /// Since some beginning, the same for all calls.
    pub at: Duration,
}

/// Asks after a pause, gives up after a longer silence. The asked one sends the time of the question back, so that the
/// round trip is known. A question's sequence counts the frames before it that nobody repeats by himself: who has got
/// fewer, or more, ends the link, because what is missing would be waited for as long as nothing else comes.
#[derive(Debug)]
pub struct Liveness {
    heard: Duration,
    /// Bytes since then, in the middle of a frame.
    trickled: usize,
    asked: Duration,
    patience: Duration,
    round_trip: Option<Duration>,
}

impl Liveness {
    /// Gives up when nothing has come for `patience`.
    pub fn new(patience: Duration, moment: Moment) -> Self {
        Self { heard: moment.at, trickled: 0, asked: moment.at, patience, round_trip: None }
    }

    /// Something has come.
    pub fn note_heard(&mut self, moment: Moment) {
        self.heard = moment.at;
        self.trickled = 0;
    }

    /// So many bytes have come. In the middle of a frame only many together are a sign of life: where bytes vanish, the
    /// other end's questions would be taken for what is missing, and keep the link alive while they fill the gap.
    pub fn note_bytes(&mut self, bytes: usize, is_amid_frame: bool, moment: Moment) {
        self.trickled += bytes;
        if !is_amid_frame || self.trickled >= LINK_TRICKLE_BYTES {
            self.note_heard(moment);
        }
    }

    /// Nothing has come for too long.
    pub fn is_over(&self, moment: Moment) -> bool {
        moment.at.saturating_sub(self.heard) > self.patience
    }

    /// Asks when it is time to. `sent`: frames so far that count. Cost: two comparisons.
    pub fn poll(&mut self, moment: Moment, sent: u64, out: &mut Vec<u8>) {
        let pause = self.patience / 4;
        if moment.at.saturating_sub(self.asked) < pause {
            return;
        }
        self.asked = moment.at;
        frame::push(out, Kind::Ping, 0, sent, &(moment.at.as_micros() as u64).to_le_bytes());
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use ringcache_engine::Now;

    use super::super::feed::{Feed, FeedEvent, FeedOptions, LinkError};
    use super::super::frame::{FrameReader, HEADER_BYTES};
    use super::super::message::Ack;
    use super::{Kind, LINK_TRICKLE_BYTES, Liveness, Moment, frame};
    use crate::output::Output;

    fn moment(millis: u64) -> Moment {
        Moment { now: Now::from_unix_millis(1_800_000_000_000 + millis), at: Duration::from_millis(millis) }
    }

    #[test]
    fn a_frame_whose_end_does_not_come_is_not_kept_alive_by_questions() {
        let mut liveness = Liveness::new(Duration::from_secs(1), moment(0));
        (1..=20).for_each(|ping| liveness.note_bytes(32, true, moment(50 * ping)));
        assert!(liveness.is_over(moment(1_001)));
        liveness.note_bytes(LINK_TRICKLE_BYTES, true, moment(1_100));
        assert!(!liveness.is_over(moment(2_000)), "it comes, only slowly");
        liveness.note_bytes(32, false, moment(2_050));
        assert!(!liveness.is_over(moment(3_050)));
    }

    /// Hands the frames in `bytes` to `feed`.
    fn tell(feed: &mut Feed, bytes: &[u8]) -> Result<(), LinkError> {
        let mut reader = FrameReader::default();
        reader.push(bytes);
        while let Some(frame) = reader.front(0).expect("intact") {
            let bytes = HEADER_BYTES + frame.payload.len();
            let event = feed.handle_frame(&frame, moment(0), &mut Output::default())?;
            assert!(matches!(event, FeedEvent::None | FeedEvent::Acked));
            reader.advance(bytes);
        }
        Ok(())
    }

    #[test]
    fn an_acknowledgement_that_vanished_is_missed_at_the_next_question() {
        let options = FeedOptions {
            window_bytes: 1 << 20,
            turn_bytes: 1 << 18,
            compress: false,
            own_node: 0,
            gathers: false,
        };
        let feed = || Feed::new(options, Duration::from_secs(1), moment(0), Arc::default());
        let mut ack = Vec::new();
        let nothing = Ack { sequence: 0, position: ringcache_engine::Version::ZERO };
        frame::push(&mut ack, Kind::Ack, 0, 0, &nothing.to_bytes());
        let mut ping = Vec::new();
        let mut liveness = Liveness::new(Duration::from_secs(1), moment(0));
        liveness.poll(moment(249), 2, &mut ping);
        assert!(ping.is_empty(), "it is not time to");
        liveness.poll(moment(250), 2, &mut ping);
        let both = [&ack[..], &ack, &ping].concat();
        assert_eq!(tell(&mut feed(), &both), Ok(()));
        assert_eq!(tell(&mut feed(), &both[ack.len()..]), Err(LinkError::Order(2)));
    }
}
