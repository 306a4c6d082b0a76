//! Rows of a full copy: how fast it is beside a plain TCP copy, and what clients of the primary notice of it.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use super::cost::sets;
use super::nodes::{COPY_TIME_MAX, Folder, Node, Start};
use crate::admin::number;
use crate::compare::contest::median;
use crate::compare::row::{Finding, Goal, Outcome, Ratio, Row, Table};
use crate::compare::setup::Setup;
use crate::error::BenchError;
use crate::load::{Plan, measure};
use crate::mix::{Mix, Operation};
use crate::process::pin_thread;
use crate::values::Sizes;

/// The rows of this family.
pub const ROWS: &[Row] = &[
    Row {
        name: "copy1000",
        title: "full copy of 1 GiB, 1000 B values, and GET 10,000/s on the primary meanwhile",
        measure: |setup| copy(setup, 1000),
    },
    Row {
        name: "copy100",
        title: "full copy of 1 GiB, 100 B values, and GET 10,000/s on the primary meanwhile",
        measure: |setup| copy(setup, 100),
    },
];

/// One timed copy.
struct Copied {
    seconds: f64,
    sent_bytes: f64,
    record_bytes: f64,
}

fn copy(setup: &Setup, value_bytes: usize) -> Result<Outcome, BenchError> {
    let folder = Folder::new()?;
    let primary = Node::primary(setup, &folder, "primary", MEMORY_MIB, &[])?;
    let mut plan = Plan { rate: Some(RATE), ..sets(setup) };
    plan.workload.sizes = Sizes::fixed(value_bytes);
    plan.workload.keys = u32::try_from(COPY_BYTES / (value_bytes + OVERHEAD_BYTES)).expect("some millions");
    primary.fill(&plan)?;
    plan.workload.mix = Mix::only(Operation::Get);
    let living_bytes = number(&primary.admin.status()?, "record_bytes") as f64;

    let (mut copies, mut reused, mut kept) = (Vec::new(), Vec::new(), Vec::new());
    let (mut before, mut during) = (Vec::new(), Vec::new());
    for _ in 0..setup.rounds {
        reused.push(tcp_copy(setup, living_bytes as usize, false)?);
        kept.push(tcp_copy(setup, living_bytes as usize, true)?);
        let copied = timed_copy(setup, &folder, &primary)?;
        plan.length = Duration::from_secs_f64(copied.seconds.max(0.1) * LOADED_SHARE);
        before.push(measure(primary.target(), &plan, None)?.percentile_us(99.0));
        during.push(loaded_copy(setup, &folder, &primary, &plan)?);
        copies.push(copied);
    }
    let of_copies = |figure: fn(&Copied) -> f64| median(copies.iter().map(figure).collect());
    let seconds = of_copies(|copied| copied.seconds);
    let (reused, kept) = (median(reused), median(kept));
    let (before, during) = (median(before), median(during));
    let line =
        |name: &str, seconds: f64| (name.to_string(), vec![seconds, living_bytes / seconds / 1e6, f64::NAN]);
    let p99 = |name: &str, p99: f64| (name.to_string(), vec![f64::NAN, f64::NAN, p99]);
    let lines = vec![
        line("full copy", seconds),
        line("TCP, one buffer", reused),
        line("TCP, fresh memory", kept),
        p99("GET before", before),
        p99("GET during", during),
    ];
    let ratio = |name: &str, value, goal| Ratio { name: name.to_string(), value, goal };
    let ratios = vec![
        ratio("bytes/s, full copy/TCP into one buffer", reused / seconds, Some(Goal::AtLeast(0.6))),
        ratio("GET p99, during/before", during / before, Some(Goal::AtMost(2.0))),
        ratio("bytes/s, full copy/TCP into fresh memory", kept / seconds, None),
        ratio("bytes sent/living bytes", of_copies(|copied| copied.sent_bytes) / living_bytes, None),
        ratio("bytes of records/living bytes", of_copies(|copied| copied.record_bytes) / living_bytes, None),
    ];
    let table = Table { columns: vec!["seconds", "MB/s", "p99 us"], lines };
    Ok(Outcome::Found(Finding { table, ratios, ..Finding::default() }))
}

/// Starts an empty node and has it copy everything, while nobody asks anything.
fn timed_copy(setup: &Setup, folder: &Folder, primary: &Node) -> Result<Copied, BenchError> {
    let replica = empty_node(setup, folder, false)?;
    let address = primary.admin.replication_address()?;
    let start = Instant::now();
    replica.admin.replicate(&address)?;
    replica.admin.await_copy(COPY_TIME_MAX)?;
    let seconds = start.elapsed().as_secs_f64();
    let link = primary.admin.link()?.unwrap_or_default();
    let [sent_bytes, record_bytes] = ["sent_bytes", "record_bytes"].map(|name| number(&link, name) as f64);
    Ok(Copied { seconds, sent_bytes, record_bytes })
}

/// The p99 of gets while a copy goes on, in microseconds. The copy must not end before the load does.
fn loaded_copy(setup: &Setup, folder: &Folder, primary: &Node, plan: &Plan) -> Result<f64, BenchError> {
    // The client shares a CPU with the replica, and its waiting for that would be taken for the primary's.
    let replica = empty_node(setup, folder, true)?;
    let address = primary.admin.replication_address()?;
    std::thread::scope(|scope| {
        let load = scope.spawn(|| measure(primary.target(), plan, None));
        std::thread::sleep(WARM_UP);
        replica.admin.replicate(&address)?;
        let measured = load.join().expect("a load returns its failures")?;
        if replica.admin.link()?.is_none_or(|link| number(&link, "copies") > 0) {
            return Err(BenchError::Violated("the copy was not under way during the load".to_string()));
        }
        replica.admin.await_copy(COPY_TIME_MAX)?;
        Ok(measured.percentile_us(99.0))
    })
}

fn empty_node(setup: &Setup, folder: &Folder, gives_way: bool) -> Result<Node, BenchError> {
    let more = ["--replication-port", "-1"];
    let start =
        Start { name: "replica", cpu: setup.client_cpu, memory_mib: MEMORY_MIB, gives_way, more: &more };
    Node::start(setup, folder, &start)
}

/// Seconds that so many bytes take over one TCP connection, from a thread on the servers' CPU to one on the client's.
/// The receiver reads into one buffer again and again, or keeps all of it in memory that was not used before.
fn tcp_copy(setup: &Setup, bytes: usize, keeps: bool) -> Result<f64, BenchError> {
    let failed = || BenchError::machine("a plain TCP copy failed");
    let listener = TcpListener::bind("127.0.0.1:0").map_err(failed())?;
    let address = listener.local_addr().map_err(failed())?;
    std::thread::scope(|scope| {
        let sender = scope.spawn(move || -> Result<(), BenchError> {
            pin_thread(&[setup.server_cpu])?;
            let mut stream = TcpStream::connect(address).map_err(failed())?;
            let source = vec![7; CHUNK_BYTES];
            let mut left = bytes;
            while left > 0 {
                let length = left.min(CHUNK_BYTES);
                stream.write_all(&source[..length]).map_err(failed())?;
                left -= length;
            }
            Ok(())
        });
        let receiver = scope.spawn(move || -> Result<f64, BenchError> {
            pin_thread(&[setup.client_cpu])?;
            let (mut stream, _) = listener.accept().map_err(failed())?;
            let mut room = vec![0; if keeps { bytes } else { CHUNK_BYTES }];
            let (start, mut received) = (Instant::now(), 0);
            while received < bytes {
                let from = if keeps { received } else { 0 };
                let to = (from + CHUNK_BYTES).min(room.len());
                match stream.read(&mut room[from..to]).map_err(failed())? {
                    0 => return Err(BenchError::Died { source: None }),
                    length => received += length,
                }
            }
            Ok(start.elapsed().as_secs_f64())
        });
        sender.join().expect("a sender returns its failures")?;
        receiver.join().expect("a receiver returns its failures")
    })
}

const COPY_BYTES: usize = 1 << 30;
/// Header and key of a record.
const OVERHEAD_BYTES: usize = 44;
/// Records, index, and room.
const MEMORY_MIB: usize = 2048;
const RATE: f64 = 10_000.0;
/// Of the time of a copy without a load: the load must be over first.
const LOADED_SHARE: f64 = 0.7;
/// As the load's own, with time to connect.
const WARM_UP: Duration = Duration::from_millis(250);
const CHUNK_BYTES: usize = 256 << 10;
