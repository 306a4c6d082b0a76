//! Who is connected, for the limit on connections and for `stats conns`.
//!
//! Counts are atomics. The list of a worker's connections is locked when one opens or closes and while somebody
//! looks at it, never by a request; what a request changes of it are the atomics of its own [`Presence`].

use std::os::fd::RawFd;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use crossbeam_utils::CachePadded;

use crate::mesh::Ticket;
use crate::sys::{self, End};

/// All connections and listeners of a node.
pub struct Roster {
    workers: Box<[CachePadded<Connected>]>,
    listeners: Mutex<Vec<RawFd>>,
    /// With their workers.
    datagram_sockets: Mutex<Vec<(u16, RawFd)>>,
}

#[derive(Default)]
struct Connected {
    /// Connections that are with this worker or on their way to it.
    count: AtomicU32,
    /// Indexed by the place in the worker's table.
    list: Mutex<Vec<Option<Arc<Presence>>>>,
}

/// What others may see of a connection.
pub struct Presence {
    socket: RawFd,
    worker: u16,
    state: AtomicU8,
    /// Coarse Unix time of the last byte received.
    active_seconds: AtomicU32,
}

/// What a connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Doing {
    /// Waiting for requests.
    Reading,
    /// Waiting until answers were sent, or another worker's outcome.
    Holding,
    /// On its way out.
    Closing,
}

/// One line of the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Descriptor; unique among the lines.
    pub socket: RawFd,
    /// The worker that serves it; none for listeners.
    pub worker: Option<u16>,
    /// It is a socket for datagrams, of anyone.
    pub is_datagrams: bool,
    /// memcached's name of what it is doing.
    pub state: &'static str,
    /// Address of the client, or of the listener itself.
    pub address: String,
    /// Address that it connected to; none for listeners.
    pub listen_address: Option<String>,
    /// Seconds since the last byte came; none for listeners.
    pub idle_seconds: Option<u32>,
}

impl Roster {
    /// Nobody is connected to any of `workers`.
    pub fn new(workers: u16) -> Self {
        let workers = (0..workers).map(|_| CachePadded::new(Connected::default())).collect();
        Self { workers, listeners: Mutex::default(), datagram_sockets: Mutex::default() }
    }

    /// Connections of the whole node.
    pub fn count(&self) -> u32 {
        self.workers.iter().map(|worker| worker.count.load(Ordering::Relaxed)).sum()
    }

    /// Counts a connection for the worker that has the fewest and names that worker.
    pub fn assign(&self) -> u16 {
        let counts = self.workers.iter().map(|worker| worker.count.load(Ordering::Relaxed));
        let (worker, _) = counts.enumerate().min_by_key(|(_, count)| *count).expect("a node has a worker");
        self.workers[worker].count.fetch_add(1, Ordering::Relaxed);
        worker as u16
    }

    /// Takes a connection of `worker` off the count.
    pub fn unassign(&self, worker: u16) {
        self.workers[usize::from(worker)].count.fetch_sub(1, Ordering::Relaxed);
    }

    /// Lists the connection that `worker` has taken into `place`.
    pub fn enter(&self, worker: u16, place: u32, socket: RawFd, now_seconds: u32) -> Arc<Presence> {
        let presence = Arc::new(Presence {
            socket,
            worker,
            state: AtomicU8::new(Doing::Reading as u8),
            active_seconds: AtomicU32::new(now_seconds),
        });
        let mut list = self.list(worker);
        let place = place as usize;
        if list.len() <= place {
            list.resize(place + 1, None);
        }
        list[place] = Some(Arc::clone(&presence));
        presence
    }

    /// Takes a connection off the list and the count, before its socket is closed.
    pub fn leave(&self, worker: u16, place: u32) {
        self.list(worker)[place as usize] = None;
        self.unassign(worker);
    }

    /// The descriptor of a connection, or of the worker's socket for datagrams; 0 when there is none.
    pub fn socket(&self, worker: u16, ticket: Ticket) -> RawFd {
        if ticket.datagram_place().is_some() {
            let sockets = self.datagram_sockets.lock().expect("nothing panics while holding it");
            return sockets.iter().find(|(number, _)| *number == worker).map_or(0, |(_, socket)| *socket);
        }
        let place = ticket.connection;
        self.list(worker).get(place as usize).and_then(Option::as_ref).map_or(0, |presence| presence.socket)
    }

    /// Lists a listener.
    pub fn listen(&self, socket: RawFd) {
        self.listeners.lock().expect("nothing panics while holding it").push(socket);
    }

    /// Lists a socket that `worker` gets datagrams by.
    pub fn listen_to_datagrams(&self, worker: u16, socket: RawFd) {
        self.datagram_sockets.lock().expect("nothing panics while holding it").push((worker, socket));
    }

    /// Takes the listeners off the list, before their sockets are closed.
    pub fn listen_no_more(&self) {
        self.listeners.lock().expect("nothing panics while holding it").clear();
    }

    /// Everything that is listed. Two system calls for each line; a worker that opens or closes a connection waits
    /// for as long.
    pub fn lines(&self, now_seconds: u32) -> Vec<Line> {
        let listeners = self.listeners.lock().expect("nothing panics while holding it");
        let mut lines: Vec<Line> = listeners.iter().map(|socket| listener_line(*socket)).collect();
        drop(listeners);
        let sockets = self.datagram_sockets.lock().expect("nothing panics while holding it");
        lines.extend(sockets.iter().map(|(worker, socket)| datagrams_line(*worker, *socket)));
        drop(sockets);
        for worker in 0..self.workers.len() as u16 {
            let list = self.list(worker);
            lines.extend(list.iter().flatten().map(|presence| presence.line(now_seconds)));
        }
        lines
    }

    fn list(&self, worker: u16) -> MutexGuard<'_, Vec<Option<Arc<Presence>>>> {
        self.workers[usize::from(worker)].list.lock().expect("nothing panics while holding it")
    }
}

impl Presence {
    /// Notes that a byte came. A store only when the second is another one.
    #[inline]
    pub fn mark_active(&self, now_seconds: u32) {
        if self.active_seconds.load(Ordering::Relaxed) != now_seconds {
            self.active_seconds.store(now_seconds, Ordering::Relaxed);
        }
    }

    /// Notes what it is doing. A store only when that changed.
    #[inline]
    pub fn mark(&self, doing: Doing) {
        if self.state.load(Ordering::Relaxed) != doing as u8 {
            self.state.store(doing as u8, Ordering::Relaxed);
        }
    }

    /// Seconds since the last byte came.
    pub fn idle_seconds(&self, now_seconds: u32) -> u32 {
        now_seconds.saturating_sub(self.active_seconds.load(Ordering::Relaxed))
    }

    fn line(&self, now_seconds: u32) -> Line {
        let state = match self.state.load(Ordering::Relaxed) {
            reading if reading == Doing::Reading as u8 => "conn_read",
            holding if holding == Doing::Holding as u8 => "conn_mwrite",
            _ => "conn_closing",
        };
        Line {
            socket: self.socket,
            worker: Some(self.worker),
            is_datagrams: false,
            state,
            address: address(self.socket, End::Peer),
            listen_address: Some(address(self.socket, End::Local)),
            idle_seconds: Some(self.idle_seconds(now_seconds)),
        }
    }
}

fn listener_line(socket: RawFd) -> Line {
    let address = address(socket, End::Local);
    Line {
        socket,
        worker: None,
        is_datagrams: false,
        state: "conn_listening",
        address,
        listen_address: None,
        idle_seconds: None,
    }
}

fn datagrams_line(worker: u16, socket: RawFd) -> Line {
    // The kernel says of both kinds of sockets the same.
    let address = address(socket, End::Local).replacen("tcp", "udp", 1);
    Line { worker: Some(worker), is_datagrams: true, state: "conn_read", address, ..listener_line(socket) }
}

/// memcached's way to write an address.
fn address(socket: RawFd, end: End) -> String {
    match sys::socket_address(socket, end) {
        Some(v4) if v4.is_ipv4() => format!("tcp:{v4}"),
        Some(v6) => format!("tcp6:{v6}"),
        None => match sys::socket_path(socket) {
            Some(path) => format!("unix:{}", path.display()),
            None => "unix".to_owned(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::Roster;

    #[test]
    fn connections_go_where_there_are_fewest() {
        let roster = Roster::new(3);
        let mut counts = [0; 3];
        for _ in 0..30 {
            counts[usize::from(roster.assign())] += 1;
        }
        assert_eq!(counts, [10; 3]);
        assert_eq!(roster.count(), 30);
        roster.unassign(1);
        assert_eq!(roster.assign(), 1);
    }
}
