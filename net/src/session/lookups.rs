//! The reads of consecutive commands, made together.
//!
//! Adding a lookup starts loading its bucket line; when the batch is answered, all records are started before
//! the first is looked at. So the cache misses of up to [`LOOKUP_BATCH`] keys overlap.

use ringcache_engine::{Candidate, KeyHash, Now, Reader, Seconds};

use crate::limits::{LOOKUP_BATCH, OUTPUT_BYTES_HIGH};
use crate::output::Output;
use crate::protocol::meta::flags::Key;
use crate::protocol::meta::get::PlainGet;
use crate::protocol::{meta, text};
use crate::reach::Reach;
use crate::stats::Counters;

/// A CAS unique that no record has: versions don't come so far, and with `-C` clients can't give any.
const NO_CAS: u64 = u64::MAX;

/// One read and how to answer it.
#[derive(Clone, Copy)]
pub struct Lookup<'i> {
    /// The key's hash.
    pub hash: KeyHash,
    /// The key, in the input.
    pub key: &'i [u8],
    /// Where in the input the read begins: parsing goes back there when the output is full before it.
    pub input_at: usize,
    /// The command.
    pub reply: Reply<'i>,
}

/// What to answer to a lookup.
#[derive(Clone, Copy)]
pub enum Reply<'i> {
    /// A key of get or gets.
    Value {
        /// gets.
        cas: bool,
        /// The last key of its line.
        last: bool,
    },
    /// mg.
    Meta(PlainGet<'i>),
}

/// What the answers are made with, besides the batch.
#[derive(Clone, Copy)]
pub struct Sight<'r> {
    /// Where to look.
    pub reader: &'r Reader,
    /// The turn's time.
    pub now: Now,
    /// When the node started: exptimes are read against it.
    pub started: Seconds,
    /// This worker's counters.
    pub counters: &'r Counters,
    /// Not `-C`: CAS uniques are shown, else zeros.
    pub cas: bool,
}

impl<'r> Sight<'r> {
    /// Of what a session may reach.
    #[inline]
    pub fn of(reach: &Reach<'r>) -> Self {
        Self {
            reader: reach.reader,
            now: reach.now,
            started: reach.node.started,
            counters: reach.counters,
            cas: reach.node.config.cas,
        }
    }
}

impl Sight<'_> {
    /// The CAS unique as clients see it.
    #[inline]
    pub fn shown(self, cas: u64) -> u64 {
        if self.cas { cas } else { 0 }
    }

    /// What the engine is to compare with when a client asks for `cas`.
    #[inline]
    pub fn comparable(self, cas: u64) -> u64 {
        if self.cas { cas } else { NO_CAS }
    }
}

/// Room for a batch. It stands on the stack for one call into a session and is never moved: making it writes one
/// word per lookup, moving it would copy them whole.
pub type Room<'i> = [Option<Lookup<'i>>; LOOKUP_BATCH];

/// A batch of lookups in the order of their commands.
pub struct Lookups<'e, 'i> {
    /// The first `count` are set.
    batch: &'e mut Room<'i>,
    count: usize,
}

impl<'e, 'i> Lookups<'e, 'i> {
    /// An empty batch.
    #[inline]
    pub fn new(room: &'e mut Room<'i>) -> Self {
        Self { batch: room, count: 0 }
    }

    /// The batch has to be answered before another lookup is added.
    #[inline]
    pub fn is_full(&self) -> bool {
        self.count == LOOKUP_BATCH
    }

    /// Adds a read and starts loading its bucket.
    #[inline]
    pub fn add(&mut self, lookup: Lookup<'i>, reader: &Reader) {
        reader.prefetch(lookup.hash);
        self.batch[self.count] = Some(lookup);
        self.count += 1;
    }

    /// Answers the batch and empties it. `Err` holds the first lookup that was not answered, because the output
    /// is full.
    #[inline]
    pub fn answer(&mut self, sight: Sight<'_>, output: &mut Output) -> Result<(), Lookup<'i>> {
        match std::mem::take(&mut self.count) {
            0 => Ok(()),
            1 => {
                for lookup in self.batch.iter().take(1).flatten() {
                    answer_one(lookup, sight.reader.candidate(lookup.hash), sight, output);
                }
                Ok(())
            }
            count => self.answer_many(count, sight, output),
        }
    }

    fn answer_many(&self, count: usize, sight: Sight<'_>, output: &mut Output) -> Result<(), Lookup<'i>> {
        let batch = self.batch[..count].iter().flatten();
        let mut candidates: [Option<Candidate<'_>>; LOOKUP_BATCH] = [const { None }; LOOKUP_BATCH];
        for (candidate, lookup) in candidates.iter_mut().zip(batch.clone()) {
            *candidate = Some(sight.reader.candidate(lookup.hash));
        }
        for (candidate, lookup) in candidates.into_iter().flatten().zip(batch) {
            if output.len() >= OUTPUT_BYTES_HIGH {
                return Err(*lookup);
            }
            answer_one(lookup, candidate, sight, output);
        }
        Ok(())
    }
}

#[inline]
fn answer_one<'r>(lookup: &Lookup<'_>, candidate: Candidate<'r>, sight: Sight<'r>, output: &mut Output) {
    let found = sight.reader.resolve(candidate, lookup.hash, lookup.key, sight.now);
    match lookup.reply {
        Reply::Value { cas, last } => {
            text::get::answer(found, cas, sight, output);
            if last {
                output.push(text::get::END);
            }
        }
        Reply::Meta(plain) => {
            let key = Key { bytes: lookup.key, is_binary: false };
            meta::get::answer_plain(found, &plain, &key, sight, output);
        }
    }
}
