//! The life of a connection: opened, fed with what was received, held back, drained, closed.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use ringcache_engine::{Outcome, ShardId};

use super::Worker;
use super::connections::{Connection, Phase, Receiving};
use crate::config::Terms;
use crate::driver::Received;
use crate::dump::Step;
use crate::limits::HELD_BYTES_MAX;
use crate::mesh::Ticket;
use crate::observe::events::Reason;
use crate::output::Output;
use crate::reach::Reach;
use crate::server::roster::Doing;
use crate::session::{Progress, Session};

impl Worker {
    /// Takes a new connection. It has been counted in the roster already.
    pub(super) fn open(&mut self, socket: OwnedFd, terms: Terms) {
        if let Some(ticket) = self.enter(socket, terms) {
            self.adjust_receiving(ticket);
        }
    }

    /// Gives a new connection its place; none once the node stops.
    pub(super) fn enter(&mut self, socket: OwnedFd, terms: Terms) -> Option<Ticket> {
        if self.stopping {
            self.local.node.roster.unassign(self.local.number);
            self.driver.close(socket);
            return None;
        }
        let ticket = self.connections.reserve();
        let (number, seconds) = (self.local.number, self.local.now.seconds.0);
        let presence = self.local.node.roster.enter(number, ticket.connection, socket.as_raw_fd(), seconds);
        self.note_open(&socket);
        self.connections.insert(ticket, Connection::new(socket, terms, presence));
        self.local.counters().curr_connections.add(1);
        self.local.counters().total_connections.add(1);
        tracing::debug!(worker = number, connection = ticket.connection, "connection opened");
        Some(ticket)
    }

    /// Takes what was received for a connection.
    pub(super) fn handle_received(&mut self, ticket: Ticket, received: Received, more: bool) {
        if ticket.is_own() {
            return match ticket.link_place() {
                Some(_) => self.handle_link_received(ticket, received, more),
                None => self.handle_upstream_received(ticket, received, more),
            };
        }
        if let Some(connection) = self.connections.find(ticket)
            && !more
        {
            connection.receiving = Receiving::Off;
        }
        match received {
            Received::Bytes(chunk) => {
                self.feed(ticket, &chunk);
                self.driver.release(chunk);
            }
            Received::End => self.end_input(ticket),
            Received::NoBuffer => tracing::trace!("no receive buffer was to be had"),
            Received::Canceled => {}
            Received::Broken(number) => {
                tracing::debug!(connection = ticket.connection, number, "connection broke");
                self.close(ticket, Reason::Error);
            }
        }
        self.adjust_receiving(ticket);
        self.close_if_done(ticket);
    }

    fn feed(&mut self, ticket: Ticket, chunk: &crate::driver::Chunk) {
        let Some(connection) = self.connections.find(ticket).filter(|c| c.phase == Phase::Open) else {
            return;
        };
        if connection.sealed.is_some() {
            return self.feed_sealed(ticket, chunk);
        }
        let bytes = self.driver.bytes(chunk);
        connection.presence.mark_active(self.local.now.seconds.0);
        connection.held_bytes += bytes.len();
        self.local.counters().bytes_read.add(bytes.len() as u64);
        let mut outgoing = connection.output.take().unwrap_or_else(|| self.spare.take());
        let mut reach = self.local.reach(ticket);
        let progress = connection.session.handle_bytes(bytes, &mut reach, &mut outgoing.output);
        connection.output = Some(outgoing);
        self.settle(ticket, progress);
    }

    /// Gives a session the outcome of one of its writes.
    pub(super) fn handle_outcome(&mut self, ticket: Ticket, shard: ShardId, outcome: &Outcome) {
        if let Some(place) = ticket.datagram_place() {
            return self.handle_datagram_outcome(place, ticket, shard, outcome);
        }
        self.go_on(ticket, |session, reach, output| session.handle_outcome(shard, outcome, reach, output));
    }

    /// Gives a session back the step of its dump that another worker has run.
    pub(super) fn handle_step(&mut self, ticket: Ticket, step: Box<Step>) {
        self.go_on(ticket, |session, reach, output| session.handle_step(step, reach, output));
    }

    /// Lets the sessions go on that were held back for lack of room.
    pub(super) fn resume_sessions(&mut self) {
        let mut resume = std::mem::take(&mut self.resume);
        for ticket in resume.drain(..) {
            if let Some(connection) = self.connections.find(ticket) {
                connection.listed_resume = false;
            }
            self.go_on(ticket, |session, reach, output| session.handle_room(reach, output));
        }
        // What was listed meanwhile is for the next turn.
        resume.append(&mut self.resume);
        self.resume = resume;
    }

    /// Calls into a session that is not over, with an output to write to.
    pub(super) fn go_on(
        &mut self,
        ticket: Ticket,
        call: impl FnOnce(&mut Session, &mut Reach<'_>, &mut Output) -> Progress,
    ) {
        let Some(connection) = self.connections.find(ticket).filter(|c| c.phase < Phase::Closing) else {
            return;
        };
        let mut outgoing = connection.output.take().unwrap_or_else(|| self.spare.take());
        let progress = call(&mut connection.session, &mut self.local.reach(ticket), &mut outgoing.output);
        connection.output = Some(outgoing);
        self.settle(ticket, progress);
        self.adjust_receiving(ticket);
        self.close_if_done(ticket);
    }

    /// Draws the consequences of a call into a session.
    pub(super) fn settle(&mut self, ticket: Ticket, progress: Progress) {
        let connection = self.connections.find(ticket).expect("its session was called just before");
        if let Some(outgoing) = connection.output.take_if(|outgoing| outgoing.output.is_empty()) {
            self.spare.put(outgoing);
        }
        connection.holds = progress == Progress::Hold;
        // A watcher's input is thrown away; receiving goes on, so that its end is seen.
        if !connection.holds || connection.session.is_watching() {
            connection.held_bytes = 0;
        }
        let goes_on = progress == Progress::Hold && !connection.session.is_watching();
        if progress == Progress::Close || (!goes_on && connection.phase == Phase::Ended) {
            connection.phase = connection.phase.max(Phase::Draining);
        }
        connection.presence.mark(match () {
            () if connection.phase >= Phase::Draining => Doing::Closing,
            () if connection.holds => Doing::Holding,
            () => Doing::Reading,
        });
        self.list_unsent(ticket);
        self.list_resume(ticket);
    }

    /// No more input comes: what the session has is finished, answered and sent, then the connection is closed.
    pub(super) fn end_input(&mut self, ticket: Ticket) {
        let Some(connection) = self.connections.find(ticket) else { return };
        let goes_on = connection.holds && !connection.session.is_watching();
        let end = if goes_on { Phase::Ended } else { Phase::Draining };
        connection.phase = connection.phase.max(end);
        self.adjust_receiving(ticket);
        self.close_if_done(ticket);
    }

    /// Receives exactly while the session takes input. A session that holds it back is given some more, because
    /// stopping costs two requests and most holds are short.
    pub(super) fn adjust_receiving(&mut self, ticket: Ticket) {
        let Some(connection) = self.connections.find(ticket) else { return };
        let is_wanted =
            connection.phase == Phase::Open && !(connection.holds && connection.held_bytes >= HELD_BYTES_MAX);
        match connection.receiving {
            Receiving::Off if is_wanted => {
                self.driver.receive(ticket, connection.socket.as_fd());
                connection.receiving = Receiving::On;
            }
            Receiving::On if !is_wanted => {
                self.driver.stop_receiving(ticket);
                connection.receiving = Receiving::Stopping;
            }
            _ => {}
        }
    }

    /// Closes a connection that is over and has sent everything.
    pub(super) fn close_if_done(&mut self, ticket: Ticket) {
        let end = if self.stopping { Reason::Shutdown } else { Reason::Normal };
        let Some(connection) = self.connections.find(ticket) else { return };
        match connection.phase {
            Phase::Draining if connection.is_drained() => self.close(ticket, end),
            // The reason was noted when it began to close.
            Phase::Closing => self.close(ticket, end),
            _ => {}
        }
    }

    /// Closes a connection, whatever it was doing. The socket and the place stay until the kernel has given back
    /// every request, so that none can touch a stranger's.
    pub(super) fn close(&mut self, ticket: Ticket, reason: Reason) {
        let Some(connection) = self.connections.find(ticket) else { return };
        if connection.phase != Phase::Closing {
            connection.phase = Phase::Closing;
            if let Some(flight) = connection.flight {
                self.driver.stop_sending(flight);
            }
            self.note_close(ticket, reason);
        }
        let connection = self.connections.find(ticket).expect("found above");
        if let Some(outgoing) = connection.output.take() {
            self.spare.put(outgoing);
        }
        if !connection.is_quiet() {
            return self.adjust_receiving(ticket);
        }
        let mut connection = self.connections.remove(ticket).expect("found above");
        if let Some(sealed) = &mut connection.sealed {
            sealed.say_goodbye(&connection.socket);
        }
        self.local.node.roster.leave(self.local.number, ticket.connection);
        self.local.counters().curr_connections.sub(1);
        tracing::debug!(worker = self.local.number, connection = ticket.connection, "connection closed");
        self.driver.close(connection.socket);
    }
}
