//! Answers that wait until replicas have applied their writes: semi-synchronous replication.
//!
//! A shard's owner holds the outcome of a write that changed something until enough replicas have acknowledged a
//! position at or above its version. Outcomes leave in the order in which they came, because sessions and the mesh
//! count on that. After a time the outcome is let go as *in doubt*: the write is done here, and nobody knows whether
//! it would survive this node.

use std::collections::VecDeque;
use std::time::Duration;

use ringcache_engine::{Outcome, Version, WriteRefusal};

use super::liveness::Moment;
use crate::mesh::Ticket;
use crate::mesh::batch::WriteBatch;

/// How many replicas must have applied a write before it is answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Quorum {
    /// None: asynchronous.
    #[default]
    None,
    /// So many.
    Some(u16),
    /// Every one that is known, and one at least.
    All,
}

impl Quorum {
    /// Replicas that must be there for a write to be begun.
    pub fn least(self) -> usize {
        match self {
            Quorum::None => 0,
            Quorum::Some(replicas) => usize::from(replicas),
            Quorum::All => 1,
        }
    }

    /// Up to where enough replicas have applied everything, given the position of each that is known.
    pub fn position(self, positions: &mut [Version]) -> Version {
        positions.sort_unstable_by(|one, other| other.cmp(one));
        let place = match self {
            Quorum::None => return Version(u64::MAX),
            Quorum::Some(replicas) => usize::from(replicas).saturating_sub(1),
            Quorum::All => positions.len().saturating_sub(1),
        };
        positions.get(place).copied().unwrap_or(Version::ZERO)
    }
}

/// What waits.
pub enum Waiting {
    /// The outcome of a write of a session on this worker.
    Own(Ticket, Outcome),
    /// A batch of another worker's writes with its outcomes.
    Batch(u16, Box<WriteBatch>),
}

struct HeldWrite {
    version: Version,
    since: Duration,
    waiting: Waiting,
}

/// The outcomes that one shard's owner holds.
pub struct Held {
    queue: VecDeque<HeldWrite>,
    patience: Duration,
}

impl Held {
    /// Holds each outcome for at most `patience`.
    pub fn new(patience: Duration) -> Self {
        Self { queue: VecDeque::new(), patience }
    }

    /// Holds an outcome until `version` is applied elsewhere. Versions come in order.
    pub fn hold(&mut self, version: Version, waiting: Waiting, at: Duration) {
        debug_assert!(self.queue.back().is_none_or(|last| last.version <= version), "versions come in order");
        self.queue.push_back(HeldWrite { version, since: at, waiting });
    }

    /// Nothing waits.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Lets one go: applied up to `position`, or waiting for too long. The flag says that it is in doubt.
    pub fn release(&mut self, position: Version, moment: Moment) -> Option<(Waiting, bool)> {
        let front = self.queue.front()?;
        let is_applied = front.version <= position;
        if !is_applied && moment.at.saturating_sub(front.since) < self.patience {
            return None;
        }
        let held = self.queue.pop_front().expect("looked at just before");
        Some((held.waiting, !is_applied))
    }

    /// How long until the oldest has waited for too long.
    pub fn next_timeout(&self, at: Duration) -> Option<Duration> {
        let front = self.queue.front()?;
        Some((front.since + self.patience).saturating_sub(at))
    }
}

/// What replication has to say about a write before and after it: nothing, most of the time.
#[derive(Default)]
pub struct Guard<'a> {
    /// Why no write is taken.
    pub refusal: Option<WriteRefusal>,
    /// Where outcomes wait for replicas.
    pub held: Option<&'a mut Held>,
    /// The time on the clock of `held`.
    pub at: Duration,
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ringcache_engine::{Now, Outcome, Status, Version};

    use super::{Held, Quorum, Waiting};
    use crate::mesh::Ticket;
    use crate::replication::liveness::Moment;

    fn moment(millis: u64) -> Moment {
        Moment { now: Now::from_unix_millis(1_800_000_000_000 + millis), at: Duration::from_millis(millis) }
    }

    fn write(number: u32) -> Waiting {
        Waiting::Own(Ticket { connection: number, generation: 0 }, Outcome::bare(Status::Stored))
    }

    fn number((waiting, in_doubt): (Waiting, bool)) -> (u32, bool) {
        match waiting {
            Waiting::Own(ticket, _) => (ticket.connection, in_doubt),
            Waiting::Batch(..) => panic!("none was held"),
        }
    }

    #[test]
    fn answers_leave_in_order_when_applied_or_in_doubt() {
        let mut held = Held::new(Duration::from_millis(100));
        (1..=3).for_each(|n| held.hold(Version(u64::from(n) * 10), write(n), moment(u64::from(n) * 10).at));
        assert!(held.release(Version(9), moment(40)).is_none());
        assert_eq!(held.release(Version(10), moment(40)).map(number), Some((1, false)));
        assert!(held.release(Version(19), moment(119)).is_none());
        assert_eq!(held.next_timeout(moment(119).at), Some(Duration::from_millis(1)));
        assert_eq!(held.release(Version(19), moment(120)).map(number), Some((2, true)));
        assert!(held.release(Version(19), moment(120)).is_none(), "the third has its own time");
        assert_eq!(held.release(Version(30), moment(300)).map(number), Some((3, false)), "late, but applied");
        assert!(held.is_empty());
    }

    #[test]
    fn a_quorum_is_what_so_many_have() {
        let positions = || [Version(5), Version(9), Version(7)];
        assert_eq!(Quorum::Some(1).position(&mut positions()), Version(9));
        assert_eq!(Quorum::Some(2).position(&mut positions()), Version(7));
        assert_eq!(Quorum::Some(4).position(&mut positions()), Version::ZERO);
        assert_eq!(Quorum::All.position(&mut positions()), Version(5));
        assert_eq!(Quorum::All.position(&mut []), Version::ZERO);
        assert_eq!(Quorum::None.position(&mut []), Version(u64::MAX));
    }
}
