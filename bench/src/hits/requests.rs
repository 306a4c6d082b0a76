//! What is replayed: a trace from a file, or the generated requests of a cluster, as a list in memory.
//!
//! ```text
//! *.u32.gz       one little-endian u32 per request: the key's number
//! *.u32size.gz   two: the key's number, and the bytes of its value
//! ```
//!
//! Without sizes, each key gets a log-normal size (sigma 1) from a hash of its number, scaled so that the distinct data of
//! the replayed part has the footprint asked for, and cut to 30 to 500,000 bytes.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Read, Write};
use std::path::Path;

use flate2::read::MultiGzDecoder;

use crate::clusters::{Asked, Cluster};
use crate::error::BenchError;
use crate::sizes::standard_normal;

/// What one request does. A trace only gets; whatever else writes a cluster's key is a set here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// get, and a set where it missed.
    Get,
    /// set
    Set,
    /// delete
    Delete,
}

/// One request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// The key's number.
    pub key: u32,
    /// Length of its value.
    pub value_bytes: u32,
    /// 0 for none.
    pub ttl_seconds: u32,
    /// What is asked.
    pub action: Action,
}

/// A list of requests, ready to replay as often as needed.
#[derive(Clone, Debug)]
pub struct Replay {
    /// Of the file, or of the cluster.
    pub name: String,
    /// In order.
    pub requests: Vec<Request>,
    /// Requests per second in the trace's own time, where times to live give that a meaning.
    pub rate: Option<f64>,
    cluster: Option<Cluster>,
}

impl Replay {
    /// The first `requests_max` requests of a file. `footprint_bytes` scales sizes where the trace has none.
    pub fn from_file(path: &Path, requests_max: usize, footprint_bytes: u64) -> Result<Replay, BenchError> {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let unreadable = |reason: String| BenchError::Trace { path: path.to_path_buf(), reason };
        let words_per_request = match &name {
            name if name.ends_with(".u32.gz") => 1,
            name if name.ends_with(".u32size.gz") => 2,
            _ => return Err(unreadable("the name ends neither in .u32.gz nor in .u32size.gz".to_string())),
        };
        let file = File::open(path).map_err(|error| unreadable(error.to_string()))?;
        let words = read_words(BufReader::new(file), words_per_request, requests_max).map_err(unreadable)?;
        let requests = match words_per_request {
            1 => with_sizes_of_their_own(&words, footprint_bytes),
            _ => words.chunks_exact(2).map(|pair| Request::get(pair[0], pair[1])).collect(),
        };
        Ok(Replay { name, requests, rate: None, cluster: None })
    }

    /// `count` generated requests of a cluster over `keys` keys.
    pub fn from_cluster(cluster: Cluster, keys: u32, count: usize) -> Replay {
        let requests = cluster.requests(keys, SEED).take(count).map(|(key, asked)| Request {
            key,
            value_bytes: cluster.value_bytes(key) as u32,
            ttl_seconds: cluster.ttl_seconds(key),
            action: match asked {
                Asked::Get | Asked::Gets => Action::Get,
                Asked::Delete => Action::Delete,
                Asked::Set | Asked::Add | Asked::Cas | Asked::Prepend | Asked::Incr => Action::Set,
            },
        });
        let name = format!("cluster{}", cluster.number);
        Replay { name, requests: requests.collect(), rate: Some(cluster.rate), cluster: Some(cluster) }
    }

    /// Appends the bytes of a key.
    pub fn append_key(&self, key: u32, out: &mut Vec<u8>) {
        match &self.cluster {
            Some(cluster) => cluster.append_key(key, out),
            None => write!(out, "trace:key:{key}").expect("a vector takes every write"),
        }
    }

    /// How many key numbers there are, and the length of each key's value; an error where a number is too high for such a
    /// list.
    pub fn sizes_by_key(&self) -> Result<(u32, Vec<u32>), BenchError> {
        let highest = self.requests.iter().map(|request| request.key).max().unwrap_or(0);
        if highest >= KEYS_MAX {
            return Err(BenchError::Usage(format!("{} has key numbers of {KEYS_MAX} and more", self.name)));
        }
        let mut sizes = vec![0; highest as usize + 1];
        for request in &self.requests {
            sizes[request.key as usize] = request.value_bytes;
        }
        Ok((highest + 1, sizes))
    }

    /// Distinct keys, and the bytes of their values.
    pub fn footprint(&self) -> (u64, u64) {
        let mut sizes = HashMap::new();
        for request in &self.requests {
            sizes.insert(request.key, request.value_bytes);
        }
        (sizes.len() as u64, sizes.values().map(|bytes| u64::from(*bytes)).sum())
    }
}

impl Request {
    fn get(key: u32, value_bytes: u32) -> Request {
        Request { key, value_bytes, ttl_seconds: 0, action: Action::Get }
    }
}

/// The words of up to `requests_max` requests; the reason where the bytes are no trace.
fn read_words(packed: impl Read, words_per_request: usize, requests_max: usize) -> Result<Vec<u32>, String> {
    let bytes_max = (requests_max.saturating_mul(words_per_request * 4)) as u64;
    let mut bytes = Vec::new();
    MultiGzDecoder::new(packed).take(bytes_max).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    let left = bytes.len() % (words_per_request * 4);
    if left != 0 {
        return Err(format!("it ends {left} bytes into a request of {} bytes", words_per_request * 4));
    }
    if bytes.is_empty() {
        return Err("it holds no request".to_string());
    }
    Ok(bytes.chunks_exact(4).map(|word| u32::from_le_bytes(word.try_into().expect("four bytes"))).collect())
}

fn with_sizes_of_their_own(keys: &[u32], footprint_bytes: u64) -> Vec<Request> {
    let mut sizes: HashMap<u32, f64> = HashMap::new();
    for key in keys {
        sizes.entry(*key).or_insert_with(|| standard_normal(u64::from(*key)).exp());
    }
    let scale = footprint_bytes as f64 / sizes.values().sum::<f64>();
    let bytes = |key: &u32| (sizes[key] * scale).clamp(SIZE_MIN, SIZE_MAX) as u32;
    keys.iter().map(|key| Request::get(*key, bytes(key))).collect()
}

/// Of a list with a place for each; far more than any trace here has.
const KEYS_MAX: u32 = 100_000_000;
const SIZE_MIN: f64 = 30.0;
const SIZE_MAX: f64 = 500_000.0;
/// Every run of a cluster replays the same requests.
const SEED: u64 = 1;

#[cfg(test)]
mod tests {
    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn packed(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn words_are_read_up_to_the_number_asked_for() {
        let bytes: Vec<u8> = [1u32, 100, 2, 200].iter().flat_map(|word| word.to_le_bytes()).collect();
        let packed = packed(&bytes);
        assert_eq!(read_words(&packed[..], 1, 10), Ok(vec![1, 100, 2, 200]));
        assert_eq!(read_words(&packed[..], 2, 1), Ok(vec![1, 100]));
    }

    #[test]
    fn what_is_no_trace_is_refused() {
        let whole = packed(&[7; 4096]);
        assert!(read_words(&whole[..whole.len() - 4], 1, usize::MAX).is_err(), "cut off");
        assert!(read_words(&b"no gzip at all"[..], 1, 10).is_err());
        assert!(read_words(&packed(&[1, 2, 3])[..], 1, 10).is_err(), "no whole word");
        assert!(read_words(&packed(&[0; 12])[..], 2, 10).is_err(), "half a request");
        assert!(read_words(&packed(&[])[..], 1, 10).is_err(), "nothing");
        let mut garbled = whole.clone();
        let middle = whole.len() / 2;
        garbled[middle] ^= 0xff;
        assert!(read_words(&garbled[..], 1, usize::MAX).is_err(), "a flipped byte");
        let error = Replay::from_file(Path::new("missing.u32.gz"), 10, 1).unwrap_err();
        assert!(matches!(error, BenchError::Trace { .. }) && error.exit_code() == 2);
        assert!(Replay::from_file(Path::new("trace.csv"), 10, 1).is_err());
    }

    #[test]
    fn sizes_belong_to_keys_and_sum_to_the_footprint() {
        let keys: Vec<u32> = (0..20_000).map(|n| n % 10_000).collect();
        let requests = with_sizes_of_their_own(&keys, 10_000 * 1000);
        assert_eq!(requests[..10_000], requests[10_000..]);
        let sum: u64 = requests[..10_000].iter().map(|request| u64::from(request.value_bytes)).sum();
        assert!((9_950_000..=10_000_000).contains(&sum), "{sum}");
        assert!(requests.iter().all(|request| (30..=500_000).contains(&request.value_bytes)));
    }

    #[test]
    fn a_cluster_is_replayed_with_its_keys_sizes_and_times() {
        let cluster = Cluster::find(26).unwrap();
        let replay = Replay::from_cluster(cluster.clone(), 1000, 5000);
        assert_eq!(replay.requests.len(), 5000);
        for request in &replay.requests {
            assert_eq!(request.value_bytes as usize, cluster.value_bytes(request.key));
            assert_eq!(request.ttl_seconds, cluster.ttl_seconds(request.key));
        }
        let mut key = Vec::new();
        replay.append_key(5, &mut key);
        assert_eq!(key.len(), cluster.key_bytes);
        let (keys, bytes) = replay.footprint();
        assert!(keys <= 1000 && bytes > keys);
    }
}
