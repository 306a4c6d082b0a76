//! A server started for a measurement: pinned to its CPUs, and stopped whatever happens.
//!
//! ```text
//! ringbench compare --fork--> ringbench launch --exec--> the server     (one process, one pid)
//!                             pins itself, asks to die with its parent
//! ```
//!
//! The step between is this program again, because what a child does to itself before `exec` is safe code only in a
//! process of its own.

use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use clap::Args;
use rustix::process::{Pid, Signal, getppid, kill_process, set_parent_process_death_signal};

use crate::error::BenchError;
use crate::process::pin_thread;
use crate::target::Target;

/// Options of `ringbench launch`, the step between fork and exec.
#[derive(Args, Debug)]
pub struct LaunchArgs {
    /// Where the program may run; anywhere when not given
    #[arg(long, value_delimiter = ',')]
    cpus: Vec<usize>,
    /// The process it must not outlive
    #[arg(long)]
    parent: i32,
    /// The program and its arguments
    #[arg(last = true, required = true)]
    program: Vec<OsString>,
}

/// Becomes the program; comes back only when that fails.
pub fn launch(args: &LaunchArgs) -> Result<(), BenchError> {
    if !args.cpus.is_empty() {
        pin_thread(&args.cpus)?;
    }
    set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(BenchError::machine("cannot ask for a signal when the parent ends"))?;
    // The parent may have ended before the signal was asked for.
    if getppid().map(|pid| pid.as_raw_nonzero().get()) != Some(args.parent) {
        return Err(BenchError::Usage("the parent process has ended".to_string()));
    }
    let (program, arguments) = args.program.split_first().expect("the command line requires one");
    let source = Command::new(program).args(arguments).exec();
    Err(BenchError::Start { path: PathBuf::from(program), source })
}

/// A running server; killed when dropped, and by the kernel if this process dies first.
pub struct Server {
    child: Child,
    path: PathBuf,
    target: Target,
}

impl Server {
    /// Starts `path` on `cpus` (empty: on any) with `arguments`, in which `{port}` stands for a free port, and waits until it listens.
    /// Call it from the main thread: the kernel ends the server when the thread that started it ends.
    pub fn start(path: &Path, arguments: &[&str], cpus: &[usize]) -> Result<Server, BenchError> {
        let port = free_port()?;
        let target = Target::Tcp(([127, 0, 0, 1], port).into());
        let arguments: Vec<String> =
            arguments.iter().map(|argument| argument.replace("{port}", &port.to_string())).collect();
        Server::launch(target, path, &arguments, cpus, Stdio::piped())
    }

    /// Starts `path`, which is going to listen at `target`, on any CPU, and waits until it does. What it says goes to
    /// `log`. From the main thread, as above.
    pub fn start_at(
        target: Target,
        path: &Path,
        arguments: &[String],
        log: File,
    ) -> Result<Server, BenchError> {
        Server::launch(target, path, arguments, &[], Stdio::from(log))
    }

    fn launch(
        target: Target,
        path: &Path,
        arguments: &[String],
        cpus: &[usize],
        errors: Stdio,
    ) -> Result<Server, BenchError> {
        let launcher = std::env::current_exe().map_err(BenchError::machine("cannot find this program"))?;
        let mut command = Command::new(launcher);
        command.args(["launch", "--parent", &std::process::id().to_string()]);
        command.args(cpus.iter().map(|cpu| format!("--cpus={cpu}")));
        command.arg("--");
        command.arg(path);
        command.args(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors);
        let child = command.spawn().map_err(BenchError::machine("cannot start a process"))?;
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

    /// Sends a signal and waits for the end of the process, which must be an orderly one.
    pub fn end_by(mut self, signal: Signal) -> Result<(), BenchError> {
        self.signal(signal)?;
        let status = self.child.wait().map_err(BenchError::machine("cannot wait for the server"))?;
        if status.success() {
            return Ok(());
        }
        let (path, output) = (self.path.clone(), self.error_output());
        Err(BenchError::Ended { path, status: status.to_string(), output })
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) -> Result<(), BenchError> {
        kill_process(Pid::from_child(&self.child), signal)
            .map_err(BenchError::machine("cannot signal the server"))
    }

    /// Whether it has not ended by itself.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
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
