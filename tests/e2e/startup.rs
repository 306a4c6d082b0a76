//! The command line as an operator meets it: what is printed, which exit code, which files appear.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::frames::{Frame, code};
use crate::server::{
    Address, Connection, Directory, Server, Transport, is_root, ringcached_path, run, run_ringcached,
};

#[test]
fn the_version_is_one_that_scripts_parse() {
    for flag in ["-V", "--version"] {
        let output = run_ringcached(&[flag]);
        assert_eq!(output.status.code(), Some(0));
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(text.starts_with("memcached 1.6.45"), "{text}");
    }
}

#[test]
fn the_help_opens_with_the_version_and_names_the_flags() {
    let output = run_ringcached(&["-h"]);
    assert_eq!(output.status.code(), Some(0));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.starts_with("memcached 1.6.45"), "{text}");
    for flag in
        ["-p", "-s", "-a", "-l", "-m", "-M", "-c", "-t", "-I", "-R", "-b", "-C", "-F", "-A", "-d", "-P", "-u"]
    {
        assert!(text.contains(flag), "{flag} is not in the help");
    }
}

#[test]
fn what_cannot_be_is_refused_with_a_reason() {
    for flags in [
        &["--no-such-flag"][..],
        &["-o", "no_such_option"],
        &["-p", "70000"],
        &["-t", "0"],
        &["-c", "0"],
        &["-I", "10"],
        &["-I", "2g"],
        &["-B", "telepathy"],
        &["-m", "abc"],
        &["-l", "no.such.host.invalid", "-p", "-1"],
        &["-s", "/no/such/directory/socket"],
    ] {
        let output = run_ringcached(flags);
        assert!(output.status.code().is_some_and(|code| code != 0), "{flags:?} was accepted");
        assert!(!output.stderr.is_empty(), "{flags:?} is refused without a word");
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!text.contains("panicked"), "{flags:?}: {text}");
    }
}

#[test]
fn an_unknown_protocol_has_memcacheds_exit_code() {
    assert_eq!(run_ringcached(&["-B", "telepathy"]).status.code(), Some(64));
}

#[test]
fn too_little_memory_for_the_workers_is_refused_with_the_least_that_would_do() {
    let output = run_ringcached(&["-m", "1", "-t", "64", "-p", "-1", "-l", "127.0.0.1"]);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_ne!(output.status.code(), Some(0));
    assert!(!text.contains("panicked") && text.contains("64"), "{text}");
}

#[test]
fn a_taken_port_is_refused_with_its_name() {
    let server = Server::ringcached(&[]);
    let output = run_ringcached(&["-l", "127.0.0.1", "-p", &server.port().to_string()]);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_ne!(output.status.code(), Some(0));
    assert!(text.contains(&server.port().to_string()), "{text}");
}

#[test]
fn a_unix_socket_has_the_mode_that_was_asked_for() {
    for (flags, mode) in [(&[][..], 0o700), (&["-a", "0777"][..], 0o777), (&["-a", "660"][..], 0o660)] {
        let server = Server::ringcached_on(Transport::Unix, flags);
        let Address::Unix(path) = server.address() else { unreachable!("asked for") };
        let is = fs::metadata(path).expect("the server listens there").permissions().mode() & 0o777;
        assert_eq!(is, mode, "{flags:?}");
    }
}

#[test]
fn a_stale_socket_file_is_replaced() {
    let directory = Directory::create();
    let path = directory.path().join("socket");
    drop(std::os::unix::net::UnixListener::bind(&path).expect("the directory is empty"));
    // The first server is killed, so that it leaves its file behind for the second.
    for _ in 0..2 {
        assert!(path.exists());
        assert_eq!(Server::ringcached_at(&path).connect().ask("mn"), "MN");
    }
}

#[test]
fn the_pid_file_holds_the_pid() {
    let directory = Directory::create();
    let file = directory.path().join("pid");
    let server = Server::ringcached(&["-P", file.to_str().expect("plain")]);
    assert_eq!(fs::read_to_string(&file).expect("written").trim(), server.pid().to_string());
}

#[test]
fn a_daemon_detaches_and_removes_its_pid_file() {
    // With -r it stays where it was started, because that is where a core dump goes.
    for (flags, stays) in [("-d", false), ("-dr", true)] {
        let directory = Directory::create();
        let (pid_file, ports) = (directory.path().join("pid"), directory.path().join("ports"));
        let mut command = Command::new(ringcached_path());
        command
            .args([flags, "-l", "127.0.0.1", "-p", "-1", "-P"])
            .arg(&pid_file)
            .current_dir(directory.path())
            .env("MEMCACHED_PORT_FILENAME", &ports);
        assert_eq!(run(&mut command).status.code(), Some(0), "the first process ends");
        assert!(wait_for(|| ports.exists() && pid_file.exists()), "the daemon starts");
        let pid = fs::read_to_string(&pid_file).expect("written").trim().to_owned();
        let place = fs::read_link(format!("/proc/{pid}/cwd")).expect("it runs");
        assert_eq!(place, if stays { directory.path() } else { Path::new("/") }, "{flags}");
        assert!(run(Command::new("kill").args(["-s", "TERM", &pid])).status.success());
        assert!(wait_for(|| !pid_file.exists()), "the pid file is removed");
    }
}

#[test]
fn a_log_that_nobody_reads_any_more_is_no_reason_to_end() {
    let directory = Directory::create();
    let socket = directory.path().join("socket");
    let mut command = Command::new(ringcached_path());
    command.arg("-v").arg("-s").arg(&socket).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program is there");
    let answers = || Connection::open(&Address::Unix(socket.clone())).is_ok_and(|mut c| c.ask("mn") == "MN");
    let starts = wait_for(answers);
    drop(child.stderr.take());
    let hangup = run(Command::new("kill").args(["-s", "HUP", &child.id().to_string()]));
    // Logs once more, and a panic would take some time to end the process.
    std::thread::sleep(Duration::from_millis(200));
    let goes_on = answers();
    child.kill().expect("the child is ours");
    child.wait().expect("the child is ours");
    assert!(starts && hangup.status.success() && goes_on);
}

#[test]
fn a_unix_socket_belongs_to_the_user_that_is_switched_to() {
    if !is_root() {
        return;
    }
    let directory = Directory::create();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o777)).expect("it is ours");
    let path = directory.path().join("socket");
    let mut command = Command::new(ringcached_path());
    let mut child = command.args(["-u", "nobody", "-s"]).arg(&path).spawn().expect("the program is there");
    let appears = wait_for(|| path.exists());
    let owner = fs::metadata(&path).map(|metadata| metadata.uid());
    child.kill().expect("the child is ours");
    child.wait().expect("the child is ours");
    assert!(appears && owner.is_ok_and(|owner| owner != 0));
}

/// Where the memory can be locked (`-k`), what is given back to the kernel is given back all the same.
#[test]
fn locked_memory_is_given_back() {
    let server = Server::ringcached(&["-k", "-m", "16", "-t", "2"]);
    let mut connection = server.connect();
    let value = "v".repeat(100_000);
    for round in 0..4 {
        let sets = (0..200).map(|key| format!("set key{key} 0 0 100000 noreply\r\n{value}\r\n"));
        connection.send(sets.collect::<String>() + "mn\r\n");
        assert_eq!(connection.receive_line(), "MN", "round {round}");
        assert_eq!(connection.ask("flush_all"), "OK");
    }
    assert!(server.resident_bytes() < 200 << 20, "{}", server.resident_bytes());
}

#[test]
fn several_addresses_are_listened_on() {
    let server = Server::ringcached(&["-l", "127.0.0.2,127.0.0.3"]);
    let ports = server.ports();
    assert_eq!(ports.len(), 3, "{ports:?}");
    for (host, port) in [[127, 0, 0, 1], [127, 0, 0, 2], [127, 0, 0, 3]].into_iter().zip(ports) {
        let mut connection = Connection::open(&Address::Tcp((host, port).into())).expect("it listens there");
        assert_eq!(connection.ask("mn"), "MN", "{host:?}");
    }
}

#[test]
fn a_listener_may_have_a_protocol_of_its_own() {
    let server =
        Server::ringcached(&["-l", "proto[ascii]:127.0.0.2,tag[x]:127.0.0.3,proto[binary]:127.0.0.4"]);
    let question = Frame::request(code::VERSION);
    let mut answers = Vec::new();
    for (host, port) in [2, 3, 4].into_iter().zip(&server.ports()[1..]) {
        let address = Address::Tcp(([127, 0, 0, host], *port).into());
        let mut connection = Connection::open(&address).expect("it listens there");
        connection.send([&question.bytes(), &b"\r\n"[..]].concat());
        answers.push(connection.receive(1));
        let mut connection = Connection::open(&address).expect("it listens there");
        connection.send("mn\r\n");
        connection.end_sending();
        answers.push(connection.receive_to_end());
    }
    let expected: [&[u8]; 6] = [b"E", b"MN\r\n", b"\x81", b"MN\r\n", b"\x81", b""];
    assert_eq!(answers, expected);
}

#[test]
fn memcacheds_options_are_accepted() {
    let options = "maxconns_fast,hashpower=16,slab_reassign,slab_automove=1,lru_crawler,lru_maintainer,modern,\
                   idle_timeout=0,hash_algorithm=murmur3,slab_chunk_max=512,no_inline_ascii_resp,tail_repair_time=60";
    let server =
        Server::ringcached(&["-o", options, "-v", "-n", "48", "-f", "1.25", "-b", "1024", "-R", "20"]);
    assert_eq!(server.connect().ask("mn"), "MN");
}

#[test]
fn settings_show_the_flags() {
    let server = Server::ringcached(&[
        "-m", "100", "-c", "512", "-t", "2", "-I", "2m", "-R", "10", "-C", "-M", "-N", "2",
    ]);
    let mut connection = server.connect();
    for (name, value) in [
        ("maxbytes", "104857600"),
        ("maxconns", "512"),
        ("num_threads", "2"),
        ("item_size_max", "2097152"),
        ("reqs_per_event", "10"),
        ("cas_enabled", "no"),
        ("evictions", "off"),
        ("num_napi_ids", "2"),
        ("memory_file", "(null)"),
    ] {
        assert_eq!(connection.stat("stats settings", name).as_deref(), Some(value), "{name}");
    }
}

fn wait_for(condition: impl Fn() -> bool) -> bool {
    (0..1000).any(|_| {
        std::thread::sleep(Duration::from_millis(10));
        condition()
    })
}
