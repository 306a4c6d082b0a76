//! One load thread: its ring, its connections and what is open on them.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::ClientConfig;

use crate::encoder::Encoder;
use crate::error::BenchError;
use crate::figures::Figures;
use crate::progress::Progress;
use crate::reply::Syntax;
use crate::ring::{Peer, Ring, Wait};
use crate::schedule::Schedule;
use crate::tally::{Connection, Pending, Tally};
use crate::target::Target;
use crate::tls::Veil;
use crate::values::Sizes;

/// What decides when the next request is sent.
#[derive(Clone, Debug)]
pub enum Pace {
    /// As soon as a connection has fewer than `depth` open.
    Closed,
    /// When it is due; later, but counted from then, while every connection has `depth` open.
    Open(Schedule),
}

/// When to stop sending. Requests that are open then are still waited for; in an open loop, those that were due are still
/// sent too, because leaving them out would leave out the longest latencies.
#[derive(Clone, Copy, Debug)]
pub enum Until {
    /// After so long.
    Elapsed(Duration),
    /// After so many requests.
    Requests(u64),
}

/// How replies are read.
#[derive(Clone, Debug)]
pub enum Reading {
    /// Every reply is parsed and judged.
    Parsed,
    /// Parsed, and every value compared with what its key must hold; the lengths of all values.
    Verified(Sizes),
    /// Bytes are counted only: the cheapest client, for saturating a server.
    Blind,
}

/// One load thread.
pub struct Driver {
    /// Never sleep.
    pub polls: bool,
    /// Told a few times per second what was done.
    pub progress: Progress,
    ring: Ring,
    load: Load,
}

/// What a driver saw of its own progress; times since the start of the run.
#[derive(Default)]
struct Seen {
    requests: u64,
    moved_at: Duration,
    shown: u64,
    shown_at: Duration,
}

/// Everything of a driver that the ring does not own.
struct Load {
    connections: Vec<Connection>,
    encoder: Encoder,
    is_blind: bool,
    depth: usize,
    tally: Tally,
    start: Instant,
    /// A closed loop sends again from within a reply; an open one never does.
    refill: bool,
    /// Requests that may still be sent.
    left: u64,
    /// Requests sent and not answered.
    open: usize,
    failure: Option<BenchError>,
    /// One for each connection where they are encrypted; else none.
    veils: Vec<Veil>,
    /// Requests that are not encrypted yet.
    plain: Vec<u8>,
}

impl Driver {
    /// Connects. Fails where the server or io_uring refuses.
    pub fn connect(
        target: &Target,
        connections: usize,
        depth: usize,
        syntax: Syntax,
        reading: &Reading,
        encoder: Encoder,
        tls: Option<&Arc<ClientConfig>>,
    ) -> Result<Driver, BenchError> {
        let mut ring = Ring::new(connections).map_err(BenchError::machine("cannot set up io_uring"))?;
        let mut veils = Vec::new();
        for _ in 0..connections {
            let mut socket = target.connect()?;
            if let Some(config) = tls {
                let shaken = Veil::shake(socket, config);
                let (back, veil) = shaken.map_err(|source| BenchError::Died { source: Some(source) })?;
                socket = back;
                veils.push(veil);
            }
            ring.add(socket).map_err(BenchError::machine("cannot receive"))?;
        }
        let verified = match reading {
            Reading::Verified(sizes) => Some(sizes.clone()),
            Reading::Parsed | Reading::Blind => None,
        };
        let load = Load {
            connections: std::iter::repeat_with(|| Connection::new(syntax)).take(connections).collect(),
            encoder,
            is_blind: matches!(reading, Reading::Blind),
            depth,
            tally: Tally::new(verified),
            start: Instant::now(),
            refill: false,
            left: 0,
            open: 0,
            failure: None,
            veils,
            plain: Vec::new(),
        };
        Ok(Driver { polls: false, progress: Progress::hidden(), ring, load })
    }

    /// Sends until `until`, waits for every reply, and returns what was counted.
    pub fn run(&mut self, mut pace: Pace, until: Until) -> Result<Figures, BenchError> {
        let (limit, requests) = match until {
            Until::Elapsed(limit) => (limit, u64::MAX),
            Until::Requests(requests) => (Duration::MAX, requests),
        };
        self.load.begin(requests, matches!(pace, Pace::Closed));
        if self.load.refill {
            self.prime();
        }
        let mut seen = Seen::default();
        let mut turn_of = 0;
        loop {
            let elapsed = self.load.start.elapsed();
            if elapsed >= limit {
                self.load.end(&pace, elapsed - limit);
            }
            if self.load.left == 0 && self.load.open == 0 {
                return Ok(self.finish(&pace, &seen));
            }
            let mut wait =
                Wait::AtMost(LOOK_INTERVAL.min(limit.saturating_sub(elapsed)).max(LOOK_INTERVAL_MIN));
            if let Pace::Open(schedule) = &mut pace {
                self.send_due(schedule, &mut turn_of);
                wait = self.wait_for(schedule);
            }
            if self.polls {
                wait = Wait::Poll;
            }
            self.ring.turn(wait, &mut self.load).map_err(BenchError::machine("the ring failed"))?;
            if let Some(failure) = self.load.failure.take() {
                return Err(failure);
            }
            self.look(&mut seen, elapsed)?;
        }
    }

    fn finish(&mut self, pace: &Pace, seen: &Seen) -> Figures {
        let mut figures = self.load.tally.take();
        self.progress.add(figures.requests - seen.shown);
        if let Pace::Open(schedule) = pace {
            figures.unsent = schedule.untaken();
        }
        figures
    }

    /// Fills every connection up to the depth.
    fn prime(&mut self) {
        let now_ns = self.load.now_ns();
        for number in 0..self.load.connections.len() {
            let load = &mut self.load;
            self.ring.output(number, |output| {
                load.write(number, output, |l, plain| l.fill(number, now_ns, plain))
            });
        }
    }

    /// Sends what is due, on the connections in turn, passing over full ones.
    fn send_due(&mut self, schedule: &mut Schedule, turn_of: &mut usize) {
        let now_ns = self.load.now_ns();
        let connections = self.load.connections.len();
        while self.load.left > 0 && !self.is_full() {
            let free = (0..connections)
                .map(|step| (*turn_of + step) % connections)
                .find(|number| self.load.connections[*number].pending.len() < self.load.depth);
            let number = free.expect("not every connection is full");
            let Some(due_ns) = schedule.take(now_ns) else { return };
            *turn_of = (number + 1) % connections;
            let load = &mut self.load;
            self.ring.output(number, |output| {
                load.write(number, output, |l, plain| l.send(number, due_ns, plain))
            });
        }
    }

    /// Whether every connection has `depth` open.
    fn is_full(&self) -> bool {
        self.load.open >= self.load.depth * self.load.connections.len()
    }

    /// Short pauses are polled through: a sleep would end later than the next request is due.
    fn wait_for(&self, schedule: &Schedule) -> Wait {
        let now_ns = self.load.now_ns();
        let pause = schedule.pause(now_ns);
        if self.load.left == 0 || self.is_full() {
            Wait::AtMost(LOOK_INTERVAL)
        } else if pause < SLEEP_MIN {
            Wait::Poll
        } else {
            Wait::AtMost((pause - SLEEP_MIN / 2).min(LOOK_INTERVAL))
        }
    }

    /// Shows what was done, and fails where nothing was done for too long.
    fn look(&self, seen: &mut Seen, elapsed: Duration) -> Result<(), BenchError> {
        let requests = self.load.tally.figures.requests;
        if elapsed - seen.shown_at >= LOOK_INTERVAL {
            self.progress.add(requests - seen.shown);
            (seen.shown, seen.shown_at) = (requests, elapsed);
        }
        if requests != seen.requests || self.load.open == 0 {
            (seen.requests, seen.moved_at) = (requests, elapsed);
            return Ok(());
        }
        if elapsed - seen.moved_at < STALL_MAX {
            return Ok(());
        }
        let hint = if self.load.is_blind {
            " (--blind counts bytes: every key must be present, with values of the given length)"
        } else {
            ""
        };
        Err(BenchError::Stalled { open: self.load.open, seconds: STALL_MAX.as_secs(), hint })
    }
}

impl Load {
    fn begin(&mut self, requests: u64, refill: bool) {
        self.start = Instant::now();
        self.tally.take();
        self.left = requests;
        self.refill = refill;
    }

    /// The time is over since `overtime`: nothing more is sent, except what was due before.
    fn end(&mut self, pace: &Pace, overtime: Duration) {
        let is_done = match pace {
            Pace::Closed => true,
            Pace::Open(schedule) => schedule.is_over() || overtime >= OVERTIME_MAX,
        };
        if is_done {
            self.left = 0;
        }
    }

    fn now_ns(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).expect("a run lasts less than 500 years")
    }

    fn fill(&mut self, number: usize, now_ns: u64, output: &mut Vec<u8>) {
        while self.left > 0 && self.connections[number].pending.len() < self.depth {
            self.send(number, now_ns, output);
        }
    }

    fn send(&mut self, number: usize, since_ns: u64, output: &mut Vec<u8>) {
        let connection = &mut self.connections[number];
        let asked = self.encoder.encode(output, &mut connection.asked_keys);
        connection.pending.push_back(Pending::new(asked, since_ns));
        self.left -= 1;
        self.open += 1;
    }
}

impl Load {
    /// Lets `encode` append requests to `output`; encrypted where the connection is.
    fn write(&mut self, number: usize, output: &mut Vec<u8>, encode: impl FnOnce(&mut Load, &mut Vec<u8>)) {
        if self.veils.is_empty() {
            return encode(self, output);
        }
        let mut plain = std::mem::take(&mut self.plain);
        encode(self, &mut plain);
        if let Err(source) = self.veils[number].seal(&plain, output) {
            self.fail(source);
        }
        plain.clear();
        self.plain = plain;
    }

    fn fail(&mut self, source: io::Error) {
        self.failure.get_or_insert(BenchError::Died { source: Some(source) });
        self.left = 0;
    }

    fn take_replies(&mut self, number: usize, bytes: &[u8], output: &mut Vec<u8>) {
        let now_ns = self.now_ns();
        let before = self.tally.figures.requests;
        let connection = &mut self.connections[number];
        let taken = if self.is_blind {
            self.tally.handle_blind(connection, bytes, now_ns)
        } else {
            self.tally.handle_replies(connection, bytes, now_ns)
        };
        self.open -= usize::try_from(self.tally.figures.requests - before).expect("fewer than are open");
        if let Err(failure) = taken {
            self.failure.get_or_insert(failure);
            self.left = 0;
        } else if self.refill {
            self.fill(number, now_ns, output);
        }
    }
}

impl Peer for Load {
    fn handle_bytes(&mut self, number: usize, bytes: &[u8], output: &mut Vec<u8>) {
        if self.veils.is_empty() {
            return self.take_replies(number, bytes, output);
        }
        let mut veils = std::mem::take(&mut self.veils);
        let opened = veils[number].open(bytes);
        let mut plain = std::mem::take(&mut self.plain);
        let sealed = opened.map(|bytes| self.take_replies(number, bytes, &mut plain));
        if let Err(source) = sealed.and_then(|()| veils[number].seal(&plain, output)) {
            self.fail(source);
        }
        plain.clear();
        (self.plain, self.veils) = (plain, veils);
    }

    fn handle_close(&mut self, _number: usize, source: Option<io::Error>) {
        self.failure.get_or_insert(BenchError::Died { source });
        self.left = 0;
    }
}

/// How often a driver looks at the clock and at its progress while nothing arrives.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// A timeout of zero would not sleep at all.
const LOOK_INTERVAL_MIN: Duration = Duration::from_micros(1);
/// A sleep shorter than this costs more than it saves.
const SLEEP_MIN: Duration = Duration::from_micros(100);
/// How long after its end an open loop still sends what was due before.
const OVERTIME_MAX: Duration = Duration::from_secs(1);
/// A server that answers nothing for so long has failed.
const STALL_MAX: Duration = Duration::from_secs(10);
