//! `ringbench idle`: what do connections cost that say nothing?

use std::os::fd::OwnedFd;
use std::time::Duration;

use clap::Args;
use serde_json::json;

use crate::error::BenchError;
use crate::load::{OTHER_FILES, length};
use crate::process::{CpuTime, allow_open_files, resident_bytes};
use crate::report;
use crate::target::Target;

/// Options of `ringbench idle`.
#[derive(Args, Debug)]
pub struct IdleArgs {
    /// The server: HOST:PORT or unix:PATH
    #[arg(long)]
    server: Target,
    /// How many are opened
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    connections: u32,
    /// How long they are held
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// The server's process, to report its memory and CPU time
    #[arg(long)]
    pid: Option<u32>,
    /// Report as JSON
    #[arg(long)]
    json: bool,
}

/// What the server's process used.
struct Cost {
    resident_before: u64,
    resident_after: u64,
    cpu_percent: f64,
}

/// Runs the command.
pub fn run(args: &IdleArgs) -> Result<(), BenchError> {
    let held = length(args.seconds)?;
    allow_open_files(u64::from(args.connections) + OTHER_FILES)?;
    let resident_before = args.pid.map(resident_bytes).transpose()?;
    let sockets = open(args)?;
    // The server is still busy with accepting for a moment.
    std::thread::sleep(SETTLE);
    let before = args.pid.map(CpuTime::of).transpose()?;
    std::thread::sleep(held);
    let after = args.pid.map(CpuTime::of).transpose()?;
    let resident_after = args.pid.map(resident_bytes).transpose()?;
    check_open(&sockets)?;
    let cost =
        resident_before.zip(resident_after).zip(before.zip(after)).map(|(resident, (before, after))| Cost {
            resident_before: resident.0,
            resident_after: resident.1,
            cpu_percent: after.since(&before).total_ns as f64 / held.as_nanos() as f64 * 100.0,
        });
    report::print(&text(args, cost.as_ref()))
}

fn open(args: &IdleArgs) -> Result<Vec<OwnedFd>, BenchError> {
    (0..args.connections).map(|_| args.server.connect()).collect()
}

/// An error where the server closed one of them: then it did not hold them all.
fn check_open(sockets: &[OwnedFd]) -> Result<(), BenchError> {
    for socket in sockets {
        let mut byte = [0];
        let flags = rustix::net::RecvFlags::DONTWAIT | rustix::net::RecvFlags::PEEK;
        match rustix::net::recv(socket, &mut byte, flags) {
            Err(rustix::io::Errno::AGAIN) => {}
            Ok(_) => return Err(BenchError::Died { source: None }),
            Err(error) => return Err(BenchError::Died { source: Some(error.into()) }),
        }
    }
    Ok(())
}

fn text(args: &IdleArgs, cost: Option<&Cost>) -> String {
    if args.json {
        let mut report = json!({"connections": args.connections, "seconds": args.seconds});
        if let Some(cost) = cost {
            report["resident_bytes_before"] = json!(cost.resident_before);
            report["resident_bytes_after"] = json!(cost.resident_after);
            report["cpu_percent"] = json!(cost.cpu_percent);
        }
        return format!("{report:#}");
    }
    let mut lines = vec![format!("connections   {} held for {} s", args.connections, args.seconds)];
    if let Some(cost) = cost {
        let grown = cost.resident_after.saturating_sub(cost.resident_before);
        let (before, after) = (cost.resident_before / 1024, cost.resident_after / 1024);
        lines.push(format!("memory KiB    {before} before, {after} after"));
        lines.push(format!("per one       {:.0} bytes", grown as f64 / f64::from(args.connections)));
        lines.push(format!("CPU idle      {:.3} %", cost.cpu_percent));
    }
    lines.join("\n")
}

const SETTLE: Duration = Duration::from_millis(500);
