//! The books of a memory file: what its slabs are, written when a node ends, checked when the next one begins.
//!
//! ```text
//! +-------+--------+--------+--------+-----+----------+-------+--------+--------+------+------------+--------+
//! | magic | format | record | length | crc | identity | arena | slab   | shards | zero | free space | shards |
//! | 8     | u32    | fmt u32| u64    | u32 | 16       | u64   | u32    | u16    | u16  |            |        |
//! +-------+--------+--------+--------+-----+----------+-------+--------+--------+------+------------+--------+
//! free space   four kinds of list: warm, cold, runs of each class: count u32, numbers u32; fresh: count u32, ranges
//! shard        position u64, flushed u64, flush at u32, mean, pressure and change of prices u64, count of slabs u32
//! slab         number u32, queue u8, class u8, form u8, zero, filled u64, records u32, crc u32, a bit per record: alive
//! form         sealed 0, open 1, run 2
//! ```
//!
//! Little-endian. The first CRC32C covers all that follows it, a slab's covers its filled bytes in the memory file,
//! the words that change in place included. So nothing is adopted that is not bit for bit what was left, and a
//! forged file is at worst refused: every number is checked against the others before it is used.

use std::ops::Range;

use crate::expiry::TTL_CLASSES;
use crate::limits::{ARENA_BYTES_MAX, ITEM_BYTES_MAX, SHARDS_MAX, SLAB_BYTES_MAX, SLAB_BYTES_MIN};
use crate::memory::{Arena, LABEL_BYTES, Still};
use crate::pool::{FreeSpace, RUN_CLASSES, SlabNumber, run_class};
use crate::record::HEADER_BYTES;
use crate::shard::price::Prices;
use crate::slab::Queue;
use crate::time::Seconds;
use crate::version::Version;
use crate::warm::Refusal;

const MAGIC: [u8; 8] = *b"RINGBOOK";
const LABEL_MAGIC: [u8; 8] = *b"RINGMEMO";
/// Version of the books' format.
const FORMAT: u32 = 1;
/// Version of the record's format (docs/memory.md).
const RECORD_FORMAT: u32 = 1;
/// Bytes that the checksum does not cover: everything before it, and itself.
const UNCOVERED_BYTES: usize = 28;

/// No version is later: in the middle of the time that versions can tell.
const LATEST: Version = Version(u64::MAX / 2);

/// Ties the books to the one memory file that they are about, in the one state that they describe.
pub(crate) type Identity = [u8; 16];

/// Everything that the next node must know.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Books {
    pub(crate) identity: Identity,
    pub(crate) arena_bytes: u64,
    pub(crate) slab_bytes: u64,
    pub(crate) free: FreeSpace,
    pub(crate) shards: Vec<ShardBook>,
}

/// One shard's.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ShardBook {
    /// Every version given so far is at or below it.
    pub(crate) position: Version,
    pub(crate) flushed: Version,
    pub(crate) flush_at: Option<Seconds>,
    pub(crate) prices: Prices,
    /// In the order in which they can be entered again.
    pub(crate) slabs: Vec<SlabBook>,
}

/// One slab's.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct SlabBook {
    pub(crate) number: SlabNumber,
    pub(crate) queue: Queue,
    pub(crate) class: usize,
    pub(crate) form: Form,
    pub(crate) filled: u64,
    pub(crate) records: u32,
    pub(crate) crc: u32,
    /// A bit for each record, in their order: whether it is its key's.
    pub(crate) living: Vec<u8>,
}

/// What a slab is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Sealed = 0,
    Open = 1,
    Run = 2,
}

impl ShardBook {
    /// Records that are their keys'.
    pub(crate) fn keys(&self) -> u64 {
        self.slabs.iter().flat_map(|slab| &slab.living).map(|bits| u64::from(bits.count_ones())).sum()
    }
}

impl SlabBook {
    pub(crate) fn run_bytes(&self) -> u64 {
        if self.form == Form::Run { self.filled } else { 0 }
    }

    pub(crate) fn is_alive(&self, record: u32) -> bool {
        self.living[record as usize / 8] >> (record % 8) & 1 != 0
    }

    /// Bytes that it takes from the budget.
    pub(crate) fn cost(&self, slab_bytes: u64) -> u64 {
        match self.form {
            Form::Run => self.filled.next_multiple_of(crate::memory::PAGE_BYTES),
            Form::Sealed | Form::Open => slab_bytes,
        }
    }

    /// The filled bytes, if they are what they were.
    pub(crate) fn verify<'a>(&self, arena: &'a Arena, slab_bytes: u64) -> Result<&'a [u8], Refusal> {
        let bytes = self.bytes(arena, slab_bytes);
        if crc32c::crc32c(bytes) == self.crc { Ok(bytes) } else { Err(Refusal::Slab { slab: self.number.0 }) }
    }

    /// The filled bytes.
    pub(crate) fn bytes<'a>(&self, arena: &'a Arena, slab_bytes: u64) -> &'a [u8] {
        arena.still(&Still { offset: u64::from(self.number.0) * slab_bytes, bytes: self.filled })
    }

    /// The slabs of address space that it takes.
    pub(crate) fn extent(&self, slab_bytes: u64) -> Range<u64> {
        let first = u64::from(self.number.0);
        let slabs = if self.form == Form::Run { 1 << run_class(self.filled, slab_bytes) } else { 1 };
        first..first + slabs
    }
}

/// The label of a memory file with this identity.
pub(crate) fn label(identity: Identity) -> [u8; LABEL_BYTES] {
    let mut label = [0; LABEL_BYTES];
    label[..8].copy_from_slice(&LABEL_MAGIC);
    label[8..12].copy_from_slice(&FORMAT.to_le_bytes());
    label[12..28].copy_from_slice(&identity);
    label
}

/// The identity in a label.
pub(crate) fn identity_of(label: &[u8; LABEL_BYTES]) -> Identity {
    label[12..28].try_into().expect("sixteen bytes")
}

impl Books {
    /// The bytes of the books.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&FORMAT.to_le_bytes());
        out.extend_from_slice(&RECORD_FORMAT.to_le_bytes());
        out.extend_from_slice(&[0; UNCOVERED_BYTES - 16]);
        out.extend_from_slice(&self.identity);
        out.extend_from_slice(&self.arena_bytes.to_le_bytes());
        out.extend_from_slice(&(self.slab_bytes as u32).to_le_bytes());
        out.extend_from_slice(&(self.shards.len() as u32).to_le_bytes());
        encode_free(&self.free, &mut out);
        self.shards.iter().for_each(|shard| shard.encode(&mut out));
        let length = out.len() as u64;
        out[16..24].copy_from_slice(&length.to_le_bytes());
        let crc = crc32c::crc32c(&out[UNCOVERED_BYTES..]);
        out[24..28].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// Reads books. Never panics, whatever the bytes; what it returns does not contradict itself.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Refusal> {
        let mut rest = Rest(bytes);
        let magic = rest.bytes(8).ok_or(Refusal::Foreign)?;
        if magic != MAGIC {
            return Err(Refusal::Foreign);
        }
        let (format, record_format) = (rest.u32()?, rest.u32()?);
        if (format, record_format) != (FORMAT, RECORD_FORMAT) {
            return Err(Refusal::Format { format, record_format });
        }
        let (length, crc) = (rest.u64()?, rest.u32()?);
        if length != bytes.len() as u64 {
            return Err(Refusal::Torn);
        }
        if crc32c::crc32c(rest.0) != crc {
            return Err(Refusal::Torn);
        }
        let identity = rest.bytes(16).ok_or(Refusal::Torn)?.try_into().expect("sixteen bytes");
        let (arena_bytes, slab_bytes, shards) = (rest.u64()?, u64::from(rest.u32()?), rest.u32()?);
        let free = decode_free(&mut rest)?;
        if shards == 0 || shards > u32::from(SHARDS_MAX) {
            return Err(Refusal::Contradiction("the number of shards"));
        }
        let shards = (0..shards).map(|_| ShardBook::decode(&mut rest)).collect::<Result<Vec<_>, _>>()?;
        let books = Self { identity, arena_bytes, slab_bytes, free, shards };
        if !rest.0.is_empty() {
            return Err(Refusal::Contradiction("what follows the last shard"));
        }
        books.check()?;
        Ok(books)
    }

    /// Whether every number fits the others.
    fn check(&self) -> Result<(), Refusal> {
        let versions = self.shards.iter().flat_map(|shard| [shard.position, shard.flushed]);
        if versions.into_iter().any(|version| version > LATEST) {
            return Err(Refusal::Contradiction("a version of no time"));
        }
        let is_slab = self.slab_bytes.is_power_of_two()
            && (u64::from(SLAB_BYTES_MIN)..=u64::from(SLAB_BYTES_MAX)).contains(&self.slab_bytes);
        let is_arena = self.arena_bytes <= ARENA_BYTES_MAX
            && is_slab
            && self.arena_bytes.is_multiple_of(self.slab_bytes);
        if !is_arena {
            return Err(Refusal::Contradiction("the sizes of arena and slabs"));
        }
        for shard in &self.shards {
            let mut opened = [[false; TTL_CLASSES]; 2];
            for slab in &shard.slabs {
                slab.check(self.slab_bytes)?;
                if slab.form == Form::Run {
                    continue;
                }
                let opened = &mut opened[slab.queue as usize][slab.class];
                if *opened {
                    return Err(Refusal::Contradiction("a slab behind the open one of its class"));
                }
                *opened = slab.form == Form::Open;
            }
        }
        self.check_extents()
    }

    /// Whether nothing is given out twice, and all of it lies in the arena.
    fn check_extents(&self) -> Result<(), Refusal> {
        let slabs = self.arena_bytes / self.slab_bytes;
        let mut extents: Vec<Range<u64>> = self
            .shards
            .iter()
            .flat_map(|shard| &shard.slabs)
            .map(|slab| slab.extent(self.slab_bytes))
            .collect();
        let singles = self.free.warm.iter().chain(&self.free.cold);
        extents.extend(singles.map(|&number| u64::from(number)..u64::from(number) + 1));
        for (class, numbers) in self.free.runs.iter().enumerate() {
            extents.extend(numbers.iter().map(|&number| u64::from(number)..u64::from(number) + (1 << class)));
        }
        if self.free.fresh.iter().any(|range| range.start > range.end) {
            return Err(Refusal::Contradiction("a range that ends before it begins"));
        }
        let fresh = self.free.fresh.iter().filter(|range| !range.is_empty());
        extents.extend(fresh.map(|range| u64::from(range.start)..u64::from(range.end)));
        extents.sort_unstable_by_key(|extent| extent.start);
        let mut end = 1;
        for extent in extents {
            if extent.start < end {
                return Err(Refusal::Contradiction("a slab that is there twice"));
            }
            end = extent.end;
        }
        if end > slabs { Err(Refusal::Contradiction("a slab outside of the arena")) } else { Ok(()) }
    }

    /// Where the last slab or run that a shard has ends, in bytes.
    pub(crate) fn end(&self) -> u64 {
        let slabs = self.shards.iter().flat_map(|shard| &shard.slabs);
        slabs.map(|slab| slab.extent(self.slab_bytes).end * self.slab_bytes).max().unwrap_or(0)
    }

    /// Bytes of the slabs and runs that shards have.
    pub(crate) fn slab_bytes_used(&self) -> u64 {
        self.shards.iter().flat_map(|shard| &shard.slabs).map(|slab| slab.cost(self.slab_bytes)).sum()
    }
}

impl ShardBook {
    fn encode(&self, out: &mut Vec<u8>) {
        let [mean, pressure, change] = self.prices.to_words();
        for word in [self.position.0, self.flushed.0] {
            out.extend_from_slice(&word.to_le_bytes());
        }
        out.extend_from_slice(&self.flush_at.map_or(0, |at| at.0).to_le_bytes());
        for word in [mean, pressure, change] {
            out.extend_from_slice(&word.to_le_bytes());
        }
        out.extend_from_slice(&(self.slabs.len() as u32).to_le_bytes());
        for slab in &self.slabs {
            out.extend_from_slice(&slab.number.0.to_le_bytes());
            out.extend_from_slice(&[slab.queue as u8, slab.class as u8, slab.form as u8, 0]);
            out.extend_from_slice(&slab.filled.to_le_bytes());
            out.extend_from_slice(&slab.records.to_le_bytes());
            out.extend_from_slice(&slab.crc.to_le_bytes());
            out.extend_from_slice(&slab.living);
        }
    }

    fn decode(rest: &mut Rest<'_>) -> Result<Self, Refusal> {
        let (position, flushed) = (Version(rest.u64()?), Version(rest.u64()?));
        let flush_at = Some(Seconds(rest.u32()?)).filter(|at| at.0 != 0);
        let prices = Prices::from_words([rest.u64()?, rest.u64()?, rest.u64()?]);
        let count = rest.u32()?;
        let slabs = (0..count).map(|_| SlabBook::decode(rest)).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { position, flushed, flush_at, prices, slabs })
    }
}

impl SlabBook {
    fn decode(rest: &mut Rest<'_>) -> Result<Self, Refusal> {
        let number = SlabNumber(rest.u32()?);
        let &[queue, class, form, _] = rest.bytes(4).ok_or(Refusal::Torn)? else {
            return Err(Refusal::Torn);
        };
        let queue = match queue {
            0 => Queue::Small,
            1 => Queue::Main,
            _ => return Err(Refusal::Contradiction("a queue")),
        };
        let form = match form {
            0 => Form::Sealed,
            1 => Form::Open,
            2 => Form::Run,
            _ => return Err(Refusal::Contradiction("the form of a slab")),
        };
        let (filled, records, crc) = (rest.u64()?, rest.u32()?, rest.u32()?);
        let living = rest.bytes((records as usize).div_ceil(8)).ok_or(Refusal::Torn)?.to_vec();
        Ok(Self { number, queue, class: usize::from(class), form, filled, records, crc, living })
    }

    fn check(&self, slab_bytes: u64) -> Result<(), Refusal> {
        let most = match self.form {
            // A key, flags and a CAS come on top of the largest value.
            Form::Run => u64::from(ITEM_BYTES_MAX) + u64::from(SLAB_BYTES_MIN),
            Form::Sealed | Form::Open => slab_bytes,
        };
        let is_run_of_one = self.form != Form::Run || (self.records == 1 && self.filled > 0);
        let fits = self.filled <= most && u64::from(self.records) * HEADER_BYTES as u64 <= self.filled;
        let surplus = self.living.last().map_or(0, |last| match self.records % 8 {
            0 => 0,
            used => last >> used,
        });
        if self.class >= TTL_CLASSES || !is_run_of_one || !fits || surplus != 0 {
            return Err(Refusal::Contradiction("the lengths of a slab"));
        }
        Ok(())
    }
}

fn encode_free(free: &FreeSpace, out: &mut Vec<u8>) {
    for list in [&free.warm, &free.cold].into_iter().chain(&free.runs) {
        out.extend_from_slice(&(list.len() as u32).to_le_bytes());
        list.iter().for_each(|number| out.extend_from_slice(&number.to_le_bytes()));
    }
    out.extend_from_slice(&(free.fresh.len() as u32).to_le_bytes());
    for range in &free.fresh {
        out.extend_from_slice(&range.start.to_le_bytes());
        out.extend_from_slice(&range.end.to_le_bytes());
    }
}

fn decode_free(rest: &mut Rest<'_>) -> Result<FreeSpace, Refusal> {
    let mut free = FreeSpace::of(1);
    (free.warm, free.cold) = (rest.numbers()?, rest.numbers()?);
    for class in 0..RUN_CLASSES {
        free.runs[class] = rest.numbers()?;
    }
    let count = rest.u32()?;
    let range = |_| Ok(rest.u32()?..rest.u32()?);
    free.fresh = (0..count).map(range).collect::<Result<_, Refusal>>()?;
    Ok(free)
}

/// What has not been read yet.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(bytes)
    }

    fn u32(&mut self) -> Result<u32, Refusal> {
        let bytes = self.bytes(4).ok_or(Refusal::Torn)?;
        Ok(u32::from_le_bytes(bytes.try_into().expect("four bytes")))
    }

    fn u64(&mut self) -> Result<u64, Refusal> {
        let bytes = self.bytes(8).ok_or(Refusal::Torn)?;
        Ok(u64::from_le_bytes(bytes.try_into().expect("eight bytes")))
    }

    /// A list of slab numbers. A count that is larger than what follows ends it early, before it takes memory.
    fn numbers(&mut self) -> Result<Vec<u32>, Refusal> {
        let count = self.u32()? as usize;
        let bytes = count.checked_mul(4).and_then(|length| self.bytes(length)).ok_or(Refusal::Torn)?;
        Ok(bytes.as_chunks::<4>().0.iter().map(|number| u32::from_le_bytes(*number)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn books() -> Books {
        let slab = |number, form, filled, records| SlabBook {
            number: SlabNumber(number),
            queue: Queue::Main,
            class: 1,
            form,
            filled,
            records,
            crc: 7,
            living: vec![1; usize::from(records > 0)],
        };
        let mut free = FreeSpace::of(1);
        (free.warm, free.cold, free.fresh) = (vec![9], vec![7, 8], Vec::from([Range { start: 10, end: 64 }]));
        free.runs[1] = vec![5];
        let slabs =
            vec![slab(1, Form::Sealed, 40, 1), slab(2, Form::Open, 0, 0), slab(3, Form::Run, 5000, 1)];
        let shard = ShardBook {
            position: Version(9),
            flushed: Version(3),
            flush_at: Some(Seconds(5)),
            prices: Prices::default(),
            slabs,
        };
        Books { identity: [3; 16], arena_bytes: 64 * 4096, slab_bytes: 4096, free, shards: vec![shard] }
    }

    #[test]
    fn books_are_read_as_they_were_written() {
        assert_eq!(Books::decode(&books().encode()), Ok(books()));
    }

    /// Each of these would have a checksum that fits.
    #[test]
    fn books_that_contradict_themselves_are_refused() {
        let changes: [fn(&mut Books); 12] = [
            |books| books.slab_bytes = 5000,
            |books| books.arena_bytes = 32 * 4096,
            |books| books.shards.clear(),
            |books| books.free.cold.push(3),
            |books| books.free.cold.push(4),
            |books| books.free.runs[3].push(61),
            |books| books.free.fresh.push(Range { start: 3, end: 2 }),
            |books| books.free.warm.push(0),
            |books| books.shards[0].slabs[0].filled = 4100,
            |books| books.shards[0].slabs[0].living = vec![3],
            |books| books.shards[0].slabs[1].number = SlabNumber(1),
            |books| books.shards[0].position = Version(u64::MAX),
        ];
        for (number, change) in changes.into_iter().enumerate() {
            let mut books = books();
            change(&mut books);
            let decoded = Books::decode(&books.encode());
            assert!(matches!(decoded, Err(Refusal::Contradiction(_))), "{number}: {decoded:?}");
        }
    }
}
