//! Sessions of a node with an upstream: to a client it is as if everything had been here from the start.

use std::sync::Arc;

use ringcache_engine::{Expiry, Op, ShardId, Status, Store, StoreMode, Write};

use super::{FRAGMENTS, Random, SHARDS, World};
use crate::limits::SESSION_READS_WAITING_MAX;
use crate::warming::{Lent, Warming};

const KEYS: usize = 12;

impl World {
    /// With an upstream that has some keys, and answers questions at random moments in a random order.
    fn with_upstream(shards: u16) -> Self {
        let mut world = World::new(shards);
        let warming = Arc::new(Warming::new(shards));
        (0..shards).for_each(|shard| warming.set_open(ShardId(shard), true));
        world.warming = Some(Box::new(Lent::new(&world.node.config, &warming)));
        world.node.warming = Some(warming);
        world.upstream = upstream().map(|(key, value)| (key.into_bytes(), value.into_bytes())).collect();
        world
    }

    /// Settles a random question, as the owner of the key's shard would.
    pub fn settle_ask(&mut self) {
        let mut ask = self.asks.swap_remove(self.random.below(self.asks.len()));
        let shard = &mut self.shards[usize::from(ask.hash.shard(self.node.config.workers).0)];
        let written = &mut self.warming.as_mut().expect("there is an upstream").written;
        let mut apply = |op| shard.apply(&Write { hash: ask.hash, key: &ask.key, op }, self.now);
        if let Some(value) = self.upstream.get(&*ask.key).filter(|_| !written.may_hold(ask.hash)) {
            apply(Op::Store(Store { mode: StoreMode::Add, ..Store::set(value, 7, Expiry::NEVER) }));
        }
        if let Some(expiry) = ask.touch {
            ask.outcome = apply(Op::Touch { expiry, fetches: false });
            if ask.outcome.status == Status::Touched {
                written.note(ask.hash, &Op::Touch { expiry, fetches: false });
            }
        }
        self.call(|session, reach, output| session.handle_settled(&ask, reach, output));
    }
}

/// Every second key.
fn upstream() -> impl Iterator<Item = (String, String)> {
    (0..KEYS).step_by(2).map(|key| (format!("k{key}"), format!("value {key}")))
}

/// Reads, and writes that do as much to a record that is here as to one that only the upstream has.
fn command(random: &mut Random, number: usize) -> String {
    let key = random.below(KEYS);
    let other = random.below(KEYS);
    match random.below(10) {
        0..=2 => format!("get k{key}\r\n"),
        3 => format!("get k{key} k{other} k{key}\r\n"),
        4 => format!("gat {} k{key} k{other}\r\n", 10 + random.below(90)),
        5 => format!("mg k{key} v f t k s Oop{number}\r\n"),
        6 => format!("mg k{key} T{} t v\r\n", 10 + random.below(90)),
        7 => format!("mg k{key} q v\r\nmn\r\n"),
        8 => format!("set k{key} 3 0 4\r\n{number:04}\r\n"),
        _ => format!("delete k{key} noreply\r\n"),
    }
}

/// A node whose upstream has it all, and one that has it all.
fn afresh(shards: u16) -> (World, World) {
    let (warm, mut full) = (World::with_upstream(shards), World::new(shards));
    for (key, value) in upstream() {
        full.ask(format!("set {key} 7 0 {}\r\n{value}\r\n", value.len()));
    }
    (warm, full)
}

#[test]
fn to_a_client_it_is_as_if_everything_had_been_here() {
    for shards in SHARDS {
        for fragment in FRAGMENTS {
            let mut random = Random::new(u64::from(shards) ^ fragment as u64);
            for round in 0..40 {
                let (mut warm, mut full) = afresh(shards);
                let commands: String = (0..60).map(|number| command(&mut random, number)).collect();
                warm.send(commands.as_bytes(), fragment);
                warm.settle();
                full.send(commands.as_bytes(), usize::MAX);
                full.settle();
                let [shown, expected] = [&warm, &full].map(|world| String::from_utf8_lossy(&world.received));
                assert_eq!(shown, expected, "{shards} shards, by {fragment}, round {round}: {commands}");
            }
        }
    }
}

#[test]
fn a_session_waits_for_so_many_answers_and_no_more() {
    let mut world = World::with_upstream(2);
    let keys: String = (0..3 * SESSION_READS_WAITING_MAX).map(|key| format!(" cold{key}")).collect();
    world.send_at_once(format!("get{keys} k0\r\n").as_bytes());
    assert_eq!(world.asks.len(), SESSION_READS_WAITING_MAX);
    world.settle();
    assert_eq!(world.received, b"VALUE k0 7 7\r\nvalue 0\r\nEND\r\n");
}

#[test]
fn a_closed_upstream_is_not_asked() {
    let mut world = World::with_upstream(1);
    world.node.warming.as_ref().unwrap().set_open(ShardId(0), false);
    assert_eq!(world.ask("get k0\r\ngat 5 k0\r\nmg k0 v\r\n"), b"END\r\nEND\r\nEN\r\n");
}
