//! How a worker that may sleep is woken, and only then.
//!
//! The race: a worker finds its queues empty and goes to sleep, while another one puts a message in and finds the
//! worker awake. Both sides therefore store first and look second, with a full fence between:
//!
//! ```text
//! sleeper                         sender
//!   asleep = true                   push(message)
//!   fence                           fence
//!   queues empty? then sleep        asleep? then take the flag down and wake
//! ```
//!
//! At least one of them sees the other's store. Both change the flag by read-modify-write only, so that a change
//! that comes late can't stand behind a newer one in the order of changes. `tests/mesh_model.rs` runs this very file under loom.

use super::sync::{AtomicBool, Ordering, fence};

/// One per worker, on a cache line of its own that is written only around sleep.
pub struct Bell {
    asleep: AtomicBool,
}

impl Bell {
    /// The bell of a worker that is awake.
    pub fn new() -> Self {
        Self { asleep: AtomicBool::new(false) }
    }

    /// Announces sleep. The owner must look at all its queues after this and before it sleeps.
    pub fn announce_sleep(&self) {
        self.asleep.swap(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// The owner is awake again, woken or not.
    pub fn announce_awake(&self) {
        self.asleep.swap(false, Ordering::Relaxed);
    }

    /// Called after a push: whether the caller has to wake the owner. True for one of several callers.
    pub fn must_wake(&self) -> bool {
        fence(Ordering::SeqCst);
        self.asleep.load(Ordering::Relaxed) && self.asleep.swap(false, Ordering::Relaxed)
    }
}

impl Default for Bell {
    fn default() -> Self {
        Self::new()
    }
}
