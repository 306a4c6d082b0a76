//! One connection used step by step: send some requests, read all of their replies. For measurements of what a server
//! holds; `driver.rs` is the client for measurements of speed.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Write};
use std::time::Duration;

use rustix::net::sockopt;

use crate::error::BenchError;
use crate::reply::{Malformed, Piece, ReplyReader};
use crate::target::Target;

/// A blocking connection.
pub struct Client {
    stream: File,
    reader: ReplyReader,
    buffer: Vec<u8>,
}

impl Client {
    /// Connects.
    pub fn connect(target: &Target) -> Result<Client, BenchError> {
        let socket = target.connect()?;
        sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(SILENCE_MAX))
            .map_err(BenchError::machine("cannot bound the wait for a reply"))?;
        Ok(Client {
            stream: File::from(socket),
            reader: ReplyReader::default(),
            buffer: vec![0; BUFFER_BYTES],
        })
    }

    /// Sends `requests` and hands every piece of the replies to `take` until that has returned true `replies` times: a
    /// reply is complete. The requests whose replies are long come last, or both sides wait for the other to read.
    pub fn exchange(
        &mut self,
        requests: &[u8],
        mut replies: usize,
        mut take: impl FnMut(Piece<'_>) -> Result<bool, BenchError>,
    ) -> Result<(), BenchError> {
        let died = |source| BenchError::Died { source: Some(source) };
        self.stream.write_all(requests).map_err(died)?;
        while replies > 0 {
            let received = self.stream.read(&mut self.buffer).map_err(died)?;
            if received == 0 {
                return Err(BenchError::Died { source: None });
            }
            self.reader.handle_bytes(&self.buffer[..received], |piece| {
                let is_complete = take(piece).map_err(Refused::Reply)?;
                replies = replies.checked_sub(usize::from(is_complete)).ok_or(Refused::Surplus)?;
                Ok::<(), Refused>(())
            })?;
        }
        Ok(())
    }

    /// The server's `stats`.
    pub fn stats(&mut self) -> Result<HashMap<String, String>, BenchError> {
        let mut stats = HashMap::new();
        self.exchange(b"stats\r\n", 1, |piece| {
            let Piece::Line(line) = piece else { return Err(not_a_reply("stats", piece)) };
            let line = String::from_utf8_lossy(line);
            if let Some((name, value)) = line.strip_prefix("STAT ").and_then(|rest| rest.split_once(' ')) {
                stats.insert(name.to_string(), value.to_string());
            }
            Ok(line == "END")
        })?;
        Ok(stats)
    }

    /// One number of the server's `stats`.
    pub fn stat(&mut self, name: &'static str) -> Result<u64, BenchError> {
        let text = self.stats()?.remove(name).unwrap_or_default();
        text.parse()
            .map_err(|_| BenchError::NotAReply { request: "stats", reply: format!("{name} is {text:?}") })
    }
}

/// Appends `set KEY 0 TTL BYTES` and its value.
pub fn append_set(out: &mut Vec<u8>, key: &[u8], ttl_seconds: u32, value: &[u8]) {
    out.extend_from_slice(b"set ");
    out.extend_from_slice(key);
    write!(out, " 0 {ttl_seconds} {}\r\n", value.len()).expect("a vector takes every write");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// For a piece that has no place in the reply.
pub fn not_a_reply(request: &'static str, piece: Piece<'_>) -> BenchError {
    let reply = match piece {
        Piece::Line(line) => line.escape_ascii().to_string(),
        Piece::Value { key, data } => format!("value of {}, {} bytes", key.escape_ascii(), data.len()),
    };
    BenchError::NotAReply { request, reply }
}

/// Why an exchange stops in the middle.
enum Refused {
    Malformed,
    Surplus,
    Reply(BenchError),
}

impl From<Malformed> for Refused {
    fn from(_: Malformed) -> Refused {
        Refused::Malformed
    }
}

impl From<Refused> for BenchError {
    fn from(refused: Refused) -> BenchError {
        let reply = match refused {
            Refused::Reply(error) => return error,
            Refused::Malformed => "bytes that begin no reply",
            Refused::Surplus => "more replies than requests",
        };
        BenchError::NotAReply { request: "a batch", reply: reply.to_string() }
    }
}

/// A server that says nothing for so long has failed.
const SILENCE_MAX: Duration = Duration::from_secs(10);
const BUFFER_BYTES: usize = 256 << 10;

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// A server that answers whatever it is asked with `reply`, then closes.
    fn answering(reply: &'static [u8]) -> Client {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let target = Target::Tcp(listener.local_addr().unwrap());
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.read(&mut [0; 100]);
            stream.write_all(reply).unwrap();
        });
        Client::connect(&target).unwrap()
    }

    #[test]
    fn stats_are_read() {
        let mut client = answering(b"STAT pid 7\r\nSTAT version 1.6.45 x\r\nEND\r\n");
        let stats = client.stats().unwrap();
        assert_eq!((stats["pid"].as_str(), stats["version"].as_str()), ("7", "1.6.45 x"));
    }

    #[test]
    fn a_server_that_says_too_little_too_much_or_nonsense_is_an_error() {
        let exchange =
            |reply| answering(reply).exchange(b"get a\r\n", 1, |piece| Ok(piece == Piece::Line(b"END")));
        assert!(exchange(b"END\r\n").is_ok());
        assert!(matches!(exchange(b"EN"), Err(BenchError::Died { .. })));
        assert!(matches!(exchange(b"END\r\nEND\r\n"), Err(BenchError::NotAReply { .. })));
        assert!(matches!(exchange(b"\n"), Err(BenchError::NotAReply { .. })));
        assert!(matches!(answering(b"END\r\n").stat("pid"), Err(BenchError::NotAReply { .. })));
    }
}
