//! `stats items` and `stats slabs`.
//!
//! There are no size classes. Tools expect some, so all records are shown as one class, number 1, whose chunk
//! is the average record and whose page is a slab.

use super::{Lines, Snapshot};

/// `stats items`; nothing when there are no records.
pub(super) fn write_items(now: &Snapshot, lines: &mut Lines) {
    let records = &now.records;
    if records.items == 0 {
        return;
    }
    let figures = [
        ("number", records.items),
        ("number_hot", 0),
        ("number_warm", 0),
        ("number_cold", records.items),
        ("age_hot", 0),
        ("age_warm", 0),
        ("age", records.evicted_idle_seconds),
        ("mem_requested", records.bytes),
        ("evicted", records.evictions),
        ("evicted_nonzero", 0),
        ("evicted_time", records.evicted_idle_seconds),
        ("outofmemory", records.no_memory),
        ("tailrepairs", 0),
        ("reclaimed", records.reclaimed),
        ("expired_unfetched", records.expired_unfetched),
        ("evicted_unfetched", records.evicted_unfetched),
        ("evicted_active", 0),
        ("crawler_reclaimed", 0),
        ("crawler_items_checked", 0),
        ("lrutail_reflocked", 0),
        ("moves_to_cold", 0),
        ("moves_to_warm", 0),
        ("moves_within_lru", 0),
        ("direct_reclaims", 0),
        ("hits_to_hot", 0),
        ("hits_to_warm", 0),
        ("hits_to_cold", now.counters.get_hits),
        ("hits_to_temp", 0),
    ];
    for (name, value) in figures {
        lines.class_line("items:1:", name, value);
    }
}

/// `stats slabs`; only the totals when there are no records.
pub(super) fn write_slabs(now: &Snapshot, lines: &mut Lines) {
    let records = &now.records;
    if records.items > 0 {
        write_class(now, lines);
    }
    lines.line("active_slabs", u8::from(records.items > 0));
    lines.line("total_malloced", records.committed_bytes);
}

fn write_class(now: &Snapshot, lines: &mut Lines) {
    let (records, counters) = (&now.records, &now.counters);
    let chunk_bytes = records.bytes.div_ceil(records.items).max(1);
    let slab_bytes = records.committed_bytes.saturating_sub(records.index_bytes) / records.slabs_used.max(1);
    let chunks_per_page = slab_bytes / chunk_bytes;
    // A record larger than a slab leaves less than one chunk per page, hence the lower bound.
    let total_chunks = (records.slabs_used * chunks_per_page).max(records.items);
    let figures = [
        ("chunk_size", chunk_bytes),
        ("chunks_per_page", chunks_per_page),
        ("total_pages", records.slabs_used),
        ("total_chunks", total_chunks),
        ("used_chunks", records.items),
        ("free_chunks", total_chunks - records.items),
        ("free_chunks_end", 0),
        ("get_hits", counters.get_hits),
        ("cmd_set", counters.cmd_set),
        ("delete_hits", counters.delete_hits),
        ("incr_hits", counters.incr_hits),
        ("decr_hits", counters.decr_hits),
        ("cas_hits", counters.cas_hits),
        ("cas_badval", counters.cas_badval),
        ("touch_hits", counters.touch_hits),
    ];
    for (name, value) in figures {
        lines.class_line("1:", name, value);
    }
}
