//! `ringbench fill`: how many records a full cache holds. Stores different keys of one size until the cache has been
//! filled several times over, and divides.

use clap::Args;
use serde_json::{Value, json};

use crate::child::Server;
use crate::client::{Client, append_set, not_a_reply};
use crate::error::BenchError;
use crate::process::{pin_thread, resident_bytes};
use crate::reply::Piece;
use crate::report;
use crate::servers::{Kind, ServersArgs};

/// Options of `ringbench fill`.
#[derive(Args, Debug)]
pub struct FillArgs {
    #[command(flatten)]
    servers: ServersArgs,
    /// Lengths of the values, one after the other
    #[arg(long, value_delimiter = ',', default_value = "10,64,200,1000", value_parser = clap::value_parser!(u32).range(0..=100_000))]
    values: Vec<u32>,
    /// Memory of the caches in megabytes (-m)
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u64).range(1..=1 << 20))]
    memory: u64,
    /// Threads of the servers (-t)
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: u16,
    /// CPU of the client
    #[arg(long, default_value_t = 1)]
    client_cpu: usize,
    /// Report as JSON
    #[arg(long)]
    json: bool,
}

/// What a full server holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Full {
    /// Records with keys of [`KEY_BYTES`].
    pub records: u64,
    /// Sets that were answered with an error, for want of memory.
    pub refused: u64,
    /// `-m` divided by the records, less key and value.
    pub bytes_over_the_data: f64,
    /// Memory of the process.
    pub resident_bytes: u64,
}

/// Runs the command.
pub fn run(args: &FillArgs) -> Result<(), BenchError> {
    pin_thread(&[args.client_cpu])?;
    let mut reports = Vec::new();
    if !args.json {
        report::print(&format!("-m {}, -t {}, keys of {KEY_BYTES} bytes", args.memory, args.threads))?;
        report::print(&format!(
            "{:<18}{:>12}{:>22}{:>14}",
            "", "records", "bytes over the data", "resident"
        ))?;
    }
    for value_bytes in &args.values {
        for kind in Kind::BOTH {
            let server = args.servers.start(kind, args.threads, args.memory)?;
            let full = fill(&server, args.memory << 20, *value_bytes as usize)?;
            if args.json {
                reports.push(full.json(kind, *value_bytes));
            } else {
                report::print(&full.text(kind, *value_bytes))?;
            }
        }
    }
    if args.json {
        report::print(&format!("{:#}", json!({"memory_megabytes": args.memory, "rows": reports})))?;
    }
    Ok(())
}

/// Fills a server that was started with so much memory, and counts.
pub fn fill(server: &Server, memory_bytes: u64, value_bytes: usize) -> Result<Full, BenchError> {
    let mut client = Client::connect(server.target())?;
    let value = vec![b'v'; value_bytes];
    let data_bytes = (KEY_BYTES + value_bytes) as u64;
    let keys = memory_bytes * TIMES_OVER / (data_bytes + OVERHEAD_BYTES_MIN);
    let (mut batch, mut next, mut refused) = (Vec::new(), 0, 0);
    while next < keys {
        batch.clear();
        let end = keys.min(next + BATCH_SETS);
        for number in next..end {
            append_set(&mut batch, format!("{number:0KEY_BYTES$}").as_bytes(), 0, &value);
        }
        client.exchange(&batch, (end - next) as usize, |piece| match piece {
            Piece::Line(b"STORED") => Ok(true),
            // memcached says so when its eviction does not keep up with a pipeline of sets.
            Piece::Line(line) if line.starts_with(OUT_OF_MEMORY) => {
                refused += 1;
                Ok(true)
            }
            other => Err(not_a_reply("set", other)),
        })?;
        next = end;
    }
    let records = client.stat("curr_items")?;
    if records == keys {
        return Err(BenchError::Usage(format!("{keys} records did not fill the server")));
    }
    let bytes_over_the_data = memory_bytes as f64 / records as f64 - data_bytes as f64;
    Ok(Full { records, refused, bytes_over_the_data, resident_bytes: resident_bytes(server.pid())? })
}

impl Full {
    fn text(&self, kind: Kind, value_bytes: u32) -> String {
        format!(
            "{value_bytes:>5} {:<12}{:>12}{:>22.1}{:>10.1} MiB",
            kind.name(),
            self.records,
            self.bytes_over_the_data,
            self.resident_bytes as f64 / f64::from(1 << 20)
        )
    }

    fn json(&self, kind: Kind, value_bytes: u32) -> Value {
        json!({
            "server": kind.name(),
            "value_bytes": value_bytes,
            "records": self.records,
            "refused": self.refused,
            "bytes_over_the_data": self.bytes_over_the_data,
            "resident_bytes": self.resident_bytes,
        })
    }
}

/// Length of every key.
pub const KEY_BYTES: usize = 20;
/// How often the memory would be filled if a record took nothing but [`OVERHEAD_BYTES_MIN`] beside its data.
const TIMES_OVER: u64 = 2;
const OVERHEAD_BYTES_MIN: u64 = 40;
const BATCH_SETS: u64 = 1024;
const OUT_OF_MEMORY: &[u8] = b"SERVER_ERROR out of memory";
