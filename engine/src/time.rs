//! Two clocks, two types: coarse seconds decide the life of a record, milliseconds order its versions.
//!
//! The engine reads no clock; every call that needs the time takes a [`Now`].

/// Unix time in whole seconds; enough until 2106.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Seconds(pub u32);

/// The moment a call happens at, read once per turn by the worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Coarse clock: steps once a second, as memcached's does.
    pub seconds: Seconds,
    /// Unix time in milliseconds; feeds the hybrid logical clock of versions.
    pub unix_millis: u64,
}

impl Now {
    /// The moment `unix_millis`, with the coarse clock derived from it.
    pub fn from_unix_millis(unix_millis: u64) -> Self {
        Self { seconds: Seconds((unix_millis / 1000) as u32), unix_millis }
    }
}

/// When a record stops being visible: never, or at a Unix second. Expired means `at <= now`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Expiry(u32);

impl Expiry {
    /// No end.
    pub const NEVER: Expiry = Expiry(0);
    /// Over before it began: what a negative exptime means.
    pub const PAST: Expiry = Expiry(1);

    /// Ends at `at`; a zero is moved to the first second, because zero in a record means never.
    #[inline]
    pub fn at(at: Seconds) -> Self {
        Expiry(at.0.max(1))
    }

    /// The word as a record keeps it: 0 is never.
    #[inline]
    pub fn to_bits(self) -> u32 {
        self.0
    }

    /// From the word of a record.
    #[inline]
    pub fn from_bits(bits: u32) -> Self {
        Expiry(bits)
    }

    /// Whether the record is over at `now`.
    #[inline]
    pub fn is_past(self, now: Seconds) -> bool {
        self.0 != 0 && self.0 <= now.0
    }

    /// Seconds left at `now`, or `None` when it never ends. Past gives zero.
    #[inline]
    pub fn left(self, now: Seconds) -> Option<u32> {
        (self.0 != 0).then(|| self.0.saturating_sub(now.0))
    }
}
