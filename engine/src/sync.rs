//! The atomics of the parts that readers and the owner share without a lock.
//!
//! These parts name their atomics through this module, so that the models under `engine/tests` can include the same
//! source files with loom's atomics in its place.

pub(crate) use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
