//! Quiescent-state reclamation: memory is used again only after every reader has ended the turn it was in.
//!
//! ```text
//! owner   unpublish ... stamp = retire() ................ passed(stamp)? -> reuse
//! reader  ...reads... end_turn()  ...reads...  end_turn()
//! ```
//!
//! A reader pays one load, one store and one fence per *turn*, nothing per read. A sleeping reader holds nothing
//! and is not waited for.
//!
//! Why it is right. `retire` raises the global count after the place was unpublished. A seat that shows the raised
//! count was written by a reader that had ended its turn and that sees the place unpublished from then on. A
//! reader that is seen asleep takes its seat with a sequentially consistent store and fence before it reads: either
//! the owner sees the seat taken, or the reader's first read comes after the owner's look and so after the
//! unpublishing. `tests/turn_model.rs` explores this under loom.

use crossbeam_utils::CachePadded;

use crate::sync::{AtomicU64, Ordering, fence};

/// Seat value of a reader that holds nothing.
const ASLEEP: u64 = u64::MAX;

/// The global count and one seat per reader.
pub struct Turns {
    count: CachePadded<AtomicU64>,
    seats: Box<[CachePadded<AtomicU64>]>,
}

impl Turns {
    /// `seats` readers at most; all asleep.
    pub fn new(seats: usize) -> Self {
        Self {
            count: CachePadded::new(AtomicU64::new(0)),
            seats: (0..seats).map(|_| CachePadded::new(AtomicU64::new(ASLEEP))).collect(),
        }
    }

    /// How many seats there are.
    pub fn seats(&self) -> usize {
        self.seats.len()
    }

    /// A reader takes its seat, or passes from one turn to the next: everything it read before is let go.
    #[inline]
    pub fn begin(&self, seat: usize) {
        let count = self.count.load(Ordering::SeqCst);
        self.seats[seat].store(count, Ordering::SeqCst);
        fence(Ordering::SeqCst);
    }

    /// A reader lets go of everything and will read nothing until `begin`.
    #[inline]
    pub fn sleep(&self, seat: usize) {
        self.seats[seat].store(ASLEEP, Ordering::Release);
    }

    /// Called after a place was unpublished: the stamp to wait for.
    pub fn retire(&self) -> u64 {
        fence(Ordering::SeqCst);
        self.count.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// Whether no reader can hold what was retired under `stamp`. Cost: one line per reader.
    pub fn passed(&self, stamp: u64) -> bool {
        fence(Ordering::SeqCst);
        self.seats.iter().all(|seat| seat.load(Ordering::SeqCst) >= stamp)
    }
}
