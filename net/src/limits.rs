//! Every maximum of the network side, with the relations between them checked at compile time.

use std::time::Duration;

pub use ringcache_engine::limits::ITEM_FLAGS_BYTES;
use ringcache_engine::limits::{ITEM_BYTES_MAX, ITEM_FIXED_BYTES, KEY_BYTES_MAX};

/// A line without a newline may grow to this many bytes, then the connection is closed; `get ` and `gets ` lines
/// are held to [`KEY_LINE_BYTES_MAX`].
pub const LINE_BYTES_MAX: usize = 2048;
/// A shorter line, its end included, is no command.
pub const LINE_BYTES_MIN: usize = 4;
/// Longest `get`/`gets` line: some thousand keys of the largest size.
pub const KEY_LINE_BYTES_MAX: usize = 1 << 20;
/// Most tokens on a meta command's line.
pub const META_TOKENS_MAX: usize = 20;
/// Longest opaque, its letter included.
pub const OPAQUE_BYTES_MAX: usize = 32;
/// One receive buffer of the ring.
pub const RECEIVE_BUFFER_BYTES: usize = 16 * 1024;
/// A session stops parsing while this many bytes of answers wait to be sent.
pub const OUTPUT_BYTES_HIGH: usize = 256 * 1024;
/// Longest send that the kernel is expected to take at once.
pub const PROMPT_SEND_BYTES_MAX: usize = 16 * 1024;
/// Values from this size on stay in the engine's memory until they are sent, where the engine can pin them; a
/// smaller one is copied, which costs less than keeping track of it.
pub const PINNED_VALUE_BYTES_MIN: usize = 16 * 1024;
/// Smallest argument of `cache_memlimit`, in MiB.
pub const MEMORY_LIMIT_MIB_MIN: u32 = 8;
/// A larger argument of `cache_memlimit` must have been meant in bytes.
pub const MEMORY_LIMIT_MIB_MAX: u32 = 1_000_000_000;
/// `verbosity` stops here.
pub const VERBOSITY_MAX: u8 = 2;
/// Lookups under way at once in one session; see `session/lookups.rs`.
pub const LOOKUP_BATCH: usize = 32;
/// Lookups between the announcement of a piece of memory and its first use.
pub const LOOKUP_DISTANCE: usize = 8;
/// Writes of one session that may be on their way to other workers.
pub const SESSION_WRITES_WAITING_MAX: usize = 1024;
/// Emptied queues of waiting answers that a worker keeps for its sessions.
pub const SPARE_WAITING_MAX: usize = 64;
/// Answers that such a queue keeps room for.
pub const WAITING_KEPT_ANSWERS: usize = 64;
/// Bytes that each of its buffers keeps room for.
pub const WAITING_KEPT_BYTES: usize = 16 * 1024;
/// Kept input grows in steps of at least this, and only as it arrives: a declared length reserves nothing.
pub const KEPT_INPUT_STEP_BYTES: usize = 64 * 1024;
/// Large input buffers that a worker keeps for a while for its sessions.
pub const SPARE_INPUTS_MAX: usize = 16;
/// And bytes of all of them.
pub const SPARE_INPUT_BYTES_MAX: usize = 8 << 20;
/// Spaces that may stand before a `get` that is longer than [`LINE_BYTES_MAX`].
pub const LEADING_SPACES_MAX: usize = 100;
/// memcached's item header; this and the next three only serve the check against `-I`.
pub const ITEM_HEADER_BYTES: u64 = 48;
/// The CAS of a memcached item; absent with `-C`.
pub const ITEM_CAS_BYTES: u64 = 8;
/// The byte behind the key and the two behind the value of a memcached item.
pub const ITEM_ENDS_BYTES: u64 = 3;
/// Longest data block whose length is accepted at all.
pub const DATA_BYTES_MAX: i32 = i32::MAX - 2;
/// Longest name and password that a client may send, in one piece.
pub const AUTH_BYTES_MAX: usize = 16 * 1024;
/// Longest name of a SASL mechanism.
pub const MECHANISM_BYTES_MAX: usize = 32;
/// Longest line of a file of users, its end not counted.
pub const USER_LINE_BYTES_MAX: usize = 255;
/// Most users in such a file.
pub const USERS_MAX: usize = 1024;
/// Largest such file.
pub const USER_FILE_BYTES_MAX: u64 = 1 << 20;
/// And bytes of their keys and values, when another one is sent.
pub const SESSION_WRITE_BYTES_WAITING_MAX: usize = 1 << 20;
/// Reads of one session that may wait for its own writes.
pub const SESSION_READS_WAITING_MAX: usize = 64;
/// Records that a worker hands out for a backup in one step, in bytes.
pub const BACKUP_STEP_BYTES: usize = 64 * 1024;
/// Bytes of a backup that may wait in the page cache before they are synced.
pub const BACKUP_UNSYNCED_BYTES_MAX: u64 = 64 << 20;
/// Blocks of a backup that are not compressed after some that were not worth it.
pub const BACKUP_CODEC_SKIPS_MAX: u32 = 63;
/// Largest block that is compressed, before it is.
pub const BACKUP_LZ4_BYTES_MAX: u32 = 8 << 20;
/// Threads that check a backup.
pub const BACKUP_CHECK_THREADS_MAX: usize = 4;
/// Damaged places that salvage names; it counts all of them.
pub const BACKUP_LOSSES_SHOWN_MAX: usize = 16;
/// Files of one restore: a whole backup and those that continue it.
pub const RESTORE_FILES_MAX: usize = 1024;
/// Records that a serving worker installs in one step, in bytes.
pub const RESTORE_STEP_BYTES: usize = 64 * 1024;
/// Batches that wait for an owner at a start.
pub const RESTORE_BATCHES_AHEAD: usize = 8;
/// Longest request of an operator, its newline not counted.
pub const ADMIN_LINE_BYTES_MAX: usize = 64 * 1024;
/// Operators connected at once.
pub const ADMIN_CLIENTS_MAX: usize = 16;
/// How long an operator's connection may say nothing, or take nothing, in seconds.
pub const ADMIN_IDLE_SECONDS: u64 = 60;
/// The shortest pause between two lines that say how far a command is, in milliseconds.
pub const ADMIN_PROGRESS_MILLIS: u64 = 100;
/// Errands that a worker does in one turn.
pub const ERRANDS_PER_TURN: usize = 2;
/// Bytes of keys and values in one mesh batch before it is sent off early.
pub const MESH_BATCH_BYTES: usize = 64 * 1024;
/// Writes in one mesh batch before it is sent off early.
pub const MESH_BATCH_WRITES: usize = 256;
/// Messages that a mesh queue holds.
pub const MESH_QUEUE_MESSAGES: usize = 64;
/// Emptied batches that a worker keeps for each other one.
pub const MESH_SPARE_BATCHES_MAX: usize = 64;
/// Requests that a worker's ring takes in one submission; more go in several.
pub const SUBMISSIONS_MAX: u32 = 512;
/// Completions that a ring holds; more wait inside the kernel.
pub const COMPLETIONS_MAX: u32 = 4096;
/// Receive buffers of a ring where the kernel consumes them in pieces.
pub const RECEIVE_BUFFERS: u16 = 64;
/// Receive buffers of a ring where each receive takes a whole one.
pub const RECEIVE_BUFFERS_WHOLE: u16 = 256;
/// Pieces of memory in one send; `UIO_MAXIOV` of the kernel is 1024.
pub const SEND_PIECES_MAX: usize = 64;
/// An output buffer keeps room for this many bytes between uses.
pub const OUTPUT_BYTES_KEPT: usize = 16 * 1024 + 4 * TLS_RECORD_FRAME_BYTES;
/// Output buffers that a worker keeps for its connections.
pub const SPARE_OUTPUTS_MAX: usize = 64;
/// Receiving stops when a session that holds its input back has been given this many bytes more.
pub const HELD_BYTES_MAX: usize = 64 * 1024;
/// Memory that a turn leaves to later turns' writes; see `Shard::turn_budget`.
pub const TURN_BUDGET_LOW: u64 = 64 * 1024;
/// Longest `--spin-us`: what is longer is no spinning before sleep any more, but no sleep.
pub const SPIN_US_MAX: u32 = 10_000;
/// `--spin-us` where it is not given.
pub const SPIN_US_DEFAULT: u32 = 0;
/// Memory that glommio's executor registers for its own file operations; the least it takes.
pub const EXECUTOR_BYTES: usize = 64 * 1024;
/// Depth of glommio's own rings, which only its timers and files use.
pub const EXECUTOR_RING_DEPTH: usize = 32;
/// Descriptors beside connections: rings, events, listeners, standard streams. Per process, and per worker.
pub const DESCRIPTORS_RESERVED: u64 = 24;
/// Descriptors of one worker: its own ring, its event, and glommio's rings and events.
pub const DESCRIPTORS_PER_WORKER: u64 = 8;
/// Lines of a dump that are made in one step.
pub const DUMP_STEP_BYTES: usize = 16 * 1024;
/// And records that it looks at.
pub const DUMP_STEP_RECORDS: u32 = 256;
/// All that `stats cachedump` shows, as memcached's.
pub const CACHEDUMP_BYTES_MAX: usize = 2 << 20;
/// Width of the size classes of `stats sizes`.
pub const SIZE_CLASS_BYTES: u64 = 32;
/// memcached's number of size classes: one from here on is illegal.
pub const CLASSES: u32 = 64;
/// Watchers of a node, as memcached's.
pub const WATCHERS_MAX: usize = 20;
/// Lines that wait for a watcher, unless `-o watcher_logbuf_size` says otherwise.
pub const WATCHER_LOG_BYTES: usize = 256 * 1024;
/// Events that a worker notes in a turn, unless `-o worker_logbuf_size` says otherwise.
pub const WORKER_LOG_BYTES: usize = 64 * 1024;
/// The longest pause of a worker that serves watchers, in milliseconds.
pub const WATCH_PAUSE_MILLIS: u64 = 10;
/// Prefixes of keys that a node counts for.
pub const PREFIXES_MAX: usize = 1 << 14;
/// Prefixes that one step of `stats detail dump` shows: some ten microseconds for each worker.
pub const PREFIXES_PER_STEP: usize = 128;
/// Longest datagram that is sent, its header included, as memcached's.
pub const UDP_DATAGRAM_BYTES_MAX: usize = 1400;
/// Longest answer that is sent over UDP: more than the largest value by default.
pub const UDP_ANSWER_BYTES_MAX: usize = 2 << 20;
/// Answers up to so many times the length of their request are sent whoever asks; QUIC allows the same.
pub const UDP_ANSWER_FACTOR: usize = 3;
/// What a datagram costs on its way beside its payload, at least: the headers of Ethernet, IPv4 and UDP.
pub const UDP_WIRE_BYTES: usize = 14 + 20 + 8;
/// Sources with a port below this are services, not clients.
pub const UDP_SOURCE_PORT_MIN: u16 = 1024;
/// What a source may be sent beyond that at once.
pub const UDP_BURST_BYTES: u64 = 4 << 20;
/// And per second, unless `--udp-limit` says otherwise.
pub const UDP_BYTES_PER_SECOND_DEFAULT: u64 = 1 << 20;
/// Largest `--udp-limit`, in KiB.
pub const UDP_LIMIT_KIB_MAX: u64 = 1 << 30;
/// Buckets that sources share by their hash.
pub const UDP_ALLOWANCES: usize = 4096;
/// One receive buffer for datagrams: the longest one, and what the kernel tells of its source.
pub const UDP_BUFFER_BYTES: usize = 68 * 1024;
/// How many of them a worker has.
pub const UDP_BUFFERS: u16 = 16;
/// Datagrams of one worker whose commands wait for other workers.
pub const UDP_REQUESTS_MAX: usize = 64;
/// Bytes of answers that wait to be sent by one worker; past it an answer is dropped.
pub const UDP_UNSENT_BYTES_MAX: usize = 8 << 20;
/// Datagrams that the kernel is sending for one worker.
pub const UDP_SENDS_MAX: usize = 64;
/// Emptied buffers for datagrams that a worker keeps.
pub const UDP_SPARE_BUFFERS_MAX: usize = 64;
/// Smallest `-I`, as memcached's.
pub const ITEM_BYTES_MIN: u32 = 1024;
/// Books of a memory file may always be so large, and larger where the file is.
pub const BOOKS_BYTES_MIN: u64 = 16 << 20;
/// Largest `-m`: what a process can map on every 64-bit Linux with room to spare.
pub const MEMORY_BYTES_MAX: u64 = 64 << 40;
/// Smallest part of `-m` for each worker: some slabs and a little index.
pub const WORKER_MEMORY_BYTES_MIN: u64 = 256 * 1024;
/// More workers than this draw a warning, as in memcached.
pub const WORKERS_ADVISED_MAX: u16 = 64;
/// The most that one TLS record carries.
pub const TLS_RECORD_BYTES: usize = 16 * 1024;
/// Received and not done with, after the handshake: less than two records of the largest size.
pub const TLS_KEPT_BYTES_MAX: usize = 2 * (TLS_RECORD_BYTES + 2048);
/// Records after which a connection of TLS 1.2 is ended; rustls encrypts 2^24 with AES-GCM and then no more (RFC 8446,
/// section 5.5). TLS 1.3 renews its keys.
pub const TLS_RECORDS_MAX: u64 = (1 << 24) - (1 << 16);
/// And the most that comes around it: header, nonce, content type, tag, with room to spare.
pub const TLS_RECORD_FRAME_BYTES: usize = 64;
/// Answers that are encrypted for one send, unless `-o ssl_wbuf_size` says otherwise.
pub const TLS_SEND_BYTES: usize = 16 * 1024;
/// Largest `-o ssl_wbuf_size` that has its effect, in KiB: every busy connection may need as much.
pub const TLS_SEND_KIBIBYTES_MAX: usize = 16 * 1024;
/// Largest file of certificates or a key.
pub const TLS_FILE_BYTES_MAX: u64 = 8 << 20;
/// All that a client may send before its handshake is over.
pub const HANDSHAKE_BYTES_MAX: usize = 256 * 1024;
/// How long a handshake may take, in seconds.
pub const HANDSHAKE_SECONDS_MAX: u64 = 10;
/// Handshakes under way at once; past this the oldest is closed.
pub const HANDSHAKES_MAX: usize = 4096;

const _: () = assert!(
    ITEM_HEADER_BYTES + ITEM_CAS_BYTES + ITEM_ENDS_BYTES == ITEM_FIXED_BYTES,
    "the session and the engine measure an item alike"
);
const _: () =
    assert!(ITEM_BYTES_MAX as u64 <= MEMORY_BYTES_MAX / 2, "the largest item fits half of the memory");
const _: () =
    assert!(OUTPUT_BYTES_KEPT >= TLS_SEND_BYTES + TLS_RECORD_FRAME_BYTES, "a sealed send fits a kept buffer");
const _: () = assert!(UDP_BUFFERS.is_power_of_two() && UDP_BUFFER_BYTES > 64 * 1024 + 64);
const _: () =
    assert!(UDP_ANSWER_BYTES_MAX < UDP_UNSENT_BYTES_MAX && UDP_ANSWER_BYTES_MAX < UDP_BURST_BYTES as usize);
const _: () = assert!(LINE_BYTES_MAX > 2 * KEY_BYTES_MAX, "a command with a key fits on a line");
const _: () = assert!(LINE_BYTES_MAX < RECEIVE_BUFFER_BYTES, "a whole line fits a receive buffer");
const _: () = assert!(COMPLETIONS_MAX >= 4 * SUBMISSIONS_MAX, "multishot requests complete more than once");
const _: () = assert!(RECEIVE_BUFFERS.is_power_of_two() && RECEIVE_BUFFERS_WHOLE.is_power_of_two());
const _: () = assert!(SPARE_INPUT_BYTES_MAX >= SPARE_INPUTS_MAX * KEPT_INPUT_STEP_BYTES);
const _: () = assert!(LOOKUP_BATCH.is_power_of_two(), "a lookup's place is found without a division");
const _: () = assert!(LOOKUP_BATCH >= 3 * LOOKUP_DISTANCE, "three announcements fit the way of a lookup");
const _: () = assert!(MESH_QUEUE_MESSAGES.is_power_of_two(), "queue positions are masked");
/// Largest payload of a frame on a link, except of one that carries a large record.
pub const LINK_PAYLOAD_BYTES_MAX: u32 = 1 << 20;
/// What a large record's frame may have beside a value of the largest size.
pub const LINK_LARGE_SLACK_BYTES: u32 = 1024;
/// Bytes of records in one frame, about.
pub const LINK_BATCH_BYTES: usize = 128 * 1024;
/// What a link sends in one turn, about: clients' requests wait meanwhile.
pub const LINK_TURN_BYTES: usize = 256 * 1024;
/// Damaged batches in a row after which a link is given up.
pub const LINK_NACKS_MAX: u32 = 16;
/// So much of a frame must come within `--replication-timeout-ms`, or all that is missing of it.
pub const LINK_TRICKLE_BYTES: usize = 1024;
/// Questions from the primary after which a replica no longer waits for a damaged batch that it asked for again: there
/// are four of them in the time that a link may be silent.
pub const LINK_REWIND_PINGS_MAX: u32 = 8;
/// Largest `--replication-window`, in MiB.
pub const LINK_WINDOW_MIB_MAX: usize = 1024;
/// Bytes that may have come on a link beyond its window before it is given up.
pub const LINK_RECEIVED_SLACK_BYTES: usize = 4 << 20;
/// Replicas of a node.
pub const REPLICAS_MAX: usize = 64;
/// Largest `--node-number`: a version has six bits for it.
pub const NODE_NUMBER_MAX: u8 = 63;
/// The first pause before a link is dialled again; it doubles.
pub const LINK_PAUSE_MIN: Duration = Duration::from_millis(50);
/// The longest such pause.
pub const LINK_PAUSE_MAX: Duration = Duration::from_secs(2);
/// How long a promotion waits for the links to close.
pub const LINK_PROMOTE_PATIENCE: Duration = Duration::from_secs(5);
/// How long a connection to another node may take.
pub const LINK_DIAL_TIME: Duration = Duration::from_secs(3);
/// And a greeting.
pub const LINK_GREETING_TIME: Duration = Duration::from_secs(5);
/// Nodes that are greeted at once.
pub const LINK_GREETINGS_MAX: usize = 64;
/// Longest secret of `--replication-secret`.
pub const LINK_SECRET_BYTES_MAX: usize = 4096;
/// How long the log is kept for a replica that is away, and a copy that was broken off, at least.
pub const LINK_PARK_TIME: Duration = Duration::from_secs(60);
/// Copies that were broken off and may be gone on with.
pub const LINK_PARKED_MAX: usize = 4;
/// Comparisons with this node that other nodes may have under way.
pub const VERIFY_PEERS_MAX: usize = 4;
/// How long a replica may take to apply what the primary had, in a comparison.
pub const VERIFY_PATIENCE: Duration = Duration::from_secs(30);
/// How long the other node may be silent, in a comparison.
pub const VERIFY_SILENCE: Duration = Duration::from_secs(20);
/// Records that are listed at a time, about; a single slot may have more.
pub const VERIFY_LIST_RECORDS: u64 = 256 * 1024;
/// The most that a list may have: what a single slot of a very large node holds.
pub const VERIFY_LIST_RECORDS_MAX: usize = 16 * VERIFY_LIST_RECORDS as usize;
/// Looks at a key before it is called changing.
pub const VERIFY_LOOKS_MAX: usize = 8;
/// The pause between the first two looks; it doubles.
pub const VERIFY_PAUSE_MIN: Duration = Duration::from_millis(2);
/// The longest such pause.
pub const VERIFY_PAUSE_MAX: Duration = Duration::from_millis(200);
/// Differences that are shown one by one.
pub const VERIFY_SHOWN_MAX: usize = 32;
/// How far the clocks of two nodes may differ for the end of a record to explain that one of them lacks it.
pub const VERIFY_CLOCK_SECONDS: u32 = 2;
/// Keys that are looked at in one question, and records in one answer: bounded by a frame.
pub const VERIFY_KEYS_PER_FRAME: usize = 16 * 1024;

const _: () = assert!(VERIFY_KEYS_PER_FRAME * 32 < LINK_PAYLOAD_BYTES_MAX as usize);
/// `--warm-timeout-ms` where it is not given.
pub const WARM_TIMEOUT_DEFAULT: Duration = Duration::from_millis(100);
/// Longest `--warm-timeout-ms`.
pub const WARM_TIMEOUT_MILLIS_MAX: u64 = 60_000;
/// Keys that a worker is fetching from its upstream at once.
pub const WARM_FETCHES_MAX: usize = 1024;
/// Questions of sessions that wait for them.
pub const WARM_WAITING_MAX: usize = 1 << 16;
/// Longest line of an upstream: a key, and room for flags that nobody asked for.
pub const WARM_LINE_BYTES_MAX: usize = 2048;
/// How long a value lives here when its upstream does not say how long it lives there.
pub const WARM_UNKNOWN_LIFE_SECONDS: u32 = 60;
/// How long an upstream may owe an answer before its connection is given up; it is not asked meanwhile.
pub const WARM_SILENCE_MAX: Duration = Duration::from_secs(1);
/// How long a connection to the upstream may take, and then what it says of itself.
pub const WARM_DIAL_TIME: Duration = Duration::from_secs(1);
/// The first pause before the upstream is connected to again; it doubles.
pub const WARM_PAUSE_MIN: Duration = Duration::from_millis(50);
/// The longest such pause. A connection that lasted for so long was a good one.
pub const WARM_PAUSE_MAX: Duration = Duration::from_secs(2);
/// Memory of a shard for each byte of the filter of keys that clients have written.
pub const WARM_WRITTEN_SHARE: u64 = 64;
/// The smallest such filter.
pub const WARM_WRITTEN_BYTES_MIN: u64 = 64 * 1024;
/// And the largest.
pub const WARM_WRITTEN_BYTES_MAX: u64 = 64 << 20;
