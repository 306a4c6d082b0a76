//! How often everything has happened that a run is for: a simulation proves nothing about what never comes up in it.

use std::fmt;

use ringcache_net::replication::history::Cause;

use crate::network::Fault;

/// What may happen beside faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// A client's write was taken.
    Write,
    /// It was answered as done.
    Acknowledged,
    /// It was answered as in doubt.
    InDoubt,
    /// It was refused.
    Refused,
    /// A link went on where its replica stood.
    Resume,
    /// A batch came damaged and was asked for again.
    Nack,
    /// A replica was promoted.
    Promotion,
    /// No replica had everything that the others had, and none was promoted.
    Undecided,
    /// The best replica's copy was not complete, and it was promoted all the same.
    Forced,
    /// A primary became a replica.
    Demotion,
    /// A flush of everything.
    Flush,
}

impl Seen {
    const ALL: [Seen; 11] = [
        Seen::Write,
        Seen::Acknowledged,
        Seen::InDoubt,
        Seen::Refused,
        Seen::Resume,
        Seen::Nack,
        Seen::Promotion,
        Seen::Undecided,
        Seen::Forced,
        Seen::Demotion,
        Seen::Flush,
    ];
}

/// Of one seed or of many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    faults: [u64; Fault::ALL.len()],
    seen: [u64; Seen::ALL.len()],
    copies: [u64; Cause::ALL.len()],
}

impl Tally {
    pub fn fault(&mut self, fault: Fault) {
        self.faults[fault as usize] += 1;
    }

    pub fn see(&mut self, seen: Seen) {
        self.see_many(seen, 1);
    }

    pub fn see_many(&mut self, seen: Seen, times: u64) {
        self.seen[seen as usize] += times;
    }

    pub fn copy(&mut self, cause: Cause, times: u64) {
        self.copies[cause.number()] += times;
    }

    pub fn add(&mut self, other: &Self) {
        let add = |sums: &mut [u64], more: &[u64]| {
            sums.iter_mut().zip(more).for_each(|(sum, more)| *sum += more);
        };
        add(&mut self.faults, &other.faults);
        add(&mut self.seen, &other.seen);
        add(&mut self.copies, &other.copies);
    }

    fn rows(&self) -> impl Iterator<Item = (String, u64)> {
        let faults = Fault::ALL.iter().map(|fault| (format!("{fault:?}"), self.faults[*fault as usize]));
        let seen = Seen::ALL.iter().map(|seen| (format!("{seen:?}"), self.seen[*seen as usize]));
        // No operator asks for a copy here.
        let causes = Cause::ALL.iter().filter(|cause| **cause != Cause::Asked);
        let copies = causes.map(|cause| (format!("Copy of {cause:?}"), self.copies[cause.number()]));
        faults.chain(seen).chain(copies)
    }

    /// Everything has happened at least once.
    pub fn assert_all(&self) {
        self.rows().for_each(|(name, times)| assert!(times > 0, "{name} never happened"));
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.rows().try_for_each(|(name, times)| write!(f, "\n{times:>12}  {name}"))
    }
}
