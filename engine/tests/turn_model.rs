//! Every interleaving of the reclamation protocol, under loom: the shipped `turn.rs` with loom's atomics.
//!
//! The owner publishes place 0, replaces it by place 1, retires place 0 and, once the turns have passed, writes to it
//! as plain memory. A reader looks the place up and reads it. loom reports a data race if a reader can still be in a
//! place that is written again.

mod sync {
    pub use loom::sync::atomic::{AtomicU64, Ordering, fence};
}

#[path = "../src/turn.rs"]
#[allow(dead_code)]
mod turn;

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicU64, Ordering};
use turn::Turns;

struct World {
    turns: Turns,
    place: AtomicU64,
    memory: [UnsafeCell<u64>; 2],
}

impl World {
    fn new() -> Arc<Self> {
        let memory = [UnsafeCell::new(10), UnsafeCell::new(11)];
        Arc::new(Self { turns: Turns::new(1), place: AtomicU64::new(0), memory })
    }

    fn read(&self) {
        let place = self.place.load(Ordering::Acquire) as usize;
        let value = self.memory[place].with(|cell| {
            // SAFETY: loom checks exactly this: that no write happens meanwhile.
            #[allow(unsafe_code)]
            unsafe {
                *cell
            }
        });
        assert_eq!(value, 10 + place as u64, "a reader saw memory of another owner");
    }

    /// Replaces, retires, and writes anew if the turns have passed; the owner asks a bounded number of times.
    fn replace_and_reuse(&self) {
        self.place.store(1, Ordering::Release);
        let stamp = self.turns.retire();
        for _ in 0..2 {
            if self.turns.passed(stamp) {
                self.memory[0].with_mut(|cell| {
                    // SAFETY: loom checks exactly this: that nobody reads meanwhile.
                    #[allow(unsafe_code)]
                    unsafe {
                        *cell = 99;
                    }
                });
                return;
            }
            loom::thread::yield_now();
        }
    }
}

#[test]
fn a_reader_that_ends_its_turns_is_never_in_reused_memory() {
    loom::model(|| {
        let world = World::new();
        world.turns.begin(0);
        let reader = Arc::clone(&world);
        let thread = loom::thread::spawn(move || {
            reader.read();
            reader.turns.begin(0);
            reader.read();
        });
        world.replace_and_reuse();
        thread.join().expect("the reader");
    });
}

#[test]
fn a_reader_that_wakes_up_is_never_in_reused_memory() {
    loom::model(|| {
        let world = World::new();
        let reader = Arc::clone(&world);
        let thread = loom::thread::spawn(move || {
            reader.turns.begin(0);
            reader.read();
            reader.turns.sleep(0);
            reader.turns.begin(0);
            reader.read();
        });
        world.replace_and_reuse();
        thread.join().expect("the reader");
    });
}
