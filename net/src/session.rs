//! One client connection as a state machine: bytes in, writes and answers out. No socket, no clock.

use ringcache_engine::{Outcome, ShardId};

use crate::output::Output;
use crate::reach::Reach;

/// What the worker should do next with a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Everything was taken; receive more.
    Receive,
    /// Input is kept back until `handle_outcome` or `handle_room` has been called: do not receive more.
    Hold,
    /// Send what is in the output, then close.
    Close,
}

/// Protocol state of one connection. An idle one holds no buffer.
pub struct Session {
    _private: (),
}

impl Session {
    /// A fresh connection.
    pub fn new() -> Self {
        unreachable!()
    }
    /// Takes what was received. Complete commands are executed, answers appended to `output`; an unfinished
    /// command is kept. Called even while holding (completions already under way): then the bytes are only kept.
    pub fn handle_bytes(&mut self, _input: &[u8], _reach: &mut Reach<'_>, _output: &mut Output) -> Progress {
        unreachable!()
    }
    /// Takes the answer of a write that went to `shard`, then goes on with kept input where it can.
    pub fn handle_outcome(
        &mut self,
        _shard: ShardId,
        _outcome: &Outcome,
        _reach: &mut Reach<'_>,
        _output: &mut Output,
    ) -> Progress {
        unreachable!()
    }
    /// The output has been sent: goes on with kept input.
    pub fn handle_room(&mut self, _reach: &mut Reach<'_>, _output: &mut Output) -> Progress {
        unreachable!()
    }
    /// Writes that are with other workers; a closing connection's place is reused only when it is zero... or the
    /// generation tells them apart.
    pub fn writes_waiting(&self) -> usize {
        unreachable!()
    }
}
