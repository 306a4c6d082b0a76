//! One run: nodes are started, written to, broken, mended, and judged.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use super::cluster::{Cluster, PATIENCE, SYNC_MILLIS};
use super::ledger::{Answer, Deed, Outcome};
use super::plan::{Kind, Mode, Plan};
use super::talk::{Talk, append, unix_millis};
use super::writers::{Count, Judgement, Writers};
use crate::error::BenchError;
use crate::interference::Proxy;
use crate::keys::Random;

/// What came of a run.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// Deeds by what became of them.
    pub count: Count,
    /// Acknowledged deeds that an asynchronous primary took with it.
    pub lost: u64,
    /// How far back the first of them was acknowledged before the kill, in milliseconds.
    pub lost_millis: u64,
    /// And how far back the status allowed for.
    pub lag_millis: u64,
    /// What must not be.
    pub wrong: Vec<String>,
    /// Nodes did not become equal.
    pub unequal: u64,
    /// Full copies by cause.
    pub full_copies: BTreeMap<String, u64>,
    /// Links that went on where they were.
    pub resumes: u64,
    /// Batches that came damaged, as far as they were seen.
    pub nacks: u64,
    /// Pieces of the stream that were harmed.
    pub harmed: u64,
    /// Faults.
    pub faults: u64,
    /// What the nodes said of themselves at the end.
    pub statuses: Vec<String>,
}

/// Runs `plan`; its files go to `folder`. What a node does not do, or does not survive, is a result.
pub fn run(plan: &Plan, ringcached: &Path, folder: &Path) -> Found {
    let mut found = Found::default();
    match Cluster::start(plan, ringcached, folder, None) {
        Err(error) => found.wrong.push(format!("the nodes do not start: {error}")),
        Ok(mut cluster) => {
            let played = Scenario::begin(plan, &mut cluster, &mut found).and_then(Scenario::play);
            found.wrong.extend(played.err().map(|error| error.to_string()));
            found.look_back(plan, &mut cluster);
        }
    }
    found
}

impl Found {
    /// What the nodes and their logs tell at the end.
    fn look_back(&mut self, plan: &Plan, cluster: &mut Cluster) {
        for (place, node) in cluster.nodes.iter_mut().enumerate() {
            if node.has_failed() {
                self.wrong.push(format!("node{place} has ended by itself"));
            }
            self.wrong.extend(node.log().panic().map(|panic| format!("node{place}: {panic}")));
            let status = if node.is_awake() { node.replication().ok() } else { None };
            self.statuses.push(format!("node{place}: {:#}", status.unwrap_or_default()));
        }
        (self.full_copies, self.resumes) = cluster.told();
        self.nacks = cluster.nacks();
        // Each node has to be copied to begin with, and each fault may cost each link a copy.
        let shards = plan.workers.iter().map(|workers| u64::from(*workers)).max().unwrap_or(1);
        let links = shards * (plan.workers.len() as u64 - 1);
        let copies: u64 = self.full_copies.values().sum();
        if copies > links * (1 + 2 * self.faults) + self.harmed {
            self.wrong.push(format!("{copies} full copies for {} faults", self.faults));
        }
    }
}

struct Scenario<'r> {
    plan: &'r Plan,
    cluster: &'r mut Cluster,
    found: &'r mut Found,
    writers: Writers,
    keys: u32,
    random: Random,
}

impl<'r> Scenario<'r> {
    fn begin(
        plan: &'r Plan,
        cluster: &'r mut Cluster,
        found: &'r mut Found,
    ) -> Result<Scenario<'r>, BenchError> {
        cluster.await_followed()?;
        let writers = Writers::start(plan.writers, cluster.primary().target(), plan.seed);
        let keys = writers.keys().end;
        Ok(Scenario { plan, cluster, found, writers, keys, random: plan.random() })
    }

    fn play(mut self) -> Result<(), BenchError> {
        self.linger(100, 400)?;
        for _ in 0..self.plan.faults {
            let before = self.cluster.lines().map(|line| line.harmed()).sum::<u64>();
            self.break_something(self.plan.kind)?;
            self.found.harmed += self.cluster.lines().map(|line| line.harmed()).sum::<u64>() - before;
            self.found.faults += 1;
            if self.random.below(3) == 0 {
                self.flush()?;
            }
            self.linger(50, 300)?;
            self.cluster.await_followed()?;
        }
        self.judge()
    }

    fn break_something(&mut self, kind: Kind) -> Result<(), BenchError> {
        match kind {
            Kind::KillPrimary => self.kill_primary(),
            Kind::KillReplica => self.kill_replica(),
            Kind::Stop => self.stop(),
            Kind::Depose => self.depose(),
            Kind::Cut => self.cut(),
            Kind::Namespace => self.pull_the_cable(),
            Kind::Delay | Kind::Reorder | Kind::Duplicate | Kind::Truncate | Kind::Flip => {
                self.begin_harm(kind);
                self.linger(300, 1_200)?;
                self.end_harm();
                Ok(())
            }
            Kind::Mixed => {
                if self.random.below(2) == 0 {
                    let harms = [Kind::Delay, Kind::Reorder, Kind::Duplicate, Kind::Truncate, Kind::Flip];
                    let harm = harms[self.random.below(5) as usize];
                    self.begin_harm(harm);
                    self.linger(50, 300)?;
                }
                let kinds = [Kind::KillPrimary, Kind::KillReplica, Kind::Stop, Kind::Depose, Kind::Cut];
                let mut kind = kinds[self.random.below(5) as usize];
                if kind == Kind::Depose && self.plan.mode == Mode::Async {
                    kind = Kind::Stop;
                }
                self.break_something(kind)?;
                self.end_harm();
                Ok(())
            }
        }
    }

    fn kill_primary(&mut self) -> Result<(), BenchError> {
        let looked = unix_millis();
        self.cluster.look()?;
        let (best, since) = self.cluster.most_advanced();
        let former = self.cluster.primary;
        if self.random.below(2) == 0 {
            // What it acknowledges while nobody hears it is what may be lost.
            self.cluster.lines().for_each(Proxy::cut);
            self.linger(0, 150)?;
        }
        self.cluster.nodes[former].kill();
        self.cluster.lines().for_each(Proxy::heal);
        self.found.lag_millis = self.found.lag_millis.max(looked.saturating_sub(since));
        self.cluster.promote(best)?;
        self.take_over(best, Some(since))?;
        self.linger(0, 300)?;
        let address = self.cluster.primary().address()?;
        self.cluster.nodes[former].restart(Some(&address))
    }

    /// The node at `best`, which was promoted, is judged and written to, and the others follow it. `lag`: an asynchronous primary has promised
    /// what was acknowledged before that time, others everything.
    fn take_over(&mut self, best: usize, lag: Option<u64>) -> Result<(), BenchError> {
        let killed = unix_millis();
        let mut paused = self.writers.pause();
        let shown = self.cluster.read(best, 0..self.keys)?;
        let mut judgement = paused.judge(&shown);
        paused.aim(self.cluster.primary().target());
        drop(paused);
        if let (Mode::Async, Some(since)) = (self.plan.mode, lag) {
            let first = judgement.lost.iter().copied().min().unwrap_or(killed);
            self.found.lost += judgement.lost.len() as u64;
            self.found.lost_millis = self.found.lost_millis.max(killed.saturating_sub(first));
            if first + CLOCK_MILLIS >= since {
                judgement.lost.clear();
                judgement.stories.clear();
            }
        }
        self.note(judgement, &format!("after node{best} was promoted (its lag: {lag:?})"));
        let address = self.cluster.primary().address()?;
        for place in self.cluster.replicas() {
            if self.cluster.nodes[place].is_awake() {
                self.cluster.nodes[place].follow(&address)?;
            }
        }
        Ok(())
    }

    fn kill_replica(&mut self) -> Result<(), BenchError> {
        let place = self.cluster.any_replica();
        self.cluster.nodes[place].kill();
        self.linger(0, 600)?;
        let address = self.cluster.primary().address()?;
        self.cluster.nodes[place].restart(Some(&address))
    }

    fn stop(&mut self) -> Result<(), BenchError> {
        let place = match self.random.below(2) {
            0 => self.cluster.primary,
            _ => self.cluster.any_replica(),
        };
        self.cluster.nodes[place].stop()?;
        let patience = PATIENCE.as_millis() as u32;
        self.linger(patience, 4 * patience)?;
        self.cluster.nodes[place].go_on()
    }

    fn depose(&mut self) -> Result<(), BenchError> {
        self.cluster.look()?;
        let (best, _) = self.cluster.most_advanced();
        let former = self.cluster.primary;
        self.cluster.nodes[former].stop()?;
        self.linger(0, 2 * PATIENCE.as_millis() as u32)?;
        self.cluster.promote(best)?;
        // It does not know, its clients neither, and nothing that it acknowledges now may be lost.
        self.cluster.nodes[former].go_on()?;
        self.linger(0, 2 * SYNC_MILLIS as u32)?;
        self.take_over(best, None)
    }

    fn cut(&mut self) -> Result<(), BenchError> {
        for _ in 0..1 + self.random.below(3) {
            let place = self.cluster.any_replica();
            let line = |cluster: &Cluster, is_cut: bool| match &cluster.nodes[place].line {
                Some(line) if is_cut => line.cut(),
                Some(line) => line.heal(),
                None => {}
            };
            line(self.cluster, true);
            self.linger(10, 700)?;
            line(self.cluster, false);
            self.linger(0, 300)?;
        }
        Ok(())
    }

    fn pull_the_cable(&mut self) -> Result<(), BenchError> {
        let connect = |cluster: &Cluster, is_connected| match &cluster.namespace {
            Some(namespace) => namespace.set_connected(is_connected),
            None => Ok(()),
        };
        connect(self.cluster, false)?;
        self.linger(50, 1_500)?;
        connect(self.cluster, true)
    }

    fn begin_harm(&mut self, kind: Kind) {
        let one_in = 5 + self.random.below(40);
        self.cluster.lines().for_each(|line| line.harm(kind.harm().map(|harm| (harm, one_in))));
    }

    fn end_harm(&mut self) {
        self.cluster.lines().for_each(|line| line.harm(None));
    }

    fn flush(&mut self) -> Result<(), BenchError> {
        let mut paused = self.writers.pause();
        let mut talk = Talk::connect(&self.cluster.primary().target(), FLUSH_TIME_MAX)?;
        let mut request = Vec::new();
        append(&mut request, 0, Deed::Flush);
        let asked = Instant::now();
        let answer = talk.send(&request).and_then(|()| talk.receive(0, Deed::Flush));
        let answer = answer.map_err(|source| BenchError::Died { source: Some(source) })?;
        let mut outcome = answer.map_err(BenchError::Violated)?;
        // It says so even where replicas did not confirm it in time.
        let is_late = asked.elapsed() >= Duration::from_millis(SYNC_MILLIS / 2);
        if self.plan.mode != Mode::Async && is_late && matches!(outcome, Outcome::Acked(Answer::Done, _)) {
            outcome = Outcome::Doubt;
        }
        paused.note_flush(outcome);
        Ok(())
    }

    /// Between so many milliseconds, by chance.
    fn linger(&mut self, least: u32, most: u32) -> Result<(), BenchError> {
        let millis = least + self.random.below(most - least + 1);
        self.cluster.linger(Duration::from_millis(u64::from(millis)), self.keys, &mut self.found.wrong)
    }

    fn judge(mut self) -> Result<(), BenchError> {
        self.writers.stop();
        let difference = self.cluster.await_equal(self.keys)?;
        self.found.unequal += u64::from(difference.is_some());
        // The nodes' own comparison must come to the same.
        let verdict = if difference.is_none() { self.cluster.verify()? } else { None };
        self.found.wrong.extend(difference.into_iter().chain(verdict));
        let shown = self.cluster.read(self.cluster.primary, 0..self.keys)?;
        let mut paused = self.writers.pause();
        let judgement = paused.judge(&shown);
        let (count, wrong) = paused.take();
        drop(paused);
        self.found.count = count;
        self.found.wrong.extend(wrong);
        self.note(judgement, "at the end");
        for (place, node) in self.cluster.nodes.iter().enumerate() {
            let evictions = Talk::connect(&node.target(), FLUSH_TIME_MAX)?.stat("evictions");
            if evictions.map_err(|source| BenchError::Died { source: Some(source) })? > 0 {
                self.found.wrong.push(format!("node{place} has evicted: this run proves nothing"));
            }
        }
        Ok(())
    }

    fn note(&mut self, judgement: Judgement, when: &str) {
        let Judgement { lost, stories, wrong } = judgement;
        if !lost.is_empty() {
            self.found.wrong.push(format!("{} acknowledged deeds are lost {when}", lost.len()));
            self.found.wrong.extend(stories.into_iter().take(STORIES_TOLD));
        }
        self.found.wrong.extend(wrong.into_iter().take(STORIES_TOLD).map(|wrong| format!("{when}: {wrong}")));
    }
}

const STORIES_TOLD: usize = 5;
const FLUSH_TIME_MAX: Duration = Duration::from_secs(8);
/// Two clocks of the same machine, read one after the other.
const CLOCK_MILLIS: u64 = 2;
