//! What a run found: counts and latencies, as text and as JSON.

use hdrhistogram::Histogram;
use serde_json::{Value, json};

use crate::error::BenchError;
use crate::process::{CpuShare, CpuTime};

/// Counts of one load thread, or of all of them together.
#[derive(Clone, Debug)]
pub struct Figures {
    /// Nanoseconds from the time a request was sent (open loop: due) to its whole reply.
    pub latency_ns: Histogram<u64>,
    /// Requests of an open loop that were due and never sent, because every connection was full until long after the end.
    pub unsent: u64,
    /// Replies received.
    pub requests: u64,
    /// Keys asked for.
    pub keys: u64,
    /// Keys that were there, of gets, deletes and touches.
    pub hits: u64,
    /// Keys that were not.
    pub misses: u64,
    /// Bytes of all values received; blind reading counts whole replies.
    pub value_bytes: u64,
    /// Error replies, and sets that were refused.
    pub errors: u64,
    /// The first error reply.
    pub first_error: String,
    /// Values that don't belong to their key (verify mode).
    pub wrong: u64,
    /// The first of them.
    pub first_wrong: String,
}

impl Figures {
    /// Nothing counted yet.
    pub fn new() -> Figures {
        let latency_ns = Histogram::new_with_bounds(1, LATENCY_NS_MAX, 3).expect("constant bounds are valid");
        Figures {
            latency_ns,
            unsent: 0,
            requests: 0,
            keys: 0,
            hits: 0,
            misses: 0,
            value_bytes: 0,
            errors: 0,
            first_error: String::new(),
            wrong: 0,
            first_wrong: String::new(),
        }
    }

    /// Adds another thread's counts.
    pub fn add(&mut self, other: &Figures) {
        self.latency_ns.add(&other.latency_ns).expect("all histograms have the same bounds");
        self.unsent += other.unsent;
        self.requests += other.requests;
        self.keys += other.keys;
        self.hits += other.hits;
        self.misses += other.misses;
        self.value_bytes += other.value_bytes;
        self.errors += other.errors;
        self.wrong += other.wrong;
        if self.first_error.is_empty() {
            self.first_error.clone_from(&other.first_error);
        }
        if self.first_wrong.is_empty() {
            self.first_wrong.clone_from(&other.first_wrong);
        }
    }
}

impl Figures {
    /// Latencies in microseconds at the percentiles that plots show, ascending.
    pub fn percentiles_us(&self) -> Vec<(f64, f64)> {
        let latency_us = |percentile: f64| self.latency_ns.value_at_percentile(percentile) as f64 / 1000.0;
        PERCENTILES.iter().map(|percentile| (*percentile, latency_us(*percentile))).collect()
    }
}

/// A whole measured run.
#[derive(Clone, Debug)]
pub struct Measured {
    /// Counts of all threads.
    pub figures: Figures,
    /// From the first request to the last reply.
    pub seconds: f64,
    /// What the server's process used meanwhile, where it was known.
    pub server: Option<CpuTime>,
    /// What this process used meanwhile.
    pub client: CpuTime,
    /// TLS handshakes per second that were made beside the load.
    pub handshakes: f64,
}

impl Measured {
    /// Requests per second.
    pub fn rate(&self) -> f64 {
        self.figures.requests as f64 / self.seconds
    }

    /// A latency percentile in microseconds; infinite where requests were left out that had waited longest of all.
    pub fn percentile_us(&self, percentile: f64) -> f64 {
        if self.figures.unsent > 0 {
            return f64::INFINITY;
        }
        self.figures.latency_ns.value_at_percentile(percentile) as f64 / 1000.0
    }

    /// An error where a value did not belong to its key.
    pub fn check(&self) -> Result<(), BenchError> {
        if self.figures.wrong == 0 {
            return Ok(());
        }
        let Figures { wrong, first_wrong, .. } = &self.figures;
        Err(BenchError::Violated(format!(
            "{wrong} values do not belong to their key; the first: {first_wrong}"
        )))
    }

    /// The report for people: one figure per line.
    pub fn text(&self) -> String {
        let figures = &self.figures;
        let mut lines = vec![
            format!("requests      {} in {:.2} s: {:.0}/s", figures.requests, self.seconds, self.rate()),
            format!(
                "latency us    p50 {:.1}   p90 {:.1}   p99 {:.1}   p99.9 {:.1}   max {:.1}",
                self.percentile_us(50.0),
                self.percentile_us(90.0),
                self.percentile_us(99.0),
                self.percentile_us(99.9),
                self.percentile_us(100.0)
            ),
            format!("hits          {}", figures.hits),
            format!("misses        {}", figures.misses),
            format!("errors        {}", figures.errors),
        ];
        if self.handshakes > 0.0 {
            lines.push(format!("handshakes    {:.0}/s", self.handshakes));
        }
        if !figures.first_error.is_empty() {
            lines.push(format!("first error   {}", figures.first_error));
        }
        if let Some(server) = &self.server {
            lines.push(cpu_text("server CPU", &server.per(figures.requests)));
        }
        lines.push(cpu_text("client CPU", &self.client.per(figures.requests)));
        lines.join("\n")
    }

    /// The same for programs.
    pub fn json(&self) -> Value {
        let figures = &self.figures;
        let mut report = json!({
            "requests": figures.requests,
            "keys": figures.keys,
            "seconds": self.seconds,
            "requests_per_second": self.rate(),
            "latency_us": {
                "p50": self.percentile_us(50.0),
                "p90": self.percentile_us(90.0),
                "p99": self.percentile_us(99.0),
                "p99.9": self.percentile_us(99.9),
                "max": self.percentile_us(100.0),
            },
            "latency_us_by_percentile": figures.percentiles_us(),
            "hits": figures.hits,
            "misses": figures.misses,
            "errors": figures.errors,
            "wrong": figures.wrong,
            "client_cpu_us_per_request": cpu_json(&self.client.per(figures.requests)),
        });
        if let Some(server) = &self.server {
            report["server_cpu_us_per_request"] = cpu_json(&server.per(figures.requests));
        }
        report
    }
}

fn cpu_text(whose: &str, each: &CpuShare) -> String {
    let CpuShare { total_us, user_us, system_us } = each;
    format!("{whose}    {total_us:.3} us/request (user {user_us:.3}, system {system_us:.3})")
}

fn cpu_json(each: &CpuShare) -> Value {
    json!({"total": each.total_us, "user": each.user_us, "system": each.system_us})
}

/// Denser towards the end, where a plot is read.
const PERCENTILES: [f64; 20] = [
    0.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0, 90.0, 95.0, 98.0, 99.0, 99.5, 99.8, 99.9, 99.95,
    99.99, 99.999, 100.0,
];
/// Ten minutes: longer than any reply is waited for.
const LATENCY_NS_MAX: u64 = 600_000_000_000;
