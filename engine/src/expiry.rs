//! Times to live in classes, so that slabs fill with records that end together and then die whole.

use crate::time::{Expiry, Seconds};

/// Classes of time to live.
pub(crate) const TTL_CLASSES: usize = 8;

/// Upper ends of the classes in seconds; longer ones share the class before the last, the last never ends.
const UPPER_ENDS: [u32; TTL_CLASSES - 2] = [60, 900, 4 * 3600, 86_400, 7 * 86_400, 30 * 86_400];

/// Which class a record belongs to. `merge` folds the classes to short, long and never, for shards with few slabs.
pub(crate) fn ttl_class(expiry: Expiry, now: Seconds, merge: bool) -> usize {
    let Some(left) = expiry.left(now) else { return TTL_CLASSES - 1 };
    let class = UPPER_ENDS.iter().position(|&end| left <= end).unwrap_or(TTL_CLASSES - 2);
    match (merge, class) {
        (false, class) => class,
        (true, 0 | 1) => 1,
        (true, _) => TTL_CLASSES - 2,
    }
}

/// When the records of a slab end: the earliest and the latest.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ExpirySpan {
    earliest: u32,
    latest: u32,
}

impl ExpirySpan {
    /// Of no records.
    pub(crate) const EMPTY: ExpirySpan = ExpirySpan { earliest: u32::MAX, latest: 0 };

    /// Takes a record in.
    pub(crate) fn include(&mut self, expiry: Expiry) {
        let end = if expiry == Expiry::NEVER { u32::MAX } else { expiry.to_bits() };
        self.earliest = self.earliest.min(end);
        self.latest = self.latest.max(end);
    }

    /// Every record is over.
    pub(crate) fn is_past(self, now: Seconds) -> bool {
        self.latest <= now.0
    }

    /// Some record is over, and a look through the slab is worth it: half of the span has passed, or a minute when
    /// some record has no end.
    pub(crate) fn is_worth_sweeping(self, now: Seconds) -> bool {
        let wait =
            if self.latest == u32::MAX { 60 } else { (self.latest - self.earliest.min(self.latest)) / 2 };
        self.earliest.saturating_add(wait.max(8)) <= now.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_follow_the_time_left() {
        let now = Seconds(1000);
        let class = |left: u32| ttl_class(Expiry::at(Seconds(1000 + left)), now, false);
        assert_eq!([class(1), class(60), class(61), class(901), class(90_000)], [0, 0, 1, 2, 4]);
        assert_eq!(class(100 * 86_400), TTL_CLASSES - 2);
        assert_eq!(ttl_class(Expiry::NEVER, now, true), TTL_CLASSES - 1);
        assert_eq!(ttl_class(Expiry::at(Seconds(1005)), now, true), 1);
    }

    #[test]
    fn a_span_is_past_only_when_its_latest_is() {
        let mut span = ExpirySpan::EMPTY;
        span.include(Expiry::at(Seconds(10)));
        span.include(Expiry::at(Seconds(50)));
        assert!(!span.is_past(Seconds(49)) && span.is_past(Seconds(50)));
        assert!(!span.is_worth_sweeping(Seconds(29)) && span.is_worth_sweeping(Seconds(30)));
        span.include(Expiry::NEVER);
        assert!(!span.is_past(Seconds(u32::MAX - 1)));
    }
}
