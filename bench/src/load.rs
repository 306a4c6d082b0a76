//! `ringbench load`: stores the keys, runs the load, reports.

use std::path::PathBuf;
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use clap::Args;
use rustls::ClientConfig;

use crate::compare::row::{Curve, Plot};
use crate::driver::{Driver, Pace, Reading, Until};
use crate::encoder::Encoder;
use crate::error::BenchError;
use crate::figures::{Figures, Measured};
use crate::flood::Flood;
use crate::hits::requests::Replay;
use crate::keys::Distribution;
use crate::mix::{Mix, Operation};
use crate::plot;
use crate::process::{CpuTime, allow_open_files, pin_thread, sharpen_timers};
use crate::progress::Progress;
use crate::reply::Syntax;
use crate::report;
use crate::schedule::Schedule;
use crate::target::Target;
use crate::tls::client_config;
use crate::values::{Sizes, VERIFIED_BYTES_MIN, ValueBytes};
use crate::workload::{Protocol, Workload};

/// Options of `ringbench load`.
#[derive(Args, Debug)]
pub struct LoadArgs {
    /// The server: HOST:PORT or unix:PATH
    #[arg(long)]
    server: Target,
    /// Connections, all threads together
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    connections: u32,
    /// Requests open on each connection
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    depth: u32,
    /// Length of the measured run
    #[arg(long, default_value_t = 5.0, allow_negative_numbers = true)]
    seconds: f64,
    /// Shares of get, set, delete, incr, decr, touch, and of the meta commands mg, ms, md, ma, mt (mg with T)
    #[arg(long, default_value = "get=90,set=10")]
    mix: Mix,
    /// Lengths of the values: BYTES, log-normal:MEAN or log-normal:MEAN:SIGMA, cluster:NUMBER (of Twitter's) or trace. A key's value always has
    /// the same length
    #[arg(long, default_value = "100")]
    value_bytes: ValueBytes,
    /// Number of different keys
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000_000))]
    keys: u32,
    /// uniform or zipf:EXPONENT
    #[arg(long, default_value = "uniform")]
    key_distribution: Distribution,
    /// Take the keys from this trace, in its order, over and over: FILE.u32.gz or FILE.u32size.gz
    #[arg(long, conflicts_with_all = ["keys", "key_distribution"])]
    trace: Option<PathBuf>,
    /// Runs with different seeds draw different keys
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..1 << 40))]
    seed: u64,
    /// Keys in one get
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    multiget: u32,
    /// Load threads, each with its own ring
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=256))]
    threads: u32,
    /// Protocol of the requests
    #[arg(long, value_enum, default_value = "text")]
    protocol: Protocol,
    /// Compare every value with what its key must hold; exit code 1 where one differs
    #[arg(long)]
    verify: bool,
    /// Count the replies' bytes only: the cheapest client
    #[arg(long, conflicts_with = "verify")]
    blind: bool,
    /// Open loop: requests per second, all threads together; latency counts from the time a request was due
    #[arg(long, allow_negative_numbers = true)]
    rate: Option<f64>,
    /// Never sleep while waiting for replies: the client's own waking is then no part of the latency
    #[arg(long)]
    poll: bool,
    /// Keep thread i on the i-th of these CPUs
    #[arg(long, value_delimiter = ',')]
    pin: Vec<usize>,
    /// The server's process, to report its CPU time per request
    #[arg(long)]
    pid: Option<u32>,
    /// Encrypt every connection: TLS 1.3 with AES-256-GCM, whatever certificate the server has
    #[arg(long)]
    tls: bool,
    /// Full handshakes per second beside the load, each on a connection of its own
    #[arg(long, default_value_t = 0, requires = "tls")]
    handshakes: u32,
    /// Leave out the storing of the keys before the run
    #[arg(long)]
    no_preload: bool,
    /// Report as JSON
    #[arg(long)]
    json: bool,
    /// Draw the latency percentiles into this file, as SVG
    #[arg(long)]
    plot: Option<PathBuf>,
}

/// A load that makes sense.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What is asked.
    pub workload: Workload,
    /// How replies are read.
    pub reading: Reading,
    /// Connections, all threads together.
    pub connections: usize,
    /// Requests open on each.
    pub depth: usize,
    /// Load threads.
    pub threads: usize,
    /// CPUs of the threads; empty for any.
    pub pin: Vec<usize>,
    /// Length of the measured run.
    pub length: Duration,
    /// Requests per second of an open loop.
    pub rate: Option<f64>,
    /// Never sleep: what waking the client costs is then no part of the latency.
    pub polls: bool,
    /// What encrypted connections begin with.
    pub tls: Option<Arc<ClientConfig>>,
    /// Full handshakes per second beside the load.
    pub handshakes: u32,
}

/// Runs the command.
pub fn run(args: &LoadArgs) -> Result<(), BenchError> {
    let plan = Plan::from_args(args)?;
    allow_open_files(u64::from(args.connections) + OTHER_FILES)?;
    if !args.no_preload {
        preload(&args.server, &plan)?;
    }
    let measured = measure(&args.server, &plan, args.pid)?;
    check_rate(&plan, &measured)?;
    if let Some(path) = &args.plot {
        let name = args.server.to_string();
        let curve =
            Curve { plot: Plot::LatencyByPercentile, name, points: measured.figures.percentiles_us() };
        plot::write(path, "Latency", &[curve])?;
    }
    if args.json {
        report::print(&format!("{:#}", measured.json()))?;
    } else {
        report::print(&measured.text())?;
    }
    measured.check()
}

impl Default for Plan {
    /// Fifty connections with one request open on each, from one thread, as fast as replies come, for three seconds.
    fn default() -> Plan {
        Plan {
            workload: Workload::default(),
            reading: Reading::Parsed,
            connections: 50,
            depth: 1,
            threads: 1,
            pin: Vec::new(),
            length: Duration::from_secs(3),
            rate: None,
            polls: false,
            tls: None,
            handshakes: 0,
        }
    }
}

impl Plan {
    fn from_args(args: &LoadArgs) -> Result<Plan, BenchError> {
        let workload = workload(args)?;
        let plan = Plan {
            reading: match (args.verify, args.blind) {
                (true, _) => Reading::Verified(workload.sizes.clone()),
                (false, true) => Reading::Blind,
                (false, false) => Reading::Parsed,
            },
            workload,
            connections: args.connections as usize,
            depth: args.depth as usize,
            threads: args.threads as usize,
            pin: args.pin.clone(),
            length: length(args.seconds)?,
            rate: args.rate,
            polls: args.poll,
            tls: args.tls.then(client_config),
            handshakes: args.handshakes,
        };
        plan.check()?;
        Ok(plan)
    }

    fn check(&self) -> Result<(), BenchError> {
        let usage = |text: String| Err(BenchError::Usage(text));
        if self.threads > self.connections {
            return usage(format!("{} threads need at least as many connections", self.threads));
        }
        if let Some(rate) = self.rate
            && !(rate > 0.0 && rate <= RATE_MAX)
        {
            return usage(format!("the rate is above 0 and at most {RATE_MAX:e} requests/s"));
        }
        let Workload { sizes, mix, protocol, .. } = &self.workload;
        if self.workload.verify && sizes.smallest() < VERIFIED_BYTES_MIN {
            return usage(format!("verified values have at least {VERIFIED_BYTES_MIN} bytes"));
        }
        if matches!(self.reading, Reading::Blind) && mix.has(|choice| choice.operation == Operation::Delete) {
            return usage("--blind needs every key to stay, so the mix can't delete".to_string());
        }
        let is_text = matches!(protocol, Protocol::Text | Protocol::Meta);
        if !is_text && mix.has(|choice| choice.protocol.is_some()) {
            return usage("meta commands go with the text and meta protocols only".to_string());
        }
        Ok(())
    }

    fn pace(&self, thread: usize, length: Duration) -> Pace {
        self.rate.map_or(Pace::Closed, |rate| Pace::Open(Schedule::new(rate, thread, self.threads, length)))
    }

    fn syntax(&self) -> Syntax {
        match self.workload.protocol {
            Protocol::Text | Protocol::Meta => Syntax::Memcached,
            Protocol::Binary => Syntax::Binary,
            Protocol::Resp => Syntax::Resp,
        }
    }

    /// The connections of one thread: an even share.
    fn connections_of(&self, thread: usize) -> usize {
        self.connections / self.threads + usize::from(thread < self.connections % self.threads)
    }
}

fn workload(args: &LoadArgs) -> Result<Workload, BenchError> {
    let trace =
        args.trace.as_ref().map(|path| Replay::from_file(path, usize::MAX, TRACE_BYTES)).transpose()?;
    if trace.is_none() && args.value_bytes == ValueBytes::Trace {
        return Err(BenchError::Usage("--value-bytes trace needs a --trace".to_string()));
    }
    // A verified value has room for its key and version; a fixed length is taken as given, and refused if too short.
    let least = if args.verify { VERIFIED_BYTES_MIN } else { 0 };
    let (keys, of_trace) = match &trace {
        Some(trace) => trace.sizes_by_key()?,
        None => (args.keys, Vec::new()),
    };
    Ok(Workload {
        mix: args.mix.clone(),
        multiget: args.multiget,
        sizes: Sizes::new(&args.value_bytes, &of_trace, least),
        keys,
        distribution: args.key_distribution,
        trace: trace.map(|trace| trace.requests.iter().map(|request| request.key).collect::<Arc<[u32]>>()),
        seed: args.seed,
        protocol: args.protocol,
        verify: args.verify,
    })
}

/// A length of time that makes sense for a run.
pub fn length(seconds: f64) -> Result<Duration, BenchError> {
    if seconds > 0.0 && seconds <= SECONDS_MAX {
        return Ok(Duration::from_secs_f64(seconds));
    }
    Err(BenchError::Usage(format!("the length of a run is above 0 and at most {SECONDS_MAX} seconds")))
}

/// Stores every key once; an error where the server refuses one.
pub fn preload(target: &Target, plan: &Plan) -> Result<(), BenchError> {
    // Large values are sent one by one: what is open at once stays about a mebibyte.
    let depth = ((1 << 20) / plan.workload.sizes.largest().max(1)).clamp(1, 64);
    let encoder = Encoder::in_order(&plan.workload);
    let mut driver =
        Driver::connect(target, 1, depth, plan.syntax(), &Reading::Parsed, encoder, plan.tls.as_ref())?;
    let keys = plan.workload.preloads();
    driver.progress = Progress::start("storing the keys");
    let figures = driver.run(Pace::Closed, Until::Requests(keys))?;
    driver.progress.finish();
    if figures.errors == 0 {
        return Ok(());
    }
    Err(BenchError::Preload { refused: figures.errors, keys, reply: figures.first_error })
}

/// Connects, warms up, and measures one run; with `server`, that process's CPU time too.
pub fn measure(target: &Target, plan: &Plan, server: Option<u32>) -> Result<Measured, BenchError> {
    // Every thread passes every barrier, also after a failure, so that none waits for ever.
    let barrier = Barrier::new(plan.threads + 1);
    let mut flood = Flood::start(target, plan)?;
    let progress = Progress::start("measuring");
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..plan.threads)
            .map(|thread| {
                let (barrier, progress) = (&barrier, &progress);
                scope.spawn(move || {
                    let warm = prepare(target, plan, thread);
                    barrier.wait();
                    barrier.wait();
                    let run = warm.and_then(|mut driver| {
                        driver.progress = progress.clone();
                        run_once(&mut driver, plan, thread)
                    });
                    barrier.wait();
                    run
                })
            })
            .collect();
        barrier.wait();
        let before = server.map(CpuTime::of).transpose();
        flood.mark();
        let start = Instant::now();
        barrier.wait();
        barrier.wait();
        let seconds = start.elapsed().as_secs_f64();
        let after = server.map(CpuTime::of).transpose();
        progress.finish();
        let handshakes = flood.end(seconds)?;
        let (mut figures, mut client) = (Figures::new(), CpuTime::default());
        for thread in threads {
            let (counted, used) = thread.join().expect("a load thread returns its failures")?;
            figures.add(&counted);
            client.add(&used);
        }
        let server = before?.zip(after?).map(|(before, after)| after.since(&before));
        Ok(Measured { figures, seconds, server, client, handshakes })
    })
}

fn prepare(target: &Target, plan: &Plan, thread: usize) -> Result<Driver, BenchError> {
    if !plan.pin.is_empty() {
        pin_thread(&[plan.pin[thread % plan.pin.len()]])?;
    }
    if plan.rate.is_some() {
        sharpen_timers()?;
    }
    let encoder = Encoder::new(&plan.workload, thread, plan.threads);
    let connections = plan.connections_of(thread);
    let mut driver = Driver::connect(
        target,
        connections,
        plan.depth,
        plan.syntax(),
        &plan.reading,
        encoder,
        plan.tls.as_ref(),
    )?;
    driver.polls = plan.polls;
    let warm_up = WARM_UP.min(plan.length);
    driver.run(plan.pace(thread, warm_up), Until::Elapsed(warm_up))?;
    Ok(driver)
}

/// The measured run of one thread, and the CPU time it took.
fn run_once(driver: &mut Driver, plan: &Plan, thread: usize) -> Result<(Figures, CpuTime), BenchError> {
    let before = CpuTime::of_thread()?;
    let figures = driver.run(plan.pace(thread, plan.length), Until::Elapsed(plan.length))?;
    Ok((figures, CpuTime::of_thread()?.since(&before)))
}

fn check_rate(plan: &Plan, measured: &Measured) -> Result<(), BenchError> {
    match plan.rate {
        Some(asked) if measured.figures.unsent > 0 || measured.rate() < asked * RATE_REACHED_MIN => {
            Err(BenchError::Rate { asked, reached: measured.rate() })
        }
        _ => Ok(()),
    }
}

/// Files a process has open besides its connections.
pub const OTHER_FILES: u64 = 64;
const WARM_UP: Duration = Duration::from_millis(200);
const SECONDS_MAX: f64 = 86_400.0;
const RATE_MAX: f64 = 1e8;
/// What the values of a trace without sizes sum to.
const TRACE_BYTES: u64 = 512 << 20;
/// An open loop that answers less than this share of its rate has measured another load.
const RATE_REACHED_MIN: f64 = 0.95;

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::TcpListener;

    use super::*;

    const VALUE_BYTES: usize = 30;

    fn plan(mix: &str, reading: Reading) -> Plan {
        Plan {
            workload: Workload {
                mix: mix.parse().unwrap(),
                multiget: 3,
                sizes: Sizes::fixed(VALUE_BYTES),
                keys: 1000,
                verify: matches!(reading, Reading::Verified(_)),
                ..Workload::default()
            },
            reading,
            connections: 5,
            depth: 4,
            threads: 2,
            length: Duration::from_millis(50),
            ..Plan::default()
        }
    }

    /// A floor of its own; its thread ends with the test process.
    fn floor() -> Target {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let target = Target::Tcp(listener.local_addr().unwrap());
        std::thread::spawn(move || crate::floor::serve(listener, VALUE_BYTES));
        target
    }

    #[test]
    fn every_key_of_the_floor_is_hit() {
        let target = floor();
        for reading in [Reading::Parsed, Reading::Blind] {
            let plan = plan("get=1", reading);
            preload(&target, &plan).unwrap();
            let figures = measure(&target, &plan, Some(std::process::id())).unwrap().figures;
            assert!(figures.requests > 0);
            assert_eq!(figures.keys, figures.requests * 3);
            assert_eq!((figures.hits, figures.misses, figures.errors), (figures.keys, 0, 0));
            assert_eq!(figures.latency_ns.len(), figures.requests);
        }
    }

    /// The floor answers every get with the same bytes, which verified reading must not believe.
    #[test]
    fn wrong_values_are_found() {
        let measured =
            measure(&floor(), &plan("get=1", Reading::Verified(Sizes::fixed(VALUE_BYTES))), None).unwrap();
        assert_eq!(measured.figures.wrong, measured.figures.hits);
        assert!(matches!(measured.check(), Err(BenchError::Violated(_))));
    }

    /// A busy machine may miss the rate, which is then said; but no machine makes the loop send what is not due.
    #[test]
    fn an_open_loop_sends_what_is_due_and_no_more() {
        let mut plan = plan("get=50,set=50", Reading::Parsed);
        plan.rate = Some(2000.0);
        plan.length = Duration::from_millis(200);
        let measured = measure(&floor(), &plan, None).unwrap();
        assert!(measured.figures.requests <= 402, "{}", measured.figures.requests);
        plan.rate = Some(RATE_MAX);
        let measured = measure(&floor(), &plan, None).unwrap();
        assert!(matches!(check_rate(&plan, &measured), Err(BenchError::Rate { .. })));
    }

    #[test]
    fn a_dying_server_ends_the_run() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let target = Target::Tcp(listener.local_addr().unwrap());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                // Takes a request and goes, without an answer.
                let _ = stream.unwrap().read(&mut [0; 100]);
            }
        });
        let plan = plan("get=1", Reading::Parsed);
        assert!(matches!(measure(&target, &plan, None), Err(BenchError::Died { .. })));
        assert!(matches!(preload(&target, &plan), Err(BenchError::Died { .. })));
    }

    #[test]
    fn senseless_plans_are_refused() {
        let refused = |change: &dyn Fn(&mut Plan)| {
            let mut plan = plan("get=1,delete=1", Reading::Parsed);
            assert!(plan.check().is_ok());
            change(&mut plan);
            assert!(matches!(plan.check(), Err(BenchError::Usage(_))));
        };
        refused(&|plan| plan.threads = 6);
        refused(&|plan| plan.rate = Some(0.0));
        refused(&|plan| plan.rate = Some(f64::NAN));
        refused(&|plan| plan.rate = Some(1e12));
        refused(&|plan| plan.reading = Reading::Blind);
        refused(&|plan| {
            plan.workload.verify = true;
            plan.workload.sizes = Sizes::fixed(VERIFIED_BYTES_MIN - 1);
        });
    }

    #[test]
    fn lengths_are_bounded() {
        assert!(length(0.5).is_ok());
        for wrong in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e9] {
            assert!(length(wrong).is_err(), "{wrong}");
        }
    }
}
