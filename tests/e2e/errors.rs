//! Bad input: each gets memcached's error (or a clear one), never a panic, never another client's bytes.

use std::time::Duration;

use crate::server::{Server, Transport};
use crate::transcript::{Transcript, play_everywhere, play_on_memcached};

#[test]
fn bad_input_gets_memcacheds_errors() {
    play_everywhere(&transcripts());
}

#[test]
fn memcached_answers_the_error_transcripts() {
    play_on_memcached(&transcripts());
}

fn transcripts() -> Vec<Transcript> {
    vec![unknown_commands(), missing_arguments(), wrong_numbers(), wrong_data(), too_large()]
}

const FORMAT: &str = "CLIENT_ERROR bad command line format\r\n";
/// memcached 1.6.40 answers lines that are too short with the format error, and swallows refused data.
const PARSER: &str = "the parser of 1.6.40";

fn unknown_commands() -> Transcript {
    Transcript::new("unknown commands")
        .step("nonsense\r\n", "ERROR\r\n")
        .step("GET k\r\n", "ERROR\r\n")
        .step("get\tk\r\n", "ERROR\r\n")
        .step("getk k\r\n", "ERROR\r\n")
        .step("mnn\r\n", "ERROR\r\n")
        .step("stats nonsense\r\n", "ERROR\r\n")
        .step(b"\x01\x02\xff\xfe\x00 \x80garbage\r\n", "ERROR\r\n")
        .step("some random words that mean nothing\r\n", "ERROR\r\n")
}

fn missing_arguments() -> Transcript {
    ["get", "get ", "gets", "set k 0 0", "set", "incr k", "decr k", "touch k", "gat", "delete", "mg", "md"]
        .iter()
        .fold(Transcript::new("missing arguments"), |transcript, line| {
            transcript.step_since(PARSER, format!("{line}\r\n"), FORMAT, "ERROR\r\n")
        })
        .step_since(PARSER, "\r\n", FORMAT, "ERROR\r\n")
}

fn wrong_numbers() -> Transcript {
    let not_a_length = ["-1", "abc", "99999999999999999999", "1x", "2147483646"];
    let transcript = not_a_length.iter().fold(Transcript::new("wrong numbers"), |transcript, length| {
        transcript.step(format!("set k 0 0 {length}\r\n"), FORMAT)
    });
    let not_flags = ["-1", "abc", "99999999999999999999999", "0x5", "1.5"];
    let transcript = not_flags.iter().fold(transcript, |transcript, flags| {
        let sent = format!("set k {flags} 0 9\r\nsome data\r\n");
        transcript.step_since(PARSER, sent, FORMAT, format!("{FORMAT}ERROR\r\n"))
    });
    transcript
        .step_since(PARSER, "set k 0 abc 9\r\nsome data\r\n", FORMAT, format!("{FORMAT}ERROR\r\n"))
        .step_since(PARSER, "cas k 0 0 9\r\nsome data\r\n", FORMAT, "ERROR\r\nERROR\r\n")
        .step_since(PARSER, "cas k 0 0 9 abc\r\nsome data\r\n", FORMAT, format!("{FORMAT}ERROR\r\n"))
        .step("incr k abc\r\n", "CLIENT_ERROR invalid numeric delta argument\r\n")
        .step("incr k -1\r\n", "CLIENT_ERROR invalid numeric delta argument\r\n")
        .step("incr k 18446744073709551616\r\n", "CLIENT_ERROR invalid numeric delta argument\r\n")
        .step("touch k abc\r\n", "CLIENT_ERROR invalid exptime argument\r\n")
        .step_since(
            "numbers past 32 bits",
            "touch k 99999999999\r\n",
            "CLIENT_ERROR invalid exptime argument\r\n",
            "NOT_FOUND\r\n",
        )
        .step("flush_all abc\r\n", "CLIENT_ERROR invalid exptime argument\r\n")
        .step("ms k -5\r\n", FORMAT)
        .step("ms k 99999999999999999999\r\n", FORMAT)
        .step("get k\r\n", "END\r\n")
}

fn wrong_data() -> Transcript {
    let long = "k".repeat(251);
    Transcript::new("wrong data")
        .step("set k 0 0 3\r\nabcdefghij\r\n", "CLIENT_ERROR bad data chunk\r\nERROR\r\n")
        .step("set k 0 0 10\r\nabc\r\nxxxxxxxxxx\r\n", "CLIENT_ERROR bad data chunk\r\nERROR\r\n")
        .step("ms k 3\r\nabcdefghij\r\n", "CLIENT_ERROR bad data chunk\r\nERROR\r\n")
        .step("get k\r\n", "END\r\n")
        .step_since(
            PARSER,
            format!("set {long} 0 0 9\r\nsome data\r\n"),
            FORMAT,
            format!("{FORMAT}ERROR\r\n"),
        )
        .step_since(PARSER, format!("ms {long} 9\r\nsome data\r\n"), FORMAT, format!("{FORMAT}ERROR\r\n"))
        .step(format!("delete {long}\r\nincr {long} 1\r\ntouch {long} 0\r\n"), FORMAT.repeat(3))
}

fn too_large() -> Transcript {
    let refused = "SERVER_ERROR object too large for cache\r\n";
    let (fits, over) = (1_048_517 - 1, 1_048_517);
    Transcript::new("too large")
        .step(format!("set f 0 0 {fits}\r\n{}\r\n", "x".repeat(fits)), "STORED\r\n")
        .step("mg f s\r\n", format!("HD s{fits}\r\n"))
        // The old value is gone too, and the data was swallowed.
        .step(format!("set f 0 0 {over}\r\n{}\r\nget f\r\n", "x".repeat(over)), format!("{refused}END\r\n"))
        .step(format!("set f 1 0 {fits}\r\n{}\r\n", "x".repeat(fits)), refused)
        .step(format!("add f 0 0 {over}\r\n{}\r\n", "x".repeat(over)), refused)
        .step(format!("ms f {over}\r\n{}\r\n", "x".repeat(over)), refused)
        .step("set f 0 0 5\r\nsmall\r\nget f\r\n", "STORED\r\nVALUE f 0 5\r\nsmall\r\nEND\r\n")
}

#[test]
fn half_a_command_and_a_close_leaves_nothing_behind() {
    for half in ["se", "set k 0 0 10\r\nhalf", "get k", "mg k v", "set k 0 0 10\r\n1234567890", "\r"] {
        let server = Server::ringcached(&["-t", "2"]);
        let mut connection = server.connect();
        connection.send(half);
        connection.end_sending();
        assert_eq!(connection.receive_to_end(), b"", "{half:?}");
        let mut other = server.connect();
        assert_eq!(other.ask("get k"), "END", "{half:?}");
    }
}

#[test]
fn a_line_without_an_end_closes_the_connection() {
    let server = Server::ringcached(&["-t", "1"]);
    for line in ["x".repeat(5000), format!("set {} ", "k".repeat(5000)), " ".repeat(5000)] {
        let mut connection = server.connect();
        connection.send(&line);
        assert_eq!(connection.receive_to_end(), b"");
    }
    assert_eq!(server.connect().ask("mn"), "MN");
}

#[test]
fn a_get_line_may_be_long() {
    let server = Server::ringcached(&["-t", "2"]);
    let mut connection = server.connect();
    let keys: String = (0..2000).map(|number| format!(" {number:050}")).collect();
    connection.send(format!("set {:050} 0 0 1\r\na\r\nget{keys}\r\n", 77));
    assert_eq!(connection.receive_line(), "STORED");
    assert_eq!(connection.receive_line(), format!("VALUE {:050} 0 1", 77));
    assert_eq!(connection.receive_line(), "a");
    assert_eq!(connection.receive_line(), "END");
}

#[test]
fn a_key_line_without_limit_is_cut_off() {
    let server = Server::ringcached(&["-t", "1"]);
    let mut connection = server.connect();
    connection.send("get ");
    let keys = "key ".repeat(16 * 1024);
    let sent = (0..64).find(|_| connection.try_send(&keys).is_err());
    let mut other = server.connect();
    assert_eq!(other.ask("mn"), "MN");
    assert!(
        server.resident_bytes() < 200 << 20,
        "held {} bytes, stopped at {sent:?}",
        server.resident_bytes()
    );
}

#[test]
fn http_is_turned_away() {
    let server = Server::ringcached(&[]);
    let mut connection = server.connect();
    connection.send("PUT / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(connection.receive_to_end(), b"");
}

#[test]
fn quit_answers_what_came_before_and_nothing_after() {
    let server = Server::ringcached(&["-t", "2"]);
    let mut connection = server.connect();
    connection.send("set a 0 0 1\r\na\r\nget a\r\nquit\r\nset a 0 0 1\r\nb\r\n");
    assert_eq!(connection.receive_to_end(), b"STORED\r\nVALUE a 0 1\r\na\r\nEND\r\n");
    assert_eq!(server.connect().ask("mg a s v"), "VA 1 s1");
}

#[test]
fn garbage_never_ends_the_server() {
    let mut server = Server::ringcached(&["-t", "2"]);
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for round in 0..200 {
        let mut connection = server.connect();
        let bytes: Vec<u8> = (0..3000).map(|_| garbage(&mut state, round)).collect();
        // The server may close in the middle of it.
        let _ = connection.try_send(&bytes);
        connection.set_timeouts(Duration::from_millis(5));
        connection.receive(100_000);
    }
    assert!(server.is_running(), "{}", server.stderr());
    assert_eq!(server.connect().ask("mn"), "MN");
}

#[test]
fn garbage_over_a_unix_socket_never_ends_the_server() {
    let mut server = Server::ringcached_on(Transport::Unix, &[]);
    let mut state = 7;
    for round in 0..50 {
        let mut connection = server.connect();
        let bytes: Vec<u8> = (0..3000).map(|_| garbage(&mut state, round)).collect();
        let _ = connection.try_send(&bytes);
    }
    assert!(server.is_running(), "{}", server.stderr());
    assert_eq!(server.connect().ask("mn"), "MN");
}

/// Any byte in even rounds; letters of real commands, digits and line ends in odd ones.
fn garbage(state: &mut u64, round: u32) -> u8 {
    const ALPHABET: &[u8] = b"get set msgadk incr 0123456789 \r\n-  vqTNRbO";
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    let byte = (*state >> 32) as u8;
    if round.is_multiple_of(2) { byte } else { ALPHABET[usize::from(byte) % ALPHABET.len()] }
}
