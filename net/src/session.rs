//! One client connection as a state machine: bytes in, writes and answers out. No socket, no clock.
//!
//! ```text
//! handle_bytes --> line --> command --+-- read:  joins the batch of lookups (session/lookups.rs)
//!                                     +-- write: settles the batch, then
//!                                           own shard:   executed, answered
//!                                           other shard: sent away, its answer waits (session/answers.rs)
//! ```
//!
//! Answers keep the order of their commands. A write away does not stop later writes, nor reads of other keys. A read
//! of a key with an unfinished write of this session is made when its answer's turn has come, and until then holds
//! back later writes of the key.

use ringcache_engine::{Outcome, ShardId, Status, StoreMode};

use crate::config::{Binding, Terms};
use crate::dump::Step;
use crate::limits::{KEPT_INPUT_STEP_BYTES, LINE_BYTES_MIN, LOOKUP_BATCH};
use crate::output::Output;
use crate::protocol::line::{self, Command, Tokens, is_noreply};
use crate::protocol::{BAD_FORMAT, UNKNOWN, binary, meta, refused, scan, text};
use crate::reach::Reach;
use crate::tls::Greeting;
use crate::warming::Ask;

pub mod answers;
pub mod asking;
pub mod datagram;
pub mod dialect;
pub mod exchange;
pub mod foresight;
pub mod inputs;
pub mod lookups;
pub mod stream;
#[cfg(test)]
mod tests;
pub mod touching;

pub use exchange::{Delivery, Exchange, Flow, KeyList};

use answers::{Answers, Due, Verb};
use dialect::Dialect;
pub use dialect::Login;
use foresight::Foresight;
use inputs::SpareInputs;
use lookups::{Lookup, Lookups, Reply, Room, Sight};
use stream::Stream;

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
#[derive(Default)]
pub struct Session {
    /// Input that was received and not yet taken. It begins with a command, with a data block to swallow, or,
    /// when `keys` is set, within a line of keys.
    kept: Vec<u8>,
    /// Bytes at the front of `kept` that are done with. They go when they are half of it, so that executing little at a time
    /// does not move the rest each time.
    done: usize,
    /// The command at the front of `kept` is complete when it holds this many bytes.
    needed: usize,
    /// Bytes at the front of `kept` known to hold no end of line.
    scanned: usize,
    /// Bytes of an unwanted data block still to come.
    swallow: u64,
    keys: Option<KeyList>,
    answers: Answers,
    /// What has taken the connection over. Until it is over, input is kept.
    stream: Option<Box<Stream>>,
    /// The client said `quit` or something worse; the answers before it are still sent.
    is_closing: bool,
    /// Each call executes one command, and nothing takes the place of an answer: see `session/datagram.rs`.
    is_datagram: bool,
    dialect: Dialect,
}

impl Session {
    /// A fresh connection.
    pub fn new() -> Self {
        Self::default()
    }

    /// A fresh connection to a listener with terms of its own.
    pub fn with_terms(terms: Terms) -> Self {
        Self { dialect: Dialect::Unknown(terms.binding), ..Self::default() }
    }

    /// For the commands of one datagram, in whatever protocol.
    fn of_datagram() -> Self {
        let terms = Terms { binding: Some(Binding::Auto), ..Terms::default() };
        Self { is_datagram: true, ..Self::with_terms(terms) }
    }

    /// Takes what was received. Complete commands are executed, answers appended to `output`; an unfinished
    /// command is kept. Called even while holding (completions already under way): then the bytes are only kept.
    pub fn handle_bytes(&mut self, input: &[u8], reach: &mut Reach<'_>, output: &mut Output) -> Progress {
        if self.is_closing {
            return self.close();
        }
        if let Some(stream) = &self.stream {
            if !stream.is_watch() {
                self.keep(input, reach.inputs);
            }
            return Progress::Hold;
        }
        if self.kept.is_empty() {
            let (taken, progress) = self.run(input, reach, output);
            self.keep(&input[taken..], reach.inputs);
            return progress;
        }
        self.keep(input, reach.inputs);
        self.go_on(reach, output)
    }

    /// Takes the answer of a write that went to `shard`, then goes on with kept input where it can.
    pub fn handle_outcome(
        &mut self,
        shard: ShardId,
        outcome: &Outcome,
        reach: &mut Reach<'_>,
        output: &mut Output,
    ) -> Progress {
        self.take_outcome(shard, outcome, reach, output);
        self.go_on(reach, output)
    }

    /// As [`Session::handle_outcome`], without going on.
    fn take_outcome(
        &mut self,
        shard: ShardId,
        outcome: &Outcome,
        reach: &mut Reach<'_>,
        output: &mut Output,
    ) {
        self.answers.handle_outcome(shard, outcome);
        self.answer_due(reach, output);
    }

    /// Takes back its question for the upstream, which is settled, then goes on with kept input where it can.
    pub fn handle_settled(&mut self, ask: &Ask, reach: &mut Reach<'_>, output: &mut Output) -> Progress {
        self.answers.handle_settled(ask.number, &ask.outcome);
        self.answer_due(reach, output);
        self.go_on(reach, output)
    }

    /// Makes the answers whose turn has come.
    fn answer_due(&mut self, reach: &Reach<'_>, output: &mut Output) {
        let sight = Sight::of(reach);
        while let Some(due) = self.answers.due() {
            answer_later(&due, self.answers.text(&due), sight, output);
            self.answers.follow(output);
        }
    }

    /// Takes the step of its dump that another worker has run.
    pub fn handle_step(&mut self, step: Box<Step>, reach: &mut Reach<'_>, output: &mut Output) -> Progress {
        if let Some(stream) = &mut self.stream {
            stream.handle_step(step, output);
        }
        self.go_on(reach, output)
    }

    /// The output has been sent: goes on with kept input.
    pub fn handle_room(&mut self, reach: &mut Reach<'_>, output: &mut Output) -> Progress {
        self.go_on(reach, output)
    }

    /// Writes, and a dump's step, that are with other workers. They still come back when the connection has closed.
    pub fn writes_waiting(&self) -> usize {
        self.answers.writes_waiting()
            + usize::from(self.stream.as_ref().is_some_and(|stream| stream.is_away()))
    }

    /// Something has taken the connection over and sends without being asked.
    pub fn is_streaming(&self) -> bool {
        self.stream.is_some()
    }

    /// It streams events: what comes is not looked at, and there is no end.
    pub fn is_watching(&self) -> bool {
        self.stream.as_ref().is_some_and(|stream| stream.is_watch())
    }

    /// Whether there is input that was not executed.
    fn keeps_input(&self) -> bool {
        !self.kept.is_empty()
    }

    /// Whether the last line of keys is only answered in part.
    fn is_within_command(&self) -> bool {
        self.keys.is_some()
    }

    /// Goes on with kept input.
    fn go_on(&mut self, reach: &mut Reach<'_>, output: &mut Output) -> Progress {
        if self.is_closing {
            return self.close();
        }
        if let Some(stream) = &mut self.stream {
            if !stream.advance(reach, output) {
                return Progress::Hold;
            }
            self.stream = None;
        }
        if self.kept.is_empty() || self.kept.len() - self.done < self.needed {
            return Progress::Receive;
        }
        let mut kept = std::mem::take(&mut self.kept);
        let from = std::mem::take(&mut self.done);
        let (taken, progress) = self.run(&kept[from..], reach, output);
        let done = from + taken;
        // An idle session holds no buffer, and a large one goes when its value is stored.
        if done == kept.len() || progress == Progress::Close {
            reach.inputs.put(kept);
            return progress;
        }
        if progress == Progress::Hold && 2 * done < kept.len() {
            self.done = done;
        } else {
            kept.drain(..done);
            kept.shrink_to(self.needed.max(KEPT_INPUT_STEP_BYTES));
        }
        self.kept = kept;
        progress
    }

    /// Closes as soon as the answers before are complete.
    fn close(&mut self) -> Progress {
        self.is_closing = true;
        (self.kept, self.done) = (Vec::new(), 0);
        if self.answers.is_empty() { Progress::Close } else { Progress::Hold }
    }

    /// Keeps input for later. The buffer grows with what arrives, not with what a client announces.
    fn keep(&mut self, input: &[u8], spare: &mut SpareInputs) {
        if input.is_empty() || self.is_closing {
            return;
        }
        if self.kept.is_empty() {
            self.kept = spare.take(self.needed);
        }
        let length = self.kept.len() + input.len();
        let needed = self.needed + self.done;
        if length > self.kept.capacity() && needed > length {
            let grown = length.max(KEPT_INPUT_STEP_BYTES).saturating_mul(2).min(needed);
            self.kept.reserve_exact(grown.max(length) - self.kept.len());
        }
        self.kept.extend_from_slice(input);
    }

    /// Executes the commands in `input`; gives how many bytes are done with.
    fn run(&mut self, input: &[u8], reach: &mut Reach<'_>, output: &mut Output) -> (usize, Progress) {
        // The answers are lent to the commands, which never see the rest of the session.
        let mut answers = std::mem::take(&mut self.answers);
        let mut room: Room<'_, '_> = [const { None }; LOOKUP_BATCH];
        let sight = Sight::of(reach);
        // A datagram's answer comes at once or not at all.
        let warming = sight.warming.filter(|_| !self.is_datagram);
        let mut x = Exchange {
            sight: Sight { warming, ..sight },
            reach,
            output,
            answers: &mut answers,
            lookups: Lookups::new(&mut room),
            foresight: Foresight::default(),
            input_at: 0,
            unanswered: None,
            stream: None,
            is_datagram: self.is_datagram,
        };
        let mut progress = self.run_commands(input, &mut x);
        if x.unanswered.is_none() && !x.settle() {
            progress = Progress::Hold;
        }
        let mut taken = x.input_at;
        if let Some(lookup) = x.unanswered {
            // Everything parsed since then was a read that has not been made: parse it again.
            taken = lookup.input_at;
            self.rewind(&lookup);
        }
        self.stream = x.stream;
        self.answers = answers;
        if self.is_closing {
            progress = self.close();
        }
        (taken, progress)
    }

    fn run_commands<'i>(&mut self, input: &'i [u8], x: &mut Exchange<'_, 'i, '_>) -> Progress {
        let mut requests_left = if self.is_datagram { 1 } else { x.reach.node.config.requests_limit };
        loop {
            let rest = &input[x.input_at..];
            if rest.is_empty() {
                return Progress::Receive;
            }
            if self.swallow > 0 {
                let swallowed = self.swallow.min(rest.len() as u64);
                self.swallow -= swallowed;
                x.input_at += swallowed as usize;
                continue;
            }
            if x.is_full() {
                return Progress::Hold;
            }
            if requests_left == 0 {
                x.reach.counters.conn_yields.add(u64::from(!self.is_datagram));
                return Progress::Hold;
            }
            requests_left -= 1;
            match self.run_one(rest, x) {
                Flow::Taken(taken) => x.input_at += taken,
                Flow::Swallow { taken, bytes } => {
                    x.input_at += taken;
                    self.swallow = bytes;
                }
                Flow::More(needed) => {
                    self.needed = needed;
                    return Progress::Receive;
                }
                Flow::Wait => return Progress::Hold,
                Flow::WaitInKeys { taken, keys } => {
                    x.input_at += taken;
                    self.keys = Some(keys);
                    return Progress::Hold;
                }
                Flow::TakeOver(taken) => {
                    x.input_at += taken;
                    return Progress::Hold;
                }
                Flow::Close => {
                    // Reads before it are still answered, as far as they fit into the output.
                    if !x.settle() {
                        return Progress::Hold;
                    }
                    self.is_closing = true;
                    return Progress::Close;
                }
            }
        }
    }

    /// Executes what stands at the front of `rest`.
    #[inline]
    fn run_one<'i>(&mut self, rest: &'i [u8], x: &mut Exchange<'_, 'i, '_>) -> Flow {
        let scanned = std::mem::take(&mut self.scanned).min(rest.len());
        self.needed = 0;
        if self.dialect != Dialect::Text(Login::Done)
            && let Some(flow) = self.run_other(rest, x)
        {
            return flow;
        }
        let Some(end) = scan::find(b'\n', &rest[scanned..]) else {
            self.scanned = rest.len();
            return if line::may_grow(rest) { Flow::More(rest.len() + 1) } else { Flow::Close };
        };
        let end = scanned + end;
        let line = rest[..end].strip_suffix(b"\r").unwrap_or(&rest[..end]);
        let line_bytes = end + 1;
        match self.keys.take() {
            Some(keys) => text::get::walk(x, Command { args: line, input: rest, line_bytes }, line, keys),
            None if line_bytes < LINE_BYTES_MIN => x.answer(BAD_FORMAT, line_bytes),
            None => run_line(line, rest, line_bytes, x),
        }
    }

    /// Executes what stands at the front of `rest` unless it is a command line of a client that may give commands.
    fn run_other<'i>(&mut self, rest: &'i [u8], x: &mut Exchange<'_, 'i, '_>) -> Option<Flow> {
        let config = &x.reach.node.config;
        if let Dialect::Unknown(binding) = self.dialect {
            match Greeting::of(rest) {
                Greeting::Begun => return Some(Flow::More(rest.len() + 1)),
                Greeting::Tls => return Some(refuse_tls(x.reach)),
                Greeting::Other => {}
            }
            self.dialect = Dialect::of(rest[0], binding.unwrap_or(config.binding), config);
        }
        match &mut self.dialect {
            Dialect::Binary(login) => Some(binary::run(x, rest, login)),
            Dialect::Text(login) if *login != Login::Done => Some(text::auth::authenticate(x, rest, login)),
            Dialect::Text(_) | Dialect::Unknown(_) => None,
        }
    }

    /// Prepares parsing from a read on that was not made.
    fn rewind(&mut self, lookup: &Lookup<'_>) {
        self.needed = 0;
        self.scanned = 0;
        self.swallow = 0;
        self.keys = match lookup.reply {
            Reply::Value { cas, .. } => Some(KeyList { cas, touch: None }),
            Reply::Meta(_) | Reply::Binary(_) => None,
        };
    }
}

/// The one place that knows all verbs.
#[inline]
fn run_line<'i>(line: &'i [u8], input: &'i [u8], line_bytes: usize, x: &mut Exchange<'_, 'i, '_>) -> Flow {
    let mut tokens = Tokens::of(line);
    let verb = tokens.next().unwrap_or_default();
    let command = Command { args: tokens.rest(), input, line_bytes };
    match verb {
        b"get" => return text::get::get(x, command, false),
        b"gets" => return text::get::get(x, command, true),
        b"mg" => return meta::get::get(x, command),
        _ => {}
    }
    // All others see, or are, a change of the order: the reads before them are made first.
    if !x.settle() {
        return Flow::Wait;
    }
    x.look_ahead(input);
    match verb {
        b"set" => text::store::store(x, command, StoreMode::Set),
        b"add" => text::store::store(x, command, StoreMode::Add),
        b"replace" => text::store::store(x, command, StoreMode::Replace),
        b"append" => text::store::store(x, command, StoreMode::Append),
        b"prepend" => text::store::store(x, command, StoreMode::Prepend),
        b"cas" => text::store::compare_and_store(x, command),
        b"ms" => meta::set::set(x, command),
        b"md" => meta::delete::delete(x, command),
        b"ma" => meta::arithmetic::arithmetic(x, command),
        b"mn" => x.answer(meta::NOTHING, line_bytes),
        b"me" => meta::debug::debug(x, command),
        b"gat" => text::get::get_and_touch(x, command, false),
        b"gats" => text::get::get_and_touch(x, command, true),
        b"delete" => text::delete::delete(x, command),
        b"incr" => text::arithmetic::arithmetic(x, command, false),
        b"decr" => text::arithmetic::arithmetic(x, command, true),
        b"touch" => text::touch::touch(x, command),
        b"version" => x.answer(text::admin::VERSION, line_bytes),
        b"quit" => Flow::Close,
        b"stats" => text::admin::stats(x, command),
        b"flush_all" => text::admin::flush_all(x, command),
        b"verbosity" => text::admin::verbosity(x, command),
        b"cache_memlimit" => text::admin::cache_memlimit(x, command),
        b"shutdown" => text::admin::shutdown(x, command),
        b"refresh_certs" => text::admin::refresh_certs(x, command),
        b"debugtime" => text::admin::debugtime(x, command),
        b"slabs" => text::tuning::slabs(x, command),
        b"lru" => text::tuning::lru(x, command),
        b"lru_crawler" => text::crawler::lru_crawler(x, command),
        b"watch" => text::watch::watch(x, command),
        _ if line::is_http(command.args) => Flow::Close,
        _ => x.answer_unless(is_noreply(line), UNKNOWN, line_bytes),
    }
}

/// Makes the answer of a write that went away.
fn answer_later(due: &Due, command: &[u8], sight: Sight<'_>, output: &mut Output) {
    let (outcome, silent, counters) = (&due.outcome, due.form.silent, sight.counters);
    if let Status::Refused(refusal) = outcome.status {
        return refused::answer(refusal, due.form, command, output);
    }
    match due.form.verb {
        Verb::Store | Verb::Join | Verb::CompareAndStore => {
            text::store::answer(outcome, due.form.verb, silent, counters, output);
        }
        Verb::Delete => text::delete::answer(outcome, silent, counters, output),
        Verb::Touch => text::touch::answer(outcome, silent, counters, output),
        Verb::Increment => text::arithmetic::answer(outcome, false, silent, counters, output),
        Verb::Decrement => text::arithmetic::answer(outcome, true, silent, counters, output),
        Verb::Unasked => {}
        Verb::Get { cas, last } => text::get::answer_deferred(command, cas, last, sight, output),
        Verb::MetaRead => meta::get::answer_deferred(command, sight, output),
        Verb::GetAndTouch { cas } => text::get::answer_touched(command, outcome, cas, sight, output),
        Verb::MetaGet => meta::get::answer_later(command, outcome, sight, output),
        Verb::MetaSet => meta::set::answer_later(command, outcome, sight, output),
        Verb::MetaDelete => meta::delete::answer_later(command, outcome, sight, output),
        Verb::MetaArithmetic => meta::arithmetic::answer_later(command, outcome, sight, output),
        Verb::Binary => binary::answer_later(command, outcome, sight, output),
        Verb::BinaryGetAndTouch => binary::touch::answer_later(command, outcome, sight, output),
        Verb::BinaryGet => binary::get::answer_deferred(command, sight, output),
    }
}

/// A client that encrypts where nobody decrypts: it is told nothing, because it could not read it.
fn refuse_tls(reach: &Reach<'_>) -> Flow {
    if let Some(unlogged) = reach.node.tls.misdirected.admit(reach.now.seconds) {
        tracing::warn!(connection = reach.ticket.connection, unlogged, "TLS on a port without it");
    }
    Flow::Close
}
