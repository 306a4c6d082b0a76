//! Replication in a deterministic simulator: real shards and the very state machines of the server, in virtual time, on
//! a network that is late, breaks, and damages what it carries, with nodes that stop, forget and are replaced.
//!
//! `RINGCACHE_SIMULATION_SEEDS` says how many seeds to run, `RINGCACHE_SIMULATION_FROM` which one to begin with, and
//! `RINGCACHE_SIMULATION_STORY=1` shows all that happens. A seed that fails is named with the end of its story and
//! the command that repeats it; it fails the same way every time.

mod clients;
mod faults;
mod judge;
mod network;
mod node;
mod random;
mod tally;
mod worker;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use tally::Tally;

/// Seeds of an ordinary run of the tests.
const SEEDS: u64 = 2_000;
/// With so many, everything that can happen has to happen.
const SEEDS_FOR_ALL: u64 = 2_000;
/// How much of a failed seed's story is shown.
const STORY_LINES: usize = 60;
/// So many failed seeds are shown.
const FAILURES_MAX: usize = 20;

fn asked(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number of seeds"))
}

/// Goal: whatever goes wrong, acknowledged writes stay, and copies are equal again once nothing goes wrong any more.
#[test]
fn copies_are_equal_whatever_goes_wrong() {
    let first = asked("RINGCACHE_SIMULATION_FROM").unwrap_or(0);
    let count = asked("RINGCACHE_SIMULATION_SEEDS").unwrap_or(SEEDS);
    let next = AtomicU64::new(first);
    let (sum, failed) = (Mutex::new(Tally::default()), Mutex::new(Vec::new()));
    let run_some = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            let failures = failed.lock().expect("no panic while it is held").len();
            if seed >= first + count || failures >= FAILURES_MAX {
                return;
            }
            match catch_unwind(|| world::run(seed, None)) {
                Ok(report) => sum.lock().expect("no panic while it is held").add(&report.tally),
                Err(_) => failed.lock().expect("no panic while it is held").push(seed),
            }
        }
    };
    thread::scope(|scope| {
        (0..thread::available_parallelism().map_or(1, usize::from)).for_each(|_| drop(scope.spawn(run_some)));
    });
    println!("{count} seeds from {first}: {}", sum.lock().expect("no panic while it is held"));
    let failed = failed.into_inner().expect("no panic while it is held");
    failed.iter().for_each(|seed| tell(*seed, STORY_LINES));
    if std::env::var_os("RINGCACHE_SIMULATION_STORY").is_some() {
        tell(first, usize::MAX);
    }
    assert!(failed.is_empty(), "these seeds failed: {failed:?}");
    if count >= SEEDS_FOR_ALL {
        sum.into_inner().expect("no panic while it is held").assert_all();
    }
}

/// Goal: a seed is a whole story. Method: everything that was sent and answered makes one number.
#[test]
fn a_seed_happens_the_same_way_twice() {
    for seed in 0..100 {
        assert_eq!(world::run(seed, None).trace, world::run(seed, None).trace, "seed {seed}");
    }
}

/// Runs a seed once more and prints what happened in it.
fn tell(seed: u64, lines: usize) {
    let mut story = Vec::new();
    let outcome = catch_unwind(AssertUnwindSafe(|| world::run(seed, Some(&mut story))));
    println!("seed {seed} {}", if outcome.is_ok() { "holds" } else { "fails" });
    story[story.len().saturating_sub(lines)..].iter().for_each(|line| println!("{line}"));
    println!(
        "again: RINGCACHE_SIMULATION_FROM={seed} RINGCACHE_SIMULATION_SEEDS=1 RINGCACHE_SIMULATION_STORY=1 \
         cargo test -p ringcache-net --test simulation copies -- --nocapture"
    );
}
