//! Prints a finished report.

use std::io::{self, Write};

use crate::error::BenchError;

/// Writes `text` and a line end to stdout. A reader that has seen enough (`| head`) is no failure.
pub fn print(text: &str) -> Result<(), BenchError> {
    let mut stdout = io::stdout().lock();
    match writeln!(stdout, "{text}").and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.map_err(BenchError::machine("cannot print the report")),
    }
}
