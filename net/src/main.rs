//! `ringcached`, the server: reads the command line, then serves.

use std::io::{self, Write};
use std::panic;
use std::process;

use ringcache_net::config::{Config, Start};
use ringcache_net::server;
use tracing::level_filters::LevelFilter;

fn main() {
    end_with_any_panic();
    let config = match Config::from_args(std::env::args_os(), &|name| std::env::var(name).ok()) {
        Ok(Start::Serve(config)) => config,
        Ok(Start::Print(text)) => {
            // A reader that has seen enough, like `head`, is no failure.
            let _ = io::stdout().write_all(text.as_bytes());
            return;
        }
        Err(error) => {
            eprintln!("{error}");
            process::exit(error.exit_code);
        }
    };
    start_log(config.verbosity);
    config.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    if !config.ignored_options.is_empty() {
        tracing::info!("accepted without effect: {}", config.ignored_options.join(" "));
    }
    if let Err(error) = server::serve(config) {
        eprintln!("{error}");
        process::exit(error.exit_code());
    }
}

/// Makes a panic in any thread the end of the process: half a server would be worse than none, because a supervisor
/// restarts only what has ended.
fn end_with_any_panic() {
    let print = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        print(panic);
        process::abort();
    }));
}

/// Sends log events to stderr: warnings always, more with each `-v`. One that can't be written is dropped, because
/// the report of that would go to stderr too, and panic: a reader that is gone or a full disk must not end a cache.
fn start_log(verbosity: u8) {
    let level = match verbosity {
        0 => LevelFilter::WARN,
        1 => LevelFilter::INFO,
        2 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(io::stderr)
        .with_ansi(false)
        .log_internal_errors(false)
        .init();
}
