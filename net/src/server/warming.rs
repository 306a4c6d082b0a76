//! The thread that connects workers to the upstream. No worker ever waits for a name, a connection or a first answer.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use super::ServeError;
use crate::errand::{Errand, Errands};
use crate::limits::WARM_DIAL_TIME;
use crate::sys;
use crate::warming::answers::Dialect;
use crate::warming::redials::Redials;
use crate::warming::{Connected, Lost, Warming};

/// How far the thread gives way to the workers.
const NICE: i32 = 5;
/// A key that nobody has.
const PROBE_CLASSIC: &[u8] = b"get ringcached:is:there:somebody\r\n";
const PROBE_META: &[u8] = b"mn\r\n";

/// Starts the thread. It ends when the node stops.
pub(super) fn start(upstream: String, warming: &Warming, errands: Errands) -> Result<(), ServeError> {
    let (sender, lost) = mpsc::channel();
    warming.listen(sender);
    let run = move || {
        sys::give_way(NICE);
        keep_connected(&upstream, &lost, &errands);
    };
    let started = thread::Builder::new().name("upstream".to_owned()).spawn(run);
    started.map(drop).map_err(|source| ServeError::System { what: "cannot start a thread", source })
}

fn keep_connected(upstream: &str, lost: &Receiver<Lost>, errands: &Errands) {
    let began = Instant::now();
    let mut redials = Redials::new(errands.workers());
    let mut is_reached = true;
    loop {
        let pause = redials.next().map(|(_, due)| due.saturating_sub(began.elapsed()));
        match lost.recv_timeout(pause.unwrap_or(Duration::from_secs(60))) {
            Ok(Lost { worker, garbled }) => {
                redials.lost(worker, garbled, began.elapsed());
                continue;
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        let Some((worker, _)) = redials.next().filter(|(_, due)| *due <= began.elapsed()) else { continue };
        let was_reached = is_reached;
        match dial(upstream, redials.dialect()) {
            Ok(connected) => {
                is_reached = true;
                if !was_reached {
                    tracing::info!(upstream, "the upstream is there");
                }
                redials.connected(worker, began.elapsed());
                if errands.send(worker, Errand::Upstream(connected)).is_err() {
                    return;
                }
            }
            Err(error) => {
                is_reached = false;
                if was_reached {
                    tracing::warn!(upstream, %error, "the upstream can't be asked; misses are misses meanwhile");
                }
                redials.failed(worker, began.elapsed());
            }
        }
    }
}

/// Connects, and finds out what the upstream understands unless that is known.
fn dial(upstream: &str, dialect: Option<Dialect>) -> io::Result<Connected> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in upstream.to_socket_addrs()? {
        let connect = || -> io::Result<TcpStream> {
            let stream = TcpStream::connect_timeout(&address, WARM_DIAL_TIME)?;
            stream.set_nodelay(true)?;
            Ok(stream)
        };
        let answer = connect().and_then(|stream| {
            if dialect.is_none() && probe(&stream, PROBE_META, b"MN\r\n").is_ok() {
                return Ok(Connected { socket: stream.into(), dialect: Dialect::Meta });
            }
            // Some servers hang up when they do not understand.
            let stream = connect()?;
            probe(&stream, PROBE_CLASSIC, b"END\r\n")?;
            Ok(Connected { socket: stream.into(), dialect: Dialect::Classic })
        });
        match answer {
            Ok(connected) => return Ok(connected),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Asks, and compares what comes with what should.
fn probe(mut stream: &TcpStream, question: &[u8], expected: &[u8]) -> io::Result<()> {
    stream.set_read_timeout(Some(WARM_DIAL_TIME))?;
    stream.set_write_timeout(Some(WARM_DIAL_TIME))?;
    stream.write_all(question)?;
    let mut answer = vec![0; expected.len()];
    stream.read_exact(&mut answer)?;
    if answer != expected {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it answers as no memcached does"));
    }
    stream.set_read_timeout(None)?;
    stream.set_write_timeout(None)
}
