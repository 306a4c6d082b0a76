//! From a checked configuration to running workers, and back to nothing.
//!
//! `tcp`, `udp` and `unix` make the sockets, `files` writes what others read about the process, `memory_file` keeps the
//! memory of `-e`, `operators` lets `ringctl` in, `restoring` begins with
//! a backup, `roster` knows who is connected, `reload` what SIGHUP reads again; `tls` reads certificates, and
//! `handshakes` is the thread that uses them.

mod addresses;
mod files;
pub mod handshakes;
mod memory_file;
mod operators;
pub mod reload;
mod replication;
mod restoring;
pub mod roster;
mod tcp;
pub mod tls;
mod udp;
mod unix;

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};
use std::thread;

use glommio::{ExecutorJoinHandle, LocalExecutorBuilder, Placement};
use ringcache_engine::{Engine, EngineOptions, OpenError, Seconds, Shard};

use crate::auth::{Auth, UserFileError};
use crate::backup::BackupError;
use crate::config::{Config, Encryption, Terms};
use crate::driver::{self, Refusal};
use crate::errand::{self, Errands};
use crate::limits::{
    DESCRIPTORS_PER_WORKER, DESCRIPTORS_RESERVED, EXECUTOR_BYTES, EXECUTOR_RING_DEPTH, ITEM_CAS_BYTES,
};
use crate::mesh::{self, Doors};
use crate::node::Node;
use crate::replication::operator::Operator;
use crate::sys::{self, Resource, Signal};
use crate::worker::{Seed, Worker};
use handshakes::{Entrance, Exit, Handshakes};
use memory_file::{FileError, Keeper};
use operators::Entry;
use tls::{Tls, TlsError};

/// A socket that connections are accepted on.
pub struct Listener {
    /// Bound, and listening.
    pub socket: OwnedFd,
    /// What holds for its connections.
    pub terms: Terms,
}

/// What clients reach a node by.
struct Sockets {
    listeners: Vec<Listener>,
    /// Of each worker.
    datagrams: Vec<Vec<OwnedFd>>,
}

/// Why a node did not start, or could not go on.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The machine lacks something.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// A socket.
    #[error("failed to listen on {what}: {source}")]
    Listen {
        /// Port or path.
        what: String,
        /// The kernel's reason.
        source: io::Error,
    },
    /// `-c` needs more descriptors than may be opened.
    #[error(
        "failed to set the limit of open files to {needed} ({source}): try running as root, or ask for less with -c"
    )]
    OpenFiles {
        /// For `-c` connections and the process itself.
        needed: u64,
        /// The kernel's reason.
        source: io::Error,
    },
    /// `-u`.
    #[error("can't find the user {0} to switch to")]
    NoSuchUser(String),
    /// The users of `-S` or `-Y`.
    #[error(transparent)]
    Users(#[from] UserFileError),
    /// The certificates of `-Z`.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The memory of the records.
    #[error(transparent)]
    Engine(#[from] OpenError),
    /// The memory file of `-e`.
    #[error("-e {path}: {source}")]
    MemoryFile {
        /// As given.
        path: String,
        /// What is wrong with it.
        source: FileError,
    },
    /// The backups of `--restore`.
    #[error("--restore: {0}")]
    Restore(#[from] BackupError),
    /// A worker's executor.
    #[error("cannot start a worker: {0}")]
    Executor(String),
    /// Anything else.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// The kernel's reason.
        source: io::Error,
    },
}

/// `EX_NOUSER` of sysexits.h.
const EXIT_NO_USER: i32 = 67;

impl ServeError {
    /// What the process exits with, as memcached would.
    pub fn exit_code(&self) -> i32 {
        match self {
            ServeError::NoSuchUser(_) => EXIT_NO_USER,
            ServeError::Engine(OpenError::TooSmall { .. }) | ServeError::Users(_) => {
                crate::config::EXIT_FAILURE
            }
            ServeError::Tls(_) => crate::config::EXIT_USAGE,
            _ => crate::config::EXIT_SYSTEM,
        }
    }
}

/// Serves until a signal or a command stops the node. Everything that can be refused is refused before the process
/// goes into the background.
pub fn serve(config: Config) -> Result<(), ServeError> {
    sys::hold_back_signals();
    sys::survive_file_size_limit();
    driver::check()?;
    raise_limits(&config)?;
    // Before the sockets, because the user of -u may not be allowed to read the key.
    let tls = Arc::new(Tls::of(&config));
    if config.tls.enabled {
        tls.load()?;
    }
    let sockets = listen_as_user(&config)?;
    let entry = operators::listen(&config, &sockets)?;
    let opened = replication::open(&config)?;
    let auth = Arc::new(Auth::of(&config));
    auth.load()?;
    let (engine, mut shards, keeper) = open_engine(&config)?;
    restoring::restore(&config, &engine, &mut shards)?;
    if config.daemonize {
        // A core dump is written to the directory that the process is in.
        let (keeps_directory, keeps_output) = (config.core_dumps, config.verbosity > 0);
        sys::daemonize(keeps_directory, keeps_output)
            .map_err(|source| ServeError::System { what: "cannot daemonize", source })?;
    }
    if config.lock_memory
        && let Err(error) = sys::lock_all_memory()
    {
        tracing::warn!(%error, "-k: memory can't be locked");
    }
    let started = Seconds((sys::unix_millis() / 1000) as u32);
    let replicating = opened.as_ref().map(|opened| Arc::clone(&opened.replication));
    let node = Arc::new(Node { auth, tls, replicating, ..Node::new(config, engine, started) });
    if node.auth.has_file() {
        let auth = Arc::clone(&node.auth);
        node.reload.announce(move || auth.reload());
    }
    if node.config.tls.enabled {
        let tls = Arc::clone(&node.tls);
        node.reload.announce(move || tls.reload());
    }
    run(&node, shards, sockets, opened, entry, keeper)
}

/// Opens the engine, on the memory file of `-e` where there is one.
fn open_engine(config: &Config) -> Result<(Engine, Vec<Shard>, Option<Keeper>), ServeError> {
    let options = engine_options(config);
    let Some(path) = &config.memory_file else {
        let (engine, shards) = Engine::open(&options, config.workers)?;
        return Ok((engine, shards, None));
    };
    let (engine, shards, keeper) = Keeper::open(path, &options, config.workers)?;
    Ok((engine, shards, Some(keeper)))
}

/// Runs the workers of a node until all of them have ended, and leaves their records to the next start if that was
/// asked for.
fn run(
    node: &Arc<Node>,
    shards: Vec<Shard>,
    sockets: Sockets,
    opened: Option<replication::Opened>,
    entry: Option<Entry>,
    keeper: Option<Keeper>,
) -> Result<(), ServeError> {
    let config = &node.config;
    let ports = files::PortLines::of(&sockets);
    sockets.listeners.iter().for_each(|listener| node.roster.listen(listener.socket.as_raw_fd()));
    for (worker, sockets) in (0..).zip(&sockets.datagrams) {
        sockets.iter().for_each(|socket| node.roster.listen_to_datagrams(worker, socket.as_raw_fd()));
    }
    let Started { workers, doors, errands } = start_workers(node, shards, sockets)?;
    await_signals(Arc::clone(node), doors);
    if let Some(opened) = opened {
        let replication = Arc::clone(&opened.replication);
        let operator = Operator::new(replication, errands.clone(), opened.port());
        let is_first = node.replication.set(Arc::new(operator)).is_ok();
        assert!(is_first, "a node is started once");
        opened.start(node, &errands)?;
    }
    let place = entry.map(|entry| entry.open(node, errands)).transpose()?;
    let pid_file = files::PidFile::write(config);
    ports.write(config);
    tracing::info!(workers = config.workers, "serving");
    let mut shards = Vec::new();
    for worker in workers {
        shards.extend(worker.join().map_err(|error| ServeError::Executor(error.to_string()))?);
    }
    drop(place);
    if let Some(path) = &config.socket_path {
        unix::remove(path);
    }
    if let Some(keeper) = &keeper
        && node.keeping.load(Ordering::SeqCst)
    {
        keeper.keep(node, shards);
    }
    // In this order: who waits for the pid file to go may start at once.
    drop(keeper);
    drop(pid_file);
    Ok(())
}

/// The threads of the workers, each of which returns its shard if it got as far as serving.
type Workers = Vec<ExecutorJoinHandle<Option<Shard>>>;

/// Running workers and the ways to them.
struct Started {
    workers: Workers,
    doors: Arc<Doors>,
    errands: Errands,
}

/// Starts a pinned thread per shard and returns once each of them has its ring.
fn start_workers(node: &Arc<Node>, shards: Vec<Shard>, sockets: Sockets) -> Result<Started, ServeError> {
    let (ends, doors) = mesh::mesh(node.config.workers)
        .map_err(|source| ServeError::System { what: "cannot make events", source })?;
    let (mut entrance, mut exits) = start_handshakes(node, &doors)?;
    let (errands, trays) = errand::errands(node.config.workers, Arc::clone(&doors));
    let processors = sys::allowed_processors();
    let pins = processors.len() >= shards.len();
    let (ready, all_ready) = mpsc::channel();
    let mut listeners = Some(sockets.listeners);
    let mut workers = Workers::new();
    let parts = shards.into_iter().zip(ends).zip(sockets.datagrams).zip(trays);
    for (number, (((shard, mesh), datagram_sockets), errands)) in parts.enumerate() {
        let seed = Seed {
            shard,
            mesh,
            reader: node.engine.reader(),
            node: Arc::clone(node),
            doors: Arc::clone(&doors),
            listeners: listeners.take().unwrap_or_default(),
            datagram_sockets,
            entrance: entrance.take(),
            exit: exits.next(),
            errands,
        };
        let placement = if pins { Placement::Fixed(processors[number]) } else { Placement::Unbound };
        workers.push(start_worker(seed, placement, ready.clone())?);
    }
    drop(ready);
    all_ready.iter().collect::<Result<(), Refusal>>()?;
    Ok(Started { workers, doors, errands })
}

/// Starts the thread of handshakes, where connections are encrypted, and gives its ends.
fn start_handshakes(
    node: &Arc<Node>,
    doors: &Arc<Doors>,
) -> Result<(Option<Entrance>, std::vec::IntoIter<Exit>), ServeError> {
    if !node.config.tls.enabled {
        return Ok((None, Vec::new().into_iter()));
    }
    let (handshakes, entrance, exits) = Handshakes::new(node.config.workers)
        .map_err(|source| ServeError::System { what: "cannot make events", source })?;
    handshakes.start(Arc::clone(node), Arc::clone(doors))?;
    Ok((Some(entrance), exits.into_iter()))
}

fn start_worker(
    seed: Seed,
    placement: Placement,
    ready: mpsc::Sender<Result<(), Refusal>>,
) -> Result<ExecutorJoinHandle<Option<Shard>>, ServeError> {
    LocalExecutorBuilder::new(placement)
        .name(&format!("worker-{}", seed.shard.id().0))
        .io_memory(EXECUTOR_BYTES)
        .ring_depth(EXECUTOR_RING_DEPTH)
        .spawn(move || async move {
            let made = Worker::new(seed);
            let (worker, result) = match made {
                Ok(worker) => (Some(worker), Ok(())),
                Err(refusal) => (None, Err(refusal)),
            };
            ready.send(result).expect("the starting thread waits for every worker");
            drop(ready);
            match worker {
                Some(worker) => Some(worker.run().await),
                None => None,
            }
        })
        .map_err(|error| ServeError::Executor(error.to_string()))
}

/// Starts the thread that waits for signals. It ends with the process.
fn await_signals(node: Arc<Node>, doors: Arc<Doors>) {
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            loop {
                match sys::wait_for_signal() {
                    Signal::Reload => node.reload.run(),
                    signal @ (Signal::Stop | Signal::StopAndKeep) => {
                        tracing::info!("stopping");
                        if signal == Signal::StopAndKeep {
                            node.keeping.store(true, Ordering::SeqCst);
                        }
                        node.stopping.store(true, Ordering::SeqCst);
                        doors.wake_all();
                    }
                }
            }
        })
        .expect("a thread can be started before the first connection");
}

fn raise_limits(config: &Config) -> Result<(), ServeError> {
    let workers = u64::from(config.workers);
    let datagram_sockets = if config.udp_port.is_some() { 2 * config.listen.len().max(1) as u64 } else { 0 };
    let per_worker = DESCRIPTORS_PER_WORKER + datagram_sockets;
    let needed = u64::from(config.connections_max) + DESCRIPTORS_RESERVED + workers * per_worker;
    sys::raise_limit(Resource::OpenFiles, needed)
        .map_err(|source| ServeError::OpenFiles { needed, source })?;
    if config.core_dumps {
        let most = sys::limit(Resource::CoreDump).map_or(0, |limit| limit.most);
        sys::raise_limit(Resource::CoreDump, u64::MAX)
            .or_else(|_| sys::raise_limit(Resource::CoreDump, most))
            .map_err(|source| ServeError::System { what: "failed to allow core dumps", source })?;
    }
    Ok(())
}

/// Opens the listeners and becomes the user of `-u`. A port may need root; the file of a Unix socket has to belong
/// to the user, who else could neither connect to it nor remove it.
fn listen_as_user(config: &Config) -> Result<Sockets, ServeError> {
    let Some(path) = &config.socket_path else {
        let sockets = Sockets { listeners: tcp::listen(config)?, datagrams: udp::bind(config)? };
        drop_privileges(config)?;
        return Ok(sockets);
    };
    drop_privileges(config)?;
    let terms = Terms { encryption: Encryption::Off, ..Terms::default() };
    let listener = Listener { socket: unix::listen(path, config)?, terms };
    Ok(Sockets { listeners: vec![listener], datagrams: udp::bind(config)? })
}

fn drop_privileges(config: &Config) -> Result<(), ServeError> {
    let Some(name) = &config.user else {
        if sys::is_root() {
            tracing::warn!("running as root: give a user with -u");
        }
        return Ok(());
    };
    if !sys::is_root() {
        return Ok(());
    }
    let user = sys::find_user(name).ok_or_else(|| ServeError::NoSuchUser(name.clone()))?;
    sys::become_user(user)
        .map_err(|source| ServeError::System { what: "failed to assume the identity of -u", source })
}

fn engine_options(config: &Config) -> EngineOptions {
    EngineOptions {
        memory_bytes: config.memory_bytes,
        shards: config.workers,
        // Without CAS uniques memcached's items are smaller by one; the engine measures them with it.
        item_bytes_max: config.item_bytes_max + if config.cas { 0 } else { ITEM_CAS_BYTES as u32 },
        evictions: config.evictions,
        huge_pages: config.huge_pages,
        slab_bytes: None,
        node: config.replication.node_number,
        log_changes: config.logs_changes(),
    }
}
