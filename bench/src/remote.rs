//! `ringbench remote`: what does a read cost when another worker owns the key? Only gets whose key belongs to the worker
//! that serves the connection are sent, or only gets whose key does not.
//!
//! Which worker serves a connection says `stats conns`; which shard a key belongs to says the engine's own hash.

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::rc::Rc;
use std::time::{Duration, Instant};

use clap::Args;
use ringcache_engine::{KeyHash, ShardId};
use serde_json::json;

use crate::client::{Client, append_set, not_a_reply};
use crate::error::BenchError;
use crate::keys::Random;
use crate::process::{CpuShare, CpuTime};
use crate::reply::Piece;
use crate::report;
use crate::ring::{Peer, Ring, Wait};
use crate::target::Target;

/// Options of `ringbench remote`.
#[derive(Args, Debug)]
pub struct RemoteArgs {
    /// The server, a ringcached: HOST:PORT
    #[arg(long)]
    server: Target,
    /// The server's process
    #[arg(long)]
    pid: u32,
    /// Whose keys are asked for
    #[arg(long, value_enum, default_value = "other")]
    owner: Owner,
    /// Length of the measured run
    #[arg(long, default_value_t = 3.0, value_parser = seconds)]
    seconds: f64,
    /// Connections
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    connections: u32,
    /// Requests open on each connection
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=1000))]
    depth: u32,
    /// Report as JSON
    #[arg(long)]
    json: bool,
}

/// Whose keys a connection asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Owner {
    /// Those of the worker that serves the connection.
    Own,
    /// Those of all other workers.
    Other,
    /// All.
    Any,
}

/// How many gets are open, and for how long they are measured.
#[derive(Clone, Copy, Debug)]
pub struct RemotePlan {
    /// Connections.
    pub connections: u32,
    /// Requests open on each.
    pub depth: u32,
    /// Length of the measured run.
    pub length: Duration,
}

/// What a run found.
#[derive(Clone, Copy, Debug)]
pub struct RemoteRun {
    /// Answered.
    pub requests: u64,
    /// In this time.
    pub seconds: f64,
    /// The server's CPU time per request.
    pub cpu: CpuShare,
}

/// Runs the command.
pub fn run(args: &RemoteArgs) -> Result<(), BenchError> {
    store(&args.server)?;
    let length = Duration::from_secs_f64(args.seconds);
    let plan = RemotePlan { connections: args.connections, depth: args.depth, length };
    let RemoteRun { requests, seconds, cpu } = measure(&args.server, args.pid, args.owner, plan)?;
    let rate = requests as f64 / seconds;
    if args.json {
        let cpu = json!({"user": cpu.user_us, "system": cpu.system_us, "total": cpu.total_us});
        let report = json!({"requests": requests, "seconds": seconds, "server_cpu_us_per_request": cpu});
        return report::print(&format!("{report:#}"));
    }
    report::print(&format!(
        "requests      {requests} in {seconds:.2} s: {rate:.0}/s\n\
         server CPU    {:.3} us/request (user {:.3}, system {:.3})",
        cpu.total_us, cpu.user_us, cpu.system_us
    ))
}

/// Stores every key. Once per server, before [`measure`].
pub fn store(target: &Target) -> Result<(), BenchError> {
    let mut client = Client::connect(target)?;
    for first in (0..KEYS).step_by(STORED_AT_ONCE) {
        let mut requests = Vec::new();
        for key in first..first + STORED_AT_ONCE as u32 {
            append_set(&mut requests, text(key).as_bytes(), 0, &[b'v'; VALUE_BYTES]);
        }
        client.exchange(&requests, STORED_AT_ONCE, |piece| match piece {
            Piece::Line(b"STORED") => Ok(true),
            other => Err(not_a_reply("set", other)),
        })?;
    }
    Ok(())
}

/// Keeps `plan.depth` gets open on each connection; the CPU time is that of the process `server`.
pub fn measure(
    target: &Target,
    server: u32,
    owner: Owner,
    plan: RemotePlan,
) -> Result<RemoteRun, BenchError> {
    let mut ring =
        Ring::new(plan.connections as usize).map_err(BenchError::machine("cannot set up io_uring"))?;
    let mut addresses = Vec::new();
    for _ in 0..plan.connections {
        let stream = TcpStream::from(target.connect()?);
        addresses.push(stream.local_addr().map_err(BenchError::machine("a socket has no address"))?);
        ring.add(stream.into()).map_err(BenchError::machine("cannot receive"))?;
    }
    let mut askers = Askers::new(target, owner, &addresses)?;
    for number in 0..addresses.len() {
        ring.output(number, |output| (0..plan.depth).for_each(|_| askers.ask(number, output)));
    }
    askers.turn_until(&mut ring, Instant::now() + WARM_UP)?;
    let (before, begun) = (CpuTime::of(server)?, Instant::now());
    askers.answered = 0;
    askers.turn_until(&mut ring, begun + plan.length)?;
    let (requests, seconds) = (askers.answered, begun.elapsed().as_secs_f64());
    let cpu = CpuTime::of(server)?.since(&before).per(requests);
    Ok(RemoteRun { requests, seconds, cpu })
}

/// All connections of a run.
struct Askers {
    connections: Vec<Asker>,
    random: Random,
    answered: u64,
    failure: Option<BenchError>,
}

struct Asker {
    /// What may be asked, complete requests.
    gets: Rc<[String]>,
    /// Bytes of a reply that has not come to its end.
    received: usize,
}

impl Askers {
    fn new(target: &Target, owner: Owner, addresses: &[SocketAddr]) -> Result<Askers, BenchError> {
        let mut client = Client::connect(target)?;
        let workers = u16::try_from(client.stat("threads")?).unwrap_or(1);
        let served_by = workers_of(&mut client, addresses)?;
        let gets: Vec<Rc<[String]>> = (0..workers).map(|worker| gets_for(worker, workers, owner)).collect();
        if gets.iter().any(|gets| gets.is_empty()) {
            return Err(BenchError::Usage(format!(
                "with {workers} workers there are no keys of another worker; start the server with -t 2"
            )));
        }
        let asker = |worker: u16| Asker { gets: Rc::clone(&gets[usize::from(worker)]), received: 0 };
        let connections = served_by.into_iter().map(asker).collect();
        Ok(Askers { connections, random: Random::new(1), answered: 0, failure: None })
    }

    fn ask(&mut self, number: usize, output: &mut Vec<u8>) {
        let gets = &self.connections[number].gets;
        let chosen = self.random.below(u32::try_from(gets.len()).expect("as many as keys at most"));
        output.extend_from_slice(gets[chosen as usize].as_bytes());
    }

    fn turn_until(&mut self, ring: &mut Ring, end: Instant) -> Result<(), BenchError> {
        let mut last = (self.answered, Instant::now());
        while Instant::now() < end {
            ring.turn(Wait::AtMost(LOOK_INTERVAL), self).map_err(BenchError::machine("the ring failed"))?;
            if let Some(failure) = self.failure.take() {
                return Err(failure);
            }
            if self.answered != last.0 {
                last = (self.answered, Instant::now());
            } else if last.1.elapsed() > STALL_MAX {
                let open = self.connections.len();
                return Err(BenchError::Stalled { open, seconds: STALL_MAX.as_secs(), hint: STALL_HINT });
            }
        }
        Ok(())
    }
}

impl Peer for Askers {
    /// Every reply has the same length, because every key is there.
    fn handle_bytes(&mut self, number: usize, bytes: &[u8], output: &mut Vec<u8>) {
        self.connections[number].received += bytes.len();
        while self.connections[number].received >= REPLY_BYTES {
            self.connections[number].received -= REPLY_BYTES;
            self.answered += 1;
            self.ask(number, output);
        }
    }

    fn handle_close(&mut self, _connection: usize, source: Option<io::Error>) {
        self.failure.get_or_insert(BenchError::Died { source });
    }
}

/// The worker that serves each of these clients. A connection may not have been handed over yet, so it asks again.
fn workers_of(client: &mut Client, addresses: &[SocketAddr]) -> Result<Vec<u16>, BenchError> {
    let deadline = Instant::now() + STALL_MAX;
    loop {
        let served = connections(client)?;
        let found: Option<Vec<u16>> =
            addresses.iter().map(|address| served.get(&format!("tcp:{address}")).copied()).collect();
        if let Some(workers) = found {
            return Ok(workers);
        }
        if Instant::now() > deadline {
            let reply = "a connection without a ringcache_worker line".to_string();
            return Err(BenchError::NotAReply { request: "stats conns", reply });
        }
    }
}

/// The worker by the client's address, of all connections that `stats conns` lists.
fn connections(client: &mut Client) -> Result<HashMap<String, u16>, BenchError> {
    let (mut addresses, mut served) = (HashMap::new(), HashMap::new());
    client.exchange(b"stats conns\r\n", 1, |piece| {
        let Piece::Line(line) = piece else { return Err(not_a_reply("stats conns", piece)) };
        let line = String::from_utf8_lossy(line).into_owned();
        let mut words = line.strip_prefix("STAT ").unwrap_or_default().splitn(2, ' ');
        if let (Some(name), Some(value)) = (words.next(), words.next())
            && let Some((socket, what)) = name.split_once(':')
        {
            match what {
                "addr" => drop(addresses.insert(socket.to_owned(), value.to_owned())),
                "ringcache_worker" => drop(served.insert(socket.to_owned(), value.to_owned())),
                _ => {}
            }
        }
        Ok(line == "END")
    })?;
    let named = served.into_iter().filter_map(|(socket, worker)| {
        let address = addresses.remove(&socket)?;
        Some((address, worker.parse().ok()?))
    });
    Ok(named.collect())
}

/// The gets of a connection that `worker` of `workers` serves.
fn gets_for(worker: u16, workers: u16, owner: Owner) -> Rc<[String]> {
    let is_asked = |key: &String| {
        let is_own = KeyHash::of(key.as_bytes()).shard(workers) == ShardId(worker);
        owner == Owner::Any || is_own == (owner == Owner::Own)
    };
    (0..KEYS).map(text).filter(is_asked).map(|key| format!("get {key}\r\n")).collect()
}

fn text(key: u32) -> String {
    format!("key:{key:010}")
}

fn seconds(text: &str) -> Result<f64, String> {
    let seconds: f64 = text.parse().map_err(|_| format!("{text} is not a number"))?;
    if seconds > 0.0 && seconds <= SECONDS_MAX {
        return Ok(seconds);
    }
    Err(format!("a run lasts above 0 and at most {SECONDS_MAX} seconds"))
}

const KEYS: u32 = 100_000;
const STORED_AT_ONCE: usize = 100;
const VALUE_BYTES: usize = 100;
const REPLY_BYTES: usize = "VALUE key:0000000000 0 100\r\n".len() + VALUE_BYTES + "\r\nEND\r\n".len();
const SECONDS_MAX: f64 = 86_400.0;
const WARM_UP: Duration = Duration::from_millis(200);
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
const STALL_MAX: Duration = Duration::from_secs(10);
const STALL_HINT: &str = " (every key must be present: give the server enough memory)";

const _: () = assert!(KEYS.is_multiple_of(STORED_AT_ONCE as u32), "keys are stored in whole batches");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_and_other_part_the_keys() {
        for workers in [1, 2, 3] {
            for worker in 0..workers {
                let count = |owner| gets_for(worker, workers, owner).len();
                assert_eq!(count(Owner::Any), KEYS as usize);
                assert_eq!(count(Owner::Own) + count(Owner::Other), KEYS as usize);
                let share = KEYS as usize / usize::from(workers);
                assert!(count(Owner::Own).abs_diff(share) < share / 10, "shards are even");
            }
        }
    }
}
