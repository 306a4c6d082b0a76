//! What takes a connection over for a while: a dump, whose lines come in steps.

use crate::dump::{Dump, Step};
use crate::limits::OUTPUT_BYTES_HIGH;
use crate::output::Output;
use crate::reach::Reach;

/// Has the connection until it is over; commands behind it wait.
pub enum Stream {
    /// Lines of all records.
    Dump(Dump),
}

impl Stream {
    /// Goes on by one step, as far as the output has room. True when it is over.
    pub fn advance(&mut self, reach: &mut Reach<'_>, output: &mut Output) -> bool {
        let Stream::Dump(dump) = self;
        if output.len() < OUTPUT_BYTES_HIGH
            && let Some((shard, mut step)) = dump.next_step()
        {
            if shard == reach.shard.id() {
                step.run(reach.shard, reach.now);
                dump.take(step, output);
            } else {
                reach.outbox.send_step(shard, reach.ticket, step);
            }
        }
        dump.is_over()
    }

    /// Takes a step that another worker has run.
    pub fn handle_step(&mut self, step: Box<Step>, output: &mut Output) {
        let Stream::Dump(dump) = self;
        dump.take(step, output);
    }

    /// A step is with another worker.
    pub fn is_away(&self) -> bool {
        let Stream::Dump(dump) = self;
        dump.is_away()
    }
}
