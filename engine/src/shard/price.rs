//! What a record pays to stay: eviction by size and use in one number (docs/decisions/0005-eviction.md).
//!
//! A record earns credit with every access. When eviction comes to it, it stays if its credit covers its price, and pays
//! that price: its bytes in units of the mean record's. So a record of the mean size stays for one round through the
//! main queue per access, one of a tenth of that size for a dozen, and one of five times the size only when it was
//! asked for five times in a round. This is GreedyDual-Size (Cao and Irani, USITS'97) with a queue for its clock.

use crate::record::{CREDIT_MAX, CREDIT_OF_A_STORE, CREDIT_OF_AN_ACCESS};

/// Prices are fixed-point numbers of this many fractional bits.
const FRACTION_BITS: u32 = 4;
const ONE: u64 = 1 << FRACTION_BITS;
/// What a record of the mean size pays: more than it was stored with, less than an access earns.
const PRICE_OF_THE_MEAN: u64 = 5 * ONE / 2;
const _: () = assert!(CREDIT_OF_A_STORE as u64 * ONE < PRICE_OF_THE_MEAN);
const _: () = assert!(CREDIT_OF_AN_ACCESS as u64 * ONE > PRICE_OF_THE_MEAN);
/// One record in so many moves the mean by its distance.
const MEAN_WEIGHT: u64 = 1024;
/// The mean is kept in fractions of a byte.
const MEAN_SCALE: u64 = 1024;
/// Doublings of the prices while walks keep too much, at most.
const PRESSURE_MAX: u32 = 8;

/// The prices of one shard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Prices {
    /// Mean bytes of the records that eviction came to, times the scale; zero before the first.
    mean: u64,
    /// Doublings of all prices: raised by each walk that frees too little, so that eviction always ends.
    pressure: u32,
    /// Turns with each payment, so that fractions of a credit are paid in whole ones now and then.
    change: u64,
}

impl Prices {
    /// The three numbers, for books.
    pub(crate) fn to_words(&self) -> [u64; 3] {
        [self.mean, u64::from(self.pressure), self.change]
    }

    /// From the numbers of books, each brought into its range.
    pub(crate) fn from_words([mean, pressure, change]: [u64; 3]) -> Self {
        let mean = mean.min(u64::from(crate::limits::ITEM_BYTES_MAX) * MEAN_SCALE);
        Self { mean, pressure: pressure.min(u64::from(PRESSURE_MAX)) as u32, change: change % ONE }
    }

    /// The price of a record of `bytes`, which takes part in the mean from now on.
    pub(crate) fn price(&mut self, bytes: u64) -> u64 {
        let scaled = bytes * MEAN_SCALE;
        self.mean = match self.mean {
            0 => scaled,
            mean => mean - mean / MEAN_WEIGHT + scaled / MEAN_WEIGHT,
        };
        let price = scaled * PRICE_OF_THE_MEAN / self.mean.max(1);
        // Credit that is full pays every price, unless walks keep too much.
        price.clamp(1, u64::from(CREDIT_MAX) * ONE) << self.pressure
    }

    /// The credit that is left after paying, or nothing where it does not suffice.
    pub(crate) fn pay(&mut self, credit: u32, price: u64) -> Option<u32> {
        if u64::from(credit) * ONE < price {
            return None;
        }
        self.change = (self.change + 11) % ONE;
        Some(credit - ((price + self.change) / ONE).min(u64::from(credit)) as u32)
    }

    /// A walk over a slab with `filled` bytes has kept `kept` of them.
    pub(crate) fn end_walk(&mut self, kept: u64, filled: u64) {
        self.pressure = if kept * 4 > filled * 3 {
            (self.pressure + 1).min(PRESSURE_MAX)
        } else {
            self.pressure.saturating_sub(1)
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rounds that a record of `bytes` survives when the mean is 1000 and nobody asks for it any more.
    fn rounds(credit: u32, bytes: u64) -> u32 {
        let mut prices = Prices { mean: 1000 * MEAN_SCALE, ..Prices::default() };
        let (mut left, mut rounds) = (credit, 0);
        while rounds < 1000 {
            prices.mean = 1000 * MEAN_SCALE;
            let price = prices.price(bytes);
            let Some(after) = prices.pay(left, price) else { break };
            (left, rounds) = (after, rounds + 1);
        }
        rounds
    }

    #[test]
    fn small_records_stay_longer_for_the_same_use() {
        assert_eq!(rounds(CREDIT_OF_AN_ACCESS, 1000), 1);
        assert_eq!(rounds(CREDIT_OF_AN_ACCESS, 2000), 0);
        assert_eq!(rounds(2 * CREDIT_OF_AN_ACCESS, 2000), 1);
        assert!((8..=12).contains(&rounds(CREDIT_OF_AN_ACCESS, 100)), "{}", rounds(CREDIT_OF_AN_ACCESS, 100));
        assert_eq!(rounds(CREDIT_MAX, 100_000), 1, "what is used all the time stays whatever its size");
    }

    /// A scan of records of one size must not get into the main queue.
    #[test]
    fn a_record_of_the_mean_size_that_nobody_asked_for_goes() {
        assert_eq!(rounds(crate::record::CREDIT_OF_A_STORE, 1000), 0);
    }

    #[test]
    fn the_mean_follows_the_records() {
        let mut prices = Prices::default();
        (0..100_000).for_each(|_| _ = prices.price(500));
        assert_eq!(prices.mean / MEAN_SCALE, 500);
        (0..100_000).for_each(|_| _ = prices.price(50_000));
        assert!((49_000..=50_000).contains(&(prices.mean / MEAN_SCALE)), "{}", prices.mean / MEAN_SCALE);
    }

    #[test]
    fn walks_that_free_too_little_raise_every_price_until_they_do() {
        let mut prices = Prices::default();
        let before = prices.price(1000);
        assert!(prices.pay(CREDIT_MAX - 1, before).is_some());
        (0..20).for_each(|_| prices.end_walk(100, 100));
        let dear = prices.price(1000);
        assert!(dear > before && prices.pay(CREDIT_MAX - 1, dear).is_none());
        (0..20).for_each(|_| prices.end_walk(10, 100));
        assert_eq!(prices.price(1000), before);
    }
}
