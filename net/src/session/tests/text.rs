//! The classic text commands.

use super::Conversation;
use crate::config::Config;

#[test]
fn set_and_get() {
    Conversation::new()
        .step("get k\r\n", "END\r\n")
        .step("set k 0 0 5\r\nhello\r\n", "STORED\r\n")
        .step("get k\r\n", "VALUE k 0 5\r\nhello\r\nEND\r\n")
        .step("set k 4294967295 0 0\r\n\r\n", "STORED\r\n")
        .step("get k\r\n", "VALUE k 4294967295 0\r\n\r\nEND\r\n")
        .step(b"set b 5 0 9\r\n\0\r\n\xffget \r\r\n", "STORED\r\n")
        .step("get b\n", b"VALUE b 5 9\r\n\0\r\n\xffget \r\r\nEND\r\n")
        .step("  get   k   b  k missing k \r\n", b"VALUE k 4294967295 0\r\n\r\nVALUE b 5 9\r\n\0\r\n\xffget \r\r\nVALUE k 4294967295 0\r\n\r\nVALUE k 4294967295 0\r\n\r\nEND\r\n")
        .play();
}

#[test]
fn conditional_stores() {
    Conversation::new()
        .step("replace k 0 0 1\r\na\r\n", "NOT_STORED\r\n")
        .step("add k 1 0 1\r\nb\r\n", "STORED\r\n")
        .step("add k 2 0 1\r\nc\r\n", "NOT_STORED\r\n")
        .step("get k\r\n", "VALUE k 1 1\r\nb\r\nEND\r\n")
        .step("replace k 3 0 2\r\ndd\r\n", "STORED\r\n")
        .step("get k\r\n", "VALUE k 3 2\r\ndd\r\nEND\r\n")
        .play();
}

#[test]
fn joining_keeps_flags() {
    Conversation::new()
        .step("append k 0 0 1\r\na\r\n", "NOT_STORED\r\n")
        .step("prepend k 0 0 1\r\na\r\n", "NOT_STORED\r\n")
        .step("set k 7 0 3\r\nmid\r\n", "STORED\r\n")
        .step("append k 9 0 4\r\n-end\r\n", "STORED\r\n")
        .step("prepend k 9 0 6\r\nstart-\r\n", "STORED\r\n")
        .step("get k\r\n", "VALUE k 7 13\r\nstart-mid-end\r\nEND\r\n")
        .play();
}

#[test]
fn compare_and_swap() {
    Conversation::new()
        .step("cas k 0 0 1 5\r\na\r\n", "NOT_FOUND\r\n")
        .step("set k 0 0 1\r\na\r\n", "STORED\r\n")
        .step("gets k\r\n", "VALUE k 0 1 {a}\r\na\r\nEND\r\n")
        .step("cas k 0 0 1 0\r\nb\r\n", "EXISTS\r\n")
        .step("cas k 0 0 1 {a}\r\nb\r\n", "STORED\r\n")
        .step("cas k 0 0 1 {a}\r\nc\r\n", "EXISTS\r\n")
        .step("cas k 0 0 1 {a} noreply\r\nc\r\n", "")
        .step("gets k nothing\r\n", "VALUE k 0 1 {b}\r\nb\r\nEND\r\n")
        .play();
}

#[test]
fn without_cas_uniques_are_zero() {
    Conversation::with_config(Config { cas: false, ..Config::default() })
        .step("set k 0 0 1\r\na\r\n", "STORED\r\n")
        .step("gets k\r\n", "VALUE k 0 1 0\r\na\r\nEND\r\n")
        .step("cas k 0 0 1 0\r\nb\r\n", "EXISTS\r\n")
        .step("mg k c\r\n", "HD c0\r\n")
        .step("ms k 1 c\r\nx\r\n", "HD c0\r\n")
        .step("ma n N0 c\r\n", "HD c0\r\n")
        .step("ma n E7 c\r\n", "HD c0\r\n")
        .step("ma n C7\r\n", "EX\r\n")
        .step("ma n C0\r\n", "HD\r\n")
        .step("md n C7\r\n", "EX\r\n")
        .step("md n C0\r\n", "HD\r\n")
        .play();
}

#[test]
fn delete_and_its_old_delay() {
    Conversation::new()
        .step("delete k\r\n", "NOT_FOUND\r\n")
        .step("set k 0 0 1\r\na\r\n", "STORED\r\n")
        .step("delete k\r\n", "DELETED\r\n")
        .step("get k\r\n", "END\r\n")
        .step("delete k 0\r\n", "NOT_FOUND\r\n")
        .step("delete k noreply\r\n", "")
        .step("delete k 0 noreply\r\n", "")
        .step("delete k 1\r\n", "CLIENT_ERROR bad command line format.  Usage: delete <key> [noreply]\r\n")
        .step(
            "delete a b c d e\r\n",
            "CLIENT_ERROR bad command line format.  Usage: delete <key> [noreply]\r\n",
        )
        .step("delete\r\n", "CLIENT_ERROR bad command line format\r\n")
        .play();
}

#[test]
fn arithmetic() {
    Conversation::new()
        .step("incr n 1\r\n", "NOT_FOUND\r\n")
        .step("set n 3 0 2\r\n10\r\n", "STORED\r\n")
        .step("incr n 5\r\n", "15\r\n")
        .step("decr n 6\r\n", "9\r\n")
        .step("get n\r\n", "VALUE n 3 2\r\n9 \r\nEND\r\n")
        .step("decr n 10\r\n", "0\r\n")
        .step("incr n 18446744073709551615\r\n", "18446744073709551615\r\n")
        .step("incr n 2\r\n", "1\r\n")
        .step("incr n 1 noreply\r\n", "")
        .step("set t 0 0 3\r\nabc\r\n", "STORED\r\n")
        .step("incr t 1\r\n", "CLIENT_ERROR cannot increment or decrement non-numeric value\r\n")
        .step("incr n -1\r\n", "CLIENT_ERROR invalid numeric delta argument\r\n")
        .step("decr n x noreply\r\n", "")
        .step("incr n\r\n", "CLIENT_ERROR bad command line format\r\n")
        .play();
}

#[test]
fn touch_and_get_and_touch() {
    Conversation::new()
        .step("touch k 10\r\n", "NOT_FOUND\r\n")
        .step("gat 10 k\r\n", "END\r\n")
        .step("set k 0 0 1\r\na\r\n", "STORED\r\n")
        .step("set l 2 0 2\r\nbb\r\n", "STORED\r\n")
        .step("touch k 10\r\n", "TOUCHED\r\n")
        .step("mg k t\r\n", "HD t10\r\n")
        .step("touch k 0\r\n", "TOUCHED\r\n")
        .step("mg k t\r\n", "HD t-1\r\n")
        .step(
            "gat 100 k missing l k\r\n",
            "VALUE k 0 1\r\na\r\nVALUE l 2 2\r\nbb\r\nVALUE k 0 1\r\na\r\nEND\r\n",
        )
        .step("mg k t\r\n", "HD t100\r\n")
        .step("gats 200 l\r\n", "VALUE l 2 2 {l}\r\nbb\r\nEND\r\n")
        .step("touch k 5 noreply\r\n", "")
        .step("gat -1 k\r\n", "VALUE k 0 1\r\na\r\nEND\r\n")
        .step("get k\r\n", "END\r\n")
        .step("touch l -1\r\n", "TOUCHED\r\n")
        .step("get l\r\n", "END\r\n")
        .step("touch l x\r\n", "CLIENT_ERROR invalid exptime argument\r\n")
        .step("gat x l\r\n", "CLIENT_ERROR invalid exptime argument\r\n")
        .step("gat 10\r\n", "CLIENT_ERROR bad command line format\r\n")
        .step("touch l\r\n", "CLIENT_ERROR bad command line format\r\n")
        .play();
}

#[test]
fn a_write_follows_the_reads_before_it() {
    Conversation::new()
        .step("set k 0 0 1\r\na\r\n", "STORED\r\n")
        .step("gat 100 k\r\ndelete k\r\nget k\r\n", "VALUE k 0 1\r\na\r\nEND\r\nDELETED\r\nEND\r\n")
        .step(
            "set k 0 0 1\r\nb\r\nget k\r\nset k 0 0 1\r\nc\r\nget k\r\ndelete k\r\nget k\r\n",
            "STORED\r\nVALUE k 0 1\r\nb\r\nEND\r\nSTORED\r\nVALUE k 0 1\r\nc\r\nEND\r\nDELETED\r\nEND\r\n",
        )
        .play();
}

#[test]
fn expiry_of_stores() {
    for shards in super::SHARDS {
        let mut world = super::World::new(shards);
        assert_eq!(world.ask("set n 0 -1 1\r\na\r\nget n\r\n"), b"STORED\r\nEND\r\n");
        // 2^32 + 5 is cut to 5.
        assert_eq!(world.ask("set k 0 4294967301 1\r\na\r\nmg k t\r\n"), b"STORED\r\nHD t5\r\n");
        assert_eq!(world.ask("set a 0 1700000007 1\r\na\r\nmg a t\r\n"), b"STORED\r\nHD t7\r\n");
        assert_eq!(world.ask("set o 0 2592001 1\r\na\r\nget o\r\n"), b"STORED\r\nEND\r\n");
        world.advance(4);
        assert_eq!(world.ask("get k\r\n"), b"VALUE k 0 1\r\na\r\nEND\r\n");
        world.advance(1);
        assert_eq!(world.ask("get k a\r\n"), b"VALUE a 0 1\r\na\r\nEND\r\n");
        world.advance(2);
        assert_eq!(world.ask("get a\r\n"), b"END\r\n");
    }
}

#[test]
fn silence_covers_errors_of_the_classic_commands() {
    let long = "k".repeat(251);
    Conversation::new()
        .step("set k 0 0 1 noreply\r\na\r\n", "")
        .step("set k 0 0 1 noreply\r\nab\r\n", "CLIENT_ERROR bad command line format\r\n")
        .step("add k 0 0 1 noreply\r\nb\r\n", "")
        .step("append k 0 0 1 noreply\r\nb\r\n", "")
        .step("get k\r\n", "VALUE k 0 2\r\nab\r\nEND\r\n")
        .step(format!("set {long} 0 0 1 noreply\r\na\r\n"), "")
        .step(format!("touch {long} 0 noreply\r\n"), "")
        .step("touch k x noreply\r\n", "")
        .step("verbosity noreply\r\n", "")
        .step("flush_all noreply\r\n", "")
        .step("get k\r\n", "END\r\n")
        .play();
}
