//! Sizes that belong to a key: always the same for the same key, distributed over all keys as asked.

use std::f64::consts::TAU;

use crate::keys::Random;

/// A number of the standard normal distribution that is a function of `seed` (Box and Muller's transform).
pub fn standard_normal(seed: u64) -> f64 {
    // Neighbouring seeds begin neighbouring sequences; one more round sets them apart.
    let mut random = Random::new(Random::new(seed).bits());
    let (radius, angle) = (1.0 - random.unit(), random.unit());
    (-2.0 * radius.ln()).sqrt() * (angle * TAU).cos()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normal_numbers_have_mean_0_and_deviation_1() {
        let count = 100_000;
        let numbers: Vec<f64> = (0..count).map(standard_normal).collect();
        let mean = numbers.iter().sum::<f64>() / count as f64;
        let variance = numbers.iter().map(|number| (number - mean).powi(2)).sum::<f64>() / count as f64;
        assert!(mean.abs() < 0.02 && (variance - 1.0).abs() < 0.03, "{mean} {variance}");
        assert!(numbers.iter().all(|number| number.is_finite()));
        assert_eq!(standard_normal(5), standard_normal(5));
    }
}
