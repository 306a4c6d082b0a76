//! The line between two nodes: a proxy whose connections can be cut, and that does harm to what goes over them.

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use clap::ValueEnum;
use ringcache_net::replication::frame::HEADER_BYTES;
use ringcache_net::replication::greeting::GREETING_BYTES;

use crate::error::BenchError;
use crate::keys::Random;

/// Passes on what it is sent. Its threads end with the process.
pub struct Proxy {
    address: String,
    line: Arc<Line>,
}

/// What may happen to a piece of what goes over a line: a whole frame, or whatever has come at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Harm {
    /// It comes later, by up to [`DELAY_MILLIS_MAX`].
    Delay,
    /// It comes behind the next one.
    Reorder,
    /// It comes twice.
    Duplicate,
    /// Its end is missing, or all of it.
    Truncate,
    /// One bit of it is another one.
    Flip,
}

/// One direction of one connection: what becomes of the pieces that go there.
pub trait Passage: Send {
    /// Pieces are frames, not whatever comes at once.
    fn is_framed(&self) -> bool;

    /// What goes on instead of `piece`.
    fn treat(&mut self, piece: Piece) -> Vec<u8>;

    /// What goes on when nothing has come for a while.
    fn rest(&mut self) -> Vec<u8>;

    /// The connection has ended.
    fn end(&mut self) {}
}

/// Makes both directions of a connection: that of who dialled, that of who was dialled.
pub type Passages = dyn Fn() -> [Box<dyn Passage>; 2] + Send + Sync;

/// Something that goes over a line.
pub struct Piece {
    /// Never empty.
    pub bytes: Vec<u8>,
    /// It is a whole frame.
    pub is_frame: bool,
}

struct Line {
    upstream: Mutex<String>,
    is_cut: AtomicBool,
    /// Connections by number.
    open: Mutex<HashMap<u64, [TcpStream; 2]>>,
    last: AtomicU64,
    passages: Box<Passages>,
    harms: Arc<Harms>,
}

impl Proxy {
    /// Listens on a free port and connects to `upstream` for everyone who comes.
    pub fn start(upstream: &str) -> Result<Proxy, BenchError> {
        Proxy::start_seeded(upstream, 0)
    }

    /// The same. What it is going to do to the line follows from `seed`.
    pub fn start_seeded(upstream: &str, seed: u64) -> Result<Proxy, BenchError> {
        let harms = Arc::new(Harms { seed: AtomicU64::new(seed << 16), ..Harms::default() });
        let shared = Arc::clone(&harms);
        let passages =
            move || [(); 2].map(|()| Box::new(Harming::new(Arc::clone(&shared))) as Box<dyn Passage>);
        Proxy::listen(upstream, Box::new(passages), harms)
    }

    /// A line on which only `passages` decide what happens.
    pub fn start_with(upstream: &str, passages: Box<Passages>) -> Result<Proxy, BenchError> {
        Proxy::listen(upstream, passages, Arc::default())
    }

    fn listen(upstream: &str, passages: Box<Passages>, harms: Arc<Harms>) -> Result<Proxy, BenchError> {
        let failed = || BenchError::machine("cannot start a proxy");
        let listener = TcpListener::bind("127.0.0.1:0").map_err(failed())?;
        let address = listener.local_addr().map_err(failed())?.to_string();
        let line = Arc::new(Line {
            upstream: Mutex::new(upstream.to_string()),
            is_cut: AtomicBool::new(false),
            open: Mutex::default(),
            last: AtomicU64::new(0),
            passages,
            harms,
        });
        let shared = Arc::clone(&line);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if !shared.is_cut.load(Ordering::SeqCst) {
                    // One that can't be connected is closed: its node comes again.
                    let _ = shared.join(stream);
                }
            }
        });
        Ok(Proxy { address, line })
    }

    /// Where it listens.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Connects to `upstream` from now on. Connections that are there stay.
    pub fn aim(&self, upstream: &str) {
        *lock(&self.line.upstream) = upstream.to_string();
    }

    /// Ends all connections, and takes no new ones.
    pub fn cut(&self) {
        self.line.is_cut.store(true, Ordering::SeqCst);
        for (_, streams) in lock(&self.line.open).drain() {
            // They may be over already.
            streams.iter().for_each(|stream| drop(stream.shutdown(Shutdown::Both)));
        }
    }

    /// Takes connections again.
    pub fn heal(&self) {
        self.line.is_cut.store(false, Ordering::SeqCst);
    }

    /// Does `harm` to one piece in `one_in`, in both directions; `None` ends that.
    pub fn harm(&self, harm: Option<(Harm, u32)>) {
        *lock(&self.line.harms.harm) = harm;
    }

    /// Pieces that were harmed so far.
    pub fn harmed(&self) -> u64 {
        self.line.harms.done.load(Ordering::Relaxed)
    }
}

impl Line {
    fn join(self: &Arc<Line>, near: TcpStream) -> std::io::Result<()> {
        let upstream = lock(&self.upstream).clone();
        let far = TcpStream::connect(upstream)?;
        for stream in [&near, &far] {
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(HOLD_TIME_MAX))?;
        }
        let number = self.last.fetch_add(1, Ordering::Relaxed);
        lock(&self.open).insert(number, [near.try_clone()?, far.try_clone()?]);
        let [out, back] = (self.passages)();
        for (passage, from, to) in [(out, near.try_clone()?, far.try_clone()?), (back, far, near)] {
            let line = Arc::clone(self);
            std::thread::spawn(move || {
                pass_on(passage, from, to);
                lock(&line.open).remove(&number);
            });
        }
        Ok(())
    }
}

fn pass_on(mut passage: Box<dyn Passage>, mut from: TcpStream, mut to: TcpStream) {
    let mut pieces = Pieces::new(passage.is_framed());
    let mut buffer = vec![0; 64 << 10];
    loop {
        let sent = match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => {
                let taken = pieces.take(&buffer[..length]);
                taken.into_iter().flat_map(|piece| passage.treat(piece)).collect()
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                passage.rest()
            }
            Err(_) => break,
        };
        if to.write_all(&sent).is_err() {
            break;
        }
    }
    passage.end();
    // The other direction ends with this one.
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}

/// What is done to a line, and how often it was.
#[derive(Default)]
struct Harms {
    /// To one piece in how many.
    harm: Mutex<Option<(Harm, u32)>>,
    /// Makes each direction of each connection a sequence of chances of its own.
    seed: AtomicU64,
    done: AtomicU64,
}

/// A direction that does it.
struct Harming {
    harms: Arc<Harms>,
    random: Random,
    is_framed: bool,
    /// Comes behind the next piece.
    held: Vec<u8>,
}

impl Harming {
    fn new(harms: Arc<Harms>) -> Harming {
        let mut random = Random::new(harms.seed.fetch_add(1, Ordering::Relaxed));
        let is_framed = random.below(2) == 0;
        Harming { harms, random, is_framed, held: Vec::new() }
    }
}

impl Passage for Harming {
    fn is_framed(&self) -> bool {
        self.is_framed
    }

    fn treat(&mut self, piece: Piece) -> Vec<u8> {
        let mut piece = piece.bytes;
        let harm = *lock(&self.harms.harm);
        let harm = harm.filter(|(_, one_in)| self.random.below(*one_in) == 0).map(|(harm, _)| harm);
        self.harms.done.fetch_add(u64::from(harm.is_some()), Ordering::Relaxed);
        let place = self.random.below(piece.len() as u32 * 8) as usize;
        match harm {
            None => {}
            Some(Harm::Delay) => {
                std::thread::sleep(Duration::from_millis(self.random.bits() % DELAY_MILLIS_MAX));
            }
            Some(Harm::Reorder) if self.held.is_empty() => {
                self.held = piece;
                return Vec::new();
            }
            Some(Harm::Reorder) => {}
            Some(Harm::Duplicate) => piece.extend_from_within(..),
            Some(Harm::Truncate) => piece.truncate(place / 8),
            Some(Harm::Flip) => piece[place / 8] ^= 1 << (place % 8),
        }
        piece.append(&mut self.held);
        piece
    }

    /// What nothing follows is not held for longer.
    fn rest(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.held)
    }
}

/// Takes a stream apart. What the two nodes say is never empty, so no piece is.
struct Pieces {
    kept: Vec<u8>,
    /// Pieces are frames.
    is_framed: bool,
    greeting_left: usize,
}

impl Pieces {
    fn new(is_framed: bool) -> Pieces {
        Pieces { kept: Vec::new(), is_framed, greeting_left: GREETING_BYTES }
    }

    fn take(&mut self, bytes: &[u8]) -> Vec<Piece> {
        if !self.is_framed {
            return vec![Piece { bytes: bytes.to_vec(), is_frame: false }];
        }
        self.kept.extend_from_slice(bytes);
        let mut pieces = Vec::new();
        let mut at = 0;
        if self.greeting_left > 0 {
            at = self.greeting_left.min(self.kept.len());
            self.greeting_left -= at;
            pieces.push(Piece { bytes: self.kept[..at].to_vec(), is_frame: false });
        }
        while let Some(frame) = frame(&self.kept[at..]) {
            pieces.push(Piece { bytes: frame.to_vec(), is_frame: true });
            at += frame.len();
        }
        self.kept.drain(..at);
        pieces
    }
}

/// The frame at the front, if it is whole.
fn frame(bytes: &[u8]) -> Option<&[u8]> {
    let payload_bytes = u32::from_le_bytes(*bytes.first_chunk::<4>()?) as usize;
    bytes.get(..HEADER_BYTES + payload_bytes)
}

/// No thread panics while it holds one of these.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The longest delay of a piece.
pub const DELAY_MILLIS_MAX: u64 = 40;
/// A piece that is held for the next one goes on after this even where none comes.
const HOLD_TIME_MAX: Duration = Duration::from_millis(30);

#[cfg(test)]
mod tests {
    use ringcache_net::replication::frame::{Kind, push};

    use super::*;

    #[test]
    fn a_stream_is_taken_apart_at_its_frames() {
        let mut stream = vec![1; GREETING_BYTES];
        push(&mut stream, Kind::Ping, 0, 0, b"12345678");
        push(&mut stream, Kind::Records, 0, 1, &[7; 1000]);
        for step in [stream.len(), 200, 7] {
            let mut pieces = Pieces::new(true);
            let taken: Vec<Piece> = stream.chunks(step).flat_map(|bytes| pieces.take(bytes)).collect();
            let bytes: Vec<&[u8]> = taken.iter().map(|piece| &piece.bytes[..]).collect();
            assert_eq!(bytes.concat(), stream);
            let frames: Vec<usize> =
                taken.iter().filter(|piece| piece.is_frame).map(|frame| frame.bytes.len()).collect();
            assert_eq!(frames, [HEADER_BYTES + 8, HEADER_BYTES + 1000]);
        }
    }

    #[test]
    fn each_harm_is_what_its_name_says() {
        let harms = Arc::new(Harms::default());
        let treated = |harm, pieces: [&[u8]; 3]| {
            *lock(&harms.harm) = Some((harm, 1));
            let mut harming = Harming::new(Arc::clone(&harms));
            pieces.map(|piece| harming.treat(Piece { bytes: piece.to_vec(), is_frame: false }))
        };
        let pieces = [&b"one"[..], b"two", b"three"];
        assert_eq!(treated(Harm::Delay, pieces), pieces);
        assert_eq!(treated(Harm::Reorder, pieces), [&b""[..], b"twoone", b""]);
        assert_eq!(treated(Harm::Duplicate, pieces), [&b"oneone"[..], b"twotwo", b"threethree"]);
        for (was, is) in pieces.iter().zip(treated(Harm::Truncate, pieces)) {
            assert!(is.len() < was.len() && was.starts_with(&is));
        }
        for (was, is) in pieces.iter().zip(treated(Harm::Flip, pieces)) {
            let flipped: u32 = was.iter().zip(&is).map(|(was, is)| (was ^ is).count_ones()).sum();
            assert_eq!(flipped, 1);
        }
        assert_eq!(harms.done.load(Ordering::Relaxed), 15);
    }
}
