//! Command lines and what comes of them, as tables.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use super::{AdminSocket, Binding, Config, ConfigError, KeyFormat, Listen, Start, Terms, TlsOptions, Verify};

fn start(line: &str) -> Result<Start, ConfigError> {
    let words = std::iter::once("ringcached").chain(line.split_whitespace());
    // '' stands for an empty argument, which a split on spaces can't give.
    let args = words.map(|word| if word == "''" { "" } else { word }.into());
    Config::from_args(args, &|_| None)
}

fn config(line: &str) -> Config {
    match start(line) {
        Ok(Start::Serve(config)) => config,
        other => panic!("{line}: {other:?}"),
    }
}

/// The line gives the defaults with one change.
fn changed(line: &str, change: fn(&mut Config)) {
    let mut expected = Config::default();
    change(&mut expected);
    assert_eq!(config(line), expected, "{line}");
}

#[test]
fn no_flag_gives_the_defaults() {
    assert_eq!(config(""), Config::default());
    let config = Config::default();
    assert_eq!((config.port, config.memory_bytes, config.workers), (Some(11211), 67_108_864, 4));
    assert_eq!((config.connections_max, config.requests_per_turn, config.backlog), (1024, 20, 1024));
    assert_eq!((config.item_bytes_max, config.socket_mode), (1_048_576, 0o700));
}

#[test]
fn every_accepted_flag_changes_its_field() {
    changed("-p 1", |c| c.port = Some(1));
    changed("-p -1", |c| c.port = Some(0));
    changed("-p1 -p2", |c| c.port = Some(2));
    changed("--port=65535", |c| c.port = Some(65535));
    changed("--port 7", |c| c.port = Some(7));
    changed("-a 0777", |c| c.socket_mode = 0o777);
    changed("-l ::1 --listen=a:1,b", |c| {
        let one = |host: &str, port| Listen { host: Some(host.into()), port, terms: Terms::default() };
        c.listen = vec![one("::1", None), one("a", Some(1)), one("b", None)];
        c.listen_text = Some("::1,a:1,b".into());
    });
    changed("-s /tmp/x", |c| (c.socket_path, c.port) = (Some("/tmp/x".into()), None));
    changed("-m64", |_| ());
    changed("-m 1024", |c| c.memory_bytes = 1 << 30);
    changed("-M", |c| c.evictions = false);
    changed("-c 1", |c| c.connections_max = 1);
    changed("-t 1", |c| c.workers = 1);
    changed("-I 1k", |c| c.item_bytes_max = 1024);
    changed("-I 1500", |c| c.item_bytes_max = 1500);
    changed("-m 2048 -I 1024M", |c| (c.memory_bytes, c.item_bytes_max) = (2 << 30, 1 << 30));
    changed("-R 7", |c| (c.requests_per_turn, c.requests_limit) = (7, 7));
    changed("-o relaxed_privileges", |c| c.debug_clock = true);
    changed("-b 0", |c| c.backlog = 0);
    changed("--spin-us 0", |c| c.spin_us = 0);
    changed("--spin-us=10000", |c| c.spin_us = 10_000);
    changed("-C", |c| c.cas = false);
    changed("-F", |c| c.flush_enabled = false);
    changed("-X", |c| c.dump_enabled = false);
    changed("-W", |c| c.watch_enabled = false);
    changed("-A", |c| c.shutdown_enabled = true);
    changed("-d", |c| c.daemonize = true);
    changed("-P /tmp/pid", |c| c.pid_file = Some("/tmp/pid".into()));
    changed("-u root", |c| c.user = Some("root".into()));
    changed("-u -v", |c| c.user = Some("-v".into()));
    changed("-e /dev/shm/x", |c| c.memory_file = Some("/dev/shm/x".into()));
    changed("--memory-file=x", |c| c.memory_file = Some("x".into()));
    changed("-L", |c| c.huge_pages = true);
    changed("-k", |c| c.lock_memory = true);
    changed("-r", |c| c.core_dumps = true);
    changed("-v", |c| c.verbosity = 1);
    changed("-vv -v", |c| c.verbosity = 3);
    changed("-vvvvv", |c| c.verbosity = 3);
    changed("-vdp11", |c| (c.verbosity, c.daemonize, c.port) = (1, true, Some(11)));
    changed("-D /x", |c| (c.prefix_delimiter, c.detail_enabled) = (b'/', true));
    changed("-o watcher_logbuf_size=1,worker_logbuf_size=2", |c| {
        (c.watcher_log_bytes, c.worker_log_bytes) = (1024, 2048);
    });
    changed("-B auto", |_| ());
    changed("-B ascii", |c| c.binding = Binding::Ascii);
    changed("-B binary", |c| c.binding = Binding::Binary);
    changed("-Y /tmp/users", |c| (c.auth_file, c.binding) = (Some("/tmp/users".into()), Binding::Ascii));
    changed("-U 0", |_| ());
    changed("-U 7", |c| (c.udp_port, c.port) = (Some(7), Some(7)));
    changed("-U 7 -p 8", |c| (c.udp_port, c.port) = (Some(7), Some(8)));
    changed("-p 0 -U 7", |c| (c.udp_port, c.port) = (Some(7), None));
    changed("-U -1", |c| (c.udp_port, c.port) = (Some(0), Some(0)));
    changed("-U 7 -s /tmp/x", |c| (c.socket_path, c.port) = (Some("/tmp/x".into()), None));
    changed("--udp-limit 0", |c| c.udp_bytes_per_second = 0);
    changed("--udp-limit=64", |c| c.udp_bytes_per_second = 65_536);
    changed("--disable-ev", |c| c.evictions = false);
    changed("-o idle_timeout=5,maxconns_fast", |c| c.idle_timeout_seconds = 5);
    changed("-o no_maxconns_fast -o idle_timeout=0", |c| c.maxconns_fast = false);
    changed("-o ''", |_| ());
}

#[test]
fn every_flag_for_operators_changes_its_field() {
    changed("--admin-socket off", |c| c.admin_socket = AdminSocket::Off);
    changed("--admin-socket=/tmp/x", |c| c.admin_socket = AdminSocket::At("/tmp/x".into()));
    changed("--restore a --restore=b", |c| c.restore = vec!["a".into(), "b".into()]);
    changed("--restore a --salvage", |c| (c.restore, c.salvage) = (vec!["a".into()], true));
    changed("--log-changes", |c| c.log_changes = true);
}

#[test]
fn every_option_of_tls_changes_its_field() {
    let changed = |line: &str, change: fn(&mut TlsOptions)| {
        let mut expected = Config::default();
        change(&mut expected.tls);
        assert_eq!(config(line), expected, "{line}");
    };
    changed("-Z", |tls| tls.enabled = true);
    changed("--enable-ssl", |tls| tls.enabled = true);
    changed("-o ssl_chain_cert=a,ssl_key=b", |tls| {
        (tls.chain, tls.key) = (Some("a".into()), Some("b".into()))
    });
    changed("-o ssl_keyformat=DER", |tls| tls.key_format = KeyFormat::Der);
    changed("-o ssl_keyformat=1", |tls| tls.key_format = KeyFormat::Pem);
    changed("-Z -o ssl_verify_mode=2", |tls| (tls.enabled, tls.verify) = (true, Verify::Require));
    changed("-o ssl_verify_mode=1,ssl_ca_cert=c", |tls| {
        (tls.verify, tls.authorities) = (Verify::Request, Some("c".into()));
    });
    changed("-o ssl_verify_mode=3", |tls| tls.verify = Verify::Once);
    changed("-o ssl_ciphers=ECDHE:!aRSA", |tls| tls.ciphers = Some("ECDHE:!aRSA".into()));
    changed("-o ssl_min_version=3", |tls| tls.least_version = 3);
    changed("-o ssl_session_cache", |tls| tls.session_cache = true);
    changed("-o ssl_wbuf_size=64", |tls| tls.send_bytes = 64 * 1024);
    changed("-o ssl_wbuf_size=4294967295", |tls| tls.send_bytes = 16 << 20);
}

#[test]
fn what_tls_does_not_do_is_said() {
    assert_eq!(config("-Z -o ssl_kernel_tls").ignored_options, ["-o ssl_kernel_tls"]);
    let warning = |line: &str| config(line).warnings.join("\n");
    assert!(warning("-Z -o ssl_min_version=0").contains("nothing below TLS 1.2"));
    assert!(warning("-Z -o ssl_verify_mode=1").contains("no certificate is asked for"));
    assert!(warning("-Z -s /tmp/x").contains("Unix socket"));
    assert_eq!(warning("-Z -o ssl_verify_mode=1,ssl_ca_cert=a"), "");
}

#[test]
fn flags_without_effect_are_reported() {
    let config = config("-f 1.5 -n 100 -N 2 -o modern,hashpower=16 word");
    assert_eq!((config.growth_factor, config.chunk_bytes), (1.5, 100));
    let expected = ["-f 1.5", "-n 100", "-N 2", "word", "-o modern", "-o hashpower=16"];
    assert_eq!(config.ignored_options, expected);
}

#[test]
fn doubtful_values_warn() {
    assert!(config("-t 65").warnings[0].contains("65 threads"));
    assert!(config("-p 0").warnings[0].contains("nobody can connect"));
    assert_eq!(config("-p 0 -s /tmp/x").warnings, Vec::<String>::new());
}

#[test]
fn what_has_no_effect_is_said_only_when_asked() {
    let notices = |line: &str| config(line).notices().collect::<Vec<_>>();
    assert_eq!(notices("-o modern"), Vec::<String>::new());
    assert_eq!(notices("-v -o modern"), ["-o modern has no effect here"]);
    assert!(notices("-t 65 -o modern")[0].starts_with("WARNING: 65 threads"));
}

/// Exit codes and texts are those of a stock memcached for the same line, where it refuses it at all.
#[test]
fn refused_lines_have_memcacheds_exit_code() {
    let table = [
        ("--bogus", 1, "unrecognized option '--bogus'\nIllegal argument \"?\""),
        ("-x", 1, "invalid option -- 'x'\nIllegal argument \"?\""),
        ("-vx", 1, "invalid option -- 'x'"),
        ("-P", 1, "requires an argument"),
        ("--port", 1, "requires an argument"),
        ("-D", 1, "requires an argument"),
        ("--daemon=3", 1, "doesn't allow an argument"),
        ("-p abc", 64, "Invalid port number abc"),
        ("-p 70000", 64, "Invalid port number 70000"),
        ("-p -2", 64, "Invalid port number -2"),
        ("--spin-us abc", 1, "Spinning before sleep takes 0 to 10000 microseconds"),
        ("--spin-us 10001", 1, "Spinning before sleep takes 0 to 10000 microseconds"),
        ("--spin-us -1", 1, "Spinning before sleep takes 0 to 10000 microseconds"),
        ("--admin-socket ''", 1, "requires an argument"),
        ("-U abc", 64, "Invalid port number abc"),
        ("-U -2", 64, "Invalid port number -2"),
        ("--udp-limit x", 1, "takes 0 to"),
        ("-a 999", 64, "Invalid access mask 999"),
        ("-a 1000", 64, "Invalid access mask 1000"),
        ("-m abc", 64, "Memory limit must be a number of megabytes up to 67108864 (-m abc)"),
        ("-m -1", 64, "Memory limit must be"),
        ("-m 18446744073709551615", 64, "Memory limit must be"),
        ("-m 0", 64, "-m 0 is too small for -t 4: at least -m 1 is needed"),
        ("-m 1", 64, "Cannot set item size limit higher than 1/2 of memory max."),
        ("-I 40m", 64, "Cannot set item size limit higher than 1/2 of memory max."),
        ("-m 1 -t 64", 64, "-m 1 is too small for -t 64: at least -m 16 is needed"),
        ("-I 1", 64, "Item max size cannot be less than 1024 bytes."),
        ("-I 1023", 64, "Item max size cannot be less than 1024 bytes."),
        ("-I abc", 64, "Item max size cannot be less than 1024 bytes."),
        ("-I 1025m", 64, "higher than a gigabyte"),
        ("-I 99999999999999999999k", 64, "Item max size cannot be less than 1024 bytes."),
        ("-c 0", 1, "Maximum connections must be greater than 0"),
        ("-c -1", 1, "Maximum connections must be greater than 0"),
        ("-c abc", 1, "Maximum connections must be greater than 0 (-c abc)"),
        ("-t 0", 1, "Number of threads must be greater than 0"),
        ("-t abc", 1, "Number of threads must be greater than 0"),
        ("-t 257", 1, "Number of threads must be at most 256"),
        ("-R 0", 1, "Number of requests per event must be greater than 0"),
        ("-b -1", 1, "Listen backlog must be"),
        ("-B x", 64, "Invalid value for binding protocol: x\n -- should be one of auto, binary, or ascii"),
        ("-f 1", 1, "Factor must be greater than 1"),
        ("-f x", 1, "Factor must be greater than 1"),
        ("-n 0", 1, "Chunk size must be greater than 0"),
        ("-N 0", 1, "Maximum number of NAPI IDs must be greater than 0"),
        ("-D ''", 1, "No delimiter specified"),
        ("-l a:99999", 64, "Invalid address to listen on: a:99999"),
        ("-o bogus", 1, "Illegal suboption \"bogus\""),
        ("-o modern,bogus=1", 1, "Illegal suboption \"bogus=1\""),
        ("-o hashpower", 1, "Missing numeric argument for hashpower"),
        ("-o hashpower=99", 1, "hashpower must be between 12 and 32"),
        ("-o idle_timeout", 1, "Missing numeric argument for idle_timeout"),
        ("-o idle_timeout=abc", 1, "could not parse argument to idle_timeout"),
        ("-o hash_algorithm", 1, "Missing hash_algorithm argument"),
        ("-o hash_algorithm=foo", 1, "Unknown hash_algorithm option (jenkins, murmur3, xxh3)"),
        ("-o slab_automove=7", 1, "slab_automove must be between 0 and 2"),
        ("-o slab_automove_ratio=2", 1, "slab_automove_ratio must be > 0 and <= 1"),
    ];
    assert_refused(&table);
}

/// As [`refused_lines_have_memcacheds_exit_code`]: what only tunes a part that is not here is checked like the rest.
#[test]
fn refused_lines_without_effect_have_memcacheds_exit_code() {
    assert_refused(&[
        ("-u ''", 64, "No user"),
        ("-N 5", 64, "cannot be greater than number of threads (-t 4)"),
        ("-o ,slab_reassign", 1, "Illegal suboption \"\""),
        ("-o modern,,", 1, "Illegal suboption \"\""),
        ("-o MODERN", 1, "Illegal suboption \"MODERN\""),
        ("-o hashpower=11", 1, "between 12 and 32"),
        ("-o hashpower=33", 1, "between 12 and 32"),
        ("-o slab_automove_ratio=0", 1, "> 0 and <= 1"),
        ("-o slab_automove_ratio=nan", 1, "could not parse argument to slab_automove_ratio"),
        ("-o slab_automove_window=2", 1, "between 3 and 1800"),
        ("-o slab_automove_window=1801", 1, "between 3 and 1800"),
        ("-o slab_automove_freeratio=x", 1, "could not parse argument to slab_automove_freeratio"),
        ("-o tail_repair_time=9", 1, "tail_repair_time must be between 10"),
        ("-o lru_crawler_sleep=1000001", 1, "lru_crawler_sleep must be between 0 and 1000000"),
        ("-o lru_crawler_tocrawl=x", 1, "could not parse argument to lru_crawler_tocrawl"),
        ("-o hot_lru_pct=0", 1, "hot_lru_pct must be between 1 and 79"),
        ("-o warm_lru_pct=80", 1, "warm_lru_pct must be between 1 and 79"),
        ("-o hot_lru_pct=41", 64, "hot_lru_pct + warm_lru_pct cannot be more than 80%"),
        ("-o hot_lru_pct=40,warm_lru_pct=41", 64, "hot_lru_pct + warm_lru_pct cannot be more than 80%"),
        ("-o hot_max_factor=0", 1, "hot_max_factor must be > 0"),
        ("-o temporary_ttl=5,no_lru_maintainer", 64, "temporary_ttl requires lru_maintainer"),
        ("-o no_modern,temporary_ttl=5", 64, "temporary_ttl requires lru_maintainer"),
        ("-o slab_sizes", 1, "Missing slab_sizes argument"),
        ("-o slab_sizes=", 64, "no slab size specified"),
        ("-o slab_sizes=x", 64, "slab size x is out of valid range"),
        ("-o slab_sizes=40-100", 64, "slab size 40 is out of valid range"),
        ("-o slab_sizes=524289", 64, "slab size 524289 is out of valid range"),
        ("-o slab_sizes=100-108", 64, "slab size 108 must be more than 8 bytes larger"),
        ("-o slab_sizes=200-100", 64, "slab size 100 must be more than 8 bytes larger"),
        ("-o slab_chunk_max=0", 1, "slab_chunk_max must be between 1 and 1024"),
        ("-o slab_chunk_max=1025", 1, "slab_chunk_max must be between 1 and 1024"),
        ("-o slab_chunk_max=3", 64, "slab_chunk_max (bytes: 3072) must divide evenly"),
        ("-o read_buf_mem_limit", 1, "Missing numeric argument for read_buf_mem_limit"),
        ("-o ext_threads=x", 1, "could not parse argument to ext_threads"),
    ]);
}

#[test]
fn what_memcached_accepts_is_accepted() {
    for line in [
        "-N 4 -t 4",
        "-o slab_automove_ratio=1",
        "-o slab_automove_window=1800",
        "-o slab_automove_freeratio=0,slab_automove_freeratio=-1",
        "-o hot_lru_pct=40,warm_lru_pct=40",
        "-o temporary_ttl=0",
        "-o no_lru_maintainer,temporary_ttl=5,lru_maintainer",
        "-o slab_sizes=48-100-109-524288",
        "-n 100 -o slab_chunk_max=512,slab_sizes=100--200",
        "-o slab_chunk_max=1024",
        "-o resp_obj_mem_limit,resp_obj_mem_limit=x",
        "-o ext_page_size=0,ext_wbuf_size=0,ext_threads=0,ext_io_depth=0,ext_max_frag=0",
        "-o modern,no_inline_ascii_resp,",
        "--verbose=3",
    ] {
        config(line);
    }
    assert_eq!(config("-l a -l a,b:1,a,b:2").listen.len(), 3, "the same address once more means nothing");
    let spaced = ["ringcached", "-m", " 128", "-o", " idle_timeout=7"].into_iter().map(Into::into);
    let Ok(Start::Serve(config)) = Config::from_args(spaced, &|_| None) else {
        panic!("white space before a value is skipped");
    };
    assert_eq!((config.memory_bytes, config.idle_timeout_seconds), (128 << 20, 7));
}

#[test]
fn refused_options_of_tls_have_memcacheds_exit_code() {
    assert_refused(&[
        ("-Z -U 7", 64, "-U: with -Z only notls: addresses"),
        ("-Z -U 7 -l mtls:a", 64, "Cannot use UDP where clients need certificates"),
        ("-Z -p 0", 64, "ERROR: You cannot enable SSL without a TCP port."),
        ("-l notls:a", 71, "'notls' option is valid only when SSL is enabled"),
        ("-l b,mtls:a:1", 71, "'mtls' option is valid only when SSL is enabled"),
        ("-o ssl_chain_cert", 1, "Missing ssl_chain_cert argument"),
        ("-o ssl_verify_mode=4", 1, "ssl_verify_mode must be between 0 and 3"),
        ("-o ssl_min_version=x", 1, "could not parse argument to ssl_min_version"),
        ("-o ssl_keyformat=ENGINE", 1, "Unknown ssl_keyformat option"),
    ]);
}

/// Each line with its exit code and a part of the reason, which also names the flag or the sub-option.
fn assert_refused(table: &[(&str, i32, &str)]) {
    for (line, exit_code, text) in table {
        let error = start(line).expect_err(line);
        assert_eq!(error.exit_code, *exit_code, "{line}: {}", error.text);
        assert!(error.text.contains(text), "{line}: {}", error.text);
        let is_named = |name: &str| !name.is_empty() && error.text.contains(name);
        let mut flags = line.split([' ', '=']).filter(|word| word.starts_with('-'));
        // getopt names a letter without its dash, and a flag without its value by its long name.
        let quoted = |flag: &str| format!("'{}'", &flag[flag.len() - 1..]);
        let is_flag_named = flags.any(|flag| is_named(flag) || is_named(&quoted(flag)) || is_named("'--"));
        let is_sub_option_named = line.split([' ', ',', '=']).any(|word| word.len() > 2 && is_named(word));
        assert!(is_flag_named || is_sub_option_named, "{line}: {}", error.text);
    }
}

#[test]
fn sasl_needs_the_binary_protocol_and_a_file() {
    let start = |line: &str, file: Option<&str>| {
        let args = std::iter::once("ringcached").chain(line.split_whitespace()).map(Into::into);
        Config::from_args(args, &|name| file.filter(|_| name == "MEMCACHED_SASL_PWDB").map(str::to_owned))
    };
    for line in ["-S", "-S -B binary"] {
        let Ok(Start::Serve(config)) = start(line, Some("/tmp/users")) else { panic!("{line}") };
        assert_eq!((config.sasl_file, config.binding), (Some("/tmp/users".into()), Binding::Binary));
    }
    for (line, file) in [
        ("-S", None),
        ("-S", Some("")),
        ("-S -B ascii", Some("/tmp/users")),
        ("-S -B auto", Some("/tmp/users")),
        ("-S -U 7", Some("/tmp/users")),
        ("-S -l proto[ascii]:a", Some("/tmp/users")),
        ("-S -l proto[negotiating]:a", Some("/tmp/users")),
    ] {
        assert_eq!(start(line, file).expect_err(line).exit_code, 64, "{line}");
    }
    for rest in ["-B auto", "-B binary", "-l proto[binary]:a", "-U 7"] {
        let line = &format!("-Y /tmp/users {rest}");
        assert_eq!(start(line, None).expect_err(line).exit_code, 64, "{line}");
    }
    let Ok(Start::Serve(config)) = start("-Y /tmp/users -l proto[negotiating]:a", None) else {
        panic!("memcached only warns");
    };
    assert_eq!(config.listen[0].terms.binding, Some(Binding::Ascii), "and nobody is let in by frames");
    assert!(config.warnings[0].contains("ascii only"));
    let Ok(Start::Serve(config)) = start("", Some("/tmp/users")) else { panic!("no flag") };
    assert_eq!(config.sasl_file, None, "without -S the file means nothing");
}

#[test]
fn help_version_and_license_are_printed() {
    let text = |line: &str| match start(line) {
        Ok(Start::Print(text)) => text,
        other => panic!("{line}: {other:?}"),
    };
    assert_eq!(text("-V"), "memcached 1.6.45\n");
    assert_eq!(text("--enable-ssl --version"), "memcached 1.6.45\n");
    let help = text("-d -h");
    assert!(help.starts_with(concat!("memcached 1.6.45\nringcached ", env!("CARGO_PKG_VERSION"), "\n")));
    for letter in "psalmMctIRbCFAdPuvVhLkBnforXWDUeNSYZi".chars() {
        assert!(help.contains(&format!("  -{letter}")), "-{letter} is missing in\n{help}");
    }
    assert!(text("-i").contains("MIT"));
}

#[test]
fn the_environment_names_the_port_file() {
    let env = |name: &str| (name == "MEMCACHED_PORT_FILENAME").then(|| "/tmp/ports".to_owned());
    let Ok(Start::Serve(config)) = Config::from_args(["ringcached".into()].into_iter(), &env) else {
        panic!("no flag at all is a valid command line");
    };
    assert_eq!(config.port_file, Some(PathBuf::from("/tmp/ports")));
}

/// Goal: no command line panics, however strange. Method: random words from the pieces that the parsers look at.
#[test]
fn no_command_line_panics() {
    const PIECES: [&str; 24] = [
        "-",
        "--",
        "p",
        "l",
        "o",
        "I",
        "v",
        "m",
        "t",
        "a",
        "=",
        ",",
        ";",
        ":",
        "[",
        "]",
        "*",
        "-1",
        "99999999999",
        "k",
        "idle_timeout",
        "tag_",
        "é",
        " ",
    ];
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut below = |limit: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 33) % limit) as usize
    };
    let mut served = 0;
    for _ in 0..3000 {
        let mut args = vec![OsString::from("ringcached")];
        for _ in 0..below(4) {
            args.push((0..below(6)).map(|_| PIECES[below(24)]).collect::<String>().into());
        }
        served += u32::from(matches!(Config::from_args(args.into_iter(), &|_| None), Ok(Start::Serve(_))));
    }
    assert!(served > 100, "the pieces give {served} valid lines, too few to mean anything");
}

#[test]
fn bytes_that_are_no_text_are_refused() {
    let wild = OsString::from_vec(vec![b'-', b'p', 0xff]);
    let error = Config::from_args(["ringcached".into(), wild].into_iter(), &|_| None).unwrap_err();
    assert_eq!((error.exit_code, error.text.as_str()), (64, "an argument is not valid UTF-8"));
    let path = OsString::from_vec(vec![b'/', 0xff]);
    let args = ["ringcached".into(), "-s".into(), path.clone()].into_iter();
    let Ok(Start::Serve(config)) = Config::from_args(args, &|_| None) else {
        panic!("a file name may have any bytes");
    };
    assert_eq!(config.socket_path, Some(PathBuf::from(path)));
}
