//! The program as its users meet it: exit codes, messages, and no server left behind.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

fn ringbench(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ringbench"))
        .args(arguments)
        .output()
        .expect("the program was just built")
}

/// Exit code 2, nothing on stdout, and the reason on stderr.
fn assert_no_result(arguments: &[&str], reason: &str) {
    let output = ringbench(arguments);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {stderr}");
    assert!(output.stdout.is_empty(), "half a report: {}", String::from_utf8_lossy(&output.stdout));
    assert!(stderr.contains(reason), "{arguments:?}: {stderr}");
}

/// A running floor; its address, and the process to stop.
struct Floor {
    child: Child,
    address: String,
}

impl Floor {
    fn start() -> Floor {
        let mut child = Command::new(env!("CARGO_BIN_EXE_ringbench"))
            .args(["floor", "--port", "0"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program was just built");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("it is piped"))
            .read_line(&mut line)
            .expect("it says its address");
        let address = line.trim().strip_prefix("floor on ").expect("its first line").to_string();
        Floor { child, address }
    }
}

impl Drop for Floor {
    fn drop(&mut self) {
        // It may have ended by itself; there is nothing else to stop.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A program that takes a server's arguments and is a floor; it kills itself after `seconds`, if given. Removed on drop.
struct Stand {
    path: PathBuf,
}

impl Stand {
    fn new(name: &str, seconds: Option<f64>) -> Stand {
        let path = std::env::temp_dir().join(format!("ringbench-{name}-{}", std::process::id()));
        let death = seconds.map(|seconds| format!("(sleep {seconds}; kill -9 $$) &\n")).unwrap_or_default();
        let own = env!("CARGO_BIN_EXE_ringbench");
        // `-l ADDRESS -p PORT` is how a server is started.
        let script = format!("#!/bin/sh\n{death}exec {own} floor --port \"$4\"\n");
        fs::write(&path, script).expect("the folder for such files takes one");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).expect("it was just written");
        Stand { path }
    }

    fn path(&self) -> &str {
        self.path.to_str().expect("the name is plain")
    }
}

impl Drop for Stand {
    fn drop(&mut self) {
        // A file left behind does no harm.
        let _ = fs::remove_file(&self.path);
    }
}

#[test]
fn without_a_server_there_is_no_result() {
    let port = TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("a free port")
        .port();
    let nobody = format!("127.0.0.1:{port}");
    for command in ["load", "pairs", "idle"] {
        assert_no_result(&[command, "--server", &nobody], "cannot connect");
    }
    assert_no_result(&["load", "--server", "unix:/nonexistent"], "cannot connect");
}

#[test]
fn a_socket_path_that_is_too_long_gives_no_result() {
    let server = format!("unix:/tmp/{}", "x".repeat(200));
    assert_no_result(&["load", "--server", &server], "cannot connect to unix:/tmp/xxx");
}

#[test]
fn senseless_options_give_no_result() {
    for (options, reason) in [
        (["--connections", "0"], "connections"),
        (["--depth", "0"], "depth"),
        (["--threads", "0"], "threads"),
        (["--keys", "0"], "keys"),
        (["--multiget", "0"], "multiget"),
        (["--seconds", "0"], "above 0"),
        (["--seconds", "nan"], "above 0"),
        (["--rate", "0"], "rate"),
        (["--rate", "-5"], "rate"),
        (["--rate", "1e30"], "rate"),
        (["--mix", "get=0"], "zero"),
        (["--mix", "fetch=1"], "none of get, set"),
        (["--key-distribution", "zipf:-1"], "exponent"),
        (["--value-bytes", "log-normal:0"], "mean"),
        (["--value-bytes", "cluster:5"], "cluster 5"),
        (["--value-bytes", "trace"], "--trace"),
        (["--trace", "/nonexistent/keys.u32.gz"], "/nonexistent/keys.u32.gz"),
        (["--trace", "/etc/passwd"], "/etc/passwd"),
        (["--threads", "51"], "connections"),
        (["--pin", "4096"], "CPU"),
    ] {
        let mut arguments = vec!["load", "--server", "127.0.0.1:9", "--no-preload"];
        arguments.extend(options);
        assert_no_result(&arguments, reason);
    }
    let load = ["load", "--server", "127.0.0.1:9"];
    assert_no_result(&[&load[..], &["--protocol", "resp", "--mix", "mg=1"]].concat(), "meta");
    assert_no_result(&[&load[..], &["--verify", "--value-bytes", "9"]].concat(), "16 bytes");
    assert_no_result(&[&load[..], &["--blind", "--mix", "delete=1"]].concat(), "--blind");
}

#[test]
fn a_rate_that_no_server_keeps_gives_no_result() {
    let floor = Floor::start();
    let load = ["load", "--server", &floor.address, "--seconds", "0.1", "--keys", "10", "--rate", "9e7"];
    assert_no_result(&load, "was not reached");
}

/// Goal: a server that dies in mid-run ends the run soon, with its reason and without figures.
#[test]
fn a_server_that_dies_in_mid_run_gives_no_result() {
    let stand = Stand::new("dying", Some(0.5));
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("it is bound").port().to_string();
    drop(listener);
    let mut server = Command::new(stand.path())
        .args(["-l", "127.0.0.1", "-p", &port])
        .stdout(Stdio::null())
        .spawn()
        .expect("it is a program");
    std::thread::sleep(Duration::from_millis(100));
    let address = format!("127.0.0.1:{port}");
    let load = ["load", "--server", &address, "--keys", "10", "--seconds", "60", "--json"];
    assert_no_result(&load, "the server closed a connection during the run");
    server.wait().expect("it has killed itself");
}

#[test]
fn a_server_that_cannot_start_gives_no_result() {
    assert_no_result(
        &["compare", "--ringcached", "/nonexistent/ringcached"],
        "there is no program /nonexistent/ringcached",
    );
    let floor = Stand::new("present", None);
    for peer in ["--memcached", "--redis"] {
        assert_no_result(
            &["compare", "--ringcached", floor.path(), "--memcached", floor.path(), peer, "no-such-server"],
            "",
        );
    }
    let compare = ["compare", "--ringcached", "/bin/false", "--memcached", floor.path()];
    assert_no_result(&compare, "ended before it accepted connections");
}

#[test]
fn senseless_comparisons_give_no_result() {
    let floor = Stand::new("plain", None);
    let compare = ["compare", "--ringcached", floor.path(), "--memcached", floor.path()];
    for (options, reason) in [
        (["--rows", "depth1,depth2"], "there is no row depth2; the rows are depth1,"),
        (["--seconds", "0"], "above 0"),
        (["--rounds", "0"], "rounds"),
        (["--client-cpu", "4096"], "CPU"),
        (["--traces", "/nonexistent/traces"], "no folder /nonexistent/traces"),
    ] {
        assert_no_result(&[&compare[..], &options].concat(), reason);
    }
}

/// Goal: a comparison whose server dies tells so and prints no part of its report, though a row was finished before.
#[test]
fn a_server_that_dies_in_a_comparison_gives_no_result() {
    let (dying, floor) = (Stand::new("dying-ringcached", Some(1.5)), Stand::new("memcached", None));
    let compare = ["compare", "--ringcached", dying.path(), "--memcached", floor.path(), "--client-cpu", "0"];
    let length = ["--seconds", "5", "--rounds", "1", "--rows", "depth1"];
    assert_no_result(&[&compare[..], &length].concat(), "the server closed a connection during the run");
}

#[test]
fn a_comparison_reports_every_row_asked_for() {
    let floor = Stand::new("as-ringcached", None);
    let peer = Stand::new("as-memcached", None);
    let compare = ["compare", "--ringcached", floor.path(), "--memcached", peer.path(), "--client-cpu", "0"];
    let length = ["--seconds", "0.1", "--rounds", "1", "--rows", "depth16,set16"];
    let run = |format: &[&str]| {
        let output = ringbench(&[&compare[..], &length, format].concat());
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("a report is text")
    };
    let report: serde_json::Value = serde_json::from_str(&run(&["--json"])).expect("one JSON document");
    let rows = report["rows"].as_array().expect("a list of rows");
    assert_eq!(
        rows.iter().map(|row| row["row"].as_str()).collect::<Vec<_>>(),
        [Some("depth16"), Some("set16")]
    );
    assert_eq!(rows[0]["ratios"][0]["at_most"], 0.45, "{report}");
    assert!(rows[0]["curves"][0]["points"].as_array().is_some_and(|points| points.len() > 10), "{report}");
    assert!(run(&["--markdown"]).contains("| set16 | CPU per key, ringcached/memcached |"));
}

#[test]
fn a_load_reports_and_a_wrong_server_is_told_apart() {
    let floor = Floor::start();
    let load = ["load", "--server", &floor.address, "--seconds", "0.1", "--keys", "100", "--json"];
    let output = ringbench(&load);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("one JSON document");
    assert!(report["requests"].as_u64() > Some(0), "{report}");
    assert_eq!(report["errors"], 0);
    // The floor never stores anything, so nothing that is read can be what was written.
    let pairs = ringbench(&["pairs", "--server", &floor.address, "--pairs", "100"]);
    assert_eq!(pairs.status.code(), Some(1), "{}", String::from_utf8_lossy(&pairs.stderr));
}

/// A comparison that is killed can't stop its servers itself.
#[test]
fn servers_end_with_a_killed_comparison() {
    let own = env!("CARGO_BIN_EXE_ringbench");
    let sleeper = format!("{own} launch --cpus 0 --parent $$ -- /bin/sleep 60 >/dev/null 2>&1");
    let script = format!("{sleeper} & sleep 0.3; kill -0 $! && echo $!; kill -9 $$");
    let output = Command::new("/bin/sh").args(["-c", &script]).output().expect("a shell runs");
    let printed = String::from_utf8_lossy(&output.stdout).trim().to_string();
    let pid: u32 = printed.parse().expect("it lived as long as its parent");
    let has_ended = || match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(stat) => stat.contains(") Z "),
        Err(_) => true,
    };
    for _ in 0..100 {
        if has_ended() {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("process {pid} outlived its parent");
}
