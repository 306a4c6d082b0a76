//! A panic in one worker ends the process.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::os::unix::process::ExitStatusExt;

use crate::server::Server;

const VALUE_BYTES: u32 = 12_345;
const SIGABRT: i32 = 6;

/// No request may make a worker panic, so its memory is damaged from outside: a record that says it is longer than all
/// memory breaks an invariant of the engine when it is read. The builds without debug assertions do not check this one.
#[test]
#[cfg_attr(not(debug_assertions), ignore = "needs debug assertions")]
fn a_panic_in_one_worker_ends_the_process() {
    // Connections are spread over the workers, so each of them is met once.
    for reading in 0..2 {
        let mut server = Server::ringcached(&["-t", "2", "-m", "8"]);
        let mut connections = [server.connect(), server.connect()];
        let value = "v".repeat(VALUE_BYTES as usize);
        connections[0].send(format!("set damaged-key 0 0 {VALUE_BYTES}\r\n{value}\r\n"));
        assert_eq!(connections[0].receive_line(), "STORED");
        assert!(damage_lengths(server.pid(), "damaged-keyvvvvvvvv") > 0, "the record is in memory");
        connections[reading].send("get damaged-key\r\n");
        assert_eq!(server.wait().signal(), Some(SIGABRT), "{}", server.stderr());
        assert!(server.stderr().contains("panicked at"), "{}", server.stderr());
    }
}

/// Overwrites the length of the value in the header before each place where `record` stands in the memory of a
/// process. Returns how many words were overwritten.
fn damage_lengths(pid: u32, record: &str) -> usize {
    const HEADER_BYTES_MAX: usize = 64;
    let memory = File::options().read(true).write(true).open(format!("/proc/{pid}/mem"));
    let memory = memory.expect("the memory of an own child may be changed");
    let mut damaged = 0;
    for (start, mut bytes) in writable_mappings(pid, &memory) {
        let places: Vec<usize> = memchr::memmem::find_iter(&bytes, record.as_bytes()).collect();
        for place in places {
            for at in place.saturating_sub(HEADER_BYTES_MAX)..place.saturating_sub(size_of::<u32>()) {
                if bytes[at..at + size_of::<u32>()] == VALUE_BYTES.to_le_bytes() {
                    bytes[at..at + size_of::<u32>()].copy_from_slice(&u32::MAX.to_le_bytes());
                    memory.write_all_at(&u32::MAX.to_le_bytes(), start + at as u64).expect("it was readable");
                    damaged += 1;
                }
            }
        }
    }
    damaged
}

/// Every anonymous writable mapping of a process that can be read, with its address.
fn writable_mappings(pid: u32, memory: &File) -> Vec<(u64, Vec<u8>)> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).expect("the process runs");
    let ranges = maps.lines().filter_map(|line| {
        let (range, rest) = line.split_once(' ')?;
        let (start, end) = range.split_once('-')?;
        let is_anonymous = rest.starts_with("rw") && rest.split_whitespace().count() <= 4;
        let start = u64::from_str_radix(start, 16).ok()?;
        let length = u64::from_str_radix(end, 16).ok()? - start;
        is_anonymous.then_some((start, length))
    });
    let read = |(start, length): (u64, u64)| {
        let mut bytes = vec![0; usize::try_from(length).ok()?];
        memory.read_exact_at(&mut bytes, start).ok()?;
        Some((start, bytes))
    };
    ranges.filter_map(read).collect()
}
