//! The operations of a load and their shares.

use std::str::FromStr;

use crate::keys::Random;
use crate::workload::Protocol;

/// One kind of request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Reads one key, or `multiget` keys.
    Get,
    /// Stores a value without expiry.
    Set,
    /// Removes a key.
    Delete,
    /// Adds 1 to a counter.
    Incr,
    /// Subtracts 1 from a counter.
    Decr,
    /// Sets the expiry to never.
    Touch,
}

impl Operation {
    /// As on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Operation::Get => "get",
            Operation::Set => "set",
            Operation::Delete => "delete",
            Operation::Incr => "incr",
            Operation::Decr => "decr",
            Operation::Touch => "touch",
        }
    }

    /// Whether it works on counters, which have keys of their own.
    pub fn counts(self) -> bool {
        matches!(self, Operation::Incr | Operation::Decr)
    }
}

/// An operation, and the protocol it is written in where that is not the load's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// What is asked.
    pub operation: Operation,
    /// `Some(Meta)` for the operations named by their meta command.
    pub protocol: Option<Protocol>,
}

/// The shares of the operations, such as `get=90,set=10`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mix {
    shares: Vec<(Choice, u32)>,
    total: u32,
}

impl Mix {
    /// Nothing but `operation`.
    pub fn only(operation: Operation) -> Mix {
        Mix { shares: vec![(Choice { operation, protocol: None }, 1)], total: 1 }
    }

    /// Whether the mix asks for anything that `matches`.
    pub fn has(&self, matches: impl Fn(Choice) -> bool) -> bool {
        self.shares.iter().any(|(choice, _)| matches(*choice))
    }

    /// Draws an operation.
    pub fn choose(&self, random: &mut Random) -> Choice {
        if let [(only, _)] = self.shares[..] {
            return only;
        }
        let mut point = random.below(self.total);
        for (choice, share) in &self.shares {
            if point < *share {
                return *choice;
            }
            point -= share;
        }
        unreachable!("the shares add up to the total")
    }
}

impl FromStr for Mix {
    type Err = String;

    fn from_str(text: &str) -> Result<Mix, String> {
        let mut mix = Mix { shares: Vec::new(), total: 0 };
        for part in text.split(',') {
            let (name, share) =
                part.split_once('=').ok_or_else(|| format!("{part} is not OPERATION=SHARE"))?;
            let (_, choice) =
                NAMES.iter().find(|(known, _)| *known == name).ok_or_else(|| unknown_name(name))?;
            if mix.has(|shared| shared == *choice) {
                return Err(format!("{name} is given twice"));
            }
            let share: u32 = share.parse().map_err(|_| format!("{share} is not a share"))?;
            if share > SHARE_MAX {
                return Err(format!("a share is at most {SHARE_MAX}"));
            }
            if share > 0 {
                mix.shares.push((*choice, share));
                mix.total += share;
            }
        }
        if mix.total == 0 { Err("every share is zero".to_string()) } else { Ok(mix) }
    }
}

fn unknown_name(name: &str) -> String {
    let known: Vec<&str> = NAMES.iter().map(|(known, _)| *known).collect();
    format!("{name} is none of {}", known.join(", "))
}

const fn named(operation: Operation, protocol: Option<Protocol>) -> Choice {
    Choice { operation, protocol }
}

const NAMES: [(&str, Choice); 11] = [
    ("get", named(Operation::Get, None)),
    ("set", named(Operation::Set, None)),
    ("delete", named(Operation::Delete, None)),
    ("incr", named(Operation::Incr, None)),
    ("decr", named(Operation::Decr, None)),
    ("touch", named(Operation::Touch, None)),
    ("mg", named(Operation::Get, Some(Protocol::Meta))),
    ("ms", named(Operation::Set, Some(Protocol::Meta))),
    ("md", named(Operation::Delete, Some(Protocol::Meta))),
    ("ma", named(Operation::Incr, Some(Protocol::Meta))),
    ("mt", named(Operation::Touch, Some(Protocol::Meta))),
];
const SHARE_MAX: u32 = 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mixes_are_read_and_kept() {
        let mix: Mix = "get=80,mg=10,set=10".parse().unwrap();
        let mut random = Random::new(5);
        let drawn: Vec<Choice> = (0..100_000).map(|_| mix.choose(&mut random)).collect();
        for (name, range) in [("get", 79_000..81_000), ("mg", 9_500..10_500), ("set", 9_500..10_500)] {
            let wanted = NAMES.iter().find(|(known, _)| *known == name).unwrap().1;
            let count = drawn.iter().filter(|choice| **choice == wanted).count();
            assert!(range.contains(&count), "{count} {name} of 100000");
        }
        for wrong in ["", "get", "get=x", "fetch=1", "get=0", "get=1,get=2", "get=99999999"] {
            assert!(wrong.parse::<Mix>().is_err(), "{wrong}");
        }
    }
}
