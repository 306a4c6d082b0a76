//! A node of the simulator: real shards, and the real state machines of replication with a network that is none.

use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use ringcache_engine::limits::SLOTS;
use ringcache_engine::{
    Engine, EngineOptions, Expiry, KeyHash, Lookup, Now, Outcome, Reader, RecordDigest, SlotCursor, SlotSet,
    Version, Write,
};
use ringcache_net::replication::coordinator::{Action, Command, Coordinator, Event};
use ringcache_net::replication::greeting::{Greeting, Hello, Purpose};
use ringcache_net::replication::held::Quorum;
use ringcache_net::replication::liveness::Moment;
use ringcache_net::replication::node::{JoinedEnd, Replication, ReplicationOptions, Role, SourceId};

use crate::network::{End, Network};
use crate::random::Random;
use crate::tally::Tally;
use crate::worker::{Around, Worker};

/// How a node is made.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub place: usize,
    pub shards: u16,
    pub memory_bytes: u64,
    pub quorum: Quorum,
    pub window_bytes: usize,
    pub compress: bool,
}

/// After so much silence a link is given up.
pub const PATIENCE: Duration = Duration::from_millis(400);
/// After so long an answer is in doubt.
pub const SYNC_TIMEOUT: Duration = Duration::from_millis(250);
/// What greetings take at most.
const GREETING_TIME: Duration = Duration::from_millis(500);

/// What a client sees of a key.
#[derive(Clone, Debug, PartialEq)]
pub struct Shown {
    pub value: Vec<u8>,
    pub flags: u32,
    pub expiry: Expiry,
    pub version: Version,
}

/// Two nodes that get to know each other.
struct Meeting {
    greeting: Greeting,
    end: End,
    until: Duration,
    /// The source and its shard; `None`: this side was dialled.
    source: Option<(SourceId, u16)>,
}

pub struct Node {
    pub plan: Plan,
    pub replication: Arc<Replication>,
    pub engine: Engine,
    reader: Reader,
    pub workers: Vec<Worker>,
    coordinator: Coordinator,
    events: mpsc::Receiver<Event>,
    meetings: Vec<Meeting>,
    /// Links that were dialled, until the coordinator says whether they are opened.
    dialled: Vec<(Meeting, Hello)>,
    nonces: Random,
    /// Wall clock minus the world's, in milliseconds.
    pub skew: i64,
    /// It stands still until then.
    pub paused: Duration,
    pub turns: u64,
}

impl Node {
    /// An empty node, a replica of `source` or a primary.
    pub fn start(plan: Plan, source: Option<usize>, random: &mut Random) -> Self {
        let options = EngineOptions {
            memory_bytes: plan.memory_bytes,
            shards: plan.shards,
            item_bytes_max: 64 << 10,
            slab_bytes: Some(4096),
            node: plan.place as u8,
            log_changes: true,
            ..EngineOptions::default()
        };
        let (engine, shards) = Engine::open(&options, 1).expect("memory");
        let options = ReplicationOptions {
            port: Some(0),
            replica_of: source.map(|source| source.to_string()),
            quorum: plan.quorum,
            sync_timeout: SYNC_TIMEOUT,
            min_replicas: 0,
            max_lag: None,
            patience: PATIENCE,
            window_bytes: plan.window_bytes,
            compress: plan.compress,
            secret_file: None,
            node_number: plan.place as u8,
            node_file: None,
        };
        let sources = options.replica_of.iter().cloned().collect();
        let names = u128::from(random.next()) << 64 | u128::from(random.next());
        let replication = Arc::new(Replication::new(options, plan.place as u128 + 1, 1, names));
        let (sender, events) = mpsc::channel();
        replication.listen(sender);
        let histories = replication.histories().clone();
        let mut history_names = Random(random.next());
        let next_name = move || u128::from(history_names.next()) << 64 | u128::from(history_names.next());
        let coordinator = Coordinator::new(replication.role(), histories, sources, next_name);
        let workers = shards.into_iter().map(|shard| Worker::new(shard, plan.quorum, SYNC_TIMEOUT));
        Self {
            plan,
            reader: engine.reader(),
            engine,
            workers: workers.collect(),
            replication,
            coordinator,
            events,
            meetings: Vec::new(),
            dialled: Vec::new(),
            nonces: Random(random.next()),
            skew: 0,
            paused: Duration::ZERO,
            turns: 0,
        }
    }

    pub fn role(&self) -> Role {
        self.replication.role()
    }

    pub fn moment(&self, wall: u64, at: Duration) -> Moment {
        Moment { now: Now::from_unix_millis(wall.wrapping_add_signed(self.skew)), at }
    }

    /// Asks the coordinator as an operator does.
    pub fn command(&mut self, command: Command, at: Duration) -> mpsc::Receiver<Result<String, String>> {
        let (reply, answer) = mpsc::channel();
        self.coordinator.handle(Event::Command(command, reply), at);
        answer
    }

    pub fn written(&self) -> Vec<Version> {
        self.workers.iter().map(|worker| worker.shard.latest()).collect()
    }

    /// One turn of everything that runs on the node. Links that were dialled go to `arrivals`.
    pub fn turn(&mut self, moment: Moment, network: &mut Network, arrivals: &mut Vec<(usize, End)>) {
        self.turns += 1;
        while let Ok(event) = self.events.try_recv() {
            self.coordinator.handle(event, moment.at);
        }
        while let Some(action) = self.coordinator.poll(moment.at) {
            self.act(action, moment, network, arrivals);
        }
        self.meet(moment, network);
        let count = self.workers.len();
        for number in 0..count {
            let mut mail = Vec::new();
            let around =
                Around { replication: &self.replication, shards: count as u16, mail: &mut mail, network };
            self.workers[number].turn(around, moment);
            for (receiver, letter) in mail {
                self.workers[usize::from(receiver)].mail.push_back((number as u16, letter));
            }
            if self.turns.is_multiple_of(16) {
                self.workers[number].shard.maintain(moment.now);
            }
        }
        self.reader.end_turn();
    }

    fn act(
        &mut self,
        action: Action,
        moment: Moment,
        network: &mut Network,
        arrivals: &mut Vec<(usize, End)>,
    ) {
        match action {
            Action::SetRole(role) => {
                self.replication.set_role(role);
                // Every link to what it followed before is closed.
                self.workers.iter_mut().for_each(|worker| worker.positions.clear());
            }
            Action::SetHistories(histories) => self.replication.set_histories(histories),
            Action::CloseFollows => {
                self.workers.iter_mut().for_each(|worker| worker.close_links(false, true))
            }
            Action::CloseFeeds => self.workers.iter_mut().for_each(|worker| worker.close_links(true, false)),
            // The world's operator waits for its channel.
            Action::Answer(reply, text) => drop(reply.send(Ok(text))),
            Action::Dial { source, address, shard } => {
                let to: usize = address.parse().expect("addresses are places");
                if network.is_apart([self.plan.place, to], moment.at) {
                    let result = Err("no way there".to_owned());
                    return self.coordinator.handle(Event::Dialled { source, shard, result }, moment.at);
                }
                let (end, far) = network.connect([self.plan.place, to]);
                arrivals.push((to, far));
                let greeting = Greeting::dial(self.hello(shard), None);
                let (until, source) = (moment.at + GREETING_TIME, Some((source, shard)));
                self.meetings.push(Meeting { greeting, end, until, source });
            }
            Action::Open { source, shard, standing, progress, is_peer } => {
                let (meeting, peer) = self.take_dialled((source, shard));
                let place = usize::from(shard) % self.workers.len();
                let end = JoinedEnd::Follow { source, shard, standing, progress, is_peer };
                self.open_link(place, meeting, peer, end, moment);
            }
            Action::Discard { source, shard } => {
                let (meeting, _) = self.take_dialled((source, shard));
                network.cut(meeting.end);
            }
        }
    }

    fn take_dialled(&mut self, source: (SourceId, u16)) -> (Meeting, Hello) {
        let place = self.dialled.iter().position(|(meeting, _)| meeting.source == Some(source));
        self.dialled.remove(place.expect("a link is entered before it is told of"))
    }

    /// Another node has dialled.
    pub fn accept(&mut self, end: End, at: Duration) {
        let greeting = Greeting::accept(self.hello(0), None);
        self.meetings.push(Meeting { greeting, end, until: at + GREETING_TIME, source: None });
    }

    fn hello(&mut self, shard: u16) -> Hello {
        let mut nonce = [0; 32];
        nonce[..8].copy_from_slice(&self.nonces.next().to_le_bytes());
        Hello {
            node: self.replication.node,
            incarnation: self.replication.incarnation,
            number: self.plan.place as u8,
            purpose: Purpose::Link,
            shards: self.plan.shards,
            shard,
            nonce,
        }
    }

    /// Greetings go on.
    fn meet(&mut self, moment: Moment, network: &mut Network) {
        for mut meeting in std::mem::take(&mut self.meetings) {
            let outcome = meeting.go_on(moment.at, network);
            match outcome {
                Ok(None) => self.meetings.push(meeting),
                Ok(Some(peer)) => self.join(meeting, peer, moment),
                Err(reason) => {
                    network.cut(meeting.end);
                    if let Some((source, shard)) = meeting.source {
                        let result = Err(reason);
                        self.coordinator.handle(Event::Dialled { source, shard, result }, moment.at);
                    }
                }
            }
        }
    }

    fn join(&mut self, meeting: Meeting, peer: Hello, moment: Moment) {
        let Some((source, shard)) = meeting.source else {
            let place = usize::from(peer.shard);
            return self.open_link(place, meeting, peer, JoinedEnd::Feed, moment);
        };
        let result = Ok(peer.shards);
        self.dialled.push((meeting, peer));
        self.coordinator.handle(Event::Dialled { source, shard, result }, moment.at);
    }

    fn open_link(&mut self, place: usize, meeting: Meeting, peer: Hello, end: JoinedEnd, moment: Moment) {
        let early = meeting.greeting.into_early();
        self.workers[place].open_link(meeting.end, peer, end, &early, moment, &self.replication);
    }

    /// A client writes. `None`: the answer waits for replicas.
    pub fn write(&mut self, number: u32, write: &Write<'_>, moment: Moment) -> Option<Outcome> {
        let shard = if write.key.is_empty() { 0 } else { usize::from(write.hash.shard(self.plan.shards).0) };
        let outcome = self.workers[shard].write(number, write, moment);
        self.reader.end_turn();
        outcome
    }

    pub fn show(&self, key: &[u8], now: Now) -> Option<Shown> {
        match self.reader.get(KeyHash::of(key), key, now) {
            Lookup::Hit(record) => Some(Shown {
                value: record.value().to_vec(),
                flags: record.flags(),
                expiry: record.expiry(),
                version: Version(record.cas()),
            }),
            Lookup::Miss(_) => None,
        }
    }

    /// What has been thrown out for lack of memory, here or on the way in.
    pub fn evictions(&self) -> u64 {
        self.workers.iter().map(|worker| self.engine.stats(worker.shard.id()).evictions).sum()
    }

    /// Where it stands with each shard of its primary, which has so many; zero: it does not.
    pub fn positions(&self, shards: usize) -> Vec<Version> {
        let mut positions = vec![Version::ZERO; shards];
        for (shard, position) in self.workers.iter().flat_map(|worker| &worker.positions) {
            if let Some(place) = positions.get_mut(usize::from(*shard)) {
                *place = *position;
            }
        }
        positions
    }

    /// All that lives here, in the order of its keys' hashes.
    pub fn digests(&self, now: Now) -> Vec<RecordDigest> {
        let slots = SlotSet::from_words([u64::MAX; SLOTS / 64]);
        let mut records = Vec::new();
        for worker in &self.workers {
            let mut cursor = SlotCursor::all();
            while !worker.shard.slot_list(&mut cursor, &slots, now, &mut records) {}
        }
        records.retain(|record| !record.is_tombstone);
        records.sort_unstable_by_key(|record| record.hash.0);
        records
    }

    /// Adds what its links have done.
    pub fn report(&self, tally: &mut Tally) {
        self.workers.iter().for_each(|worker| worker.report(tally));
    }

    pub fn forget_begun(&mut self) {
        self.workers.iter_mut().for_each(|worker| worker.begun.clear());
    }

    /// No replica was given a second full copy for the same reason.
    pub fn assert_no_loop(&self) {
        for begun in self.workers.iter().map(|worker| &worker.begun) {
            let is_again = |at: usize| begun[..at].contains(&begun[at]);
            assert!(!(0..begun.len()).any(is_again), "full copies while nothing went wrong: {begun:?}");
        }
    }
}

impl Meeting {
    fn go_on(&mut self, at: Duration, network: &mut Network) -> Result<Option<Hello>, String> {
        let send = |greeting: &mut Greeting, network: &mut Network| {
            let unsent = greeting.take_unsent();
            if !unsent.is_empty() {
                network.send(self.end, &unsent, at);
            }
        };
        send(&mut self.greeting, network);
        if at > self.until {
            return Err("the greeting took too long".to_owned());
        }
        let bytes = network.receive(self.end, at).ok_or("the other node hung up")?;
        if bytes.is_empty() {
            return Ok(None);
        }
        let done = self.greeting.handle_bytes(&bytes).map_err(|error| error.to_string())?;
        send(&mut self.greeting, network);
        Ok(done)
    }
}
