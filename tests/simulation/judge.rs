//! What must hold: acknowledged writes stay, deletes do not come back, and copies are equal.

use std::collections::HashMap;

use ringcache_engine::{Expiry, Now, Seconds, Version};

use crate::node::{Node, Shown};

/// What has been promised about a key.
#[derive(Clone, Debug, Default)]
struct Promises {
    /// Stores for ever that were acknowledged.
    stored: Vec<Version>,
    /// Deletes and flushes that were acknowledged.
    deleted: Vec<Version>,
    /// The last write that may leave the key without a value, acknowledged or not.
    gone: Version,
}

impl Promises {
    fn forget_above(&mut self, bound: Version) {
        self.stored.retain(|version| *version <= bound);
        self.deleted.retain(|version| *version <= bound);
    }
}

fn last(versions: &[Version]) -> Version {
    versions.iter().copied().max().unwrap_or_default()
}

#[derive(Default)]
pub struct Judge {
    promises: HashMap<Vec<u8>, Promises>,
    /// Deletes by the present primary.
    deletes: HashMap<Vec<u8>, Version>,
    /// Records are thrown out for lack of memory in this seed.
    pub evicts: bool,
    /// Seconds by which clocks were wrong at most.
    pub skew_seconds: u32,
}

impl Judge {
    pub fn new(evicts: bool) -> Self {
        Self { evicts, ..Self::default() }
    }

    pub fn know(&mut self, key: &[u8]) {
        self.promises.entry(key.to_vec()).or_default();
    }

    pub fn may_be_gone(&mut self, key: &[u8], version: Version) {
        let promises = self.promises.entry(key.to_vec()).or_default();
        promises.gone = promises.gone.max(version);
    }

    pub fn note_delete(&mut self, key: &[u8], version: Version) {
        self.may_be_gone(key, version);
        self.deletes.insert(key.to_vec(), version);
    }

    pub fn note_flush(&mut self, version: Version) {
        let keys: Vec<Vec<u8>> = self.promises.keys().cloned().collect();
        keys.iter().for_each(|key| self.note_delete(key, version));
    }

    pub fn acknowledge_store(&mut self, key: &[u8], version: Version) {
        self.promises.entry(key.to_vec()).or_default().stored.push(version);
    }

    pub fn acknowledge_delete(&mut self, key: &[u8], version: Version) {
        self.promises.entry(key.to_vec()).or_default().deleted.push(version);
    }

    pub fn acknowledge_flush(&mut self, version: Version) {
        self.promises.values_mut().for_each(|promises| promises.deleted.push(version));
    }

    /// A node that had acknowledged for others has lost its memory: more may be lost than the mode promises.
    pub fn forget_promises(&mut self) {
        self.promises.values_mut().for_each(|promises| promises.forget_above(Version::ZERO));
    }

    /// Whoever takes over was known to have everything of a key's shard up to `bound`, and nothing else is promised.
    pub fn forget_beyond(&mut self, bound: impl Fn(&[u8]) -> Version) {
        self.promises.iter_mut().for_each(|(key, promises)| promises.forget_above(bound(key)));
    }

    pub fn forget_deletes(&mut self) {
        self.deletes.clear();
    }

    /// Everything that was promised is there.
    pub fn check_promises(&self, node: &Node, now: Now, when: &str) {
        for (key, promises) in &self.promises {
            let name = String::from_utf8_lossy(key);
            let (stored, deleted) = (last(&promises.stored), last(&promises.deleted));
            match node.show(key, now) {
                Some(shown) => assert!(
                    shown.version >= stored && shown.version > deleted,
                    "{when}: {name} shows {shown:?}, promised {promises:?}"
                ),
                None => assert!(
                    self.evicts || stored <= promises.gone.max(deleted),
                    "{when}: {name} is lost, promised {promises:?}"
                ),
            }
        }
    }

    /// What the primary holds the replica holds, and nothing else, except for what memory or time has taken.
    pub fn compare(&self, primary: &Node, replica: &Node, now: Now) {
        for key in self.promises.keys() {
            let (here, there) = (primary.show(key, now), replica.show(key, now));
            let is_explained = match (&here, &there) {
                (Some(here), Some(there)) => here == there,
                (None, None) => true,
                (Some(alone), None) => self.evicts || self.is_ending(alone, now),
                (None, Some(alone)) => {
                    let deleted = self.deletes.get(key).copied().unwrap_or_default();
                    (self.evicts && alone.version > deleted) || self.is_ending(alone, now)
                }
            };
            let name = String::from_utf8_lossy(key);
            let place = replica.plan.place;
            assert!(is_explained, "{name}: the primary shows {here:?}, node {place} {there:?}");
        }
        if !self.evicts && self.skew_seconds == 0 {
            assert_eq!(primary.digests(now), replica.digests(now), "all that lives, key or no key of ours");
        }
    }

    /// A clock that was wrong may have ended it.
    fn is_ending(&self, shown: &Shown, now: Now) -> bool {
        let soon = Seconds(now.seconds.0 + self.skew_seconds);
        self.skew_seconds > 0 && shown.expiry != Expiry::NEVER && shown.expiry.is_past(soon)
    }
}
