//! `-e`: what a graceful stop leaves the next start finds, whatever else happens in between finds nothing, and never
//! is a byte wrong.

use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::server::{Connection, Directory, Server, is_root, ringcached_path, run, run_ringcached};

/// A directory with a memory file in it.
struct Place {
    directory: Directory,
    file: String,
}

impl Place {
    fn new() -> Self {
        let directory = Directory::create();
        let file = directory.path().join("memory").to_str().expect("a path in ASCII").to_owned();
        Self { directory, file }
    }

    fn start(&self, flags: &[&str]) -> Server {
        Server::ringcached(&[&["-e", &self.file, "-v"], flags].concat())
    }

    fn books(&self) -> PathBuf {
        self.directory.path().join("memory.meta")
    }

    fn memory(&self) -> &Path {
        Path::new(&self.file)
    }
}

fn stop(mut server: Server, signal: &str) {
    server.signal(signal);
    assert_eq!(server.wait().code(), Some(0), "{}", server.stderr());
}

/// Stores `keys` records whose values can be told from their keys and `round`.
fn fill(connection: &mut Connection, keys: usize, round: usize) {
    let mut send = String::new();
    for key in 0..keys {
        let value = format!("{key}-{round}-").repeat(1 + key % 20);
        send += &format!("set key{key} {} 0 {} noreply\r\n{value}\r\n", key % 3, value.len());
    }
    connection.send(send + "mn\r\n");
    assert_eq!(connection.receive_line(), "MN");
}

/// What `mg` shows of every key: value, flags, CAS, time left, whether it was fetched.
fn show(connection: &mut Connection, keys: usize) -> Vec<String> {
    let questions: String = (0..keys).map(|key| format!("mg key{key} v f c t h u\r\n")).collect();
    connection.send(questions + "mn\r\n");
    let text = String::from_utf8(connection.receive_until(b"MN\r\n")).expect("values are text");
    let mut lines = text.lines();
    let mut shown = Vec::new();
    while let Some(line) = lines.next().filter(|line| *line != "MN") {
        let value = if line.starts_with("VA") { lines.next().expect("a value follows") } else { "" };
        shown.push(format!("{line} {value}"));
    }
    assert_eq!(shown.len(), keys);
    shown
}

#[test]
fn a_graceful_stop_keeps_every_record() {
    for workers in ["1", "3"] {
        let place = Place::new();
        let flags = ["-t", workers, "-A", "-m", "32"];
        let mut server = place.start(&flags);
        let mut connection = server.connect();
        fill(&mut connection, 5_000, 0);
        assert_eq!(connection.ask("touch key7 5000"), "TOUCHED");
        assert_eq!(connection.ask("delete key8"), "DELETED");
        let large = "x".repeat(500_000);
        connection.send(format!("set large 0 0 {}\r\n{large}\r\n", large.len()));
        assert_eq!(connection.receive_line(), "STORED");
        for round in 0..4 {
            let before = show(&mut server.connect(), 5_000);
            if round % 2 == 0 {
                stop(server, "USR1");
            } else {
                server.connect().send("shutdown graceful\r\n");
                assert_eq!(server.wait().code(), Some(0));
            }
            assert!(place.books().exists());
            server = place.start(&flags);
            assert!(!place.books().exists(), "they are gone before the first request");
            let mut connection = server.connect();
            let after = show(&mut connection, 5_000);
            for (before, after) in before.iter().zip(&after) {
                // The time left has gone on.
                assert_eq!(without_time(before), without_time(after), "{workers} workers, round {round}");
            }
            assert!(
                after[8].starts_with("EN") && (after[7].contains(" t49") || after[7].contains(" t5000")),
                "{}",
                after[7]
            );
            connection.send("get large\r\n");
            let reply = format!("VALUE large 0 {}\r\n{large}\r\nEND\r\n", large.len());
            assert!(connection.receive(reply.len()) == reply.as_bytes(), "the large value is as it was");
            assert_eq!(connection.ask("set key9 0 0 5\r\nagain"), "STORED");
        }
    }
}

fn without_time(shown: &str) -> String {
    shown.split(' ').filter(|word| !word.starts_with('t')).collect::<Vec<_>>().join(" ")
}

#[test]
fn other_ends_keep_nothing() {
    for signal in ["TERM", "INT", "KILL"] {
        let place = Place::new();
        let mut server = place.start(&["-t", "2"]);
        fill(&mut server.connect(), 100, 0);
        server.signal(signal);
        server.wait();
        assert!(!place.books().exists(), "{signal}");
        let server = place.start(&["-t", "2"]);
        assert_eq!(server.stat_number("curr_items"), 0, "{signal}");
        assert!(server.stderr().contains("the cache is empty"), "{}", server.stderr());
    }
}

#[test]
fn a_crash_after_a_restart_leaves_an_empty_cache() {
    let place = Place::new();
    let server = place.start(&[]);
    fill(&mut server.connect(), 1_000, 0);
    stop(server, "USR1");
    let saved = fs::read(place.books()).expect("the books are there");
    let mut server = place.start(&[]);
    assert_eq!(server.stat_number("curr_items"), 1_000);
    fill(&mut server.connect(), 500, 1);
    server.signal("KILL");
    server.wait();
    // Even if somebody put the old books back.
    fs::write(place.books(), saved).expect("writable");
    let server = place.start(&[]);
    assert_eq!(server.stat_number("curr_items"), 0);
    assert!(server.stderr().contains("another memory file"), "{}", server.stderr());
}

/// Goal: a process that is killed at any moment of a stop, a start or in between leaves either everything as it was,
/// or nothing. Method: 40 rounds, or as many as RINGCACHE_KILL_ROUNDS says, with delays that sweep over both.
#[test]
fn kills_at_any_moment_never_make_a_byte_wrong() {
    const KEYS: usize = 20_000;
    let place = Place::new();
    let flags = ["-t", "2", "-m", "64"];
    let (mut adopted, mut round) = (0, 0);
    let mut server = place.start(&flags);
    fill(&mut server.connect(), KEYS, round);
    let rounds = std::env::var("RINGCACHE_KILL_ROUNDS").ok().and_then(|rounds| rounds.parse().ok());
    let rounds = rounds.unwrap_or(40);
    for kill in 0..rounds {
        server.signal("USR1");
        if kill % 2 == 0 {
            std::thread::sleep(Duration::from_micros(1_000 * (kill % 60)));
            server.signal("KILL");
        }
        server.wait();
        if kill % 4 == 3 {
            kill_while_it_starts(&place, &flags, Duration::from_micros(500 * (kill % 60)));
        }
        server = place.start(&flags);
        let mut connection = server.connect();
        let items = server.stat_number("curr_items") as usize;
        assert!(items == 0 || items == KEYS, "{items} records after kill {kill}");
        if items == KEYS {
            adopted += 1;
            check(&mut connection, KEYS, round);
        }
        round += 1;
        fill(&mut connection, KEYS, round);
    }
    assert!(adopted >= rounds / 4, "{adopted} of {rounds}");
}

fn kill_while_it_starts(place: &Place, flags: &[&str], delay: Duration) {
    let mut child = std::process::Command::new(crate::server::ringcached_path())
        .args(["-l", "127.0.0.1", "-p", "-1", "-e", &place.file])
        .args(flags)
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("the binary was just built");
    std::thread::sleep(delay);
    child.kill().expect("the child is ours");
    child.wait().expect("the child is ours");
}

fn check(connection: &mut Connection, keys: usize, round: usize) {
    for (key, shown) in show(connection, keys).into_iter().enumerate() {
        let value = format!("{key}-{round}-").repeat(1 + key % 20);
        assert!(shown.ends_with(&format!(" {value}")), "key{key} of round {round} shows {shown}");
    }
}

/// What the server says of it, and how it is done.
type Damage = (&'static str, fn(&Place));

#[test]
fn a_torn_file_or_torn_books_are_refused_with_a_reason() {
    let damage: [Damage; 5] = [
        ("cut short", |place| {
            let books = fs::read(place.books()).expect("there");
            fs::write(place.books(), &books[..books.len() / 2]).expect("writable");
        }),
        ("no format", |place| fs::write(place.books(), "nonsense and more of it").expect("writable")),
        ("no format", |place| fs::write(place.books(), "").expect("writable")),
        ("another memory file", |place| fs::write(place.memory(), "").expect("writable")),
        ("the books can't be read", |place| {
            fs::remove_file(place.books()).expect("there");
            std::os::unix::fs::symlink(place.memory(), place.books()).expect("a link");
        }),
    ];
    for (reason, damage) in damage {
        let place = Place::new();
        let server = place.start(&["-t", "2"]);
        fill(&mut server.connect(), 1_000, 0);
        stop(server, "USR1");
        damage(&place);
        let server = place.start(&["-t", "2"]);
        assert!(server.stderr().contains(reason), "{reason}: {}", server.stderr());
        assert_eq!(server.stat_number("curr_items"), 0, "{reason}");
        assert!(!place.books().exists(), "{reason}");
        fill(&mut server.connect(), 1_000, 1);
        check(&mut server.connect(), 1_000, 1);
    }
}

/// Goal: what a machine lacks at one start does not cost the records. Method: a user who may have no more threads, and
/// could remove the books.
#[test]
fn a_start_that_fails_for_want_of_threads_keeps_every_record() {
    const NOBODY: u32 = 65_534;
    let place = Place::new();
    let server = place.start(&["-t", "2"]);
    fill(&mut server.connect(), 1_000, 0);
    stop(server, "USR1");
    let mut limited = std::process::Command::new("prlimit");
    limited.arg("--nproc=1").arg(ringcached_path()).args(["-t", "2", "-p", "-1", "-e", &place.file]);
    if is_root() {
        // No such limit holds for root.
        limited.args(["-u", "nobody"]);
        for path in [place.memory(), &place.books(), place.directory.path()] {
            chown(path, Some(NOBODY), None).expect("root may");
        }
    }
    let failed = run(limited.args(["-l", "127.0.0.1"]));
    let reason = String::from_utf8_lossy(&failed.stderr).into_owned();
    assert_eq!(failed.status.code(), Some(71), "{reason}");
    assert!(reason.contains("cannot start a worker"), "{reason}");
    let server = place.start(&["-t", "2"]);
    check(&mut server.connect(), 1_000, 0);
}

#[test]
fn two_servers_do_not_share_a_file() {
    let place = Place::new();
    let server = place.start(&[]);
    fill(&mut server.connect(), 10, 0);
    let second = run_ringcached(&["-e", &place.file, "-p", "-1", "-l", "127.0.0.1"]);
    assert_eq!(second.status.code(), Some(71));
    assert!(String::from_utf8_lossy(&second.stderr).contains("another process uses it"));
    check(&mut server.connect(), 10, 0);
}

#[test]
fn what_can_be_no_memory_file_is_refused() {
    let place = Place::new();
    let missing = place.directory.path().join("missing/memory");
    let status = std::process::Command::new("mkfifo").arg(place.directory.path().join("pipe")).status();
    assert!(status.expect("coreutils are everywhere").success());
    let pipe = place.directory.path().join("pipe");
    let cases = [
        (missing.to_str().expect("ASCII"), "No such file"),
        (place.directory.path().to_str().expect("ASCII"), "directory"),
        (pipe.to_str().expect("ASCII"), "no regular file"),
        ("/dev/null", "no regular file"),
    ];
    for (path, reason) in cases {
        let output = run_ringcached(&["-e", path, "-p", "-1", "-l", "127.0.0.1"]);
        assert_eq!(output.status.code(), Some(71), "{path}");
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(stderr.contains(reason), "{path}: {stderr}");
    }
}

/// The whole of `-m` must fit, so that a cache does not find out in the middle of a day.
#[test]
fn a_file_system_without_room_is_refused() {
    let place = Place::new();
    let output = run_ringcached(&["-e", &place.file, "-m", "60000000", "-p", "-1", "-l", "127.0.0.1"]);
    assert_eq!(output.status.code(), Some(71));
    assert!(String::from_utf8_lossy(&output.stderr).contains("bytes are free there, and -m asks for"));
}

#[test]
fn a_daemon_keeps_its_records_too() {
    let place = Place::new();
    let pid_file = place.directory.path().join("pid");
    let port_file = place.directory.path().join("ports");
    let start = || {
        let status = std::process::Command::new(crate::server::ringcached_path())
            .args(["-d", "-l", "127.0.0.1", "-p", "-1", "-e", "memory", "-P"])
            .arg(&pid_file)
            .env("MEMCACHED_PORT_FILENAME", &port_file)
            .current_dir(place.directory.path())
            .status();
        assert!(status.expect("the binary was just built").success());
        wait_for(|| pid_file.exists() && port_file.exists());
        let ports = fs::read_to_string(&port_file).expect("written");
        let port: u16 = ports.trim().rsplit(' ').next().expect("a number").parse().expect("a number");
        Connection::open(&crate::server::Address::Tcp(([127, 0, 0, 1], port).into())).expect("it serves")
    };
    let mut connection = start();
    fill(&mut connection, 100, 0);
    for _ in 0..2 {
        let pid = fs::read_to_string(&pid_file).expect("written").trim().to_owned();
        fs::remove_file(&port_file).expect("written");
        let status = std::process::Command::new("kill").args(["-s", "USR1", &pid]).status();
        assert!(status.expect("kill is everywhere").success());
        wait_for(|| !pid_file.exists());
        connection = start();
        check(&mut connection, 100, 0);
    }
    let pid = fs::read_to_string(&pid_file).expect("written").trim().to_owned();
    std::process::Command::new("kill").args(["-s", "TERM", &pid]).status().expect("kill is everywhere");
    wait_for(|| !pid_file.exists());
}

fn wait_for(condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "it takes too long");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Only where the tests may mount a small file system: as root, outside of most containers.
#[test]
fn a_file_system_that_fills_up_makes_the_cache_smaller() {
    let directory = Directory::create();
    let mount = |arguments: &[&str]| {
        let status = std::process::Command::new("mount").args(arguments).arg(directory.path()).status();
        status.is_ok_and(|status| status.success())
    };
    if !is_root() || !mount(&["-t", "tmpfs", "-o", "size=40m", "none"]) {
        return eprintln!("skipped: no file system can be mounted");
    }
    let file = directory.path().join("memory");
    let server = Server::ringcached(&["-m", "32", "-t", "2", "-e", file.to_str().expect("ASCII")]);
    fs::write(directory.path().join("other"), vec![1; 24 << 20]).expect("it fits");
    let mut connection = server.connect();
    let value = "v".repeat(1_000);
    for key in 0..60_000 {
        connection.send(format!("set key{key} 0 0 1000 noreply\r\n{value}\r\n"));
    }
    assert_eq!(connection.ask("mn"), "MN");
    let (limit, items) = (server.stat_number("limit_maxbytes"), server.stat_number("curr_items"));
    assert!(limit < 20 << 20 && items > 5_000, "{limit} bytes, {items} records");
    let refused =
        (0..2_000).filter(|key| connection.ask(&format!("set again{key} 0 0 1000\r\n{value}")) != "STORED");
    assert!(refused.count() < 20, "it goes on with what it has");
    drop(server);
    let unmounted = std::process::Command::new("umount").arg(directory.path()).status();
    assert!(unmounted.expect("where mount is umount is").success());
}
