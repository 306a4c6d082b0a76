//! libmemcached's command line tools: what each prints and how it ends is the same with a stock memcached.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::server::{Directory, Server, peer_program, run};
use crate::{KEYS, filled};

/// The cases that memccapable has for each protocol.
const MEMCCAPABLE_CASES: usize = 27;

/// What is run, in this order, in either protocol. `memccp` stores the file `greeting` under that key.
const COMMANDS: [&str; 22] = [
    "memcping",
    "memccp greeting",
    "memccat greeting",
    "memccat --flags greeting",
    "memccat none",
    "memcexist greeting",
    "memcexist none",
    "memctouch --expire=100 greeting",
    "memctouch --expire=100 none",
    "memcrm greeting",
    "memcrm greeting",
    "memccp --add greeting",
    "memccp --add greeting",
    "memccp --replace greeting",
    "memccp --set --flags=7 --expire=1000 greeting",
    "memccat --flags greeting",
    "memcdump",
    "memcflush",
    "memccat greeting",
    "memcslap --test=set --execute-number=100 --concurrency=2",
    "memcslap --test=get --execute-number=100 --concurrency=2 --initial-load=100",
    "memcslap --test=mget --execute-number=20 --concurrency=2 --initial-load=100",
];
/// Which have no `--binary`.
const TEXT_ONLY: [&str; 2] = ["memcping", "memcdump"];

#[test]
fn memccapable_passes_every_ascii_case() {
    run_memccapable("-a", "ascii");
}

#[test]
fn memccapable_passes_every_binary_case() {
    run_memccapable("-b", "binary");
}

fn run_memccapable(flag: &str, protocol: &str) {
    let Some(program) = peer_program("memccapable") else { return };
    for workers in ["1", "2", "4"] {
        let server = Server::ringcached(&["-t", workers]);
        let port = server.port().to_string();
        let output = run(Command::new(&program).args(["-h", "127.0.0.1", "-p", &port, flag]));
        let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        let passed =
            text.lines().filter(|line| line.starts_with(protocol) && line.contains("[pass]")).count();
        assert!(output.status.success(), "{workers} workers:\n{text}");
        assert_eq!(passed, MEMCCAPABLE_CASES, "{workers} workers:\n{text}");
    }
}

#[test]
fn each_tool_says_what_it_says_with_memcached() {
    if peer_program("memccat").is_none() {
        return;
    }
    let directory = Directory::create();
    fs::write(directory.path().join("greeting"), "hello").expect("the directory was just made");
    for (protocol, short) in [("", ""), ("--binary", "-B")] {
        let Some(stock) = Server::memcached(&[]) else { return };
        let server = Server::ringcached(&["-t", "2"]);
        for command in COMMANDS {
            let expected = outcome(&stock, command, protocol, &directory);
            assert_eq!(outcome(&server, command, protocol, &directory), expected, "{command} {protocol}");
        }
        let counts = memcaslap(&stock, short);
        assert!(counts.len() == 3, "memcaslap reports other counts: {counts:?}");
        assert_eq!(memcaslap(&server, short), counts, "memcaslap {short}");
    }
}

/// Exit code and output of a tool, without the figures of how long it took.
fn outcome(server: &Server, command: &str, protocol: &str, directory: &Directory) -> (Option<i32>, String) {
    let mut words = command.split_whitespace();
    let program = words.next().expect("a command has a name");
    let mut command = Command::new(program);
    command.current_dir(directory.path()).arg(format!("--servers=127.0.0.1:{}", server.port()));
    if !protocol.is_empty() && !TEXT_ONLY.contains(&program) {
        command.arg(protocol);
    }
    let output = run(command.args(words));
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    (output.status.code(), if program == "memcslap" { without_seconds(&text) } else { text.into_owned() })
}

fn without_seconds(text: &str) -> String {
    let lines = text.lines().map(|line| match line.split_once(':') {
        Some((what, _)) if line.ends_with("seconds.") => what,
        _ => line,
    });
    lines.map(|line| format!("{line}\n")).collect()
}

/// The counts that memcaslap reports at its end.
fn memcaslap(server: &Server, protocol: &str) -> Vec<String> {
    let address = format!("127.0.0.1:{}", server.port());
    let mut command = Command::new("memcaslap");
    command.args(["-s", &address, "-x", "2000", "-T", "1", "-c", "4"]);
    if !protocol.is_empty() {
        command.arg(protocol);
    }
    let output = run(&mut command);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let counts = ["cmd_get: ", "cmd_set: ", "get_misses: "];
    let lines = text.lines().filter(|line| counts.iter().any(|count| line.starts_with(count)));
    lines.map(str::to_owned).collect()
}

#[test]
fn memcerror_needs_no_server() {
    let Some(program) = peer_program("memcerror") else { return };
    let output = run(Command::new(program).arg("3"));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "CONNECTION FAILURE\n");
}

#[test]
fn memcstat_and_memcdump_work() {
    let (Some(memcstat), Some(memcdump)) = (peer_program("memcstat"), peer_program("memcdump")) else {
        return;
    };
    for workers in ["1", "2"] {
        let server = filled(&["-t", workers]);
        let servers = format!("--servers=127.0.0.1:{}", server.port());
        let show = |program: &PathBuf| {
            let output = run(Command::new(program).arg(&servers));
            assert!(output.status.success(), "{program:?}: {}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8_lossy(&output.stdout).into_owned()
        };
        let shown = show(&memcstat);
        assert!(shown.contains("curr_items: 50") && shown.contains("version: 1.6.45"), "{shown}");
        let mut keys: Vec<String> = show(&memcdump).lines().map(str::to_owned).collect();
        keys.sort_unstable();
        let mut expected: Vec<String> = (0..KEYS).map(|key| format!("key{key}")).collect();
        expected.sort_unstable();
        assert_eq!(keys, expected, "{workers} workers");
    }
}
