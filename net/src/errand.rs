//! Errands: bounded steps of work that a worker does for threads which are no workers.
//!
//! Backup, restore, replication and the operator's commands run on threads of their own, and only a shard's owner may
//! touch it. So each step travels to the owner, is done between two of its turns' parts, and its result travels back:
//!
//! ```text
//! thread     Errands::start -- channel --> Tray ... a turn of the worker: Errand::Run(step)
//!            Pending::wait <-- channel -----------------------------------'
//! ```
//!
//! A step has to be short, about as long as serving one receive buffer: requests of all connections wait meanwhile.
//! Some hundred KiB of records are one; the asking thread loops.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};

use crossbeam_utils::CachePadded;
use ringcache_engine::{Now, Reader, Shard};

use crate::mesh::Doors;
use crate::node::Node;
use crate::replication::node::Joined;
use crate::sys;
use crate::warming::Connected;

/// What an errand finds at its worker, for the length of one call.
pub struct Desk<'a> {
    /// The worker's shard.
    pub shard: &'a mut Shard,
    /// Its view of all shards.
    pub reader: &'a Reader,
    /// What all workers share.
    pub node: &'a Node,
    /// The worker's number, and its shard's.
    pub number: u16,
    /// The turn's time.
    pub now: Now,
}

/// A step to be run at a worker's desk.
type Step = Box<dyn FnOnce(&mut Desk<'_>) + Send>;

/// What a worker may be sent out for.
pub enum Errand {
    /// A bounded step.
    Run(Step),
    /// Serve a link to another node.
    Link(Box<Joined>),
    /// Ask the upstream over this connection.
    Upstream(Connected),
    /// Close links to other nodes.
    CloseLinks {
        /// Those of replicas.
        feeds: bool,
        /// Those to sources.
        follows: bool,
    },
}

/// The worker has ended, because the node stops; the errand was not done, or its result is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the node is stopping")]
pub struct Stopped;

/// The ways to all workers. Cheap to clone.
#[derive(Clone)]
pub struct Errands {
    ways: Arc<[Way]>,
    doors: Arc<Doors>,
}

/// The way to one worker.
struct Way {
    sender: mpsc::Sender<Errand>,
    waiting: Arc<Waiting>,
}

/// Errands that a worker has not taken: what it looks at in every turn is one word that seldom changes.
type Waiting = CachePadded<AtomicUsize>;

/// Where one worker takes its errands from.
pub struct Tray {
    receiver: mpsc::Receiver<Errand>,
    waiting: Arc<Waiting>,
}

/// The ways to `workers` workers and the tray of each, in order.
pub fn errands(workers: u16, doors: Arc<Doors>) -> (Errands, Vec<Tray>) {
    let (ways, trays): (Vec<_>, Vec<_>) = (0..workers)
        .map(|_| {
            let (sender, receiver) = mpsc::channel();
            let waiting = Arc::new(Waiting::default());
            (Way { sender, waiting: Arc::clone(&waiting) }, Tray { receiver, waiting })
        })
        .unzip();
    (Errands { ways: ways.into(), doors }, trays)
}

impl Tray {
    /// The errand that waits longest. One load when there is none.
    #[inline]
    pub fn take(&self) -> Option<Errand> {
        if self.is_empty() {
            return None;
        }
        let errand = self.receiver.try_recv().ok()?;
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        Some(errand)
    }

    /// Nothing waits.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.waiting.load(Ordering::Acquire) == 0
    }
}

impl Errands {
    /// Number of workers.
    pub fn workers(&self) -> u16 {
        self.ways.len() as u16
    }

    /// Sends an errand to a worker and wakes it. One system call; never waits.
    pub fn send(&self, worker: u16, errand: Errand) -> Result<(), Stopped> {
        let way = &self.ways[usize::from(worker)];
        way.sender.send(errand).map_err(|_| Stopped)?;
        // Behind the message, so that who sees the count finds it; before the signal, so that who wakes sees the count.
        way.waiting.fetch_add(1, Ordering::Release);
        sys::signal_event(self.doors.event(worker));
        Ok(())
    }

    /// Starts a step at a worker; [`Pending::wait`] gives its result. So that a worker never waits for the asking thread,
    /// start the next step before the result of this one is looked at.
    pub fn start<R: Send + 'static>(
        &self,
        worker: u16,
        step: impl FnOnce(&mut Desk<'_>) -> R + Send + 'static,
    ) -> Pending<R> {
        let (sender, receiver) = mpsc::sync_channel(1);
        let run = move |desk: &mut Desk<'_>| {
            // Who does not wait for the result does not want it.
            let _ = sender.send(step(desk));
        };
        // A step that was not sent is dropped with its end of the channel, which tells the waiting end.
        let _ = self.send(worker, Errand::Run(Box::new(run)));
        Pending(receiver)
    }

    /// Runs a step at a worker and waits for its result.
    pub fn run_on<R: Send + 'static>(
        &self,
        worker: u16,
        step: impl FnOnce(&mut Desk<'_>) -> R + Send + 'static,
    ) -> Result<R, Stopped> {
        self.start(worker, step).wait()
    }

    /// Runs a step at every worker, all at once, and gives the results in the order of workers.
    pub fn run_on_all<R: Send + 'static>(
        &self,
        step: impl Fn(&mut Desk<'_>) -> R + Clone + Send + 'static,
    ) -> Result<Vec<R>, Stopped> {
        let pending: Vec<_> = (0..self.workers()).map(|worker| self.start(worker, step.clone())).collect();
        pending.into_iter().map(Pending::wait).collect()
    }
}

/// A step under way.
pub struct Pending<R>(mpsc::Receiver<R>);

impl<R> Pending<R> {
    /// Waits until it is done.
    pub fn wait(self) -> Result<R, Stopped> {
        self.0.recv().map_err(|_| Stopped)
    }
}

#[cfg(test)]
mod tests {
    use super::{Errand, errands};
    use crate::mesh::mesh;

    #[test]
    fn errands_wait_in_order_and_are_counted() {
        let (_, doors) = mesh(2).expect("descriptors");
        let (errands, trays) = errands(2, doors);
        assert!(trays.iter().all(super::Tray::is_empty));
        let pending = errands.start(1, |desk| desk.number);
        errands.send(1, Errand::Run(Box::new(|_| ()))).expect("its tray is there");
        assert!(trays[0].is_empty() && !trays[1].is_empty());
        assert!(trays[1].take().is_some() && trays[1].take().is_some() && trays[1].take().is_none());
        assert!(pending.wait().is_err(), "it was taken and not run");
    }

    #[test]
    fn a_worker_that_has_ended_takes_nothing() {
        let (_, doors) = mesh(1).expect("descriptors");
        let (errands, trays) = errands(1, doors);
        let pending = errands.start(0, |desk| desk.number);
        drop(trays);
        assert!(pending.wait().is_err(), "nobody is left to run it");
        assert!(errands.run_on(0, |desk| desk.number).is_err());
        assert!(errands.run_on_all(|desk| desk.number).is_err());
    }
}
