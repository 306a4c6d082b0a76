//! What a seed means: which nodes there are, how they replicate, and what happens to them.

use std::fmt;

use clap::ValueEnum;

use crate::interference::Harm;
use crate::keys::Random;

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// kill -9 of the primary; the most advanced replica is promoted, the other one and the former primary follow it
    KillPrimary,
    /// kill -9 of a replica, which is started again
    KillReplica,
    /// SIGSTOP of either side, for longer than a link is patient
    Stop,
    /// SIGSTOP of the primary, which wakes up when another one has been promoted (never `async`)
    Depose,
    /// The links are cut, and restored
    Cut,
    /// The network interface between the nodes goes down, and up again (root only)
    Namespace,
    /// What goes over the links comes later
    Delay,
    /// In another order
    Reorder,
    /// Twice
    Duplicate,
    /// Not as a whole
    Truncate,
    /// With other bits
    Flip,
    /// Several of these, some at once
    Mixed,
}

impl Kind {
    /// The harm that a line does, where it does any.
    pub fn harm(self) -> Option<Harm> {
        Some(match self {
            Kind::Delay => Harm::Delay,
            Kind::Reorder => Harm::Reorder,
            Kind::Duplicate => Harm::Duplicate,
            Kind::Truncate => Harm::Truncate,
            Kind::Flip => Harm::Flip,
            _ => return None,
        })
    }

    /// As on the command line.
    pub fn name(self) -> String {
        self.to_possible_value().expect("no kind is hidden").get_name().to_string()
    }
}

/// When a write is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// At once.
    Async,
    /// When one replica has it; there is one.
    SemiSync,
    /// When every one has it.
    All,
}

impl Mode {
    /// As `--replication-mode` names it.
    pub fn name(self) -> &'static str {
        match self {
            Mode::Async => "async",
            Mode::SemiSync => "semi-sync:1",
            Mode::All => "all",
        }
    }
}

/// One run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What goes wrong.
    pub kind: Kind,
    /// From which everything else follows.
    pub seed: u64,
    /// When writes are answered.
    pub mode: Mode,
    /// Workers of each node; the first one begins as the primary.
    pub workers: Vec<u32>,
    /// Batches are compressed where that pays.
    pub compress: bool,
    /// Clients that write.
    pub writers: u32,
    /// How often something goes wrong.
    pub faults: u32,
}

impl Plan {
    /// What `seed` means.
    pub fn new(kind: Kind, seed: u64) -> Plan {
        let mut random = Random::new(seed);
        let mode = match random.below(4) {
            0 if kind != Kind::Depose => Mode::Async,
            0 | 1 => Mode::SemiSync,
            _ => Mode::All,
        };
        let alone = mode == Mode::SemiSync || kind == Kind::Namespace;
        let nodes = if alone { 2 } else { 2 + random.below(2) };
        Plan {
            kind,
            seed,
            mode,
            workers: (0..nodes).map(|_| 1 + random.below(3)).collect(),
            compress: random.below(2) == 0,
            writers: 1 + random.below(3),
            faults: 1 + random.below(3),
        }
    }

    /// Chances of what happens during the run.
    pub fn random(&self) -> Random {
        Random::new(!self.seed)
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Plan { kind, seed, mode, workers, compress, writers, faults } = self;
        write!(
            f,
            "{} seed {seed}: {}, workers {workers:?}, compress {compress}, {writers} writers, {faults} faults",
            kind.name(),
            mode.name()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_means_the_same_each_time_and_all_modes_happen() {
        let plans: Vec<Plan> = (0..200).map(|seed| Plan::new(Kind::KillPrimary, seed)).collect();
        for mode in [Mode::Async, Mode::SemiSync, Mode::All] {
            assert!(plans.iter().any(|plan| plan.mode == mode), "{mode:?}");
        }
        for plan in &plans {
            assert_eq!(plan.to_string(), Plan::new(plan.kind, plan.seed).to_string());
            assert!(plan.mode != Mode::SemiSync || plan.workers.len() == 2);
        }
        assert!((0..200).all(|seed| Plan::new(Kind::Depose, seed).mode != Mode::Async));
    }
}
