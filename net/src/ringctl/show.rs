//! What an operator sees: a live bar on a terminal, a result as lines or as JSON.

use std::cell::OnceCell;
use std::io::{self, IsTerminal, Write};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use ringcache_net::admin::words::Progress;
use serde_json::{Value, json};

use crate::connection::Trouble;

/// How often a bar is drawn anew, per second.
const REDRAWS_HZ: u8 = 10;

/// Where answers go.
pub struct Show {
    json: bool,
    bar: OnceCell<ProgressBar>,
}

impl Show {
    /// As lines for people, or as JSON.
    pub fn new(json: bool) -> Self {
        Self { json, bar: OnceCell::new() }
    }

    /// How far the command is: on a terminal only, because nobody else wants to read it.
    pub fn progress(&self, progress: &Progress) {
        if self.json || !io::stderr().is_terminal() {
            return;
        }
        let bar = self.bar.get_or_init(|| {
            ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(REDRAWS_HZ))
        });
        if progress.total_bytes > 0 && bar.length().is_none() {
            bar.set_style(style("{msg:>8} [{bar:30}] {bytes}/{total_bytes}  {bytes_per_sec}  {eta} left"));
        } else if bar.length().is_none() {
            bar.set_style(style("{msg:>8} {spinner} {bytes}  {bytes_per_sec}  {elapsed}"));
        }
        if progress.total_bytes > 0 {
            bar.set_length(progress.total_bytes.max(progress.done_bytes));
        }
        bar.set_message(progress.phase.clone());
        bar.set_position(progress.done_bytes);
    }

    /// One of many statuses.
    pub fn status(&self, status: &Value) {
        self.print(status, if self.json { "" } else { "\n" });
    }

    /// What came of it.
    pub fn result(&self, result: &Value) {
        self.clear();
        self.print(result, "");
    }

    /// Why nothing came of it: on stderr for people, on stdout as JSON.
    pub fn trouble(&self, trouble: &Trouble) {
        self.clear();
        if self.json {
            return self.print(&json!({ "error": trouble.to_string() }), "");
        }
        eprintln!("ringctl: {trouble}");
    }

    fn clear(&self) {
        if let Some(bar) = self.bar.get() {
            bar.finish_and_clear();
        }
    }

    fn print(&self, value: &Value, end: &str) {
        let mut text = String::new();
        if self.json {
            text = format!("{value}\n");
        } else {
            push_lines("", value, &mut text);
        }
        // A reader that has seen enough, like `head`, is no failure.
        let _ = write!(io::stdout(), "{text}{end}");
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("a constant template").progress_chars("=> ")
}

/// One line for each value that is none of others: its path and itself.
fn push_lines(path: &str, value: &Value, text: &mut String) {
    let below = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    match value {
        Value::Object(fields) => {
            fields.iter().for_each(|(name, value)| push_lines(&below(name), value, text));
        }
        Value::Array(values) if values.iter().any(|value| value.is_object()) => {
            let numbered = values.iter().enumerate();
            numbered.for_each(|(at, value)| push_lines(&below(&at.to_string()), value, text));
        }
        Value::Null => {}
        Value::String(string) => text.push_str(&format!("{path:<24} {string}\n")),
        other => text.push_str(&format!("{path:<24} {other}\n")),
    }
}
