//! The owner's book of its slabs: which are open, where they stand in which queue, how much of each is alive.
//!
//! A slab is filled front to back (reserve -> fill -> publish), sealed when the next record does not fit, retired
//! when nothing in it is alive, and recycled when no reader can be in it. One whose records are dead but the last that
//! was said about their keys is held in between, until those who follow the log have read it. A run is a slab for one
//! large record.

use std::collections::{BTreeMap, VecDeque};

use crate::expiry::{ExpirySpan, TTL_CLASSES};
use crate::pool::SlabNumber;
use crate::version::Version;

/// The two queues of S3-FIFO.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Queue {
    /// Where new records begin.
    Small = 0,
    /// Where those end up that were asked for again.
    Main = 1,
}

/// Where a slab is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Records are appended.
    Open,
    /// Full; waits in its queue.
    Sealed,
    /// Nothing in it is alive, but followers have not read it yet.
    Held,
    /// Nothing in it is alive; waits for readers.
    Retired,
}

/// Index of a slab in the owner's book.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct SlabId(pub(crate) u32);

/// One slab or run.
#[derive(Debug)]
pub(crate) struct Slab {
    pub(crate) number: SlabNumber,
    pub(crate) state: State,
    pub(crate) queue: Queue,
    pub(crate) class: usize,
    /// Orders slabs by their opening, and so the log; never reused.
    pub(crate) sequence: u64,
    /// The stamp of its place in its queue.
    queued: u64,
    /// Bytes appended.
    pub(crate) filled: u64,
    /// Bytes of living records; at most `filled`.
    pub(crate) live: u64,
    /// Bytes of the run, zero for an ordinary slab.
    pub(crate) run_bytes: u64,
    pub(crate) expiry: ExpirySpan,
    /// Highest version appended.
    pub(crate) version_max: Version,
    /// Highest version of a dead record that was the last word about its key: no other record of the log says it.
    pub(crate) lost_max: Version,
    /// It holds a record that was installed with a version below positions that were given.
    pub(crate) has_late: bool,
}

impl Slab {
    pub(crate) fn is_run(&self) -> bool {
        self.run_bytes != 0
    }

    /// Bytes that it takes from the budget.
    pub(crate) fn cost(&self, slab_bytes: u64) -> u64 {
        if self.is_run() { self.run_bytes.next_multiple_of(crate::memory::PAGE_BYTES) } else { slab_bytes }
    }
}

/// All slabs of one shard.
pub(crate) struct Slabs {
    slabs: Vec<Option<Slab>>,
    free: Vec<u32>,
    open: [[Option<SlabId>; TTL_CLASSES]; 2],
    /// Sealed slabs, oldest first, with the stamp that tells a reused id apart. May hold stale ones.
    queues: [VecDeque<(SlabId, u64)>; 2],
    /// All slabs that are not retired, in the order of the log.
    log: BTreeMap<u64, SlabId>,
    /// Bytes of each queue's slabs, open ones too.
    queue_bytes: [u64; 2],
    next_sequence: u64,
    slab_bytes: u64,
    used: u64,
    committed: u64,
}

impl Slabs {
    pub(crate) fn new(slab_bytes: u64) -> Self {
        Self {
            slabs: Vec::new(),
            free: Vec::new(),
            open: [[None; TTL_CLASSES]; 2],
            queues: [VecDeque::new(), VecDeque::new()],
            log: BTreeMap::new(),
            queue_bytes: [0; 2],
            next_sequence: 0,
            slab_bytes,
            used: 0,
            committed: 0,
        }
    }

    pub(crate) fn get(&self, id: SlabId) -> &Slab {
        self.slabs[id.0 as usize].as_ref().expect("an id is used only while its slab is in the book")
    }

    pub(crate) fn get_mut(&mut self, id: SlabId) -> &mut Slab {
        self.slabs[id.0 as usize].as_mut().expect("an id is used only while its slab is in the book")
    }

    /// Slabs and runs in the book, retired ones not counted.
    pub(crate) fn used(&self) -> u64 {
        self.used
    }

    /// Bytes they take from the budget.
    pub(crate) fn committed(&self) -> u64 {
        self.committed
    }

    /// The slab that takes records of this queue and class.
    pub(crate) fn open(&self, queue: Queue, class: usize) -> Option<SlabId> {
        self.open[queue as usize][class]
    }

    /// Enters a new open slab, or a sealed run, into the book.
    pub(crate) fn add(&mut self, number: SlabNumber, queue: Queue, class: usize, run_bytes: u64) -> SlabId {
        let slab = Slab {
            number,
            state: if run_bytes == 0 { State::Open } else { State::Sealed },
            queue,
            class,
            sequence: self.next_sequence,
            queued: self.next_sequence,
            filled: 0,
            live: 0,
            run_bytes,
            expiry: ExpirySpan::EMPTY,
            version_max: Version::ZERO,
            lost_max: Version::ZERO,
            has_late: false,
        };
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        let cost = slab.cost(self.slab_bytes);
        self.queue_bytes[queue as usize] += cost;
        self.committed += cost;
        self.used += 1;
        let id = self.free.pop().map_or(SlabId(self.slabs.len() as u32), SlabId);
        if id.0 as usize == self.slabs.len() {
            self.slabs.push(None);
        }
        self.slabs[id.0 as usize] = Some(slab);
        self.log.insert(sequence, id);
        if run_bytes == 0 {
            assert!(
                self.open[queue as usize][class].replace(id).is_none(),
                "the open slab was sealed before"
            );
        } else {
            self.enqueue(id);
        }
        id
    }

    /// Closes the open slab of a queue and class.
    pub(crate) fn seal(&mut self, queue: Queue, class: usize) {
        if let Some(id) = self.open[queue as usize][class].take() {
            self.get_mut(id).state = State::Sealed;
            self.enqueue(id);
        }
    }

    /// Oldest sealed slab of a queue.
    pub(crate) fn oldest(&mut self, queue: Queue) -> Option<SlabId> {
        while let Some(&queued) = self.queues[queue as usize].front() {
            if self.is_queued(queued, queue) {
                return Some(queued.0);
            }
            self.queues[queue as usize].pop_front();
        }
        None
    }

    fn is_queued(&self, (id, stamp): (SlabId, u64), queue: Queue) -> bool {
        self.slabs[id.0 as usize]
            .as_ref()
            .is_some_and(|slab| slab.state == State::Sealed && slab.queue == queue && slab.queued == stamp)
    }

    fn enqueue(&mut self, id: SlabId) {
        let slab = self.get(id);
        let (queue, stamp) = (slab.queue, slab.queued);
        if self.queues[queue as usize].len() > 2 * self.used as usize + 64 {
            let mut queued = std::mem::take(&mut self.queues[queue as usize]);
            queued.retain(|&queued| self.is_queued(queued, queue));
            self.queues[queue as usize] = queued;
        }
        self.queues[queue as usize].push_back((id, stamp));
    }

    /// Moves a run to the end of a queue; its record stays where it is, in memory and in the log.
    pub(crate) fn requeue(&mut self, id: SlabId, queue: Queue) {
        let (stamp, slab_bytes) = (self.next_sequence, self.slab_bytes);
        self.next_sequence += 1;
        let slab = self.get_mut(id);
        assert!(slab.is_run() && slab.state == State::Sealed, "only runs change their queue whole");
        let (before, cost) = (slab.queue, slab.cost(slab_bytes));
        slab.queue = queue;
        slab.queued = stamp;
        self.queue_bytes[before as usize] -= cost;
        self.queue_bytes[queue as usize] += cost;
        self.enqueue(id);
    }

    /// Share of a queue in all bytes, in percent.
    pub(crate) fn queue_percent(&self, queue: Queue) -> u64 {
        self.queue_bytes[queue as usize] * 100 / (self.queue_bytes[0] + self.queue_bytes[1]).max(1)
    }

    /// Takes a dead slab out of its queue while followers still need it; its bytes stay in the budget.
    pub(crate) fn hold(&mut self, id: SlabId) {
        let slab_bytes = self.slab_bytes;
        let slab = self.get_mut(id);
        assert_eq!((slab.state, slab.live), (State::Sealed, 0), "only dead sealed slabs are held");
        slab.state = State::Held;
        let (queue, cost) = (slab.queue as usize, slab.cost(slab_bytes));
        self.queue_bytes[queue] -= cost;
    }

    /// Marks a slab as retired: it leaves its queue and the log, its bytes leave the budget of the shard.
    pub(crate) fn retire(&mut self, id: SlabId) {
        if self.get(id).state == State::Sealed {
            self.hold(id);
        }
        let slab_bytes = self.slab_bytes;
        let slab = self.get_mut(id);
        assert_eq!(slab.state, State::Held, "only sealed and held slabs are retired");
        slab.state = State::Retired;
        let (sequence, cost) = (slab.sequence, slab.cost(slab_bytes));
        self.log.remove(&sequence);
        self.committed -= cost;
        self.used -= 1;
    }

    /// Strikes a retired slab from the book.
    pub(crate) fn remove(&mut self, id: SlabId) -> Slab {
        let slab = self.slabs[id.0 as usize].take().expect("a retired slab stays in the book until here");
        assert_eq!(slab.state, State::Retired, "only retired slabs leave the book");
        self.free.push(id.0);
        slab
    }

    /// All slabs that are open or sealed.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (SlabId, &Slab)> {
        (0..self.slabs.len()).filter_map(|position| self.at(position))
    }

    /// The slabs that take records.
    pub(crate) fn all_open(&self) -> impl Iterator<Item = (SlabId, &Slab)> {
        self.open.iter().flatten().flatten().map(|&id| (id, self.get(id)))
    }

    /// The sequence of the slab that is opened next: the end of the log.
    pub(crate) fn next_sequence(&self) -> u64 {
        self.next_sequence
    }

    /// The first slab of the log from a sequence on. Cost: O(log n).
    pub(crate) fn first_from(&self, sequence: u64) -> Option<(SlabId, &Slab)> {
        self.log.range(sequence..).next().map(|(_, &id)| (id, self.get(id)))
    }

    /// The slab of the log that had this id and this sequence when it was last looked at. Cost: O(1).
    pub(crate) fn in_log(&self, id: SlabId, sequence: u64) -> Option<&Slab> {
        let slab = self.slabs.get(id.0 as usize)?.as_ref()?;
        (slab.sequence == sequence && slab.state != State::Retired).then_some(slab)
    }

    /// All slabs that are open or sealed, in an order in which they can be entered again: the sealed of each queue, oldest
    /// first, then the open ones.
    pub(crate) fn in_order(&self) -> Vec<SlabId> {
        let sealed = [Queue::Small, Queue::Main].into_iter().flat_map(|queue| {
            let queued = self.queues[queue as usize].iter();
            queued.filter(move |&&queued| self.is_queued(queued, queue)).map(|&(id, _)| id)
        });
        sealed.chain(self.open.iter().flatten().flatten().copied()).collect()
    }

    /// Length of the book, for a scan that resumes.
    pub(crate) fn len(&self) -> usize {
        self.slabs.len()
    }

    /// The slab at a position of the book, if it is open or sealed.
    pub(crate) fn at(&self, position: usize) -> Option<(SlabId, &Slab)> {
        let slab = self.slabs.get(position)?.as_ref()?;
        matches!(slab.state, State::Open | State::Sealed).then_some((SlabId(position as u32), slab))
    }

    /// The sealed ordinary slab that gives most back when its living records are copied elsewhere, and how much of
    /// it that is, in percent. The end that the next record did not fit into would be lost in the copy too, so only
    /// what is beyond the largest record (`tail_bytes`) counts.
    pub(crate) fn sparsest(&self, tail_bytes: u64) -> Option<(SlabId, u64)> {
        let gain = |slab: &Slab| {
            slab.filled - slab.live + (self.slab_bytes - slab.filled).saturating_sub(tail_bytes)
        };
        let sealed = self.iter().filter(|(_, slab)| slab.state == State::Sealed && !slab.is_run());
        let (id, slab) = sealed.max_by_key(|(_, slab)| gain(slab))?;
        Some((id, gain(slab) * 100 / self.slab_bytes))
    }
}
