//! From books and a file to an engine: slabs stay where they are, or their records are installed anew.

use std::ops::Range;
use std::thread;

use crate::engine::{Contents, Engine, EngineOptions, build, slabs};
use crate::memory::{Arena, PAGE_BYTES, Vacant};
use crate::pool::FreeSpace;
use crate::shard::Shard;
use crate::time::Now;
use crate::warm::books::label;
use crate::warm::{Adopted, Books, MemoryFile, Refusal, ShardBook, SlabBook, map};

type Taken = (Engine, Vec<Shard>, Adopted);

/// Bytes of former slabs that are installed before their memory is given back.
const STRIDE_BYTES: u64 = 16 << 20;
/// Or this part of the memory, where that is less: both copies of a stride are in the file.
const STRIDES_MIN: u64 = 32;

/// Builds an engine on what was left. After a refusal the file must be emptied.
pub(super) fn adopt(
    options: &EngineOptions,
    slab_bytes: u64,
    readers_max: u16,
    memory: &MemoryFile,
    books: &Books,
    now: Now,
) -> Result<Taken, Refusal> {
    if (books.shards.len(), books.slab_bytes) == (usize::from(options.shards), slab_bytes) {
        return adopt_in_place(options, readers_max, memory, books, now);
    }
    install_anew(options, slab_bytes, readers_max, memory, books, now)
}

/// Maps the file and takes possession of it, if it is the one that the books are about.
fn open(
    options: &EngineOptions,
    memory: &MemoryFile,
    books: &Books,
    size: impl Fn(u64) -> u64,
) -> Result<Arena, Refusal> {
    let refused = Refusal::Mapping(size(options.memory_bytes));
    let mut arena = map(options, memory, size, false).map_err(|_| refused)?;
    if arena.label() != label(books.identity) {
        return Err(Refusal::Identity);
    }
    arena.set_label(&label(memory.identity)).map_err(|_| refused)?;
    Ok(arena)
}

/// Every shard takes over the slabs of its former self. One thread per shard.
fn adopt_in_place(
    options: &EngineOptions,
    readers_max: u16,
    memory: &MemoryFile,
    books: &Books,
    now: Now,
) -> Result<Taken, Refusal> {
    let slab_bytes = books.slab_bytes;
    let arena = open(options, memory, books, |bytes| bytes.max(books.end()))?;
    if arena.bytes() < books.end() {
        return Err(Refusal::Mapping(books.end()));
    }
    let slabs = slabs(&arena, slab_bytes);
    // That room was set aside for them once does not say that it still is: the file may be a copy.
    give_back_warm(&arena, books);
    let mut free = books.free.clone();
    let warm = std::mem::take(&mut free.warm);
    free.cold.extend(warm);
    free.resize((books.arena_bytes / slab_bytes) as u32, slabs);
    let keys = books.shards.iter().map(ShardBook::keys).collect();
    let contents = Contents { free, slab_bytes_used: books.slab_bytes_used(), keys };
    let built = build(options, slab_bytes, readers_max, arena, contents);
    let (engine, mut shards) = built.map_err(|_| Refusal::Mapping(books.arena_bytes))?;
    let adopted = for_each(&mut shards, |number, shard| shard.adopt(&books.shards[number], now))?;
    Ok((engine, shards, adopted))
}

/// Installs every record that is alive as if it came from elsewhere, for other shards or slabs of another size. The
/// new slabs begin behind the former ones, whose memory is given back in strides.
fn install_anew(
    options: &EngineOptions,
    slab_bytes: u64,
    readers_max: u16,
    memory: &MemoryFile,
    books: &Books,
    now: Now,
) -> Result<Taken, Refusal> {
    let arena = open(options, memory, books, |bytes| bytes + books.end())?;
    let first = books.end().div_ceil(slab_bytes).max(1) as u32;
    let slabs = slabs(&arena, slab_bytes);
    if u64::from(slabs.saturating_sub(first)) * slab_bytes < 2 * options.memory_bytes {
        return Err(Refusal::Mapping(books.end() + 2 * options.memory_bytes));
    }
    give_back_warm(&arena, books);
    // The former slabs are free once they are empty: until then, nobody takes any.
    let free = FreeSpace { fresh: Vec::from([Range { start: first, end: slabs }]), ..FreeSpace::of(1) };
    let keys = books.shards.iter().map(ShardBook::keys).sum::<u64>() / u64::from(options.shards);
    let contents = Contents { free, slab_bytes_used: 0, keys: vec![keys; usize::from(options.shards)] };
    let built = build(options, slab_bytes, readers_max, arena, contents);
    let (engine, mut shards) = built.map_err(|_| Refusal::Mapping(books.end()))?;
    let mut adopted = Adopted::default();
    shards.iter_mut().for_each(|shard| shard.continue_from(&books.shards, now));
    for stride in strides(books, options.memory_bytes / STRIDES_MIN) {
        adopted = adopted.plus(install_stride(&engine, &mut shards, books, &stride, now)?);
    }
    let arena = &engine.shared.arena;
    arena.decommit(Vacant { offset: PAGE_BYTES, bytes: u64::from(first) * slab_bytes - PAGE_BYTES });
    engine.shared.pool.add_fresh(1..first);
    // While both copies of a stride were there, a full file system may have lowered it.
    engine.shared.pool.set_limit(arena, options.memory_bytes);
    Ok((engine, shards, adopted))
}

/// Gives back what the slabs hold that nobody has. A smaller mapping has cut off those behind its end.
fn give_back_warm(arena: &Arena, books: &Books) {
    let bytes = books.slab_bytes;
    let offsets = books.free.warm.iter().map(|number| u64::from(*number) * bytes);
    let inside = offsets.filter(|offset| offset + bytes <= arena.bytes());
    inside.for_each(|offset| arena.decommit(Vacant { offset, bytes }));
}

/// The former slabs, those of all shards in turn, oldest first, some MiB at a time.
fn strides(books: &Books, most: u64) -> Vec<Vec<&SlabBook>> {
    let longest = books.shards.iter().map(|shard| shard.slabs.len()).max().unwrap_or(0);
    let slabs = (0..longest).flat_map(|at| books.shards.iter().filter_map(move |shard| shard.slabs.get(at)));
    let (mut strides, mut bytes) = (vec![Vec::new()], 0);
    for slab in slabs {
        if bytes > most.min(STRIDE_BYTES) {
            strides.push(Vec::new());
            bytes = 0;
        }
        bytes += slab.filled;
        strides.last_mut().expect("there is one from the start").push(slab);
    }
    strides
}

fn install_stride(
    engine: &Engine,
    shards: &mut [Shard],
    books: &Books,
    stride: &[&SlabBook],
    now: Now,
) -> Result<Adopted, Refusal> {
    let arena = &engine.shared.arena;
    let count = shards.len();
    for_each(shards, |number, _| {
        let own = stride.iter().skip(number).step_by(count);
        own.map(|slab| slab.verify(arena, books.slab_bytes))
            .try_fold(Adopted::default(), |none, slab| slab.map(|_| none))
    })?;
    let adopted = for_each(shards, |_, shard| shard.install_slabs(stride, books.slab_bytes, now))?;
    for slab in stride {
        let offset = u64::from(slab.number.0) * books.slab_bytes;
        arena.decommit(Vacant { offset, bytes: slab.cost(books.slab_bytes) });
    }
    Ok(adopted)
}

/// Does something with every shard, on a thread of its own, and sums up.
fn for_each(
    shards: &mut [Shard],
    step: impl Fn(usize, &mut Shard) -> Result<Adopted, Refusal> + Sync,
) -> Result<Adopted, Refusal> {
    let step = &step;
    thread::scope(|scope| {
        let pairs = shards.iter_mut().enumerate();
        let threads: Vec<_> = pairs.map(|(at, shard)| scope.spawn(move || step(at, shard))).collect();
        threads.into_iter().try_fold(Adopted::default(), |sum, thread| {
            Ok(sum.plus(thread.join().expect("a panic ends the process")?))
        })
    })
}
