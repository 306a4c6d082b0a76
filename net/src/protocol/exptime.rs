//! From the number in a command to a record's end of life.

use ringcache_engine::{Expiry, Now, Seconds};

/// Larger numbers are Unix times.
const RELATIVE_SECONDS_MAX: u32 = 60 * 60 * 24 * 30;

/// The expiry that `exptime` means at `now` on a node that started at `started`: 0 never ends, a negative one is
/// over, up to 30 days it counts from now, beyond it is Unix time. Unix times up to the start of the node are
/// over, because memcached counts its time from there.
#[inline]
pub fn expiry(exptime: i32, now: Now, started: Seconds) -> Expiry {
    match u32::try_from(exptime) {
        Ok(exptime) => expiry_unsigned(exptime, now, started),
        Err(_) => Expiry::PAST,
    }
}

/// As [`expiry`], where the protocol's exptime has no sign: what would be negative is a Unix time far away.
#[inline]
pub fn expiry_unsigned(exptime: u32, now: Now, started: Seconds) -> Expiry {
    if exptime == 0 {
        return Expiry::NEVER;
    }
    if exptime <= RELATIVE_SECONDS_MAX {
        return Expiry::at(Seconds(now.seconds.0.saturating_add(exptime)));
    }
    if exptime <= started.0 {
        return Expiry::PAST;
    }
    Expiry::at(Seconds(exptime))
}

#[cfg(test)]
mod tests {
    use ringcache_engine::{Expiry, Now, Seconds};

    use super::{expiry, expiry_unsigned};

    #[test]
    fn each_range_of_exptime_has_its_meaning() {
        let now = Now::from_unix_millis(1_700_000_000_000);
        let started = Seconds(1_699_999_000);
        assert_eq!(expiry(0, now, started), Expiry::NEVER);
        assert_eq!(expiry(-1, now, started), Expiry::PAST);
        assert_eq!(expiry(1, now, started), Expiry::at(Seconds(1_700_000_001)));
        assert_eq!(expiry(2_592_000, now, started), Expiry::at(Seconds(1_702_592_000)));
        assert_eq!(expiry(2_592_001, now, started), Expiry::PAST);
        assert_eq!(expiry(1_699_999_000, now, started), Expiry::PAST);
        assert_eq!(expiry(1_800_000_000, now, started), Expiry::at(Seconds(1_800_000_000)));
        assert_eq!(expiry_unsigned(2_592_001, now, started), Expiry::PAST);
        assert_eq!(expiry_unsigned(u32::MAX, now, started), Expiry::at(Seconds(u32::MAX)));
    }
}
