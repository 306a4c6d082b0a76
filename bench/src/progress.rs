//! The line on a terminal that shows a run going on. It goes to stderr, and nowhere but to a terminal.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Shows how many requests a run has answered, and how fast. Cheap to clone; load threads share it.
#[derive(Clone, Debug)]
pub struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// A line for a run with this name, where stderr is a terminal.
    pub fn start(name: &str) -> Progress {
        let is_watched = std::io::stderr().is_terminal();
        let target = if is_watched {
            ProgressDrawTarget::stderr_with_hz(REDRAWS_HZ)
        } else {
            ProgressDrawTarget::hidden()
        };
        let style =
            ProgressStyle::with_template("{spinner} {msg}  {elapsed}  {human_pos} requests  {per_sec}")
                .expect("a constant template");
        let bar =
            ProgressBar::with_draw_target(None, target).with_style(style).with_message(name.to_string());
        if is_watched {
            bar.enable_steady_tick(TICK);
        }
        Progress { bar }
    }

    /// A line for nobody.
    pub fn hidden() -> Progress {
        Progress { bar: ProgressBar::hidden() }
    }

    /// Shows that so many more requests were answered. Takes a lock: call it a few times per second.
    pub fn add(&self, requests: u64) {
        self.bar.inc(requests);
    }

    /// Clears the line, so that a report follows nothing.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

/// A line above the live one, for those who watch a terminal.
pub fn announce(text: &str) {
    if std::io::stderr().is_terminal() {
        eprintln!("{text}");
    }
}

const REDRAWS_HZ: u8 = 4;
const TICK: Duration = Duration::from_millis(250);
