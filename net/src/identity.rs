//! Random names: of memory files, backups and lives of a cache.

use std::hash::{BuildHasher, RandomState};

/// A word that no other call gives: the keys of the standard library's hashes are random. Never zero, which names
/// nothing.
pub fn random_word() -> u64 {
    RandomState::new().hash_one(0).max(1)
}
