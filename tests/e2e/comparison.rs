//! `ringctl verify` between real processes: nothing is found where nothing is, under full load, and damage is.

use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;

use crate::admin::text;
use crate::replication::{Node, await_equal, write_some};
use crate::server::Directory;

/// The exit code of `ringctl verify` and what it says.
fn verify(node: &Node, arguments: &[&str]) -> (i32, Value) {
    let output = node.node.ringctl(&[&["verify", "--json"], arguments].concat());
    let said = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", text(&output.stderr)));
    (output.status.code().expect("it was not killed"), said)
}

#[test]
fn equal_nodes_are_found_equal_from_both_sides_while_they_are_written() {
    for (ours, theirs) in [("1", "2"), ("3", "1")] {
        let primary = Node::primary(&["-t", ours]);
        write_some(&mut primary.connect(), 0, 3_000);
        let replica = Node::replica_of(primary.port(), &["-t", theirs]);
        await_equal(&primary, &replica);
        let (is_over, writers) = (AtomicBool::new(false), [0, 1]);
        std::thread::scope(|scope| {
            for writer in writers {
                let (primary, is_over) = (&primary, &is_over);
                scope.spawn(move || {
                    let mut connection = primary.connect();
                    for round in 0.. {
                        if is_over.load(Ordering::Relaxed) {
                            break;
                        }
                        write_some(&mut connection, (round * 2 + writer) * 37 % 4_000, 200);
                        if round % 40 == 39 && writer == 0 {
                            assert_eq!(connection.ask("flush_all"), "OK");
                        }
                    }
                });
            }
            let address = format!("127.0.0.1:{}", replica.port());
            for _ in 0..2 {
                for (node, arguments) in [(&replica, vec![]), (&primary, vec!["--with", address.as_str()])] {
                    let (code, said) = verify(node, &arguments);
                    assert_eq!((code, &said["equal"]), (0, &Value::Bool(true)), "{said:#}");
                    assert_eq!(said["slots_checked"], 16_384);
                }
            }
            is_over.store(true, Ordering::Relaxed);
        });
        await_equal(&primary, &replica);
        let (code, said) = verify(&replica, &[]);
        assert_eq!((code, &said["slots_listed"]), (0, &Value::from(0)), "{said:#}");
        assert_eq!(said["primary_records"], said["replica_records"]);
        assert_eq!(said["primary_records"], primary.records().len());
    }
}

#[test]
fn a_byte_that_changes_in_the_memory_of_a_replica_is_found() {
    let directory = Directory::create();
    let memory = directory.path().join("memory");
    let primary = Node::primary(&[]);
    let mut connection = primary.connect();
    write_some(&mut connection, 0, 500);
    assert_eq!(connection.ask("set victim 0 0 26\r\nnobody else has such bytes"), "STORED");
    let replica =
        Node::replica_of(primary.port(), &["-m", "4", "-t", "1", "-e", memory.to_str().expect("plain")]);
    await_equal(&primary, &replica);
    assert_eq!(verify(&replica, &[]).0, 0);
    let bytes = std::fs::read(&memory).expect("the file is ours");
    let place = bytes.windows(26).position(|bytes| bytes == b"nobody else has such bytes");
    let file = std::fs::File::options().write(true).open(&memory).expect("the file is ours");
    file.write_all_at(b"N", place.expect("a record is in the file") as u64).expect("it can be written");
    let (code, said) = verify(&replica, &[]);
    assert_eq!((code, &said["equal"], &said["differences"]), (3, &Value::Bool(false), &Value::from(1)));
    assert_eq!(said["by_kind"], serde_json::json!({ "damaged": 1 }));
    assert_eq!(connection.ask("set victim 0 0 1\r\nx"), "STORED");
    let (code, said) = verify(&replica, &[]);
    assert_eq!(code, 0, "what replaces it is intact: {said:#}");
}

#[test]
fn who_has_nobody_to_be_compared_with_says_so() {
    let directory = Directory::create();
    let secret = directory.path().join("secret");
    std::fs::write(&secret, "open sesame").expect("the directory is ours");
    let primary = Node::primary(&["--replication-secret", secret.to_str().expect("plain")]);
    let stranger = Node::primary(&[]);
    let failed = |node: &Node, arguments: &[&str], reason: &str| {
        let (code, said) = verify(node, arguments);
        assert_eq!(code, 1, "{said:#}");
        let error = said["error"].as_str().expect("a reason");
        assert!(error.contains(reason), "{error}");
    };
    failed(&stranger, &[], "--with HOST:PORT");
    failed(&stranger, &["--with", &format!("127.0.0.1:{}", primary.port())], "secret");
    let third = Node::primary(&[]);
    failed(&stranger, &["--with", &format!("127.0.0.1:{}", third.port())], "neither node follows the other");
    failed(&stranger, &["--with", &format!("127.0.0.1:{}", stranger.port())], "hung up");
    assert_eq!(stranger.ask("set k 0 0 1\r\nx"), "STORED");
}
