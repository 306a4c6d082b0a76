//! Handshakes at a fixed rate beside a load: what strangers who connect cost those who are connected.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustls::ClientConfig;

use crate::error::BenchError;
use crate::load::Plan;
use crate::process::give_way;
use crate::target::Target;
use crate::tls::Veil;

/// Threads that connect, shake hands and close. None where no handshakes are asked for.
pub struct Flood {
    threads: Vec<JoinHandle<Result<(), BenchError>>>,
    is_over: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    before: u64,
}

impl Flood {
    /// Starts `plan.handshakes` per second on any CPU, where they give way to everything: what the client's own handshakes
    /// cost must not look like the server's latency.
    pub fn start(target: &Target, plan: &Plan) -> Result<Flood, BenchError> {
        let mut flood =
            Flood { threads: Vec::new(), is_over: Arc::default(), done: Arc::default(), before: 0 };
        let Some(config) = plan.tls.as_ref().filter(|_| plan.handshakes > 0) else { return Ok(flood) };
        for thread in 0..THREADS {
            let (target, config) = (target.clone(), Arc::clone(config));
            let (is_over, done) = (Arc::clone(&flood.is_over), Arc::clone(&flood.done));
            let pause = Duration::from_secs(1) * THREADS / plan.handshakes;
            let first = Instant::now() + pause * thread / THREADS;
            flood.threads.push(std::thread::spawn(move || {
                give_way()?;
                shake(&target, &config, (first, pause), &is_over, &done)
            }));
        }
        Ok(flood)
    }

    /// Counts from now on.
    pub fn mark(&mut self) {
        self.before = self.done.load(Ordering::Relaxed);
    }

    /// Ends it; how many handshakes per second were made during the `seconds` since the mark.
    pub fn end(self, seconds: f64) -> Result<f64, BenchError> {
        let done = self.done.load(Ordering::Relaxed) - self.before;
        self.is_over.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().expect("a thread returns its failures")?;
        }
        Ok(done as f64 / seconds)
    }
}

/// One handshake when it is due. What comes too late is not made up for.
fn shake(
    target: &Target,
    config: &Arc<ClientConfig>,
    (first, pause): (Instant, Duration),
    is_over: &AtomicBool,
    done: &AtomicU64,
) -> Result<(), BenchError> {
    let mut due = first;
    while !is_over.load(Ordering::Relaxed) {
        let now = Instant::now();
        if now < due {
            std::thread::sleep(due - now);
        }
        due = due.max(now) + pause;
        let shaken = Veil::shake(target.connect()?, config);
        shaken.map_err(|source: io::Error| BenchError::Died { source: Some(source) })?;
        done.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

/// Enough that none waits for the server where one handshake takes some milliseconds.
const THREADS: u32 = 8;
