//! The sub-options of `-o`: every one of memcached's, what it wants, and whether it means something here.
//!
//! Most of them tune parts that this server has no counterpart of (size classes, LRU queues, the crawler). They
//! are checked and accepted, so that a working command line keeps working, and reported as ignored.

use super::{Config, ConfigError, EXIT_FAILURE, EXIT_USAGE};

/// Applies one `-o` list to `config`, from left to right.
///
/// Errors: an unknown name, a missing value, a value out of range; all with exit code 1, as memcached. What [`ABSENT`]
/// names, with exit code 64.
pub(super) fn apply(list: &str, config: &mut Config) -> Result<(), ConfigError> {
    if list.is_empty() {
        return Ok(());
    }
    // As getsubopt reads it: a comma at the very end is nothing, an empty name anywhere else is unknown.
    let list = list.strip_suffix(',').unwrap_or(list);
    list.split(',').try_for_each(|part| apply_one(part, config))
}

fn apply_one(part: &str, config: &mut Config) -> Result<(), ConfigError> {
    let (name, value) = match part.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (part, None),
    };
    if let Some((_, what)) = ABSENT.iter().find(|(absent, _)| *absent == name) {
        return Err(ConfigError::new(EXIT_USAGE, format!("-o {name}: ringcached has no {what}")));
    }
    let Some(known) = SUB_OPTIONS.iter().find(|known| known.name == name) else {
        return Err(ConfigError::new(EXIT_FAILURE, format!("Illegal suboption \"{part}\" (-o)")));
    };
    known.check(value)?;
    match name {
        "slab_sizes" => {
            check_sizes(value.unwrap_or_default(), config)?;
            config.ignored_options.push(format!("-o {part}"));
        }
        "maxconns_fast" => config.maxconns_fast = true,
        "no_maxconns_fast" => config.maxconns_fast = false,
        "idle_timeout" => {
            config.idle_timeout_seconds = value.and_then(|text| text.parse().ok()).expect("checked as a u32");
        }
        "track_sizes" => config.track_sizes = true,
        "watcher_logbuf_size" => config.watcher_log_bytes = kibibytes(value),
        "worker_logbuf_size" => config.worker_log_bytes = kibibytes(value),
        "lru_crawler" | "no_lru_crawler" => {}
        "relaxed_privileges" => config.debug_clock = true,
        "read_buf_mem_limit" => {
            config.ignored_options.push(format!("-o {part}"));
            let text = "-o read_buf_mem_limit bounds nothing: each connection has a bound of its own";
            config.warnings.push(text.into());
        }
        _ if config.tls.take_option(name, value) => {}
        _ => {
            config.maxconns_fast &= name != "no_modern";
            config.ignored_options.push(format!("-o {part}"));
        }
    }
    config.tuning.take_option(name, value);
    Ok(())
}

/// Sizes of classes, of which there are none here: what memcached refuses is a mistake all the same.
fn check_sizes(list: &str, config: &Config) -> Result<(), ConfigError> {
    const CLASSES_MAX: usize = 62;
    let most = config.tuning.shown("slab_chunk_max").parse().expect("it is shown as a number");
    let wrong = |why: &str| Err(ConfigError::new(EXIT_USAGE, format!("{why} (-o slab_sizes={list})")));
    let mut before = 0;
    for (number, text) in list.split('-').filter(|text| !text.is_empty()).enumerate() {
        let Some(size) = text.parse().ok().filter(|size| (config.chunk_bytes..=most).contains(size)) else {
            return wrong(&format!("slab size {text} is out of valid range"));
        };
        if number > 0 && size <= before + 8 {
            return wrong(&format!("slab size {size} must be more than 8 bytes larger than previous class"));
        }
        if number == CLASSES_MAX {
            return wrong("too many slab classes specified");
        }
        before = size;
    }
    if before == 0 { wrong("no slab size specified") } else { Ok(()) }
}

fn kibibytes(value: Option<&str>) -> usize {
    let number: u32 = value.and_then(|text| text.parse().ok()).expect("checked as a u32");
    number as usize * 1024
}

/// The part of `-h` about `-o`.
pub(super) fn help() -> String {
    let ignored: Vec<&str> =
        SUB_OPTIONS.iter().map(|known| known.name).filter(|name| !APPLIED.contains(name)).collect();
    let mut text = String::from(
        "Extended options (-o):
  maxconns_fast         refuse connections past the limit with an error (default)
  no_maxconns_fast      stop accepting at the limit
  idle_timeout=<secs>   close connections that are idle for longer (default: 0, never)
  track_sizes           let `stats sizes` count records by size, when asked
  watcher_logbuf_size=<KiB>, worker_logbuf_size=<KiB>
                        what waits for a watcher, and what a worker notes in a turn
  relaxed_privileges    for tests: the debugtime command sets the clock
  ssl_chain_cert=<file>, ssl_key=<file>, ssl_keyformat=PEM|DER
                        certificates of the server (PEM), and its key where that is in a file of its own
  ssl_ca_cert=<file>    who vouches for clients (PEM)
  ssl_verify_mode=<n>   certificates of clients: 0 not asked for (default), 1 may be missing, 2 or 3 needed
  ssl_ciphers=<list>    cipher suites, in OpenSSL's words (default: all that there are)
  ssl_min_version=<n>   2: TLS 1.2 (default), 3: TLS 1.3
  ssl_session_cache     let clients resume sessions
  ssl_wbuf_size=<KiB>   how much is encrypted for one send (default: 16)
  no_lru_crawler        refuse dumps by lru_crawler until it is enabled
Accepted for memcached's sake, without effect; -v lists those that were given:",
    );
    for line in ignored.chunks(4) {
        text.push_str("\n  ");
        text.push_str(&line.join(" "));
    }
    text.push('\n');
    text
}

struct SubOption {
    name: &'static str,
    wants: Wants,
}

/// What may follow the `=`.
enum Wants {
    /// Nothing; a value is not looked at.
    Nothing,
    /// Nothing, or a number in the range.
    Perhaps(u64, u64),
    /// A number in the range, both ends included.
    Number(u64, u64),
    /// A number with a fraction, more than the first and at most the second.
    Fraction(f64, f64),
    /// One of these words.
    Word(&'static [&'static str]),
    /// Any text.
    Text,
}

impl SubOption {
    fn check(&self, value: Option<&str>) -> Result<(), ConfigError> {
        let name = self.name;
        let fail = |text: String| Err(ConfigError::new(EXIT_FAILURE, text));
        let text = match (&self.wants, value) {
            (Wants::Nothing, _) | (Wants::Perhaps(..), None) => return Ok(()),
            (Wants::Number(..), None) => return fail(format!("Missing numeric argument for {name}")),
            (_, None) => return fail(format!("Missing {name} argument")),
            (_, Some(text)) => text,
        };
        match self.wants {
            Wants::Number(least, most) | Wants::Perhaps(least, most) => match text.parse::<u64>() {
                Ok(number) if (least..=most).contains(&number) => Ok(()),
                Ok(_) => fail(format!("{name} must be between {least} and {most}")),
                Err(_) => fail(format!("could not parse argument to {name}")),
            },
            Wants::Fraction(least, most) => match text.parse::<f64>() {
                Ok(number) if number > least && number <= most => Ok(()),
                Ok(number) if !number.is_nan() => fail(format!("{name} must be > {least} and <= {most}")),
                _ => fail(format!("could not parse argument to {name}")),
            },
            Wants::Word(words) if !words.contains(&text) => {
                fail(format!("Unknown {name} option ({})", words.join(", ")))
            }
            Wants::Word(_) | Wants::Text | Wants::Nothing => Ok(()),
        }
    }
}

/// What switches on a part of memcached that a service would miss. Other `ext_*` do nothing without `ext_path`, neither
/// in memcached.
const ABSENT: [(&str, &str); 2] = [("ext_path", "storage on flash"), ("proxy_config", "proxy")];

const fn sub(name: &'static str, wants: Wants) -> SubOption {
    SubOption { name, wants }
}

/// The names that `apply_one` gives a meaning.
const APPLIED: &[&str] = &[
    "maxconns_fast",
    "no_maxconns_fast",
    "idle_timeout",
    "track_sizes",
    "lru_crawler",
    "no_lru_crawler",
    "watcher_logbuf_size",
    "worker_logbuf_size",
    "relaxed_privileges",
    "ssl_chain_cert",
    "ssl_key",
    "ssl_keyformat",
    "ssl_ca_cert",
    "ssl_verify_mode",
    "ssl_ciphers",
    "ssl_min_version",
    "ssl_session_cache",
    "ssl_wbuf_size",
];

const U32: u64 = u32::MAX as u64;
const I32: u64 = i32::MAX as u64;

/// Every sub-option of memcached 1.6.45, TLS and external storage included. Those of the proxy are unknown, as to a
/// memcached that is built without it.
const SUB_OPTIONS: &[SubOption] = &[
    sub("maxconns_fast", Wants::Nothing),
    sub("no_maxconns_fast", Wants::Nothing),
    sub("idle_timeout", Wants::Number(0, I32)),
    sub("track_sizes", Wants::Nothing),
    sub("hashpower", Wants::Number(12, 32)),
    sub("no_hashexpand", Wants::Nothing),
    sub("hash_algorithm", Wants::Word(&["jenkins", "murmur3", "xxh3"])),
    sub("slab_reassign", Wants::Nothing),
    sub("no_slab_reassign", Wants::Nothing),
    sub("slab_automove", Wants::Perhaps(0, 2)),
    sub("no_slab_automove", Wants::Nothing),
    sub("slab_automove_ratio", Wants::Fraction(0.0, 1.0)),
    sub("slab_automove_window", Wants::Number(3, 1800)),
    sub("slab_automove_freeratio", Wants::Fraction(f64::NEG_INFINITY, f64::INFINITY)),
    sub("slab_sizes", Wants::Text),
    sub("slab_chunk_max", Wants::Number(1, 1024)),
    sub("no_chunked_items", Wants::Nothing),
    sub("tail_repair_time", Wants::Number(10, I32)),
    sub("lru_crawler", Wants::Nothing),
    sub("no_lru_crawler", Wants::Nothing),
    sub("lru_crawler_sleep", Wants::Number(0, 1_000_000)),
    sub("lru_crawler_tocrawl", Wants::Number(0, U32)),
    sub("lru_maintainer", Wants::Nothing),
    sub("no_lru_maintainer", Wants::Nothing),
    sub("hot_lru_pct", Wants::Number(1, 79)),
    sub("warm_lru_pct", Wants::Number(1, 79)),
    sub("hot_max_factor", Wants::Fraction(0.0, f64::INFINITY)),
    sub("warm_max_factor", Wants::Fraction(0.0, f64::INFINITY)),
    sub("temporary_ttl", Wants::Number(0, I32)),
    sub("read_buf_mem_limit", Wants::Number(0, U32)),
    sub("resp_obj_mem_limit", Wants::Nothing),
    sub("watcher_logbuf_size", Wants::Number(0, U32)),
    sub("worker_logbuf_size", Wants::Number(0, U32)),
    sub("inline_ascii_resp", Wants::Nothing),
    sub("no_inline_ascii_resp", Wants::Nothing),
    sub("modern", Wants::Nothing),
    sub("no_modern", Wants::Nothing),
    sub("drop_privileges", Wants::Nothing),
    sub("no_drop_privileges", Wants::Nothing),
    sub("relaxed_privileges", Wants::Nothing),
    sub("sock_cookie_id", Wants::Number(0, U32)),
    sub("ssl_chain_cert", Wants::Text),
    sub("ssl_key", Wants::Text),
    sub("ssl_verify_mode", Wants::Number(0, 3)),
    sub("ssl_keyformat", Wants::Word(&["PEM", "DER", "1", "2"])),
    sub("ssl_ciphers", Wants::Text),
    sub("ssl_ca_cert", Wants::Text),
    sub("ssl_wbuf_size", Wants::Number(1, U32)),
    sub("ssl_session_cache", Wants::Nothing),
    sub("ssl_kernel_tls", Wants::Nothing),
    sub("ssl_min_version", Wants::Number(0, 3)),
    sub("ext_page_size", Wants::Number(0, U32)),
    sub("ext_wbuf_size", Wants::Number(0, U32)),
    sub("ext_threads", Wants::Number(0, U32)),
    sub("ext_io_depth", Wants::Number(0, U32)),
    sub("ext_item_size", Wants::Number(0, U32)),
    sub("ext_item_age", Wants::Number(0, U32)),
    sub("ext_low_ttl", Wants::Number(0, U32)),
    sub("ext_recache_rate", Wants::Number(0, U32)),
    sub("ext_compact_under", Wants::Number(0, U32)),
    sub("ext_drop_under", Wants::Number(0, U32)),
    sub("ext_max_sleep", Wants::Number(0, U32)),
    sub("ext_max_frag", Wants::Fraction(f64::NEG_INFINITY, f64::INFINITY)),
    sub("ext_drop_unread", Wants::Nothing),
];

#[cfg(test)]
mod tests {
    use super::{APPLIED, SUB_OPTIONS, apply, help};
    use crate::config::{Config, EXIT_USAGE};

    /// Goal: no sub-option is both without effect and unreported.
    #[test]
    fn every_name_is_either_applied_or_reported() {
        for known in SUB_OPTIONS {
            let value = match known.name {
                "hashpower" => "=12",
                "slab_sizes" => "=48",
                "hash_algorithm" => "=xxh3",
                "ssl_keyformat" => "=PEM",
                "tail_repair_time" => "=10",
                "slab_automove_window" => "=3",
                name if name.contains("ratio") || name.contains("frag") || name.contains("factor") => "=0.5",
                _ => "=1",
            };
            let mut config = Config::default();
            let part = format!("{}{value}", known.name);
            apply(&part, &mut config).unwrap();
            let reported = config.ignored_options == [format!("-o {part}")];
            assert_ne!(reported, APPLIED.contains(&known.name), "{part}");
            assert!(help().contains(known.name), "{part}");
        }
    }

    /// Goal: nobody who swaps the binary gets a small cache without a word.
    #[test]
    fn storage_on_flash_and_the_proxy_are_refused() {
        for part in ["ext_path=/flash/file:64G", "ext_path", "proxy_config=/etc/proxy.lua"] {
            let refusal = apply(&format!("modern,{part}"), &mut Config::default()).unwrap_err();
            assert_eq!(refusal.exit_code, EXIT_USAGE, "{part}");
            assert!(refusal.text.contains("ringcached has no "), "{}", refusal.text);
        }
    }

    #[test]
    fn an_empty_name_counts_only_before_the_end() {
        let mut config = Config::default();
        assert!(apply("", &mut config).is_ok());
        assert!(apply("modern,", &mut config).is_ok());
        assert_eq!(apply(",modern", &mut config).unwrap_err().text, "Illegal suboption \"\" (-o)");
        assert!(apply(",", &mut config).is_err());
    }
}
