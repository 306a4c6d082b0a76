//! Nodes that follow each other.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::admin::Admin;
use crate::child::Server;
use crate::compare::setup::Setup;
use crate::error::BenchError;
use crate::load::{Plan, preload};
use crate::target::Target;

/// Where nodes keep their sockets and names; removed when dropped.
pub struct Folder(PathBuf);

impl Folder {
    /// A new one of this process.
    pub fn new() -> Result<Folder, BenchError> {
        let path = std::env::temp_dir().join(format!("ringbench-{}", std::process::id()));
        std::fs::create_dir_all(&path).map_err(BenchError::machine("cannot make a folder for sockets"))?;
        Ok(Folder(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left in a folder for temporary files harms nobody.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// How a node is started.
pub struct Start<'a> {
    /// Names its files; no two nodes at once have the same.
    pub name: &'a str,
    /// Where it may run.
    pub cpu: usize,
    /// `-m`.
    pub memory_mib: usize,
    /// It gives way to everything else on its CPU.
    pub gives_way: bool,
    /// More arguments.
    pub more: &'a [&'a str],
}

/// A running node with one worker.
pub struct Node {
    /// Stopped when dropped.
    pub server: Server,
    /// Its operator.
    pub admin: Admin,
}

impl Node {
    /// Starts a node. From the main thread only.
    pub fn start(setup: &Setup, folder: &Folder, start: &Start<'_>) -> Result<Node, BenchError> {
        let file = |kind: &str| folder.0.join(format!("{}.{kind}", start.name));
        let socket = file("socket");
        let line = format!(
            "-l 127.0.0.1 -p {{port}} -t 1 -m {} -c 1024 --admin-socket {} --node-file {}",
            start.memory_mib,
            socket.display(),
            file("name").display()
        );
        let program = setup.ringcached.display().to_string();
        // Niceness would not do: a client that is woken waits for the rest of its slice.
        let polite = ["--idle", "0", &program];
        let mut arguments: Vec<&str> = if start.gives_way { polite.to_vec() } else { Vec::new() };
        arguments.extend(line.split(' '));
        arguments.extend(start.more);
        let path = if start.gives_way { Path::new("chrt") } else { &setup.ringcached };
        let server = Server::start(path, &arguments, &[start.cpu])?;
        Ok(Node { server, admin: Admin::new(socket) })
    }

    /// Starts a node that replicas may follow, on the servers' CPU.
    pub fn primary(
        setup: &Setup,
        folder: &Folder,
        name: &str,
        memory_mib: usize,
        more: &[&str],
    ) -> Result<Node, BenchError> {
        let more = [&["--replication-port", "-1"], more].concat();
        let start = Start { name, cpu: setup.server_cpu, memory_mib, gives_way: false, more: &more };
        Node::start(setup, folder, &start)
    }

    /// Starts a replica of `source`, beside the client, and waits until its copy is complete.
    pub fn replica(
        setup: &Setup,
        folder: &Folder,
        name: &str,
        source: &str,
        memory_mib: usize,
        more: &[&str],
    ) -> Result<Node, BenchError> {
        let more = [&["--replica-of", source], more].concat();
        let start = Start { name, cpu: setup.client_cpu, memory_mib, gives_way: false, more: &more };
        let node = Node::start(setup, folder, &start)?;
        node.admin.await_copy(COPY_TIME_MAX)?;
        Ok(node)
    }

    /// Stores the keys of `plan`.
    pub fn fill(&self, plan: &Plan) -> Result<(), BenchError> {
        preload(self.target(), plan)
    }

    /// Where clients connect.
    pub fn target(&self) -> &Target {
        self.server.target()
    }
}

/// No copy here takes so long.
pub const COPY_TIME_MAX: Duration = Duration::from_secs(60);
