//! What takes a connection over: a dump of records or of counts, whose lines come in steps until its end, or a watch, which
//! has none.

use crate::dump::{Dump, Step};
use crate::limits::OUTPUT_BYTES_HIGH;
use crate::observe::Watch;
use crate::output::Output;
use crate::reach::Reach;
use crate::stats::detail::PrefixDump;

/// Has the connection until it is over; commands behind it wait.
pub enum Stream {
    /// Lines of all records.
    Dump(Dump),
    /// The counts of all prefixes.
    Prefixes(PrefixDump),
    /// Events as they happen, until the client has gone.
    Watch(Watch),
}

impl Stream {
    /// Goes on by one step, as far as the output has room. True when it is over.
    pub fn advance(&mut self, reach: &mut Reach<'_>, output: &mut Output) -> bool {
        let dump = match self {
            Stream::Dump(dump) => dump,
            Stream::Prefixes(dump) => {
                return output.len() < OUTPUT_BYTES_HIGH && dump.advance(reach.node, &mut output.bytes);
            }
            Stream::Watch(watch) => {
                if output.len() < OUTPUT_BYTES_HIGH {
                    watch.send(output);
                }
                return false;
            }
        };
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
        match self {
            Stream::Dump(dump) => dump.take(step, output),
            Stream::Prefixes(_) | Stream::Watch(_) => {
                unreachable!("only a dump of records has steps elsewhere")
            }
        }
    }

    /// It has no end.
    pub fn is_watch(&self) -> bool {
        matches!(self, Stream::Watch(_))
    }

    /// A step is with another worker.
    pub fn is_away(&self) -> bool {
        matches!(self, Stream::Dump(dump) if dump.is_away())
    }
}
