//! Counts per prefix of keys: what stands before the first delimiter. A key without one counts nowhere.

use std::collections::HashMap;

use memchr::memchr;

use crate::limits::PREFIXES_MAX;

/// What was done with the keys of one prefix.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PrefixCounts {
    /// Keys asked for.
    pub gets: u64,
    /// Of these, found.
    pub hits: u64,
    /// Stores tried.
    pub sets: u64,
    /// Deletes tried.
    pub deletes: u64,
}

#[derive(Default)]
pub(super) struct Prefixes(HashMap<Box<[u8]>, PrefixCounts>);

impl Prefixes {
    /// Counts for the prefix of `key`; past the limit on prefixes only for those that are known.
    pub(super) fn count(&mut self, key: &[u8], delimiter: u8, change: impl FnOnce(&mut PrefixCounts)) {
        let Some(end) = memchr(delimiter, key) else { return };
        if let Some(counts) = self.0.get_mut(&key[..end]) {
            change(counts);
        } else if self.0.len() < PREFIXES_MAX {
            change(self.0.entry(key[..end].into()).or_default());
        }
    }

    pub(super) fn add(&mut self, other: &Prefixes) {
        for (prefix, counts) in &other.0 {
            let sum = self.0.entry(prefix.clone()).or_default();
            sum.gets += counts.gets;
            sum.hits += counts.hits;
            sum.sets += counts.sets;
            sum.deletes += counts.deletes;
        }
    }

    pub(super) fn into_sorted(self) -> Vec<(Vec<u8>, PrefixCounts)> {
        let mut all: Vec<_> =
            self.0.into_iter().map(|(prefix, counts)| (prefix.into_vec(), counts)).collect();
        all.sort_unstable_by(|one, other| one.0.cmp(&other.0));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::{PrefixCounts, Prefixes};
    use crate::limits::PREFIXES_MAX;

    #[test]
    fn a_key_counts_for_what_stands_before_the_first_delimiter() {
        let mut prefixes = Prefixes::default();
        for key in [&b"a:1"[..], b"a:b:c", b":x", b"none", b"b:", b""] {
            prefixes.count(key, b':', |counts| counts.sets += 1);
        }
        let mut twice = Prefixes::default();
        twice.add(&prefixes);
        twice.add(&prefixes);
        let sets = |sets| PrefixCounts { sets, ..PrefixCounts::default() };
        let expected = [(b"".to_vec(), sets(2)), (b"a".to_vec(), sets(4)), (b"b".to_vec(), sets(2))];
        assert_eq!(twice.into_sorted(), expected);
    }

    #[test]
    fn there_are_only_so_many_prefixes() {
        let mut prefixes = Prefixes::default();
        for number in 0..PREFIXES_MAX + 10 {
            prefixes.count(format!("{number}:").as_bytes(), b':', |counts| counts.gets += 1);
        }
        prefixes.count(b"0:", b':', |counts| counts.gets += 1);
        let all = prefixes.into_sorted();
        assert_eq!((all.len(), all[0].1.gets), (PREFIXES_MAX, 2));
    }
}
