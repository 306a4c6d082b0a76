//! The threads of the workers: each makes its ring, and waits there for the shard that it will own.
//!
//! Threads, rings and events are what a machine may lack. They are made before the memory file is opened, so that a start
//! which fails for them leaves the records of an earlier process to the next one.

use std::os::fd::OwnedFd;
use std::sync::{Arc, mpsc};

use glommio::{ExecutorJoinHandle, LocalExecutorBuilder, Placement};
use ringcache_engine::Shard;

use super::ServeError;
use crate::driver::{Driver, Refusal};
use crate::limits::{EXECUTOR_BYTES, EXECUTOR_RING_DEPTH};
use crate::mesh::Doors;
use crate::sys;
use crate::worker::{Seed, Worker};

/// A thread with its ring. It ends without a word when it is dropped before it was given anything.
pub(super) struct Berth {
    thread: ExecutorJoinHandle<Option<Shard>>,
    seeds: mpsc::Sender<Seed>,
}

/// The thread of a worker, which returns its shard when the node has stopped.
pub(super) type Running = ExecutorJoinHandle<Option<Shard>>;

impl Berth {
    /// Starts a thread for each element of `datagram_sockets`, pinned where there are processors enough. Returns once
    /// each of them has its ring.
    ///
    /// Errors: the system refuses a thread, a ring, or the memory for either.
    pub(super) fn make_all(
        datagram_sockets: Vec<Vec<OwnedFd>>,
        doors: &Arc<Doors>,
    ) -> Result<Vec<Berth>, ServeError> {
        let processors = sys::allowed_processors();
        let pins = processors.len() >= datagram_sockets.len();
        let (ready, all_ready) = mpsc::channel();
        let mut berths = Vec::with_capacity(datagram_sockets.len());
        for (number, sockets) in datagram_sockets.into_iter().enumerate() {
            let placement = if pins { Placement::Fixed(processors[number]) } else { Placement::Unbound };
            berths.push(Berth::make(number as u16, placement, sockets, Arc::clone(doors), ready.clone())?);
        }
        drop(ready);
        all_ready.iter().collect::<Result<(), Refusal>>()?;
        Ok(berths)
    }

    fn make(
        number: u16,
        placement: Placement,
        sockets: Vec<OwnedFd>,
        doors: Arc<Doors>,
        ready: mpsc::Sender<Result<(), Refusal>>,
    ) -> Result<Berth, ServeError> {
        let (seeds, seed) = mpsc::channel();
        let thread = LocalExecutorBuilder::new(placement)
            .name(&format!("worker-{number}"))
            .io_memory(EXECUTOR_BYTES)
            .ring_depth(EXECUTOR_RING_DEPTH)
            .spawn(move || async move {
                let made =
                    Driver::new(doors.event(number)).and_then(|driver| Worker::prepare(driver, sockets));
                let (prepared, result) = match made {
                    Ok(prepared) => (Some(prepared), Ok(())),
                    Err(refusal) => (None, Err(refusal)),
                };
                // Where another thread was refused, nobody waits for this one any more.
                let _ = ready.send(result);
                drop(ready);
                Some(Worker::new(seed.recv().ok()?, prepared?).run().await)
            })
            .map_err(|error| ServeError::Executor(error.to_string()))?;
        Ok(Berth { thread, seeds })
    }

    /// Lets the thread serve.
    pub(super) fn launch(self, seed: Seed) -> Running {
        self.seeds.send(seed).map_err(|_| ()).expect("a thread that has its ring waits");
        self.thread
    }
}
