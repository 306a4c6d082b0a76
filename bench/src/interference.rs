//! The line between two nodes: a proxy whose connections can be cut, and that does harm to what goes over them.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use clap::ValueEnum;
use ringcache_net::replication::frame::HEADER_BYTES;

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

#[derive(Default)]
struct Line {
    upstream: Mutex<String>,
    is_cut: AtomicBool,
    open: Mutex<Vec<TcpStream>>,
    /// What is done, and to one piece in how many.
    harm: Mutex<Option<(Harm, u32)>>,
    /// Makes each direction of each connection a sequence of chances of its own.
    seed: AtomicU64,
    harmed: AtomicU64,
}

impl Proxy {
    /// Listens on a free port and connects to `upstream` for everyone who comes.
    pub fn start(upstream: &str) -> Result<Proxy, BenchError> {
        Proxy::start_at("127.0.0.1", upstream, 0)
    }

    /// The same, on that host. What it is going to do to the line follows from `seed`.
    pub fn start_at(host: &str, upstream: &str, seed: u64) -> Result<Proxy, BenchError> {
        let failed = || BenchError::machine("cannot start a proxy");
        let listener = TcpListener::bind((host, 0)).map_err(failed())?;
        let address = listener.local_addr().map_err(failed())?.to_string();
        let line = Arc::new(Line { seed: AtomicU64::new(seed << 16), ..Line::default() });
        *lock(&line.upstream) = upstream.to_string();
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
        for stream in lock(&self.line.open).drain(..) {
            // It may be over already.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Takes connections again.
    pub fn heal(&self) {
        self.line.is_cut.store(false, Ordering::SeqCst);
    }

    /// Does `harm` to one piece in `one_in`, in both directions; `None` ends that.
    pub fn harm(&self, harm: Option<(Harm, u32)>) {
        *lock(&self.line.harm) = harm;
    }

    /// Pieces that were harmed so far.
    pub fn harmed(&self) -> u64 {
        self.line.harmed.load(Ordering::Relaxed)
    }
}

impl Line {
    fn join(self: &Arc<Line>, near: TcpStream) -> std::io::Result<()> {
        let upstream = lock(&self.upstream).clone();
        let far = TcpStream::connect(upstream)?;
        for stream in [&near, &far] {
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(HOLD_TIME_MAX))?;
            lock(&self.open).push(stream.try_clone()?);
        }
        let (near_again, far_again) = (near.try_clone()?, far.try_clone()?);
        for (from, to) in [(near, far), (far_again, near_again)] {
            let direction = Direction::new(Arc::clone(self));
            std::thread::spawn(move || direction.pass_on(from, to));
        }
        Ok(())
    }
}

/// One direction of one connection.
struct Direction {
    line: Arc<Line>,
    random: Random,
    pieces: Pieces,
    /// Comes behind the next piece.
    held: Option<Vec<u8>>,
}

impl Direction {
    fn new(line: Arc<Line>) -> Direction {
        let mut random = Random::new(line.seed.fetch_add(1, Ordering::Relaxed));
        let pieces = Pieces::new(random.below(2) == 0);
        Direction { line, random, pieces, held: None }
    }

    fn pass_on(mut self, mut from: TcpStream, mut to: TcpStream) {
        let mut buffer = vec![0; 64 << 10];
        loop {
            let pieces = match from.read(&mut buffer) {
                Ok(0) => break,
                Ok(length) => self.pieces.take(&buffer[..length]),
                // What nothing follows is not held for longer.
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    self.held.take().into_iter().collect()
                }
                Err(_) => break,
            };
            let sent = pieces.into_iter().flat_map(|piece| self.treat(piece)).collect::<Vec<_>>().concat();
            if to.write_all(&sent).is_err() {
                break;
            }
        }
        // The other direction ends with this one.
        let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
    }

    /// What goes on instead of `piece`.
    fn treat(&mut self, mut piece: Vec<u8>) -> Vec<Vec<u8>> {
        let harm = *lock(&self.line.harm);
        let harm = harm.filter(|(_, one_in)| self.random.below(*one_in) == 0).map(|(harm, _)| harm);
        self.line.harmed.fetch_add(u64::from(harm.is_some()), Ordering::Relaxed);
        let place = self.random.below(piece.len() as u32 * 8) as usize;
        match harm {
            None => {}
            Some(Harm::Delay) => {
                std::thread::sleep(Duration::from_millis(self.random.bits() % DELAY_MILLIS_MAX));
            }
            Some(Harm::Reorder) if self.held.is_none() => {
                self.held = Some(piece);
                return Vec::new();
            }
            Some(Harm::Reorder) => {}
            Some(Harm::Duplicate) => piece.extend_from_within(..),
            Some(Harm::Truncate) => piece.truncate(place / 8),
            Some(Harm::Flip) => piece[place / 8] ^= 1 << (place % 8),
        }
        [Some(piece), self.held.take()].into_iter().flatten().collect()
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

    fn take(&mut self, bytes: &[u8]) -> Vec<Vec<u8>> {
        if !self.is_framed {
            return vec![bytes.to_vec()];
        }
        self.kept.extend_from_slice(bytes);
        let mut pieces = Vec::new();
        let mut at = 0;
        if self.greeting_left > 0 {
            at = self.greeting_left.min(self.kept.len());
            self.greeting_left -= at;
            pieces.push(self.kept[..at].to_vec());
        }
        while let Some(frame) = frame(&self.kept[at..]) {
            pieces.push(frame.to_vec());
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
/// What each end says before its frames: `ringcache_net::replication::greeting`.
const GREETING_BYTES: usize = 78 + 32;

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
            let taken: Vec<Vec<u8>> = stream.chunks(step).flat_map(|bytes| pieces.take(bytes)).collect();
            assert_eq!(taken.concat(), stream);
            let frames: Vec<usize> = taken.iter().rev().take(2).map(Vec::len).collect();
            assert_eq!(frames, [HEADER_BYTES + 1000, HEADER_BYTES + 8]);
        }
    }

    #[test]
    fn each_harm_is_what_its_name_says() {
        let line = Arc::new(Line::default());
        let treated = |harm, pieces: [&[u8]; 3]| {
            *lock(&line.harm) = Some((harm, 1));
            let mut direction = Direction::new(Arc::clone(&line));
            pieces.map(|piece| direction.treat(piece.to_vec()).concat())
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
        assert_eq!(line.harmed.load(Ordering::Relaxed), 15);
    }
}
