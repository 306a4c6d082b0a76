//! Settings that tune parts of memcached which have no counterpart here: size classes, LRU queues, the page mover.
//!
//! They can be given with `-o` and changed by commands while the node runs, are checked as memcached checks them, and
//! are shown by `stats settings`. Nothing else looks at them.

use std::collections::BTreeMap;

use super::{ConfigError, usage};

/// What was given, by its name in `stats settings`; the others stand at memcached's defaults.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tuning(BTreeMap<&'static str, String>);

/// Names and memcached's defaults.
const DEFAULTS: &[(&str, &str)] = &[
    ("hashpower_init", "0"),
    ("slab_reassign", "yes"),
    ("slab_automove", "1"),
    ("slab_automove_ratio", "0.80"),
    ("slab_automove_window", "30"),
    ("slab_chunk_max", "524288"),
    ("lru_crawler", "yes"),
    ("lru_crawler_sleep", "100"),
    ("lru_crawler_tocrawl", "0"),
    ("tail_repair_time", "0"),
    ("lru_maintainer_thread", "yes"),
    ("lru_segmented", "yes"),
    ("hot_lru_pct", "20"),
    ("warm_lru_pct", "40"),
    ("hot_max_factor", "0.20"),
    ("warm_max_factor", "2.00"),
    ("temp_lru", "no"),
    ("temporary_ttl", "61"),
    ("drop_privileges", "no"),
    ("slab_automove_freeratio", "0.010"),
];

impl Tuning {
    /// Takes a setting; `name` is one of `stats settings`.
    pub fn set(&mut self, name: &'static str, value: impl ToString) {
        debug_assert!(DEFAULTS.iter().any(|(known, _)| *known == name), "{name} is shown nowhere");
        self.0.insert(name, value.to_string());
    }

    /// As [`Tuning::set`], in memcached's way to say a switch.
    pub fn switch(&mut self, name: &'static str, on: bool) {
        self.set(name, if on { "yes" } else { "no" });
    }

    /// The value in force.
    ///
    /// # Panics
    /// When `name` is no tuning setting.
    pub fn shown(&self, name: &str) -> &str {
        let default = DEFAULTS.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
        self.0.get(name).map(String::as_str).or(default).expect("every setting has a default")
    }

    /// Whether a switch is on.
    pub fn is_on(&self, name: &str) -> bool {
        self.shown(name) == "yes"
    }

    /// Refuses what memcached refuses of settings that contradict each other, once all were taken.
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        const PAGE_BYTES: u32 = 1 << 20;
        let number = |name| self.shown(name).parse::<u32>().expect("it was checked as a number");
        if number("hot_lru_pct") + number("warm_lru_pct") > 80 {
            return Err(usage("hot_lru_pct + warm_lru_pct cannot be more than 80% combined"));
        }
        if self.is_on("temp_lru") && !self.is_on("lru_maintainer_thread") {
            return Err(usage("temporary_ttl requires lru_maintainer to be enabled"));
        }
        let chunk = number("slab_chunk_max");
        if !PAGE_BYTES.is_multiple_of(chunk) {
            let wrong = format!("slab_chunk_max (bytes: {chunk}) must divide evenly into {PAGE_BYTES}");
            return Err(usage(wrong));
        }
        Ok(())
    }

    /// Takes a sub-option of `-o` whose value has been checked. False when it is none of these settings.
    pub(super) fn take_option(&mut self, option: &str, value: Option<&str>) -> bool {
        let text = value.unwrap_or_default();
        match option {
            "hashpower" => self.set("hashpower_init", text),
            "slab_reassign" => self.switch("slab_reassign", true),
            "no_slab_reassign" => self.switch("slab_reassign", false),
            "slab_automove" => self.set("slab_automove", value.unwrap_or("1")),
            "no_slab_automove" => self.set("slab_automove", 0),
            "slab_automove_ratio" => self.set_fraction("slab_automove_ratio", text, 2),
            "slab_automove_freeratio" => self.set_fraction("slab_automove_freeratio", text, 3),
            "slab_automove_window" => self.set("slab_automove_window", text),
            "slab_chunk_max" => self.set_scaled("slab_chunk_max", text, 1 << 10),
            "no_chunked_items" => self.set("slab_chunk_max", 1 << 20),
            "tail_repair_time" => self.set("tail_repair_time", text),
            "lru_crawler" => self.switch("lru_crawler", true),
            "no_lru_crawler" => self.switch("lru_crawler", false),
            "lru_crawler_sleep" => self.set("lru_crawler_sleep", text),
            "lru_crawler_tocrawl" => self.set("lru_crawler_tocrawl", text),
            "lru_maintainer" => self.maintain(true),
            "no_lru_maintainer" => self.maintain(false),
            "hot_lru_pct" => self.set("hot_lru_pct", text),
            "warm_lru_pct" => self.set("warm_lru_pct", text),
            "hot_max_factor" => self.set_fraction("hot_max_factor", text, 2),
            "warm_max_factor" => self.set_fraction("warm_max_factor", text, 2),
            "temporary_ttl" => {
                self.switch("temp_lru", true);
                self.set("temporary_ttl", text);
            }
            "drop_privileges" => self.switch("drop_privileges", true),
            "no_drop_privileges" => self.switch("drop_privileges", false),
            "no_modern" => self.forget_the_modern(),
            _ => return false,
        }
        true
    }

    /// A number with some digits behind the point, as memcached prints it.
    fn set_fraction(&mut self, name: &'static str, text: &str, digits: usize) {
        let number: f64 = text.parse().expect("checked as a number");
        self.set(name, format!("{number:.digits$}"));
    }

    fn set_scaled(&mut self, name: &'static str, text: &str, scale: u64) {
        let number: u64 = text.parse().expect("checked as a number");
        self.set(name, number.saturating_mul(scale));
    }

    fn maintain(&mut self, on: bool) {
        self.switch("lru_maintainer_thread", on);
        self.switch("lru_segmented", on);
    }

    /// The defaults of memcached 1.4.
    fn forget_the_modern(&mut self) {
        if !self.0.contains_key("slab_chunk_max") {
            self.set("slab_chunk_max", 1 << 20);
        }
        self.switch("slab_reassign", false);
        self.set("slab_automove", 0);
        self.switch("lru_crawler", false);
        self.maintain(false);
    }
}
