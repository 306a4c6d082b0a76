//! What a shard's owner does with questions and answers: whom to ask, what to keep, when to stop waiting.
//!
//! A question is settled by the answer of the upstream, by the end of its time, or at once when waiting is no use: while
//! there is no connection, while the upstream owes an answer that is late, past the limits, or for a key that was written
//! here. Then the session reads what there is.

use std::time::Duration;

use ringcache_engine::{
    Delete, Expiry, KeyHash, Lookup, Now, Op, Outcome, Reader, Seconds, Shard, Status, Store, StoreMode,
    Write, WriteRefusal,
};

use super::answers::{Answer, AnswerReader, Dialect, Garbled, Life};
use super::fetches::{Fetches, Taken, Waiting};
use super::written::Written;
use crate::config::Config;
use crate::limits::{TURN_BUDGET_LOW, WARM_SILENCE_MAX, WARM_UNKNOWN_LIFE_SECONDS};
use crate::protocol::text::store::fits;
use crate::stats::Counters;

/// What it works on, for the length of one call.
pub struct Ground<'a> {
    /// The owner's.
    pub shard: &'a mut Shard,
    /// The owner's view of it.
    pub reader: &'a Reader,
    /// The keys that clients have written in it.
    pub written: &'a mut Written,
    /// Why it takes no writes.
    pub gate: Option<WriteRefusal>,
    /// How large a record may be.
    pub config: &'a Config,
    /// The owner's.
    pub counters: &'a Counters,
    /// The turn's time.
    pub now: Now,
    /// The same on a clock that never jumps.
    pub at: Duration,
}

/// Why a connection to the upstream is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It is out of step.
    #[error(transparent)]
    Garbled(#[from] Garbled),
    /// It answers what nobody asked.
    #[error("the upstream says what it was not asked")]
    Unasked,
    /// It does not answer.
    #[error("the upstream owes an answer for too long")]
    Silent,
}

/// One per worker, for its shard.
pub struct Source {
    fetches: Fetches,
    /// While it is connected.
    reader: Option<AnswerReader>,
    /// When it said something last.
    heard: Duration,
    patience: Duration,
    value_bytes_max: u32,
    settled: Vec<Waiting>,
}

impl Source {
    /// Not connected. Sessions wait for at most `patience`; larger values than that are not kept.
    pub fn new(patience: Duration, value_bytes_max: u32) -> Self {
        Self {
            fetches: Fetches::default(),
            reader: None,
            heard: Duration::ZERO,
            patience,
            value_bytes_max,
            settled: Vec::new(),
        }
    }

    /// There is a connection.
    pub fn connect(&mut self, dialect: Dialect) {
        self.reader = Some(AnswerReader::new(dialect, self.value_bytes_max));
    }

    /// There is none any more: nobody waits for what it owed.
    pub fn disconnect(&mut self, ground: &mut Ground<'_>) {
        self.reader = None;
        while let Some(fetch) = self.fetches.finish() {
            self.settle(fetch.waiting, ground);
        }
    }

    /// Whether a question is worth its way to here.
    pub fn is_open(&self, ground: &Ground<'_>) -> bool {
        let waits_in_vain = self.fetches.silent_for(ground.at).is_some();
        self.reader.is_some() && !waits_in_vain && ground.gate.is_none() && !ground.written.is_all()
    }

    /// Takes a question. What is to be said to the upstream is appended to `out`.
    pub fn ask(&mut self, waiting: Waiting, ground: &mut Ground<'_>, out: &mut Vec<u8>) {
        let ask = &waiting.1;
        let is_here = matches!(ground.reader.get(ask.hash, &ask.key, ground.now), Lookup::Hit(_));
        if is_here || ground.written.may_hold(ask.hash) || !self.is_open(ground) {
            return self.settle([waiting], ground);
        }
        match self.fetches.take(waiting, ground.at) {
            Taken::Begun => {
                let fetch = self.fetches.back().expect("it was begun just now");
                let reader = self.reader.as_ref().expect("it is open");
                reader.dialect().ask(&fetch.key, out);
                ground.counters.warm_asked.add(1);
            }
            Taken::Joined => ground.counters.warm_coalesced.add(1),
            Taken::Refused(waiting) => self.settle([waiting], ground),
        }
    }

    /// Takes what was received.
    pub fn handle_bytes(&mut self, bytes: &[u8], at: Duration) {
        self.heard = at;
        if let Some(reader) = &mut self.reader {
            reader.push(bytes);
        }
    }

    /// Settles what can be settled. True when more can be in the next turn.
    ///
    /// Errors: the connection is of no use any more.
    pub fn poll(&mut self, ground: &mut Ground<'_>) -> Result<bool, Fault> {
        while self.take_answer(ground)? {
            if ground.shard.turn_budget() < TURN_BUDGET_LOW {
                return Ok(true);
            }
        }
        while let Some(late) = self.fetches.release_late(ground.at, self.patience) {
            ground.counters.warm_timeouts.add(1);
            self.settle(late, ground);
        }
        match self.silence_left(ground.at) {
            Some(Duration::ZERO) => Err(Fault::Silent),
            _ => Ok(false),
        }
    }

    /// Some are settled and have not been taken.
    pub fn has_settled(&self) -> bool {
        !self.settled.is_empty()
    }

    /// The questions that are settled, with the workers they go back to.
    pub fn take_settled(&mut self) -> Vec<Waiting> {
        std::mem::take(&mut self.settled)
    }

    /// How long until there is something to do without anything coming.
    pub fn next_timeout(&self, at: Duration) -> Option<Duration> {
        let late = self.fetches.next_timeout(at, self.patience);
        late.into_iter().chain(self.silence_left(at)).min()
    }

    /// How much longer the upstream may say nothing, while nobody waits any more for what it owes. A large value may take
    /// long, and as long as it comes the upstream is not silent.
    fn silence_left(&self, at: Duration) -> Option<Duration> {
        let silence = self.fetches.silent_for(at)?.min(at.saturating_sub(self.heard));
        Some(WARM_SILENCE_MAX.max(2 * self.patience).saturating_sub(silence))
    }

    /// Takes the next answer, if it is whole.
    fn take_answer(&mut self, ground: &mut Ground<'_>) -> Result<bool, Fault> {
        let Some(reader) = &mut self.reader else { return Ok(false) };
        let Some(fetch) = self.fetches.front() else {
            return if reader.is_empty() { Ok(false) } else { Err(Fault::Unasked) };
        };
        let Some(answer) = reader.next(&fetch.key)? else { return Ok(false) };
        keep(answer, fetch.hash, &fetch.key, ground);
        let fetch = self.fetches.finish().expect("it was in front");
        self.settle(fetch.waiting, ground);
        Ok(true)
    }

    fn settle(&mut self, waiting: impl IntoIterator<Item = Waiting>, ground: &mut Ground<'_>) {
        for (worker, mut ask) in waiting {
            if let Some(expiry) = ask.touch {
                let write = Write { hash: ask.hash, key: &ask.key, op: Op::Touch { expiry, fetches: false } };
                ask.outcome = match ground.gate {
                    Some(refusal) => Outcome::bare(Status::Refused(refusal)),
                    None => ground.shard.apply(&write, ground.now),
                };
                // What was not found may yet come: the upstream could not be asked this time.
                if ask.outcome.status == Status::Touched {
                    ground.written.note(ask.hash, &write.op);
                }
            }
            self.settled.push((worker, ask));
        }
    }
}

/// Adds a value to the shard, unless a client has written the key since it was asked for.
fn keep(answer: Answer<'_>, hash: KeyHash, key: &[u8], ground: &mut Ground<'_>) {
    let counters = ground.counters;
    let (flags, life, value) = match answer {
        Answer::Miss => return counters.warm_misses.add(1),
        Answer::TooLarge => return counters.warm_too_large.add(1),
        Answer::Value { flags, life, value } => (flags, life, value),
    };
    counters.warm_hits.add(1);
    counters.warm_bytes.add(value.len() as u64);
    if ground.gate.is_some() || ground.written.may_hold(hash) {
        return;
    }
    if !fits(key, flags, value.len(), ground.config) {
        return counters.warm_too_large.add(1);
    }
    let store = Store { mode: StoreMode::Add, ..Store::set(value, flags, expiry(life, ground.now)) };
    let outcome = ground.shard.apply(&Write { hash, key, op: Op::Store(store) }, ground.now);
    // Another worker flushes the node without asking. If it has begun, nobody can tell whether that came before.
    if outcome.status == Status::Stored && ground.written.is_all() {
        let delete = Delete { compare: Some(outcome.cas), ..Delete::default() };
        ground.shard.apply(&Write { hash, key, op: Op::Delete(delete) }, ground.now);
    }
}

fn expiry(life: Life, now: Now) -> Expiry {
    let after = |seconds| Expiry::at(Seconds(now.seconds.0.saturating_add(seconds)));
    match life {
        Life::Endless => Expiry::NEVER,
        Life::Seconds(seconds) => after(seconds),
        Life::Unknown => after(WARM_UNKNOWN_LIFE_SECONDS),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ringcache_engine::KeyHash;

    use super::Source;
    use crate::limits::WARM_SILENCE_MAX;
    use crate::mesh::Ticket;
    use crate::warming::Ask;

    #[test]
    fn an_upstream_whose_answer_is_coming_is_not_silent() {
        let patience = Duration::from_millis(100);
        let mut source = Source::new(patience, 10);
        let ticket = Ticket { connection: 0, generation: 0 };
        source.fetches.take((0, Ask::new(ticket, 0, KeyHash::of(b"a"), b"a", None)), Duration::ZERO);
        assert_eq!(source.next_timeout(Duration::ZERO), Some(patience));
        source.fetches.release_late(patience, patience).expect("its time is over");
        assert_eq!(source.next_timeout(patience), Some(WARM_SILENCE_MAX - patience));
        source.handle_bytes(b"VA 5 f0 t-1 ka\r\n1", WARM_SILENCE_MAX);
        assert_eq!(source.next_timeout(WARM_SILENCE_MAX), Some(WARM_SILENCE_MAX));
        assert_eq!(source.next_timeout(2 * WARM_SILENCE_MAX), Some(Duration::ZERO));
    }
}
