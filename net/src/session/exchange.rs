//! What the commands of one call into a session work with: the engine, the answers, the batch of lookups.

use ringcache_engine::{KeyHash, Op, Outcome, ShardId, Status, Store, Write};

use crate::dump::{self, Crawl, Dump};
use crate::limits::OUTPUT_BYTES_HIGH;
use crate::output::Output;
use crate::protocol::binary::header::ASKED_BYTES;
use crate::protocol::refused;
use crate::reach::{Reach, Sent};
use crate::session::answers::{Answers, Away, Form, Keys, Verb};
use crate::session::foresight::Foresight;
use crate::session::lookups::{Lookup, Lookups, Reply, Sight, Unmade};
use crate::session::stream::Stream;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// It is done and was this many bytes long.
    Taken(usize),
    /// This many bytes are taken, the next `bytes` are a data block nobody wants.
    Swallow {
        /// Bytes of the command's line.
        taken: usize,
        /// Bytes of the data block, its end included.
        bytes: u64,
    },
    /// It needs this many bytes of input in all; nothing has been done.
    More(usize),
    /// It waits for an outcome or for room; nothing has been done.
    Wait,
    /// As `Wait`, but `taken` bytes of its line are done and the rest is a list of keys.
    WaitInKeys {
        /// Bytes that are done.
        taken: usize,
        /// What to do with the other keys.
        keys: KeyList,
    },
    /// These bytes are done, and what the command put into `Exchange::stream` has the connection.
    TakeOver(usize),
    /// The connection ends here, after the answers so far.
    Close,
}

/// A line of keys that was begun: `get`, `gets`, `gat` or `gats`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyList {
    /// Show CAS uniques.
    pub cas: bool,
    /// Give each key this expiry.
    pub touch: Option<ringcache_engine::Expiry>,
}

/// What became of a write.
pub enum Delivery {
    /// It was executed.
    Done(Outcome),
    /// Another worker has it, and the answer follows from its form; or it was refused and is answered.
    Away,
    /// It could not be sent yet.
    Wait,
}

/// Borrowed together for one call into a session.
pub struct Exchange<'e, 'i, 'r> {
    /// The engine, the mesh and the node.
    pub reach: &'e mut Reach<'r>,
    /// What reads work with.
    pub sight: Sight<'r>,
    /// What is sent next.
    pub output: &'e mut Output,
    /// Answers that wait for other workers.
    pub answers: &'e mut Answers,
    /// Reads that were parsed and not yet made.
    pub lookups: Lookups<'e, 'i, 'r>,
    /// Writes that were seen and not yet executed.
    pub foresight: Foresight,
    /// Where in the input the command begins that is being executed.
    pub input_at: usize,
    /// The first read of a batch that found the output full: parsing goes on there later.
    pub unanswered: Option<Lookup<'i>>,
    /// What takes the connection over behind this command.
    pub stream: Option<Box<Stream>>,
    /// Answers are sent as datagrams: nothing may take the place of one.
    pub is_datagram: bool,
}

impl<'i, 'r> Exchange<'_, 'i, 'r> {
    /// What reads work with.
    #[inline]
    pub fn sight(&self) -> Sight<'r> {
        self.sight
    }

    /// Where the next answer is encoded. All lookups before it must have been made.
    #[inline]
    pub fn sink(&mut self) -> &mut Output {
        self.answers.sink(self.output)
    }

    /// Starts loading what the writes behind the one at hand need, which `rest` begins with.
    #[inline]
    pub fn look_ahead(&mut self, rest: &[u8]) {
        self.foresight.look(rest, self.input_at, self.reach.reader);
    }

    /// Makes the reads of the batch. False when the output was full before its end; then the command at hand
    /// must return [`Flow::Wait`].
    #[inline]
    pub fn settle(&mut self) -> bool {
        loop {
            let settled = self.lookups.settle(&self.sight, self.answers.sink(self.output));
            if let Some(done) = self.is_over(settled) {
                return done;
            }
        }
    }

    /// Whether that was all; `None`: the batch goes on.
    #[inline]
    fn is_over(&mut self, result: Result<(), Unmade<'i>>) -> Option<bool> {
        match result {
            Ok(()) => Some(true),
            Err(Unmade::Cold(lookup)) if self.ask_for(&lookup) => None,
            Err(Unmade::Full(lookup) | Unmade::Cold(lookup)) => {
                self.lookups.give_up();
                self.unanswered = Some(lookup);
                Some(false)
            }
        }
    }

    /// Answers a command with one line (given with its end) and is done with `taken` bytes.
    pub fn answer(&mut self, line: &[u8], taken: usize) -> Flow {
        if !self.settle() {
            return Flow::Wait;
        }
        self.sink().push(line);
        Flow::Taken(taken)
    }

    /// As [`Exchange::answer`], but says nothing when the client asked for silence.
    pub fn answer_unless(&mut self, silent: bool, line: &[u8], taken: usize) -> Flow {
        if silent { Flow::Taken(taken) } else { self.answer(line, taken) }
    }

    /// As [`Exchange::answer_unless`], for a command whose data block is then swallowed.
    pub fn refuse_data(&mut self, silent: bool, line: &[u8], line_bytes: usize, data_bytes: usize) -> Flow {
        match self.answer_unless(silent, line, line_bytes) {
            Flow::Taken(taken) => Flow::Swallow { taken, bytes: data_bytes as u64 + 2 },
            other => other,
        }
    }

    /// Begins a dump in the place of an answer; the connection is its own until it ends.
    /// Only when [`Exchange::may_take_over`].
    pub fn dump(&mut self, form: dump::Form, crawl: Option<Crawl>, taken: usize) -> Flow {
        let shards = self.reach.reader.shards();
        let dump = Dump::begin(form, shards, self.reach.node.config.cas, crawl, self.output);
        self.take_over(Stream::Dump(dump), taken)
    }

    /// Hands the connection over to `stream`. Only when [`Exchange::may_take_over`].
    pub fn take_over(&mut self, stream: Stream, taken: usize) -> Flow {
        self.stream = Some(Box::new(stream));
        Flow::TakeOver(taken)
    }

    /// Whether something may take the connection over: every answer before it has been made.
    pub fn may_take_over(&self) -> bool {
        self.answers.is_empty()
    }

    /// Adds a read to the batch; false when it has to wait, with nothing done.
    #[inline]
    pub fn look_up(&mut self, key: &'i [u8], input_at: usize, reply: Reply<'i>) -> bool {
        let hash = KeyHash::of(key);
        if !self.may_read(hash) {
            return self.defer(hash, key, reply);
        }
        let lookup = Lookup { hash, key, input_at, reply };
        loop {
            let added = self.lookups.add(lookup, &self.sight, self.answers.sink(self.output));
            if let Some(done) = self.is_over(added) {
                return done;
            }
        }
    }

    /// Lets a read wait for the write before it, while the commands behind it go on.
    fn defer(&mut self, hash: KeyHash, key: &[u8], reply: Reply<'_>) -> bool {
        if !self.settle() || !self.answers.may_defer() {
            return false;
        }
        let mut room = [0; ASKED_BYTES];
        let (verb, text) = reply.kept(key, &mut room);
        self.answers.defer(self.shard_of(hash), Keys::One(hash), verb, text);
        true
    }

    /// Whether a read of the key sees every write of this session to it.
    #[inline]
    pub fn may_read(&self, hash: KeyHash) -> bool {
        self.answers.is_empty() || self.answers.may_read(self.shard_of(hash), hash)
    }

    /// Sends a write to its shard. `form` and `text` make the answer when the outcome comes later. The batch of
    /// lookups must be settled.
    #[inline]
    pub fn send(&mut self, write: &Write<'_>, form: Form, text: &[u8]) -> Delivery {
        self.send_to(self.shard_of(write.hash), write, form, text)
    }

    /// As [`Exchange::send`], to a shard that the caller names.
    #[inline]
    pub fn send_to(&mut self, shard: ShardId, write: &Write<'_>, form: Form, text: &[u8]) -> Delivery {
        let written = match write.op {
            Op::Flush { .. } => Keys::All,
            _ => Keys::One(write.hash),
        };
        if !self.answers.may_write(shard, written) {
            return Delivery::Wait;
        }
        let is_noted = form.verb != Verb::Unasked;
        match self.reach.write_to(shard, write, is_noted) {
            Sent::Done(Outcome { status: Status::Refused(refusal), .. }) => {
                refused::answer(refusal, form, text, self.answers.sink(self.output));
                Delivery::Away
            }
            Sent::Done(outcome) => {
                if is_noted && let Some(observer) = self.reach.observer() {
                    observer.wrote(write.key, &write.op, write.value_bytes(), &outcome, self.reach.now);
                }
                Delivery::Done(outcome)
            }
            Sent::Away(shard) => {
                let away = Away { shard, written, bytes: write.bytes() };
                self.answers.wait(away, self.reach.reader.shards(), form, text);
                Delivery::Away
            }
        }
    }

    /// Notes a store that is refused for its size, for those who look on.
    pub fn note_too_large(&self, key: &[u8], store: Store<'_>, value_bytes: usize) {
        if let Some(observer) = self.reach.observer() {
            let outcome = Outcome::bare(Status::TooLarge);
            observer.wrote(key, &Op::Store(store), value_bytes, &outcome, self.reach.now);
        }
    }

    /// Too many answers are waiting to be sent.
    #[inline]
    pub fn is_full(&self) -> bool {
        self.output.len() >= OUTPUT_BYTES_HIGH || self.answers.is_full()
    }

    #[inline]
    pub(super) fn shard_of(&self, hash: KeyHash) -> ShardId {
        hash.shard(self.reach.reader.shards())
    }
}
