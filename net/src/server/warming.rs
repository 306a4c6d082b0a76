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
    let mut spoken = None;
    loop {
        let pause = redials.next().map(|(_, due)| due.saturating_sub(began.elapsed()));
        match lost.recv_timeout(pause.unwrap_or(Duration::from_secs(60))) {
            Ok(Lost { worker }) => {
                redials.lost(worker, began.elapsed());
                continue;
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        let Some((worker, _)) = redials.next().filter(|(_, due)| *due <= began.elapsed()) else { continue };
        let was_reached = is_reached;
        match dial(upstream) {
            Ok(connected) => {
                is_reached = true;
                let dialect = connected.dialect;
                let was_spoken = spoken.replace(dialect) == Some(dialect);
                if !(was_reached && was_spoken) {
                    tracing::info!(upstream, ?dialect, "the upstream is there");
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

/// Connects, and finds out what the upstream understands.
fn dial(upstream: &str) -> io::Result<Connected> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in upstream.to_socket_addrs()? {
        let connect = || -> io::Result<TcpStream> {
            let stream = TcpStream::connect_timeout(&address, WARM_DIAL_TIME)?;
            stream.set_nodelay(true)?;
            Ok(stream)
        };
        let answer = connect().and_then(|stream| {
            match probe(&stream, PROBE_META, b"MN\r\n") {
                Ok(()) => return Ok(Connected { socket: stream.into(), dialect: Dialect::Meta }),
                Err(error) if !is_not_understood(&error) => return Err(error),
                Err(_) => {}
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

/// Whether the upstream said something else or hung up. One that is slow may understand everything.
fn is_not_understood(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, InvalidData, UnexpectedEof};
    matches!(error.kind(), InvalidData | UnexpectedEof | ConnectionReset | BrokenPipe)
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

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::thread;

    use super::{PROBE_META, dial};
    use crate::warming::answers::Dialect;

    /// What is found out about a server that says `hello` to the first question and knows the second; nothing: it is slow.
    fn found(hello: &'static [u8]) -> Option<Dialect> {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has free ports");
        let address = listener.local_addr().expect("it is bound").to_string();
        thread::spawn(move || {
            let mut streams = Vec::new();
            for stream in listener.incoming() {
                let mut stream = stream.expect("it listens");
                let mut question = [0; 64];
                let length = stream.read(&mut question).expect("somebody asks");
                let answer = if &question[..length] == PROBE_META { hello } else { b"END\r\n" };
                stream.write_all(answer).expect("somebody listens");
                streams.push(stream);
            }
        });
        dial(&address).ok().map(|connected| connected.dialect)
    }

    #[test]
    fn a_slow_upstream_is_not_taken_for_an_old_one() {
        assert_eq!(found(b"MN\r\n"), Some(Dialect::Meta));
        assert_eq!(found(b"ERROR\r\n"), Some(Dialect::Classic));
        assert_eq!(found(b""), None);
    }
}
