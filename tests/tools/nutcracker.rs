//! nutcracker, also called twemproxy, in front of two servers: one over TCP, one over a Unix socket.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::server::{Address, Connection, Directory, Server, peer_program};

const KEYS: usize = 200;
const WAIT: Duration = Duration::from_secs(20);

#[test]
fn two_servers_behind_a_proxy() {
    let Some(program) = peer_program("nutcracker").or_else(installed_for_root) else { return };
    let directory = Directory::create();
    let socket = directory.path().join("second");
    let first = Server::ringcached(&["-t", "2"]);
    let second = Server::ringcached_at(&socket);
    let proxy = Proxy::start(&program, directory.path(), first.port(), &socket);
    let mut connection = proxy.connect();

    for key in 0..KEYS {
        assert_eq!(connection.ask(&format!("set key{key} {key} 0 5\r\nvalue")), "STORED");
    }
    let counts = [&first, &second].map(|server| server.stat_number("curr_items") as usize);
    assert!(counts[0] > 0 && counts[1] > 0 && counts[0] + counts[1] == KEYS, "{counts:?}");
    each_command_arrives(&mut connection);
    assert_eq!(found(&mut connection), KEYS);

    // Without the second server the first has all keys, and those of the second are missed.
    drop(second);
    wait_for("the proxy to see the loss", || found(&mut proxy.connect()) == counts[0]);
    let second = Server::ringcached_at(&socket);
    wait_for("the proxy to come back", || {
        let mut connection = proxy.connect();
        for key in 0..KEYS {
            connection.ask(&format!("set key{key} {key} 0 5\r\nvalue"));
        }
        found(&mut connection) == KEYS && second.stat_number("curr_items") as usize == counts[1]
    });
}

fn each_command_arrives(connection: &mut Connection) {
    for (command, reply) in [
        ("get key7", "VALUE key7 7 5\r\nvalue\r\nEND\r\n"),
        ("get none", "END\r\n"),
        ("add key7 0 0 1\r\nx", "NOT_STORED\r\n"),
        ("replace key7 7 0 5\r\nother", "STORED\r\n"),
        ("append key7 0 0 1\r\n+", "STORED\r\n"),
        ("prepend key7 0 0 1\r\n-", "STORED\r\n"),
        ("get key7", "VALUE key7 7 7\r\n-other+\r\nEND\r\n"),
        ("set count 0 0 2\r\n40", "STORED\r\n"),
        ("incr count 2", "42\r\n"),
        ("decr count 50", "0\r\n"),
        ("touch count 100", "TOUCHED\r\n"),
        ("delete count", "DELETED\r\n"),
        ("delete count", "NOT_FOUND\r\n"),
    ] {
        connection.send(format!("{command}\r\n"));
        let received = connection.receive(reply.len());
        assert_eq!(String::from_utf8_lossy(&received), reply, "{command}");
    }
    connection.send("gets key7\r\n");
    let found = String::from_utf8(connection.receive_until(b"END\r\n")).expect("it is text");
    let unique = found.split_whitespace().nth(4).expect("gets brings a unique");
    assert_eq!(connection.ask(&format!("cas key7 7 0 5 {unique}\r\nvalue")), "STORED");
    assert_eq!(connection.ask(&format!("cas key7 7 0 5 {unique}\r\nother")), "EXISTS");
}

/// How many of all keys one `get` finds.
fn found(connection: &mut Connection) -> usize {
    let keys: Vec<String> = (0..KEYS).map(|key| format!("key{key}")).collect();
    connection.send(format!("get {}\r\n", keys.join(" ")));
    let mut count = 0;
    loop {
        let line = connection.receive_line();
        if !line.starts_with("VALUE ") {
            return count;
        }
        connection.receive_line();
        count += 1;
    }
}

fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + WAIT;
    while !is_so() {
        assert!(Instant::now() < deadline, "waited too long for {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Debian installs it where only root's PATH looks.
fn installed_for_root() -> Option<PathBuf> {
    Some(PathBuf::from("/usr/sbin/nutcracker")).filter(|path| path.is_file())
}

/// A running nutcracker; dropping it kills the process.
struct Proxy {
    child: Child,
    address: Address,
}

impl Proxy {
    fn start(program: &Path, directory: &Path, first: u16, second: &Path) -> Proxy {
        let (socket, file) = (directory.join("proxy"), directory.join("nutcracker.yml"));
        let pool = format!(
            "ringcache:\n  listen: {} 0600\n  hash: fnv1a_64\n  distribution: ketama\n  timeout: 1000\n  \
             auto_eject_hosts: true\n  server_retry_timeout: 100\n  server_failure_limit: 1\n  servers:\n   \
             - 127.0.0.1:{first}:1 first\n   - {}:1 second\n",
            socket.display(),
            second.display()
        );
        fs::write(&file, pool).expect("the directory is writable");
        let mut command = Command::new(program);
        command.arg("-c").arg(&file).args(["-a", "127.0.0.1", "-s", &free_port().to_string()]);
        command.arg("-o").arg(directory.join("log")).arg("-p").arg(directory.join("pid"));
        let child = command.stdin(Stdio::null()).spawn().expect("it is installed");
        let proxy = Proxy { child, address: Address::Unix(socket) };
        wait_for("the proxy to listen", || Connection::open(&proxy.address).is_ok());
        proxy
    }

    fn connect(&self) -> Connection {
        Connection::open(&self.address).expect("it listens")
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // Both fail only where the process has already ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// For its statistics, which it insists on.
fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("there is a free port");
    listener.local_addr().expect("it is bound").port()
}
