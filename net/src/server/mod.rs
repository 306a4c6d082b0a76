//! From a checked configuration to running workers, and back to nothing.
//!
//! `tcp`, `udp` and `unix` make the sockets, `berths` the threads of the workers, `files` writes what others read about the
//! process, `memory_file` keeps the memory of `-e`, `operators` lets `ringctl` in, `restoring` begins with a backup,
//! `roster` knows who is connected, `reload` what SIGHUP reads again; `tls` reads certificates, and
//! `handshakes` is the thread that uses them.

mod addresses;
mod berths;
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
mod warming;

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;

use ringcache_engine::{Engine, EngineOptions, OpenError, Seconds, Shard};

use crate::auth::{Auth, UserFileError};
use crate::backup::BackupError;
use crate::config::{Config, Encryption, Terms};
use crate::driver::{self, Refusal};
use crate::errand::{self, Errands};
use crate::limits::{DESCRIPTORS_PER_WORKER, DESCRIPTORS_RESERVED, ITEM_CAS_BYTES};
use crate::mesh::{self, Doors, MeshEnd};
use crate::node::Node;
use crate::replication::operator::Operator;
use crate::replication::verify::here::Here;
use crate::sys::{self, Resource, Signal};
use crate::warming::Warming;
use crate::worker::Seed;
use berths::{Berth, Running};
use files::PortLines;
use handshakes::{Entrance, Exit, Handshakes};
use memory_file::{Claim, FileError, Keeper};
use operators::Entry;
use restoring::Backups;
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
    let backups = Backups::check(&config)?;
    let records = Records::claim(&config, &backups)?;
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
    let ports = PortLines::of(&sockets);
    let stations = Stations::make(config.workers, sockets)?;
    let (engine, shards, keeper) = records.open(&config, &backups)?;
    let started = Seconds((sys::unix_millis() / 1000) as u32);
    let replicating = opened.as_ref().map(|opened| Arc::clone(&opened.replication));
    let warming = config.warming.upstream.is_some().then(|| Arc::new(Warming::new(config.workers)));
    let node = Arc::new(Node { auth, tls, replicating, warming, ..Node::new(config, engine, started) });
    if node.auth.has_file() {
        let auth = Arc::clone(&node.auth);
        node.reload.announce(move || auth.reload());
    }
    if node.config.tls.enabled {
        let tls = Arc::clone(&node.tls);
        node.reload.announce(move || tls.reload());
    }
    run(&node, shards, stations, &ports, opened, entry, keeper)
}

/// Where the records will be.
enum Records {
    /// In memory that goes with the process.
    Anonymous(Engine, Vec<Shard>),
    /// In the file of `-e`.
    File(Claim),
}

impl Records {
    /// Finds out what can be refused while the start is in the foreground.
    fn claim(config: &Config, backups: &Backups) -> Result<Self, ServeError> {
        let options = engine_options(config);
        let Some(path) = &config.memory_file else {
            let (engine, mut shards) = Engine::open(&options, config.workers)?;
            backups.install(&engine, &mut shards)?;
            return Ok(Records::Anonymous(engine, shards));
        };
        Ok(Records::File(Claim::of(path, options.memory_bytes)?))
    }

    /// The engine. What an earlier process left is taken: if this start fails from here on, nobody finds it again.
    fn open(
        self,
        config: &Config,
        backups: &Backups,
    ) -> Result<(Engine, Vec<Shard>, Option<Keeper>), ServeError> {
        match self {
            Records::Anonymous(engine, shards) => Ok((engine, shards, None)),
            Records::File(claim) => {
                let (engine, mut shards, keeper) = claim.open(&engine_options(config), config.workers)?;
                backups.install(&engine, &mut shards)?;
                Ok((engine, shards, Some(keeper)))
            }
        }
    }
}

/// Runs the workers of a node until all of them have ended, and leaves their records to the next start if that was
/// asked for.
fn run(
    node: &Arc<Node>,
    shards: Vec<Shard>,
    stations: Stations,
    ports: &PortLines,
    opened: Option<replication::Opened>,
    entry: Option<Entry>,
    keeper: Option<Keeper>,
) -> Result<(), ServeError> {
    let config = &node.config;
    stations.listeners.iter().for_each(|listener| node.roster.listen(listener.socket.as_raw_fd()));
    for (worker, sockets) in (0..).zip(&stations.datagram_sockets) {
        sockets.iter().for_each(|socket| node.roster.listen_to_datagrams(worker, *socket));
    }
    let Started { workers, doors, errands } = start_workers(node, shards, stations)?;
    await_signals(Arc::clone(node), doors);
    if let Some(opened) = opened {
        let replication = Arc::clone(&opened.replication);
        let here = Here { node: Arc::clone(node), replication, errands: errands.clone() };
        let operator = Operator::new(here, opened.port(), opened.dial(node, &errands));
        let is_first = node.replication.set(Arc::new(operator)).is_ok();
        assert!(is_first, "a node is started once");
        opened.start(node, &errands)?;
    }
    if let (Some(warming), Some(upstream)) = (&node.warming, &config.warming.upstream) {
        warming::start(upstream.clone(), warming, errands.clone())?;
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

/// What workers begin with, all but their shards.
struct Stations {
    berths: Vec<Berth>,
    ends: Vec<MeshEnd>,
    doors: Arc<Doors>,
    listeners: Vec<Listener>,
    /// Of each worker, which has them by now.
    datagram_sockets: Vec<Vec<RawFd>>,
}

impl Stations {
    fn make(workers: u16, sockets: Sockets) -> Result<Self, ServeError> {
        let (ends, doors) = mesh::mesh(workers)
            .map_err(|source| ServeError::System { what: "cannot make events", source })?;
        let names = |sockets: &Vec<OwnedFd>| sockets.iter().map(AsRawFd::as_raw_fd).collect();
        let datagram_sockets = sockets.datagrams.iter().map(names).collect();
        let berths = Berth::make_all(sockets.datagrams, &doors)?;
        Ok(Self { berths, ends, doors, listeners: sockets.listeners, datagram_sockets })
    }
}

/// Running workers and the ways to them.
struct Started {
    workers: Vec<Running>,
    doors: Arc<Doors>,
    errands: Errands,
}

/// Gives each worker its shard.
fn start_workers(node: &Arc<Node>, shards: Vec<Shard>, stations: Stations) -> Result<Started, ServeError> {
    let Stations { berths, ends, doors, listeners, .. } = stations;
    let (mut entrance, mut exits) = start_handshakes(node, &doors)?;
    let (errands, trays) = errand::errands(node.config.workers, Arc::clone(&doors));
    let mut listeners = Some(listeners);
    let parts = shards.into_iter().zip(ends).zip(berths).zip(trays);
    let workers = parts.map(|(((shard, mesh), berth), errands)| {
        berth.launch(Seed {
            shard,
            mesh,
            reader: node.engine.reader(),
            node: Arc::clone(node),
            doors: Arc::clone(&doors),
            listeners: listeners.take().unwrap_or_default(),
            entrance: entrance.take(),
            exit: exits.next(),
            errands,
        })
    });
    Ok(Started { workers: workers.collect(), doors: Arc::clone(&doors), errands })
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
