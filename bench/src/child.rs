//! A server started for a measurement: pinned to its CPU, and stopped whatever happens.
#![allow(unsafe_code)]

use std::io::Read;
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Signal, set_parent_process_death_signal};
use rustix::thread::{CpuSet, sched_setaffinity};

use crate::error::BenchError;
use crate::target::Target;

/// A running server; killed when dropped, and by the kernel if this process dies first.
pub struct Server {
    child: Child,
    path: PathBuf,
    target: Target,
}

impl Server {
    /// Starts `path` on `cpu` with `arguments`, in which `{port}` stands for a free port, and waits until it listens.
    /// Call it from the main thread: the kernel ends the server when the thread that started it ends.
    pub fn start(path: &Path, arguments: &[&str], cpu: usize) -> Result<Server, BenchError> {
        let port = free_port()?;
        let target = Target::Tcp(([127, 0, 0, 1], port).into());
        let mut command = Command::new(path);
        command.args(arguments.iter().map(|argument| argument.replace("{port}", &port.to_string())));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut cpus = CpuSet::new();
        cpus.set(cpu);
        // SAFETY: between fork and exec the closure makes two system calls; it neither allocates nor takes a lock.
        unsafe {
            command.pre_exec(move || {
                set_parent_process_death_signal(Some(Signal::KILL))?;
                sched_setaffinity(None, &cpus)?;
                Ok(())
            });
        }
        let child =
            command.spawn().map_err(|source| BenchError::Start { path: path.to_path_buf(), source })?;
        let mut server = Server { child, path: path.to_path_buf(), target };
        server.wait_until_it_listens()?;
        Ok(server)
    }

    /// Where it listens.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    fn wait_until_it_listens(&mut self) -> Result<(), BenchError> {
        let start = Instant::now();
        loop {
            let Err(error) = self.target.connect() else { return Ok(()) };
            let ended = self.child.try_wait().map_err(BenchError::machine("cannot wait for the server"))?;
            if let Some(status) = ended {
                return Err(BenchError::Ended {
                    path: self.path.clone(),
                    status: status.to_string(),
                    output: self.error_output(),
                });
            }
            if start.elapsed() > START_TIME_MAX {
                return Err(error);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn error_output(&mut self) -> String {
        let mut output = String::new();
        if let Some(stderr) = self.child.stderr.take() {
            // What can't be read can't be shown; the exit status already says that the server failed.
            let _ = stderr.take(2000).read_to_string(&mut output);
        }
        if output.is_empty() { output } else { format!(": {}", output.trim_end()) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself; there is nothing else to stop.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port that nobody listens on at the moment.
fn free_port() -> Result<u16, BenchError> {
    let bound = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    bound.map(|address| address.port()).map_err(BenchError::machine("no free port"))
}

const START_TIME_MAX: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_and_ending_programs_are_told_apart() {
        let missing = Server::start(Path::new("/nonexistent/server"), &[], 0);
        assert!(matches!(missing, Err(BenchError::Start { .. })));
        let ending = Server::start(Path::new("/bin/sh"), &["-c", "echo no memory >&2; exit 3"], 0);
        let Err(BenchError::Ended { status, output, .. }) = ending else { panic!("it ended at once") };
        assert_eq!((status.as_str(), output.as_str()), ("exit status: 3", ": no memory"));
    }
}
