//! Raw memory: one reserved mapping for all records, of a file where one is given, and zeroed cache lines for the index.
//!
//! No domain word in here: offsets, lengths, atomics. This module, the bucket view and the record view on top of
//! it hold all `unsafe` of the engine. Callers of the unsafe functions owe these numbered clauses:
//!
//! 1. *Range*: `offset + len` lies inside the mapping.
//! 2. *Alignment*: an atomic of n bytes sits at a multiple of n.
//! 3. *Published*: the bytes were filled by the owner before their place was made known with a release store, are
//!    never written as plain bytes again, and are not handed out anew while the borrow lives (see `turn.rs`).
//! 4. *Reserved*: the bytes belong to the one owner and no place inside them is known to anybody else.
//! 5. *Unused*: nobody reads or writes the bytes, and nobody will before they are reserved again.
#![allow(unsafe_code)]

use std::io;
use std::ops::Range;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64};

use memmap2::{Advice, MmapOptions, MmapRaw, UncheckedAdvice};

/// Bytes of a page; memory is committed and given back in these.
pub(crate) const PAGE_BYTES: u64 = 4096;

/// Proof of clause 5 for a range. Only the pool makes it, for slabs and runs that it holds between two owners.
pub(crate) struct Vacant {
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
}

/// Proof of clauses 1 and 4 for a range: the owner's slab set it aside and nobody knows of it. Consumed by
/// `record::publish`.
pub(crate) struct Reservation {
    pub(crate) offset: u64,
    pub(crate) bytes: usize,
}

/// Proof of clause 3 for the filled part of a slab: nobody writes there, atomics included. Made only by an owner that
/// keeps its books after the last reader has ended, or that adopts a slab before the first one begins.
pub(crate) struct Still {
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
}

/// Bytes at the start of a file's mapping that say whose it is. Slab 0 is never handed out.
pub(crate) const LABEL_BYTES: usize = 64;

/// One mapping, reserved but not committed: a page costs memory from its first write on. Anonymous, or of a file.
pub(crate) struct Arena {
    map: MmapRaw,
    bytes: u64,
    file: Option<OwnedFd>,
}

impl Arena {
    /// Reserves `bytes`. With `huge` the kernel is asked to back it with huge pages.
    pub(crate) fn reserve(bytes: u64, huge: bool) -> io::Result<Self> {
        let len = usize::try_from(bytes).map_err(|_| io::ErrorKind::OutOfMemory)?;
        let map = MmapRaw::from(MmapOptions::new().len(len).no_reserve_swap().map_anon()?);
        if huge {
            map.advise(Advice::HugePage)?;
        }
        Ok(Self { map, bytes, file: None })
    }

    /// Maps a file, which gets `bytes` of length and keeps what it holds, or with `empty` holds nothing. It is sparse:
    /// what is not written takes no room.
    pub(crate) fn of_file(file: OwnedFd, bytes: u64, empty: bool, huge: bool) -> io::Result<Self> {
        let len = usize::try_from(bytes).map_err(|_| io::ErrorKind::OutOfMemory)?;
        let wanted = libc::off_t::try_from(bytes).map_err(|_| io::ErrorKind::OutOfMemory)?;
        let resize = |length| {
            // SAFETY: no pointers; the file is not mapped yet.
            checked(unsafe { libc::ftruncate(file.as_raw_fd(), length) })
        };
        if empty {
            resize(0)?;
        }
        resize(wanted)?;
        let map = MmapOptions::new().len(len).map_raw(&file)?;
        if huge {
            map.advise(Advice::HugePage)?;
        }
        Ok(Self { map, bytes, file: Some(file) })
    }

    /// Makes sure that a range can be written: the room for it is set aside in the file, so that a full file system is
    /// an error here and not a signal later. Anonymous memory needs no such thing. One system call with a file.
    #[inline]
    pub(crate) fn commit(&self, offset: u64, bytes: u64) -> bool {
        self.file.as_ref().is_none_or(|file| allocate(file, libc::FALLOC_FL_KEEP_SIZE, offset, bytes).is_ok())
    }

    /// Fetches the pages of a range that will be written soon: one system call instead of a fault for each. What the
    /// kernel does not fetch now it fetches then.
    pub(crate) fn populate(&self, offset: u64, bytes: u64) {
        let _ = self.map.advise_range(Advice::PopulateWrite, offset as usize, bytes as usize);
    }

    /// What stands in the label of a file.
    pub(crate) fn label(&self) -> [u8; LABEL_BYTES] {
        // SAFETY: every mapping is larger than a label (1), and only `set_label` writes there (3).
        let bytes = unsafe { self.published(0, LABEL_BYTES) };
        bytes.try_into().expect("as long as asked for")
    }

    /// Whether it is a file's.
    pub(crate) fn is_file(&self) -> bool {
        self.file.is_some()
    }

    /// Writes the label of a file and waits until it would survive the machine. The first to find out whether the file
    /// system can set room aside and take it back.
    pub(crate) fn set_label(&mut self, label: &[u8; LABEL_BYTES]) -> io::Result<()> {
        let file = self.file.as_ref().ok_or(io::ErrorKind::Unsupported)?;
        allocate(file, libc::FALLOC_FL_KEEP_SIZE, 0, PAGE_BYTES)?;
        allocate(file, libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE, self.bytes, PAGE_BYTES)?;
        // SAFETY: every mapping is larger than a label (1); nobody else is there while `self` is borrowed alone (4).
        unsafe { self.reserved(0, LABEL_BYTES) }.copy_from_slice(label);
        self.map.flush_range(0, LABEL_BYTES)
    }

    /// Waits until everything that was written is in the file. On memory file systems there is nothing to wait for.
    pub(crate) fn flush(&self) -> io::Result<()> {
        self.map.flush()
    }

    /// The bytes of a slab in which nothing moves.
    pub(crate) fn still(&self, range: &Still) -> &[u8] {
        let (offset, bytes) = (range.offset, range.bytes);
        assert!(bytes <= self.bytes && offset <= self.bytes - bytes, "clause 1");
        // SAFETY: checked above (1); `Still` stands for clause 3.
        unsafe { self.published(offset, bytes as usize) }
    }

    /// Length of the mapping.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// # Safety
    /// Clause 1.
    #[inline]
    unsafe fn pointer(&self, offset: u64, len: usize) -> *mut u8 {
        debug_assert!(offset + len as u64 <= self.bytes, "clause 1: {offset} + {len} past {}", self.bytes);
        // SAFETY: the caller grants clause 1, so the result stays inside the one mapping.
        unsafe { self.map.as_mut_ptr().add(offset as usize) }
    }

    /// An atomic byte of a record.
    ///
    /// # Safety
    /// Clauses 1 and 3 (3 without "never written": only through atomics).
    #[inline]
    pub(crate) unsafe fn byte(&self, offset: u64) -> &AtomicU8 {
        // SAFETY: clause 1 gives a valid pointer, clause 3 keeps plain writes away; a byte is always aligned.
        unsafe { AtomicU8::from_ptr(self.pointer(offset, 1)) }
    }

    /// An atomic word of a record.
    ///
    /// # Safety
    /// Clauses 1, 2 and 3 (3 without "never written": only through atomics).
    #[inline]
    #[allow(clippy::cast_ptr_alignment)]
    pub(crate) unsafe fn word32(&self, offset: u64) -> &AtomicU32 {
        debug_assert!(offset.is_multiple_of(4), "clause 2");
        // SAFETY: the caller grants clauses 1 to 3.
        unsafe { AtomicU32::from_ptr(self.pointer(offset, 4).cast()) }
    }

    /// Immutable bytes.
    ///
    /// # Safety
    /// Clauses 1 and 3, for as long as the borrow lives.
    #[inline]
    pub(crate) unsafe fn published(&self, offset: u64, len: usize) -> &[u8] {
        // SAFETY: clause 1 makes the range valid, clause 3 makes it unchanging.
        unsafe { std::slice::from_raw_parts(self.pointer(offset, len), len) }
    }

    /// Bytes to fill.
    ///
    /// # Safety
    /// Clauses 1 and 4, for as long as the borrow lives.
    #[inline]
    #[allow(clippy::mut_from_ref)]
    pub(crate) unsafe fn reserved(&self, offset: u64, len: usize) -> &mut [u8] {
        // SAFETY: clause 1 makes the range valid, clause 4 makes this borrow the only one.
        unsafe { std::slice::from_raw_parts_mut(self.pointer(offset, len), len) }
    }

    /// Gives the pages of a range back to the kernel; their content reads as zeros afterwards. One system call.
    pub(crate) fn decommit(&self, vacant: Vacant) {
        let Vacant { offset, bytes } = vacant;
        assert!(offset.is_multiple_of(PAGE_BYTES) && offset + bytes <= self.bytes, "clause 1");
        if let Some(file) = &self.file {
            // A hole; where it can't be made the file stays larger than it needs to be, and nothing is wrong.
            let _ = allocate(file, libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE, offset, bytes);
            return;
        }
        // SAFETY: `Vacant` stands for clause 5: nobody looks at the bytes that turn to zeros.
        unsafe { give_back(&self.map, offset as usize, bytes as usize) };
    }

    /// Starts loading the line at `offset`; any value is harmless.
    #[inline]
    pub(crate) fn prefetch(&self, offset: u64) {
        prefetch(self.map.as_ptr().wrapping_add(offset as usize));
    }
}

/// Sets room of a file aside or gives it back; a signal in between is no failure.
fn allocate(file: &OwnedFd, mode: i32, offset: u64, bytes: u64) -> io::Result<()> {
    loop {
        // SAFETY: no pointers. A hole turns bytes of a mapping to zeros: only `decommit` makes one, under clause 5.
        let done =
            unsafe { libc::fallocate(file.as_raw_fd(), mode, offset.cast_signed(), bytes.cast_signed()) };
        match checked(done) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// Gives pages of an anonymous mapping back to the kernel, those included that `mlockall` has locked (`-k`).
///
/// # Safety
/// The range lies inside of the mapping (1), and nobody minds that its bytes turn to zeros (5).
unsafe fn give_back(map: &MmapRaw, start: usize, bytes: usize) {
    // SAFETY: the caller grants both.
    if unsafe { map.unchecked_advise_range(UncheckedAdvice::DontNeed, start, bytes) }.is_ok() {
        return;
    }
    // SAFETY: as above; the kernel checks the range.
    let given =
        unsafe { libc::madvise(map.as_mut_ptr().add(start).cast(), bytes, libc::MADV_DONTNEED_LOCKED) };
    checked(given).expect("the kernel takes back pages of a private anonymous mapping");
}

fn checked(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Eight words that share a cache line.
#[repr(C, align(64))]
pub(crate) struct Line(pub(crate) [AtomicU64; 8]);

/// Bytes of a cache line.
pub(crate) const LINE_BYTES: u64 = 64;

const _: () = assert!(size_of::<Line>() as u64 == LINE_BYTES, "a bucket is one cache line");

/// Zeroed lines in a mapping of their own, so that they cost memory only where they are touched.
pub(crate) struct Lines {
    map: MmapRaw,
    count: usize,
}

impl Lines {
    /// `count` lines of zeros.
    pub(crate) fn zeroed(count: usize) -> io::Result<Self> {
        let map =
            MmapRaw::from(MmapOptions::new().len(count * size_of::<Line>()).no_reserve_swap().map_anon()?);
        Ok(Self { map, count })
    }

    /// All lines.
    #[inline]
    pub(crate) fn as_slice(&self) -> &[Line] {
        // SAFETY: the mapping is page-aligned, zeroed, `count` lines long and lives as long as `self`; zeros are
        // valid atomics, and every access to it goes through them.
        unsafe { std::slice::from_raw_parts(self.map.as_ptr().cast(), self.count) }
    }

    /// Takes the memory of all lines at once, for a caller that is about to fill them: a page that is first read and
    /// then written would cost an interrupt of every processor. A kernel that can't takes each on its first use.
    pub(crate) fn populate(&self) {
        let _ = self.map.advise(Advice::PopulateWrite);
    }

    /// Gives the memory of some lines back while they stay readable as zeros; they begin and end with a page. One
    /// system call.
    pub(crate) fn decommit_some(&self, lines: Range<usize>) {
        let (start, bytes) = (lines.start * size_of::<Line>(), lines.len() * size_of::<Line>());
        assert!(start.is_multiple_of(PAGE_BYTES as usize) && lines.end <= self.count, "clause 1");
        // SAFETY: as for `decommit`.
        unsafe { give_back(&self.map, start, bytes) };
    }

    /// Gives the memory back while the lines stay readable as zeros: what a table does once it is outgrown.
    pub(crate) fn decommit(&self) {
        // SAFETY: the lines are atomics; zeros appear in them as if they had been stored.
        unsafe { give_back(&self.map, 0, self.map.len()) };
    }
}

/// Zeroed counters, one per slab, in a mapping of their own.
pub(crate) struct Words {
    map: MmapRaw,
    count: usize,
}

impl Words {
    /// `count` words of zero.
    pub(crate) fn zeroed(count: usize) -> io::Result<Self> {
        let map = MmapRaw::from(MmapOptions::new().len(count * 4).no_reserve_swap().map_anon()?);
        Ok(Self { map, count })
    }

    /// All words.
    #[inline]
    pub(crate) fn as_slice(&self) -> &[AtomicU32] {
        // SAFETY: as for `Lines::as_slice`.
        unsafe { std::slice::from_raw_parts(self.map.as_ptr().cast(), self.count) }
    }
}

/// Starts loading the cache line of `place`. Never faults.
#[inline]
pub(crate) fn prefetch<T>(place: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch is a hint; it has no effect that the program can see, whatever the address.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(place.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = place;
}
