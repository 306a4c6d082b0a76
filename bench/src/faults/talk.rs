//! A connection to a node that is used line by line: deeds and their answers, and everything that the node shows.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::net::sockopt;

use super::ledger::{Answer, Deed, Outcome};
use super::records::{Shown, key, recognize, render};
use crate::error::BenchError;
use crate::target::Target;

/// A connection.
pub struct Talk {
    stream: BufReader<File>,
}

/// What a line of a dump says of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    expires: String,
    /// The version.
    cas: String,
}

impl Talk {
    /// Connects; no answer may take longer than `patience`.
    pub fn connect(target: &Target, patience: Duration) -> Result<Talk, BenchError> {
        let socket = target.connect()?;
        sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(patience))
            .map_err(BenchError::machine("cannot bound the wait for an answer"))?;
        Ok(Talk { stream: BufReader::with_capacity(BUFFER_BYTES, File::from(socket)) })
    }

    /// Sends `bytes`.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.get_mut().write_all(bytes)
    }

    /// The answer to `deed` on key `number`. Errors within: an answer that is none.
    pub fn receive(&mut self, number: u32, deed: Deed) -> io::Result<Result<Outcome, String>> {
        let line = self.line()?;
        if line.starts_with("SERVER_ERROR write in doubt") {
            return Ok(Ok(Outcome::Doubt));
        }
        let refusals = ["SERVER_ERROR not enough replicas", "SERVER_ERROR this node is a replica"];
        if refusals.iter().any(|refusal| line.starts_with(refusal)) {
            return Ok(Ok(Outcome::Refused));
        }
        let answer = match (deed, line.as_str()) {
            (Deed::Set(..), "STORED")
            | (Deed::Delete, "DELETED")
            | (Deed::Touch(_), "TOUCHED")
            | (Deed::Flush, "OK") => Ok(Answer::Done),
            (Deed::Delete | Deed::Touch(_) | Deed::Count(_), "NOT_FOUND") => Ok(Answer::NotFound),
            (Deed::Count(_), digits) if digits.parse::<u64>().is_ok() => {
                Ok(Answer::Number(digits.parse().expect("looked at just before")))
            }
            (Deed::Read, _) => match self.shown(&line)? {
                Ok(shown) => recognize(number, shown.as_ref()).map(Answer::Shown),
                Err(strange) => Err(strange),
            },
            _ => Err(format!("{deed:?} of {} was answered {line:?}", key(number))),
        };
        Ok(answer.map(|answer| Outcome::Acked(answer, unix_millis())))
    }

    /// What is shown under each of `numbers`.
    pub fn read(&mut self, numbers: impl Iterator<Item = u32>) -> io::Result<Vec<(u32, Option<Shown>)>> {
        let numbers: Vec<u32> = numbers.collect();
        let mut seen = Vec::with_capacity(numbers.len());
        for numbers in numbers.chunks(BATCH) {
            let mut requests = Vec::new();
            numbers.iter().for_each(|number| append(&mut requests, *number, Deed::Read));
            self.send(&requests)?;
            for number in numbers {
                let line = self.line()?;
                let shown = self.shown(&line)?.map_err(io::Error::other)?;
                seen.push((*number, shown));
            }
        }
        Ok(seen)
    }

    /// Every key with what a dump says of it.
    pub fn list(&mut self) -> io::Result<BTreeMap<String, Listed>> {
        self.send(b"lru_crawler metadump hash\r\n")?;
        let mut listed = BTreeMap::new();
        loop {
            let line = self.line()?;
            match line.as_str() {
                "END" => return Ok(listed),
                "OK" => continue,
                _ => {}
            }
            let field = |name: &str| {
                let found = line.split(' ').find_map(|field| field.strip_prefix(name)?.strip_prefix('='));
                found.map(str::to_string).ok_or_else(|| io::Error::other(format!("no {name} in {line:?}")))
            };
            listed.insert(field("key")?, Listed { expires: field("exp")?, cas: field("cas")? });
        }
    }

    /// A number of `stats`.
    pub fn stat(&mut self, name: &str) -> io::Result<u64> {
        self.send(b"stats\r\n")?;
        let mut number = None;
        loop {
            let line = self.line()?;
            match line.split(' ').collect::<Vec<_>>()[..] {
                ["END"] => return number.ok_or_else(|| io::Error::other(format!("no {name} in stats"))),
                ["STAT", stat, value] if stat == name => number = value.parse().ok(),
                _ => {}
            }
        }
    }

    /// The rest of an answer to `mg` that begins with `line`. Errors within: an answer that is none.
    fn shown(&mut self, line: &str) -> io::Result<Result<Option<Shown>, String>> {
        if line == "EN" {
            return Ok(Ok(None));
        }
        let strange = || format!("mg was answered {line:?}");
        let words: Vec<&str> = line.split(' ').collect();
        let ["VA", bytes, flags, left] = words[..] else { return Ok(Err(strange())) };
        let number = |word: &str, mark: &str| word.strip_prefix(mark)?.parse::<i64>().ok();
        let (Some(bytes), Some(flags), Some(left)) =
            (number(bytes, ""), number(flags, "f"), number(left, "t"))
        else {
            return Ok(Err(strange()));
        };
        let mut value = vec![0; bytes as usize + 2];
        self.stream.read_exact(&mut value)?;
        value.truncate(bytes as usize);
        let expires = if left < 0 { 0 } else { unix_millis() / 1000 + left as u64 };
        Ok(Ok(Some(Shown { value, flags: flags as u32, expires })))
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        self.stream.read_line(&mut line)?;
        // Lines of a dump end as memcached's do, without a return.
        let line = line.strip_suffix('\n').ok_or(io::ErrorKind::UnexpectedEof)?;
        Ok(line.strip_suffix('\r').unwrap_or(line).to_string())
    }
}

/// Appends the request of `deed` on key `number`.
pub fn append(out: &mut Vec<u8>, number: u32, deed: Deed) {
    let key = key(number);
    let written = match deed {
        Deed::Set(what, expires) => {
            let (value, flags) = render(number, what);
            let head = write!(out, "set {key} {flags} {expires} {}\r\n", value.len());
            out.extend_from_slice(&value);
            head.and_then(|()| out.write_all(b"\r\n"))
        }
        Deed::Delete => write!(out, "delete {key}\r\n"),
        Deed::Touch(expires) => write!(out, "touch {key} {expires}\r\n"),
        Deed::Count(by) => write!(out, "incr {key} {by}\r\n"),
        Deed::Flush => write!(out, "flush_all\r\n"),
        Deed::Read => write!(out, "mg {key} v f t\r\n"),
    };
    written.expect("a vector takes every write");
}

/// The wall clock, which the nodes' versions are made of.
pub fn unix_millis() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

const BUFFER_BYTES: usize = 64 << 10;
/// Keys that are asked for at once: their requests fit a socket's buffer, so that both sides never wait for each other.
const BATCH: usize = 200;
