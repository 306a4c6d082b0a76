//! One seed: nodes, their network, clients and what goes wrong, in virtual time.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Duration;

use ringcache_engine::{Now, Version};
use ringcache_net::replication::held::Quorum;

use crate::clients::Issued;
use crate::faults::Wish;
use crate::judge::Judge;
use crate::network::{Network, mix};
use crate::node::{Node, PATIENCE, Plan};
use crate::random::Random;
use crate::tally::Tally;

pub const START_MILLIS: u64 = 1_800_000_000_000;
/// Steps in which things go wrong.
const STEPS: u32 = 100;
/// Steps after which copies must be equal.
const HEALING_STEPS: u32 = 2_000;
/// What went wrong before has no more consequences when nothing went wrong for so long.
const CONSEQUENCES: Duration = PATIENCE.saturating_mul(3);

/// What came of a seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    pub tally: Tally,
    /// Of everything that was sent and answered, in order.
    pub trace: u64,
}

pub struct World {
    pub random: Random,
    pub nodes: Vec<Node>,
    pub primary: usize,
    pub network: Network,
    pub at: Duration,
    pub quorum: Quorum,
    pub keys: u64,
    pub judge: Judge,
    pub issued: Vec<Issued>,
    /// Where the primary's shards stood when it became one.
    pub began_at: Vec<Version>,
    /// By node.
    pub wishes: Vec<Option<Wish>>,
    pub report: Report,
    /// What has happened, where somebody wants to read it.
    story: Option<Vec<String>>,
}

/// Runs a seed. What happened is left in `story`.
pub fn run(seed: u64, story: Option<&mut Vec<String>>) -> Report {
    let mut world = World::new(seed, story.is_some());
    let result = catch_unwind(AssertUnwindSafe(|| world.live()));
    if let Some(story) = story {
        *story = world.story.take().expect("it was asked for");
    }
    if let Err(panic) = result {
        resume_unwind(panic);
    }
    world.report
}

impl World {
    fn new(seed: u64, tells: bool) -> Self {
        let mut random = Random(seed.wrapping_mul(0x2545_f491_4f6c_dd1d) ^ 0x5eed);
        let count = 2 + random.below(3) as usize;
        let evicts = random.one_in(5);
        let quorum = match random.below(4) {
            0 | 1 => Quorum::Some(1),
            2 => Quorum::All,
            _ => Quorum::None,
        };
        let compress = random.one_in(2);
        let window_bytes = [2 << 10, 16 << 10, 1 << 20][random.below(3) as usize];
        let plan = |place, random: &mut Random| {
            let shards = 1 + random.below(3) as u16;
            let per_shard = if evicts { 96 << 10 } else { 1 << 20 };
            Plan {
                place,
                shards,
                memory_bytes: u64::from(shards) * per_shard,
                quorum,
                window_bytes,
                compress,
            }
        };
        let plans: Vec<Plan> = (0..count).map(|place| plan(place, &mut random)).collect();
        let source = |place| if place == 0 { None } else { Some(0) };
        let nodes = plans.iter().map(|plan| Node::start(*plan, source(plan.place), &mut random)).collect();
        Self {
            nodes,
            primary: 0,
            network: Network::new(random.next()),
            at: Duration::from_secs(1),
            quorum,
            keys: if evicts { 300 } else { 40 },
            judge: Judge::new(evicts),
            issued: Vec::new(),
            began_at: vec![Version(1); usize::from(plans[0].shards)],
            wishes: (0..count).map(|_| None).collect(),
            report: Report { tally: Tally::default(), trace: seed },
            story: tells.then(Vec::new),
            random,
        }
    }

    pub fn tell(&mut self, line: impl FnOnce() -> String) {
        if let Some(story) = &mut self.story {
            story.push(format!("{:>9.3} {}", self.at.as_secs_f64(), line()));
        }
    }

    pub fn wall(&self) -> u64 {
        START_MILLIS + self.at.as_millis() as u64
    }

    fn live(&mut self) {
        let (count, quorum, primary) = (self.nodes.len(), self.quorum, self.nodes[0].plan);
        self.tell(|| format!("{count} nodes, {quorum:?}, {primary:?}"));
        for _ in 0..STEPS {
            let pause = [1, 1, 2, 5, 30][self.random.below(5) as usize];
            self.step(Duration::from_millis(pause));
            if self.random.one_in(10) {
                self.go_wrong();
            }
            for _ in 0..self.random.below(6) {
                self.write();
            }
        }
        self.heal();
        let Self { network, report, nodes, .. } = self;
        report.tally.add(&network.tally);
        nodes.iter().for_each(|node| node.report(&mut report.tally));
        report.trace = mix(report.trace, network.trace);
    }

    /// Time passes, and every node that does not stand still has a turn.
    pub fn step(&mut self, pause: Duration) {
        self.at += pause;
        let (wall, at) = (self.wall(), self.at);
        let mut arrivals = Vec::new();
        for node in &mut self.nodes {
            if node.paused <= at {
                node.turn(node.moment(wall, at), &mut self.network, &mut arrivals);
            }
        }
        for (to, end) in arrivals {
            self.nodes[to].accept(end, at);
        }
        self.tell_notes();
        self.hear_answers();
        self.hear_wishes();
    }

    fn tell_notes(&mut self) {
        for place in 0..self.nodes.len() {
            for worker in 0..self.nodes[place].workers.len() {
                for note in std::mem::take(&mut self.nodes[place].workers[worker].notes) {
                    self.tell(|| format!("node {place} worker {worker} {note}"));
                }
            }
        }
    }

    /// Nothing goes wrong any more: soon all copies are equal.
    fn heal(&mut self) {
        self.tell(|| "healing".to_owned());
        self.network.heal();
        for node in &mut self.nodes {
            node.skew = 0;
            node.paused = Duration::ZERO;
        }
        let begun = self.at;
        let replicas = self.nodes.len() - 1;
        let healed = (0..HEALING_STEPS).any(|step| {
            if self.at < begun + CONSEQUENCES {
                self.nodes.iter_mut().for_each(Node::forget_begun);
            }
            self.step(Duration::from_millis(if step < 50 { 3 } else { 20 }));
            step > 20 && self.is_level(replicas)
        });
        assert!(healed, "replicas of node {} never caught up", self.primary);
        self.nodes.iter().for_each(Node::assert_no_loop);
        let now = Now::from_unix_millis(self.wall());
        let primary = &self.nodes[self.primary];
        self.judge.check_promises(primary, now, "at the end");
        let evictions: u64 = self.nodes.iter().map(Node::evictions).sum();
        assert!(self.judge.evicts || evictions == 0, "memory is large enough");
        for replica in self.nodes.iter().filter(|node| node.plan.place != self.primary) {
            self.judge.compare(primary, replica, now);
        }
    }

    fn is_level(&self, replicas: usize) -> bool {
        self.nodes[self.primary].workers.iter().all(|worker| worker.is_followed_by(replicas))
    }
}
