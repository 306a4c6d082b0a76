//! Who is measured, where, and for how long: what every row is given.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;

use crate::child::Server;
use crate::error::BenchError;

/// The options that say what is measured, and on which CPUs.
#[derive(Args, Debug)]
pub struct Site {
    /// The ringcached to measure; by default the one beside this program
    #[arg(long)]
    ringcached: Option<PathBuf>,
    /// The memcached to measure against
    #[arg(long, default_value = "memcached")]
    memcached: PathBuf,
    /// CPU of the servers that have one thread
    #[arg(long, default_value_t = 0)]
    server_cpu: usize,
    /// CPU of the client where it has one thread
    #[arg(long, default_value_t = 1)]
    client_cpu: usize,
}

/// Programs, CPUs and lengths of a comparison.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The ringcached to measure.
    pub ringcached: PathBuf,
    /// The memcached to measure against.
    pub memcached: PathBuf,
    /// The redis-server to measure against, where one is installed.
    pub redis: Option<PathBuf>,
    /// This program, which is the floor too.
    pub own: PathBuf,
    /// CPU of a server with one thread.
    pub server_cpu: usize,
    /// CPU of a client with one thread.
    pub client_cpu: usize,
    /// Length of each round of each server.
    pub length: Duration,
    /// Rounds of each server; the median counts.
    pub rounds: u32,
    /// Where the traces lie.
    pub traces: Option<PathBuf>,
}

/// A kind of server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// Ours.
    Ringcached,
    /// The one to beat.
    Memcached,
    /// A bare ring without an engine.
    Floor,
    /// Spoken to in its own protocol.
    Redis,
}

/// How a server is started.
#[derive(Clone, Debug)]
pub struct Launch {
    /// `-t`.
    pub threads: usize,
    /// `-m`, in MiB.
    pub memory_mib: usize,
    /// Where it may run; empty for any CPU.
    pub cpus: Vec<usize>,
    /// Length of the floor's one value; larger than a mebibyte minus a header: `-I` too.
    pub value_bytes: usize,
    /// More arguments for ringcached.
    pub ringcached_arguments: Vec<String>,
    /// More arguments for ringcached and memcached.
    pub server_arguments: Vec<String>,
}

impl Site {
    /// Rounds of this length with the programs asked for, which must be there; without Redis.
    pub fn setup(&self, length: Duration, rounds: u32) -> Result<Setup, BenchError> {
        let own = std::env::current_exe().map_err(BenchError::machine("cannot find this program"))?;
        let ringcached = self.ringcached.clone().unwrap_or_else(|| own.with_file_name("ringcached"));
        Ok(Setup {
            ringcached: program(&ringcached)?,
            memcached: program(&self.memcached)?,
            redis: None,
            own,
            server_cpu: self.server_cpu,
            client_cpu: self.client_cpu,
            length,
            rounds,
            traces: None,
        })
    }
}

impl Program {
    /// As in reports.
    pub fn name(self) -> &'static str {
        match self {
            Program::Ringcached => "ringcached",
            Program::Memcached => "memcached",
            Program::Floor => "floor",
            Program::Redis => "redis",
        }
    }
}

impl Setup {
    /// One thread, on the servers' CPU, with room for a million small records, so that nothing is evicted.
    pub fn launch(&self) -> Launch {
        Launch {
            threads: 1,
            memory_mib: 1024,
            cpus: vec![self.server_cpu],
            value_bytes: 100,
            ringcached_arguments: Vec::new(),
            server_arguments: Vec::new(),
        }
    }

    /// Starts a server and waits until it listens; it is stopped when dropped. From the main thread only.
    pub fn start(&self, program: Program, launch: &Launch) -> Result<Server, BenchError> {
        let path = match program {
            Program::Ringcached => &self.ringcached,
            Program::Memcached => &self.memcached,
            Program::Floor => &self.own,
            Program::Redis => self.redis.as_ref().ok_or_else(|| {
                BenchError::Usage("redis-server is not installed; --redis says where it is".to_string())
            })?,
        };
        let arguments = launch.arguments(program);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        Server::start(path, &arguments, &launch.cpus)
    }

    /// Starts and stops every program once, and returns their names and versions: whatever is missing is found before
    /// the first measurement.
    pub fn versions(&self) -> Result<Vec<String>, BenchError> {
        let mut programs = vec![Program::Ringcached, Program::Memcached, Program::Floor];
        programs.extend(self.redis.is_some().then_some(Program::Redis));
        programs.into_iter().map(|program| version(program, &self.start(program, &self.launch())?)).collect()
    }
}

impl Launch {
    fn arguments(&self, program: Program) -> Vec<String> {
        let Launch { threads, memory_mib, value_bytes, .. } = self;
        let line = match program {
            Program::Ringcached => format!("-l 127.0.0.1 -p {{port}} -t {threads} -m {memory_mib} -c 1024"),
            Program::Memcached => {
                format!("-l 127.0.0.1 -p {{port}} -t {threads} -m {memory_mib} -c 1024 -U 0 -u root")
            }
            Program::Floor => format!("floor --port {{port}} --value-bytes {value_bytes}"),
            Program::Redis => format!(
                "--bind 127.0.0.1 --port {{port}} --io-threads {threads} --maxmemory {memory_mib}mb \
                --maxmemory-policy allkeys-lru --appendonly no --save"
            ),
        };
        let mut arguments: Vec<String> = line.split(' ').map(str::to_string).collect();
        let speaks_memcached = matches!(program, Program::Ringcached | Program::Memcached);
        if speaks_memcached && *value_bytes > LARGE_BYTES_MIN {
            // memcached wants a multiple of its slab chunks of half a mebibyte.
            arguments.extend(["-I".to_string(), format!("{}m", value_bytes.div_ceil(1 << 20) + 1)]);
        }
        if speaks_memcached {
            arguments.extend(self.server_arguments.iter().cloned());
        }
        match program {
            Program::Ringcached => arguments.extend(self.ringcached_arguments.iter().cloned()),
            // `--save ""`: no snapshots.
            Program::Redis => arguments.push(String::new()),
            _ => {}
        }
        arguments
    }
}

/// The name, and what the server says its version is.
fn version(program: Program, server: &Server) -> Result<String, BenchError> {
    let died = |source| BenchError::Died { source: Some(source) };
    let (question, mark): (&[u8], _) = match program {
        Program::Redis => (b"INFO server\r\n", "redis_version:"),
        _ => (b"version\r\n", "VERSION "),
    };
    let mut stream = File::from(server.target().connect()?);
    stream.write_all(question).map_err(died)?;
    let lines = BufReader::new(stream.take(ANSWER_BYTES_MAX)).lines().take(ANSWER_LINES_MAX);
    for line in lines {
        let line = line.map_err(died)?;
        if let Some(version) = line.trim_end().strip_prefix(mark) {
            return Ok(format!("{} {version}", program.name()));
        }
        // A server without versions says ERROR, and one line is all that it says.
        if program != Program::Redis {
            break;
        }
    }
    Ok(program.name().to_string())
}

/// As [`find_program`]; an error where there is none.
pub fn program(path: &Path) -> Result<PathBuf, BenchError> {
    let missing = || BenchError::Usage(format!("there is no program {}", path.display()));
    find_program(path).ok_or_else(missing)
}

/// The program at `path`, or of that name in one of the folders of `PATH`; `None` where there is none.
pub fn find_program(path: &Path) -> Option<PathBuf> {
    if path.components().count() > 1 {
        return path.is_file().then(|| path.to_path_buf());
    }
    let folders = std::env::var_os("PATH")?;
    std::env::split_paths(&folders).map(|folder| folder.join(path)).find(|file| file.is_file())
}

/// From this value size on, memcached's default limit of a mebibyte per record may not suffice.
const LARGE_BYTES_MIN: usize = 500_000;
/// Of a reply to `version` or `INFO server`.
const ANSWER_BYTES_MAX: u64 = 4096;
const ANSWER_LINES_MAX: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_by_name_and_by_path() {
        assert!(find_program(Path::new("sh")).is_some());
        assert_eq!(find_program(Path::new("/bin/sh")), Some(PathBuf::from("/bin/sh")));
        assert_eq!(find_program(Path::new("/bin")), None, "a folder");
        assert_eq!(find_program(Path::new("no-such-program-anywhere")), None);
        assert_eq!(find_program(Path::new("./no-such-program")), None);
    }
}
