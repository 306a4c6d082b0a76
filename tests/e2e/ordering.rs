//! A connection reads its own writes, in the order in which it sent its commands, whichever worker owns the key.
//!
//! `ringbench pairs` runs the same check over ten million pairs.

use crate::server::Server;

const PAIRS: usize = 200_000;
const PAIRS_PER_BATCH: usize = 500;

#[test]
fn a_get_behind_a_set_reads_what_was_set() {
    let server = Server::ringcached(&["-t", "2"]);
    let mut connection = server.connect();
    let mut sender = connection.another_handle();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            (0..PAIRS).step_by(PAIRS_PER_BATCH).for_each(|first| sender.send(pairs(first, set_and_get)))
        });
        for first in (0..PAIRS).step_by(PAIRS_PER_BATCH) {
            let expected = pairs(first, stored_and_value);
            let replied = connection.receive(expected.len());
            assert_eq!(String::from_utf8_lossy(&replied), expected, "pairs from {first}");
        }
    });
}

#[test]
fn replies_keep_the_order_of_mixed_commands() {
    let server = Server::ringcached(&["-t", "4"]);
    let mut connection = server.connect();
    for round in 0..200 {
        let (mut sent, mut expected) = (String::new(), String::new());
        for key in 0..50 {
            sent +=
                &format!("set c{key} 0 0 1\r\n0\r\nincr c{key} {round}\r\nget none\r\nma c{key} v\r\nmn\r\n");
            let after = (round + 1).to_string();
            expected += &format!("STORED\r\n{round}\r\nEND\r\nVA {}\r\n{after}\r\nMN\r\n", after.len());
            sent +=
                &format!("delete c{key}\r\nmg c{key} v\r\nadd c{key} 0 0 2\r\nok\r\ngets none c{key}x\r\n");
            expected += "DELETED\r\nEN\r\nSTORED\r\nEND\r\n";
        }
        connection.send(sent);
        let replied = connection.receive(expected.len());
        assert_eq!(String::from_utf8_lossy(&replied), expected, "round {round}");
    }
}

#[test]
fn one_connections_write_is_seen_by_all_others_once_it_is_answered() {
    let server = Server::ringcached(&["-t", "2"]);
    let mut writer = server.connect();
    let mut readers: Vec<_> = (0..8).map(|_| server.connect()).collect();
    for round in 0..500 {
        writer.send(format!("set k{} 0 0 6\r\n{round:06}\r\n", round % 7));
        assert_eq!(writer.receive_line(), "STORED");
        let reader = &mut readers[round % 8];
        reader.send(format!("get k{}\r\n", round % 7));
        let expected = format!("VALUE k{} 0 6\r\n{round:06}\r\nEND\r\n", round % 7);
        assert_eq!(String::from_utf8_lossy(&reader.receive(expected.len())), expected);
    }
}

fn pairs(first: usize, write: impl Fn(&mut String, usize)) -> String {
    let mut text = String::new();
    (first..first + PAIRS_PER_BATCH).for_each(|number| write(&mut text, number));
    text
}

/// A hundred keys, so that each is overwritten often and both workers own some.
fn set_and_get(text: &mut String, number: usize) {
    let key = number % 100;
    *text += &format!("set k{key} 0 0 8\r\n{number:08}\r\nget k{key}\r\n");
}

fn stored_and_value(text: &mut String, number: usize) {
    let key = number % 100;
    *text += &format!("STORED\r\nVALUE k{key} 0 8\r\n{number:08}\r\nEND\r\n");
}
