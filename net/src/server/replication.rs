//! The threads of replication: one that decides when links are made, one that takes those of replicas, and short ones that
//! greet. No worker ever waits for a name, a connection or a greeting.

use std::collections::HashMap;
use std::fs;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream, ToSocketAddrs};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use ring::rand::{SecureRandom, SystemRandom};
use ringcache_engine::ShardId;

use super::ServeError;
use super::addresses::Group;
use crate::config::Config;
use crate::errand::{Errand, Errands};
use crate::limits::{
    LINK_DIAL_TIME, LINK_GREETING_TIME, LINK_GREETINGS_MAX, LINK_SECRET_BYTES_MAX, VERIFY_PEERS_MAX,
    VERIFY_SILENCE,
};
use crate::node::Node;
use crate::replication::coordinator::{Action, Coordinator, Event};
use crate::replication::greeting::{Greeting, Hello, Purpose};
use crate::replication::node::{Joined, JoinedEnd, Replication, Role, SourceId};
use crate::replication::operator::Dial;
use crate::replication::verify::here::Here;
use crate::replication::verify::there::{Wire, serve};
use crate::sys;

/// How far these threads give way to the workers.
const NICE: i32 = 5;

/// How often a replica looks whether its memory is enough.
const MEMORY_LOOK_EVERY: Duration = Duration::from_secs(5);

/// What is opened before the process goes into the background.
pub struct Opened {
    /// What all threads will share.
    pub replication: Arc<Replication>,
    listeners: Vec<TcpListener>,
    secret: Option<Arc<[u8]>>,
}

/// What the threads work with.
#[derive(Clone)]
struct Desk {
    node: Arc<Node>,
    replication: Arc<Replication>,
    errands: Errands,
    secret: Option<Arc<[u8]>>,
    /// Comparisons that other nodes have under way with this one.
    comparisons: Arc<AtomicUsize>,
    /// Links that were dialled, until the coordinator says whether they are opened.
    dialled: Arc<Mutex<HashMap<(SourceId, u16), Dialled>>>,
}

/// A link that was dialled and greeted.
struct Dialled {
    stream: TcpStream,
    peer: Hello,
    address: String,
    /// What came behind the greeting.
    early: Vec<u8>,
}

/// Opens what replication needs, where the node replicates.
///
/// Errors: a port that is taken, a secret or a node file that can't be read.
pub(super) fn open(config: &Config) -> Result<Option<Opened>, ServeError> {
    let options = &config.replication;
    if !options.is_wanted() {
        return Ok(None);
    }
    let secret = options.secret_file.as_deref().map(read_secret).transpose()?;
    let mut listeners = Vec::new();
    if let Some(port) = options.port {
        for group in Group::all(&Config { listen: listen_hosts(config), ..config.clone() }, port)? {
            let sockets = group.open("replication", |address| sys::listen_tcp(address, config.backlog))?;
            listeners.extend(sockets.into_iter().map(TcpListener::from));
        }
    }
    let (node, incarnation) = match &options.node_file {
        Some(path) => {
            identity(path).map_err(|source| ServeError::System { what: "the node file", source })?
        }
        None => (random_u128(), 1),
    };
    let replication = Arc::new(Replication::new(options.clone(), node, incarnation, random_u128()));
    Ok(Some(Opened { replication, listeners, secret: secret.map(Arc::from) }))
}

/// The hosts of `-l`, whose ports are for clients.
fn listen_hosts(config: &Config) -> Vec<crate::config::Listen> {
    let without_port =
        |listen: &crate::config::Listen| crate::config::Listen { port: None, ..listen.clone() };
    config.listen.iter().map(without_port).collect()
}

fn read_secret(path: &Path) -> Result<Vec<u8>, ServeError> {
    let system = |source| ServeError::System { what: "--replication-secret", source };
    let mut secret = Vec::new();
    let most = LINK_SECRET_BYTES_MAX as u64 + 1;
    fs::File::open(path).and_then(|file| file.take(most).read_to_end(&mut secret)).map_err(system)?;
    let text = secret.trim_ascii();
    if text.is_empty() || text.len() > LINK_SECRET_BYTES_MAX {
        let wrong = format!("a secret has 1 to {LINK_SECRET_BYTES_MAX} bytes");
        return Err(system(io::Error::new(io::ErrorKind::InvalidData, wrong)));
    }
    Ok(text.to_vec())
}

/// The node's name, and how often it was started: kept in a file, which is replaced whole.
fn identity(path: &Path) -> io::Result<(u128, u64)> {
    let invalid =
        |_| io::Error::new(io::ErrorKind::InvalidData, format!("{} is no node file", path.display()));
    let (node, incarnation) = match fs::read_to_string(path) {
        Ok(text) => {
            let (node, incarnation) = text.trim().split_once(' ').unwrap_or((text.trim(), ""));
            let node = u128::from_str_radix(node, 16).map_err(invalid)?;
            (node, incarnation.parse::<u64>().map_err(invalid)?.saturating_add(1))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => (random_u128(), 1),
        Err(error) => return Err(error),
    };
    let beside = path.with_extension("new");
    let mut file = fs::File::create(&beside)?;
    writeln!(file, "{node:032x} {incarnation}")?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    Ok((node, incarnation))
}

fn random_u128() -> u128 {
    let mut bytes = [0; 16];
    SystemRandom::new().fill(&mut bytes).expect("the kernel gives random bytes");
    u128::from_le_bytes(bytes)
}

impl Opened {
    /// The port that replicas connect to.
    pub fn port(&self) -> Option<u16> {
        self.listeners.first().and_then(|listener| listener.local_addr().ok()).map(|address| address.port())
    }

    /// How the operator's commands reach another node.
    pub(super) fn dial(&self, node: &Arc<Node>, errands: &Errands) -> Dial {
        let desk = self.desk(node, errands);
        Box::new(move |address| {
            let (stream, _, early) = desk.dial(address, 0, Purpose::Comparison)?;
            set_patience(&stream)?;
            Ok(Wire::new(stream, &early))
        })
    }

    fn desk(&self, node: &Arc<Node>, errands: &Errands) -> Desk {
        Desk {
            node: Arc::clone(node),
            replication: Arc::clone(&self.replication),
            errands: errands.clone(),
            secret: self.secret.clone(),
            comparisons: Arc::default(),
            dialled: Arc::default(),
        }
    }

    /// Starts the threads. They end with the process.
    pub(super) fn start(self, node: &Arc<Node>, errands: &Errands) -> Result<(), ServeError> {
        let desk = self.desk(node, errands);
        let Opened { listeners, .. } = self;
        let (events, heard) = mpsc::channel();
        desk.replication.listen(events.clone());
        let greetings = Arc::new(AtomicUsize::new(0));
        for listener in listeners {
            let (desk, greetings) = (desk.clone(), Arc::clone(&greetings));
            start_thread("replicas", move || desk.accept(&listener, &greetings))?;
        }
        start_thread("replication", move || {
            sys::give_way(NICE);
            desk.coordinate(&heard, &events);
        })
    }
}

fn start_thread(name: &str, run: impl FnOnce() + Send + 'static) -> Result<(), ServeError> {
    let started = thread::Builder::new().name(name.to_owned()).spawn(run);
    started.map(drop).map_err(|source| ServeError::System { what: "cannot start a thread", source })
}

impl Desk {
    /// Carries out what the coordinator wants, and tells it what comes of it.
    fn coordinate(&self, heard: &mpsc::Receiver<Event>, events: &mpsc::Sender<Event>) {
        let options = &self.replication.options;
        let sources = options.replica_of.iter().cloned().collect();
        let histories = self.replication.histories().clone();
        let mut coordinator = Coordinator::new(self.replication.role(), histories, sources, random_u128);
        let began = Instant::now();
        let mut evictions = None;
        loop {
            self.watch_memory(&mut evictions);
            while let Some(action) = coordinator.poll(began.elapsed()) {
                self.act(action, events);
            }
            let due = coordinator.next_timeout().map(|due| due.saturating_sub(began.elapsed()));
            match heard.recv_timeout(due.unwrap_or(MEMORY_LOOK_EVERY).min(MEMORY_LOOK_EVERY)) {
                Ok(event) => coordinator.handle(event, began.elapsed()),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Says once that a replica evicts: it has less memory than its primary needs. `before`: what had been evicted when the
    /// node became a replica; `u64::MAX` when it was said.
    fn watch_memory(&self, before: &mut Option<u64>) {
        if self.replication.role() != Role::Replica {
            return *before = None;
        }
        let shards = (0..self.errands.workers()).map(|id| self.node.engine.stats(ShardId(id)));
        let lost: u64 = shards.map(|shard| shard.evictions + shard.no_memory).sum();
        if lost > *before.get_or_insert(lost) {
            tracing::warn!(lost, "this replica evicts: it has less memory than its primary's records need");
            *before = Some(u64::MAX);
        }
    }

    fn act(&self, action: Action, events: &mpsc::Sender<Event>) {
        match action {
            Action::SetRole(role) => {
                tracing::info!(role = role.name(), "the role has changed");
                self.replication.set_role(role);
                // Workers that sleep have to look at it.
                self.close_links(false, false);
            }
            Action::SetHistories(histories) => self.replication.set_histories(histories),
            // An operator who has gone does not wait for it.
            Action::Answer(reply, text) => drop(reply.send(Ok(text))),
            Action::CloseFollows => self.close_links(false, true),
            Action::CloseFeeds => self.close_links(true, false),
            Action::Dial { source, address, shard } => self.start_dialling(source, address, shard, events),
            Action::Open { source, shard, standing, progress, is_peer } => {
                let Some(Dialled { stream, peer, address, early }) = self.take_dialled(source, shard) else {
                    unreachable!("a link is entered before it is told of");
                };
                let end = JoinedEnd::Follow { source, shard, standing, progress, is_peer };
                let joined = Joined { socket: stream.into(), peer, address, early, end };
                self.hand_over(shard % self.errands.workers(), joined);
            }
            Action::Discard { source, shard } => drop(self.take_dialled(source, shard)),
        }
    }

    fn take_dialled(&self, source: SourceId, shard: u16) -> Option<Dialled> {
        self.dialled.lock().unwrap_or_else(PoisonError::into_inner).remove(&(source, shard))
    }

    fn start_dialling(&self, source: SourceId, address: String, shard: u16, events: &mpsc::Sender<Event>) {
        let (desk, heard) = (self.clone(), events.clone());
        let run = move || {
            let result = desk.dial(&address, shard, Purpose::Link).map(|(stream, peer, early)| {
                let shards = peer.shards;
                let dialled = Dialled { stream, peer, address, early };
                let mut waiting = desk.dialled.lock().unwrap_or_else(PoisonError::into_inner);
                waiting.insert((source, shard), dialled);
                shards
            });
            let result = result.map_err(|error| error.to_string());
            let _ = heard.send(Event::Dialled { source, shard, result });
        };
        if let Err(error) = start_thread("greeting", run) {
            let result = Err(format!("no thread to greet from: {error}"));
            let _ = events.send(Event::Dialled { source, shard, result });
        }
    }

    fn close_links(&self, feeds: bool, follows: bool) {
        for worker in 0..self.errands.workers() {
            // A worker that has ended has closed its links.
            let _ = self.errands.send(worker, Errand::CloseLinks { feeds, follows });
        }
    }

    fn hand_over(&self, worker: u16, joined: Joined) {
        let _ = self.errands.send(worker, Errand::Link(Box::new(joined)));
    }

    fn hello(&self, shard: u16, purpose: Purpose) -> Hello {
        let mut nonce = [0; 32];
        SystemRandom::new().fill(&mut nonce).expect("the kernel gives random bytes");
        Hello {
            node: self.replication.node,
            incarnation: self.replication.incarnation,
            number: self.replication.options.node_number,
            purpose,
            shards: self.errands.workers(),
            shard,
            nonce,
        }
    }

    /// Connects to `address` and greets it, about its shard `shard`.
    fn dial(&self, address: &str, shard: u16, purpose: Purpose) -> io::Result<(TcpStream, Hello, Vec<u8>)> {
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for resolved in address.to_socket_addrs()? {
            match TcpStream::connect_timeout(&resolved, LINK_DIAL_TIME) {
                Ok(stream) => {
                    let greeting = Greeting::dial(self.hello(shard, purpose), self.secret.as_deref());
                    let (peer, early) = greet(&stream, greeting)?;
                    return Ok((stream, peer, early));
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Takes the links of replicas.
    fn accept(&self, listener: &TcpListener, greetings: &Arc<AtomicUsize>) {
        sys::give_way(NICE);
        for stream in listener.incoming() {
            let stream = match stream {
                Ok(stream) => stream,
                Err(error) => {
                    tracing::warn!(%error, "a replica's connection can't be accepted");
                    thread::sleep(Duration::from_millis(100));
                    continue;
                }
            };
            if greetings.fetch_add(1, Ordering::Relaxed) >= LINK_GREETINGS_MAX {
                greetings.fetch_sub(1, Ordering::Relaxed);
                tracing::warn!("too many nodes are being greeted");
                continue;
            }
            let (desk, count) = (self.clone(), Arc::clone(greetings));
            let run = move || {
                let address =
                    stream.peer_addr().map_or_else(|_| "unknown".to_owned(), |peer| peer.to_string());
                let greeted = desk.greet_replica(&stream);
                count.fetch_sub(1, Ordering::Relaxed);
                match greeted {
                    Ok((peer, early)) if peer.purpose == Purpose::Comparison => {
                        desk.be_compared(stream, &early, &address);
                    }
                    Ok((peer, early)) => {
                        let joined =
                            Joined { socket: stream.into(), peer, address, early, end: JoinedEnd::Feed };
                        desk.hand_over(peer.shard, joined);
                    }
                    Err(error) => tracing::warn!(replica = address, "a link is refused: {error}"),
                }
            };
            if start_thread("greeting", run).is_err() {
                greetings.fetch_sub(1, Ordering::Relaxed);
            }
        }
    }

    /// Answers the questions of a node that compares itself with this one.
    fn be_compared(&self, stream: TcpStream, early: &[u8], address: &str) {
        let (node, replication) = (Arc::clone(&self.node), Arc::clone(&self.replication));
        let mut here = Here { node, replication, errands: self.errands.clone() };
        let is_welcome = self.comparisons.fetch_add(1, Ordering::Relaxed) < VERIFY_PEERS_MAX;
        sys::work_when_idle();
        let served = set_patience(&stream).map_err(Into::into).and_then(|()| {
            let mut wire = Wire::new(stream, early);
            if is_welcome { serve(&mut wire, &mut here) } else { wire.refuse("too many comparisons") }
        });
        self.comparisons.fetch_sub(1, Ordering::Relaxed);
        if let Err(error) = served {
            tracing::warn!(peer = address, "a comparison is broken off: {error}");
        }
    }

    fn greet_replica(&self, stream: &TcpStream) -> io::Result<(Hello, Vec<u8>)> {
        if self.node.stopping.load(Ordering::Relaxed) {
            return Err(io::Error::other("the node stops"));
        }
        greet(stream, Greeting::accept(self.hello(0, Purpose::Link), self.secret.as_deref()))
    }
}

/// A comparison is given up when the other node says nothing for too long.
fn set_patience(stream: &TcpStream) -> io::Result<()> {
    stream.set_read_timeout(Some(VERIFY_SILENCE))?;
    stream.set_write_timeout(Some(VERIFY_SILENCE))
}

/// Talks until both sides know each other. The whole of it has to be over in time.
fn greet(stream: &TcpStream, mut greeting: Greeting) -> io::Result<(Hello, Vec<u8>)> {
    let deadline = Instant::now() + LINK_GREETING_TIME;
    stream.set_nodelay(true)?;
    stream.set_write_timeout(Some(LINK_GREETING_TIME))?;
    let mut stream_ref = stream;
    let mut buffer = [0; 512];
    loop {
        stream_ref.write_all(&greeting.take_unsent())?;
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "the greeting took too long"));
        }
        stream.set_read_timeout(Some(left))?;
        let received = match stream_ref.read(&mut buffer) {
            Ok(0) => {
                return Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "the other node hung up: its log says why",
                ));
            }
            Ok(received) => received,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "the greeting took too long"));
            }
            Err(error) => return Err(error),
        };
        let done = greeting.handle_bytes(&buffer[..received]).map_err(io::Error::other)?;
        if let Some(peer) = done {
            stream_ref.write_all(&greeting.take_unsent())?;
            stream.set_read_timeout(None)?;
            stream.set_write_timeout(None)?;
            return Ok((peer, greeting.into_early()));
        }
    }
}
