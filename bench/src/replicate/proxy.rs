//! A TCP proxy whose connections can be cut: the line between two nodes.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::BenchError;

/// Passes on what it is sent. Its threads end with the process.
pub struct Proxy {
    address: String,
    line: Arc<Line>,
}

#[derive(Default)]
struct Line {
    is_cut: AtomicBool,
    open: Mutex<Vec<TcpStream>>,
}

impl Proxy {
    /// Listens on a free port and connects to `upstream` for everyone who comes.
    pub fn start(upstream: &str) -> Result<Proxy, BenchError> {
        let failed = || BenchError::machine("cannot start a proxy");
        let listener = TcpListener::bind("127.0.0.1:0").map_err(failed())?;
        let address = listener.local_addr().map_err(failed())?.to_string();
        let (line, upstream) = (Arc::new(Line::default()), upstream.to_string());
        let shared = Arc::clone(&line);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if !shared.is_cut.load(Ordering::SeqCst) {
                    // One that can't be connected is closed: its node comes again.
                    let _ = shared.join(stream, &upstream);
                }
            }
        });
        Ok(Proxy { address, line })
    }

    /// Where it listens.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Ends all connections, and takes no new ones.
    pub fn cut(&self) {
        self.line.is_cut.store(true, Ordering::SeqCst);
        for stream in self.line.open.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            // It may be over already.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Takes connections again.
    pub fn heal(&self) {
        self.line.is_cut.store(false, Ordering::SeqCst);
    }
}

impl Line {
    fn join(&self, near: TcpStream, upstream: &str) -> std::io::Result<()> {
        let far = TcpStream::connect(upstream)?;
        for stream in [&near, &far] {
            stream.set_nodelay(true)?;
            self.open.lock().unwrap_or_else(PoisonError::into_inner).push(stream.try_clone()?);
        }
        let (near_again, far_again) = (near.try_clone()?, far.try_clone()?);
        std::thread::spawn(move || pass_on(near, far));
        std::thread::spawn(move || pass_on(far_again, near_again));
        Ok(())
    }
}

fn pass_on(mut from: TcpStream, mut to: TcpStream) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        if to.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    // The other direction ends with this one.
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}
