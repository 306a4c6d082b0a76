//! The operators' socket and `ringctl`: what is asked is done, what is wrong is said, and no worker notices.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use crate::server::{Directory, REPLY_TIMEOUT, Server, ringcached_path, ringctl_path};

/// A server, and `ringctl` for it.
pub struct Operated {
    /// The server.
    pub server: Server,
    /// Where it lets operators in.
    pub socket: PathBuf,
    _directory: Directory,
}

impl Operated {
    /// A server with these flags.
    pub fn start(flags: &[&str]) -> Self {
        let directory = Directory::create();
        let socket = directory.path().join("admin");
        let at = ["--admin-socket", socket.to_str().expect("plain")];
        Self { server: Server::ringcached(&[&at[..], flags].concat()), socket, _directory: directory }
    }

    /// Runs `ringctl` to its end.
    pub fn ringctl(&self, arguments: &[&str]) -> Output {
        ringctl(&self.socket, arguments)
    }
}

fn ringctl(socket: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(ringctl_path());
    command.arg("--socket").arg(socket).args(arguments).output().expect("ringctl was built with the server")
}

/// What a program wrote.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("text")
}

#[test]
fn status_shows_records_workers_and_role() {
    let node = Operated::start(&["-t", "2"]);
    let mut connection = node.server.connect();
    for key in 0..50 {
        assert_eq!(connection.ask(&format!("set key{key} 0 0 1\r\nx")), "STORED");
    }
    let output = node.ringctl(&["status", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let status: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((status["records"].as_u64(), status["workers"].as_u64()), (Some(50), Some(2)));
    assert_eq!(
        (status["role"].as_str(), status["logs_changes"].as_bool()),
        (Some("standalone"), Some(false))
    );
    let lines = text(&node.ringctl(&["status"]).stdout);
    assert!(lines.lines().any(|line| line.split_whitespace().eq(["records", "50"])), "{lines}");
}

#[test]
fn a_node_that_does_not_replicate_says_so() {
    let node = Operated::start(&[]);
    for arguments in [&["promote"][..], &["demote"], &["replicate", "127.0.0.1:1"]] {
        let output = node.ringctl(arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        assert!(text(&output.stderr).contains("not a replicating node"), "{}", text(&output.stderr));
    }
    let output = node.ringctl(&["promote", "--json"]);
    let error: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert!(error["error"].as_str().expect("a reason").contains("not a replicating node"));
}

#[test]
fn exit_codes_tell_usage_from_failure() {
    let directory = Directory::create();
    let nobody = directory.path().join("nobody");
    assert_eq!(ringctl(&nobody, &["status"]).status.code(), Some(1));
    assert_eq!(ringctl(&nobody, &["format"]).status.code(), Some(2));
    assert_eq!(ringctl(&nobody, &["watch", "--every", "0"]).status.code(), Some(2));
    assert_eq!(ringctl(&nobody, &["--help"]).status.code(), Some(0));
    let error = text(&ringctl(&nobody, &["status"]).stderr);
    assert!(error.contains(nobody.to_str().expect("plain")), "{error}");
}

/// Garbage, silence, lines without an end and more operators than allowed get a line each, and others are served on.
#[test]
fn strange_operators_get_a_reason() {
    let node = Operated::start(&[]);
    let ask = |request: &[u8]| {
        let mut stream = UnixStream::connect(&node.socket).expect("it listens");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a positive time");
        // Who is refused may be cut off while it still speaks.
        let _ = stream.write_all(request);
        let mut line = String::new();
        let _ = BufReader::new(stream).read_line(&mut line);
        line
    };
    for garbage in [&b"status\n"[..], b"\n", b"{}\n", b"\xff\xfe\n", b"{\"command\":\"status\",\"x\":1}\n"] {
        assert!(ask(garbage).starts_with(r#"{"event":"failed","reason":"not a request"#), "{}", ask(garbage));
    }
    assert!(ask(&vec![b'x'; 65_537]).contains("at most 65536 bytes"));
    let silent: Vec<_> = (0..16).map(|_| UnixStream::connect(&node.socket).expect("it listens")).collect();
    let mut refused = String::new();
    let one_more = UnixStream::connect(&node.socket).expect("it listens");
    BufReader::new(one_more).read_line(&mut refused).expect("an answer");
    assert!(refused.contains("16 operators are connected already"), "{refused}");
    drop(silent);
    let is_served = || ask(b"{\"command\":\"status\"}\n").starts_with(r#"{"event":"done""#);
    assert!((0..1000).any(|_| is_served()), "their places are free again");
    assert_eq!(node.server.connect().ask("mn"), "MN");
}

#[test]
fn the_socket_is_private_and_goes_with_the_server() {
    let mut node = Operated::start(&[]);
    let mode = fs::metadata(&node.socket).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    node.server.signal("TERM");
    assert!(node.server.wait().success());
    assert!(!node.socket.exists());
    // What a killed server leaves is replaced.
    let mut killed = Operated::start(&[]);
    killed.server.signal("KILL");
    killed.server.wait();
    let flags = ["--admin-socket", killed.socket.to_str().expect("plain")];
    let next = Server::ringcached(&flags);
    assert!(ringctl(&killed.socket, &["status"]).status.success());
    drop(next);
    let off = Operated::start(&["--admin-socket", "off"]);
    assert!(!off.socket.exists());
}

#[test]
fn by_default_the_port_names_the_socket() {
    let directory = Directory::create();
    let ports = directory.path().join("ports");
    let mut server = Command::new(ringcached_path())
        .args(["-l", "127.0.0.1", "-p", "-1"])
        .env("MEMCACHED_PORT_FILENAME", &ports)
        .env_remove("RUNTIME_DIRECTORY")
        .spawn()
        .expect("it was built");
    let deadline = Instant::now() + REPLY_TIMEOUT;
    let port = loop {
        let line = fs::read_to_string(&ports).unwrap_or_default();
        if let Some(port) = line.trim().strip_prefix("TCP INET: ") {
            break port.to_owned();
        }
        assert!(Instant::now() < deadline, "it does not start");
        std::thread::sleep(Duration::from_millis(5));
    };
    let output = Command::new(ringctl_path()).args(["-p", &port, "status"]).output().expect("built");
    let pid = server.id().to_string();
    assert!(Command::new("kill").args(["-s", "TERM", &pid]).status().expect("kill is everywhere").success());
    assert!(server.wait().expect("it ends").success());
    assert!(output.status.success(), "{}", text(&output.stderr));
}

#[test]
fn watch_shows_one_status_after_another() {
    let node = Operated::start(&[]);
    let mut child = Command::new(ringctl_path())
        .arg("--socket")
        .arg(&node.socket)
        .args(["--json", "watch", "--every", "0.1"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("built");
    let mut lines = BufReader::new(child.stdout.take().expect("piped"));
    for _ in 0..3 {
        let mut line = String::new();
        lines.read_line(&mut line).expect("a line");
        assert!(line.contains("\"records\":0"), "{line}");
    }
    child.kill().expect("it runs");
    child.wait().expect("it ends");
    lines.read_to_end(&mut Vec::new()).expect("closed");
}
