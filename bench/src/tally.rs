//! Judges replies: matches what arrives on a connection with what is open on it, in order, and counts.

use std::collections::VecDeque;

use crate::error::BenchError;
use crate::figures::Figures;
use crate::reply::{Malformed, Piece, ReplyReader};
use crate::workload::{Asked, Operation, append_key, is_value_of};

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

/// A request that is not answered yet.
pub struct Pending {
    asked: Asked,
    since_ns: u64,
    /// Values seen.
    found: u32,
    /// Keys of this request that are still in `asked_keys`.
    unseen: u32,
}

impl Pending {
    /// Just sent; its latency counts from `since_ns`.
    pub fn new(asked: Asked, since_ns: u64) -> Pending {
        let unseen = if asked.operation == Operation::Get { asked.keys } else { 0 };
        Pending { asked, since_ns, found: 0, unseen }
    }
}

/// The counts of one load thread in one run.
pub struct Tally {
    /// What was counted.
    pub figures: Figures,
    expected: Vec<u8>,
}

impl Tally {
    /// Nothing counted.
    pub fn new() -> Tally {
        Tally { figures: Figures::new(), expected: Vec::new() }
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
            let reply_bytes = u64::from(first.asked.reply_bytes);
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

    /// Counts whole replies; with `verify`, compares every value with what its key must hold.
    pub fn handle_replies(
        &mut self,
        connection: &mut Connection,
        bytes: &[u8],
        now_ns: u64,
        verify: bool,
    ) -> Result<(), BenchError> {
        let Connection { pending, asked_keys, reader, .. } = connection;
        let taken = reader.handle_bytes(bytes, |piece| {
            let Some(first) = pending.front_mut() else {
                return Err(not_a_reply(None, text_of(piece)).into());
            };
            let whole = match piece {
                Piece::Value { key, data } => {
                    if first.asked.operation != Operation::Get || first.found == first.asked.keys {
                        return Err(not_a_reply(Some(first), data).into());
                    }
                    first.found += 1;
                    self.figures.hits += 1;
                    self.figures.value_bytes += data.len() as u64;
                    if verify {
                        self.verify(first, asked_keys, key, data);
                    }
                    first.asked.ends_with_value
                }
                Piece::Line(line) => {
                    self.judge(first, line)?;
                    true
                }
            };
            if whole {
                if verify {
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

    /// Counts what a line says about the request it ends.
    fn judge(&mut self, request: &Pending, line: &[u8]) -> Result<(), BenchError> {
        use Operation::{Delete, Get, Set, Touch};
        let figures = &mut self.figures;
        match (request.asked.operation, line) {
            (Get, b"END" | b"MN") => figures.misses += u64::from(request.asked.keys - request.found),
            (Get, b"EN") if request.asked.ends_with_value => figures.misses += 1,
            (Set, b"STORED" | b"HD") => {}
            (Delete, b"DELETED" | b"HD") | (Touch, b"TOUCHED" | b"HD") => figures.hits += 1,
            (Delete, b"NOT_FOUND" | b"NF") | (Touch, b"NOT_FOUND" | b"EN") => figures.misses += 1,
            (Set, b"NOT_STORED" | b"NS") => self.refused(line),
            _ if is_error(line) => self.refused(line),
            _ => return Err(not_a_reply(Some(request), line)),
        }
        Ok(())
    }

    fn refused(&mut self, line: &[u8]) {
        self.figures.errors += 1;
        if self.figures.first_error.is_empty() {
            self.figures.first_error = excerpt(line);
        }
    }

    /// Keys come back in the order they were asked for; those passed over are misses.
    fn verify(&mut self, request: &mut Pending, asked_keys: &mut VecDeque<u32>, key: &[u8], data: &[u8]) {
        while request.unseen > 0 {
            request.unseen -= 1;
            let asked = asked_keys.pop_front().expect("unseen counts the keys of this request");
            self.expected.clear();
            append_key(&mut self.expected, asked);
            if self.expected == key {
                if !is_value_of(asked, data, &mut self.expected) {
                    self.wrong(key, data, "does not hold");
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
    line == b"ERROR" || line.starts_with(b"CLIENT_ERROR") || line.starts_with(b"SERVER_ERROR")
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
    use crate::workload::Encoder;

    fn connection(requests: &[(Operation, u32)]) -> Connection {
        let mut connection = Connection::default();
        for (operation, keys) in requests {
            let asked = Asked { operation: *operation, keys: *keys, reply_bytes: 10, ends_with_value: false };
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
        let mut tally = Tally::new();
        let replies =
            b"VALUE a 0 1\r\nx\r\nVALUE b 0 1\r\ny\r\nEND\r\nSTORED\r\nNOT_FOUND\r\nSERVER_ERROR full\r\n";
        tally.handle_replies(&mut connection, replies, 5, false).unwrap();
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
            let judged = Tally::new().handle_replies(&mut connection, reply, 1, false);
            assert!(matches!(judged, Err(BenchError::NotAReply { .. })), "{}", reply.escape_ascii());
        }
    }

    #[test]
    fn verified_values_belong_to_their_keys() {
        let value = |key: u32| {
            let workload = crate::workload::Workload {
                mix: "set=1".parse().unwrap(),
                multiget: 1,
                value_bytes: 40,
                keys: 10,
                distribution: crate::keys::Distribution::Uniform,
                protocol: crate::workload::Protocol::Text,
                verify: true,
            };
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
            let mut tally = Tally::new();
            tally.handle_replies(&mut connection, reply, 1, true).unwrap();
            assert!(connection.asked_keys.is_empty());
            counts(&tally)
        };
        assert_eq!(judge(&[3, 4, 5], &reply(4, &value(4))), [1, 1, 2, 0, 0]);
        assert_eq!(judge(&[4], &reply(4, &value(5))), [1, 1, 0, 0, 1], "another key's value");
        assert_eq!(judge(&[3], &reply(4, &value(4))), [1, 1, 0, 0, 1], "a key nobody asked for");
    }

    #[test]
    fn blind_reading_counts_bytes() {
        let mut connection = connection(&[(Operation::Get, 1), (Operation::Get, 1)]);
        let mut tally = Tally::new();
        tally.handle_blind(&mut connection, &[b'x'; 15], 1).unwrap();
        assert_eq!(tally.figures.requests, 1);
        tally.handle_blind(&mut connection, &[b'x'; 5], 1).unwrap();
        assert_eq!(tally.figures.requests, 2);
        assert!(tally.handle_blind(&mut connection, b"x", 1).is_err(), "a byte nobody asked for");
    }
}
