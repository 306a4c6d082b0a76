//! Replication between real processes: copies that stay equal, roles that change, answers that wait, and bad company.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use crate::admin::{Operated, text};
use crate::interference::Proxy;
use crate::server::{Connection, REPLY_TIMEOUT};

const REPLICA: &str = "SERVER_ERROR this node is a replica: write to its primary";

/// A node that replicates.
pub struct Node {
    /// With its operator.
    pub node: Operated,
}

impl Node {
    /// A node that can be followed.
    pub fn primary(flags: &[&str]) -> Self {
        Self::start(&[&["--replication-port", "-1"], flags].concat())
    }

    /// Follows the node whose replication port this is, and can be followed itself once it is promoted.
    pub fn replica_of(port: u16, flags: &[&str]) -> Self {
        let of = format!("127.0.0.1:{port}");
        Self::primary(&[&["--replica-of", of.as_str()], flags].concat())
    }

    fn start(flags: &[&str]) -> Self {
        Self { node: Operated::start(&[&["-m", "64", "-v"], flags].concat()) }
    }

    fn status(&self) -> serde_json::Value {
        let output = self.node.ringctl(&["status", "--json"]);
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", text(&output.stderr)))
    }

    /// Its replication port.
    pub fn port(&self) -> u16 {
        self.status()["replication"]["port"].as_u64().expect("a replication port") as u16
    }

    /// A client's connection.
    pub fn connect(&self) -> Connection {
        self.node.server.connect()
    }

    /// A command on a connection of its own.
    pub fn ask(&self, line: &str) -> String {
        self.connect().ask(line)
    }

    /// Its links of one kind: `replica` or `primary`.
    fn links(&self, kind: &str) -> Vec<serde_json::Value> {
        let status = self.status();
        let links = status["replication"]["links"].as_array().expect("links").clone();
        links.into_iter().filter(|link| link["link"] == kind).collect()
    }

    fn ringctl(&self, arguments: &[&str]) {
        let output = self.node.ringctl(arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", text(&output.stderr));
    }

    /// Every key with its CAS unique, which is its version, and its expiry.
    pub fn records(&self) -> BTreeMap<String, (String, String)> {
        let mut connection = self.connect();
        connection.send("lru_crawler metadump hash\r\n");
        let dump = String::from_utf8(connection.receive_until(b"END\r\n")).expect("a dump is text");
        let field = |line: &str, name: &str| {
            let field = line.split(' ').find_map(|field| field.strip_prefix(name)?.strip_prefix('='));
            field.unwrap_or_else(|| panic!("no {name} in {line}")).to_owned()
        };
        let lines = dump.lines().filter(|line| line.starts_with("key="));
        lines.map(|line| (field(line, "key"), (field(line, "cas"), field(line, "exp")))).collect()
    }
}

/// Waits until `is_so`.
fn await_that(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + REPLY_TIMEOUT;
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}: not within {REPLY_TIMEOUT:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Waits until both hold the same records, which were written last before.
pub fn await_equal(one: &Node, other: &Node) {
    await_that("both nodes hold the same", || one.records() == other.records());
}

/// Writes, deletes, touches and counts, some of it over and over.
pub fn write_some(connection: &mut Connection, from: usize, count: usize) {
    let mut batch = String::new();
    for number in from..from + count {
        let value = "v".repeat(number * 7 % 900);
        batch += &format!("set key{number} 3 0 {} noreply\r\n{value}\r\n", value.len());
        match number % 7 {
            0 => batch += &format!("delete key{} noreply\r\n", number / 2),
            1 => batch += &format!("touch key{} 5000 noreply\r\n", number / 3),
            2 => batch += "set count 0 0 1 noreply\r\n1\r\nincr count 41 noreply\r\n",
            3 => batch += &format!("append key{} 0 0 3 noreply\r\nabc\r\n", number / 5),
            _ => {}
        }
    }
    connection.send(batch);
    assert!(connection.ask("version").starts_with("VERSION"));
}

#[test]
fn a_replica_becomes_and_stays_equal_whatever_its_number_of_workers() {
    for (ours, theirs) in [("1", "1"), ("1", "3"), ("2", "1"), ("3", "2")] {
        let primary = Node::primary(&["-t", ours, "-I", "2m"]);
        let mut connection = primary.connect();
        write_some(&mut connection, 0, 2_000);
        let large = "x".repeat(1_500_000);
        assert_eq!(connection.ask(&format!("set large 0 0 {}\r\n{large}", large.len())), "STORED");
        let replica = Node::replica_of(primary.port(), &["-t", theirs, "-I", "2m"]);
        await_equal(&primary, &replica);
        write_some(&mut connection, 1_000, 3_000);
        assert_eq!(connection.ask("delete large"), "DELETED");
        assert_eq!(connection.ask("set large2 5 0 5\r\nlarge"), "STORED");
        await_equal(&primary, &replica);
        let mut other = replica.connect();
        other.send("get large2\r\n");
        assert_eq!(other.receive_until(b"END\r\n"), b"VALUE large2 5 5\r\nlarge\r\nEND\r\n");
        assert_eq!(connection.ask("flush_all"), "OK");
        assert_eq!(connection.ask("set after 0 0 1\r\nx"), "STORED");
        await_equal(&primary, &replica);
        assert_eq!(replica.records().len(), 1);
    }
}

#[test]
fn a_replica_answers_reads_and_refuses_every_write() {
    let primary = Node::primary(&[]);
    assert_eq!(primary.ask("set k 0 0 1\r\n5"), "STORED");
    let replica = Node::replica_of(primary.port(), &[]);
    await_equal(&primary, &replica);
    let mut connection = replica.connect();
    for write in [
        "set k 0 0 1\r\nx",
        "add n 0 0 1\r\nx",
        "append k 0 0 1\r\nx",
        "cas k 0 0 1 1\r\nx",
        "delete k",
        "incr k 1",
        "touch k 0",
        "gat 0 k",
        "flush_all",
        "ms k 1\r\nx",
        "md k",
        "ma k",
        "mg k v T0",
        "mg n N30",
    ] {
        assert_eq!(connection.ask(write), REPLICA, "{write}");
    }
    assert_eq!(connection.ask("mg k v"), "VA 1");
    assert_eq!(connection.receive(3), b"5\r\n");
    assert_eq!(primary.records(), replica.records());
}

#[test]
fn after_a_promotion_siblings_go_on_without_a_full_copy() {
    let primary = Node::primary(&["-t", "2"]);
    write_some(&mut primary.connect(), 0, 500);
    let [first, second] = [(); 2].map(|()| Node::replica_of(primary.port(), &["-t", "2"]));
    await_equal(&primary, &first);
    await_equal(&primary, &second);
    // A copy is worth nothing to those who copied at the same time; what is written after it is.
    write_some(&mut primary.connect(), 2_000, 100);
    await_equal(&primary, &first);
    await_equal(&primary, &second);
    drop(primary);
    first.ringctl(&["promote"]);
    write_some(&mut first.connect(), 500, 200);
    second.ringctl(&["replicate", &format!("127.0.0.1:{}", first.port())]);
    await_equal(&first, &second);
    assert_eq!(second.ask("set x 0 0 1\r\nx"), REPLICA);
    for link in first.links("replica") {
        assert_eq!(
            (link["resumes"].as_u64(), &link["full_copies"]),
            (Some(1), &serde_json::json!({})),
            "{link}"
        );
    }
    assert!(first.node.server.stderr().contains("the role has changed role=\"primary\""));
}

#[test]
fn lag_and_traffic_are_told() {
    let primary = Node::primary(&["-t", "2"]);
    let number = |node: &Node, name: &str| -> f64 {
        let value = node.connect().stat("stats replication", name).unwrap_or_else(|| panic!("no {name}"));
        value.parse().unwrap_or_else(|_| panic!("{name} is {value}"))
    };
    let replica = Node::replica_of(primary.port(), &["-t", "1"]);
    write_some(&mut primary.connect(), 0, 500);
    await_equal(&primary, &replica);
    let lag = || primary.links("replica").iter().filter_map(|link| link["lag_records"].as_u64()).sum::<u64>();
    await_that("the lag is known and none", || {
        lag() == 0 && primary.links("replica").iter().all(|link| link["lag_ms"] == 0)
    });
    replica.node.server.signal("STOP");
    for key in 0..100 {
        assert_eq!(primary.ask(&format!("set lag{key} 0 0 1\r\nx")), "STORED");
    }
    assert_eq!(lag(), 100);
    assert!(number(&primary, "lag_records") > 0.0 && number(&primary, "lag_ms") > 0.0);
    replica.node.server.signal("CONT");
    await_that("it is made up for", || lag() == 0);
    assert!(number(&primary, "sent_bytes") > number(&primary, "record_bytes"));
    let amplification = number(&primary, "amplification");
    assert!((1.0..2.0).contains(&amplification), "{amplification}");
    assert!(number(&primary, "full_copies_new") >= 2.0 && number(&replica, "applied_records") >= 100.0);
    assert!(number(&primary, "lag_max_ms") >= number(&primary, "lag_p50_ms"));
    assert_eq!(replica.ask("set k 0 0 1\r\nx"), REPLICA);
    assert_eq!(number(&replica, "writes_refused"), 1.0);
    let sent = number(&primary, "sent_bytes");
    drop(replica);
    await_that("the links are closed", || number(&primary, "replicas") == 0.0);
    assert_eq!(number(&primary, "sent_bytes"), sent, "closed links count on");
}

#[test]
fn a_demoted_primary_forgets_what_nobody_has() {
    let old = Node::primary(&[]);
    write_some(&mut old.connect(), 0, 300);
    let new = Node::replica_of(old.port(), &[]);
    await_equal(&old, &new);
    new.ringctl(&["promote"]);
    assert_eq!(old.ask("set lost 0 0 1\r\nx"), "STORED", "it does not know yet");
    assert_eq!(new.ask("set kept 0 0 1\r\nx"), "STORED");
    old.ringctl(&["demote", "--of", &format!("127.0.0.1:{}", new.port())]);
    await_equal(&new, &old);
    assert!(!old.records().contains_key("lost"));
    assert!(new.records().contains_key("kept"));
}

#[test]
fn what_is_cut_goes_on_where_it_was() {
    let primary = Node::primary(&["-t", "2"]);
    let mut connection = primary.connect();
    write_some(&mut connection, 0, 3_000);
    let proxy = Proxy::start(primary.port());
    let replica = Node::replica_of(proxy.port(), &["-t", "2"]);
    await_equal(&primary, &replica);
    let sent = |kind: &str| -> u64 {
        primary.links("replica").iter().map(|link| link[kind].as_u64().expect("a number")).sum()
    };
    assert!(sent("record_bytes") > 500_000);
    proxy.cut();
    write_some(&mut connection, 10_000, 50);
    await_equal(&primary, &replica);
    assert_eq!(sent("resumes"), 2, "one for each shard");
    assert!(sent("record_bytes") < 100_000, "only what changed: {}", sent("record_bytes"));
}

#[test]
fn damage_on_the_way_is_seen_and_mended() {
    let primary = Node::primary(&["-t", "2"]);
    let proxy = Proxy::start(primary.port());
    proxy.damage_every(40_000);
    let replica = Node::replica_of(proxy.port(), &["-t", "1"]);
    let mut connection = primary.connect();
    for round in 0..20 {
        write_some(&mut connection, round * 500, 700);
    }
    let large = "y".repeat(600_000);
    assert_eq!(connection.ask(&format!("set large 0 0 {}\r\n{large}", large.len())), "STORED");
    await_that("damage was done", || proxy.flips() > 20);
    proxy.damage_every(0);
    await_equal(&primary, &replica);
}

#[test]
fn semi_synchronous_answers_wait_for_a_replica_or_say_that_they_are_in_doubt() {
    let flags = ["--replication-mode", "semi-sync", "--sync-timeout-ms", "2000", "-t", "2"];
    let primary = Node::primary(&flags);
    let mut connection = primary.connect();
    let none = "SERVER_ERROR not enough replicas are connected: nothing was written";
    for key in 0..4 {
        assert_eq!(connection.ask(&format!("set k{key} 0 0 1\r\nx")), none);
    }
    let replica = Node::replica_of(primary.port(), &["-t", "2"]);
    await_that("the replica counts", || {
        (0..4).all(|key| primary.ask(&format!("set k{key} 0 0 1\r\nx")) == "STORED")
    });
    let mut batch = String::new();
    (0..500).for_each(|key| batch += &format!("set n{key} 0 0 1\r\nx\r\nget n{key}\r\n"));
    connection.send(&batch);
    let each = "STORED\r\nVALUE n0 0 1\r\nx\r\nEND\r\n";
    for key in 0..500 {
        let expected = each.replace("n0", &format!("n{key}"));
        assert_eq!(text(&connection.receive(expected.len())), expected);
    }
    assert_eq!(primary.records(), replica.records(), "answered means applied there");
    replica.node.server.signal("STOP");
    let doubt = "SERVER_ERROR write in doubt: done here, not confirmed by enough replicas in time";
    assert_eq!(connection.ask("set k0 0 0 1\r\ny"), doubt);
    assert_eq!(connection.ask("incr missing 1"), "NOT_FOUND", "nothing was changed, nothing is in doubt");
    replica.node.server.signal("CONT");
    await_that("it counts again", || primary.ask("set k1 0 0 1\r\nz") == "STORED");
    await_equal(&primary, &replica);
}

#[test]
fn no_acknowledged_write_is_lost_with_a_killed_primary() {
    for round in 0..5 {
        let primary = Node::primary(&["--replication-mode", "semi-sync", "-t", "2"]);
        let replica = Node::replica_of(primary.port(), &["-t", "2"]);
        await_that("the replica counts", || {
            (0..8).all(|key| primary.ask(&format!("set k{key} 0 0 1\r\nx")) == "STORED")
        });
        let mut connection = primary.connect();
        connection.set_timeouts(Duration::from_secs(2));
        let killer = std::thread::spawn({
            let pid = primary.node.server.pid().to_string();
            move || {
                std::thread::sleep(Duration::from_millis(20 + 13 * round));
                std::process::Command::new("kill")
                    .args(["-s", "KILL", &pid])
                    .status()
                    .expect("kill is everywhere");
            }
        });
        let mut acknowledged = Vec::new();
        for number in 0.. {
            if connection.try_send(format!("set n{number} 0 0 2\r\nab\r\n")).is_err()
                || connection.receive_until(b"\r\n") != b"STORED\r\n"
            {
                break;
            }
            acknowledged.push(format!("n{number}"));
        }
        killer.join().expect("the thread only waits");
        replica.ringctl(&["promote"]);
        let records = replica.records();
        let lost: Vec<&String> = acknowledged.iter().filter(|key| !records.contains_key(*key)).collect();
        assert!(lost.is_empty(), "{} of {} are lost: {lost:?}", lost.len(), acknowledged.len());
    }
}

#[test]
fn bad_company_is_refused_and_disturbs_nobody() {
    let directory = crate::server::Directory::create();
    let secret = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).expect("the directory is ours");
        path.to_str().expect("plain").to_owned()
    };
    let (right, wrong) = (secret("right", "open sesame\n"), secret("wrong", "open barley"));
    let primary = Node::primary(&["--replication-secret", &right]);
    assert_eq!(primary.ask("set k 0 0 1\r\nx"), "STORED");
    let port = primary.port();
    for said in [&b"get k\r\n"[..], b"RINGLINK", &[0; 200], b""] {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("it accepts");
        stream.write_all(said).expect("it takes some bytes");
        stream.shutdown(std::net::Shutdown::Write).expect("it is open");
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        assert!(answer.is_empty(), "{answer:?}");
    }
    let refused = Node::replica_of(port, &["--replication-secret", &wrong]);
    await_that("the log says why", || refused.node.server.stderr().contains("does not know the secret"));
    let without = Node::replica_of(port, &[]);
    await_that("and here", || without.node.server.stderr().contains("does not know the secret"));
    let good = Node::replica_of(port, &["--replication-secret", &right]);
    await_equal(&primary, &good);
    // A replica has nothing to hand out, and says so to who asks.
    let second = Node::replica_of(good.port(), &["--replication-secret", &right]);
    await_that("it is told", || second.node.server.stderr().contains("the node is a replica itself"));
    // Something that accepts and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let lonely = Node::replica_of(silent.local_addr().expect("bound").port(), &[]);
    assert_eq!(lonely.ask("get k"), "END");
    assert_eq!(primary.ask("set k 0 0 1\r\ny"), "STORED");
}
