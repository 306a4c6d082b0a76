//! What a node says of itself on its admin socket, and what it is told there.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::error::BenchError;

/// The admin socket of a node.
#[derive(Clone, Debug)]
pub struct Admin {
    socket: PathBuf,
}

impl Admin {
    /// At this path.
    pub fn new(socket: PathBuf) -> Admin {
        Admin { socket }
    }

    /// What `ringctl --json status` shows.
    pub fn status(&self) -> Result<Value, BenchError> {
        self.ask(&json!({ "command": "status" }))
    }

    /// Has the node follow the primary at `address`.
    pub fn replicate(&self, address: &str) -> Result<(), BenchError> {
        self.ask(&json!({ "command": "replicate", "of": address })).map(drop)
    }

    /// Has a replica become a primary.
    pub fn promote(&self) -> Result<(), BenchError> {
        self.ask(&json!({ "command": "promote" })).map(drop)
    }

    /// Has the node compare itself with the one at `address`.
    pub fn verify(&self, address: &str) -> Result<Value, BenchError> {
        self.ask(&json!({ "command": "verify", "with": address }))
    }

    fn ask(&self, request: &Value) -> Result<Value, BenchError> {
        let died = |source| BenchError::Died { source: Some(source) };
        let mut stream = UnixStream::connect(&self.socket).map_err(died)?;
        stream.set_read_timeout(Some(ANSWER_TIME_MAX)).map_err(died)?;
        stream.write_all(format!("{request}\n").as_bytes()).map_err(died)?;
        let mut answers = BufReader::new(stream);
        loop {
            let mut answer = String::new();
            answers.read_line(&mut answer).map_err(died)?;
            let mut reply: Value = serde_json::from_str(&answer).unwrap_or_default();
            match reply["event"].as_str() {
                Some("progress") => {}
                Some("done") => return Ok(reply["result"].take()),
                _ => return Err(BenchError::NotAReply { request: "an operator", reply: answer }),
            }
        }
    }

    /// Where replicas connect.
    pub fn replication_address(&self) -> Result<String, BenchError> {
        Ok(format!("127.0.0.1:{}", number(&self.status()?["replication"], "port")))
    }

    /// The newest link, if there is one.
    pub fn link(&self) -> Result<Option<Value>, BenchError> {
        let links = self.status()?["replication"]["links"].take();
        Ok(links.as_array().and_then(|links| links.last().cloned()))
    }

    /// Waits until a full copy to this node is complete. Returns how many were completed on its link.
    pub fn await_copy(&self, patience: Duration) -> Result<u64, BenchError> {
        let start = Instant::now();
        loop {
            let copies = self.link()?.map_or(0, |link| number(&link, "copies"));
            if copies > 0 {
                return Ok(copies);
            }
            if start.elapsed() > patience {
                return Err(BenchError::Violated(format!("no full copy in {} s", patience.as_secs())));
            }
            std::thread::sleep(LOOK_PAUSE);
        }
    }
}

/// A count in a status; zero where it is missing.
pub fn number(value: &Value, name: &str) -> u64 {
    value[name].as_u64().unwrap_or(0)
}

/// Between two looks at a status: little beside the shortest copy that is timed.
pub const LOOK_PAUSE: Duration = Duration::from_millis(3);
const ANSWER_TIME_MAX: Duration = Duration::from_secs(15);
