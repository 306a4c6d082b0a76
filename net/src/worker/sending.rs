//! From a session's output to the socket: one send per connection at a time, partial sends, slow readers.

use super::Worker;
use super::connections::Phase;
use crate::driver::Outgoing;
use crate::limits::OUTPUT_BYTES_HIGH;
use crate::mesh::Ticket;
use crate::observe::events::Reason;
use std::os::fd::AsFd;

impl Worker {
    /// Starts a send for every connection that has answers and none under way. Once per turn.
    pub(super) fn start_sends(&mut self) {
        let mut unsent = std::mem::take(&mut self.unsent);
        for ticket in unsent.drain(..) {
            let Some(connection) = self.connections.find(ticket) else { continue };
            connection.listed_unsent = false;
            if connection.flight.is_some() {
                continue;
            }
            if connection.sealed.is_some() {
                self.send_sealed(ticket);
            } else if let Some(outgoing) = connection.output.take() {
                let prompt = connection.sends_promptly(outgoing.left());
                connection.flight =
                    Some(self.driver.send(ticket, connection.socket.as_fd(), outgoing, prompt));
            }
        }
        self.unsent = unsent;
        if let Some(datagrams) = &mut self.datagrams {
            datagrams.start_sends(&mut self.driver);
        }
    }

    /// Takes the end of a send. What the socket had no room for is sent again, and the kernel waits for the room.
    pub(super) fn handle_sent(
        &mut self,
        ticket: Ticket,
        outgoing: Box<Outgoing>,
        result: Result<usize, i32>,
    ) {
        if ticket.is_own() {
            return match ticket.link_place() {
                Some(_) => self.handle_link_sent(ticket, outgoing, result),
                None => self.handle_upstream_sent(ticket, outgoing, result),
            };
        }
        let connection = self.connections.find(ticket).expect("a connection stays until its send has ended");
        connection.flight = None;
        if connection.sealed.is_none() {
            self.local.counters().bytes_written.add(result.unwrap_or(0) as u64);
        }
        let broken = !matches!(result, Ok(_) | Err(libc::EAGAIN | libc::EINTR));
        if broken || connection.phase == Phase::Closing {
            self.spare.put(outgoing);
            return self.close(ticket, Reason::Error);
        }
        connection.reads_slowly = outgoing.left() > 0;
        if outgoing.left() > 0 {
            connection.flight = Some(self.driver.send(ticket, connection.socket.as_fd(), outgoing, false));
            return;
        }
        self.spare.put(outgoing);
        self.list_unsent(ticket);
        self.list_resume(ticket);
        self.close_if_done(ticket);
    }

    /// Notes that a connection may have something to send.
    pub(super) fn list_unsent(&mut self, ticket: Ticket) {
        let Some(connection) = self.connections.find(ticket) else { return };
        if connection.has_unsent() && !connection.listed_unsent {
            connection.listed_unsent = true;
            self.unsent.push(ticket);
        }
    }

    /// Notes that a session which holds its input back for lack of room, or for the sake of others, may go on in
    /// the next turn. One that waits for an outcome goes on with that.
    pub(super) fn list_resume(&mut self, ticket: Ticket) {
        let Some(connection) = self.connections.find(ticket) else { return };
        if connection.holds
            && connection.phase <= Phase::Ended
            && !connection.listed_resume
            && connection.session.writes_waiting() == 0
        {
            connection.listed_resume = true;
            let list = if connection.session.is_watching() { &mut self.watching } else { &mut self.resume };
            list.push(ticket);
        }
    }

    /// Takes sessions whose output is still full off the list: the end of their send puts them on again.
    pub(super) fn drop_blocked_resumes(&mut self) {
        let connections = &mut self.connections;
        self.resume.retain(|ticket| {
            let Some(connection) = connections.find(*ticket) else { return false };
            let waiting = connection.output.as_ref().map_or(0, |outgoing| outgoing.left());
            connection.listed_resume = waiting < OUTPUT_BYTES_HIGH || connection.flight.is_none();
            connection.listed_resume
        });
    }
}
