//! What goes wrong in a seed, and what the operator does about it.

use std::sync::mpsc;
use std::time::Duration;

use ringcache_engine::{KeyHash, Now, Version};
use ringcache_net::replication::coordinator::Command;
use ringcache_net::replication::held::Quorum;

use crate::network::Fault;
use crate::node::{Node, PATIENCE};
use crate::tally::Seen;
use crate::world::World;

/// A step of a failover takes that long.
const QUIET_STEP: Duration = Duration::from_millis(5);

/// What the operator wants of a node, until that has answered.
pub struct Wish {
    source: usize,
    answer: mpsc::Receiver<Result<String, String>>,
}

impl World {
    /// Something goes wrong.
    pub fn go_wrong(&mut self) {
        let fault = Fault::ALL[self.random.below(Fault::ALL.len() as u64) as usize];
        self.tell(|| format!("{fault:?}"));
        let is_done = match fault {
            Fault::Rift => self.part(),
            Fault::ReplicaCrash => self.crash_replica(),
            Fault::Failover => self.fail_over(false),
            Fault::Demotion => self.fail_over(true),
            Fault::EmptyPrimary if self.random.one_in(3) => self.empty_primary(),
            Fault::EmptyPrimary => false,
            Fault::Pause => self.pause(),
            Fault::ClockJump => self.jump(),
            // These count themselves.
            _ => {
                self.network.strike(fault, self.at);
                false
            }
        };
        if is_done {
            self.report.tally.fault(fault);
        }
    }

    fn any_node(&mut self) -> usize {
        self.random.below(self.nodes.len() as u64) as usize
    }

    fn part(&mut self) -> bool {
        let (one, other) = (self.any_node(), self.any_node());
        let lasting = Duration::from_millis(20 + self.random.below(900));
        self.network.part([one, other], self.at + lasting);
        one != other
    }

    fn pause(&mut self) -> bool {
        let place = self.any_node();
        self.nodes[place].paused = self.at + PATIENCE + Duration::from_millis(self.random.below(300));
        true
    }

    fn jump(&mut self) -> bool {
        let place = self.any_node();
        self.nodes[place].skew = self.random.below(6_001) as i64 - 3_000;
        self.judge.skew_seconds = 8;
        true
    }

    /// A node loses its memory and its links, and begins again.
    fn restart(&mut self, place: usize, source: Option<usize>) {
        let node = &mut self.nodes[place];
        node.report(&mut self.report.tally);
        self.network.cut_all(place);
        let (plan, skew) = (node.plan, node.skew);
        *node = Node::start(plan, source, &mut self.random);
        node.skew = skew;
        self.wishes[place] = None;
        self.tell(|| format!("node {place} begins anew, after {source:?}"));
    }

    fn crash_replica(&mut self) -> bool {
        let place = self.any_node();
        if place == self.primary {
            return false;
        }
        // What it has acknowledged for others is gone.
        self.judge.forget_promises();
        self.restart(place, Some(self.primary));
        true
    }

    fn empty_primary(&mut self) -> bool {
        self.judge.forget_promises();
        self.judge.forget_deletes();
        self.restart(self.primary, None);
        self.began_at = vec![Version(1); self.began_at.len()];
        true
    }

    /// The replica that has everything which any other one has.
    fn most_advanced(&self) -> Option<usize> {
        let shards = usize::from(self.nodes[self.primary].plan.shards);
        let is_replica = |place: &usize| *place != self.primary && self.wishes[*place].is_none();
        let replicas: Vec<(usize, Vec<Version>)> = (0..self.nodes.len())
            .filter(is_replica)
            .map(|place| (place, self.nodes[place].positions(shards)))
            .collect();
        let covers = |mine: &[Version], theirs: &[Version]| {
            mine.iter().zip(theirs).all(|(mine, theirs)| theirs <= mine)
        };
        let able = |(place, positions): &&(usize, Vec<Version>)| {
            // Who has never caught up with the primary may lack what it had before it was promoted.
            covers(positions, &self.began_at)
                && replicas.iter().all(|(_, theirs)| covers(positions, theirs))
                && self.nodes[*place].paused <= self.at
        };
        replicas.iter().find(able).map(|(place, _)| *place)
    }

    /// The most advanced replica takes over; the primary is gone, or stands still and comes back.
    fn fail_over(&mut self, comes_back: bool) -> bool {
        let former = self.primary;
        let Some(best) = self.most_advanced() else {
            self.report.tally.see(Seen::Undecided);
            return false;
        };
        let bounds = self.known_of(best);
        if comes_back {
            self.nodes[former].paused = self.at + 4 * PATIENCE;
        } else {
            self.restart(former, Some(best));
        }
        if !self.promote(best, false) {
            // A full copy had to begin again just now. There is no better replica.
            self.report.tally.see(Seen::Forced);
            self.judge.forget_promises();
            assert!(self.promote(best, true), "a promotion by force");
        }
        self.report.tally.see(Seen::Promotion);
        self.primary = best;
        self.began_at = self.nodes[best].written();
        self.judge.forget_deletes();
        if self.quorum == Quorum::None {
            let shards = bounds.len() as u16;
            self.judge.forget_beyond(|key| bounds[usize::from(KeyHash::of(key).shard(shards).0)]);
        }
        let now = Now::from_unix_millis(self.wall());
        self.judge.check_promises(&self.nodes[best], now, "after a failover");
        for place in 0..self.nodes.len() {
            if place != best && (place != former || comes_back) {
                self.wish(place, best);
            }
        }
        true
    }

    /// Up to where the primary knows a replica to have everything, by shard: what it shows as lag.
    fn known_of(&self, replica: usize) -> Vec<Version> {
        let name = self.nodes[replica].replication.node;
        self.nodes[self.primary].workers.iter().map(|worker| worker.position_of(name)).collect()
    }

    fn promote(&mut self, place: usize, force: bool) -> bool {
        let answer = self.nodes[place].command(Command::Promote { force }, self.at);
        let answer = (0..10).find_map(|_| {
            self.step(QUIET_STEP);
            answer.try_recv().ok()
        });
        let answer = answer.expect("a promotion is answered at once, whatever links are doing");
        self.tell(|| format!("node {place} is promoted: {answer:?}"));
        answer.is_ok()
    }

    /// The operator wants a node to follow another one, and asks again until it does.
    fn wish(&mut self, place: usize, source: usize) {
        self.tell(|| format!("node {place} shall follow node {source}"));
        let node = &mut self.nodes[place];
        let written = node.written();
        let answer = node.command(Command::Replicate { address: source.to_string(), written }, self.at);
        self.wishes[place] = Some(Wish { source, answer });
    }

    /// Looks after what the operator wanted.
    pub fn hear_wishes(&mut self) {
        for place in 0..self.nodes.len() {
            let Some(Wish { source, answer }) = &self.wishes[place] else { continue };
            let source = *source;
            match answer.try_recv() {
                Ok(Ok(_)) => {
                    self.wishes[place] = None;
                    self.report.tally.see(Seen::Demotion);
                }
                Err(mpsc::TryRecvError::Empty) => {}
                Ok(Err(_)) | Err(mpsc::TryRecvError::Disconnected) => self.wish(place, source),
            }
        }
    }
}
