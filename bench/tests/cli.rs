//! The program as its users meet it: exit codes, messages, and no server left behind.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
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
fn senseless_options_give_no_result() {
    for (options, reason) in [
        (["--connections", "0"], "connections"),
        (["--depth", "0"], "depth"),
        (["--seconds", "0"], "above 0"),
        (["--seconds", "nan"], "above 0"),
        (["--rate", "0"], "rate"),
        (["--rate", "1e30"], "rate"),
        (["--mix", "get=0"], "zero"),
        (["--key-distribution", "zipf:-1"], "exponent"),
        (["--threads", "51"], "connections"),
        (["--pin", "4096"], "CPU"),
    ] {
        let mut arguments = vec!["load", "--server", "127.0.0.1:9", "--no-preload"];
        arguments.extend(options);
        assert_no_result(&arguments, reason);
    }
}

#[test]
fn a_server_that_cannot_start_gives_no_result() {
    assert_no_result(
        &["compare", "--ringcached", "/nonexistent/ringcached"],
        "there is no program /nonexistent/ringcached",
    );
    assert_no_result(&["compare", "--ringcached", "/bin/false"], "ended before it accepted connections");
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
