//! The commands of one datagram, from its arrival until its last answer. No socket, no clock.
//!
//! A session of its own executes them one after the other, so that the answer to each can be told from the next. What
//! follows a command waits until that is answered, also by another worker; what is cut off at the datagram's end is
//! nobody's.

use ringcache_engine::{Outcome, ShardId};

use super::{Progress, Session};
use crate::limits::UDP_ANSWER_BYTES_MAX;
use crate::output::Output;
use crate::reach::Reach;

/// See the module's text.
pub struct Datagram {
    session: Session,
    output: Output,
    /// Answers to the command at hand that its session has let go of.
    answer: Output,
}

/// The answer to one command.
pub enum Answer<'o> {
    /// All of it.
    Whole(&'o Output),
    /// It is longer than may be sent.
    TooLarge,
}

/// How far a datagram has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// An outcome is awaited.
    Waiting,
    /// Every command was executed.
    Over,
    /// The last command was cut off, and was not executed.
    Cut,
}

impl Datagram {
    /// One that nothing was read of.
    pub fn new() -> Self {
        Self { session: Session::of_datagram(), output: Output::default(), answer: Output::default() }
    }

    /// Executes `commands`. `tell` gets each answer that is not empty.
    pub fn begin(&mut self, commands: &[u8], reach: &mut Reach<'_>, tell: impl FnMut(Answer<'_>)) -> Stage {
        let progress = self.session.handle_bytes(commands, reach, &mut self.output);
        self.go_on(progress, reach, tell)
    }

    /// Takes the outcome of a write that went to `shard`, and goes on with the other commands.
    pub fn handle_outcome(
        &mut self,
        shard: ShardId,
        outcome: &Outcome,
        reach: &mut Reach<'_>,
        tell: impl FnMut(Answer<'_>),
    ) -> Stage {
        self.session.take_outcome(shard, outcome, reach, &mut self.output);
        self.go_on(Progress::Hold, reach, tell)
    }

    fn go_on(
        &mut self,
        mut progress: Progress,
        reach: &mut Reach<'_>,
        mut tell: impl FnMut(Answer<'_>),
    ) -> Stage {
        while self.session.writes_waiting() == 0 {
            self.collect();
            if !self.session.is_within_command() {
                self.tell(&mut tell);
            }
            match progress {
                Progress::Hold => progress = self.session.handle_room(reach, &mut self.output),
                Progress::Receive if self.session.keeps_input() => return Stage::Cut,
                Progress::Receive | Progress::Close => return Stage::Over,
            }
        }
        Stage::Waiting
    }

    /// Takes what the session has made of its answer, so that it goes on. What will not be sent is not kept.
    fn collect(&mut self) {
        let end = self.output.bytes.len();
        if self.answer.len() <= UDP_ANSWER_BYTES_MAX {
            self.answer.take(&mut self.output, 0..end);
        }
        self.output.clear();
    }

    fn tell(&mut self, tell: &mut impl FnMut(Answer<'_>)) {
        match self.answer.len() {
            0 => return,
            bytes if bytes <= UDP_ANSWER_BYTES_MAX => tell(Answer::Whole(&self.answer)),
            _ => tell(Answer::TooLarge),
        }
        self.answer.clear();
    }
}

impl Default for Datagram {
    fn default() -> Self {
        Self::new()
    }
}
