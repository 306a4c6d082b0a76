//! The log on stderr: warnings always, more with each `-v`, and more or less again by the `verbosity` command.

use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use ringcache_engine::Seconds;

use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Registry, fmt, reload};

/// The level of the process's one log.
static LEVEL: OnceLock<reload::Handle<LevelFilter, Registry>> = OnceLock::new();

/// Starts the log of this process. An event that can't be written is dropped, because the report of that would go to
/// stderr too, and panic: a reader that is gone or a full disk must not end a cache.
///
/// # Panics
/// When the log was started before.
pub fn start(verbosity: u8) {
    let (filter, handle) = reload::Layer::new(level(verbosity));
    let print = fmt::layer().with_writer(io::stderr).with_ansi(false).log_internal_errors(false);
    tracing_subscriber::registry().with(filter).with(print).init();
    LEVEL.set(handle).expect("the log is started once");
}

/// Changes how much is logged from here on. Without a log, as in tests, nothing happens.
pub fn set_verbosity(verbosity: u8) {
    if let Some(handle) = LEVEL.get() {
        handle.reload(level(verbosity)).expect("the log lives as long as the process");
    }
}

/// Keeps what strangers can cause from filling the log: one line a second.
#[derive(Debug, Default)]
pub struct Seldom {
    logged_seconds: AtomicU32,
    unlogged: AtomicU32,
}

impl Seldom {
    /// Whether to log now, and then how many times it was not since the last line.
    pub fn admit(&self, now: Seconds) -> Option<u32> {
        if self.logged_seconds.swap(now.0, Ordering::Relaxed) == now.0 {
            self.unlogged.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        Some(self.unlogged.swap(0, Ordering::Relaxed))
    }
}

fn level(verbosity: u8) -> LevelFilter {
    match verbosity {
        0 => LevelFilter::WARN,
        1 => LevelFilter::INFO,
        2 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    }
}
