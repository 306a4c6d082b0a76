//! The binary protocol: frames instead of lines, one command per frame.
//!
//! ```text
//! [header, 24 bytes][extras][key][value]
//! ```
//!
//! A quiet command is silent when it succeeds, and a quiet read when it misses; errors are always told. A frame
//! whose lengths make no sense ends the connection, because nobody knows where the next one begins.

use ringcache_engine::limits::{ITEM_BYTES_MAX, KEY_BYTES_MAX};
use ringcache_engine::{Outcome, WriteRefusal};

use crate::output::Output;
use crate::protocol::refused;
use crate::session::lookups::Sight;
use crate::session::{Exchange, Flow, Login};

pub mod admin;
pub mod arithmetic;
pub mod delete;
pub mod get;
pub mod header;
pub mod sasl;
pub mod stat;
pub mod store;
pub mod touch;

use header::{Asked, HEADER_BYTES, Header, Opcode, REQUEST, Status, push_error, push_error_text};

/// One request whose header, extras and key are there.
#[derive(Clone, Copy)]
pub struct Request<'i> {
    /// What its answer needs.
    pub asked: Asked,
    /// Compare with this; 0 is nothing.
    pub cas: u64,
    /// What the command wants besides key and value.
    pub extras: &'i [u8],
    /// Any bytes.
    pub key: &'i [u8],
    /// Announced length of the value.
    pub value_bytes: usize,
    /// Length of header, extras and key: where the value begins.
    pub head_bytes: usize,
    /// What was received, from the header on.
    pub input: &'i [u8],
}

impl<'i> Request<'i> {
    /// The value; `None` when not all of it is there.
    #[inline]
    pub fn value(&self) -> Option<&'i [u8]> {
        self.input.get(self.head_bytes..self.bytes())
    }

    /// Length of the whole request.
    #[inline]
    pub fn bytes(&self) -> usize {
        self.head_bytes + self.value_bytes
    }

    /// Answers with an error and swallows the value.
    pub fn refuse(&self, x: &mut Exchange<'_, '_, '_>, status: Status) -> Flow {
        push_error(self.asked, status, x.sink());
        Flow::Swallow { taken: self.head_bytes, bytes: self.value_bytes as u64 }
    }

    /// Whether the command takes extras, key and value of these lengths. What memcached doesn't look at is taken for
    /// the next request by it, and here.
    #[inline]
    fn is_well_formed(&self) -> bool {
        let (extras, key, value) = (self.extras.len(), self.key.len(), self.value_bytes);
        match self.asked.opcode {
            Opcode::Get | Opcode::GetKey | Opcode::Delete => extras == 0 && key > 0 && value == 0,
            Opcode::Set | Opcode::Add | Opcode::Replace => extras == store::EXTRAS_BYTES && key > 0,
            Opcode::Append | Opcode::Prepend | Opcode::SaslAuth | Opcode::SaslStep => extras == 0 && key > 0,
            Opcode::Increment | Opcode::Decrement => {
                extras == arithmetic::EXTRAS_BYTES && key > 0 && value == 0
            }
            Opcode::Touch | Opcode::GetAndTouch | Opcode::GetKeyAndTouch => {
                extras == touch::EXTRAS_BYTES && key > 0
            }
            Opcode::Flush => (extras == 0 || extras == admin::FLUSH_EXTRAS_BYTES) && key == 0 && value == 0,
            Opcode::Stat => extras == 0,
            Opcode::Noop | Opcode::Version | Opcode::Quit | Opcode::SaslMechanisms => {
                extras == 0 && key == 0 && value == 0
            }
            Opcode::Unknown => true,
        }
    }
}

/// Executes the request at the front of `input`, which is not empty.
#[inline]
pub fn run<'i>(x: &mut Exchange<'_, 'i, '_>, input: &'i [u8], login: &mut Login) -> Flow {
    if input[0] != REQUEST {
        return Flow::Close;
    }
    let Some(header) = Header::read(input) else { return Flow::More(HEADER_BYTES) };
    let key_at = HEADER_BYTES + header.extras_bytes;
    let head_bytes = key_at + header.key_bytes;
    let Some(head) = input.get(..head_bytes) else { return Flow::More(head_bytes) };
    if let Some(status) = refusal(&header, *login) {
        return close_with(x, header.asked, status);
    }
    let request = Request {
        asked: header.asked,
        cas: header.cas,
        extras: &head[HEADER_BYTES..key_at],
        key: &head[key_at..],
        value_bytes: header.body_bytes - header.extras_bytes - header.key_bytes,
        head_bytes,
        input,
    };
    if !request.is_well_formed() {
        return close_with(x, header.asked, Status::Invalid);
    }
    run_request(x, &request, login)
}

/// The one place that knows all commands.
#[inline]
fn run_request<'i>(x: &mut Exchange<'_, 'i, '_>, request: &Request<'i>, login: &mut Login) -> Flow {
    if let Opcode::Get | Opcode::GetKey = request.asked.opcode {
        return get::get(x, request);
    }
    // All others see, or are, a change of the order: the reads before them are made first.
    if !x.settle() {
        return Flow::Wait;
    }
    x.look_ahead(request.input);
    match request.asked.opcode {
        Opcode::Get | Opcode::GetKey => get::get(x, request),
        Opcode::Set | Opcode::Add | Opcode::Replace => store::store(x, request),
        Opcode::Append | Opcode::Prepend => store::join(x, request),
        Opcode::Delete => delete::delete(x, request),
        Opcode::Increment | Opcode::Decrement => arithmetic::arithmetic(x, request),
        Opcode::Touch => touch::touch(x, request),
        Opcode::GetAndTouch | Opcode::GetKeyAndTouch => touch::get_and_touch(x, request),
        Opcode::Flush => admin::flush(x, request),
        Opcode::Noop => admin::noop(x, request),
        Opcode::Version => admin::version(x, request),
        Opcode::Quit => admin::quit(x, request),
        Opcode::Stat => stat::stat(x, request),
        Opcode::SaslMechanisms => sasl::mechanisms(x, request, login),
        Opcode::SaslAuth => sasl::auth(x, request, login),
        Opcode::SaslStep => sasl::step(x, request, login),
        Opcode::Unknown => request.refuse(x, Status::UnknownCommand),
    }
}

/// The answer to a write that went away; `kept` is what its request left behind.
pub fn answer_later(kept: &[u8], outcome: &Outcome, sight: Sight<'_>, output: &mut Output) {
    let (asked, _) = Asked::from_bytes(kept);
    answer(asked, outcome, sight, output);
}

/// The answer to a write that the node refused; `kept` as for [`answer_later`]. Never left out, quiet or not.
pub fn refuse_write(refusal: WriteRefusal, kept: &[u8], output: &mut Output) {
    let (asked, _) = Asked::from_bytes(kept);
    let line = refused::line(refusal);
    let text = line.strip_prefix(b"SERVER_ERROR ").and_then(|text| text.strip_suffix(b"\r\n"));
    push_error_text(asked, Status::Temporary, text.expect("every line has both"), output);
}

/// Counts and encodes the outcome of a write.
#[inline]
fn answer(asked: Asked, outcome: &Outcome, sight: Sight<'_>, output: &mut Output) {
    match asked.opcode {
        Opcode::Delete => delete::answer(asked, outcome, sight.counters, output),
        Opcode::Increment | Opcode::Decrement => arithmetic::answer(asked, outcome, sight, output),
        Opcode::Touch => touch::answer(asked, outcome, sight, output),
        _ => store::answer(asked, outcome, sight, output),
    }
}

/// Why a request ends its connection, whatever its command makes of the lengths.
#[inline]
fn refusal(header: &Header, login: Login) -> Option<Status> {
    if header.key_bytes + header.extras_bytes > header.body_bytes {
        return Some(Status::UnknownCommand);
    }
    if header.body_bytes > ITEM_BYTES_MAX as usize {
        return Some(Status::Invalid);
    }
    if login != Login::Done && !sasl::is_open_to_all(header.asked.opcode) {
        return Some(Status::Unauthenticated);
    }
    (header.key_bytes > KEY_BYTES_MAX).then_some(Status::Invalid)
}

fn close_with(x: &mut Exchange<'_, '_, '_>, asked: Asked, status: Status) -> Flow {
    if !x.settle() {
        return Flow::Wait;
    }
    push_error(asked, status, x.sink());
    Flow::Close
}
