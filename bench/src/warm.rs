//! `ringbench warm`: stops a server gracefully and starts it again, many times, and counts what was lost or is wrong.
//!
//! Between two restarts some records are overwritten, some deleted and some stored anew. What each key must show is
//! kept here, so that every record is compared after every restart.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use rustix::process::Signal;
use serde_json::json;

use crate::child::Server;
use crate::client::{Client, append_set, not_a_reply};
use crate::error::BenchError;
use crate::keys::Random;
use crate::process::resident_bytes;
use crate::reply::Piece;
use crate::report;

/// Options of `ringbench warm`.
#[derive(Args, Debug)]
pub struct WarmArgs {
    /// The ringcached to measure; by default the one beside this program
    #[arg(long)]
    ringcached: Option<PathBuf>,
    /// Where the memory file is made, and removed at the end
    #[arg(long, default_value = "/dev/shm")]
    directory: PathBuf,
    /// Restarts
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    cycles: u32,
    /// Records, headers included, in GiB
    #[arg(long, default_value_t = 1.0)]
    gib: f64,
    /// Length of the values
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(8..=900_000))]
    value_bytes: u32,
    /// Threads of the server (-t)
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: u16,
    /// Threads of the server after every second restart, where they are to change
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=256))]
    other_threads: Option<u16>,
    /// One record in so many is changed between two restarts
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    change_one_in: u32,
    /// Report as JSON
    #[arg(long)]
    json: bool,
}

/// What one restart took and lost.
#[derive(Clone, Copy, Debug)]
struct Cycle {
    records: u64,
    stop: Duration,
    start: Duration,
    lost: u64,
    wrong: u64,
    resident_bytes: u64,
}

/// Runs the command; exit code 1 where a record was lost or wrong.
pub fn run(args: &WarmArgs) -> Result<(), BenchError> {
    let keys = (args.gib * f64::from(1 << 30) / (RECORD_BYTES + f64::from(args.value_bytes))) as u32;
    if keys == 0 {
        return Err(BenchError::Usage("no record is that large".to_string()));
    }
    let file = MemoryFile(args.directory.join(format!("ringbench-warm-{}", std::process::id())));
    let mut model =
        Model { rounds: vec![0; keys as usize], round: 1, value_bytes: args.value_bytes as usize };
    let mut server = start(args, &file, args.threads)?.0;
    model.fill(&mut Client::connect(server.target())?)?;
    let mut random = Random::new(1);
    let mut cycles = Vec::new();
    for number in 0..args.cycles {
        model.change(&mut Client::connect(server.target())?, args.change_one_in, &mut random)?;
        let stopping = Instant::now();
        server.end_by(Signal::USR1)?;
        let stop = stopping.elapsed();
        let threads = args.other_threads.filter(|_| number % 2 == 0).unwrap_or(args.threads);
        let (next, start) = start(args, &file, threads)?;
        let (lost, wrong) = model.check(&mut Client::connect(next.target())?)?;
        let resident_bytes = resident_bytes(next.pid())?;
        let cycle = Cycle { records: model.records(), stop, start, lost, wrong, resident_bytes };
        if !args.json {
            report::print(&cycle.text(number))?;
        }
        cycles.push(cycle);
        server = next;
    }
    drop(server);
    sum_up(args, &cycles)
}

fn sum_up(args: &WarmArgs, cycles: &[Cycle]) -> Result<(), BenchError> {
    let (lost, wrong) = cycles.iter().fold((0, 0), |sum, cycle| (sum.0 + cycle.lost, sum.1 + cycle.wrong));
    let mut starts: Vec<Duration> = cycles.iter().map(|cycle| cycle.start).collect();
    starts.sort_unstable();
    let (median, longest) = (starts[starts.len() / 2], starts[starts.len() - 1]);
    if args.json {
        let (median, longest) = (median.as_secs_f64(), longest.as_secs_f64());
        let report = json!({
            "cycles": cycles.len(), "median_start_s": median, "longest_start_s": longest, "lost": lost, "wrong": wrong,
        });
        report::print(&format!("{report:#}"))?;
    } else {
        let starts =
            format!("start: median {:.3} s, longest {:.3} s", median.as_secs_f64(), longest.as_secs_f64());
        report::print(&format!("{} restarts, lost {lost}, wrong {wrong}, {starts}", cycles.len()))?;
    }
    if lost + wrong == 0 {
        return Ok(());
    }
    Err(BenchError::Violated(format!("{lost} records were lost and {wrong} were wrong")))
}

impl Cycle {
    fn text(&self, number: u32) -> String {
        format!(
            "{:>4}: {:>10} records, stop {:.3} s, start {:.3} s, lost {}, wrong {}, resident {:.0} MiB",
            number + 1,
            self.records,
            self.stop.as_secs_f64(),
            self.start.as_secs_f64(),
            self.lost,
            self.wrong,
            self.resident_bytes as f64 / f64::from(1 << 20)
        )
    }
}

/// Starts a server on the file and waits for its first answer. Returns how long that took.
fn start(args: &WarmArgs, file: &MemoryFile, threads: u16) -> Result<(Server, Duration), BenchError> {
    let own = std::env::current_exe().map_err(BenchError::machine("cannot find this program"))?;
    let path = args.ringcached.clone().unwrap_or_else(|| own.with_file_name("ringcached"));
    let megabytes = ((args.gib * ROOM * 1024.0).ceil() as u64).max(64).to_string();
    let (threads, file) = (threads.to_string(), file.0.display().to_string());
    let arguments = ["-l", "127.0.0.1", "-p", "{port}", "-t", &threads, "-m", &megabytes, "-e", &file];
    let starting = Instant::now();
    let server = Server::start(&path, &arguments, &[])?;
    let mut client = Client::connect(server.target())?;
    client.exchange(b"mn\r\n", 1, |piece| Ok(piece == Piece::Line(b"MN")))?;
    Ok((server, starting.elapsed()))
}

/// Removed when dropped, with what stands beside it.
struct MemoryFile(PathBuf);

impl Drop for MemoryFile {
    fn drop(&mut self) {
        // The second one is there only after a graceful stop.
        let _ = std::fs::remove_file(&self.0);
        let _ = std::fs::remove_file(self.0.with_extension("meta"));
    }
}

/// What every key must show.
struct Model {
    /// By key: the round in which it was stored last; 0 is deleted.
    rounds: Vec<u32>,
    round: u32,
    value_bytes: usize,
}

impl Model {
    fn records(&self) -> u64 {
        self.rounds.iter().filter(|round| **round != 0).count() as u64
    }

    fn fill(&mut self, client: &mut Client) -> Result<(), BenchError> {
        let keys: Vec<u32> = (0..self.rounds.len() as u32).collect();
        keys.chunks(BATCH_KEYS).try_for_each(|keys| self.apply(client, keys, |_| false))
    }

    /// Overwrites, deletes or stores again one key in `one_in`.
    fn change(&mut self, client: &mut Client, one_in: u32, random: &mut Random) -> Result<(), BenchError> {
        self.round += 1;
        let count = self.rounds.len() as u32;
        for _ in 0..count.div_ceil(one_in * BATCH_KEYS as u32) {
            let mut keys: Vec<u32> = (0..BATCH_KEYS).map(|_| random.below(count)).collect();
            keys.sort_unstable();
            keys.dedup();
            self.apply(client, &keys, |key| key % 4 == random_bit(key, one_in))?;
        }
        Ok(())
    }

    fn apply(
        &mut self,
        client: &mut Client,
        keys: &[u32],
        mut deletes: impl FnMut(u32) -> bool,
    ) -> Result<(), BenchError> {
        let mut requests = Vec::new();
        for &key in keys {
            if deletes(key) {
                requests.extend_from_slice(format!("delete {}\r\n", name(key)).as_bytes());
                self.rounds[key as usize] = 0;
            } else {
                append_set(&mut requests, name(key).as_bytes(), 0, &value(key, self.round, self.value_bytes));
                self.rounds[key as usize] = self.round;
            }
        }
        client.exchange(&requests, keys.len(), |piece| match piece {
            Piece::Line(b"STORED" | b"DELETED" | b"NOT_FOUND") => Ok(true),
            other => Err(not_a_reply("set or delete", other)),
        })
    }

    /// Reads every key. Returns how many records are lost, and how many are there that should not be, or differ.
    fn check(&self, client: &mut Client) -> Result<(u64, u64), BenchError> {
        let (mut found, mut wrong) = (0, 0);
        let keys: Vec<u32> = (0..self.rounds.len() as u32).collect();
        let mut requests = String::new();
        for keys in keys.chunks(KEYS_PER_GET) {
            requests.clear();
            requests.push_str("get");
            keys.iter().for_each(|key| {
                write!(requests, " {}", name(*key)).expect("a String takes every write");
            });
            requests.push_str("\r\n");
            client.exchange(requests.as_bytes(), 1, |piece| {
                if let Piece::Value { key, data } = piece {
                    found += 1;
                    wrong += u64::from(!self.is_right(key, data));
                }
                Ok(piece == Piece::Line(b"END"))
            })?;
        }
        Ok((self.records().saturating_sub(found), wrong))
    }

    fn is_right(&self, key: &[u8], data: &[u8]) -> bool {
        let number = std::str::from_utf8(key).ok().and_then(|key| key.parse::<u32>().ok());
        number.is_some_and(|number| {
            let round = self.rounds[number as usize];
            round != 0 && data == value(number, round, self.value_bytes)
        })
    }
}

/// Which of four neighbours is deleted: another one in each place of the key space.
fn random_bit(key: u32, salt: u32) -> u32 {
    (key / 4 + salt) % 4
}

fn name(key: u32) -> String {
    format!("{key:0KEY_BYTES$}")
}

/// Bytes that no other key and no other round has.
fn value(key: u32, round: u32, bytes: usize) -> Vec<u8> {
    let stamp = u64::from(key) << 32 | u64::from(round);
    stamp.to_le_bytes().into_iter().cycle().take(bytes).collect()
}

const KEY_BYTES: usize = 20;
/// Header and key.
const RECORD_BYTES: f64 = 28.0 + KEY_BYTES as f64;
/// `-m` over the records: index, what has died and not been cleaned yet, open slabs.
const ROOM: f64 = 1.5;
const BATCH_KEYS: usize = 1000;
const KEYS_PER_GET: usize = 100;
