//! Counts per prefix of keys: what stands before the first delimiter. A key without one counts nowhere.

use std::collections::{BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::Mutex;

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

/// The prefixes that any worker of the node counts for. A worker asks once for each prefix that is new to it.
#[derive(Default)]
pub(super) struct KnownPrefixes(Mutex<BTreeSet<Box<[u8]>>>);

impl KnownPrefixes {
    /// Whether a worker may count for `prefix`: it is known, or there is room for one more.
    fn admit(&self, prefix: &[u8]) -> bool {
        let mut known = self.0.lock().expect("nothing panics while holding it");
        known.contains(prefix) || known.len() < PREFIXES_MAX && known.insert(prefix.into())
    }

    /// At most so many of those that stand behind `last`, in order.
    pub(super) fn some_after(&self, last: Option<&[u8]>, most: usize) -> Vec<Box<[u8]>> {
        let from = last.map_or(Bound::Unbounded, Bound::Excluded);
        let known = self.0.lock().expect("nothing panics while holding it");
        known.range::<[u8], _>((from, Bound::Unbounded)).take(most).cloned().collect()
    }

    pub(super) fn forget(&self) {
        *self.0.lock().expect("nothing panics while holding it") = BTreeSet::new();
    }
}

/// The counts of one worker.
#[derive(Default)]
pub(super) struct Prefixes(HashMap<Box<[u8]>, PrefixCounts>);

impl Prefixes {
    /// Counts for the prefix of `key`; past the limit on prefixes only for those that are known.
    pub(super) fn count(
        &mut self,
        key: &[u8],
        delimiter: u8,
        known: &KnownPrefixes,
        change: impl FnOnce(&mut PrefixCounts),
    ) {
        let Some(end) = memchr(delimiter, key) else { return };
        if let Some(counts) = self.0.get_mut(&key[..end]) {
            change(counts);
        } else if known.admit(&key[..end]) {
            change(self.0.entry(key[..end].into()).or_default());
        }
    }

    /// Adds what this worker has counted for `prefix`.
    pub(super) fn add_to(&self, prefix: &[u8], sum: &mut PrefixCounts) {
        let Some(counts) = self.0.get(prefix) else { return };
        sum.gets += counts.gets;
        sum.hits += counts.hits;
        sum.sets += counts.sets;
        sum.deletes += counts.deletes;
    }
}

#[cfg(test)]
mod tests {
    use super::{KnownPrefixes, PrefixCounts, Prefixes};
    use crate::limits::PREFIXES_MAX;

    #[test]
    fn a_key_counts_for_what_stands_before_the_first_delimiter() {
        let (mut prefixes, known) = (Prefixes::default(), KnownPrefixes::default());
        for key in [&b"a:1"[..], b"a:b:c", b":x", b"none", b"b:", b""] {
            prefixes.count(key, b':', &known, |counts| counts.sets += 1);
        }
        let sets = |prefix: &[u8]| {
            let mut sum = PrefixCounts::default();
            prefixes.add_to(prefix, &mut sum);
            prefixes.add_to(prefix, &mut sum);
            (prefix.to_vec(), sum.sets)
        };
        let all: Vec<_> = known.some_after(None, 10).iter().map(|prefix| sets(prefix)).collect();
        assert_eq!(all, [(b"".to_vec(), 2), (b"a".to_vec(), 4), (b"b".to_vec(), 2)]);
        assert_eq!(known.some_after(Some(b""), 1), [b"a".to_vec().into_boxed_slice()]);
        assert!(known.some_after(Some(b"b"), 1).is_empty());
    }

    #[test]
    fn a_node_has_only_so_many_prefixes() {
        let known = KnownPrefixes::default();
        let mut workers = [Prefixes::default(), Prefixes::default()];
        for number in 0..PREFIXES_MAX + 10 {
            let key = format!("{number}:");
            workers[number % 2].count(key.as_bytes(), b':', &known, |counts| counts.gets += 1);
        }
        for worker in &mut workers {
            worker.count(b"0:", b':', &known, |counts| counts.gets += 1);
        }
        let mut sum = PrefixCounts::default();
        workers.iter().for_each(|worker| worker.add_to(b"0", &mut sum));
        assert_eq!((known.some_after(None, usize::MAX).len(), sum.gets), (PREFIXES_MAX, 3));
    }
}
