//! memcached's command line, checked once, as one value.
//!
//! Nothing else reads flags or the environment. Field names follow our vocabulary; the flag is named in each doc.
//! `config/flags.rs` knows the shape of the flags, `config/options.rs` the sub-options of `-o`,
//! `config/listen.rs` the addresses of `-l`, `config/operator.rs` what is for operators; the meaning and the checks of all others are here.

mod flags;
mod listen;
mod operator;
mod options;
mod replication;
mod tls;
mod tuning;
mod warming;

use std::ffi::OsString;
use std::path::PathBuf;
use std::str::FromStr;

use ringcache_engine::limits::{ITEM_BYTES_MAX, SHARDS_MAX};

use crate::limits::{
    ITEM_BYTES_MIN, MEMORY_BYTES_MAX, SPIN_US_DEFAULT, SPIN_US_MAX, UDP_BYTES_PER_SECOND_DEFAULT,
    WATCHER_LOG_BYTES, WORKER_LOG_BYTES, WORKER_MEMORY_BYTES_MIN, WORKERS_ADVISED_MAX,
};
use crate::replication::node::ReplicationOptions;
use crate::warming::WarmingOptions;
use flags::Flags;
pub use listen::{Listen, Terms};
pub use operator::AdminSocket;
pub use tls::{Encryption, KeyFormat, TlsOptions, Verify};
pub use tuning::Tuning;

/// The memcached release whose behaviour is offered; what `-V` and `version` say.
pub const MEMCACHED_VERSION: &str = "1.6.45";
/// Exit code of a bad value, as memcached uses it for most of them.
pub const EXIT_FAILURE: i32 = 1;
/// Exit code of wrong usage (`EX_USAGE` of sysexits.h).
pub const EXIT_USAGE: i32 = 64;
/// Exit code of what the system refuses (`EX_OSERR`).
pub const EXIT_SYSTEM: i32 = 71;

/// Which protocol a connection may speak (`-B`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binding {
    /// By the first byte.
    Auto,
    /// Text and meta only.
    Ascii,
    /// Binary only.
    Binary,
}

/// Everything the command line decides.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// `-p`; `None`: TCP is off, because of `-p 0` or `-s`; `Some(0)`: the kernel chooses (`-p -1`).
    pub port: Option<u16>,
    /// `-U`; `None`: UDP is off; `Some(0)`: the kernel chooses (`-U -1`).
    pub udp_port: Option<u16>,
    /// `--udp-limit`: what each source may be sent per second beyond what it asked for; 0 bounds nothing.
    pub udp_bytes_per_second: u64,
    /// `-l`; empty: every address.
    pub listen: Vec<Listen>,
    /// The same as it was given.
    pub listen_text: Option<String>,
    /// `-s`: a Unix socket, which turns TCP off.
    pub socket_path: Option<PathBuf>,
    /// `-a`: access bits of the socket.
    pub socket_mode: u32,
    /// `-m`, in bytes.
    pub memory_bytes: u64,
    /// Not `-M`.
    pub evictions: bool,
    /// `-c`.
    pub connections_max: u32,
    /// `-t`.
    pub workers: u16,
    /// `-R`, as shown.
    pub requests_per_turn: u32,
    /// `-R` where it was given: requests of one connection before others have their turn. Without it a receive buffer
    /// is what one connection may ask in a turn.
    pub requests_limit: u32,
    /// `-o relaxed_privileges`, which only debug builds of memcached have: the clock can be set by `debugtime`.
    pub debug_clock: bool,
    /// `--spin-us`: how long a worker looks for something to do before it sleeps, in microseconds; 0 is not at all.
    pub spin_us: u32,
    /// `-b`.
    pub backlog: u32,
    /// `-B`.
    pub binding: Binding,
    /// Not `-C`.
    pub cas: bool,
    /// `-I`.
    pub item_bytes_max: u32,
    /// Not `-F`.
    pub flush_enabled: bool,
    /// Not `-X`.
    pub dump_enabled: bool,
    /// Not `-W`.
    pub watch_enabled: bool,
    /// `-A`.
    pub shutdown_enabled: bool,
    /// `-d`.
    pub daemonize: bool,
    /// `-P`.
    pub pid_file: Option<PathBuf>,
    /// `-u`.
    pub user: Option<String>,
    /// How often `-v` was given, 0 to 3.
    pub verbosity: u8,
    /// `-e`: where the memory of the records is kept, so that the next process can go on with it.
    pub memory_file: Option<PathBuf>,
    /// `--admin-socket`.
    pub admin_socket: AdminSocket,
    /// `RUNTIME_DIRECTORY`, which systemd sets: a directory for this service alone.
    pub service_directory: Option<PathBuf>,
    /// `--log-changes`: deletes, touches and flushes stay in the log, so that backups can begin where others ended.
    pub log_changes: bool,
    /// `--restore`: backups to begin with.
    pub restore: Vec<PathBuf>,
    /// `--salvage`: what is damaged in them is passed over.
    pub salvage: bool,
    /// `--replication-port`, `--replica-of` and what belongs to them.
    pub replication: ReplicationOptions,
    /// `--warm-from` and `--warm-timeout-ms`.
    pub warming: WarmingOptions,
    /// `-L`.
    pub huge_pages: bool,
    /// `-k`.
    pub lock_memory: bool,
    /// `-r`.
    pub core_dumps: bool,
    /// `-f`; only reported.
    pub growth_factor: f64,
    /// `-n`; only reported.
    pub chunk_bytes: u32,
    /// `-N`; only reported.
    pub napi_ids: u32,
    /// `-o idle_timeout`, seconds; 0 is off.
    pub idle_timeout_seconds: u32,
    /// `-o maxconns_fast`, the default: refuse with an error instead of not accepting.
    pub maxconns_fast: bool,
    /// `-D`: what ends the prefix of a key.
    pub prefix_delimiter: u8,
    /// `-D`: prefixes are counted from the start on.
    pub detail_enabled: bool,
    /// `-o watcher_logbuf_size`, in bytes.
    pub watcher_log_bytes: usize,
    /// `-o worker_logbuf_size`, in bytes.
    pub worker_log_bytes: usize,
    /// `-o track_sizes`: `stats sizes` counts.
    pub track_sizes: bool,
    /// Other `-o` settings, as `stats settings` shows them.
    pub tuning: Tuning,
    /// `-Y`: users of the text protocol, which have to say who they are.
    pub auth_file: Option<PathBuf>,
    /// `-S`, and the users by `MEMCACHED_SASL_PWDB`, who have to say who they are in the binary protocol.
    pub sasl_file: Option<PathBuf>,
    /// `-Z` and `-o ssl_*`.
    pub tls: TlsOptions,
    /// `MEMCACHED_PORT_FILENAME`.
    pub port_file: Option<PathBuf>,
    /// What was given and has no effect here, as given; said at the start with `-v`.
    pub ignored_options: Vec<String>,
    /// What was given and is doubtful; said at the start in any case.
    pub warnings: Vec<String>,
}

impl Default for Config {
    /// memcached's defaults.
    fn default() -> Self {
        Self {
            port: Some(11211),
            udp_port: None,
            udp_bytes_per_second: UDP_BYTES_PER_SECOND_DEFAULT,
            listen: Vec::new(),
            listen_text: None,
            socket_path: None,
            socket_mode: 0o700,
            memory_bytes: 64 << 20,
            evictions: true,
            connections_max: 1024,
            workers: 4,
            requests_per_turn: 20,
            requests_limit: u32::MAX,
            debug_clock: false,
            spin_us: SPIN_US_DEFAULT,
            backlog: 1024,
            binding: Binding::Auto,
            cas: true,
            item_bytes_max: 1 << 20,
            flush_enabled: true,
            dump_enabled: true,
            watch_enabled: true,
            shutdown_enabled: false,
            daemonize: false,
            pid_file: None,
            user: None,
            verbosity: 0,
            memory_file: None,
            admin_socket: AdminSocket::ByPort,
            service_directory: None,
            log_changes: false,
            restore: Vec::new(),
            salvage: false,
            replication: ReplicationOptions::default(),
            warming: WarmingOptions::default(),
            huge_pages: false,
            lock_memory: false,
            core_dumps: false,
            growth_factor: 1.25,
            chunk_bytes: 48,
            napi_ids: 0,
            idle_timeout_seconds: 0,
            maxconns_fast: true,
            prefix_delimiter: b':',
            detail_enabled: false,
            watcher_log_bytes: WATCHER_LOG_BYTES,
            worker_log_bytes: WORKER_LOG_BYTES,
            track_sizes: false,
            tuning: Tuning::default(),
            auth_file: None,
            sasl_file: None,
            tls: TlsOptions::default(),
            port_file: None,
            ignored_options: Vec::new(),
            warnings: Vec::new(),
        }
    }
}

/// What a command line asks for.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "made once per process")]
pub enum Start {
    /// Run the server.
    Serve(Config),
    /// Print this text to stdout and exit with 0 (`-h`, `-V`, `-i`).
    Print(String),
}

/// Why a command line was refused: what to print to stderr and what to exit with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct ConfigError {
    /// One or more lines without the last newline.
    pub text: String,
    /// memcached's exit code for the same mistake.
    pub exit_code: i32,
}

impl ConfigError {
    fn new(exit_code: i32, text: impl Into<String>) -> Self {
        Self { text: text.into(), exit_code }
    }
}

impl Config {
    /// Reads a command line, program name first, and the environment through `env`.
    ///
    /// Errors have memcached's text and exit code wherever memcached has one, and name the flag; a number that
    /// memcached would read as 0 because it is none is refused. Names and files are not looked up here.
    pub fn from_args(
        args: impl Iterator<Item = OsString>,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Start, ConfigError> {
        let flags = Flags::parse(args)?;
        if let Some(text) = flags.text_to_print() {
            return Ok(Start::Print(text));
        }
        let mut config =
            Config { port_file: env("MEMCACHED_PORT_FILENAME").map(PathBuf::from), ..Self::default() };
        config.read_switches(&flags)?;
        config.read_addresses(&flags)?;
        config.read_protocol(&flags, env)?;
        config.read_limits(&flags)?;
        config.read_memory(&flags)?;
        config.read_accepted(&flags)?;
        config.read_operator(&flags, env);
        config.read_replication(&flags)?;
        config.read_warming(&flags)?;
        for list in flags.texts("extended") {
            options::apply(list, &mut config)?;
        }
        config.tuning.check()?;
        config.read_encryption(&flags)?;
        Ok(Start::Serve(config))
    }

    /// What to say on stderr at the start: every warning, and with `-v` whatever has no effect.
    pub fn notices(&self) -> impl Iterator<Item = String> {
        let ignored = self.ignored_options.iter().take(if self.verbosity > 0 { usize::MAX } else { 0 });
        let warnings = self.warnings.iter().map(|warning| format!("WARNING: {warning}"));
        warnings.chain(ignored.map(|option| format!("{option} has no effect here")))
    }

    fn read_switches(&mut self, flags: &Flags) -> Result<(), ConfigError> {
        self.evictions = !flags.given("disable-evictions");
        self.cas = !flags.given("disable-cas");
        self.flush_enabled = !flags.given("disable-flush-all");
        self.dump_enabled = !flags.given("disable-dumping");
        self.watch_enabled = !flags.given("disable-watch");
        self.shutdown_enabled = flags.given("enable-shutdown");
        self.daemonize = flags.given("daemon");
        self.pid_file = flags.path("pidfile");
        self.user = flags.text("user").map(str::to_owned);
        self.verbosity = flags.count("verbose").min(3);
        self.memory_file = flags.path("memory-file");
        self.huge_pages = flags.given("enable-largepages");
        self.lock_memory = flags.given("lock-memory");
        self.core_dumps = flags.given("enable-coredumps");
        if self.user.as_deref() == Some("") {
            return Err(usage("No user to switch to (-u)"));
        }
        Ok(())
    }

    /// The protocol, and who may speak it: users of SASL only exist in the binary one, users of `-Y` only in text.
    fn read_protocol(
        &mut self,
        flags: &Flags,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<(), ConfigError> {
        let binding = match flags.text("protocol") {
            None => None,
            Some("auto") => Some(Binding::Auto),
            Some("ascii") => Some(Binding::Ascii),
            Some("binary") => Some(Binding::Binary),
            Some(other) => {
                let text = format!("Invalid value for binding protocol: {other}");
                return Err(usage(format!("{text}\n -- should be one of auto, binary, or ascii (-B)")));
            }
        };
        self.binding = binding.unwrap_or(Binding::Auto);
        if flags.given("enable-sasl") {
            if binding.is_some_and(|binding| binding != Binding::Binary) {
                return Err(usage("ERROR: You cannot allow the ASCII protocol while using SASL."));
            }
            let wrong = "-S: MEMCACHED_SASL_PWDB has to name a file of user:password lines";
            let path = env("MEMCACHED_SASL_PWDB").filter(|path| !path.is_empty());
            self.sasl_file = Some(path.ok_or_else(|| usage(wrong))?.into());
            self.binding = Binding::Binary;
        }
        self.auth_file = flags.path("auth-file");
        if self.auth_file.is_some() {
            if binding.is_some_and(|binding| binding != Binding::Ascii) {
                let text =
                    "ERROR: You cannot allow the BINARY protocol while using ascii authentication tokens.";
                return Err(usage(text));
            }
            self.binding = Binding::Ascii;
        }
        self.check_addresses()
    }

    fn read_limits(&mut self, flags: &Flags) -> Result<(), ConfigError> {
        if let Some(text) = flags.text("conn-limit") {
            let most = i32::MAX as u32;
            let wrong = "Maximum connections must be greater than 0";
            self.connections_max = number("-c", text, 1, most, wrong)?;
        }
        if let Some(text) = flags.text("threads") {
            self.workers = number("-t", text, 1, u16::MAX, "Number of threads must be greater than 0")?;
        }
        if self.workers > SHARDS_MAX {
            return Err(failure(format!("Number of threads must be at most {SHARDS_MAX} (-t)")));
        }
        if self.workers > WORKERS_ADVISED_MAX {
            self.warnings.push(format!(
                "{} threads are more than {WORKERS_ADVISED_MAX}: set -t to the number of cores or less",
                self.workers
            ));
        }
        if let Some(text) = flags.text("max-reqs-per-event") {
            let wrong = "Number of requests per event must be greater than 0";
            self.requests_per_turn = number("-R", text, 1, i32::MAX as u32, wrong)?;
            self.requests_limit = self.requests_per_turn;
        }
        if let Some(text) = flags.text("spin-us") {
            let wrong = format!("Spinning before sleep takes 0 to {SPIN_US_MAX} microseconds");
            self.spin_us = number("--spin-us", text, 0, SPIN_US_MAX, &wrong)?;
        }
        if let Some(text) = flags.text("listen-backlog") {
            let wrong = "Listen backlog must be a number that is not negative";
            self.backlog = number("-b", text, 0, i32::MAX as u32, wrong)?;
        }
        Ok(())
    }

    fn read_memory(&mut self, flags: &Flags) -> Result<(), ConfigError> {
        if let Some(text) = flags.text("memory-limit") {
            let most = MEMORY_BYTES_MAX >> 20;
            let wrong = format!("Memory limit must be a number of megabytes up to {most} (-m {text})");
            let megabytes: u64 = text.parse().map_err(|_| usage(&wrong))?;
            self.memory_bytes =
                megabytes.checked_mul(1 << 20).filter(|b| *b <= MEMORY_BYTES_MAX).ok_or(usage(wrong))?;
        }
        if let Some(text) = flags.text("max-item-size") {
            self.item_bytes_max = item_bytes(text)?;
        }
        let least = u64::from(self.workers) * WORKER_MEMORY_BYTES_MIN;
        if self.memory_bytes < least {
            let (megabytes, workers) = (self.memory_bytes >> 20, self.workers);
            let least = least.div_ceil(1 << 20);
            return Err(usage(format!(
                "-m {megabytes} is too small for -t {workers}: at least -m {least} is needed"
            )));
        }
        if u64::from(self.item_bytes_max) > self.memory_bytes / 2 {
            return Err(usage("Cannot set item size limit higher than 1/2 of memory max. (-I, -m)"));
        }
        Ok(())
    }

    /// Flags that are only checked, so that memcached's command lines keep working.
    fn read_accepted(&mut self, flags: &Flags) -> Result<(), ConfigError> {
        if let Some(text) = flags.text("slab-growth-factor") {
            let factor = text.parse().ok().filter(|factor: &f64| *factor > 1.0 && factor.is_finite());
            self.growth_factor =
                factor.ok_or_else(|| failure(format!("Factor must be greater than 1 (-f {text})")))?;
            self.ignored_options.push(format!("-f {text}"));
        }
        if let Some(text) = flags.text("slab-min-size") {
            let wrong = "Chunk size must be greater than 0";
            self.chunk_bytes = number("-n", text, 1, i32::MAX as u32, wrong)?;
            self.ignored_options.push(format!("-n {text}"));
        }
        if let Some(text) = flags.text("prefix-delimiter") {
            // Only the first byte of a longer one is looked at, as in memcached.
            self.prefix_delimiter =
                *text.as_bytes().first().ok_or_else(|| failure("No delimiter specified (-D)"))?;
            self.detail_enabled = true;
        }
        if let Some(text) = flags.text("napi-ids") {
            let wrong = "Maximum number of NAPI IDs must be greater than 0";
            self.napi_ids = number("-N", text, 1, i32::MAX as u32, wrong)?;
            if self.napi_ids > u32::from(self.workers) {
                let (ids, workers) = (self.napi_ids, self.workers);
                let wrong = "cannot be greater than number of threads";
                return Err(usage(format!("Number of napi_ids (-N {ids}) {wrong} (-t {workers})")));
            }
            self.ignored_options.push(format!("-N {text}"));
        }
        self.ignored_options.extend(flags.texts("rest").map(str::to_owned));
        Ok(())
    }
}

/// Parses `-I`: bytes, or with a suffix KiB or MiB.
fn item_bytes(text: &str) -> Result<u32, ConfigError> {
    let (digits, shift) = match text.as_bytes().last() {
        Some(b'k' | b'K') => (&text[..text.len() - 1], 10),
        Some(b'm' | b'M') => (&text[..text.len() - 1], 20),
        _ => (text, 0),
    };
    let bytes = digits.parse::<u64>().unwrap_or(0).saturating_mul(1 << shift);
    if bytes < u64::from(ITEM_BYTES_MIN) {
        let wrong = format!("Item max size cannot be less than {ITEM_BYTES_MIN} bytes. (-I {text})");
        return Err(usage(wrong));
    }
    match u32::try_from(bytes) {
        Ok(bytes) if bytes <= ITEM_BYTES_MAX => Ok(bytes),
        _ => Err(usage(format!("Cannot set item size limit higher than a gigabyte. (-I {text})"))),
    }
}

/// The value of `flag`; `wrong` says what it should have been.
fn number<N: FromStr + PartialOrd>(
    flag: &str,
    text: &str,
    least: N,
    most: N,
    wrong: &str,
) -> Result<N, ConfigError> {
    let number = text.parse().ok().filter(|number| least <= *number && *number <= most);
    number.ok_or_else(|| failure(format!("{wrong} ({flag} {text})")))
}

fn failure(text: impl Into<String>) -> ConfigError {
    ConfigError::new(EXIT_FAILURE, text)
}

fn usage(text: impl Into<String>) -> ConfigError {
    ConfigError::new(EXIT_USAGE, text)
}

#[cfg(test)]
mod tests;
