//! One pinned thread: its shard, its ring, its connections, and the only loop.
//!
//! A turn takes all completions and messages there are, feeds them to sessions, starts at most one send per
//! connection and ends in one system call that submits everything and, when nothing is left to do, sleeps.
//! `serving` holds the life of a connection, `sending` its way out, `sealing` what is between both and an encrypted one,
//! `accepting` where connections come from, `running` what other threads ask for.

mod accepting;
mod connections;
mod datagrams;
mod links;
mod local;
mod observing;
mod running;
mod sealing;
mod sending;
mod serving;
mod spin;
mod warming;

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use ringcache_engine::{KeyHash, Now, Reader, Shard, ShardId};

use crate::config::Encryption;
use crate::driver::{Completion, Driver, Received, Refusal, Wait};
use crate::errand::Tray;
use crate::limits::{MESH_QUEUE_MESSAGES, TURN_BUDGET_LOW, WATCH_PAUSE_MILLIS};
use crate::mesh::{Doors, Inbox, MeshEnd, Message, Ticket};
use crate::node::Node;
use crate::observe::events::Reason;
use crate::protocol::glance;
use crate::replication::held::{Held, Quorum};
use crate::server::Listener;
use crate::server::handshakes::{Arrival, Entrance, Exit};
use crate::session::inputs::SpareInputs;
use crate::warming::Lent;
use accepting::{Acceptor, Admitted};
use connections::{Connections, Phase, SpareOutputs};
use datagrams::Datagrams;
use links::Links;
use local::Local;
use spin::Spin;
use warming::Upstream;

/// How long answers in flight may take once the node stops.
const STOP_TIME_MAX: Duration = Duration::from_secs(5);
/// How many completions ahead the bucket of a read is announced.
const ANNOUNCED_BUCKET: usize = 8;
/// And its record.
const ANNOUNCED_RECORD: usize = 4;
/// How often a busy worker lets glommio's other tasks run.
const YIELD_EVERY: Duration = Duration::from_millis(1);

/// What a worker is made of beside its ring, made by the thread that starts the node.
pub struct Seed {
    /// What all workers share.
    pub node: Arc<Node>,
    /// The shard it owns; its number is the worker's.
    pub shard: Shard,
    /// Its view of all shards.
    pub reader: Reader,
    /// Its ends of the mesh.
    pub mesh: MeshEnd,
    /// How workers are woken.
    pub doors: Arc<Doors>,
    /// The sockets it accepts on; empty for all but the first.
    pub listeners: Vec<Listener>,
    /// Where it sends those whose connections are encrypted.
    pub entrance: Option<Entrance>,
    /// Where its own ones come from, once their handshakes are over.
    pub exit: Option<Exit>,
    /// Where other threads' errands come from.
    pub errands: Tray,
}

/// A ring, and the sockets that it receives datagrams on.
pub struct Prepared {
    driver: Driver,
    datagrams: Option<Box<Datagrams>>,
}

/// See the module's text.
pub struct Worker {
    local: Local,
    driver: Driver,
    inbox: Inbox,
    doors: Arc<Doors>,
    connections: Connections,
    spare: SpareOutputs,
    acceptor: Option<Acceptor>,
    /// Where the node replicates.
    links: Option<Box<Links>>,
    /// With `--warm-from`.
    upstream: Option<Box<Upstream>>,
    /// With `-U`.
    datagrams: Option<Box<Datagrams>>,
    entrance: Option<Entrance>,
    exit: Option<Exit>,
    errands: Tray,
    /// Taken from the ring and not yet looked at.
    completions: VecDeque<Completion>,
    /// Connections with answers to send.
    unsent: Vec<Ticket>,
    /// Sessions to go on with in the next turn.
    resume: Vec<Ticket>,
    /// Whether and how long it looks for work before it sleeps.
    spin: Spin,
    /// Connections that stream events.
    watching: Vec<Ticket>,
    /// The shard has background work left.
    maintains: bool,
    /// The second that the last housekeeping was done in.
    kept_house: u32,
    /// The node stops; this worker has begun to drain.
    stopping: bool,
    stop_deadline: Option<Instant>,
    /// It has told the others that it is drained.
    drained: bool,
}

impl Worker {
    /// What has to be made on the worker's own thread and can be refused.
    pub fn prepare(mut driver: Driver, datagram_sockets: Vec<OwnedFd>) -> Result<Prepared, Refusal> {
        let mut datagrams = None;
        if !datagram_sockets.is_empty() {
            datagrams.insert(Box::new(Datagrams::new(datagram_sockets))).poll(&mut driver)?;
        }
        Ok(Prepared { driver, datagrams })
    }

    /// Makes the worker, on the thread that prepared it.
    pub fn new(seed: Seed, prepared: Prepared) -> Self {
        let number = seed.shard.id().0;
        let Prepared { driver, datagrams } = prepared;
        seed.doors.open(number, driver.ring());
        let now = Now::from_unix_millis(seed.node.clock.unix_millis());
        let spin = Spin::new(Duration::from_micros(u64::from(seed.node.config.spin_us)));
        let replication = seed.node.replicating.clone();
        let held = replication.as_ref().and_then(|replication| {
            let options = &replication.options;
            (options.quorum != Quorum::None).then(|| Box::new(Held::new(options.sync_timeout)))
        });
        let upstream = Upstream::of(&seed.node);
        let warming = seed.node.warming.as_ref();
        let warming = warming.map(|warming| Box::new(Lent::new(&seed.node.config, warming)));
        let links = replication.map(|replication| Box::new(Links::new(replication)));
        Self {
            acceptor: (!seed.listeners.is_empty()).then(|| Acceptor::new(seed.listeners)),
            entrance: seed.entrance,
            exit: seed.exit,
            errands: seed.errands,
            local: Local {
                number,
                node: seed.node,
                shard: seed.shard,
                reader: seed.reader,
                outbox: seed.mesh.outbox,
                inputs: SpareInputs::default(),
                now,
                gate: None,
                held,
                warming,
                at: Duration::ZERO,
                began: Instant::now(),
            },
            links,
            upstream,
            driver,
            datagrams,
            inbox: seed.mesh.inbox,
            doors: seed.doors,
            connections: Connections::default(),
            spare: SpareOutputs::default(),
            completions: VecDeque::new(),
            unsent: Vec::new(),
            resume: Vec::new(),
            spin,
            watching: Vec::new(),
            maintains: false,
            kept_house: now.seconds.0,
            stopping: false,
            stop_deadline: None,
            drained: false,
        }
    }

    /// Serves until the node has stopped. Sleeps inside of its own ring's system call, where a wake-up is cheapest;
    /// glommio's tasks get their turn about once a millisecond.
    /// Returns the shard: nothing of this worker reads or writes any more.
    pub async fn run(mut self) -> Shard {
        let mut yielded = Instant::now();
        while !self.has_stopped() {
            self.turn();
            if yielded.elapsed() >= YIELD_EVERY {
                glommio::executor().yield_task_queue_now().await;
                yielded = Instant::now();
            }
        }
        self.local.shard
    }

    fn turn(&mut self) {
        self.local.now = Now::from_unix_millis(self.local.node.clock.unix_millis());
        self.local.counters().turns.add(1);
        if self.links.is_some() || self.upstream.is_some() {
            self.local.at = self.local.began.elapsed();
        }
        self.driver.take(&mut self.completions, &self.doors);
        self.handle_messages();
        self.handle_completions();
        self.resume_sessions();
        self.poll_acceptor();
        self.take_newcomers();
        self.run_errands();
        self.keep_house();
        let now = self.local.now.unix_millis;
        self.driver.set_alarm(|| Duration::from_millis(1000 - now % 1000 + CLOCK_STEP_MILLIS));
        if self.links.is_some() {
            self.poll_links();
        }
        if self.upstream.is_some() {
            self.poll_upstream();
        }
        self.serve_observers();
        self.start_sends();
        self.drop_blocked_resumes();
        self.maintains = self.local.shard.maintain(self.local.now);
        self.flush_outbox();
        self.local.reader.end_turn();
        self.submit();
    }

    fn handle_completions(&mut self) {
        (0..ANNOUNCED_BUCKET).for_each(|place| self.announce_bucket(place));
        (0..ANNOUNCED_RECORD).for_each(|place| self.announce_record(place));
        while let Some(completion) = self.completions.pop_front() {
            self.announce_bucket(ANNOUNCED_BUCKET - 1);
            self.announce_record(ANNOUNCED_RECORD - 1);
            match completion {
                Completion::Received { ticket, received, more } => {
                    self.handle_received(ticket, received, more)
                }
                Completion::Sent { ticket, outgoing, result } => self.handle_sent(ticket, outgoing, result),
                Completion::Datagram { socket, received, more } => {
                    self.handle_datagram(socket, received, more)
                }
                Completion::DatagramSent { datagram, result } => self.handle_datagram_sent(datagram, result),
                Completion::Accepted { listener, socket, more } => {
                    let acceptor = self.acceptor.as_mut().expect("only a worker with listeners accepts");
                    let (node, counters) = (&self.local.node, self.local.counters());
                    let admitted = acceptor.handle_accepted(listener, socket, more, node, counters);
                    admitted.into_iter().for_each(|admitted| self.hand_over(admitted));
                }
            }
            if self.is_short_of_memory() {
                break;
            }
        }
    }

    /// Starts loading the bucket that the completion at `place` asks for first. Within a session the cache misses of
    /// many reads overlap; where each connection has sent only one, they overlap by this.
    #[inline]
    fn announce_bucket(&self, place: usize) {
        if let Some(hash) = self.first_key(place) {
            self.local.reader.approach(hash);
        }
    }

    /// And the record, once the bucket is there.
    #[inline]
    fn announce_record(&self, place: usize) {
        if let Some(hash) = self.first_key(place) {
            self.local.reader.candidate(self.local.reader.approach(hash), hash);
        }
    }

    /// The first key that the completion at `place` asks for, as far as that is seen at a glance.
    #[inline]
    fn first_key(&self, place: usize) -> Option<KeyHash> {
        match self.completions.get(place)? {
            Completion::Received { received: Received::Bytes(chunk), .. } => {
                glance::first_key(self.driver.bytes(chunk)).map(KeyHash::of)
            }
            _ => None,
        }
    }

    /// Takes the messages of each other worker, at most as many as a queue holds.
    fn handle_messages(&mut self) {
        for worker in 0..self.inbox.workers() {
            for _ in 0..MESH_QUEUE_MESSAGES {
                let Some(message) = self.inbox.take(worker) else { break };
                self.handle_message(worker, message);
                if self.is_short_of_memory() {
                    break;
                }
            }
        }
    }

    fn handle_message(&mut self, worker: u16, message: Message) {
        match message {
            Message::Writes(batch) => self.handle_writes(worker, batch),
            Message::Outcomes(batch) => {
                self.note_executed(&batch);
                for (ticket, outcome) in batch.outcomes() {
                    self.handle_outcome(ticket, ShardId(worker), outcome);
                }
                self.local.outbox.recycle(worker, batch);
            }
            Message::Dump(ticket, mut step) => {
                step.run(&self.local.shard, self.local.now);
                self.local.outbox.send(worker, Message::Dumped(ticket, step));
            }
            Message::Dumped(ticket, step) => self.handle_step(ticket, step),
            Message::Order(order) => self.handle_order(worker, order),
            Message::Ordered(order) => self.handle_ordered(&order),
            Message::Ask(ask) => self.handle_ask(worker, ask),
            Message::Settled(ask) => self.handle_settled(&ask),
            Message::Connection(socket, terms) => self.open(socket, terms),
        }
    }

    /// Writes of this turn have used up what may be reused before all readers end their turn. What is left waits for
    /// the next turn; in each turn every queue gets at least one thing done.
    fn is_short_of_memory(&self) -> bool {
        self.local.shard.turn_budget() < TURN_BUDGET_LOW
    }

    fn hand_over(&mut self, admitted: Admitted) {
        let Admitted { socket, terms, worker } = admitted;
        if let Some(entrance) = &self.entrance
            && terms.encryption != Encryption::Off
        {
            return entrance.hand_in(Arrival { socket, terms, worker });
        }
        if worker == self.local.number {
            return self.open(socket, terms);
        }
        self.local.outbox.send(worker, Message::Connection(socket, terms));
    }

    fn poll_acceptor(&mut self) {
        if self.stopping {
            return;
        }
        let Some(acceptor) = &mut self.acceptor else { return };
        let admitted = acceptor.poll(&mut self.driver, &self.local.node, self.local.counters());
        admitted.into_iter().for_each(|admitted| self.hand_over(admitted));
    }

    /// What is done once a second, and the beginning of the end.
    fn keep_house(&mut self) {
        if self.local.node.stopping.load(Ordering::Relaxed) && !self.stopping {
            self.begin_to_stop();
        }
        let seconds = self.local.now.seconds.0;
        if std::mem::replace(&mut self.kept_house, seconds) == seconds {
            return;
        }
        self.local.inputs.age();
        self.poll_datagrams();
        let limit = self.local.node.config.idle_timeout_seconds;
        if limit == 0 {
            return;
        }
        for ticket in
            self.connections.tickets(|c| c.presence.idle_seconds(seconds) > limit && c.awaits_request())
        {
            self.local.counters().idle_kicks.add(1);
            self.close(ticket, Reason::IdleTimeout);
        }
    }

    fn flush_outbox(&mut self) {
        let (driver, doors) = (&mut self.driver, &self.doors);
        self.local.outbox.flush(|worker| {
            if doors.bell(worker).must_wake() {
                driver.wake(worker, doors);
            }
        });
        let (writes, batches) = self.local.outbox.take_counts();
        if batches > 0 {
            self.local.counters().mesh_writes.add(writes);
            self.local.counters().mesh_batches.add(batches);
        }
    }

    /// Ends the turn with the one system call. Sleep is announced to the other workers and to reclamation only
    /// around it.
    fn submit(&mut self) {
        let wait = self.wait();
        if wait == Wait::No {
            return self.driver.submit(wait);
        }
        if wait == Wait::Alarm && self.spin.is_due() && self.finds_work() {
            return;
        }
        self.doors.bell(self.local.number).announce_sleep();
        if self.inbox.is_empty() {
            self.local.counters().sleeps.add(1);
            let _asleep = self.local.reader.sleep();
            self.driver.submit(wait);
        } else {
            self.driver.submit(Wait::No);
        }
        self.doors.bell(self.local.number).announce_awake();
    }

    /// Looks for something to do before sleep, with everything handed over to the kernel.
    fn finds_work(&mut self) -> bool {
        self.driver.submit(Wait::No);
        let (driver, inbox) = (&mut self.driver, &mut self.inbox);
        let found = self.spin.look(|| driver.has_news() || !inbox.is_empty());
        self.local.counters().looks.add(1);
        if found {
            self.local.counters().looks_paid.add(1);
            // What has come may be deferred work of the kernel's.
            self.driver.submit(Wait::No);
        }
        found
    }

    /// How long the worker may sleep: the one place that decides it. Without work until the next second begins,
    /// when the coarse clock steps and house is kept.
    fn wait(&self) -> Wait {
        if !self.completions.is_empty() || !self.resume.is_empty() || !self.unsent.is_empty() {
            return Wait::No;
        }
        let has_unsent = self.datagrams.as_ref().is_some_and(|datagrams| datagrams.has_unsent());
        let has_more = self.links.as_ref().is_some_and(|links| links.has_more());
        let has_more = has_more || self.upstream.as_ref().is_some_and(|upstream| upstream.has_more());
        if has_unsent || has_more || !self.errands.is_empty() {
            return Wait::No;
        }
        if self.local.outbox.is_blocked() {
            return Wait::UpTo(Duration::from_micros(100));
        }
        if self.maintains {
            return Wait::UpTo(Duration::from_millis(1));
        }
        if self.stopping || self.acceptor.as_ref().is_some_and(Acceptor::rests) {
            return Wait::UpTo(Duration::from_millis(10));
        }
        if let Some(timeout) = self.local.held.as_ref().and_then(|held| held.next_timeout(self.local.at)) {
            return Wait::UpTo(timeout.max(Duration::from_millis(1)));
        }
        if let Some(timeout) =
            self.upstream.as_ref().and_then(|upstream| upstream.next_timeout(self.local.at))
        {
            return Wait::UpTo(timeout.max(Duration::from_millis(1)));
        }
        if !self.watching.is_empty() {
            return Wait::UpTo(Duration::from_millis(WATCH_PAUSE_MILLIS));
        }
        Wait::Alarm
    }

    fn begin_to_stop(&mut self) {
        self.stopping = true;
        self.stop_deadline = Some(Instant::now() + STOP_TIME_MAX);
        // The `shutdown` command sets the flag on one worker only.
        self.doors.wake_all();
        if let Some(acceptor) = &mut self.acceptor {
            acceptor.close(&mut self.driver, &self.local.node);
        }
        if let Some(datagrams) = &self.datagrams {
            datagrams.stop(&mut self.driver);
        }
        self.close_links(false, true);
        for ticket in self.connections.tickets(|connection| connection.phase == Phase::Open) {
            self.end_input(ticket);
        }
    }

    /// Whether this worker may end: every worker has sent its last answer, or the time is over. Until then it
    /// serves the others' writes.
    fn has_stopped(&mut self) -> bool {
        let Some(deadline) = self.stop_deadline else { return false };
        let has_answered = self.connections.is_empty()
            && self.datagrams.as_ref().is_none_or(|datagrams| datagrams.is_drained());
        if !self.drained && has_answered && self.local.outbox.is_idle() {
            self.drained = true;
            self.local.node.draining.fetch_sub(1, Ordering::Relaxed);
        }
        self.local.node.draining.load(Ordering::Relaxed) == 0 || Instant::now() >= deadline
    }
}

/// The coarse clock may be this much behind.
const CLOCK_STEP_MILLIS: u64 = 5;
