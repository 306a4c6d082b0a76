//! The records of one frame on their way into the shards.
//!
//! They are installed where they were received: the frame stays at the front of the reader until the last of them is in
//! its place. Only what came compressed has memory of its own. Some records ahead the processor is told which bucket
//! will be looked into, because almost every one of them is a miss of its caches.

use ringcache_engine::{Installed, RecordError, RecordHead, Version};

use super::feed::LinkError;
use super::follow::{Manner, Shards};
use super::frame::{FLAG_LZ4, Frame, FrameError, FrameReader, HEADER_BYTES, Kind, LARGE_RECORD_AT};
use super::message::Fields;
use super::tally::FollowTally;
use crate::limits::{LINK_PAYLOAD_BYTES_MAX, LOOKUP_DISTANCE};

/// See the module's text.
pub(super) struct Batch {
    frame_bytes: usize,
    unpacked: Option<Vec<u8>>,
    /// Where the records begin in the payload, or in what was unpacked.
    from: usize,
    /// How many of their bytes are done with.
    at: usize,
    is_large: bool,
    /// The highest version that was met.
    reached: Version,
}

/// How far the records of a frame were installed.
pub(super) enum Through {
    /// All of them.
    Whole,
    /// The turn has no room for more.
    Part,
    /// A record came other than it was sent.
    Damaged,
}

impl Batch {
    /// The records of an intact frame, and the position that they complete; zero: none.
    pub fn open(frame: &Frame<'_>) -> Result<(Self, Version), FrameError> {
        let is_large = frame.header.kind == Kind::Large;
        let (position, from, unpacked) = match is_large {
            true => (Version::ZERO, LARGE_RECORD_AT, None),
            false => unpack(frame)?,
        };
        let frame_bytes = HEADER_BYTES + frame.payload.len();
        Ok((Self { frame_bytes, unpacked, from, at: 0, is_large, reached: Version::ZERO }, position))
    }

    /// What the reader is to be advanced by when it is done with.
    pub fn frame_bytes(&self) -> usize {
        self.frame_bytes
    }

    /// Memory that it needs beside the reader.
    pub fn unpacked_bytes(&self) -> usize {
        self.unpacked.as_ref().map_or(0, Vec::len)
    }

    /// No record that was installed has a higher version.
    pub fn reached(&self) -> Version {
        self.reached
    }

    /// Goes on with the frame at the front of `reader`. Records of other shards are appended to their place in `away`.
    pub fn install(
        &mut self,
        reader: &FrameReader,
        manner: Manner,
        shards: &mut impl Shards,
        tally: &FollowTally,
        away: &mut [Vec<u8>],
    ) -> Result<Through, LinkError> {
        let payload = &reader.waiting()[HEADER_BYTES..self.frame_bytes];
        let records = self.unpacked.as_deref().unwrap_or(&payload[self.from..]);
        let mut announced = self.at;
        let mut reached = self.reached;
        (0..LOOKUP_DISTANCE).for_each(|_| announce_next(records, &mut announced, &mut reached, shards));
        while self.at < records.len() {
            if !shards.has_room() {
                return Ok(Through::Part);
            }
            announce_next(records, &mut announced, &mut reached, shards);
            self.reached = reached;
            let rest = &records[self.at..];
            match shards.install(rest, manner) {
                Ok((installed, total)) => {
                    note_installed(installed, &rest[..total], tally, away);
                    self.at += total;
                }
                // A large record's value has no other checksum than its own.
                Err(RecordError::Checksum) if self.is_large => return Ok(Through::Damaged),
                Err(RecordError::Checksum) => {
                    // It came as it was sent: it is damaged at the primary, whose scrubber will find it.
                    tally.damaged.add(1);
                    self.at += ringcache_engine::record_bytes(rest)?;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Through::Whole)
    }
}

fn note_installed(installed: Installed, record: &[u8], tally: &FollowTally, away: &mut [Vec<u8>]) {
    match installed {
        Installed::ElsewhereHere(shard) => away[usize::from(shard.0)].extend_from_slice(record),
        Installed::Applied => tally.applied.add(1),
        Installed::Older | Installed::Expired => tally.older.add(1),
        Installed::NoMemory => tally.no_memory.add(1),
    }
}

/// Announces the record at `at`, if there is one that can be read, and goes on behind it. Its version counts as met.
fn announce_next(records: &[u8], at: &mut usize, reached: &mut Version, shards: &impl Shards) {
    if let Ok(head) = RecordHead::read(&records[*at..]) {
        shards.announce(head.hash());
        *reached = head.version.max(*reached);
        *at += head.total;
    }
}

/// The position that a batch completes, where its records begin, and these themselves where they came compressed.
fn unpack(frame: &Frame<'_>) -> Result<(Version, usize, Option<Vec<u8>>), FrameError> {
    let mut fields = Fields(frame.payload);
    let position = fields.version()?;
    if frame.header.flags & FLAG_LZ4 == 0 {
        return Ok((position, frame.payload.len() - fields.0.len(), None));
    }
    let raw_bytes = fields.u32()?;
    if raw_bytes > LINK_PAYLOAD_BYTES_MAX {
        return Err(FrameError::Long(raw_bytes));
    }
    let records = lz4_flex::block::decompress(fields.0, raw_bytes as usize)
        .map_err(|_| FrameError::Malformed("records that can't be decompressed"))?;
    Ok((position, 0, Some(records)))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use ringcache_engine::{
        CopyMark, Engine, EngineOptions, Expiry, Installed, KeyHash, LogCursor, Now, Op, Part, RecordError,
        RecordHead, ShardId, Status, Step, Store, Version, Write,
    };

    use super::{Batch, Through};
    use crate::replication::follow::{Manner, Shards};
    use crate::replication::frame::{self, FLAG_LZ4, FrameReader, Kind};
    use crate::replication::tally::FollowTally;

    const RECORDS: usize = 100;

    /// Two shards, of which the first is the own one; a turn has room for three records.
    #[derive(Default)]
    struct Shown {
        room: usize,
        announced: Vec<KeyHash>,
        installed: Vec<KeyHash>,
    }

    struct Recorded(std::cell::RefCell<Shown>);

    impl Shards for Recorded {
        fn count(&self) -> u16 {
            2
        }

        fn own(&self) -> ShardId {
            ShardId(0)
        }

        fn has_room(&self) -> bool {
            self.0.borrow().room > 0
        }

        fn announce(&self, hash: KeyHash) {
            self.0.borrow_mut().announced.push(hash);
        }

        fn install(&mut self, bytes: &[u8], _: Manner) -> Result<(Installed, usize), RecordError> {
            let head = RecordHead::verify(bytes)?;
            let shown = self.0.get_mut();
            assert!(shown.announced.contains(&head.hash()), "a record that was not announced");
            shown.room -= 1;
            shown.installed.push(head.hash());
            let shard = head.hash().shard(2);
            let installed =
                if shard == ShardId(0) { Installed::Applied } else { Installed::ElsewhereHere(shard) };
            Ok((installed, head.total))
        }

        fn send_away(&mut self, _: ShardId, _: Vec<u8>, _: Manner, _: u64) {
            unreachable!("a batch sends nothing");
        }

        fn begin_copy(&mut self, _: CopyMark, _: Version, _: u64) {
            unreachable!("a batch begins no copy");
        }

        fn sweep(&mut self, _: Part, _: CopyMark, _: Version, _: u64) {
            unreachable!("a batch sweeps nothing");
        }

        fn next_mark(&mut self) -> CopyMark {
            CopyMark::FIRST
        }
    }

    /// The records of a log.
    fn records() -> Vec<u8> {
        let options = EngineOptions { memory_bytes: 8 << 20, ..EngineOptions::default() };
        let (_engine, mut shards) = Engine::open(&options, 1).expect("little memory");
        let now = Now::from_unix_millis(1_700_000_000_000);
        for number in 0..RECORDS {
            let key = format!("key-{number}");
            let write = Write {
                hash: KeyHash::of(key.as_bytes()),
                key: key.as_bytes(),
                op: Op::Store(Store::set(b"value", 0, Expiry::NEVER)),
            };
            assert_eq!(shards[0].apply(&write, now).status, Status::Stored);
        }
        let mut records = Vec::new();
        let step = LogCursor::new(Version::ZERO).read(&mut shards[0], now, 1 << 20, &mut records);
        assert!(matches!(step, Step::CaughtUp(_)));
        records
    }

    /// Installs the frame in as many turns as it takes. Returns the hashes in order, and what belongs to the other shard.
    fn install(flags: u8, parts: &[&[u8]]) -> (Vec<KeyHash>, Vec<u8>, Arc<FollowTally>) {
        let mut bytes = Vec::new();
        frame::push_parts(&mut bytes, Kind::Records, flags, 1, parts);
        let mut reader = FrameReader::default();
        reader.push(&bytes);
        let whole = reader.front(1 << 20).expect("intact").expect("whole");
        let (mut batch, position) = Batch::open(&whole).expect("a batch");
        assert_eq!(position, Version(77));
        let (tally, mut away) = (Arc::new(FollowTally::default()), vec![Vec::new(); 2]);
        let mut shards = Recorded(std::cell::RefCell::default());
        loop {
            shards.0.get_mut().room = 3;
            match batch.install(&reader, Manner::Newer, &mut shards, &tally, &mut away).expect("records") {
                // What comes meanwhile stands behind it.
                Through::Part => reader.push(&[1; 100]),
                Through::Whole => break,
                Through::Damaged => panic!("nothing was damaged"),
            }
        }
        reader.advance(batch.frame_bytes());
        (shards.0.into_inner().installed, away.remove(1), tally)
    }

    #[test]
    fn a_frame_is_installed_in_turns_packed_or_not() {
        let records = records();
        let position = 77u64.to_le_bytes();
        let (hashes, elsewhere, tally) = install(0, &[&position, &records]);
        assert_eq!(hashes.len(), RECORDS);
        let own = hashes.iter().filter(|hash| hash.shard(2) == ShardId(0)).count();
        assert_eq!(tally.applied.value(), own as u64);
        assert!(!elsewhere.is_empty() && elsewhere.len() < records.len());

        let packed = lz4_flex::block::compress(&records);
        let length = (records.len() as u32).to_le_bytes();
        let again = install(FLAG_LZ4, &[&position, &length, &packed]);
        assert_eq!((again.0, again.1), (hashes, elsewhere));
    }
}
