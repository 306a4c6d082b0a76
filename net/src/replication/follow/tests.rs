//! What a link does about frames that come damaged, or not at all.

use std::sync::Arc;
use std::time::Duration;

use ringcache_engine::{CopyMark, Installed, Now, Part, RecordError, ShardId, Version};

use super::{FLAG_REWOUND, Follow, Kind, LinkError, Manner, Moment, Progress, Shards, frame};
use crate::limits::LINK_REWIND_PINGS_MAX;
use crate::output::Output;
use crate::replication::history::{HistoryId, Standing};
use crate::replication::message::Welcome;

/// One shard, to which nothing is ever given: the frames here carry positions only.
struct Nowhere;

impl Shards for Nowhere {
    fn count(&self) -> u16 {
        1
    }

    fn own(&self) -> ShardId {
        ShardId(0)
    }

    fn has_room(&self) -> bool {
        true
    }

    fn install(&mut self, _: &[u8], _: Manner) -> Result<(Installed, usize), RecordError> {
        unreachable!("no frame has a record")
    }

    fn send_away(&mut self, _: ShardId, _: Vec<u8>, _: Manner, _: u64) {
        unreachable!("no frame has a record")
    }

    fn begin_copy(&mut self, _: CopyMark, _: Version, _: u64) {
        unreachable!("no copy is welcomed")
    }

    fn sweep(&mut self, _: Part, _: CopyMark, _: Version, _: u64) {
        unreachable!("no copy is welcomed")
    }

    fn next_mark(&mut self) -> CopyMark {
        unreachable!("no copy is welcomed")
    }
}

fn moment() -> Moment {
    Moment { now: Now::from_unix_millis(1_800_000_000_000), at: Duration::ZERO }
}

/// A link that was welcomed without a copy.
fn following() -> Follow {
    let part = Part { shards: 1, shard: ShardId(0) };
    let (standing, progress) = (Standing::default(), Progress::default());
    let patience = Duration::from_secs(1);
    let out = &mut Output::default();
    let mut follow =
        Follow::new(part, false, standing, progress, 1 << 20, patience, moment(), Arc::default(), out);
    let welcome = Welcome { history: HistoryId(7), copy: 0, goes_on: false, flushed: Version::ZERO };
    let mut bytes = Vec::new();
    frame::push(&mut bytes, Kind::Welcome, 0, 0, &welcome.to_bytes());
    assert_eq!(hear(&mut follow, &bytes), Ok(()));
    follow
}

fn hear(follow: &mut Follow, bytes: &[u8]) -> Result<(), LinkError> {
    follow.handle_bytes(bytes, moment());
    follow.poll(&mut Nowhere, moment(), &mut Output::default(), |_| {}).map(drop)
}

/// A frame that says nothing but a position, ten times its sequence.
fn records(flags: u8, sequence: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame::push(&mut bytes, Kind::Records, flags, sequence, &(10 * sequence).to_le_bytes());
    bytes
}

fn damaged(flags: u8, sequence: u64) -> Vec<u8> {
    let mut bytes = records(flags, sequence);
    *bytes.last_mut().expect("it has a payload") ^= 1;
    bytes
}

/// Asked when this many frames of records were sent.
fn ping(records: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame::push(&mut bytes, Kind::Ping, 0, 1 + records, &[0; 8]);
    bytes
}

#[test]
fn records_that_vanished_are_missed_at_the_next_question() {
    let mut follow = following();
    assert_eq!(hear(&mut follow, &[records(0, 1), ping(1)].concat()), Ok(()));
    assert_eq!(hear(&mut follow, &ping(2)), Err(LinkError::Order(3)));
}

#[test]
fn a_damaged_frame_is_waited_for_until_it_comes_again() {
    let mut follow = following();
    let lost = [records(0, 1), damaged(0, 2), ping(2), records(0, 3), ping(3)].concat();
    assert_eq!(hear(&mut follow, &lost), Ok(()));
    assert_eq!(hear(&mut follow, &[records(FLAG_REWOUND, 2), records(0, 3), ping(3)].concat()), Ok(()));
    assert_eq!(follow.into_progress().extent.position, Version(30));
}

#[test]
fn a_damaged_frame_that_never_comes_again_ends_the_link() {
    let mut follow = following();
    let asked = |follow: &mut Follow| {
        (1..LINK_REWIND_PINGS_MAX).for_each(|_| assert_eq!(hear(follow, &ping(1)), Ok(())));
    };
    assert_eq!(hear(&mut follow, &damaged(0, 1)), Ok(()));
    asked(&mut follow);
    assert_eq!(hear(&mut follow, &damaged(FLAG_REWOUND, 1)), Ok(()));
    asked(&mut follow);
    // It came again and vanished; what follows it is thrown away.
    assert_eq!(hear(&mut follow, &records(0, 2)), Ok(()));
    assert_eq!(hear(&mut follow, &ping(2)), Err(LinkError::Order(3)));
}
