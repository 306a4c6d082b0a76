//! Judges replies: matches what arrives on a connection with what is open on it, in order, and counts.

use std::collections::VecDeque;

use crate::encoder::{Asked, value_key};
use crate::error::BenchError;
use crate::figures::Figures;
use crate::mix::Operation;
use crate::reply::{Malformed, Piece, ReplyReader, Syntax};
use crate::values::{Sizes, is_value_of};

/// What is open on one connection.
#[derive(Default)]
pub struct Connection {
    /// Requests sent and not answered, oldest first.
    pub pending: VecDeque<Pending>,
    /// Numbers of the keys that the pending gets ask for and that were not seen yet (verified reading only).
    pub asked_keys: VecDeque<u32>,
    reader: ReplyReader,
    /// Bytes received of the first pending reply (blind reading).
    received: u64,
}

impl Connection {
    /// Nothing open; replies come in `syntax`.
    pub fn new(syntax: Syntax) -> Connection {
        Connection { reader: ReplyReader::new(syntax), ..Connection::default() }
    }
}

/// A request that is not answered yet.
pub struct Pending {
    asked: Asked,
    since_ns: u64,
    /// Keys that were answered, with a value or in its place.
    answered: u32,
    /// Keys of this request that are still in `asked_keys`.
    unseen: u32,
}

impl Pending {
    /// Just sent; its latency counts from `since_ns`.
    pub fn new(asked: Asked, since_ns: u64) -> Pending {
        let unseen = if asked.operation == Operation::Get { asked.keys } else { 0 };
        Pending { asked, since_ns, answered: 0, unseen }
    }
}

/// The counts of one load thread in one run.
pub struct Tally {
    /// What was counted.
    pub figures: Figures,
    /// Of every key's value; `None` where values are not verified.
    verified: Option<Sizes>,
    scratch: Vec<u8>,
}

impl Tally {
    /// Nothing counted. With `verified`, every value is compared with what its key must hold, its length included.
    pub fn new(verified: Option<Sizes>) -> Tally {
        Tally { figures: Figures::new(), verified, scratch: Vec::new() }
    }

    /// What was counted; from here on, nothing.
    pub fn take(&mut self) -> Figures {
        std::mem::replace(&mut self.figures, Figures::new())
    }

    /// Counts replies by their bytes alone, as if every key were there.
    pub fn handle_blind(
        &mut self,
        connection: &mut Connection,
        bytes: &[u8],
        now_ns: u64,
    ) -> Result<(), BenchError> {
        connection.received += bytes.len() as u64;
        while let Some(first) = connection.pending.front() {
            let reply_bytes = first.asked.reply_bytes;
            if connection.received < reply_bytes {
                return Ok(());
            }
            connection.received -= reply_bytes;
            self.figures.value_bytes += reply_bytes;
            if first.asked.operation != Operation::Set {
                self.figures.hits += u64::from(first.asked.keys);
            }
            self.complete(&mut connection.pending, now_ns);
        }
        if connection.received == 0 { Ok(()) } else { Err(not_a_reply(None, bytes)) }
    }

    /// Counts whole replies.
    pub fn handle_replies(
        &mut self,
        connection: &mut Connection,
        bytes: &[u8],
        now_ns: u64,
    ) -> Result<(), BenchError> {
        let Connection { pending, asked_keys, reader, .. } = connection;
        let taken = reader.handle_bytes(bytes, |piece| {
            let Some(first) = pending.front_mut() else {
                return Err(not_a_reply(None, text_of(piece)).into());
            };
            let is_whole = match piece {
                Piece::Value { key, data } => self.judge_value(first, asked_keys, key, data)?,
                Piece::Line(line) => self.judge_line(first, asked_keys, line)?,
            };
            if is_whole {
                if self.verified.is_some() {
                    asked_keys.drain(..first.unseen as usize);
                }
                self.complete(pending, now_ns);
            }
            Ok(())
        });
        taken.map_err(|stop| match stop {
            Stop::Malformed => not_a_reply(connection.pending.front(), bytes),
            Stop::Failed(error) => error,
        })
    }

    /// Counts a value; true where it ends the reply.
    fn judge_value(
        &mut self,
        request: &mut Pending,
        asked_keys: &mut VecDeque<u32>,
        key: &[u8],
        data: &[u8],
    ) -> Result<bool, BenchError> {
        if request.asked.operation != Operation::Get || request.answered == request.asked.keys {
            return Err(not_a_reply(Some(request), data));
        }
        request.answered += 1;
        self.figures.hits += 1;
        self.figures.value_bytes += data.len() as u64;
        if self.verified.is_some() {
            self.verify(request, asked_keys, key, data);
        }
        Ok(request.asked.is_piece_per_key && request.answered == request.asked.keys)
    }

    /// Counts what a line says about a request; true where it ends the reply.
    fn judge_line(
        &mut self,
        request: &mut Pending,
        asked_keys: &mut VecDeque<u32>,
        line: &[u8],
    ) -> Result<bool, BenchError> {
        use Operation::{Decr, Delete, Get, Incr, Set, Touch};
        let figures = &mut self.figures;
        match (request.asked.operation, line) {
            (Get, b"END" | b"MN") => figures.misses += u64::from(request.asked.keys - request.answered),
            (Get, b"EN" | b"$-1") if request.asked.is_piece_per_key => {
                figures.misses += 1;
                request.answered += 1;
                if self.verified.is_some() {
                    asked_keys.pop_front();
                    request.unseen -= 1;
                }
                return Ok(request.answered == request.asked.keys);
            }
            // The head of Redis's reply to a get of many keys.
            (Get, [b'*', ..]) if request.asked.is_piece_per_key => return Ok(false),
            (Set, b"STORED" | b"HD" | b"+OK") => {}
            (Delete, b"DELETED" | b"HD" | b":1") | (Touch, b"TOUCHED" | b"HD" | b":1") => figures.hits += 1,
            (Delete, b"NOT_FOUND" | b"NF" | b":0") | (Touch, b"NOT_FOUND" | b"EN" | b":0") => {
                figures.misses += 1;
            }
            (Incr | Decr, b"NOT_FOUND" | b"NF") => figures.misses += 1,
            (Incr | Decr, b"HD") => figures.hits += 1,
            (Incr | Decr, number) if is_number(number) => figures.hits += 1,
            (Set, b"NOT_STORED" | b"NS") => self.refused(line),
            _ if is_error(line) => self.refused(line),
            _ => return Err(not_a_reply(Some(request), line)),
        }
        Ok(true)
    }

    fn refused(&mut self, line: &[u8]) {
        self.figures.errors += 1;
        if self.figures.first_error.is_empty() {
            self.figures.first_error = excerpt(line);
        }
    }

    /// Keys come back in the order they were asked for; those passed over are misses. Redis names no keys: there it is the
    /// next one.
    fn verify(&mut self, request: &mut Pending, asked_keys: &mut VecDeque<u32>, key: &[u8], data: &[u8]) {
        let sizes = self.verified.as_ref().expect("the caller looked at it");
        while request.unseen > 0 {
            request.unseen -= 1;
            let asked = asked_keys.pop_front().expect("unseen counts the keys of this request");
            if key.is_empty() || value_key(asked) == key {
                let is_right = data.len() == sizes.of(asked) && is_value_of(asked, data, &mut self.scratch);
                if !is_right {
                    self.wrong(&value_key(asked), data, "does not hold");
                }
                return;
            }
        }
        self.wrong(key, data, "was not asked for, yet answered with");
    }

    fn wrong(&mut self, key: &[u8], data: &[u8], verdict: &str) {
        self.figures.wrong += 1;
        if self.figures.first_wrong.is_empty() {
            self.figures.first_wrong = format!("{} {verdict} {}", excerpt(key), excerpt(data));
        }
    }

    fn complete(&mut self, pending: &mut VecDeque<Pending>, now_ns: u64) {
        let done = pending.pop_front().expect("the caller looked at it");
        self.figures.requests += 1;
        self.figures.keys += u64::from(done.asked.keys);
        self.figures.latency_ns.saturating_record(now_ns.saturating_sub(done.since_ns).max(1));
    }
}

/// Why reading replies stopped.
enum Stop {
    Malformed,
    Failed(BenchError),
}

impl From<Malformed> for Stop {
    fn from(_: Malformed) -> Stop {
        Stop::Malformed
    }
}

impl From<BenchError> for Stop {
    fn from(error: BenchError) -> Stop {
        Stop::Failed(error)
    }
}

fn is_error(line: &[u8]) -> bool {
    line == b"ERROR"
        || [&b"CLIENT_ERROR"[..], b"SERVER_ERROR", b"-"].iter().any(|head| line.starts_with(head))
}

/// A counter's new value; Redis writes a colon before it.
fn is_number(line: &[u8]) -> bool {
    let digits = line.strip_prefix(b":").unwrap_or(line);
    !digits.is_empty() && digits.iter().all(u8::is_ascii_digit)
}

fn text_of<'a>(piece: Piece<'a>) -> &'a [u8] {
    match piece {
        Piece::Line(line) => line,
        Piece::Value { data, .. } => data,
    }
}

fn not_a_reply(request: Option<&Pending>, bytes: &[u8]) -> BenchError {
    let request = request.map_or("nothing", |request| request.asked.operation.name());
    BenchError::NotAReply { request, reply: excerpt(bytes) }
}

/// The beginning of some bytes, printable.
fn excerpt(bytes: &[u8]) -> String {
    const EXCERPT_BYTES_MAX: usize = 60;
    bytes[..bytes.len().min(EXCERPT_BYTES_MAX)].escape_ascii().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoder::Encoder;
    use crate::workload::Workload;

    fn connection(requests: &[(Operation, u32)]) -> Connection {
        let mut connection = Connection::default();
        for (operation, keys) in requests {
            let asked =
                Asked { operation: *operation, keys: *keys, reply_bytes: 10, is_piece_per_key: false };
            connection.pending.push_back(Pending::new(asked, 0));
        }
        connection
    }

    fn counts(tally: &Tally) -> [u64; 5] {
        let figures = &tally.figures;
        [figures.requests, figures.hits, figures.misses, figures.errors, figures.wrong]
    }

    #[test]
    fn replies_meet_their_requests_in_order() {
        let requests =
            [(Operation::Get, 3), (Operation::Set, 1), (Operation::Delete, 1), (Operation::Set, 1)];
        let mut connection = connection(&requests);
        let mut tally = Tally::new(None);
        let replies =
            b"VALUE a 0 1\r\nx\r\nVALUE b 0 1\r\ny\r\nEND\r\nSTORED\r\nNOT_FOUND\r\nSERVER_ERROR full\r\n";
        tally.handle_replies(&mut connection, replies, 5).unwrap();
        assert_eq!(counts(&tally), [4, 2, 2, 1, 0]);
        assert_eq!(tally.figures.first_error, "SERVER_ERROR full");
        assert_eq!(tally.figures.latency_ns.max(), 5);
    }

    #[test]
    fn a_reply_to_another_request_stops_the_run() {
        for (operation, reply) in [
            (Operation::Get, &b"STORED\r\n"[..]),
            (Operation::Set, b"END\r\n"),
            (Operation::Set, b"VALUE a 0 1\r\nx\r\n"),
            (Operation::Get, b"VALUE a 0 1\r\nx\r\nVALUE a 0 1\r\nx\r\n"),
            (Operation::Get, b"garbage\n"),
            (Operation::Set, b"STORED\r\nSTORED\r\n"),
        ] {
            let mut connection = connection(&[(operation, 1)]);
            let judged = Tally::new(None).handle_replies(&mut connection, reply, 1);
            assert!(matches!(judged, Err(BenchError::NotAReply { .. })), "{}", reply.escape_ascii());
        }
    }

    #[test]
    fn verified_values_belong_to_their_keys() {
        let sizes = Sizes::fixed(40);
        let value = |key: u32| {
            let workload = Workload { sizes: sizes.clone(), keys: 10, verify: true, ..Workload::default() };
            let mut encoder = Encoder::in_order(&workload);
            let mut output = Vec::new();
            for _ in 0..=key {
                output.clear();
                encoder.encode(&mut output, &mut VecDeque::new());
            }
            output[output.len() - 42..output.len() - 2].to_vec()
        };
        let reply = |key: u32, value: &[u8]| {
            let mut reply = format!("VALUE key:{key:010} 0 40\r\n").into_bytes();
            reply.extend_from_slice(value);
            reply.extend_from_slice(b"\r\nEND\r\n");
            reply
        };
        let judge = |asked: &[u32], reply: &[u8]| {
            let mut connection = connection(&[(Operation::Get, asked.len() as u32)]);
            connection.asked_keys.extend(asked);
            let mut tally = Tally::new(Some(sizes.clone()));
            tally.handle_replies(&mut connection, reply, 1).unwrap();
            assert!(connection.asked_keys.is_empty());
            counts(&tally)
        };
        assert_eq!(judge(&[3, 4, 5], &reply(4, &value(4))), [1, 1, 2, 0, 0]);
        assert_eq!(judge(&[4], &reply(4, &value(5))), [1, 1, 0, 0, 1], "another key's value");
        assert_eq!(judge(&[3], &reply(4, &value(4))), [1, 1, 0, 0, 1], "a key nobody asked for");
        let short =
            Vec::from_iter([&b"VALUE key:0000000004 0 39\r\n"[..], &value(4)[..39], b"\r\nEND\r\n"]).concat();
        assert_eq!(judge(&[4], &short), [1, 1, 0, 0, 1], "a value of another length");
    }

    #[test]
    fn redis_answers_every_key_in_its_place() {
        let mut connection = Connection::new(Syntax::Resp);
        for (operation, keys) in
            [(Operation::Get, 3), (Operation::Set, 1), (Operation::Incr, 1), (Operation::Get, 1)]
        {
            let asked = Asked { operation, keys, reply_bytes: 10, is_piece_per_key: true };
            connection.pending.push_back(Pending::new(asked, 0));
        }
        let mut tally = Tally::new(None);
        let replies = b"*3\r\n$1\r\nx\r\n$-1\r\n$1\r\ny\r\n+OK\r\n:7\r\n-ERR no\r\n";
        tally.handle_replies(&mut connection, replies, 5).unwrap();
        assert_eq!(counts(&tally), [4, 3, 1, 1, 0]);
        assert_eq!(tally.figures.first_error, "-ERR no");
    }

    #[test]
    fn counters_answer_with_their_number() {
        for (reply, expected) in [
            (&b"5\r\n"[..], [1, 1, 0, 0, 0]),
            (b"HD\r\n", [1, 1, 0, 0, 0]),
            (b"NOT_FOUND\r\n", [1, 0, 1, 0, 0]),
            (b"CLIENT_ERROR cannot\r\n", [1, 0, 0, 1, 0]),
        ] {
            let mut connection = connection(&[(Operation::Incr, 1)]);
            let mut tally = Tally::new(None);
            tally.handle_replies(&mut connection, reply, 1).unwrap();
            assert_eq!(counts(&tally), expected, "{}", reply.escape_ascii());
        }
    }

    #[test]
    fn blind_reading_counts_bytes() {
        let mut connection = connection(&[(Operation::Get, 1), (Operation::Get, 1)]);
        let mut tally = Tally::new(None);
        tally.handle_blind(&mut connection, &[b'x'; 15], 1).unwrap();
        assert_eq!(tally.figures.requests, 1);
        tally.handle_blind(&mut connection, &[b'x'; 5], 1).unwrap();
        assert_eq!(tally.figures.requests, 2);
        assert!(tally.handle_blind(&mut connection, b"x", 1).is_err(), "a byte nobody asked for");
    }
}
