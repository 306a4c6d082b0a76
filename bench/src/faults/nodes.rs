//! Nodes that are killed, stopped and started again, each with a line of its own to whom it follows.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use super::namespace::Namespace;
use crate::admin::{Admin, LOOK_PAUSE, number};
use crate::child::Server;
use crate::error::BenchError;
use crate::interference::Proxy;
use crate::target::Target;

/// How a node is started, each time.
pub struct Start<'a> {
    /// The program.
    pub ringcached: &'a Path,
    /// Where its sockets, its name and its log are.
    pub folder: &'a Path,
    /// Names its files.
    pub name: String,
    /// `-t`
    pub workers: u32,
    /// More flags.
    pub flags: Vec<String>,
    /// Whom it is apart from: its host in their common network, and whether it lives in the namespace.
    pub namespace: Option<(&'a Namespace, bool)>,
}

/// A node.
pub struct Node {
    program: PathBuf,
    arguments: Vec<String>,
    socket: PathBuf,
    log: PathBuf,
    host: String,
    /// Its operator.
    pub admin: Admin,
    /// How many workers it has.
    pub workers: u32,
    /// The line that it follows others over; none where the network itself is one.
    pub line: Option<Proxy>,
    /// Its name among nodes.
    pub identity: String,
    server: Option<Server>,
    is_stopped: bool,
}

impl Node {
    /// Starts a node that follows the one at `source`, over `line` where there is one, or nobody. From the main thread
    /// only.
    pub fn start(start: Start<'_>, line: Option<Proxy>, source: Option<&str>) -> Result<Node, BenchError> {
        let Start { ringcached, folder, name, workers, flags, namespace } = start;
        let file = |kind: &str| folder.join(format!("{name}.{kind}"));
        let host = namespace.map_or("127.0.0.1".to_string(), |(namespace, inside)| namespace.host(inside));
        let (socket, admin) = (file("socket"), file("admin"));
        let flags_of_all = format!(
            "-s {} -l {host} -t {workers} -m {MEMORY_MIB} -c 256 -v --admin-socket {} --node-file {} \
             --replication-port -1",
            socket.display(),
            admin.display(),
            file("name").display()
        );
        let mut arguments: Vec<String> = flags_of_all.split(' ').map(str::to_string).collect();
        arguments.extend(flags);
        let mut program = ringcached.to_path_buf();
        if let Some((namespace, true)) = namespace {
            program = PathBuf::from("ip");
            let inside = ["netns", "exec", namespace.name(), &ringcached.display().to_string()];
            arguments.splice(0..0, inside.map(str::to_string));
        }
        let mut node = Node {
            program,
            arguments,
            socket,
            log: file("log"),
            host,
            admin: Admin::new(admin),
            workers,
            line,
            identity: String::new(),
            server: None,
            is_stopped: false,
        };
        node.restart(source)?;
        node.identity = node.replication()?["node"].as_str().unwrap_or_default().to_string();
        Ok(node)
    }

    /// Starts it again, without any record. From the main thread only.
    pub fn restart(&mut self, source: Option<&str>) -> Result<(), BenchError> {
        let mut arguments = self.arguments.clone();
        if let Some(source) = source {
            arguments.extend(["--replica-of".to_string(), self.way_to(source)]);
        }
        let failed = BenchError::machine("cannot write a log");
        let log = OpenOptions::new().create(true).append(true).open(&self.log).map_err(failed)?;
        // What a killed one leaves would answer for the new one.
        let _ = fs::remove_file(&self.socket);
        self.server = Some(Server::start_at(self.target(), &self.program, &arguments, log)?);
        // Operators are let in a moment later than clients.
        let begun = Instant::now();
        while self.admin.status().is_err() && begun.elapsed() < START_TIME_MAX {
            std::thread::sleep(LOOK_PAUSE);
        }
        Ok(())
    }

    /// Follows the node at `source`.
    pub fn follow(&mut self, source: &str) -> Result<(), BenchError> {
        let way = self.way_to(source);
        self.admin.replicate(&way)
    }

    fn way_to(&self, source: &str) -> String {
        let Some(line) = &self.line else { return source.to_string() };
        line.aim(source);
        line.address().to_string()
    }

    /// kill -9.
    pub fn kill(&mut self) {
        self.server = None;
        self.is_stopped = false;
    }

    /// SIGSTOP.
    pub fn stop(&mut self) -> Result<(), BenchError> {
        self.is_stopped = true;
        self.signal(Signal::STOP)
    }

    /// SIGCONT.
    pub fn go_on(&mut self) -> Result<(), BenchError> {
        self.is_stopped = false;
        self.signal(Signal::CONT)
    }

    fn signal(&self, signal: Signal) -> Result<(), BenchError> {
        self.server.as_ref().map_or(Ok(()), |server| server.signal(signal))
    }

    /// It can be asked something.
    pub fn is_awake(&self) -> bool {
        self.server.is_some() && !self.is_stopped
    }

    /// It has ended although nobody killed it.
    pub fn has_failed(&mut self) -> bool {
        self.server.as_mut().is_some_and(|server| !server.is_running())
    }

    /// Where clients connect.
    pub fn target(&self) -> Target {
        Target::Unix(self.socket.clone())
    }

    /// Where replicas connect.
    pub fn address(&self) -> Result<String, BenchError> {
        Ok(format!("{}:{}", self.host, number(&self.replication()?, "port")))
    }

    /// What it says of its replication.
    pub fn replication(&self) -> Result<Value, BenchError> {
        Ok(self.admin.status()?["replication"].take())
    }

    /// What it has said.
    pub fn log(&self) -> Told {
        Told(fs::read_to_string(&self.log).unwrap_or_default())
    }
}

/// A node's log.
pub struct Told(String);

impl Told {
    /// Full copies that it has begun to send, by cause.
    pub fn full_copies(&self) -> BTreeMap<String, u64> {
        let mut causes = BTreeMap::new();
        for line in self.0.lines().filter(|line| line.contains("a full copy begins")) {
            let cause = line.split('"').nth(1).unwrap_or("unknown");
            *causes.entry(cause.to_string()).or_default() += 1;
        }
        causes
    }

    /// Links of replicas that went on where they were.
    pub fn resumes(&self) -> u64 {
        self.0.lines().filter(|line| line.contains("a replica goes on: After")).count() as u64
    }

    /// Its last words, where it has panicked.
    pub fn panic(&self) -> Option<String> {
        let at = self.0.find("panicked at")?;
        Some(self.0[at..].lines().take(3).collect::<Vec<_>>().join(" "))
    }
}

const START_TIME_MAX: Duration = Duration::from_secs(5);
/// Nothing is evicted from so much.
const MEMORY_MIB: u32 = 192;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_tells_of_copies_and_resumes() {
        let told = Told(
            "INFO a replica goes on: Copy(New) shard=0\nINFO a full copy begins cause=\"new\"\n\
             INFO a replica goes on: After(Version(7)) shard=1\nINFO a full copy begins cause=\"new\"\n"
                .to_string(),
        );
        assert_eq!((told.full_copies()["new"], told.resumes(), told.panic()), (2, 1, None));
        assert!(Told("thread 'x' panicked at a.rs:1:\nwhy\n".to_string()).panic().unwrap().ends_with("why"));
    }
}
