//! `ringbench backup`: what a backup costs the requests beside it, and how fast a start takes it back.
//!
//! Percentiles of gets come from runs of the same length before, during and after backups that follow one another; a start is
//! measured from the process to its first answer, which waits until everything is restored.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::{Value, json};

use crate::child::Server;
use crate::client::Client;
use crate::error::BenchError;
use crate::load::{Plan, length, measure, preload};
use crate::process::{allow_open_files, pin_thread};
use crate::reply::Piece;
use crate::report;
use crate::values::Sizes;
use crate::workload::Workload;

/// Options of `ringbench backup`.
#[derive(Args, Debug)]
pub struct BackupArgs {
    /// The ringcached to measure; by default the one beside this program, as ringctl
    #[arg(long)]
    ringcached: Option<PathBuf>,
    /// Where the backup is written, and removed at the end
    #[arg(long, default_value = "/var/tmp")]
    directory: PathBuf,
    /// Records, headers included, in GiB
    #[arg(long, default_value_t = 1.0)]
    gib: f64,
    /// Length of the values
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=900_000))]
    value_bytes: u32,
    /// Threads of the server (-t)
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: u16,
    /// Gets per second; as fast as they are answered when not given
    #[arg(long)]
    rate: Option<f64>,
    /// CPU of the client
    #[arg(long, default_value_t = 1)]
    client_cpu: usize,
    /// Length of each of the three runs
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Starts with the backup
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    starts: u32,
    /// Report as JSON
    #[arg(long)]
    json: bool,
}

/// Removed when dropped, with all that is in it.
struct Directory(PathBuf);

impl Drop for Directory {
    fn drop(&mut self) {
        // Nothing of it is missed if it stays.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl Directory {
    fn backup(&self) -> PathBuf {
        self.0.join("backup")
    }

    fn socket(&self) -> PathBuf {
        self.0.join("socket")
    }
}

/// Runs the command.
pub fn run(args: &BackupArgs) -> Result<(), BenchError> {
    let keys = (args.gib * f64::from(1 << 30) / (RECORD_BYTES + f64::from(args.value_bytes))) as u32;
    let directory = Directory(args.directory.join(format!("ringbench-backup-{}", std::process::id())));
    std::fs::create_dir_all(&directory.0).map_err(BenchError::machine("cannot make a directory"))?;
    let workload = Workload { keys, sizes: Sizes::fixed(args.value_bytes as usize), ..Workload::default() };
    let plan = Plan {
        workload,
        length: length(args.seconds)?,
        rate: args.rate,
        pin: vec![args.client_cpu],
        ..Plan::default()
    };
    allow_open_files(200)?;
    pin_thread(&[args.client_cpu])?;
    let server = start(args, &directory, &[])?;
    preload(server.target(), &plan)?;
    let before = measure(server.target(), &plan, Some(server.pid()))?;
    let (during, backups) = measure_beside(args, &directory, &server, &plan)?;
    let after = measure(server.target(), &plan, Some(server.pid()))?;
    drop(server);
    let plain = first_answers(args, &directory, &[])?;
    let file = directory.backup().display().to_string();
    let restored = first_answers(args, &directory, &["--restore", &file])?;
    let [before, during, after] =
        [before, during, after].map(|run| [50.0, 99.0, 99.9].map(|p| run.percentile_us(p)));
    let bytes = backups[0]["record_bytes"].as_u64().unwrap_or(0);
    let result = json!({
        "value_bytes": args.value_bytes,
        "threads": args.threads,
        "record_bytes": bytes,
        "us_p50_p99_p999_before": before,
        "us_p50_p99_p999_during": during,
        "us_p50_p99_p999_after": after,
        "p99_ratio": during[1] / before[1],
        "backup_seconds": backups.iter().filter_map(|backup| backup["seconds"].as_f64()).collect::<Vec<_>>(),
        "start_seconds": plain,
        "start_seconds_with_restore": restored,
        "restore_gb_per_second": bytes as f64 / 1e9 / (restored - plain),
    });
    report::print(&if args.json { format!("{result:#}") } else { lines(&result) })
}

fn lines(result: &Value) -> String {
    let fields = result.as_object().expect("it was made as one");
    let lines: Vec<String> = fields.iter().map(|(name, value)| format!("{name:<28} {value}")).collect();
    lines.join("\n")
}

/// Measures while one backup follows another, and gives what each of them said.
fn measure_beside(
    args: &BackupArgs,
    directory: &Directory,
    server: &Server,
    plan: &Plan,
) -> Result<(crate::figures::Measured, Vec<Value>), BenchError> {
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let taking = scope.spawn(|| {
            let mut backups = Vec::new();
            while backups.is_empty() || !is_over.load(Ordering::Relaxed) {
                backups.push(take(args, directory)?);
            }
            Ok(backups)
        });
        // The first one shall be under way.
        thread::sleep(Duration::from_millis(50));
        let measured = measure(server.target(), plan, Some(server.pid()));
        is_over.store(true, Ordering::Relaxed);
        let backups: Result<Vec<Value>, BenchError> = taking.join().expect("a thread returns its failures");
        Ok((measured?, backups?))
    })
}

/// Takes one backup by `ringctl`, on any processor.
fn take(args: &BackupArgs, directory: &Directory) -> Result<Value, BenchError> {
    let output = Command::new(beside(args, "ringctl")?)
        .arg("--socket")
        .arg(directory.socket())
        .args(["--json", "backup"])
        .arg(directory.backup())
        .stderr(Stdio::null())
        .output()
        .map_err(BenchError::machine("cannot start ringctl"))?;
    let said: Option<Value> = serde_json::from_slice(&output.stdout).ok();
    let failed = || BenchError::Violated(format!("no backup: {}", String::from_utf8_lossy(&output.stdout)));
    said.filter(|_| output.status.success()).ok_or_else(failed)
}

/// The median time from a start to its first answer, in seconds. The file is in the page cache.
fn first_answers(args: &BackupArgs, directory: &Directory, flags: &[&str]) -> Result<f64, BenchError> {
    let mut times = Vec::new();
    for _ in 0..args.starts {
        let begun = Instant::now();
        let server = start(args, directory, flags)?;
        let mut client = Client::connect(server.target())?;
        client.exchange(b"mn\r\n", 1, |piece| Ok(piece == Piece::Line(b"MN")))?;
        times.push(begun.elapsed().as_secs_f64());
    }
    times.sort_by(f64::total_cmp);
    Ok(times[times.len() / 2])
}

fn start(args: &BackupArgs, directory: &Directory, flags: &[&str]) -> Result<Server, BenchError> {
    let path = args.ringcached.clone().map_or_else(|| beside(args, "ringcached"), Ok)?;
    let megabytes = ((args.gib * ROOM * 1024.0).ceil() as u64).max(64).to_string();
    let (threads, socket) = (args.threads.to_string(), directory.socket().display().to_string());
    let own =
        ["-l", "127.0.0.1", "-p", "{port}", "-t", &threads, "-m", &megabytes, "--admin-socket", &socket];
    Server::start(&path, &[&own[..], flags].concat(), &[])
}

/// The program of this name in the directory of the server that is measured.
fn beside(args: &BackupArgs, name: &str) -> Result<PathBuf, BenchError> {
    let own = std::env::current_exe().map_err(BenchError::machine("cannot find this program"))?;
    let server = args.ringcached.as_deref().unwrap_or(&own);
    Ok(Path::new(server).with_file_name(name))
}

/// Header and key.
const RECORD_BYTES: f64 = 28.0 + 8.0;
/// `-m` over the records: index, and slabs that are open.
const ROOM: f64 = 1.6;
