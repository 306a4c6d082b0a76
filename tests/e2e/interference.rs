//! A proxy between two nodes that cuts their links, or changes what goes over them.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

/// Forwards connections until it is dropped with its process.
pub struct Proxy {
    port: u16,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    streams: Mutex<Vec<TcpStream>>,
    /// A bit is turned about every so many bytes; 0: never.
    damage_every: AtomicU64,
    flips: AtomicU64,
}

impl Proxy {
    /// In front of that port.
    pub fn start(target: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let Ok(other) = TcpStream::connect(("127.0.0.1", target)) else { continue };
                forward(&stream, &other, &shared);
                forward(&other, &stream, &shared);
                shared.streams.lock().expect("nobody panics").extend([stream, other]);
            }
        });
        Self { port, state }
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Breaks every connection.
    pub fn cut(&self) {
        for stream in self.state.streams.lock().expect("nobody panics").drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Turns a bit about every so many bytes, in either direction; 0 ends that.
    pub fn damage_every(&self, bytes: u64) {
        self.state.damage_every.store(bytes, Ordering::Relaxed);
    }

    /// Bits turned so far.
    pub fn flips(&self) -> u64 {
        self.state.flips.load(Ordering::Relaxed)
    }
}

fn forward(from: &TcpStream, to: &TcpStream, state: &Arc<State>) {
    let [mut from, mut to] = [from, to].map(|stream| stream.try_clone().expect("descriptors"));
    let state = Arc::clone(state);
    thread::spawn(move || {
        let mut buffer = [0; 16 * 1024];
        let mut seed = 0x9e37_79b9_7f4a_7c15u64;
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            let every = state.damage_every.load(Ordering::Relaxed);
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            if every > 0 && (seed >> 33) % every < count as u64 {
                let bit = (seed >> 20) as usize % (count * 8);
                buffer[bit / 8] ^= 1 << (bit % 8);
                state.flips.fetch_add(1, Ordering::Relaxed);
            }
            if to.write_all(&buffer[..count]).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Both);
        let _ = from.shutdown(Shutdown::Both);
    });
}
