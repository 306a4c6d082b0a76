//! The order of answers, and that a session sees its own writes.

use super::{FRAGMENTS, Random, World};

#[test]
fn a_pipelined_get_sees_the_set_before_it() {
    for shards in [2, 4, 7] {
        for fragment in FRAGMENTS {
            let mut world = World::new(shards);
            let (mut send, mut expect) = (String::new(), String::new());
            let mut random = Random::new(u64::from(shards));
            for number in 0..500 {
                let key = random.below(40);
                send += &format!("set k{key} 0 0 4\r\n{number:04}\r\nget k{key}\r\n");
                expect += &format!("STORED\r\nVALUE k{key} 0 4\r\n{number:04}\r\nEND\r\n");
            }
            world.send(send.as_bytes(), fragment);
            world.settle();
            assert_eq!(String::from_utf8_lossy(&world.received), expect, "{shards} shards, by {fragment}");
        }
    }
}

/// A read of one shard does not wait for a write that another shard has; its answer does.
#[test]
fn reads_of_other_shards_go_on() {
    let mut world = World::new(2);
    let own = (0..).map(|n| format!("o{n}")).find(|key| world.shard_of(key) == 0).unwrap();
    let other = (0..).map(|n| format!("r{n}")).find(|key| world.shard_of(key) == 1).unwrap();
    world.ask(format!("set {own} 0 0 1\r\na\r\n"));
    world.send_at_once(format!("set {other} 0 0 1\r\nb\r\nget {own}\r\nset {own} 0 0 1\r\nc\r\n").as_bytes());
    assert_eq!(world.progress, super::Progress::Receive, "all of it was taken");
    assert!(world.output.is_empty(), "the first answer is not known yet");
    world.deliver_one();
    let expected = format!("STORED\r\nVALUE {own} 0 1\r\na\r\nEND\r\nSTORED\r\n");
    assert_eq!(String::from_utf8_lossy(&world.output.bytes), expected);
}

/// Outcomes of different shards come in any order; the answers do not.
#[test]
fn late_outcomes_hold_back_early_ones() {
    let mut world = World::new(3);
    let one = (0..).map(|n| format!("a{n}")).find(|key| world.shard_of(key) == 1).unwrap();
    let two = (0..).map(|n| format!("b{n}")).find(|key| world.shard_of(key) == 2).unwrap();
    world.send_at_once(format!("set {one} 0 0 1\r\nx\r\ndelete {two}\r\nversion\r\n").as_bytes());
    world.deliver_from(2);
    assert!(world.output.is_empty());
    world.deliver_from(1);
    assert_eq!(world.output.bytes, b"STORED\r\nNOT_FOUND\r\nVERSION 1.6.45\r\n");
}

/// A read that follows its touch must not see a write that the session sent later.
#[test]
fn a_later_write_waits_for_the_read_of_a_touch() {
    let mut world = World::new(2);
    let other = (0..).map(|n| format!("r{n}")).find(|key| world.shard_of(key) == 1).unwrap();
    world.ask(format!("set {other} 0 0 1\r\na\r\n"));
    world.send_at_once(format!("gat 50 {other}\r\ndelete {other}\r\n").as_bytes());
    assert_eq!(world.session.writes_waiting(), 1);
    world.settle();
    let expected = format!("VALUE {other} 0 1\r\na\r\nEND\r\nDELETED\r\n");
    assert_eq!(String::from_utf8_lossy(&world.received), expected);
}
