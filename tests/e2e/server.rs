//! Starts a server of its own for a test and takes it down again: the `ringcached` just built, or the stock
//! `memcached` as a peer to compare with.
//!
//! Each server listens on loopback, on a port that the kernel chose or on a Unix socket in a directory of its own,
//! so that tests run side by side. It is stopped by its process id when the value is dropped.

#![allow(dead_code, reason = "each test binary that includes this file uses its own part of it")]

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Longest wait for a reply. A failing test waits this long once; a passing one never does.
pub const REPLY_TIMEOUT: Duration = Duration::from_secs(20);

const START_TIMEOUT: Duration = Duration::from_secs(20);

/// Where a server is reached.
#[derive(Clone, Debug)]
pub enum Address {
    /// A port on loopback.
    Tcp(SocketAddr),
    /// A Unix socket.
    Unix(PathBuf),
}

/// How a server shall listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// `-p -1`: a port that the kernel chooses.
    Tcp,
    /// `-s`.
    Unix,
}

/// A running server; dropping it kills the process.
pub struct Server {
    child: Child,
    address: Address,
    directory: Directory,
}

impl Server {
    /// Starts `ringcached` with `flags` on a port of its own.
    pub fn ringcached(flags: &[&str]) -> Server {
        Server::ringcached_on(Transport::Tcp, flags)
    }

    /// Starts `ringcached` with `flags`, listening as `transport` says.
    pub fn ringcached_on(transport: Transport, flags: &[&str]) -> Server {
        Server::start(Command::new(ringcached_path()), transport, None, flags)
    }

    /// Starts `ringcached` with `flags` and a variable of the environment that names a file.
    pub fn ringcached_with_file(variable: &str, file: &Path, flags: &[&str]) -> Server {
        let mut command = Command::new(ringcached_path());
        command.env(variable, file);
        Server::start(command, Transport::Tcp, None, flags)
    }

    /// Starts `ringcached` on the Unix socket `path`.
    pub fn ringcached_at(path: &Path) -> Server {
        Server::start(Command::new(ringcached_path()), Transport::Unix, Some(path), &[])
    }

    /// Starts the stock `memcached` with `flags`, or says that it is missing. In CI it must be there.
    pub fn memcached(flags: &[&str]) -> Option<Server> {
        let program = peer_program("memcached")?;
        let mut command = Command::new(program);
        if is_root() {
            command.args(["-u", "root"]);
        }
        command.args(["-U", "0"]);
        Some(Server::start(command, Transport::Tcp, None, flags))
    }

    fn start(mut command: Command, transport: Transport, socket: Option<&Path>, flags: &[&str]) -> Server {
        let directory = Directory::create();
        let port_file = directory.path().join("ports");
        let socket = socket.map_or_else(|| directory.path().join("socket"), Path::to_owned);
        match transport {
            Transport::Tcp => {
                command.args(["-l", "127.0.0.1", "-p", "-1"]).env("MEMCACHED_PORT_FILENAME", &port_file)
            }
            Transport::Unix => command.arg("-s").arg(&socket),
        };
        if command.get_program() == ringcached_path() {
            // A killed server leaves it behind; the directory takes it away.
            command.arg("--admin-socket").arg(directory.path().join("admin"));
        }
        let errors = fs::File::create(directory.path().join("stderr")).expect("the directory was just made");
        command.args(flags).stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors);
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?} does not start: {error}"));
        // Where connections are encrypted, a question in plain text would be one too many in the statistics.
        let is_ready: fn(&Address) -> bool =
            if flags.contains(&"-Z") { |address| Connection::open(address).is_ok() } else { answers };
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            let address = match transport {
                Transport::Tcp => {
                    tcp_ports(&port_file).first().map(|&port| Address::Tcp(([127, 0, 0, 1], port).into()))
                }
                Transport::Unix => Some(Address::Unix(socket.clone())),
            };
            if let Some(address) = address.filter(is_ready) {
                return Server { child, address, directory };
            }
            if let Some(status) = child.try_wait().expect("the child is ours") {
                panic!("{command:?} ended with {status}: {}", directory.read("stderr"));
            }
            if Instant::now() > deadline {
                child.kill().expect("the child is ours");
                panic!("{command:?} does not answer: {}", directory.read("stderr"));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Where it is reached.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// The port of a server on TCP.
    pub fn port(&self) -> u16 {
        match &self.address {
            Address::Tcp(address) => address.port(),
            Address::Unix(path) => panic!("{} has no port", path.display()),
        }
    }

    /// The ports of all its addresses, in the order of the port file.
    pub fn ports(&self) -> Vec<u16> {
        tcp_ports(&self.directory.path().join("ports"))
    }

    /// The port for datagrams of its first IPv4 address.
    pub fn udp_port(&self) -> u16 {
        self.udp_ports("UDP INET: ")[0]
    }

    /// The ports in the lines of the port file that begin so.
    pub fn udp_ports(&self, lines: &str) -> Vec<u16> {
        ports(&self.directory.path().join("ports"), lines)
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A new connection.
    pub fn connect(&self) -> Connection {
        Connection::open(&self.address).expect("a running server accepts")
    }

    /// Everything that it wrote to its standard error so far.
    pub fn stderr(&self) -> String {
        self.directory.read("stderr")
    }

    /// The value of `name` in the general `stats`.
    pub fn stat(&self, name: &str) -> String {
        self.connect().stat("stats", name).unwrap_or_else(|| panic!("`stats` has no {name}"))
    }

    /// As [`Server::stat`], as a number.
    pub fn stat_number(&self, name: &str) -> u64 {
        let value = self.stat(name);
        value.parse().unwrap_or_else(|_| panic!("{name} is {value}"))
    }

    /// Sends a signal by its name, as `kill` spells it.
    pub fn signal(&self, name: &str) {
        let pid = self.pid().to_string();
        let status = Command::new("kill").args(["-s", name, &pid]).status().expect("kill is everywhere");
        assert!(status.success(), "kill -s {name} {pid}");
    }

    /// Limits its open files while it runs.
    pub fn limit_descriptors(&self, count: usize) {
        let (pid, limit) = (self.pid().to_string(), format!("--nofile={count}:"));
        let status =
            Command::new("prlimit").args(["--pid", &pid, &limit]).status().expect("util-linux is everywhere");
        assert!(status.success(), "prlimit {limit}");
    }

    /// Waits for the end of the process.
    pub fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            if let Some(status) = self.child.try_wait().expect("the child is ours") {
                return status;
            }
            assert!(Instant::now() < deadline, "the server does not end: {}", self.stderr());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Whether the process still runs.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("the child is ours").is_none()
    }

    /// Resident memory in bytes.
    pub fn resident_bytes(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("the server runs");
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("a running process has it");
        let kib: u64 = line.split_whitespace().nth(1).expect("a number follows").parse().expect("in KiB");
        kib * 1024
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail only where the process has already ended, which some tests are about.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("standard error of the server on {:?}:\n{}", self.address, self.stderr());
        }
    }
}

/// A directory below the system's temporary one, removed when dropped.
pub struct Directory(PathBuf);

impl Directory {
    /// Makes an empty one.
    pub fn create() -> Directory {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("ringcache-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).expect("the temporary directory is writable");
        Directory(path)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.0.join(name)).unwrap_or_default()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// One client connection, TCP or Unix. Reads end with an error after [`REPLY_TIMEOUT`].
#[derive(Debug)]
pub struct Connection {
    stream: BufReader<Stream>,
}

impl Connection {
    /// Connects to `address`.
    pub fn open(address: &Address) -> io::Result<Connection> {
        let stream = match address {
            Address::Tcp(address) => {
                let stream = TcpStream::connect(address)?;
                // Small pieces shall travel alone.
                stream.set_nodelay(true)?;
                Stream::Tcp(stream)
            }
            Address::Unix(path) => Stream::Unix(UnixStream::connect(path)?),
        };
        stream.set_timeouts(REPLY_TIMEOUT)?;
        Ok(Connection { stream: BufReader::new(stream) })
    }

    /// A second handle of the same connection, for a thread that sends while another receives.
    pub fn another_handle(&self) -> Connection {
        let stream = match self.stream.get_ref() {
            Stream::Tcp(stream) => stream.try_clone().map(Stream::Tcp),
            Stream::Unix(stream) => stream.try_clone().map(Stream::Unix),
        };
        Connection { stream: BufReader::new(stream.expect("a socket can be duplicated")) }
    }

    /// Ends the sending direction: the server sees the end of the stream.
    pub fn end_sending(&self) {
        match self.stream.get_ref() {
            Stream::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Stream::Unix(stream) => stream.shutdown(Shutdown::Write),
        }
        .expect("the connection is open");
    }

    /// Changes how long a read or a write waits.
    pub fn set_timeouts(&self, timeout: Duration) {
        self.stream.get_ref().set_timeouts(timeout).expect("a positive time");
    }

    /// Sends all of `bytes`.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes).expect("the server takes what is sent");
    }

    /// Sends all of `bytes`, or says why that did not work.
    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.get_mut().write_all(bytes.as_ref())
    }

    /// Receives exactly `count` bytes; fewer when the server closes or stays silent.
    pub fn receive(&mut self, count: usize) -> Vec<u8> {
        let mut received = Vec::with_capacity(count);
        // An error ends the reply as a close does: the caller sees what is missing.
        let _ = self.stream.by_ref().take(count as u64).read_to_end(&mut received);
        received
    }

    /// Receives up to and with the first line that ends in `end` (which ends in a newline).
    pub fn receive_until(&mut self, end: &[u8]) -> Vec<u8> {
        let mut received = Vec::new();
        while !received.ends_with(end) {
            let more = self.stream.read_until(b'\n', &mut received);
            if matches!(more, Ok(0) | Err(_)) {
                break;
            }
        }
        received
    }

    /// Receives until the server closes the connection; panics when it does not.
    pub fn receive_to_end(&mut self) -> Vec<u8> {
        let mut received = Vec::new();
        match self.stream.read_to_end(&mut received) {
            Ok(_) => received,
            // Closing a socket with unread input resets the connection, which ends it as well.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => received,
            Err(error) => panic!("not closed ({error}) after {:?}", String::from_utf8_lossy(&received)),
        }
    }

    /// Sends one command and receives its reply line, without the line end.
    pub fn ask(&mut self, command: &str) -> String {
        self.send(format!("{command}\r\n"));
        self.receive_line()
    }

    /// Receives one line, without its end.
    pub fn receive_line(&mut self) -> String {
        let line = self.receive_until(b"\r\n");
        String::from_utf8_lossy(line.strip_suffix(b"\r\n").unwrap_or(&line)).into_owned()
    }

    /// The value of `name` in a kind of statistics (`stats`, `stats settings`).
    pub fn stat(&mut self, command: &str, name: &str) -> Option<String> {
        self.send(format!("{command}\r\n"));
        let all = String::from_utf8_lossy(&self.receive_until(b"END\r\n")).into_owned();
        let prefix = format!("STAT {name} ");
        all.lines().find_map(|line| line.strip_prefix(&prefix)).map(str::to_owned)
    }
}

#[derive(Debug)]
enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    fn set_timeouts(&self, timeout: Duration) -> io::Result<()> {
        let timeout = Some(timeout);
        match self {
            Stream::Tcp(stream) => stream.set_read_timeout(timeout).and(stream.set_write_timeout(timeout)),
            Stream::Unix(stream) => stream.set_read_timeout(timeout).and(stream.set_write_timeout(timeout)),
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.read(buffer),
            Stream::Unix(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.write(bytes),
            Stream::Unix(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The server under test: the binary just built, or the one that `RINGCACHE_TEST_SERVER` names, so that the
/// transcripts can be tried on another server.
pub fn ringcached_path() -> PathBuf {
    std::env::var_os("RINGCACHE_TEST_SERVER")
        .unwrap_or_else(|| env!("CARGO_BIN_EXE_ringcached").into())
        .into()
}

/// The operator's tool, built with the server.
pub fn ringctl_path() -> PathBuf {
    env!("CARGO_BIN_EXE_ringctl").into()
}

/// Runs `ringcached` to its end, for flags that it answers or refuses. Killed when it serves instead.
pub fn run_ringcached(flags: &[&str]) -> Output {
    run(Command::new(ringcached_path()).args(flags))
}

/// As [`run_ringcached`], under a limit of `descriptors` open files.
pub fn run_limited(descriptors: u32, flags: &[&str]) -> Output {
    let script = format!("ulimit -n {descriptors} && exec \"$0\" \"$@\"");
    run(Command::new("sh").arg("-c").arg(script).arg(ringcached_path()).args(flags))
}

/// As [`run_ringcached`], for any command.
pub fn run(command: &mut Command) -> Output {
    run_within(START_TIMEOUT, command)
}

/// As [`run`], with the time that it may take.
pub fn run_within(timeout: Duration, command: &mut Command) -> Output {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?} does not start: {error}"));
    let deadline = Instant::now() + timeout;
    while child.try_wait().expect("the child is ours").is_none() {
        if Instant::now() > deadline {
            child.kill().expect("the child is ours");
            let output = child.wait_with_output().expect("the child is ours");
            panic!("{command:?} does not end: {}", String::from_utf8_lossy(&output.stderr));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    child.wait_with_output().expect("the child is ours")
}

/// The peer program's path; `None`, with a loud line, when it is not installed. In CI that is a failure.
pub fn peer_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found =
        std::env::split_paths(&path).map(|directory| directory.join(name)).find(|file| file.is_file());
    if found.is_none() {
        skip(&format!("no {name}"));
    }
    found
}

/// Says that a part of the tests is left out because a peer is missing; fails in CI, where none may be.
pub fn skip(reason: &str) {
    assert!(std::env::var_os("CI").is_none(), "{reason}, and CI must have it");
    eprintln!("skipped: {reason}");
}

/// Whether the tests run as root: memcached then wants to be told its user.
pub fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|metadata| metadata.uid() == 0)
}

fn tcp_ports(port_file: &Path) -> Vec<u16> {
    ports(port_file, "TCP INET: ")
}

fn ports(port_file: &Path, lines: &str) -> Vec<u16> {
    let text = fs::read_to_string(port_file).unwrap_or_default();
    text.lines().filter_map(|line| line.strip_prefix(lines)?.trim().parse().ok()).collect()
}

/// Whether a server of any protocol is there: a version request in the binary one, and in text an error.
fn answers(address: &Address) -> bool {
    let mut question = [0; 24];
    question[..2].copy_from_slice(&[0x80, 0x0b]);
    Connection::open(address).is_ok_and(|mut connection| {
        connection.try_send([&question[..], b"\r\n"].concat()).is_ok() && !connection.receive(1).is_empty()
    })
}
