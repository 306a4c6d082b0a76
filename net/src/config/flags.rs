//! memcached's flags as clap knows them: letters, long names, help. No meaning here, only shape.
//!
//! Values stay text; `config.rs` checks them, so that the errors can be memcached's. What clap itself refuses is
//! reworded as `getopt_long` words it, because scripts compare the exit code and the first line.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use super::{ConfigError, EXIT_FAILURE, EXIT_USAGE, MEMCACHED_VERSION, options};

/// The flags as given, values unchecked.
pub(super) struct Flags(ArgMatches);

impl Flags {
    /// Splits a command line, program name first, as `getopt_long` would: clustered letters, attached values,
    /// unambiguous beginnings of long names, the last of repeated values.
    pub(super) fn parse(args: impl Iterator<Item = OsString>) -> Result<Self, ConfigError> {
        // getopt takes a value of --verbose, and memcached does not look at it.
        let with_value = |arg: &OsString| arg.as_encoded_bytes().starts_with(b"--verbose=");
        let args = args.map(|arg| if with_value(&arg) { "--verbose".into() } else { arg });
        command().try_get_matches_from(args).map(Flags).map_err(|error| reword(&error))
    }

    /// Whether a flag without a value was given.
    pub(super) fn given(&self, name: &str) -> bool {
        self.0.get_flag(name)
    }

    /// How often a counted flag was given.
    pub(super) fn count(&self, name: &str) -> u8 {
        self.0.get_count(name)
    }

    /// The value of a flag.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.texts(name).last()
    }

    /// The value of a flag that names a file.
    pub(super) fn path(&self, name: &str) -> Option<PathBuf> {
        self.0.get_one::<PathBuf>(name).cloned()
    }

    /// All values of a flag that names files and may be repeated, in order.
    pub(super) fn paths(&self, name: &str) -> Vec<PathBuf> {
        self.0.get_many::<PathBuf>(name).into_iter().flatten().cloned().collect()
    }

    /// All values of a flag that may be repeated, in order.
    pub(super) fn texts(&self, name: &str) -> impl Iterator<Item = &str> {
        // memcached skips white space before a value, and most of its numbers end before what follows.
        self.0.get_many::<String>(name).into_iter().flatten().map(|text| text.trim())
    }

    /// What is to be printed instead of serving.
    pub(super) fn text_to_print(&self) -> Option<String> {
        if self.given("help") {
            return Some(help());
        }
        if self.given("version") {
            return Some(format!("memcached {MEMCACHED_VERSION}\n"));
        }
        let license = "Ringcache is licensed under either of the MIT license and the Apache License, version 2.0,\n\
                       at your choice. Copyright the Ringcache authors.\n";
        self.given("license").then(|| license.to_owned())
    }
}

/// What `-h` prints. The first line is memcached's, because test suites look for it.
fn help() -> String {
    let flags = command().render_help();
    format!(
        "memcached {MEMCACHED_VERSION}\nringcached {}\n{flags}\n{}",
        env!("CARGO_PKG_VERSION"),
        options::help()
    )
}

fn command() -> Command {
    Command::new("ringcached")
        .disable_help_flag(true)
        .disable_version_flag(true)
        .args_override_self(true)
        .infer_long_args(true)
        .help_template("{options}")
        .args(address_flags())
        .args(process_flags())
        .args(memory_flags())
        .args(protocol_flags())
        .args(operator_flags())
        .args(replication_flags())
        .args(warming_flags())
        .arg(repeated("extended", 'o', "list", "comma separated extended options, listed below"))
        .arg(Arg::new("rest").num_args(0..).hide(true))
}

fn address_flags() -> [Arg; 7] {
    [
        valued(
            "port",
            'p',
            "num",
            "TCP port to listen on; 0 is off, -1 lets the kernel choose (default: 11211)",
        ),
        valued(
            "udp-port",
            'U',
            "num",
            "UDP port; -1 lets the kernel choose; alone it is the TCP port too (default: 0, off)",
        ),
        long_only(
            "udp-limit",
            "KiB",
            "what a source of datagrams is sent per second beyond three times what it sends; 0: any (default: 1024)",
        ),
        path("unix-socket", 's', "Unix socket to listen on (turns TCP off)"),
        valued("unix-mask", 'a', "mask", "access bits of the Unix socket, in octal (default: 700)"),
        repeated(
            "listen",
            'l',
            "addr",
            "addresses to listen on, host, host:port or [v6]:port (default: all)",
        ),
        valued("listen-backlog", 'b', "num", "connections that may wait to be accepted (default: 1024)"),
    ]
}

fn process_flags() -> [Arg; 12] {
    [
        plain("enable-shutdown", 'A', "allow the shutdown command"),
        plain("daemon", 'd', "run as a daemon"),
        plain("enable-coredumps", 'r', "raise the core file limit"),
        valued("user", 'u', "user", "run as this user (only when started by root)"),
        path("pidfile", 'P', "write the process id into this file"),
        plain("lock-memory", 'k', "lock all memory"),
        counted("verbose", 'v', "print warnings; -vv adds connections and commands, -vvv internal states"),
        plain("help", 'h', "print this help and exit"),
        plain("license", 'i', "print the license and exit"),
        plain("version", 'V', "print the version and exit"),
        valued("napi-ids", 'N', "num", "accepted for memcached's sake, has no effect").alias("napi_ids"),
        long_only(
            "spin-us",
            "num",
            "microseconds to look for requests before sleep, while that pays (default: 0, off)",
        ),
    ]
}

fn memory_flags() -> [Arg; 9] {
    [
        valued("memory-limit", 'm', "num", "memory for records and their index, in megabytes (default: 64)"),
        plain("disable-evictions", 'M', "answer with an error when memory is full, evict nothing"),
        valued("conn-limit", 'c', "num", "most connections at once (default: 1024)"),
        valued("threads", 't', "num", "workers, each pinned to a core (default: 4)"),
        valued("max-item-size", 'I', "size", "largest item, with suffix k or m (default: 1m, 1k to 1024m)"),
        path(
            "memory-file",
            'e',
            "memory of the records in this file, on tmpfs; after SIGUSR1 the next start goes on",
        ),
        plain("enable-largepages", 'L', "ask for huge memory pages"),
        valued("slab-growth-factor", 'f', "num", "accepted for memcached's sake; there are no size classes"),
        valued("slab-min-size", 'n', "bytes", "accepted for memcached's sake; there are no size classes"),
    ]
}

fn protocol_flags() -> [Arg; 10] {
    [
        valued(
            "max-reqs-per-event",
            'R',
            "num",
            "requests of one connection before others have their turn (default: 16 KiB of them)",
        ),
        plain("disable-cas", 'C', "show 0 as every CAS unique"),
        valued(
            "protocol",
            'B',
            "name",
            "ascii, binary, or auto: by a connection's first byte (default: auto)",
        ),
        plain("enable-sasl", 'S', "SASL PLAIN with the users of MEMCACHED_SASL_PWDB; binary protocol only"),
        path("auth-file", 'Y', "file of user:password lines for clients to log in with; text protocol only"),
        plain(
            "enable-ssl",
            'Z',
            "encrypt TCP connections (TLS); -o ssl_chain_cert and ssl_key name the certificate",
        ),
        plain("disable-flush-all", 'F', "forbid flush_all"),
        plain("disable-dumping", 'X', "forbid dumps of keys"),
        plain("disable-watch", 'W', "forbid watch"),
        Arg::new("prefix-delimiter")
            .short('D')
            .value_name("char")
            .help("count keys by what stands before this character, as after `stats detail on` (default: :)")
            .allow_hyphen_values(true),
    ]
}

fn operator_flags() -> [Arg; 4] {
    [
        long_only(
            "admin-socket",
            "file",
            "Unix socket for ringctl, or off (default: a private one for each port)",
        )
        .value_parser(value_parser!(PathBuf)),
        long_only(
            "restore",
            "file",
            "begin with the records of this backup; again for each one that continues it",
        )
        .value_parser(value_parser!(PathBuf))
        .action(ArgAction::Append),
        Arg::new("salvage")
            .long("salvage")
            .help("with --restore: pass over what is damaged")
            .action(ArgAction::SetTrue),
        Arg::new("log-changes")
            .long("log-changes")
            .help("keep deletes, touches and flushes in the log, for incremental backups")
            .action(ArgAction::SetTrue),
    ]
}

fn replication_flags() -> [Arg; 12] {
    let file = |name, help| long_only(name, "file", help).value_parser(value_parser!(PathBuf));
    [
        long_only(
            "replication-port",
            "num",
            "port that replicas connect to; -1 lets the kernel choose (default: none)",
        ),
        long_only("replica-of", "addr", "HOST:PORT of the replication port of the primary to follow"),
        long_only(
            "replication-mode",
            "mode",
            "when writes are answered: async, semi-sync[:K] (K replicas have it) or all (default: async)",
        ),
        long_only("sync-timeout-ms", "num", "after this long an answer is in doubt (default: 1000)"),
        long_only("min-replicas", "num", "refuse writes while fewer replicas follow (default: 0)"),
        long_only("max-lag-ms", "num", "a replica further behind does not count (default: any)"),
        long_only("replication-timeout-ms", "num", "give a silent link up after this long (default: 5000)"),
        long_only("replication-window", "MiB", "bytes under way on a link (default: 4)"),
        Arg::new("replication-compress")
            .long("replication-compress")
            .help("compress what goes over links, where that makes it smaller")
            .action(ArgAction::SetTrue),
        file("replication-secret", "a secret that both ends of a link must know"),
        file("node-file", "where the node's name is kept from one start to the next"),
        long_only("node-number", "num", "what tells this node's versions from others', 0 to 63 (default: 0)"),
    ]
}

fn warming_flags() -> [Arg; 2] {
    [
        long_only(
            "warm-from",
            "addr",
            "HOST:PORT of a server, memcached or this one, that is asked for what is not here",
        ),
        long_only("warm-timeout-ms", "num", "how long a miss waits for it (default: 100)"),
    ]
}

fn plain(name: &'static str, letter: char, help: &'static str) -> Arg {
    Arg::new(name).short(letter).long(name).help(help).action(ArgAction::SetTrue)
}

fn counted(name: &'static str, letter: char, help: &'static str) -> Arg {
    plain(name, letter, help).action(ArgAction::Count)
}

fn valued(name: &'static str, letter: char, value: &'static str, help: &'static str) -> Arg {
    // getopt takes whatever follows as the value, "-1" and "-u" included.
    Arg::new(name).short(letter).long(name).value_name(value).help(help).allow_hyphen_values(true)
}

/// A flag that memcached does not have.
fn long_only(name: &'static str, value: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).value_name(value).help(help).allow_hyphen_values(true)
}

fn repeated(name: &'static str, letter: char, value: &'static str, help: &'static str) -> Arg {
    valued(name, letter, value, help).action(ArgAction::Append)
}

fn path(name: &'static str, letter: char, help: &'static str) -> Arg {
    valued(name, letter, "file", help).value_parser(value_parser!(PathBuf))
}

/// clap's refusal in getopt's words.
fn reword(error: &clap::Error) -> ConfigError {
    let argument = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(text)) => text.as_str(),
        _ => "",
    };
    // clap names a known flag by its usage: "--port <num>".
    let flag = argument.split([' ', '=']).next().unwrap_or(argument);
    let first = match error.kind() {
        ErrorKind::UnknownArgument => match flag.strip_prefix("--") {
            Some(_) => format!("unrecognized option '{flag}'"),
            None => format!("invalid option -- '{}'", flag.trim_start_matches('-')),
        },
        ErrorKind::InvalidValue | ErrorKind::NoEquals | ErrorKind::WrongNumberOfValues => {
            format!("option requires an argument -- '{flag}'")
        }
        ErrorKind::TooManyValues => format!("option '{flag}' doesn't allow an argument"),
        ErrorKind::InvalidUtf8 => return ConfigError::new(EXIT_USAGE, "an argument is not valid UTF-8"),
        _ => error.render().to_string().trim_end().to_owned(),
    };
    ConfigError::new(EXIT_FAILURE, format!("ringcached: {first}\nIllegal argument \"?\""))
}
