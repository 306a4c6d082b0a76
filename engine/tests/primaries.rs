//! Several nodes that all take writes and send each other their own: whatever gets lost, comes twice or late, they end
//! with the same records, and what was deleted last stays so.

mod bed;

use std::collections::HashMap;

use bed::{Draw, LastWords, Node, Random, START, seeds, whole};
use ringcache_engine::{Cut, EngineOptions, LogCursor, Now, SlotCursor, SlotDigests, Step, Version};

/// From one shard of one node to another node.
struct Link {
    from: usize,
    shard: usize,
    to: usize,
    cursor: LogCursor,
    acknowledged: LogCursor,
}

struct World {
    nodes: Vec<Node>,
    words: Vec<LastWords>,
    links: Vec<Link>,
    /// Milliseconds that each node's clock is ahead.
    ahead: Vec<u64>,
    millis: u64,
    /// By key: the highest version of a value, and the versions between which the last delete was.
    values: HashMap<Vec<u8>, Version>,
    deletes: HashMap<Vec<u8>, (Version, Version)>,
}

impl World {
    fn new(random: &mut Random) -> Self {
        let count = 2 + random.below(2) as usize;
        let options = |number: usize, random: &mut Random| EngineOptions {
            memory_bytes: 48 << 20,
            shards: 1 + random.below(3) as u16,
            slab_bytes: Some(16 << 10),
            node: 1 + number as u8,
            log_changes: true,
            ..EngineOptions::default()
        };
        let mut nodes: Vec<Node> = (0..count).map(|number| Node::open(&options(number, random))).collect();
        nodes
            .iter_mut()
            .flat_map(|node| &mut node.shards)
            .for_each(|shard| shard.set_settled(Some(Version::ZERO)));
        let mut links = Vec::new();
        for (from, node) in nodes.iter_mut().enumerate() {
            for (number, shard) in node.shards.iter_mut().enumerate() {
                for to in (0..count).filter(|to| *to != from) {
                    let mut cursor = LogCursor::new(Version::ZERO).of_origin(1 + from as u8);
                    cursor.begin(shard);
                    links.push(Link { from, shard: number, to, acknowledged: cursor.clone(), cursor });
                }
            }
        }
        Self {
            words: nodes.iter().map(|_| LastWords::default()).collect(),
            nodes,
            links,
            ahead: vec![0; count],
            millis: START,
            values: HashMap::new(),
            deletes: HashMap::new(),
        }
    }

    /// A write of a random node, and what is known of its version.
    fn write(&mut self, random: &mut Random, draw: Draw) {
        let at = random.below(self.nodes.len() as u64) as usize;
        let node = &mut self.nodes[at];
        let key = format!("key:{}", random.below(draw.keys)).into_bytes();
        let shard = usize::from(ringcache_engine::KeyHash::of(&key).shard(node.shards.len() as u16).0);
        let before = node.shards[shard].position();
        let is_delete = random.one_in(4);
        self.words[at].write_key(node, random, &key, draw.longest, is_delete);
        let after = node.shards[shard].position();
        if is_delete {
            let (from, to) = self.deletes.entry(key).or_insert((Version::ZERO, Version::ZERO));
            (*from, *to) = ((*from).max(before), (*to).max(after));
        } else {
            let version = self.values.entry(key).or_insert(Version::ZERO);
            *version = (*version).max(after);
        }
    }

    fn pass(&mut self, random: &mut Random) {
        self.millis += random.below(400);
        for (node, ahead) in self.nodes.iter_mut().zip(&mut self.ahead) {
            if random.one_in(10) {
                *ahead = random.below(3_000);
            }
            node.now = Now::from_unix_millis(self.millis + *ahead);
            node.maintain();
        }
    }

    /// One step of a link, which may lose what it carries or carry it again. True when nothing was unread.
    fn step(&mut self, at: usize, bytes: usize, is_lost: bool, is_repeated: bool) -> bool {
        let link = &mut self.links[at];
        let source = &mut self.nodes[link.from];
        let mut out = Vec::new();
        let step = link.cursor.read(&mut source.shards[link.shard], source.now, bytes, &mut out);
        let is_end = matches!(step, Step::CaughtUp(_));
        if let Step::Large(large) = step {
            out.extend(whole(&large));
        }
        if !is_lost {
            self.nodes[link.to].install(&out, None);
        }
        if is_lost || is_repeated {
            link.cursor = link.acknowledged.clone();
        } else {
            link.acknowledged = link.cursor.clone();
        }
        let (from, shard) = (link.from, link.shard);
        let same = self.links.iter().filter(|link| (link.from, link.shard) == (from, shard));
        let followed = same.map(|link| link.acknowledged.followed()).min();
        self.nodes[from].shards[shard].set_followed(followed);
        is_end
    }

    fn digests(&self, at: usize) -> SlotDigests {
        let (node, mut all) = (&self.nodes[at], SlotDigests::default());
        for shard in &node.shards {
            let mut cursor = SlotCursor::all();
            while !shard.digest_step(&mut cursor, &mut all, &Cut::never(), node.now) {}
        }
        all
    }

    /// All links carry all that is left, until they have nothing.
    fn heal(&mut self) {
        let now = Now::from_unix_millis(self.millis + 3_000);
        self.nodes.iter_mut().for_each(|node| node.now = now);
        for at in 0..self.links.len() {
            while !self.step(at, 100_000, false, false) {}
        }
        self.nodes.iter_mut().for_each(Node::maintain);
    }
}

#[test]
fn nodes_that_all_take_writes_end_with_the_same_records() {
    for seed in seeds(10) {
        let mut random = Random(seed);
        let mut world = World::new(&mut random);
        let draw = Draw { keys: 400, longest: 20_000, flushes: 0 };
        let mut parted_from = usize::MAX;
        for round in 0..4_000u64 {
            for _ in 0..random.below(6) {
                world.write(&mut random, draw);
            }
            if random.one_in(8) {
                world.pass(&mut random);
            }
            if random.one_in(500) {
                world.nodes[0].flush(None);
            }
            if random.one_in(400) {
                parted_from = random.below(4) as usize;
            }
            let at = random.below(world.links.len() as u64) as usize;
            let is_parted = world.links[at].to == parted_from || world.links[at].from == parted_from;
            if !is_parted {
                let bytes = 1 + random.below(30_000) as usize;
                world.step(at, bytes, random.one_in(5), random.one_in(5));
            }
            if round % 1_000 == 999 {
                world.heal();
                check(&world, &format!("seed {seed}, round {round}"));
            }
        }
    }
}

fn check(world: &World, case: &str) {
    let first = world.digests(0);
    for at in 1..world.nodes.len() {
        let differing = first.differing(&world.digests(at));
        let keys = world.values.keys();
        let shown = |key: &Vec<u8>| {
            let (one, other) = (world.nodes[0].show(key), world.nodes[at].show(key));
            (one != other).then(|| (String::from_utf8_lossy(key).into_owned(), one, other))
        };
        let different: Vec<_> = keys.filter_map(shown).take(3).collect();
        assert!(differing.is_empty(), "{case}: node {at} differs from the first in {different:?}");
    }
    for (key, (after, _)) in &world.deletes {
        let is_last = world.values.get(key).is_none_or(|value| value < after);
        let shown = world.nodes[0].show(key);
        assert!(!is_last || shown.is_none(), "{case}: {} is back", String::from_utf8_lossy(key));
    }
}
