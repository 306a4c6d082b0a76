//! Requests like those of Twitter's cache clusters, generated from the published figures of each: key and value sizes,
//! mix of operations, times to live, popularity (Yang et al., "A large scale analysis of hundreds of in-memory cache
//! clusters at Twitter", OSDI'20, and the table that goes with its traces).
//!
//! The table gives means. Around them: values are log-normal with a sigma of 1, keys all have the mean length, and
//! both value size and time to live belong to the key, so that a key stored again is what it was. Keys are drawn
//! independently by Zipf's law, so what a real trace has of bursts and of drifting popularity is not in here.

use std::io::Write;

use crate::keys::{Random, Zipf};
use crate::sizes::standard_normal;

/// What a request of a cluster does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// get
    Get,
    /// get with the CAS unique
    Gets,
    /// set
    Set,
    /// add
    Add,
    /// cas
    Cas,
    /// prepend
    Prepend,
    /// incr
    Incr,
    /// delete
    Delete,
}

/// One cluster of the table.
#[derive(Clone, Debug, PartialEq)]
pub struct Cluster {
    /// Its number in the table.
    pub number: u32,
    /// Length of every key.
    pub key_bytes: usize,
    /// Mean length of a value.
    pub value_bytes_mean: f64,
    /// Requests per second of one of its servers.
    pub rate: f64,
    /// Exponent of Zipf's law; 0 is uniform.
    pub exponent: f64,
    /// Operations with their shares; not all sum to 100.
    pub operations: Vec<(Asked, u32)>,
    /// Times to live in seconds with their shares.
    pub ttls: Vec<(u32, u32)>,
}

impl Cluster {
    /// The cluster of this number, or why there is none.
    pub fn find(number: u32) -> Result<Cluster, String> {
        let rows = TABLE.lines().map(|line| parse(line).expect("the table is a constant, and tested"));
        rows.into_iter()
            .find(|cluster| cluster.number == number)
            .ok_or_else(|| format!("there are no figures of cluster {number}"))
    }

    /// Length of a key's value: log-normal around the mean, the same for the same key, 1 byte to what any server takes.
    pub fn value_bytes(&self, key: u32) -> usize {
        let median = self.value_bytes_mean * (-0.5f64).exp();
        let bytes = median * standard_normal(u64::from(key) ^ SIZE_SEED).exp();
        (bytes as usize).clamp(1, VALUE_BYTES_MAX)
    }

    /// Time to live of a key's value.
    pub fn ttl_seconds(&self, key: u32) -> u32 {
        *weighted(&self.ttls, &mut Random::new(u64::from(key) ^ TTL_SEED))
    }

    /// Appends the key's bytes: its number, filled up to the length. Numbers too long for it keep all their digits.
    pub fn append_key(&self, key: u32, out: &mut Vec<u8>) {
        let digits = self.key_bytes.saturating_sub(KEY_PREFIX.len());
        write!(out, "{KEY_PREFIX}{key:0digits$}").expect("a vector takes every write");
    }

    /// An endless sequence of requests over `keys` keys, the same for the same seed.
    pub fn requests(&self, keys: u32, seed: u64) -> ClusterRequests {
        ClusterRequests {
            random: Random::new(seed),
            zipf: Zipf::new(keys, self.exponent),
            operations: self.operations.clone(),
        }
    }
}

/// See [`Cluster::requests`]. Key 0 is the most popular.
#[derive(Clone, Debug)]
pub struct ClusterRequests {
    random: Random,
    zipf: Zipf,
    operations: Vec<(Asked, u32)>,
}

impl Iterator for ClusterRequests {
    type Item = (u32, Asked);

    fn next(&mut self) -> Option<(u32, Asked)> {
        let key = self.zipf.draw(&mut self.random) - 1;
        Some((key, *weighted(&self.operations, &mut self.random)))
    }
}

/// One of some alternatives, each with its weight.
fn weighted<'a, T>(alternatives: &'a [(T, u32)], random: &mut Random) -> &'a T {
    let sum = alternatives.iter().map(|(_, weight)| weight).sum();
    let mut left = random.below(sum);
    for (alternative, weight) in alternatives {
        if left < *weight {
            return alternative;
        }
        left -= weight;
    }
    unreachable!("what is drawn is below the sum of the weights")
}

/// `number key value requests/s exponent operations ttls`; nothing where a field is missing or wrong.
fn parse(line: &str) -> Option<Cluster> {
    let mut fields = line.split_ascii_whitespace();
    let cluster = Cluster {
        number: fields.next()?.parse().ok()?,
        key_bytes: fields.next()?.parse().ok()?,
        value_bytes_mean: fields.next()?.parse().ok()?,
        rate: fields.next()?.parse().ok()?,
        exponent: fields.next()?.parse().ok()?,
        operations: shares(fields.next()?, asked)?,
        ttls: shares(fields.next()?, |ttl| ttl.parse().ok())?,
    };
    fields.next().is_none().then_some(cluster)
}

/// `what:share,...`
fn shares<T>(text: &str, read: impl Fn(&str) -> Option<T>) -> Option<Vec<(T, u32)>> {
    let mut shares = Vec::new();
    for part in text.split(',') {
        let (what, share) = part.split_once(':')?;
        shares.push((read(what)?, share.parse().ok()?));
    }
    Some(shares)
}

fn asked(name: &str) -> Option<Asked> {
    Some(match name {
        "get" => Asked::Get,
        "gets" => Asked::Gets,
        "set" => Asked::Set,
        "add" => Asked::Add,
        "cas" => Asked::Cas,
        "prepend" => Asked::Prepend,
        "incr" => Asked::Incr,
        "delete" => Asked::Delete,
        _ => return None,
    })
}

const KEY_PREFIX: &str = "k";
/// Below `-I` of a server that was started without it.
const VALUE_BYTES_MAX: usize = 1_000_000;
const SIZE_SEED: u64 = 0x51CE << 32;
const TTL_SEED: u64 = 0x771 << 32;

/// Number, bytes of a key, bytes of a value, requests per second, exponent of Zipf's law, operations in percent, times to
/// live (seconds:percent). Clusters without an exponent are left out.
const TABLE: &str = "\
1  80   267 11400 2.6774 get:99 240:100
2  21    68 12150 1.4908 get:100 345600:59,172800:41
3  19   120  1360 1.6414 get:99 604800:100
4  67  2439  5260 1.1004 get:93,set:7 60:39,300:24,3600:13,600:12,14400:9,86400:3
6  44   252 12610  1.882 get:98,set:2 520:3,510:3,490:3,590:3,540:3,550:3,570:2,500:2,580:2,596:2
7  17  1936  1620 1.0666 get:82,set:18 6480:28,6120:24,6840:23,5760:13,7200:12
8  23  9497  2110 1.7366 set:50,get:50 1380:95,1379:5
9  32    39 18830 1.6796 get:99 7200:79,5040:2,3960:2,6840:2,5760:2,4320:2,6480:2,5400:2,6120:2,4680:2
10  22  2333   220      0 add:50,get:50 7200:100
11  24   170  4160 1.4891 get:96,add:2,gets:1,cas:1 432000:97,20:3
12  44  1030  4360 0.3048 set:80,get:20 300:98,299:2
13  44  4266  1340 0.4565 get:38,set:62 300:97,299:3
14  96   414  5810 1.2959 get:65,delete:22,set:13 86400:100
15  18   102  9020 0.0242 set:100 30:100
16  18   115 17510 1.7862 get:93,set:4,add:1 3600:99
17  19   212   350 2.1106 get:99 432000:100
18  18    37 26400 2.0994 get:96,add:1,gets:1,cas:1 43200:100
19  42   101  3310  0.735 get:75,set:25 27000:8,26640:7,23760:7,25920:7,24120:7,25200:7,25560:7,24480:7,24840:7,26280:6
20  26    55  5630 1.3699 get:96,add:3 432000:99
21  25     1  2180 0.0521 add:100 7920:62,10:23,900:14
22  54     4  3240 0.7624 get:72,incr:18,set:10 86400:85,3600:11,1800:3
23  35   224  8690  0.274 set:31,get:36,incr:30,delete:2 120:93,2700:5,5:3
24  32   699  5290 1.3726 get:99 1209600:71,60:19,2592000:3,86400:2,3600:2
25  49    28 18970 0.9929 get:95,add:2,gets:2,cas:2 2592000:99
26 122  1745   250 0.6299 get:71,set:29 60:67,120:10,360:9,600:6,660:3,180:2
27  66     8 24550  1.065 get:85,set:15 8000640:28,86400:25,3600:20,14400:18,21600:6,43200:2
28  45    85  9050  1.503 get:91,set:3,add:3 10800:56,103680:43
29  36   799 10730 1.2323 get:86,set:13 3600:67,7200:33
30  22   689  3850 1.4259 get:99 43200:36,36720:4,42480:4,34920:3,38160:3,41400:3,39600:3,40680:3,42120:3,42840:3
31  41    15  2520      0 set:94,get:6 60:100
32  41   138  7350      0 set:98,get:2 60:100
33  24  1118 10530  1.354 get:99,set:1 38520:5,40320:5,42120:4,41760:4,41400:4,39240:4,40680:4,38160:4,35280:4,39960:4
34  33   322  3400 1.1401 get:94,set:6 38160:4,37800:4,39960:4,35280:4,40320:4,38520:4,34920:4,36000:4,36360:3,37440:3
35  19  1796  3060      0 get:96,set:4 60:100
36  23    78  9080 1.2169 get:93,add:4,gets:1,cas:1 2592000:100
37  72 20134  4150 0.4251 set:37,get:63 20:91,300:6,7200:2,600:1
38  41   185  2520      0 set:94,get:6 60:100
39  41    80  2520      0 set:94,get:6 60:100
40  44   155  6260 0.8551 set:50,get:50 28800:95,86400:5
41  44   171  5180 0.8542 get:50,set:50 28800:95,86400:5
42  40  4703  6840 1.5974 get:96,add:4 600:82,300:16,21600:2
44  25    22  9410 1.4084 get:98,add:1 2592000:100
45  10   120   330 0.6372 add:15,get:85 1296000:100
47  44   267  9540 2.0637 get:100 172800:100
48  44    70  1840 0.8191 set:35,get:65 86400:100
49  44 10658  1250 1.5095 set:43,get:57 86400:100
50  18 67485   240 1.2816 get:52,set:48 900:73,1200:24,1199:3
51  44   221 10400 1.9745 get:90,set:10 172800:100
52  20   273 24250 1.2117 get:91,add:4,gets:2,cas:2 86400:65,1209600:27,43200:7
53  36  9213  1380 1.2061 get:89,set:3,prepend:9 2592000:66,1814400:34
54  19   246   650  1.611 get:97,set:3 13680:13,11880:13,12240:13,14040:12,12600:12,12960:12,13320:11,14400:7,11520:6";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_of_the_table_is_read() {
        let clusters: Vec<Cluster> = TABLE.lines().map(|line| parse(line).expect(line)).collect();
        assert_eq!(clusters.len(), 51);
        for cluster in &clusters {
            assert_eq!(Cluster::find(cluster.number).as_ref(), Ok(cluster));
            assert!(cluster.key_bytes <= 250 && cluster.rate > 0.0);
        }
        assert!(Cluster::find(5).is_err() && Cluster::find(55).is_err());
        for wrong in
            ["", "1 2 3 4 5 get:1", "1 2 3 4 5 get:1 1:1 x", "1 2 3 4 5 got:1 1:1", "1 2 3 4 5 get 1:1"]
        {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_requests() {
        let cluster = Cluster::find(4).unwrap();
        let draw = |seed| cluster.requests(10_000, seed).take(1000).collect::<Vec<_>>();
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
    }

    /// The sample's mean of a log-normal with sigma 1 strays by about 0.3 % with 200,000 keys.
    #[test]
    fn sizes_times_and_operations_have_the_means_of_the_table() {
        let cluster = Cluster::find(4).unwrap();
        let keys = 200_000;
        let mean = (0..keys).map(|key| cluster.value_bytes(key) as f64).sum::<f64>() / f64::from(keys);
        assert!((mean / cluster.value_bytes_mean - 1.0).abs() < 0.02, "{mean}");
        let short = (0..keys).filter(|key| cluster.ttl_seconds(*key) == 60).count() as f64;
        assert!((short / f64::from(keys) - 0.39).abs() < 0.01, "{short}");
        let requests = cluster.requests(keys, 7).take(100_000);
        let sets = requests.filter(|(_, asked)| *asked == Asked::Set).count();
        assert!((6_600..7_400).contains(&sets), "{sets}");
    }

    #[test]
    fn an_exponent_of_zero_is_uniform() {
        let cluster = Cluster::find(35).unwrap();
        let mut counts = [0u32; 100];
        cluster.requests(100, 3).take(100_000).for_each(|(key, _)| counts[key as usize] += 1);
        assert!(counts.iter().all(|count| (800..1200).contains(count)), "{counts:?}");
    }

    #[test]
    fn keys_have_their_length() {
        let cluster = Cluster::find(45).unwrap();
        let key = |key| {
            let mut out = Vec::new();
            cluster.append_key(key, &mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(key(7), "k000000007");
        assert_eq!(key(u32::MAX), "k4294967295");
    }
}
