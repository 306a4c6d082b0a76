//! Which key is asked next: random numbers, and the distributions of keys.

use std::str::FromStr;
use std::sync::Arc;

/// SplitMix64: one multiplication chain per number, the same sequence for the same seed on every machine.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// A sequence of its own for each seed.
    pub fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15))
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `bound`, which is not zero.
    pub fn below(&mut self, bound: u32) -> u32 {
        (((self.bits() >> 32) * u64::from(bound)) >> 32) as u32
    }

    /// A number in [0, 1).
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// How often each key is asked, as given on the command line.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Distribution {
    /// Every key as often as any other.
    Uniform,
    /// Key number r (from 1) in proportion to `1 / r^exponent`.
    Zipf {
        /// Above 0; 1.0 is the usual model of cache traffic.
        exponent: f64,
    },
}

impl FromStr for Distribution {
    type Err = String;

    fn from_str(text: &str) -> Result<Distribution, String> {
        if text == "uniform" {
            return Ok(Distribution::Uniform);
        }
        let exponent = text.strip_prefix("zipf:").ok_or("use uniform or zipf:EXPONENT")?;
        let exponent: f64 = exponent.parse().map_err(|_| format!("{exponent} is not a number"))?;
        if !(exponent > 0.0 && exponent <= 10.0) {
            return Err("the exponent of zipf is above 0 and at most 10".to_string());
        }
        Ok(Distribution::Zipf { exponent })
    }
}

/// Draws key numbers, from 0.
#[derive(Clone, Debug)]
pub enum KeyChooser {
    /// Every key below the bound alike.
    Uniform(u32),
    /// By Zipf's law.
    Zipf(Zipf),
    /// One after the other, to store each key once.
    InOrder(u32),
    /// As a trace has them, from its beginning again after its end.
    Trace {
        /// All keys of the trace; not empty.
        keys: Arc<[u32]>,
        /// Position of the next key.
        next: usize,
        /// To the one after it: the number of threads that share the trace.
        step: usize,
    },
}

impl KeyChooser {
    /// Draws from `keys` keys.
    pub fn new(distribution: Distribution, keys: u32) -> KeyChooser {
        match distribution {
            Distribution::Uniform => KeyChooser::Uniform(keys),
            Distribution::Zipf { exponent } => KeyChooser::Zipf(Zipf::new(keys, exponent)),
        }
    }

    /// The next key number.
    pub fn next(&mut self, random: &mut Random) -> u32 {
        match self {
            KeyChooser::Uniform(keys) => random.below(*keys),
            KeyChooser::Zipf(zipf) => zipf.draw(random) - 1,
            KeyChooser::InOrder(next) => {
                *next += 1;
                *next - 1
            }
            KeyChooser::Trace { keys, next, step } => {
                let key = keys[*next];
                *next = (*next + *step) % keys.len();
                key
            }
        }
    }
}

/// Zipf's law by rejection-inversion (Hörmann and Derflinger, 1996): constant time and memory for any number of ranks.
#[derive(Clone, Debug)]
pub struct Zipf {
    ranks: f64,
    exponent: f64,
    /// Integral of the density at the left edge of rank 1 and at the right edge of the last rank.
    area_first: f64,
    area_last: f64,
    /// Distance within which a rank is accepted without a second look.
    squeeze: f64,
}

impl Zipf {
    /// Ranks 1 to `ranks`, which is not zero.
    pub fn new(ranks: u32, exponent: f64) -> Zipf {
        assert!(ranks > 0, "the command line refuses zero keys");
        let mut zipf =
            Zipf { ranks: f64::from(ranks), exponent, area_first: 0.0, area_last: 0.0, squeeze: 0.0 };
        zipf.area_first = zipf.area(1.5) - 1.0;
        zipf.area_last = zipf.area(zipf.ranks + 0.5);
        zipf.squeeze = 2.0 - zipf.area_inverse(zipf.area(2.5) - zipf.density(2.0));
        zipf
    }

    /// The next rank.
    pub fn draw(&self, random: &mut Random) -> u32 {
        loop {
            let area = self.area_last + random.unit() * (self.area_first - self.area_last);
            let x = self.area_inverse(area);
            let rank = x.round().clamp(1.0, self.ranks);
            if rank - x <= self.squeeze || area >= self.area(rank + 0.5) - self.density(rank) {
                return rank as u32;
            }
        }
    }

    fn density(&self, x: f64) -> f64 {
        (-self.exponent * x.ln()).exp()
    }

    /// An integral of the density: `(x^(1-s) - 1) / (1-s)`, in a form that is exact where s is 1.
    fn area(&self, x: f64) -> f64 {
        let log = x.ln();
        expm1_ratio((1.0 - self.exponent) * log) * log
    }

    fn area_inverse(&self, area: f64) -> f64 {
        let t = (area * (1.0 - self.exponent)).max(-1.0);
        (ln1p_ratio(t) * area).exp()
    }
}

/// `(e^x - 1) / x`, continued at 0.
fn expm1_ratio(x: f64) -> f64 {
    if x.abs() > 1e-8 { x.exp_m1() / x } else { 1.0 + x / 2.0 }
}

/// `ln(1 + x) / x`, continued at 0.
fn ln1p_ratio(x: f64) -> f64 {
    if x.abs() > 1e-8 { x.ln_1p() / x } else { 1.0 - x / 2.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: frequencies follow the law. Method: compare counts with expectations, within 5 standard deviations.
    #[test]
    fn zipf_follows_its_law() {
        for exponent in [0.5, 0.99, 1.0, 1.4] {
            let (ranks, draws) = (1000, 400_000);
            let zipf = Zipf::new(ranks, exponent);
            let mut random = Random::new(7);
            let mut counts = vec![0u32; ranks as usize + 1];
            for _ in 0..draws {
                counts[zipf.draw(&mut random) as usize] += 1;
            }
            assert_eq!(counts[0], 0, "rank 0 does not exist");
            let norm: f64 = (1..=ranks).map(|r| f64::from(r).powf(-exponent)).sum();
            for rank in [1, 2, 3, 10, 100, 1000] {
                let expected = f64::from(draws) * f64::from(rank).powf(-exponent) / norm;
                let off = (f64::from(counts[rank as usize]) - expected).abs();
                assert!(
                    off < 5.0 * expected.sqrt() + 1.0,
                    "s={exponent} rank={rank}: off by {off} of {expected}"
                );
            }
        }
    }

    #[test]
    fn one_rank_is_always_drawn() {
        let zipf = Zipf::new(1, 1.0);
        let mut random = Random::new(1);
        assert!((0..100).all(|_| zipf.draw(&mut random) == 1));
    }

    #[test]
    fn uniform_reaches_every_key() {
        let mut random = Random::new(3);
        let mut chooser = KeyChooser::new(Distribution::Uniform, 64);
        let mut seen = [false; 64];
        for _ in 0..2000 {
            seen[chooser.next(&mut random) as usize] = true;
        }
        assert!(seen.iter().all(|seen| *seen));
    }

    #[test]
    fn distributions_are_read() {
        assert_eq!("uniform".parse(), Ok(Distribution::Uniform));
        assert_eq!("zipf:1.0".parse(), Ok(Distribution::Zipf { exponent: 1.0 }));
        for wrong in ["zipf", "zipf:", "zipf:0", "zipf:-1", "zipf:nan", "zipf:inf", "normal"] {
            assert!(wrong.parse::<Distribution>().is_err(), "{wrong}");
        }
    }
}
