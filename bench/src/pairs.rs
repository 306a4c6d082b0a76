//! `ringbench pairs`: does a connection read its own writes? Each pair is a set and a get of the same key, pipelined, with
//! a value that never repeats.

use std::fs::File;
use std::io::{Read, Write};
use std::time::{Duration, Instant};

use clap::Args;
use rustix::net::sockopt;
use serde_json::json;

use crate::error::BenchError;
use crate::report;
use crate::target::Target;

/// Options of `ringbench pairs`.
#[derive(Args, Debug)]
pub struct PairsArgs {
    /// The server: HOST:PORT or unix:PATH
    #[arg(long)]
    server: Target,
    /// How many sets, each with its get
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    pairs: u64,
    /// Pairs that are sent before the first reply is read
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..=1000))]
    depth: u64,
    /// Number of different keys
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    keys: u64,
    /// Report as JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command; exit code 1 where a read missed its write.
pub fn run(args: &PairsArgs) -> Result<(), BenchError> {
    let socket = args.server.connect()?;
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(SILENCE_MAX))
        .map_err(BenchError::machine("cannot bound the wait for a reply"))?;
    let mut stream = File::from(socket);
    let start = Instant::now();
    let violations = check_pairs(&mut stream, args)?;
    let seconds = start.elapsed().as_secs_f64();
    if args.json {
        let report = json!({"pairs": args.pairs, "violations": violations.count, "seconds": seconds});
        report::print(&format!("{report:#}"))?;
    } else {
        let rate = args.pairs as f64 / seconds;
        let pairs = format!("pairs         {} in {seconds:.2} s: {rate:.0}/s", args.pairs);
        report::print(&format!("{pairs}\nviolations    {}", violations.count))?;
    }
    if violations.count == 0 {
        return Ok(());
    }
    Err(BenchError::Violated(format!(
        "{} reads did not see their write; {}",
        violations.count, violations.first
    )))
}

#[derive(Default)]
struct Violations {
    count: u64,
    first: String,
}

impl Violations {
    fn add(&mut self, expected: &[u8], received: &[u8]) {
        self.count += 1;
        if self.first.is_empty() {
            self.first = format!(
                "expected {:?}, received {:?}",
                expected.escape_ascii().to_string(),
                received.escape_ascii().to_string()
            );
        }
    }
}

/// Sends `depth` pairs, reads their replies, and so on. Every reply's bytes are known beforehand.
fn check_pairs(stream: &mut (impl Read + Write), args: &PairsArgs) -> Result<Violations, BenchError> {
    let (mut requests, mut expected, mut received) = (Vec::new(), Vec::new(), Vec::new());
    let mut ends = Vec::new();
    let mut violations = Violations::default();
    let mut pair = 0;
    while pair < args.pairs {
        requests.clear();
        expected.clear();
        ends.clear();
        for number in pair..(pair + args.depth).min(args.pairs) {
            append_pair(number, args.keys, &mut requests, &mut expected);
            ends.push(expected.len());
        }
        stream.write_all(&requests).map_err(died)?;
        received.resize(expected.len(), 0);
        stream.read_exact(&mut received).map_err(died)?;
        let mut begin = 0;
        for end in &ends {
            if received[begin..*end] != expected[begin..*end] {
                violations.add(&expected[begin..*end], &received[begin..*end]);
            }
            begin = *end;
        }
        pair += ends.len() as u64;
    }
    Ok(violations)
}

/// All values have one length, so that a stale one does not shift the replies behind it.
fn append_pair(number: u64, keys: u64, requests: &mut Vec<u8>, expected: &mut Vec<u8>) {
    let key = number % keys;
    write!(requests, "set pair:{key} 0 0 20\r\n{number:020}\r\nget pair:{key}\r\n").expect(VECTOR);
    write!(expected, "STORED\r\nVALUE pair:{key} 0 20\r\n{number:020}\r\nEND\r\n").expect(VECTOR);
}

fn died(source: std::io::Error) -> BenchError {
    BenchError::Died { source: Some(source) }
}

/// A server that says nothing for so long while pairs are open has failed.
const SILENCE_MAX: Duration = Duration::from_secs(10);
const VECTOR: &str = "a vector takes every write";

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers from a map, but the read of one pair is stale.
    struct Stale {
        replies: Vec<u8>,
        stale: u64,
    }

    impl Write for Stale {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            let text = std::str::from_utf8(bytes).unwrap();
            let mut lines = text.split("\r\n");
            while let (Some(set), Some(value), Some(_)) = (lines.next(), lines.next(), lines.next()) {
                let key = set.split(' ').nth(1).unwrap();
                let number: u64 = value.parse().unwrap();
                let seen = if number == self.stale { number - 1 } else { number };
                write!(self.replies, "STORED\r\nVALUE {key} 0 20\r\n{seen:020}\r\nEND\r\n")?;
            }
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    impl Read for Stale {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            let count = buffer.len().min(self.replies.len());
            buffer[..count].copy_from_slice(&self.replies[..count]);
            self.replies.drain(..count);
            Ok(count)
        }
    }

    #[test]
    fn one_stale_read_is_one_violation() {
        let server = "127.0.0.1:1".parse().unwrap();
        let args = PairsArgs { server, pairs: 1000, depth: 7, keys: 3, json: false };
        for (stale, count) in [(500, 1), (u64::MAX, 0)] {
            let violations = check_pairs(&mut Stale { replies: Vec::new(), stale }, &args).unwrap();
            assert_eq!(violations.count, count, "{}", violations.first);
        }
    }
}
