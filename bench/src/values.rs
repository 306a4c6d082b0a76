//! Values: how long each key's is, and bytes that show which key and version they belong to.

use std::io::Write;
use std::str::FromStr;
use std::sync::Arc;

use crate::clusters::Cluster;
use crate::keys::Random;
use crate::sizes::standard_normal;

/// Lengths of the values, as given on the command line.
#[derive(Clone, Debug, PartialEq)]
pub enum ValueBytes {
    /// Of every value.
    Fixed(usize),
    /// Log-normal.
    LogNormal {
        /// Of all values.
        mean: f64,
        /// Of the logarithm.
        sigma: f64,
    },
    /// As in a Twitter cluster.
    Cluster(Cluster),
    /// What the trace says of each key.
    Trace,
}

impl FromStr for ValueBytes {
    type Err = String;

    fn from_str(text: &str) -> Result<ValueBytes, String> {
        let (kind, rest) = text.split_once(':').unwrap_or((text, ""));
        match kind {
            "trace" if rest.is_empty() => Ok(ValueBytes::Trace),
            "cluster" => {
                let number = rest.parse().map_err(|_| format!("{rest} is not the number of a cluster"))?;
                Cluster::find(number).map(ValueBytes::Cluster)
            }
            "log-normal" => log_normal(rest),
            _ => match text.parse() {
                Ok(bytes) if bytes <= VALUE_BYTES_MAX => Ok(ValueBytes::Fixed(bytes)),
                Ok(_) => Err(format!("a value has at most {VALUE_BYTES_MAX} bytes")),
                Err(_) => Err("use BYTES, log-normal:MEAN[:SIGMA], cluster:NUMBER or trace".to_string()),
            },
        }
    }
}

fn log_normal(text: &str) -> Result<ValueBytes, String> {
    let (mean, sigma) = text.split_once(':').unwrap_or((text, "1"));
    let number = |text: &str| text.parse::<f64>().map_err(|_| format!("{text} is not a number"));
    let (mean, sigma) = (number(mean)?, number(sigma)?);
    if !(1.0..=VALUE_BYTES_MAX as f64).contains(&mean) {
        return Err(format!("the mean of the values is 1 to {VALUE_BYTES_MAX} bytes"));
    }
    if !(0.0..=SIGMA_MAX).contains(&sigma) {
        return Err(format!("sigma is 0 to {SIGMA_MAX}"));
    }
    Ok(ValueBytes::LogNormal { mean, sigma })
}

/// The length of each key's value; the same whenever the key is stored, so that a reply's length is known beforehand.
/// Cheap to clone.
#[derive(Clone, Debug)]
pub struct Sizes {
    /// Of key `k` at `k % len`.
    table: Arc<[u32]>,
    largest: usize,
}

impl Sizes {
    /// Every value has `bytes`.
    pub fn fixed(bytes: usize) -> Sizes {
        Sizes::from_table(vec![u32::try_from(bytes).expect("values stay below 1 GiB")])
    }

    /// By the command line, each at least `least` bytes; for `Trace` the sizes of its keys.
    pub fn new(value_bytes: &ValueBytes, of_trace: &[u32], least: usize) -> Sizes {
        let mut table: Vec<u32> = match value_bytes {
            ValueBytes::Fixed(bytes) => return Sizes::fixed(*bytes),
            ValueBytes::LogNormal { mean, sigma } => {
                let median = mean * (-sigma * sigma / 2.0).exp();
                let bytes = |key: u32| median * (sigma * standard_normal(u64::from(key))).exp();
                (0..SAMPLES).map(|key| (bytes(key).round() as u32).clamp(1, VALUE_BYTES_MAX as u32)).collect()
            }
            ValueBytes::Cluster(cluster) => (0..SAMPLES).map(|key| cluster.value_bytes(key) as u32).collect(),
            ValueBytes::Trace => of_trace.to_vec(),
        };
        let least = u32::try_from(least).expect("a small constant");
        table.iter_mut().for_each(|bytes| *bytes = (*bytes).max(least));
        Sizes::from_table(table)
    }

    fn from_table(table: Vec<u32>) -> Sizes {
        let largest = table.iter().max().copied().expect("a table has at least one size") as usize;
        Sizes { table: table.into(), largest }
    }

    /// Length of this key's value.
    pub fn of(&self, key: u32) -> usize {
        let size = match &*self.table {
            [only] => *only,
            table => table[key as usize % table.len()],
        };
        size as usize
    }

    /// Length of the longest value.
    pub fn largest(&self) -> usize {
        self.largest
    }

    /// Length of the shortest.
    pub fn smallest(&self) -> usize {
        self.table.iter().min().copied().unwrap_or(0) as usize
    }
}

/// Whether `data` is a value that `fill_value` made for this key, of any version.
pub fn is_value_of(key: u32, data: &[u8], scratch: &mut Vec<u8>) -> bool {
    let Some(Ok(version)) = data.get(8..16).map(std::str::from_utf8) else { return false };
    let Ok(version) = u32::from_str_radix(version, 16) else { return false };
    scratch.resize(data.len(), 0);
    fill_value(scratch, key, version);
    scratch == data
}

/// Fills a verified value of at least [`VERIFIED_BYTES_MIN`]: key number and version in 8 hex digits each, then bytes that
/// depend on both. Every byte value occurs, line ends too.
pub fn fill_value(value: &mut [u8], key: u32, version: u32) {
    let (mut head, rest) = value.split_at_mut(VERIFIED_BYTES_MIN);
    write!(head, "{key:08x}{version:08x}").expect("the head has room for 16 digits");
    let mut random = Random::new(u64::from(key) << 32 | u64::from(version));
    for chunk in rest.chunks_mut(8) {
        chunk.copy_from_slice(&random.bits().to_le_bytes()[..chunk.len()]);
    }
}

/// Shorter values have no room for key number and version.
pub const VERIFIED_BYTES_MIN: usize = 16;
/// The largest record that a server of this protocol can be told to take (`-I`).
const VALUE_BYTES_MAX: usize = 1 << 30;
const SIGMA_MAX: f64 = 4.0;
/// Different sizes drawn from a distribution. Their mean strays from the asked one by about half a percent, and the table
/// still fits the caches.
const SAMPLES: u32 = 1 << 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_byte_is_seen() {
        let (mut value, mut scratch) = (vec![0; 100], Vec::new());
        fill_value(&mut value, 12, 9);
        assert!(is_value_of(12, &value, &mut scratch));
        assert!(!is_value_of(13, &value, &mut scratch), "another key's value");
        for position in 0..value.len() {
            let mut changed = value.clone();
            changed[position] ^= 1;
            assert!(!is_value_of(12, &changed, &mut scratch), "byte {position}");
        }
        assert!(!is_value_of(12, b"short", &mut scratch));
    }

    #[test]
    fn lengths_are_read() {
        assert_eq!("100".parse(), Ok(ValueBytes::Fixed(100)));
        assert_eq!("log-normal:200".parse(), Ok(ValueBytes::LogNormal { mean: 200.0, sigma: 1.0 }));
        assert_eq!("log-normal:200:0.5".parse(), Ok(ValueBytes::LogNormal { mean: 200.0, sigma: 0.5 }));
        assert!(matches!("cluster:4".parse(), Ok(ValueBytes::Cluster(_))));
        for wrong in
            ["", "x", "-1", "2000000000", "log-normal:0", "log-normal:9:nan", "cluster:5", "cluster:x"]
        {
            assert!(wrong.parse::<ValueBytes>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn lengths_have_their_mean_and_belong_to_their_keys() {
        let sizes = Sizes::new(&"log-normal:1000".parse().unwrap(), &[], 1);
        let keys = 1_000_000;
        let mean = (0..keys).map(|key| sizes.of(key) as f64).sum::<f64>() / f64::from(keys);
        assert!((980.0..1020.0).contains(&mean), "{mean}");
        assert!((0..1000).all(|key| sizes.of(key) == sizes.of(key) && sizes.of(key) <= sizes.largest()));
        assert_eq!(Sizes::new(&ValueBytes::Trace, &[7, 90], 16).of(0), 16, "the least");
        assert_eq!(Sizes::fixed(5).of(9), 5);
    }
}
