//! The order of a session's answers while some of its writes are with other workers.
//!
//! A write that went away leaves its form here: what is needed to make an answer of its outcome. Answers of later
//! commands are encoded at once, into a side buffer, and follow it. Outcomes of different shards come in any
//! order; the answers leave in the order of the commands.
//!
//! ```text
//! queue  [ A set, shard 1 ]        [ B delete, shard 2: outcome known ]     [ C set, shard 1 ]
//! side                     [VALUE..]                                  [END..]                 [STORED..]
//! ```

use std::cell::RefCell;
use std::collections::VecDeque;
use std::ops::Range;

use ringcache_engine::{KeyHash, Outcome, ShardId, Status};

use crate::limits::{
    OUTPUT_BYTES_HIGH, SESSION_READS_WAITING_MAX, SESSION_WRITE_BYTES_WAITING_MAX,
    SESSION_WRITES_WAITING_MAX, SPARE_WAITING_MAX, WAITING_KEPT_ANSWERS, WAITING_KEPT_BYTES,
};
use crate::output::Output;

/// The command a write came from, as far as its answer needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// set, add, replace.
    Store,
    /// append, prepend: what does not fit is not stored.
    Join,
    /// cas.
    CompareAndStore,
    /// delete.
    Delete,
    /// touch.
    Touch,
    /// incr.
    Increment,
    /// decr.
    Decrement,
    /// A write whose outcome nobody asked for.
    Unasked,
    /// A key of gat or gats; the text is the key.
    GetAndTouch {
        /// gats.
        cas: bool,
    },
    /// A key of get or gets that waited for a write of the same session to it; the text is the key.
    Get {
        /// gets.
        cas: bool,
        /// The last key of its line.
        last: bool,
    },
    /// mg that only reads and waited in the same way; the text is the key, a space and the flags.
    MetaRead,
    /// mg with T or N; the text is what follows the verb on the line, as with all meta commands.
    MetaGet,
    /// ms.
    MetaSet,
    /// md.
    MetaDelete,
    /// ma.
    MetaArithmetic,
    /// A write of the binary protocol; the text is what its request left behind, as with the next two.
    Binary,
    /// gat of the binary protocol; behind that stands the key.
    BinaryGetAndTouch,
    /// get of the binary protocol that waited for a write of the same session; likewise.
    BinaryGet,
}

impl Verb {
    /// Whether the answer is made by reading the record. Until that has happened no later write of the session to
    /// the key may reach the shard.
    fn reads(self) -> bool {
        self.waits_for_nothing()
            || matches!(self, Verb::GetAndTouch { .. } | Verb::MetaGet | Verb::BinaryGetAndTouch)
    }

    /// Whether there is no outcome to come: when the answers before it are made, the writes before it are done.
    fn waits_for_nothing(self) -> bool {
        matches!(self, Verb::Get { .. } | Verb::MetaRead | Verb::BinaryGet)
    }
}

/// How an outcome becomes an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form {
    /// The command.
    pub verb: Verb,
    /// Count, but say nothing: `noreply`.
    pub silent: bool,
}

/// The answers that wait; empty, and without a buffer, most of the time.
#[derive(Default)]
pub struct Answers(Option<Box<Waiting>>);

/// An answer whose turn has come.
pub struct Due {
    /// How to make it.
    pub form: Form,
    /// From what.
    pub outcome: Outcome,
    /// Where the command's text is; see [`Answers::text`].
    pub text: Range<usize>,
}

#[derive(Default)]
struct Waiting {
    queue: VecDeque<Answer>,
    /// Answers of later commands, and how much of them has been sent on.
    side: Output,
    side_taken: usize,
    /// Texts of the commands in the queue. It and `side` are emptied when the queue is.
    text: Vec<u8>,
    /// Indexed by shard.
    shards: Vec<ShardState>,
    /// Answers without an outcome.
    unfinished: usize,
    /// Keys and values of their writes.
    away_bytes: usize,
    /// Reads that wait for writes, or for the upstream.
    reads: usize,
    /// Questions for the upstream so far, which gives each its number.
    asked: u32,
}

#[derive(Clone, Copy, Default)]
struct ShardState {
    /// Writes with that shard whose outcome has not come.
    unfinished: u32,
    /// Answers in the queue that will still read there.
    reading: u32,
    /// The keys of the unfinished writes and unmade answers, as a filter; empty when there are none.
    written: KeyFilter,
    /// The keys of these answers, likewise.
    read: KeyFilter,
}

impl ShardState {
    /// Opens keys to writes and to reads again. An answer that is made by reading comes before later reads: it shows
    /// whether the value had been fetched.
    fn forget_settled(&mut self) {
        if self.reading > 0 {
            return;
        }
        self.read = KeyFilter::default();
        if self.unfinished == 0 {
            self.written = KeyFilter::default();
        }
    }
}

/// A write that went away.
pub struct Away {
    /// Where to.
    pub shard: ShardId,
    /// What it writes.
    pub written: Keys,
    /// Its key and value.
    pub bytes: usize,
}

/// Which keys a write or a read is about.
#[derive(Clone, Copy)]
pub enum Keys {
    /// One key.
    One(KeyHash),
    /// Every key of the shard: what a flush writes.
    All,
}

/// A set of keys that may say yes in vain: one bit of 1024 for each key, so that one key in thirty is taken for a
/// member when thirty are.
#[derive(Clone, Copy, Default)]
struct KeyFilter([u64; 16]);

impl KeyFilter {
    fn insert(&mut self, keys: Keys) {
        match keys {
            Keys::One(hash) => self.0[word(hash)] |= bit(hash),
            Keys::All => self.0 = [u64::MAX; 16],
        }
    }

    #[inline]
    fn may_hold(&self, keys: Keys) -> bool {
        match keys {
            Keys::One(hash) => self.0[word(hash)] & bit(hash) != 0,
            Keys::All => self.0 != [0; 16],
        }
    }
}

#[inline]
fn word(hash: KeyHash) -> usize {
    (hash.0 >> 32 & 15) as usize
}

#[inline]
fn bit(hash: KeyHash) -> u64 {
    1 << (hash.0 >> 36 & 63)
}

struct Answer {
    shard: ShardId,
    form: Form,
    /// Key and value of the write.
    bytes: usize,
    text: Range<usize>,
    outcome: Option<Outcome>,
    /// The number of its question, if it waits for the upstream.
    ask: Option<u32>,
    /// Where the answers behind this one begin in `side`.
    side_at: usize,
}

thread_local! {
    /// Emptied queues of this worker's sessions, so that an idle session holds none and a busy one allocates none.
    #[expect(clippy::vec_box, reason = "the boxes themselves are what is kept")]
    static SPARE: RefCell<Vec<Box<Waiting>>> = const { RefCell::new(Vec::new()) };
}

impl Answers {
    /// No answer waits.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Writes that are with other workers.
    pub fn writes_waiting(&self) -> usize {
        self.0.as_ref().map_or(0, |waiting| waiting.unfinished)
    }

    /// Where an answer that is known at once goes: behind what waits, else straight out.
    #[inline]
    pub fn sink<'o>(&'o mut self, output: &'o mut Output) -> &'o mut Output {
        match &mut self.0 {
            Some(waiting) => &mut waiting.side,
            None => output,
        }
    }

    /// Whether a read of a key in `shard` sees all writes of this session to that key.
    #[inline]
    pub fn may_read(&self, shard: ShardId, hash: KeyHash) -> bool {
        self.0
            .as_ref()
            .is_none_or(|waiting| !waiting.shards[usize::from(shard.0)].written.may_hold(Keys::One(hash)))
    }

    /// Whether a write of these keys may be sent to `shard`.
    #[inline]
    pub fn may_write(&self, shard: ShardId, written: Keys) -> bool {
        self.0.as_ref().is_none_or(|waiting| {
            waiting.queue.len() < SESSION_WRITES_WAITING_MAX
                && waiting.away_bytes < SESSION_WRITE_BYTES_WAITING_MAX
                && !waiting.shards[usize::from(shard.0)].read.may_hold(written)
        })
    }

    /// Whether one more read may wait here. What they will show is not yet counted as output, so they are few.
    pub fn may_defer(&self) -> bool {
        self.0.as_ref().is_some_and(|waiting| waiting.reads < SESSION_READS_WAITING_MAX)
    }

    /// Keeps the place of a read that has to see a write which is under way. There is such a write, so an answer
    /// waits already.
    pub fn defer(&mut self, shard: ShardId, read: Keys, verb: Verb, text: [&[u8]; 3]) {
        let waiting = self.0.as_mut().expect("a read waits only behind a write");
        let text_at = waiting.text.len();
        text.iter().for_each(|part| waiting.text.extend_from_slice(part));
        let state = &mut waiting.shards[usize::from(shard.0)];
        state.reading += 1;
        state.read.insert(read);
        waiting.reads += 1;
        waiting.queue.push_back(Answer {
            shard,
            form: Form { verb, silent: false },
            bytes: 0,
            text: text_at..waiting.text.len(),
            outcome: Some(Outcome::bare(Status::NotFound)),
            ask: None,
            side_at: waiting.side.bytes.len(),
        });
    }

    /// Bytes held back; past the limit nothing more is parsed.
    pub fn is_full(&self) -> bool {
        self.0.as_ref().is_some_and(|waiting| waiting.side.len() + waiting.text.len() >= OUTPUT_BYTES_HIGH)
    }

    /// Keeps the place of an answer whose write of these keys went to `shard`, one of `shards`.
    pub fn wait(&mut self, away: Away, shards: u16, form: Form, text: &[u8]) {
        let Away { shard, written, bytes } = away;
        let waiting = self.0.get_or_insert_with(|| Waiting::spare(shards));
        let text_at = waiting.text.len();
        if !form.silent {
            waiting.text.extend_from_slice(text);
        }
        let state = &mut waiting.shards[usize::from(shard.0)];
        state.unfinished += 1;
        state.written.insert(written);
        if form.verb.reads() {
            state.reading += 1;
            state.read.insert(written);
        }
        waiting.unfinished += 1;
        waiting.away_bytes += bytes;
        waiting.queue.push_back(Answer {
            shard,
            form,
            bytes,
            text: text_at..waiting.text.len(),
            outcome: None,
            ask: None,
            side_at: waiting.side.bytes.len(),
        });
    }

    /// Whether one more answer may wait for the upstream. As with reads that wait, what it will show is not yet counted as
    /// output.
    pub fn may_ask(&self) -> bool {
        self.0.as_ref().is_none_or(|waiting| {
            waiting.reads < SESSION_READS_WAITING_MAX && waiting.queue.len() < SESSION_WRITES_WAITING_MAX
        })
    }

    /// Keeps the place of an answer that the upstream is asked for, with a key in `shard`, one of `shards`. Gives the
    /// number of the question. Until the answer is made, later writes of the session to the key wait.
    pub fn ask(&mut self, shard: ShardId, key: KeyHash, shards: u16, verb: Verb, text: [&[u8]; 3]) -> u32 {
        let waiting = self.0.get_or_insert_with(|| Waiting::spare(shards));
        let text_at = waiting.text.len();
        text.iter().for_each(|part| waiting.text.extend_from_slice(part));
        let state = &mut waiting.shards[usize::from(shard.0)];
        state.unfinished += 1;
        state.reading += 1;
        state.read.insert(Keys::One(key));
        if !verb.waits_for_nothing() {
            state.written.insert(Keys::One(key));
        }
        waiting.unfinished += 1;
        waiting.reads += usize::from(verb.waits_for_nothing());
        waiting.asked = waiting.asked.wrapping_add(1);
        waiting.queue.push_back(Answer {
            shard,
            form: Form { verb, silent: false },
            bytes: 0,
            text: text_at..waiting.text.len(),
            outcome: None,
            ask: Some(waiting.asked),
            side_at: waiting.side.bytes.len(),
        });
        waiting.asked
    }

    /// Takes the outcome of the oldest unfinished write with `shard`.
    pub fn handle_outcome(&mut self, shard: ShardId, outcome: &Outcome) {
        let waiting = self.0.as_mut().expect("an outcome belongs to a write that went away");
        waiting.finish(|answer| answer.shard == shard && answer.ask.is_none(), outcome);
    }

    /// Takes the outcome of the question of that number.
    pub fn handle_settled(&mut self, ask: u32, outcome: &Outcome) {
        let waiting = self.0.as_mut().expect("an outcome belongs to a question that was asked");
        waiting.finish(|answer| answer.ask == Some(ask), outcome);
    }

    /// The oldest answer, when its outcome has come. After encoding it, call [`Answers::follow`].
    pub fn due(&self) -> Option<Due> {
        let front = self.0.as_ref()?.queue.front()?;
        Some(Due { form: front.form, outcome: front.outcome?, text: front.text.clone() })
    }

    /// The command's text of an answer that is due.
    pub fn text(&self, due: &Due) -> &[u8] {
        self.0.as_ref().map_or(&[], |waiting| &waiting.text[due.text.clone()])
    }

    /// Removes the answer that was due and sends on what stood behind it.
    pub fn follow(&mut self, output: &mut Output) {
        let waiting = self.0.as_mut().expect("an answer was due");
        let answer = waiting.queue.pop_front().expect("an answer was due");
        waiting.forget_read(&answer);
        let end = waiting.queue.front().map_or(waiting.side.bytes.len(), |next| next.side_at);
        output.take(&mut waiting.side, waiting.side_taken..end);
        waiting.side_taken = end;
        if waiting.queue.is_empty() {
            let waiting = self.0.take().expect("checked above");
            waiting.give_back();
        }
    }
}

impl Waiting {
    fn spare(shards: u16) -> Box<Waiting> {
        let mut waiting = SPARE.with_borrow_mut(Vec::pop).unwrap_or_default();
        waiting.shards.resize(usize::from(shards), ShardState::default());
        waiting
    }

    /// Gives the outcome to the oldest answer of those that has none.
    fn finish(&mut self, is_one: impl Fn(&Answer) -> bool, outcome: &Outcome) {
        let mut unfinished = self.queue.iter_mut().filter(|answer| answer.outcome.is_none());
        let answer = unfinished.find(|answer| is_one(answer)).expect("each is answered once");
        answer.outcome = Some(*outcome);
        self.away_bytes -= answer.bytes;
        let state = &mut self.shards[usize::from(answer.shard.0)];
        state.unfinished -= 1;
        state.forget_settled();
        self.unfinished -= 1;
    }

    /// A read was made: later writes of its key may go.
    fn forget_read(&mut self, answer: &Answer) {
        if !answer.form.verb.reads() {
            return;
        }
        let state = &mut self.shards[usize::from(answer.shard.0)];
        state.reading -= 1;
        state.forget_settled();
        self.reads -= usize::from(answer.form.verb.waits_for_nothing());
    }

    /// Every counter is zero here, because the queue is empty.
    fn give_back(mut self: Box<Self>) {
        self.side.clear();
        self.side.bytes.shrink_to(WAITING_KEPT_BYTES);
        self.side_taken = 0;
        self.text.clear();
        self.text.shrink_to(WAITING_KEPT_BYTES);
        self.queue.shrink_to(WAITING_KEPT_ANSWERS);
        SPARE.with_borrow_mut(|spare| {
            if spare.len() < SPARE_WAITING_MAX {
                spare.push(self);
            }
        });
    }
}
