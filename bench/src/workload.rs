//! What is asked, independent of time: the mix of operations, the keys, the values, the protocol.

use std::sync::Arc;

use crate::keys::Distribution;
use crate::mix::{Mix, Operation};
use crate::values::Sizes;

/// The protocol requests are written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Protocol {
    /// memcached's classic commands.
    Text,
    /// memcached's meta commands.
    Meta,
    /// memcached's binary frames.
    Binary,
    /// Redis's.
    Resp,
}

/// Everything about the requests that does not depend on time.
#[derive(Clone, Debug)]
pub struct Workload {
    /// Shares of the operations.
    pub mix: Mix,
    /// Keys per get.
    pub multiget: u32,
    /// Lengths of the values.
    pub sizes: Sizes,
    /// Number of different keys.
    pub keys: u32,
    /// How they are drawn; not looked at where there is a trace.
    pub distribution: Distribution,
    /// Key numbers in the order they are asked for, over and over.
    pub trace: Option<Arc<[u32]>>,
    /// Runs with different seeds draw different keys.
    pub seed: u64,
    /// How requests are written.
    pub protocol: Protocol,
    /// Derive values from key and version, so that a wrong byte in a reply is seen.
    pub verify: bool,
}

impl Default for Workload {
    /// Gets of a hundred thousand keys with values of 100 bytes.
    fn default() -> Workload {
        Workload {
            mix: Mix::only(Operation::Get),
            multiget: 1,
            sizes: Sizes::fixed(100),
            keys: 100_000,
            distribution: Distribution::Uniform,
            trace: None,
            seed: 0,
            protocol: Protocol::Text,
            verify: false,
        }
    }
}

impl Workload {
    /// How many sets store everything that the mix asks for: each key, and each counter.
    pub fn preloads(&self) -> u64 {
        let kinds = u64::from(self.has_values()) + u64::from(self.has_counters());
        u64::from(self.keys) * kinds
    }

    /// Whether any operation works on values.
    pub fn has_values(&self) -> bool {
        self.mix.has(|choice| !choice.operation.counts())
    }

    /// Whether any operation works on counters.
    pub fn has_counters(&self) -> bool {
        self.mix.has(|choice| choice.operation.counts())
    }
}
