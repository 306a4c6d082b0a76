//! The nodes of a run: who is the primary, how far the others are, and whether all show the same.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ringcache_engine::Version;

use super::flips::{self, Tally};
use super::namespace::Namespace;
use super::nodes::{Node, Start};
use super::plan::{Kind, Plan};
use super::records::{Shown, recognize};
use super::talk::Talk;
use crate::admin::number;
use crate::error::BenchError;
use crate::interference::Proxy;
use crate::keys::Random;

/// The nodes.
pub struct Cluster {
    /// All of them, dead ones too.
    pub nodes: Vec<Node>,
    /// Which one is the primary.
    pub primary: usize,
    /// What is between them, where they are apart. After the nodes, which live in it.
    pub namespace: Option<Namespace>,
    /// By replica's name and shard of the primary: what the primary was last seen to know of it.
    positions: HashMap<(String, u64), Version>,
    nacks: HashMap<String, u64>,
    random: Random,
}

impl Cluster {
    /// Starts the nodes of `plan`; all follow the first one. `flips`: bits of what goes over their lines are turned.
    pub fn start(
        plan: &Plan,
        ringcached: &Path,
        folder: &Path,
        flips: Option<&Arc<Tally>>,
    ) -> Result<Cluster, BenchError> {
        let namespace = match plan.kind {
            Kind::Namespace => Some(Namespace::new(std::process::id())?),
            _ => None,
        };
        let flags = format!(
            "--replication-mode {} --sync-timeout-ms {SYNC_MILLIS} --replication-timeout-ms {}{}",
            plan.mode.name(),
            PATIENCE.as_millis(),
            if plan.compress { " --replication-compress" } else { "" }
        );
        let mut nodes: Vec<Node> = Vec::new();
        for (place, workers) in plan.workers.iter().enumerate() {
            let start = Start {
                ringcached,
                folder,
                name: format!("node{place}"),
                workers: *workers,
                flags: flags.split(' ').map(str::to_string).collect(),
                namespace: namespace.as_ref().map(|namespace| (namespace, place > 0)),
            };
            let line = match (&namespace, flips) {
                (Some(_), _) => None,
                (None, Some(flips)) => Some(Proxy::start_with("", flips::passages(flips))?),
                (None, None) => Some(Proxy::start_seeded("", plan.seed.wrapping_mul(8) + place as u64)?),
            };
            let source = nodes.first().map(Node::address).transpose()?;
            nodes.push(Node::start(start, line, source.as_deref())?);
        }
        let random = Random::new(plan.seed);
        let (positions, nacks) = Default::default();
        Ok(Cluster { nodes, primary: 0, namespace, positions, nacks, random })
    }

    /// The primary.
    pub fn primary(&mut self) -> &mut Node {
        &mut self.nodes[self.primary]
    }

    /// The places of the others.
    pub fn replicas(&self) -> Vec<usize> {
        (0..self.nodes.len()).filter(|place| *place != self.primary).collect()
    }

    /// One of them.
    pub fn any_replica(&mut self) -> usize {
        let replicas = self.replicas();
        replicas[self.random.below(replicas.len() as u32) as usize]
    }

    /// Links between nodes are harmed, or not any more.
    pub fn lines(&self) -> impl Iterator<Item = &Proxy> {
        self.nodes.iter().filter_map(|node| node.line.as_ref())
    }

    /// Takes note of what the primary says of its replicas. Returns how many of their links follow it.
    pub fn look(&mut self) -> Result<usize, BenchError> {
        let replication = self.primary().replication()?;
        let links = replication["links"].as_array().cloned().unwrap_or_default();
        for link in links.iter().filter(|link| link["link"] == "replica") {
            let text = |name: &str| link[name].as_str().unwrap_or_default().to_string();
            let position = Version(text("position").parse().unwrap_or(0));
            // A link that has just come up shows none before the first acknowledgement.
            let known = self.positions.entry((text("node"), number(link, "shard"))).or_default();
            *known = position.max(*known);
            self.nacks.insert(text("address"), number(link, "damaged_batches"));
        }
        Ok(links.iter().filter(|link| link["following"] == true).count())
    }

    /// Waits until every replica follows the primary.
    pub fn await_followed(&mut self) -> Result<(), BenchError> {
        let wanted = self.primary().workers as usize * self.replicas().len();
        let begun = Instant::now();
        while self.look()? < wanted {
            if begun.elapsed() > SETTLE_TIME_MAX {
                let what = format!("not all replicas follow after {} s", SETTLE_TIME_MAX.as_secs());
                return Err(BenchError::Violated(what));
            }
            std::thread::sleep(LOOK_PAUSE);
        }
        Ok(())
    }

    /// The replica that was seen to have most, and since when nothing of what it has not may have been acknowledged, in
    /// Unix milliseconds.
    pub fn most_advanced(&mut self) -> (usize, u64) {
        let shards = u64::from(self.primary().workers);
        let least = |place: usize| {
            let name = &self.nodes[place].identity;
            let of = |shard| self.positions.get(&(name.clone(), shard)).copied().unwrap_or_default();
            (0..shards).map(of).min().unwrap_or_default()
        };
        let best = self.replicas().into_iter().max_by_key(|place| least(*place)).expect("there is a replica");
        (best, least(best).unix_millis())
    }

    /// The node at `place` is the primary from now on.
    pub fn promote(&mut self, place: usize) -> Result<(), BenchError> {
        self.nodes[place].admin.promote()?;
        self.primary = place;
        self.positions.clear();
        Ok(())
    }

    /// Watches for a time: what nodes show must be what somebody wrote.
    pub fn linger(&mut self, time: Duration, keys: u32, wrong: &mut Vec<String>) -> Result<(), BenchError> {
        let begun = Instant::now();
        while begun.elapsed() < time {
            if self.primary().is_awake() {
                self.look()?;
            }
            let place = self.random.below(self.nodes.len() as u32) as usize;
            let node = &self.nodes[place];
            let numbers: Vec<u32> = (0..SAMPLE).map(|_| self.random.below(keys)).collect();
            if node.is_awake() {
                let shown = self.read(place, numbers.into_iter())?;
                let strange = shown.iter().filter_map(|(key, shown)| recognize(*key, shown.as_ref()).err());
                wrong.extend(strange.map(|strange| format!("node{place}: {strange}")));
            }
            std::thread::sleep(SAMPLE_PAUSE.min(time.saturating_sub(begun.elapsed())));
        }
        Ok(())
    }

    /// What the node at `place` shows under `keys`.
    pub fn read(
        &self,
        place: usize,
        keys: impl Iterator<Item = u32>,
    ) -> Result<Vec<(u32, Option<Shown>)>, BenchError> {
        let mut talk = Talk::connect(&self.nodes[place].target(), ANSWER_TIME_MAX)?;
        talk.read(keys).map_err(|source| BenchError::Died { source: Some(source) })
    }

    /// Waits until all nodes show the same, values and versions. Some: what still differs.
    pub fn await_equal(&mut self, keys: u32) -> Result<Option<String>, BenchError> {
        let begun = Instant::now();
        loop {
            let difference =
                self.replicas().into_iter().find_map(|place| self.compare(place, keys).transpose());
            match difference.transpose()? {
                None => return Ok(None),
                Some(difference) if begun.elapsed() > EQUAL_TIME_MAX => return Ok(Some(difference)),
                Some(_) => std::thread::sleep(LOOK_PAUSE),
            }
        }
    }

    /// What `ringctl verify` finds to be different, on any replica.
    pub fn verify(&mut self) -> Result<Option<String>, BenchError> {
        let address = self.primary().address()?;
        for place in self.replicas() {
            // A link that a busy machine has given up just now comes again.
            let first = self.nodes[place].admin.verify(&address);
            let verdict = match first {
                Ok(verdict) => verdict,
                Err(_) => {
                    self.await_followed()?;
                    self.nodes[place].admin.verify(&address)?
                }
            };
            if verdict["equal"] != true {
                return Ok(Some(format!("node{place} verifies: {verdict}")));
            }
        }
        Ok(None)
    }

    /// How the replica at `place` differs from the primary.
    fn compare(&self, place: usize, keys: u32) -> Result<Option<String>, BenchError> {
        let died = |source| BenchError::Died { source: Some(source) };
        let listed =
            |place: usize| Talk::connect(&self.nodes[place].target(), ANSWER_TIME_MAX)?.list().map_err(died);
        let (here, there) = (listed(self.primary)?, listed(place)?);
        let names: Vec<&String> =
            here.keys().chain(there.keys()).filter(|key| here.get(*key) != there.get(*key)).collect();
        if let Some(key) = names.first() {
            return Ok(Some(format!(
                "node{place} and the primary differ in {} keys: {key} is {:?} here and {:?} at the primary",
                names.len(),
                there.get(*key),
                here.get(*key)
            )));
        }
        let (here, there) = (self.read(self.primary, 0..keys)?, self.read(place, 0..keys)?);
        let content = |shown: &Option<Shown>| shown.as_ref().map(|shown| (shown.value.clone(), shown.flags));
        let differing =
            here.iter().zip(&there).filter(|((_, one), (_, other))| content(one) != content(other));
        let keys: Vec<u32> = differing.map(|((key, _), _)| *key).collect();
        Ok(keys.first().map(|key| format!("node{place} shows {} other values: key {key}", keys.len())))
    }

    /// Batches that were reported to be damaged, as far as they were seen.
    pub fn nacks(&self) -> u64 {
        self.nacks.values().sum()
    }

    /// Full copies of all nodes so far, by cause, and links that were resumed.
    pub fn told(&self) -> (BTreeMap<String, u64>, u64) {
        let mut copies = BTreeMap::<String, u64>::new();
        let mut resumes = 0;
        for told in self.nodes.iter().map(Node::log) {
            told.full_copies()
                .into_iter()
                .for_each(|(cause, count)| *copies.entry(cause).or_default() += count);
            resumes += told.resumes();
        }
        (copies, resumes)
    }
}

/// `--replication-timeout-ms`.
pub const PATIENCE: Duration = Duration::from_millis(400);
/// `--sync-timeout-ms`.
pub const SYNC_MILLIS: u64 = 300;
const ANSWER_TIME_MAX: Duration = Duration::from_secs(8);
/// Links pause for two seconds at most before they come again.
const SETTLE_TIME_MAX: Duration = Duration::from_secs(20);
const EQUAL_TIME_MAX: Duration = Duration::from_secs(10);
const LOOK_PAUSE: Duration = Duration::from_millis(10);
const SAMPLE: u32 = 20;
const SAMPLE_PAUSE: Duration = Duration::from_millis(25);
