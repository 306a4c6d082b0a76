//! `ringbench`: measures memcached-speaking servers. Method and figures: `docs/benchmarks.md`.
//!
//! ```text
//! load, compare -> driver (one per thread) -> ring (the sockets)
//!                    |-> encoder, mix, keys, values, schedule   what is asked, and when
//!                    '-> tally, reply                            what came back
//! ```

mod admin;
mod backup;
mod child;
mod client;
mod clusters;
mod compare;
mod driver;
mod encoder;
mod error;
mod faults;
mod figures;
mod fill;
mod flood;
mod floor;
mod frames;
mod hits;
mod idle;
mod interference;
mod keys;
mod load;
mod mix;
mod pairs;
mod plot;
mod process;
mod progress;
mod regress;
mod remote;
mod replicate;
mod reply;
mod report;
mod ring;
mod schedule;
mod servers;
mod sizes;
mod tally;
mod target;
mod tls;
mod values;
mod warm;
mod workload;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Measures servers that speak memcached's protocol. Exit codes: 0 measured, 1 the server answered wrongly or
/// became slower than allowed, 2 no result.
#[derive(Parser)]
#[command(name = "ringbench")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Load one server and report throughput and latency
    Load(load::LoadArgs),
    /// Start ringcached, memcached and the floor, and compare their CPU time per request
    Compare(compare::CompareArgs),
    /// Replay traces and compare miss ratios
    Hits(hits::HitsArgs),
    /// Fill servers and compare how many records they hold
    Fill(fill::FillArgs),
    /// Check that a connection reads its own writes
    Pairs(pairs::PairsArgs),
    /// Read keys of the worker that serves the connection, or of the other ones, and report the server's CPU time
    Remote(remote::RemoteArgs),
    /// Hold connections that say nothing and report what they cost the server
    Idle(idle::IdleArgs),
    /// Compare with bench/baseline.json: instructions per operation, CPU time beside the floor and memcached
    Regress(regress::RegressArgs),
    /// Restart a server that keeps its memory in a file, and count what is lost
    Warm(warm::WarmArgs),
    /// Back a server up while it is loaded, and start others with the backup
    Backup(backup::BackupArgs),
    /// Start primaries and replicas, and measure what replication costs, copies and sends
    Replicate(replicate::ReplicateArgs),
    /// Break nodes that follow each other, and their links, and count what was lost or is wrong
    Faults(faults::FaultsArgs),
    /// Serve a fixed reply from a bare ring: the floor to compare with
    Floor(floor::FloorArgs),
    /// Become another program, pinned to a CPU, that ends when its parent does
    #[command(hide = true)]
    Launch(child::LaunchArgs),
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Load(args) => load::run(&args),
        Command::Compare(args) => compare::run(&args),
        Command::Hits(args) => hits::run(&args),
        Command::Fill(args) => fill::run(&args),
        Command::Pairs(args) => pairs::run(&args),
        Command::Remote(args) => remote::run(&args),
        Command::Idle(args) => idle::run(&args),
        Command::Regress(args) => regress::run(&args),
        Command::Warm(args) => warm::run(&args),
        Command::Backup(args) => backup::run(&args),
        Command::Replicate(args) => replicate::run(&args),
        Command::Faults(args) => faults::run(&args),
        Command::Floor(args) => floor::run(&args),
        Command::Launch(args) => child::launch(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ringbench: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}
