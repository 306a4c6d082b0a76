//! `ringbench floor`: the least a server on io_uring can do. The same ring and the same system calls as a real one, but
//! no engine: every key "holds" the same value, sets are swallowed. What it costs is what the sockets cost.

use std::collections::HashMap;
use std::io::{self, Write};
use std::net::TcpListener;
use std::time::Duration;

use clap::Args;

use crate::error::BenchError;
use crate::report;
use crate::ring::{Peer, Ring, Wait};

/// Options of `ringbench floor`.
#[derive(Args, Debug)]
pub struct FloorArgs {
    /// Port on 127.0.0.1; 0 for any free one, which is printed
    #[arg(long)]
    port: u16,
    /// Length of the one value
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(0..=1 << 20))]
    value_bytes: u32,
}

/// Serves until killed.
pub fn run(args: &FloorArgs) -> Result<(), BenchError> {
    let listener =
        TcpListener::bind(("127.0.0.1", args.port)).map_err(BenchError::machine("cannot listen"))?;
    let address = listener.local_addr().map_err(BenchError::machine("cannot listen"))?;
    report::print(&format!("floor on {address}"))?;
    serve(listener, args.value_bytes as usize)
}

/// Answers every connection of `listener`; comes back only when the ring fails.
pub fn serve(listener: TcpListener, value_bytes: usize) -> Result<(), BenchError> {
    let mut ring = Ring::new(64).map_err(BenchError::machine("cannot set up io_uring"))?;
    ring.listen(listener.into()).map_err(BenchError::machine("cannot accept"))?;
    let mut floor = Floor::new(value_bytes);
    loop {
        ring.turn(Wait::AtMost(Duration::from_secs(3600)), &mut floor)
            .map_err(BenchError::machine("the ring failed"))?;
    }
}

struct Floor {
    /// One key's part of a reply.
    value: Vec<u8>,
    /// What connections have sent of a request whose end has not come; most have nothing here.
    rests: HashMap<usize, Vec<u8>>,
}

impl Floor {
    fn new(value_bytes: usize) -> Floor {
        let mut value = Vec::new();
        write!(value, "VALUE key:0000000000 0 {value_bytes}\r\n").expect("a vector takes every write");
        value.resize(value.len() + value_bytes, b'v');
        value.extend_from_slice(b"\r\n");
        Floor { value, rests: HashMap::new() }
    }

    /// Answers whole requests; returns how many bytes they had.
    fn answer(&self, bytes: &[u8], output: &mut Vec<u8>) -> usize {
        let mut taken = 0;
        while let Some(end) = memchr::memchr(b'\n', &bytes[taken..]) {
            let line = &bytes[taken..taken + end];
            let mut next = taken + end + 1;
            if let Some(keys) = line.strip_prefix(b"get") {
                // Single gets, the usual case, need no second look at the line.
                let count = if keys.len() <= 16 { 1 } else { memchr::memchr_iter(b' ', keys).count() };
                for _ in 0..count {
                    output.extend_from_slice(&self.value);
                }
                output.extend_from_slice(b"END\r\n");
            } else if line.starts_with(b"set ") {
                next += data_bytes(line) + 2;
                if next > bytes.len() {
                    return taken;
                }
                output.extend_from_slice(b"STORED\r\n");
            } else {
                output.extend_from_slice(b"ERROR\r\n");
            }
            taken = next;
        }
        taken
    }
}

impl Peer for Floor {
    fn handle_bytes(&mut self, connection: usize, bytes: &[u8], output: &mut Vec<u8>) {
        let kept = self.rests.remove(&connection);
        let Some(mut rest) = kept else {
            let taken = self.answer(bytes, output);
            if taken < bytes.len() {
                self.rests.insert(connection, bytes[taken..].to_vec());
            }
            return;
        };
        rest.extend_from_slice(bytes);
        let taken = self.answer(&rest, output);
        rest.drain(..taken);
        if !rest.is_empty() {
            self.rests.insert(connection, rest);
        }
    }

    fn handle_close(&mut self, connection: usize, _error: Option<io::Error>) {
        self.rests.remove(&connection);
    }
}

/// The last number of a set's line; 0 where there is none.
fn data_bytes(line: &[u8]) -> usize {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let digits = line.rsplit(|byte| *byte == b' ').next().unwrap_or_default();
    std::str::from_utf8(digits).ok().and_then(|digits| digits.parse::<u32>().ok()).unwrap_or(0) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_the_same_over_fragments_of_every_size() {
        let input = b"get key:0000000001\r\nset key:0000000001 0 0 5\r\na\r\nbc\r\nget key:0000000001 key:0000000002\r\nx\r\n";
        let value = "VALUE key:0000000000 0 3\r\nvvv\r\n";
        let expected = format!("{value}END\r\nSTORED\r\n{value}{value}END\r\nERROR\r\n");
        for fragment in 1..=input.len() {
            let mut floor = Floor::new(3);
            let mut output = Vec::new();
            for part in input.chunks(fragment) {
                floor.handle_bytes(0, part, &mut output);
            }
            assert_eq!(String::from_utf8(output).unwrap(), expected, "fragments of {fragment}");
            assert!(floor.rests.is_empty());
        }
    }
}
