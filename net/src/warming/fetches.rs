//! The keys that the upstream has been asked for and that it has not answered: one fetch for each, however many want it.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use ringcache_engine::KeyHash;

use super::Ask;
use crate::limits::{WARM_FETCHES_MAX, WARM_WAITING_MAX};

/// One question of a session, and the worker that it goes back to.
pub type Waiting = (u16, Box<Ask>);

/// A key that is being fetched.
pub struct Fetch {
    /// Of the key.
    pub hash: KeyHash,
    /// The key.
    pub key: Box<[u8]>,
    /// Who waits for it; nobody any more once it is late.
    pub waiting: Vec<Waiting>,
    since: Duration,
}

/// What became of a question.
pub enum Taken {
    /// The upstream has to be asked.
    Begun,
    /// It has been asked already.
    Joined,
    /// It is not worth waiting: too much is under way, or the answer is late already.
    Refused(Waiting),
}

/// In the order in which the upstream was asked, which is the order of its answers.
#[derive(Default)]
pub struct Fetches {
    queue: VecDeque<Fetch>,
    /// How many there were before the one in front: a fetch's number does not change.
    before: u64,
    numbers: HashMap<KeyHash, u64>,
    /// So many in front have been waited for long enough.
    late: usize,
    waiting: usize,
}

impl Fetches {
    /// Takes a question: begins a fetch or joins the one there is.
    pub fn take(&mut self, waiting: Waiting, at: Duration) -> Taken {
        let (hash, key) = (waiting.1.hash, &waiting.1.key);
        if self.waiting >= WARM_WAITING_MAX {
            return Taken::Refused(waiting);
        }
        if let Some(number) = self.numbers.get(&hash) {
            let place = (number - self.before) as usize;
            let fetch = &mut self.queue[place];
            if place < self.late || fetch.key != *key {
                return Taken::Refused(waiting);
            }
            fetch.waiting.push(waiting);
            self.waiting += 1;
            return Taken::Joined;
        }
        if self.queue.len() >= WARM_FETCHES_MAX {
            return Taken::Refused(waiting);
        }
        self.numbers.insert(hash, self.before + self.queue.len() as u64);
        let key = key.clone();
        self.queue.push_back(Fetch { hash, key, waiting: vec![waiting], since: at });
        self.waiting += 1;
        Taken::Begun
    }

    /// The one that the upstream answers next.
    pub fn front(&self) -> Option<&Fetch> {
        self.queue.front()
    }

    /// The one that was begun last.
    pub fn back(&self) -> Option<&Fetch> {
        self.queue.back()
    }

    /// It has been answered, or will never be.
    pub fn finish(&mut self) -> Option<Fetch> {
        let fetch = self.queue.pop_front()?;
        self.before += 1;
        self.late = self.late.saturating_sub(1);
        self.numbers.remove(&fetch.hash);
        self.waiting -= fetch.waiting.len();
        Some(fetch)
    }

    /// The sessions of the oldest fetch that has been waited for longer than `patience`. It stays: its answer may come,
    /// and is as good for those who ask then.
    pub fn release_late(&mut self, at: Duration, patience: Duration) -> Option<Vec<Waiting>> {
        let fetch =
            self.queue.get_mut(self.late).filter(|fetch| at.saturating_sub(fetch.since) >= patience)?;
        self.late += 1;
        self.waiting -= fetch.waiting.len();
        Some(std::mem::take(&mut fetch.waiting))
    }

    /// How long until the next one is late.
    pub fn next_timeout(&self, at: Duration, patience: Duration) -> Option<Duration> {
        let fetch = self.queue.get(self.late)?;
        Some((fetch.since + patience).saturating_sub(at))
    }

    /// How long the upstream has owed the answer in front, if nobody waits for that any more.
    pub fn silent_for(&self, at: Duration) -> Option<Duration> {
        (self.late > 0).then(|| at.saturating_sub(self.queue[0].since))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ringcache_engine::KeyHash;

    use super::{Fetches, Taken, Waiting};
    use crate::limits::WARM_FETCHES_MAX;
    use crate::mesh::Ticket;
    use crate::warming::Ask;

    const PATIENCE: Duration = Duration::from_millis(100);

    fn millis(at: u64) -> Duration {
        Duration::from_millis(at)
    }

    fn ask(key: &str, number: u32) -> Waiting {
        let ticket = Ticket { connection: number, generation: 0 };
        (0, Ask::new(ticket, number, KeyHash::of(key.as_bytes()), key.as_bytes(), None))
    }

    fn numbers(waiting: &[Waiting]) -> Vec<u32> {
        waiting.iter().map(|(_, ask)| ask.number).collect()
    }

    #[test]
    fn all_who_want_a_key_wait_for_one_fetch() {
        let mut fetches = Fetches::default();
        assert!(matches!(fetches.take(ask("a", 1), millis(0)), Taken::Begun));
        assert!(matches!(fetches.take(ask("b", 2), millis(1)), Taken::Begun));
        assert!(matches!(fetches.take(ask("a", 3), millis(2)), Taken::Joined));
        let first = fetches.finish().expect("two are under way");
        assert_eq!((&*first.key, numbers(&first.waiting)), (&b"a"[..], vec![1, 3]));
        assert!(matches!(fetches.take(ask("b", 4), millis(3)), Taken::Joined), "its place has moved");
        assert!(matches!(fetches.take(ask("a", 5), millis(3)), Taken::Begun), "it is asked for again");
        assert_eq!(numbers(&fetches.finish().expect("two").waiting), [2, 4]);
        assert_eq!(numbers(&fetches.finish().expect("one").waiting), [5]);
        assert!(fetches.finish().is_none() && fetches.waiting == 0);
    }

    #[test]
    fn nobody_waits_longer_than_the_first() {
        let mut fetches = Fetches::default();
        assert!(matches!(fetches.take(ask("a", 1), millis(0)), Taken::Begun));
        assert!(matches!(fetches.take(ask("b", 2), millis(50)), Taken::Begun));
        assert!(matches!(fetches.take(ask("a", 3), millis(99)), Taken::Joined));
        assert!(fetches.release_late(millis(99), PATIENCE).is_none());
        assert_eq!(fetches.next_timeout(millis(99), PATIENCE), Some(millis(1)));
        let late = fetches.release_late(millis(100), PATIENCE).expect("the time of one is over");
        assert_eq!(numbers(&late), [1, 3]);
        assert!(fetches.release_late(millis(100), PATIENCE).is_none(), "not that of the other");
        assert!(matches!(fetches.take(ask("a", 4), millis(101)), Taken::Refused(_)), "it is late already");
        assert_eq!(fetches.silent_for(millis(120)), Some(millis(120)));
        assert!(fetches.finish().expect("its answer came after all").waiting.is_empty());
        assert_eq!(fetches.silent_for(millis(120)), None);
        assert_eq!(numbers(&fetches.release_late(millis(150), PATIENCE).expect("the other")), [2]);
    }

    #[test]
    fn what_is_under_way_is_bounded() {
        let mut fetches = Fetches::default();
        for number in 0..WARM_FETCHES_MAX as u32 {
            assert!(matches!(fetches.take(ask(&number.to_string(), number), millis(0)), Taken::Begun));
        }
        assert!(matches!(fetches.take(ask("one more", 0), millis(0)), Taken::Refused(_)));
        assert!(matches!(fetches.take(ask("7", 0), millis(0)), Taken::Joined));
    }
}
