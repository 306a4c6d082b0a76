//! A replay against a server, on one connection, as fast as replies come back or as the trace's time allows.
//!
//! Requests travel in batches in which no key occurs twice. What a batch misses is stored at the beginning of the next
//! message, and a server answers a connection in order: so a key's set is done before its next get, as with a client
//! that waits for each reply.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use crate::child::Server;
use crate::client::{Client, append_set, not_a_reply};
use crate::error::BenchError;
use crate::hits::Held;
use crate::hits::requests::{Action, Replay, Request};
use crate::process::resident_bytes;
use crate::reply::Piece;

/// Replays against a server that has just been started. `speed` is how much faster than the trace's own time.
pub fn replay(server: &Server, replay: &Replay, speed: f64) -> Result<Held, BenchError> {
    let mut client = Client::connect(server.target())?;
    let mut batches = Batches { replay, at: 0, speed };
    let mut batch = Batch::default();
    let mut held = Held::default();
    let start = Instant::now();
    while batches.fill(&mut batch) {
        if let Some(rate) = replay.rate {
            wait_until(start + Duration::from_secs_f64(batches.at as f64 / rate / speed));
        }
        batch.exchange(&mut client, replay, &mut held)?;
    }
    if let Some(rate) = replay.rate {
        check_speed(replay.requests.len() as f64 / start.elapsed().as_secs_f64(), rate * speed)?;
    }
    held.records = client.stat("curr_items")?;
    held.resident_bytes = resident_bytes(server.pid())?;
    Ok(held)
}

/// Cuts the requests into batches.
struct Batches<'r> {
    replay: &'r Replay,
    at: usize,
    speed: f64,
}

/// What is sent in one message.
#[derive(Default)]
struct Batch {
    keys: HashSet<u32>,
    /// Sets and deletes; they go first, so that long replies come when everything is sent.
    writes: Vec<Request>,
    gets: Vec<Request>,
    message: Vec<u8>,
}

impl Batches<'_> {
    /// Adds the next requests up to one whose key is in the batch. False where nothing is left to send.
    fn fill(&mut self, batch: &mut Batch) -> bool {
        batch.keys.clear();
        batch.gets.clear();
        let left = self.replay.requests[self.at..].iter().take(BATCH_REQUESTS_MAX);
        for request in left {
            if !batch.keys.insert(request.key) {
                break;
            }
            let request = Request { ttl_seconds: faster(request.ttl_seconds, self.speed), ..*request };
            match request.action {
                Action::Get => batch.gets.push(request),
                Action::Set | Action::Delete => batch.writes.push(request),
            }
            self.at += 1;
        }
        !(batch.gets.is_empty() && batch.writes.is_empty())
    }
}

impl Batch {
    /// Sends all, reads the replies, and leaves the sets that are owed in `writes`.
    fn exchange(&mut self, client: &mut Client, replay: &Replay, held: &mut Held) -> Result<(), BenchError> {
        self.encode(replay);
        let writes = self.writes.len();
        let (mut done, mut is_hit) = (0, false);
        self.writes.clear();
        let (gets, owed) = (&self.gets, &mut self.writes);
        client.exchange(&self.message, writes + gets.len(), |piece| {
            if done < writes {
                let Piece::Line(line) = piece else { return Err(not_a_reply("set", piece)) };
                held.refused += u64::from(!matches!(line, b"STORED" | b"DELETED" | b"NOT_FOUND"));
                done += 1;
                return Ok(true);
            }
            let request = gets[done - writes];
            match piece {
                Piece::Value { data, .. } if data.len() == request.value_bytes as usize => is_hit = true,
                Piece::Line(b"END") => {
                    held.gets += 1;
                    held.misses += u64::from(!is_hit);
                    if !is_hit {
                        owed.push(Request { action: Action::Set, ..request });
                    }
                    (done, is_hit) = (done + 1, false);
                    return Ok(true);
                }
                _ => return Err(not_a_reply("get", piece)),
            }
            Ok(false)
        })
    }

    fn encode(&mut self, replay: &Replay) {
        let mut key = Vec::new();
        self.message.clear();
        for request in self.writes.iter().chain(&self.gets) {
            key.clear();
            replay.append_key(request.key, &mut key);
            match request.action {
                Action::Set => {
                    let value = &VALUE[..request.value_bytes as usize];
                    append_set(&mut self.message, &key, request.ttl_seconds, value);
                }
                Action::Get => append_line(&mut self.message, b"get ", &key),
                Action::Delete => append_line(&mut self.message, b"delete ", &key),
            }
        }
    }
}

fn append_line(out: &mut Vec<u8>, command: &[u8], key: &[u8]) {
    for part in [command, key, b"\r\n"] {
        out.extend_from_slice(part);
    }
}

/// A time to live as the replay's faster clock has it: whole seconds, but never so few that the server's clock, which
/// has seconds too, would decide more than the trace.
fn faster(ttl_seconds: u32, speed: f64) -> u32 {
    if ttl_seconds == 0 {
        return 0;
    }
    let seconds = (f64::from(ttl_seconds) / speed).round() as u32;
    seconds.clamp(TTL_SECONDS_MIN, RELATIVE_SECONDS_MAX)
}

fn wait_until(due: Instant) {
    std::thread::sleep(due.saturating_duration_since(Instant::now()));
}

fn check_speed(reached: f64, asked: f64) -> Result<(), BenchError> {
    if reached < asked * SPEED_REACHED_MIN {
        return Err(BenchError::Rate { asked, reached });
    }
    Ok(())
}

const BATCH_REQUESTS_MAX: usize = 64;
const TTL_SECONDS_MIN: u32 = 3;
/// memcached takes more for a point in time.
const RELATIVE_SECONDS_MAX: u32 = 30 * 86_400;
/// A replay that is slower than this share of its speed would see more records expire than the trace has.
const SPEED_REACHED_MIN: f64 = 0.95;
/// What every value is cut from.
static VALUE: [u8; 1 << 20] = [b'v'; 1 << 20];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clusters::Cluster;

    #[test]
    fn a_batch_ends_before_a_key_comes_again() {
        let replay = Replay::from_cluster(Cluster::find(4).unwrap(), 100, 2000);
        let mut batches = Batches { replay: &replay, at: 0, speed: 20.0 };
        let mut batch = Batch::default();
        let mut keys = Vec::new();
        while batches.fill(&mut batch) {
            let sent: Vec<u32> = batch.writes.drain(..).chain(batch.gets.drain(..)).map(|r| r.key).collect();
            assert_eq!(sent.len(), batch.keys.len());
            keys.extend(sent);
        }
        let mut asked: Vec<u32> = replay.requests.iter().map(|request| request.key).collect();
        asked.sort_unstable();
        keys.sort_unstable();
        assert_eq!(keys, asked, "every request is sent once");
    }

    #[test]
    fn times_to_live_shrink_but_not_to_nothing() {
        assert_eq!([0, 60, 600, 30].map(|ttl| faster(ttl, 20.0)), [0, 3, 30, 3]);
        assert_eq!(faster(93 * 86_400, 1.0), RELATIVE_SECONDS_MAX);
    }

    #[test]
    fn a_replay_that_falls_behind_its_time_is_no_result() {
        assert!(check_speed(96.0, 100.0).is_ok());
        assert!(matches!(check_speed(94.0, 100.0), Err(BenchError::Rate { .. })));
    }
}
