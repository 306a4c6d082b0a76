//! A worker's connection to the upstream, and the questions on their way to it and back.
//!
//! What is asked, kept and given up is decided in `warming/`; here it is carried. Questions of sessions are taken once per
//! turn, behind their requests, so that they leave with the same system call.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use ringcache_engine::ShardId;

use super::connections::Receiving;
use super::{Local, Worker};
use crate::driver::{Driver, Outgoing, Received};
use crate::mesh::{Message, Ticket};
use crate::node::Node;
use crate::replication::node::Role;
use crate::warming::fetches::Waiting;
use crate::warming::source::{Ground, Source};
use crate::warming::{Ask, Connected, Lost, Warming};

/// What a worker has of the upstream.
pub(super) struct Upstream {
    source: Source,
    warming: Arc<Warming>,
    line: Option<Box<Line>>,
    /// Tells a connection from the ones before it.
    generation: u32,
    /// What is to be said next.
    output: Box<Outgoing>,
    /// There is more to do than this turn allowed.
    has_more: bool,
}

/// A connection.
struct Line {
    socket: OwnedFd,
    /// A buffer that was sent, to be used again.
    spare: Option<Box<Outgoing>>,
    flight: Option<u32>,
    receiving: Receiving,
    /// Why it ends, as soon as the kernel has given back its requests.
    ending: Option<String>,
}

impl Upstream {
    /// None where the node has no upstream.
    pub fn of(node: &Node) -> Option<Box<Self>> {
        let warming = Arc::clone(node.warming.as_ref()?);
        let source = Source::new(node.config.warming.timeout, node.config.item_bytes_max);
        Some(Box::new(Self {
            source,
            warming,
            line: None,
            generation: 0,
            output: Box::default(),
            has_more: false,
        }))
    }

    /// Something is to be done without anything happening.
    pub fn has_more(&self) -> bool {
        self.has_more
    }

    /// How long until something is to be done.
    pub fn next_timeout(&self, at: Duration) -> Option<Duration> {
        self.source.next_timeout(at)
    }

    fn ticket(&self) -> Ticket {
        Ticket::of_upstream(self.generation)
    }

    fn ask(&mut self, waiting: Waiting, local: &mut Local) {
        self.source.ask(waiting, &mut local.ground(), &mut self.output.output.bytes);
    }

    /// Lets the source do what it can, and begins the end of a connection that is of no use.
    fn drive(&mut self, local: &mut Local) {
        let mut ground = local.ground();
        self.has_more = false;
        match self.source.poll(&mut ground) {
            Ok(has_more) => self.has_more = has_more,
            Err(fault) => {
                if let Some(line) = &mut self.line {
                    line.end(fault.to_string());
                }
            }
        }
        if self.line.as_ref().is_none_or(|line| line.ending.is_some()) {
            self.source.disconnect(&mut ground);
            self.output.clear();
        }
        let open = self.source.is_open(&ground);
        if open != self.warming.is_open(ground.shard.id()) {
            self.warming.set_open(ground.shard.id(), open);
        }
    }

    /// Sends what there is to say; closes the connection once the kernel has nothing of it any more.
    fn carry(&mut self, local: &Local, driver: &mut Driver) {
        let ticket = self.ticket();
        let Some(line) = &mut self.line else { return };
        if line.ending.is_none() {
            if line.flight.is_none() && self.output.left() > 0 {
                let outgoing = std::mem::replace(&mut self.output, line.spare.take().unwrap_or_default());
                line.flight = Some(driver.send(ticket, line.socket.as_fd(), outgoing, false));
            }
            return;
        }
        if !line.is_quiet(ticket, driver) {
            return;
        }
        let Line { socket, ending, .. } = *self.line.take().expect("looked at just before");
        let reason = ending.expect("looked at just before");
        driver.close(socket);
        local.counters().warm_errors.add(1);
        tracing::warn!(worker = local.number, "the connection to the upstream ended: {reason}");
        self.warming.lose(Lost { worker: local.number });
    }
}

impl Line {
    /// The first reason is the one that counts.
    fn end(&mut self, reason: String) {
        self.ending.get_or_insert(reason);
    }

    /// Whether the kernel has no request of it; asks for them back where it has.
    fn is_quiet(&mut self, ticket: Ticket, driver: &mut Driver) -> bool {
        if let Some(flight) = self.flight {
            driver.stop_sending(flight);
        }
        if self.receiving == Receiving::On {
            driver.stop_receiving(ticket);
            self.receiving = Receiving::Stopping;
        }
        self.flight.is_none() && self.receiving == Receiving::Off
    }
}

impl Worker {
    /// Takes a connection to the upstream.
    pub(super) fn connect_upstream(&mut self, connected: Connected) {
        let Connected { socket, dialect } = connected;
        let Some(upstream) = self.upstream.as_mut().filter(|upstream| upstream.line.is_none()) else {
            return self.driver.close(socket);
        };
        upstream.generation = upstream.generation.wrapping_add(1);
        self.driver.receive(upstream.ticket(), socket.as_fd());
        upstream.source.connect(dialect);
        upstream.line = Some(Box::new(Line {
            socket,
            spare: None,
            flight: None,
            receiving: Receiving::On,
            ending: None,
        }));
    }

    /// Takes what the upstream has said.
    pub(super) fn handle_upstream_received(&mut self, ticket: Ticket, received: Received, more: bool) {
        let upstream = self.upstream.as_mut().expect("only an upstream has such tickets");
        let line = upstream.line.as_mut().expect("a connection stays until its receive has ended");
        if !more {
            line.receiving = Receiving::Off;
        }
        match received {
            Received::Bytes(chunk) => {
                upstream.source.handle_bytes(self.driver.bytes(&chunk), self.local.at);
                self.driver.release(chunk);
            }
            Received::End => line.end("closed by the upstream".to_owned()),
            Received::Broken(number) => {
                line.end(std::io::Error::from_raw_os_error(number).to_string());
            }
            Received::NoBuffer | Received::Canceled => {}
        }
        if line.receiving == Receiving::Off && line.ending.is_none() {
            self.driver.receive(ticket, line.socket.as_fd());
            line.receiving = Receiving::On;
        }
    }

    /// Takes the end of a send to the upstream.
    pub(super) fn handle_upstream_sent(
        &mut self,
        ticket: Ticket,
        mut outgoing: Box<Outgoing>,
        result: Result<usize, i32>,
    ) {
        let upstream = self.upstream.as_mut().expect("only an upstream has such tickets");
        let line = upstream.line.as_mut().expect("a connection stays until its send has ended");
        line.flight = None;
        match result {
            Ok(_) | Err(libc::EAGAIN | libc::EINTR) if outgoing.left() > 0 && line.ending.is_none() => {
                line.flight = Some(self.driver.send(ticket, line.socket.as_fd(), outgoing, false));
                return;
            }
            Ok(_) | Err(libc::EAGAIN | libc::EINTR) => {}
            Err(number) => line.end(std::io::Error::from_raw_os_error(number).to_string()),
        }
        outgoing.reuse();
        line.spare = Some(outgoing);
    }

    /// A session of another worker wants something from the upstream.
    pub(super) fn handle_ask(&mut self, worker: u16, ask: Box<Ask>) {
        let upstream = self.upstream.as_mut().expect("who asks knows that there is one");
        upstream.ask((worker, ask), &mut self.local);
    }

    /// A question of a session of this worker is settled.
    pub(super) fn handle_settled(&mut self, ask: &Ask) {
        self.go_on(ask.ticket, |session, reach, output| session.handle_settled(ask, reach, output));
    }

    /// Everything that there is to do for the upstream in a turn.
    pub(super) fn poll_upstream(&mut self) {
        self.take_asks();
        let Self { upstream: Some(upstream), local, .. } = self else { return };
        local.give_up_as_replica();
        upstream.drive(local);
        for (worker, ask) in upstream.source.take_settled() {
            if worker == self.local.number {
                self.handle_settled(&ask);
            } else {
                self.local.outbox.send(worker, Message::Settled(ask));
            }
        }
        // Sessions that went on may have asked for more.
        self.take_asks();
        let Self { upstream: Some(upstream), local, driver, .. } = self else { return };
        upstream.has_more |= upstream.source.has_settled();
        upstream.carry(local, driver);
    }

    /// Takes the questions that sessions have left, to where they are answered.
    fn take_asks(&mut self) {
        let Self { upstream: Some(upstream), local, .. } = self else { return };
        let Some(lent) = &mut local.warming else { return };
        for ask in std::mem::take(&mut lent.asks) {
            let ShardId(owner) = ask.hash.shard(local.reader.shards());
            if owner == local.number {
                upstream.ask((owner, ask), local);
            } else {
                local.outbox.send(owner, Message::Ask(ask));
            }
        }
    }
}

impl Local {
    /// What the source works on.
    fn ground(&mut self) -> Ground<'_> {
        let lent = self.warming.as_mut().expect("where there is an upstream");
        Ground {
            shard: &mut self.shard,
            reader: &self.reader,
            written: &mut lent.written,
            gate: self.gate,
            config: &self.node.config,
            counters: &self.node.workers[usize::from(self.number)],
            now: self.now,
            at: self.at,
        }
    }

    /// What a source or a peer writes is not noted key by key, so a node that follows one asks its upstream no more.
    fn give_up_as_replica(&self) {
        let replicating = self.node.replicating.as_ref();
        if let Some(lent) = &self.warming
            && replicating.is_some_and(|replicating| replicating.role() != Role::Primary)
        {
            lent.written.note_all();
        }
    }
}
