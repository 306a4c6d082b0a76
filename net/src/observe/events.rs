//! What is noted for watchers, and memcached's text of it.

use std::fmt::Display;
use std::io::Write;
use std::net::SocketAddr;

use ringcache_engine::{Evicted, Lookup, Miss, Now, Outcome, Status, Store, StoreMode};

use super::Streams;
use crate::dump::push_encoded;

/// Something that happened.
pub enum Event<'e> {
    /// A key was read.
    Fetch {
        /// The key.
        key: &'e [u8],
        /// What was there.
        got: Got,
        /// Descriptor of the connection.
        socket: i32,
    },
    /// A store was tried.
    Store {
        /// The key.
        key: &'e [u8],
        /// What was asked; its value may be missing.
        store: &'e Store<'e>,
        /// Bytes of the value that came with it.
        value_bytes: usize,
        /// How it ended.
        outcome: &'e Outcome,
        /// When.
        now: Now,
        /// Descriptor of the connection.
        socket: i32,
    },
    /// A record was deleted.
    Delete {
        /// The key.
        key: &'e [u8],
        /// How it ended.
        outcome: &'e Outcome,
    },
    /// A record was evicted.
    Evict(&'e Evicted, Now),
    /// A connection was opened.
    Open(Peer),
    /// A connection is closed.
    Close(Peer, Reason),
    /// A handshake failed, or what a client encrypted can't be read.
    Unencrypted {
        /// Descriptor of the connection.
        socket: i32,
        /// What is wrong.
        reason: &'e dyn Display,
    },
}

/// What a read found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Got {
    /// A value of this many bytes.
    Found {
        /// Its length.
        value_bytes: usize,
    },
    /// Nothing to show.
    Nothing(Miss),
}

/// The other end of a connection.
pub struct Peer {
    /// None for a Unix socket, or when it is gone already.
    pub address: Option<SocketAddr>,
    /// Descriptor.
    pub socket: i32,
}

/// Why a connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It broke.
    Error,
    /// Its client ended it.
    Normal,
    /// It was idle for longer than `-o idle_timeout`.
    IdleTimeout,
    /// The node stops.
    Shutdown,
}

impl Got {
    /// From a lookup.
    pub fn found(found: &Lookup<'_>) -> Self {
        match found {
            Lookup::Hit(record) => Got::Found { value_bytes: record.value().len() },
            Lookup::Miss(miss) => Got::Nothing(*miss),
        }
    }

    /// From a write that looks the record up, like a touch.
    pub(super) fn of(outcome: &Outcome) -> Self {
        match outcome.status {
            Status::NotFound => Got::Nothing(Miss::Absent),
            _ => Got::Found { value_bytes: outcome.value_bytes as usize },
        }
    }
}

impl Event<'_> {
    pub(super) fn stream(&self) -> Streams {
        match self {
            Event::Fetch { .. } => Streams::FETCHERS,
            Event::Store { .. } => Streams::MUTATIONS,
            Event::Delete { .. } => Streams::DELETIONS,
            Event::Evict(..) => Streams::EVICTIONS,
            Event::Open(_) | Event::Close(..) | Event::Unencrypted { .. } => Streams::CONNEVENTS,
        }
    }

    /// Appends the part of the line behind time and number.
    fn push(&self, out: &mut Vec<u8>) {
        match self {
            Event::Fetch { key, got, socket } => push_fetch(key, *got, *socket, out),
            Event::Store { key, store, value_bytes, outcome, now, socket } => {
                let ttl = store.expiry.left(now.seconds).unwrap_or(0);
                let (status, command) = (store_status(outcome.status), store_command(store));
                begin("item_store", key, out);
                end(
                    out,
                    format_args!(
                        "status={status} cmd={command} ttl={ttl} clsid=1 cfd={socket} size={value_bytes}"
                    ),
                );
            }
            Event::Delete { key, outcome } => {
                begin("deleted", key, out);
                end(out, format_args!("cmd=delete clsid=1 size={}", outcome.value_bytes));
            }
            Event::Evict(evicted, now) => {
                let fetch = if evicted.fetched { "yes" } else { "no" };
                let ttl = evicted.expiry.left(now.seconds).map_or(-1, i64::from);
                begin("eviction", &evicted.key, out);
                let (idle, size) = (evicted.idle_seconds, evicted.value_bytes);
                end(out, format_args!("fetch={fetch} ttl={ttl} la={idle} clsid=1 size={size}"));
            }
            Event::Open(peer) => push_connection("conn_new", peer, None, out),
            Event::Close(peer, reason) => push_connection("conn_close", peer, Some(*reason), out),
            Event::Unencrypted { socket, reason } => {
                end(out, format_args!("type=conntlserr fd={socket} msg={reason}"));
            }
        }
    }
}

fn begin(kind: &str, key: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b"type=");
    out.extend_from_slice(kind.as_bytes());
    out.extend_from_slice(b" key=");
    push_encoded(key, out);
    out.push(b' ');
}

fn end(out: &mut Vec<u8>, rest: impl Display) {
    writeln!(out, "{rest}").expect("a Vec takes every write");
}

fn push_fetch(key: &[u8], got: Got, socket: i32, out: &mut Vec<u8>) {
    let (status, class, size) = match got {
        Got::Found { value_bytes } => ("found", 1, value_bytes),
        Got::Nothing(Miss::Absent) => ("not_found", 0, 0),
        Got::Nothing(Miss::Expired) => ("expired", 1, 0),
        Got::Nothing(Miss::Flushed) => ("flushed", 1, 0),
    };
    begin("item_get", key, out);
    end(out, format_args!("status={status} clsid={class} cfd={socket} size={size}"));
}

fn push_connection(kind: &str, peer: &Peer, reason: Option<Reason>, out: &mut Vec<u8>) {
    let (host, port, transport) = match peer.address {
        Some(address) => (address.ip().to_string(), address.port(), "tcp"),
        None => ("unix".to_owned(), 0, "local"),
    };
    let reason = match reason {
        None => "",
        Some(Reason::Error) => " reason=error",
        Some(Reason::Normal) => " reason=normal",
        Some(Reason::IdleTimeout) => " reason=idle_timeout",
        Some(Reason::Shutdown) => " reason=shutdown",
    };
    let socket = peer.socket;
    end(out, format_args!("type={kind} rip={host} rport={port} transport={transport}{reason} cfd={socket}"));
}

fn store_status(status: Status) -> &'static str {
    match status {
        Status::Stored | Status::Created => "stored",
        Status::Exists => "exists",
        Status::NotFound => "not_found",
        Status::TooLarge => "too_large",
        Status::NoMemory => "no_memory",
        _ => "not_stored",
    }
}

fn store_command(store: &Store<'_>) -> &'static str {
    match store.mode {
        StoreMode::Set if store.compare.is_some() => "cas",
        StoreMode::Set => "set",
        StoreMode::Add => "add",
        StoreMode::Replace => "replace",
        StoreMode::Append => "append",
        StoreMode::Prepend => "prepend",
    }
}

/// Events of one worker on their way to the watchers, at most until the end of its turn.
pub(super) struct Events {
    text: Vec<u8>,
    /// Where in `text` each one ends, and its stream.
    ends: Vec<(usize, Streams)>,
    bytes_max: usize,
    dropped: u64,
}

impl Events {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { text: Vec::new(), ends: Vec::new(), bytes_max, dropped: 0 }
    }

    pub(super) fn push(&mut self, event: &Event<'_>) {
        let before = self.text.len();
        event.push(&mut self.text);
        if self.text.len() > self.bytes_max {
            self.text.truncate(before);
            self.dropped += 1;
            return;
        }
        self.ends.push((self.text.len(), event.stream()));
    }

    /// Events that found no room since this was last asked.
    pub(super) fn take_dropped(&mut self) -> u64 {
        std::mem::take(&mut self.dropped)
    }

    /// Every event's text and stream, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&[u8], Streams)> {
        let starts = std::iter::once(0).chain(self.ends.iter().map(|(end, _)| *end));
        starts.zip(&self.ends).map(|(start, (end, stream))| (&self.text[start..*end], *stream))
    }

    /// Forgets them and gives the memory of a burst back.
    pub(super) fn clear(&mut self) {
        self.text.clear();
        self.ends.clear();
        self.ends.shrink_to(1024);
    }
}
