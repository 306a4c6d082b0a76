//! `ringcached`, the server: reads the command line, then serves.

use std::io::{self, Write};
use std::panic;
use std::process;

use ringcache_net::config::{Config, Start};
use ringcache_net::{log, server};

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
    log::start(config.verbosity);
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
