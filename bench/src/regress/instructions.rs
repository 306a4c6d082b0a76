//! Instructions per operation: `ringcount` under callgrind. The same binary gives the same counts every time, whatever
//! else the machine does.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::process::{Command, Output};

use super::baseline::Measurement;
use crate::error::BenchError;

/// Counts every row of `ringcount`. Half a second each.
pub fn count(ringcount: &Path, valgrind: &Path) -> Result<Measurement, BenchError> {
    let listed = run(&mut Command::new(ringcount), ringcount)?;
    let made_with = made_with(valgrind)?;
    let mut rows = Vec::new();
    for line in String::from_utf8_lossy(&listed.stdout).lines() {
        let row = line.split_once(' ').and_then(|(name, operations)| Some((name, operations.parse().ok()?)));
        let (name, operations): (&str, u32) = row.ok_or_else(|| unexpected(ringcount, line))?;
        let instructions = count_row(ringcount, valgrind, name)?;
        rows.push((name.to_string(), instructions as f64 / f64::from(CALLS) / f64::from(operations)));
    }
    Ok(Measurement { made_with, rows })
}

fn count_row(ringcount: &Path, valgrind: &Path, row: &str) -> Result<u64, BenchError> {
    let mut command = Command::new(valgrind);
    command.args([
        "--tool=callgrind",
        "--callgrind-out-file=/dev/null",
        "--toggle-collect=*ringcount*measured*",
    ]);
    command.arg(ringcount).args([row, &CALLS.to_string()]);
    let output = run(&mut command, valgrind)?;
    let report = String::from_utf8_lossy(&output.stderr);
    let collected = parse_collected(&report).filter(|count| *count > 0);
    collected.ok_or_else(|| unexpected(valgrind, report.trim_end()))
}

/// The number in callgrind's line `==PID== Collected : NUMBER`.
fn parse_collected(report: &str) -> Option<u64> {
    let (_, number) = report.lines().find_map(|line| line.split_once("Collected :"))?;
    number.trim().parse().ok()
}

/// The count depends on the compiler; on the C library's copying, which comes with the distribution, as valgrind does; and
/// on the widest vectors, because memchr and the C library choose by them.
fn made_with(valgrind: &Path) -> Result<BTreeMap<String, String>, BenchError> {
    let version = run(Command::new(valgrind).arg("--version"), valgrind)?.stdout;
    let entries = [
        ("rustc", env!("RUSTC_VERSION").to_string()),
        ("valgrind", String::from_utf8_lossy(&version).trim().to_string()),
        ("processor", format!("{}, {}", std::env::consts::ARCH, vectors())),
    ];
    Ok(entries.map(|(name, value)| (name.to_string(), value)).into())
}

#[cfg(target_arch = "x86_64")]
fn vectors() -> &'static str {
    if std::arch::is_x86_feature_detected!("avx2") { "avx2" } else { "sse2" }
}

#[cfg(not(target_arch = "x86_64"))]
fn vectors() -> &'static str {
    "default vectors"
}

/// The output of a program that succeeds.
fn run(command: &mut Command, program: &Path) -> Result<Output, BenchError> {
    let start = |source: io::Error| BenchError::Start { path: program.to_path_buf(), source };
    let output = command.output().map_err(start)?;
    if output.status.success() {
        return Ok(output);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(unexpected(program, &format!("{}: {}", output.status, said.trim_end())))
}

fn unexpected(program: &Path, said: &str) -> BenchError {
    BenchError::Count { path: program.to_path_buf(), said: said.to_string() }
}

/// Calls of a row that are counted: what the first and the last add is less than a thousandth.
const CALLS: u32 = 500;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_is_found_in_the_report() {
        let report =
            "==7== Events    : Ir\n==7== Collected : 2080520\n==7==\n==7== I   refs:      2,080,520\n";
        assert_eq!(parse_collected(report), Some(2_080_520));
        assert_eq!(parse_collected("==7== Collected : \n"), None);
        assert_eq!(parse_collected("nothing"), None);
    }
}
