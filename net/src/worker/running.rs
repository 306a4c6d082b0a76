//! Errands: what a worker does for threads that are no workers.

use super::Worker;
use crate::errand::{Desk, Errand};
use crate::limits::ERRANDS_PER_TURN;

impl Worker {
    /// Runs some errands, one at least where one waits. What they write counts against the turn's budget of memory as
    /// requests do.
    pub(super) fn run_errands(&mut self) {
        for _ in 0..ERRANDS_PER_TURN {
            let Some(errand) = self.errands.take() else { return };
            match errand {
                Errand::Run(step) => step(&mut self.local.desk()),
                Errand::Link(joined) => self.open_link(*joined),
                Errand::Upstream(connected) => self.connect_upstream(connected),
                Errand::CloseLinks { feeds, follows } => self.close_links(feeds, follows),
            }
            if self.is_short_of_memory() {
                return;
            }
        }
    }
}

impl super::Local {
    fn desk(&mut self) -> Desk<'_> {
        Desk {
            shard: &mut self.shard,
            reader: &self.reader,
            node: &self.node,
            number: self.number,
            now: self.now,
        }
    }
}
