//! The reads of consecutive commands, made together.
//!
//! A lookup goes three ways through memory: to its bucket, to the record's header, to the rest of the record. Each is
//! announced to the processor some lookups before it is gone, so that the cache misses of up to [`LOOKUP_BATCH`] keys
//! overlap with each other and with the parsing and encoding of the keys around them:
//!
//! ```text
//! added ---------------> probed ---------------> expected ---------------> answered
//! load bucket            load header             load value
//! ```

use ringcache_engine::{Approach, Candidate, KeyHash, Lookup as Found, Now, Reader, Seconds};

use crate::limits::{LOOKUP_BATCH, LOOKUP_DISTANCE, OUTPUT_BYTES_HIGH};
use crate::observe::Observer;
use crate::observe::events::Got;
use crate::output::Output;
use crate::protocol::binary::header::{ASKED_BYTES, Asked};
use crate::protocol::meta::flags::Key;
use crate::protocol::meta::get::PlainGet;
use crate::protocol::{binary, meta, text};
use crate::reach::Reach;
use crate::session::answers::Verb;
use crate::stats::Counters;
use crate::warming::{Warming, is_askable};

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
    /// A get of the binary protocol.
    Binary(Asked),
}

impl<'i> Reply<'i> {
    /// What is kept of the command while its answer waits. `room` is for what the binary protocol asked.
    pub fn kept<'k>(&self, key: &'k [u8], room: &'k mut [u8; ASKED_BYTES]) -> (Verb, [&'k [u8]; 3])
    where
        'i: 'k,
    {
        match *self {
            Reply::Value { cas, last } => (Verb::Get { cas, last }, [key, b"", b""]),
            Reply::Meta(plain) => (Verb::MetaRead, [key, b" ", plain.text()]),
            Reply::Binary(asked) => {
                *room = asked.to_bytes();
                (Verb::BinaryGet, [room, key, b""])
            }
        }
    }
}

/// Why the answer to a lookup was not made.
pub enum Unmade<'i> {
    /// The output is full. None is under way any more.
    Full(Lookup<'i>),
    /// It found nothing here, and the upstream may have it. Those behind it are still under way.
    Cold(Lookup<'i>),
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
    /// Where reads are noted while somebody looks on.
    pub observer: Option<&'r Observer>,
    /// Where the node has an upstream.
    pub warming: Option<&'r Warming>,
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
            observer: reach.observer(),
            warming: reach.node.warming.as_deref(),
        }
    }
}

impl Sight<'_> {
    /// Notes a read for those who look on.
    #[inline]
    pub fn note_fetch(&self, key: &[u8], found: &Found<'_>) {
        if let Some(observer) = self.observer {
            observer.fetched(key, Got::found(found), true);
        }
    }

    /// Whether the upstream is to be asked for what is not here.
    #[inline]
    pub fn asks_for(&self, hash: KeyHash, key: &[u8]) -> bool {
        let Some(warming) = self.warming else { return false };
        warming.is_open(hash.shard(self.reader.shards())) && is_askable(key)
    }

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

/// Room for the lookups that are under way. It stands on the stack for one call into a session and is never moved:
/// making it writes one word per lookup, moving it would copy them whole.
pub type Room<'i, 'r> = [Option<Travelling<'i, 'r>>; LOOKUP_BATCH];

/// A lookup under way.
pub struct Travelling<'i, 'r> {
    lookup: Lookup<'i>,
    way: Way<'r>,
}

/// How far a lookup has come.
#[derive(Clone, Copy)]
enum Way<'r> {
    ToBucket(Approach<'r>),
    ToRecord(Candidate<'r>),
}

impl<'r> Way<'r> {
    #[inline]
    fn candidate(self, lookup: &Lookup<'_>, reader: &'r Reader) -> Candidate<'r> {
        match self {
            Way::ToBucket(approach) => reader.candidate(approach, lookup.hash),
            Way::ToRecord(candidate) => candidate,
        }
    }
}

/// The lookups under way, in the order of their commands. The counts are of all since the session was called; each is
/// at most the one before it.
pub struct Lookups<'e, 'i, 'r> {
    /// Lookup `n` is in place `n % LOOKUP_BATCH`.
    room: &'e mut Room<'i, 'r>,
    added: usize,
    probed: usize,
    expected: usize,
    answered: usize,
}

impl<'e, 'i, 'r> Lookups<'e, 'i, 'r> {
    /// None under way.
    #[inline]
    pub fn new(room: &'e mut Room<'i, 'r>) -> Self {
        Self { room, added: 0, probed: 0, expected: 0, answered: 0 }
    }

    /// Adds a read, starts loading its bucket, and moves those before it on. `Err` holds the first lookup that was not
    /// answered: then nothing was added.
    #[inline]
    pub fn add(
        &mut self,
        lookup: Lookup<'i>,
        sight: &Sight<'r>,
        output: &mut Output,
    ) -> Result<(), Unmade<'i>> {
        if self.added - self.answered == LOOKUP_BATCH {
            self.answer_next(sight, output)?;
        }
        let way = Way::ToBucket(sight.reader.approach(lookup.hash));
        self.room[self.added % LOOKUP_BATCH] = Some(Travelling { lookup, way });
        self.added += 1;
        if self.added - self.probed > LOOKUP_DISTANCE {
            self.probe_next(sight.reader);
        }
        if self.probed - self.expected > LOOKUP_DISTANCE {
            self.expect_next(sight.reader);
        }
        Ok(())
    }

    /// Answers all that are under way. `Err` as for [`Lookups::add`].
    #[inline]
    pub fn settle(&mut self, sight: &Sight<'r>, output: &mut Output) -> Result<(), Unmade<'i>> {
        while self.probed < self.added {
            self.probe_next(sight.reader);
        }
        while self.expected < self.added {
            self.expect_next(sight.reader);
        }
        while self.answered < self.added {
            self.answer_next(sight, output)?;
        }
        Ok(())
    }

    /// None is under way any more.
    pub fn give_up(&mut self) {
        (self.probed, self.expected, self.answered) = (self.added, self.added, self.added);
    }

    #[inline]
    fn probe_next(&mut self, reader: &'r Reader) {
        if let Some(Travelling { lookup, way }) = &mut self.room[self.probed % LOOKUP_BATCH] {
            *way = Way::ToRecord(way.candidate(lookup, reader));
        }
        self.probed += 1;
    }

    #[inline]
    fn expect_next(&mut self, reader: &'r Reader) {
        if let Some(Travelling { way: Way::ToRecord(candidate), .. }) =
            &self.room[self.expected % LOOKUP_BATCH]
        {
            reader.expect(*candidate);
        }
        self.expected += 1;
    }

    #[inline]
    fn answer_next(&mut self, sight: &Sight<'r>, output: &mut Output) -> Result<(), Unmade<'i>> {
        let place = self.answered % LOOKUP_BATCH;
        if let Some(Travelling { lookup, way }) = &self.room[place] {
            if output.len() >= OUTPUT_BYTES_HIGH {
                let lookup = *lookup;
                self.give_up();
                return Err(Unmade::Full(lookup));
            }
            let candidate = way.candidate(lookup, sight.reader);
            let found = sight.reader.resolve(candidate, lookup.hash, lookup.key, sight.now);
            if matches!(found, Found::Miss(_)) && sight.asks_for(lookup.hash, lookup.key) {
                self.answered += 1;
                return Err(Unmade::Cold(*lookup));
            }
            answer_one(lookup, found, sight, output);
        }
        self.answered += 1;
        Ok(())
    }
}

#[inline]
fn answer_one(lookup: &Lookup<'_>, found: Found<'_>, sight: &Sight<'_>, output: &mut Output) {
    sight.note_fetch(lookup.key, &found);
    match &lookup.reply {
        &Reply::Value { cas, last } => {
            text::get::answer(found, cas, *sight, output);
            if last {
                output.push(text::get::END);
            }
        }
        Reply::Meta(plain) => {
            let key = Key { bytes: lookup.key, is_binary: false };
            meta::get::answer_plain(found, plain, &key, *sight, output);
        }
        &Reply::Binary(asked) => binary::get::answer(found, lookup.key, asked, *sight, output),
    }
}
