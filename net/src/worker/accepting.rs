//! New connections: accepted by one worker, spread over all.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use crate::config::Terms;
use crate::driver::Driver;
use crate::node::Node;
use crate::server::Listener;
use crate::stats::Counters;
use crate::sys;

/// The text that a refused client gets.
const TOO_MANY: &[u8] = b"ERROR Too many open connections\r\n";
/// How long accepting rests when descriptors have run out.
const REST: Duration = Duration::from_millis(10);

/// Belongs to the worker that owns the listeners.
pub struct Acceptor {
    listeners: Vec<Armed>,
    /// Without `maxconns_fast`: accepted past the limit, served when there is room.
    held: VecDeque<(OwnedFd, Terms)>,
    /// Since when it holds somebody back.
    holds_since: Option<Instant>,
    rests_until: Option<Instant>,
}

struct Armed {
    listener: Listener,
    /// The kernel accepts on it.
    armed: bool,
}

/// A connection that may be served, by that worker.
pub struct Admitted {
    /// The connection.
    pub socket: OwnedFd,
    /// What its listener says of it.
    pub terms: Terms,
    /// Who serves it; already counted there.
    pub worker: u16,
}

impl Acceptor {
    /// Accepts on `listeners` from the first [`Acceptor::poll`] on.
    pub fn new(listeners: Vec<Listener>) -> Self {
        let listeners = listeners.into_iter().map(|listener| Armed { listener, armed: false }).collect();
        Self { listeners, held: VecDeque::new(), holds_since: None, rests_until: None }
    }

    /// Takes what the kernel told about a listener. Past the limit on connections the client is refused, or held
    /// back; when descriptors run out, accepting rests instead of failing over and over.
    pub fn handle_accepted(
        &mut self,
        listener: u32,
        accepted: io::Result<OwnedFd>,
        more: bool,
        node: &Node,
        counters: &Counters,
    ) -> Option<Admitted> {
        // Completions may come after the listeners were closed.
        let listener = self.listeners.get_mut(listener as usize)?;
        listener.armed &= more;
        let terms = listener.listener.terms;
        match accepted {
            Ok(socket) => self.admit(socket, terms, node, counters),
            Err(error) => {
                self.handle_error(&error, counters);
                None
            }
        }
    }

    fn admit(&mut self, socket: OwnedFd, terms: Terms, node: &Node, counters: &Counters) -> Option<Admitted> {
        if node.roster.count() < node.config.connections_max {
            return Some(Admitted { socket, terms, worker: node.roster.assign() });
        }
        if node.config.maxconns_fast {
            // What does not fit is lost: the close says enough.
            let _ = sys::send_now(socket.as_fd(), TOO_MANY);
            counters.rejected_connections.add(1);
        } else {
            self.held.push_back((socket, terms));
            if self.holds_since.is_none() {
                self.holds_since = Some(Instant::now());
                counters.listen_disabled.add(1);
                counters.not_accepting.add(1);
            }
        }
        None
    }

    fn handle_error(&mut self, error: &io::Error, counters: &Counters) {
        match error.raw_os_error() {
            Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM) => {
                tracing::info!(%error, "accepting rests");
                counters.listen_disabled.add(1);
                self.rests_until = Some(Instant::now() + REST);
            }
            Some(libc::ECANCELED) => {}
            _ => tracing::debug!(%error, "a connection was gone before it was accepted"),
        }
    }

    /// Goes on accepting where it stopped; once per turn. Returns connections that were held back and have room.
    pub fn poll(&mut self, driver: &mut Driver, node: &Node, counters: &Counters) -> Vec<Admitted> {
        let mut admitted = Vec::new();
        while node.roster.count() < node.config.connections_max
            && let Some((socket, terms)) = self.held.pop_front()
        {
            admitted.push(Admitted { socket, terms, worker: node.roster.assign() });
        }
        if self.held.is_empty()
            && let Some(since) = self.holds_since.take()
        {
            counters.not_accepting.sub(1);
            counters.listen_disabled_micros.add(since.elapsed().as_micros() as u64);
        }
        if self.rests_until.is_some_and(|until| Instant::now() >= until) {
            self.rests_until = None;
        }
        let accepts = self.held.is_empty() && self.rests_until.is_none();
        for (number, listener) in (0..).zip(&mut self.listeners) {
            if accepts && !listener.armed {
                driver.accept(number, listener.listener.socket.as_fd());
                listener.armed = true;
            } else if !self.held.is_empty() && listener.armed {
                // Asked again in each turn until its last completion has come; asking twice does no harm.
                driver.stop_accepting(number);
            }
        }
        admitted
    }

    /// Whether it waits for a time or for room and has to be polled without an event.
    pub fn rests(&self) -> bool {
        self.rests_until.is_some() || !self.held.is_empty()
    }

    /// Closes the listeners and whom they held back.
    pub fn close(&mut self, driver: &mut Driver, node: &Node) {
        node.roster.listen_no_more();
        self.held.clear();
        for (number, Armed { listener, armed }) in (0..).zip(self.listeners.drain(..)) {
            tracing::debug!(socket = listener.socket.as_raw_fd(), "listener closed");
            if armed {
                driver.stop_accepting(number);
            }
            driver.close(listener.socket);
        }
    }
}
