//! What a worker does for those who look on; nothing but one look per turn while nobody does.

use std::os::fd::{AsRawFd, RawFd};

use super::Worker;
use crate::mesh::Ticket;
use crate::mesh::batch::WriteBatch;
use crate::observe::Streams;
use crate::observe::events::{Event, Peer, Reason};
use crate::session::Session;
use crate::sys::{self, End};

impl Worker {
    /// Hands the events of this turn to the watchers, and what waits for its own watchers to their connections.
    pub(super) fn serve_observers(&mut self) {
        let observers = &self.local.node.observers;
        self.local.shard.remember_evicted(observers.wants(Streams::EVICTIONS));
        if observers.wanted() != Streams(0) {
            for evicted in self.local.shard.take_evicted() {
                observers.note(self.local.number, &Event::Evict(&evicted, self.local.now));
            }
            observers.flush(self.local.number, self.local.now);
        }
        if !self.watching.is_empty() {
            let mut watching = std::mem::take(&mut self.watching);
            watching.retain(|ticket| self.connections.find(*ticket).is_some());
            watching.iter().for_each(|ticket| self.go_on(*ticket, Session::handle_room));
            watching.append(&mut self.watching);
            self.watching = watching;
        }
    }

    /// Notes the writes of a batch that came back.
    pub(super) fn note_executed(&self, batch: &WriteBatch) {
        let node = &self.local.node;
        if node.observers.wanted() == Streams(0) {
            return;
        }
        for done in batch.executed() {
            let observer = node.observers.observer(self.local.number, done.ticket, &node.roster);
            observer.wrote(done.key, done.op, done.value_bytes, done.outcome, self.local.now);
        }
    }

    /// Notes that a connection was opened.
    pub(super) fn note_open(&self, socket: &impl AsRawFd) {
        if self.local.node.observers.wants(Streams::CONNEVENTS) {
            let event = Event::Open(peer(socket.as_raw_fd()));
            self.local.node.observers.note(self.local.number, &event);
        }
    }

    /// Notes that a connection is closed.
    pub(super) fn note_close(&mut self, ticket: Ticket, reason: Reason) {
        if !self.local.node.observers.wants(Streams::CONNEVENTS) {
            return;
        }
        let Some(connection) = self.connections.find(ticket) else { return };
        let event = Event::Close(peer(connection.socket.as_raw_fd()), reason);
        self.local.node.observers.note(self.local.number, &event);
    }
}

fn peer(socket: RawFd) -> Peer {
    Peer { address: sys::socket_address(socket, End::Peer), socket }
}
