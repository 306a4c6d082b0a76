//! Encrypted connections: from what was received to their session, and from its answers to what is sent.
//!
//! Handshakes are over when a connection comes here. Answers are encrypted when they are sent, as many as go with one
//! send, so that a large value does not need its size a second time.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::Ordering;

use super::connections::{Connection, Phase};
use super::{Local, Worker};
use crate::driver::{Chunk, Outgoing};
use crate::mesh::Ticket;
use crate::observe::Streams;
use crate::observe::events::{Event, Reason};
use crate::server::handshakes::Newcomer;
use crate::session::Progress;
use crate::sys;
use crate::tls::{Broken, Channel};

/// What an encrypted connection has besides.
pub struct Sealed {
    channel: Box<Channel>,
    /// Answers of which only a part is encrypted; those of the connection come behind them.
    plain: Option<Box<Outgoing>>,
}

impl Sealed {
    fn new(channel: Box<Channel>) -> Box<Self> {
        Box::new(Self { channel, plain: None })
    }

    /// Something waits to be sent, beside the output of the connection.
    pub fn has_unsent(&self) -> bool {
        self.plain.is_some() || self.channel.has_unsent()
    }

    /// Tells the peer that nothing follows, as far as that goes without waiting.
    pub fn say_goodbye(&mut self, socket: &OwnedFd) {
        let mut last = Vec::new();
        if self.plain.is_none() && self.channel.say_goodbye(&mut last).is_ok() {
            // A peer that has gone already misses nothing.
            let _ = sys::send_now(socket.as_fd(), &last);
        }
    }
}

impl Worker {
    /// Takes the connections whose handshakes are over.
    pub(super) fn take_newcomers(&mut self) {
        while let Some(newcomer) = self.exit.as_ref().and_then(|exit| exit.try_recv().ok()) {
            self.open_sealed(newcomer);
        }
    }

    fn open_sealed(&mut self, newcomer: Newcomer) {
        let Newcomer { socket, terms, channel, early } = newcomer;
        let Some(ticket) = self.enter(socket, terms) else { return };
        let connection = self.connections.find(ticket).expect("it was entered just before");
        let has_ended = channel.has_ended();
        connection.sealed = Some(Sealed::new(channel));
        if !early.is_empty() {
            let bytes = early.len();
            self.local.counters().bytes_read.add(bytes as u64);
            connection.held_bytes += bytes;
            self.go_on(ticket, |session, reach, output| session.handle_bytes(&early, reach, output));
        }
        if has_ended {
            self.end_input(ticket);
        }
        self.adjust_receiving(ticket);
    }

    /// Takes what was received for an encrypted connection.
    pub(super) fn feed_sealed(&mut self, ticket: Ticket, chunk: &Chunk) {
        let connection = self.connections.find(ticket).expect("its phase was asked just before");
        let Connection { session, output, sealed, .. } = connection;
        let channel = &mut sealed.as_mut().expect("the caller has looked").channel;
        let mut outgoing = output.take().unwrap_or_else(|| self.spare.take());
        let mut reach = self.local.reach(ticket);
        let mut progress = None;
        let mut bytes = 0;
        // A limit on requests is one of all that was received, in however many records.
        let is_limited = reach.node.config.requests_limit != u32::MAX;
        let mut together = Vec::new();
        let result = channel.handle_bytes(self.driver.bytes_mut(chunk), |plain| {
            bytes += plain.len();
            if is_limited {
                return together.extend_from_slice(plain);
            }
            progress = Some(session.handle_bytes(plain, &mut reach, &mut outgoing.output));
        });
        if !together.is_empty() {
            progress = Some(session.handle_bytes(&together, &mut reach, &mut outgoing.output));
        }
        let has_ended = channel.has_ended();
        *output = Some(outgoing);
        connection.held_bytes += bytes;
        connection.presence.mark_active(self.local.now.seconds.0);
        self.local.counters().bytes_read.add(bytes as u64);
        let unchanged = if connection.holds { Progress::Hold } else { Progress::Receive };
        self.settle(ticket, progress.unwrap_or(unchanged));
        match result {
            Err(broken) => self.break_off(ticket, &broken),
            Ok(()) if has_ended => self.end_input(ticket),
            Ok(()) => {}
        }
    }

    /// Ends a connection whose peer does not keep to the protocol. It gets an alert; the reason is for the log.
    fn break_off(&mut self, ticket: Ticket, broken: &Broken) {
        self.complain(ticket, broken);
        let connection = self.connections.find(ticket).expect("its bytes were taken just before");
        connection.phase = connection.phase.max(Phase::Draining);
        let sealed = connection.sealed.as_mut().expect("only an encrypted connection breaks so");
        let unsent = [connection.output.take(), sealed.plain.take()];
        unsent.into_iter().flatten().for_each(|outgoing| self.spare.put(outgoing));
        self.list_unsent(ticket);
    }

    fn complain(&self, ticket: Ticket, broken: &Broken) {
        let Local { node, number, .. } = &self.local;
        let tls = &node.tls;
        if node.observers.wants(Streams::CONNEVENTS) {
            let socket = node.roster.socket(*number, ticket);
            node.observers.note(*number, &Event::Unencrypted { socket, reason: broken });
        }
        tls.proto_errors.fetch_add(1, Ordering::Relaxed);
        if let Some(unlogged) = tls.broken.admit(self.local.now.seconds) {
            tracing::warn!(connection = ticket.connection, unlogged, "TLS connection broke: {broken}");
        }
    }

    /// Encrypts the next answers of a connection that sends nothing, and sends them.
    pub(super) fn send_sealed(&mut self, ticket: Ticket) {
        let connection = self.connections.find(ticket).expect("the caller has found it");
        let sealed = connection.sealed.as_mut().expect("the caller has looked");
        if sealed.plain.is_none() {
            sealed.plain = connection.output.take();
        }
        let mut outgoing = self.spare.take();
        let into = &mut outgoing.output.bytes;
        let mut is_worn = false;
        if sealed.channel.is_broken() {
            // Only the alert goes; answers that came after the error can't be encrypted.
            sealed.plain.take().into_iter().for_each(|plain| self.spare.put(plain));
            into.append(&mut sealed.channel.take_unsent());
        } else if let Some(mut plain) = sealed.plain.take() {
            match sealed.channel.seal(&mut plain, self.local.node.tls.send_bytes(), into) {
                Ok(bytes) => {
                    self.local.counters().bytes_written.add(bytes as u64);
                    is_worn = sealed.channel.is_worn();
                }
                Err(broken) => {
                    self.complain(ticket, &broken);
                    return self.close(ticket, Reason::Error);
                }
            }
            if plain.left() > 0 {
                sealed.plain = Some(plain);
            } else {
                self.spare.put(plain);
            }
        } else {
            into.append(&mut sealed.channel.take_unsent());
        }
        if outgoing.left() == 0 {
            return self.spare.put(outgoing);
        }
        // The worker must not sleep over the end of a send that another one follows.
        let prompt = !is_worn && !connection.has_unsent() && connection.sends_promptly(outgoing.left());
        connection.flight = Some(self.driver.send(ticket, connection.socket.as_fd(), outgoing, prompt));
        if is_worn {
            self.end_input(ticket);
        }
    }
}
