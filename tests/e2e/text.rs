//! The classic text commands (memcached's protocol.txt, "Storage commands" to "Flush_all").

use crate::server::Server;
use crate::transcript::{Transcript, play_everywhere, play_everywhere_with, play_on_memcached};

#[test]
fn text_commands_answer_as_memcached_does() {
    play_everywhere(&transcripts());
    play_everywhere(&[deleting_with_more_words()]);
}

#[test]
fn memcached_answers_the_text_transcripts() {
    play_on_memcached(&transcripts());
}

#[test]
fn without_cas_every_unique_is_zero() {
    play_everywhere_with(&["-C"], &[without_cas()]);
}

#[test]
fn forbidden_flush_all_is_refused() {
    let server = Server::ringcached(&["-F"]);
    let mut connection = server.connect();
    assert_eq!(connection.ask("flush_all"), "CLIENT_ERROR flush_all not allowed");
}

/// As memcached's own tests move the clock, in its debug builds.
#[test]
fn the_clock_obeys_debugtime_where_tests_ask_for_it() {
    for workers in ["1", "2"] {
        let server = Server::ringcached(&["-t", workers, "-o", "relaxed_privileges"]);
        let mut connection = server.connect();
        assert_eq!(connection.ask("debugtime p"), "OK");
        for key in 0..8 {
            assert_eq!(connection.ask(&format!("set k{key} 0 100 1\r\nx")), "STORED");
        }
        assert_eq!(connection.ask("debugtime 99"), "OK");
        assert_eq!(connection.ask("mg k1 t"), "HD t1");
        assert_eq!(connection.ask("debugtime 1"), "OK");
        assert_eq!(connection.ask("get k0 k1 k2 k3 k4 k5 k6 k7"), "END");
        assert_eq!(connection.ask("debugtime r"), "OK");
        assert_eq!(connection.ask("debugtime x"), "ERROR");
    }
}

fn transcripts() -> Vec<Transcript> {
    vec![
        storage(),
        conditional_storage(),
        joining(),
        compare_and_swap(),
        retrieval(),
        retrieval_of_large_values(),
        touching(),
        counting(),
        deleting(),
        flushing(),
        expiring(),
        silence(),
        spacing(),
        client_flags(),
        keys(),
        other_commands(),
        tuning_commands(),
        detail(),
    ]
}

fn storage() -> Transcript {
    Transcript::new("storage")
        .step("set s 0 0 5\r\nhello\r\n", "STORED\r\n")
        .step("get s\r\n", "VALUE s 0 5\r\nhello\r\nEND\r\n")
        .step("set s 7 0 3\r\nbye\r\n", "STORED\r\n")
        .step("get s\r\n", "VALUE s 7 3\r\nbye\r\nEND\r\n")
        .step("set empty 0 0 0\r\n\r\n", "STORED\r\n")
        .step("get empty\r\n", "VALUE empty 0 0\r\n\r\nEND\r\n")
        .step(b"set binary 0 0 8\r\n\0\r\n\xff\n\r\n \r\n", "STORED\r\n")
        .step("get binary\r\n", b"VALUE binary 0 8\r\n\0\r\n\xff\n\r\n \r\nEND\r\n")
        .step("set command 0 0 13\r\nget command\r\n\r\n", "STORED\r\n")
        .step("get command\r\n", "VALUE command 0 13\r\nget command\r\n\r\nEND\r\n")
}

fn conditional_storage() -> Transcript {
    Transcript::new("add and replace")
        .step("replace c 0 0 1\r\na\r\n", "NOT_STORED\r\n")
        .step("get c\r\n", "END\r\n")
        .step("add c 1 0 1\r\nb\r\n", "STORED\r\n")
        .step("add c 2 0 1\r\nc\r\n", "NOT_STORED\r\n")
        .step("get c\r\n", "VALUE c 1 1\r\nb\r\nEND\r\n")
        .step("replace c 3 0 2\r\ndd\r\n", "STORED\r\n")
        .step("get c\r\n", "VALUE c 3 2\r\ndd\r\nEND\r\n")
        .step("delete c\r\nadd c 0 0 1\r\ne\r\nget c\r\n", "DELETED\r\nSTORED\r\nVALUE c 0 1\r\ne\r\nEND\r\n")
}

fn joining() -> Transcript {
    Transcript::new("append and prepend")
        .step("append j 0 0 1\r\na\r\n", "NOT_STORED\r\n")
        .step("prepend j 0 0 1\r\na\r\n", "NOT_STORED\r\n")
        .step("set j 5 0 3\r\nmid\r\n", "STORED\r\n")
        .step("append j 9 -1 4\r\n-end\r\n", "STORED\r\n")
        .step("prepend j 8 0 6\r\nstart-\r\n", "STORED\r\n")
        .step("get j\r\n", "VALUE j 5 13\r\nstart-mid-end\r\nEND\r\n")
        .step("append j 0 0 0\r\n\r\n", "STORED\r\n")
        .step("get j\r\n", "VALUE j 5 13\r\nstart-mid-end\r\nEND\r\n")
}

fn compare_and_swap() -> Transcript {
    Transcript::new("cas")
        .step("cas u 0 0 1 1\r\na\r\n", "NOT_FOUND\r\n")
        .step("set u 0 0 1\r\na\r\n", "STORED\r\n")
        .step("gets u\r\n", "VALUE u 0 1 {first}\r\na\r\nEND\r\n")
        .step("cas u 4 0 1 {first}\r\nb\r\n", "STORED\r\n")
        .step("cas u 0 0 1 {first}\r\nc\r\n", "EXISTS\r\n")
        .step("gets u\r\n", "VALUE u 4 1 {second}\r\nb\r\nEND\r\n")
        .step("cas u 0 0 1 0\r\nd\r\n", "EXISTS\r\n")
        .step("append u 0 0 1\r\nx\r\n", "STORED\r\n")
        .step("cas u 0 0 1 {second}\r\ne\r\n", "EXISTS\r\n")
        .step("gets u\r\n", "VALUE u 4 2 {third}\r\nbx\r\nEND\r\n")
        .step("touch u 0\r\n", "TOUCHED\r\n")
        .step("gat 0 u\r\n", "VALUE u 4 2\r\nbx\r\nEND\r\n")
        .step("gats 0 u\r\n", "VALUE u 4 2 {third}\r\nbx\r\nEND\r\n")
        .step("cas u 0 0 1 {third} noreply\r\nf\r\n", "")
        .step("get u\r\n", "VALUE u 0 1\r\nf\r\nEND\r\n")
}

fn without_cas() -> Transcript {
    Transcript::new("cas switched off")
        .step("set u 0 0 1\r\na\r\n", "STORED\r\n")
        .step("gets u\r\n", "VALUE u 0 1 0\r\na\r\nEND\r\n")
        .step("mg u c v\r\n", "VA 1 c0\r\na\r\n")
}

fn retrieval() -> Transcript {
    let many: Vec<String> = (0..200).map(|number| format!("many{number}")).collect();
    let stores: String = many.iter().map(|key| format!("set {key} 0 0 {}\r\n{key}\r\n", key.len())).collect();
    let values: String = many.iter().map(|key| format!("VALUE {key} 0 {}\r\n{key}\r\n", key.len())).collect();
    Transcript::new("get of many keys")
        .step("get none\r\n", "END\r\n")
        .step("get none nor this\r\n", "END\r\n")
        .step("set a 1 0 1\r\nA\r\nset b 2 0 1\r\nB\r\n", "STORED\r\nSTORED\r\n")
        .step("get b none a b\r\n", "VALUE b 2 1\r\nB\r\nVALUE a 1 1\r\nA\r\nVALUE b 2 1\r\nB\r\nEND\r\n")
        .step("gets none\r\n", "END\r\n")
        .step(stores, "STORED\r\n".repeat(many.len()))
        .step(format!("get {}\r\n", many.join(" ")), format!("{values}END\r\n"))
}

fn retrieval_of_large_values() -> Transcript {
    // Larger than a receive buffer, than a send buffer's fair share, and the largest that -I 1m takes.
    let mut transcript = Transcript::new("large values");
    for (key, bytes) in [("l1", 20_000), ("l2", 300_000), ("l3", 1_048_517 - 2)] {
        let value = pattern(bytes);
        let store = format!("set {key} 0 0 {bytes}\r\n{value}\r\n");
        transcript = transcript
            .step(store, "STORED\r\n")
            .step(format!("get {key}\r\n"), format!("VALUE {key} 0 {bytes}\r\n{value}\r\nEND\r\n"));
    }
    transcript
}

fn touching() -> Transcript {
    Transcript::new("touch and gat")
        .step("touch t 0\r\n", "NOT_FOUND\r\n")
        .step("gat 0 t\r\n", "END\r\n")
        .step("set t 3 0 1\r\na\r\nset t2 4 0 1\r\nb\r\n", "STORED\r\nSTORED\r\n")
        .step("touch t 1000\r\n", "TOUCHED\r\n")
        .step("gat 0 t none t2\r\n", "VALUE t 3 1\r\na\r\nVALUE t2 4 1\r\nb\r\nEND\r\n")
        .step("mg t t\r\n", "HD t-1\r\n")
        .step("touch t -1\r\n", "TOUCHED\r\n")
        .step("get t\r\n", "END\r\n")
        .step("gat -1 t2\r\n", "VALUE t2 4 1\r\nb\r\nEND\r\n")
        .step("get t2\r\n", "END\r\n")
}

fn counting() -> Transcript {
    Transcript::new("incr and decr")
        .step("incr n 1\r\ndecr n 1\r\n", "NOT_FOUND\r\nNOT_FOUND\r\n")
        .step("set n 6 0 1\r\n1\r\n", "STORED\r\n")
        .step("incr n 9\r\n", "10\r\n")
        .step("decr n 1\r\n", "9\r\n")
        .step("get n\r\n", "VALUE n 6 2\r\n9 \r\nEND\r\n")
        .step("decr n 100\r\n", "0\r\n")
        .step("incr n 18446744073709551615\r\n", "18446744073709551615\r\n")
        .step("incr n 1\r\n", "0\r\n")
        .step("get n\r\n", "VALUE n 6 20\r\n0                   \r\nEND\r\n")
        .step("incr n 0\r\n", "0\r\n")
        .step("incr n 18446744073709551616\r\n", "CLIENT_ERROR invalid numeric delta argument\r\n")
        .step("incr n -1\r\n", "CLIENT_ERROR invalid numeric delta argument\r\n")
        .step("incr n x\r\n", "CLIENT_ERROR invalid numeric delta argument\r\n")
        .step("set n 0 0 3\r\nabc\r\n", "STORED\r\n")
        .step("incr n 1\r\n", "CLIENT_ERROR cannot increment or decrement non-numeric value\r\n")
        .step("set n 0 0 0\r\n\r\n", "STORED\r\n")
        .step("decr n 1\r\n", "CLIENT_ERROR cannot increment or decrement non-numeric value\r\n")
        .step("set n 0 0 21\r\n100000000000000000000\r\n", "STORED\r\n")
        .step("decr n 1\r\n", "CLIENT_ERROR cannot increment or decrement non-numeric value\r\n")
        .step("set n 0 0 2\r\n99\r\n", "STORED\r\n")
        .step("incr n 1\r\n", "100\r\n")
        .step("get n\r\n", "VALUE n 0 3\r\n100\r\nEND\r\n")
}

fn deleting() -> Transcript {
    Transcript::new("delete")
        .step("delete d\r\n", "NOT_FOUND\r\n")
        .step("set d 0 0 1\r\na\r\n", "STORED\r\n")
        .step("delete d\r\ndelete d\r\n", "DELETED\r\nNOT_FOUND\r\n")
        .step("get d\r\n", "END\r\n")
        .step("set d 0 0 1\r\na\r\ndelete d 0\r\n", "STORED\r\nDELETED\r\n")
}

/// memcached 1.6.40 and later ignore what follows the key; a typing mistake should not delete (docs/protocol.md).
fn deleting_with_more_words() -> Transcript {
    let usage = "CLIENT_ERROR bad command line format.  Usage: delete <key> [noreply]\r\n";
    Transcript::new("delete with more words")
        .step("set d 0 0 1\r\na\r\ndelete d 10\r\ndelete d\r\n", format!("STORED\r\n{usage}DELETED\r\n"))
}

fn flushing() -> Transcript {
    Transcript::new("flush_all")
        .step("set f 0 0 1\r\na\r\n", "STORED\r\n")
        .step("flush_all\r\nget f\r\n", "OK\r\nEND\r\n")
        .step("set f 0 0 1\r\nb\r\nget f\r\n", "STORED\r\nVALUE f 0 1\r\nb\r\nEND\r\n")
        .step("flush_all 0\r\nget f\r\n", "OK\r\nEND\r\n")
        .step("add f 0 0 1\r\nc\r\n", "STORED\r\n")
        .step("flush_all -1\r\nget f\r\n", "OK\r\nEND\r\n")
        .step("set f 0 0 1\r\nd\r\n", "STORED\r\n")
        .step("flush_all noreply\r\nget f\r\n", "END\r\n")
        .step("set f 0 0 1\r\ne\r\n", "STORED\r\n")
        .step("flush_all 1000\r\nget f\r\n", "OK\r\nVALUE f 0 1\r\ne\r\nEND\r\n")
        .step("flush_all x\r\n", "CLIENT_ERROR invalid exptime argument\r\n")
        .step("flush_all\r\nget f\r\n", "OK\r\nEND\r\n")
        .step(
            "incr f 1\r\nreplace f 0 0 1\r\na\r\nappend f 0 0 1\r\na\r\n",
            "NOT_FOUND\r\nNOT_STORED\r\nNOT_STORED\r\n",
        )
}

fn expiring() -> Transcript {
    Transcript::new("exptime without waiting")
        .step("set e 0 -1 1\r\na\r\nget e\r\n", "STORED\r\nEND\r\n")
        .step("set e 0 2592000 1\r\nb\r\nget e\r\n", "STORED\r\nVALUE e 0 1\r\nb\r\nEND\r\n")
        // From 30 days on it is a Unix time, and this one is in January 1970.
        .step("set e 0 2592001 1\r\nc\r\nget e\r\n", "STORED\r\nEND\r\n")
        .step("add e 0 2100000000 1\r\nd\r\nget e\r\n", "STORED\r\nVALUE e 0 1\r\nd\r\nEND\r\n")
        // It is cut to 32 bits with a sign, and so this one is negative.
        .step("set e 0 4000000000 1\r\ne\r\nget e\r\n", "STORED\r\nEND\r\n")
        .step("set e 0 0 1\r\nf\r\n", "STORED\r\n")
        .step("touch e -1\r\nadd e 0 0 1\r\ne\r\n", "TOUCHED\r\nSTORED\r\n")
        .step("touch e x\r\n", "CLIENT_ERROR invalid exptime argument\r\n")
        .step("gat x e\r\n", "CLIENT_ERROR invalid exptime argument\r\n")
}

fn silence() -> Transcript {
    Transcript::new("noreply")
        .step("set q 0 0 1 noreply\r\na\r\nget q\r\n", "VALUE q 0 1\r\na\r\nEND\r\n")
        .step("add q 0 0 1 noreply\r\nb\r\nreplace none 0 0 1 noreply\r\nb\r\n", "")
        .step("append q 0 0 1 noreply\r\nc\r\nprepend q 0 0 1 noreply\r\nd\r\n", "")
        .step("get q\r\n", "VALUE q 0 3\r\ndac\r\nEND\r\n")
        .step("incr q 1 noreply\r\ndecr q x noreply\r\n", "")
        .step("touch q 0 noreply\r\ntouch none 0 noreply\r\ntouch q x noreply\r\n", "")
        .step("delete q noreply\r\ndelete q noreply\r\n", "")
        .step("cas q 0 0 1 1 noreply\r\na\r\n", "")
        .step("flush_all 0 noreply\r\nverbosity 0 noreply\r\nverbosity noreply\r\n", "")
        .step("get q\r\n", "END\r\n")
        .step("set q 0 0 1 noreply\r\nabcdefgh\r\n", "ERROR\r\n")
}

fn spacing() -> Transcript {
    Transcript::new("spaces and line ends")
        .step("  set   sp  0   0    1  \r\na\r\n", "STORED\r\n")
        .step(" get  sp   sp \r\n", "VALUE sp 0 1\r\na\r\nVALUE sp 0 1\r\na\r\nEND\r\n")
        .step("get sp\n", "VALUE sp 0 1\r\na\r\nEND\r\n")
        .step("set sp 0 0 1\nb\r\n", "STORED\r\n")
        .step("incr none 1 \r\n", "NOT_FOUND\r\n")
        // Only the space separates; a tab belongs to the key.
        .step("set a\tb 0 0 1\r\nx\r\n", "STORED\r\n")
        .step("get a\tb\r\n", "VALUE a\tb 0 1\r\nx\r\nEND\r\n")
}

fn client_flags() -> Transcript {
    Transcript::new("client flags")
        .step("set cf 4294967295 0 1\r\na\r\nget cf\r\n", "STORED\r\nVALUE cf 4294967295 1\r\na\r\nEND\r\n")
        .step("set cf 4294967296 0 1\r\na\r\nget cf\r\n", "STORED\r\nVALUE cf 0 1\r\na\r\nEND\r\n")
        .step("set cf +5 0 1\r\na\r\nget cf\r\n", "STORED\r\nVALUE cf 5 1\r\na\r\nEND\r\n")
}

fn keys() -> Transcript {
    let longest = "k".repeat(250);
    Transcript::new("keys")
        .step_by_step_on_memcached("a get that fails takes the unsent replies before it with it")
        .step(format!("set {longest} 0 0 1\r\na\r\n"), "STORED\r\n")
        .step(format!("get {longest}\r\n"), format!("VALUE {longest} 0 1\r\na\r\nEND\r\n"))
        .step(format!("get {longest}k\r\n"), "CLIENT_ERROR bad command line format\r\n")
        .step(format!("get {longest} {longest}k\r\n"), "CLIENT_ERROR bad command line format\r\n")
        .step(b"set \xff\x01 0 0 1\r\na\r\nget \xff\x01\r\n", b"STORED\r\nVALUE \xff\x01 0 1\r\na\r\nEND\r\n")
}

fn other_commands() -> Transcript {
    Transcript::new("verbosity, stats reset, mn")
        .step("verbosity 0\r\n", "OK\r\n")
        .step("verbosity x\r\n", "CLIENT_ERROR bad command line format\r\n")
        .step("stats reset\r\n", "RESET\r\n")
        .step("stats sizes\r\n", "STAT sizes_status disabled\r\nEND\r\n")
        .step("stats noreply\r\n", "ERROR\r\n")
        .step("stats detail x\r\n", "CLIENT_ERROR usage: stats detail on|off|dump\r\n")
        .step("stats cachedump 99 1\r\n", "CLIENT_ERROR Illegal slab id\r\n")
        .step("cache_memlimit 4\r\n", "MEMLIMIT_TOO_SMALL cannot set maxbytes to less than 8m\r\n")
        .step("cache_memlimit 64\r\n", "OK\r\n")
        .step("mn\r\nmn\r\n", "MN\r\nMN\r\n")
        .step_since(
            "shutdown not enabled",
            "shutdown\r\n",
            "SERVER_ERROR: shutdown not enabled\r\n",
            "ERROR: shutdown not enabled\r\n",
        )
}

fn detail() -> Transcript {
    Transcript::new("stats detail")
        .step("stats detail off\r\nstats reset\r\nget d:1\r\n", "OK\r\nRESET\r\nEND\r\n")
        .step("stats detail dump\r\nstats detail on\r\n", "END\r\nOK\r\n")
        .step("set d:1 0 0 1\r\nx\r\nadd d:1 0 0 1\r\nx\r\n", "STORED\r\nNOT_STORED\r\n")
        .step("get d:1 d:2 none\r\n", "VALUE d:1 0 1\r\nx\r\nEND\r\n")
        .step("delete d:1\r\ndelete d:1 noreply\r\n", "DELETED\r\n")
        .step("stats detail dump\r\n", "PREFIX d get 2 hit 1 set 2 del 2\r\nEND\r\n")
        .step(
            "stats detail off\r\nstats detail x\r\n",
            "OK\r\nCLIENT_ERROR usage: stats detail on|off|dump\r\n",
        )
        .step("stats reset\r\nstats detail dump\r\n", "RESET\r\nEND\r\n")
}

fn tuning_commands() -> Transcript {
    Transcript::new("lru_crawler, slabs, lru")
        .step_by_step_on_memcached("it refuses a dump behind other commands")
        .step("lru_crawler enable\r\n", "ERROR failed to start lru crawler thread\r\n")
        .step("lru_crawler crawl 0\r\nlru_crawler crawl x\r\n", "BADCLASS invalid class id\r\n".repeat(2))
        .step("lru_crawler metadump 64\r\n", "BADCLASS invalid class id\r\n")
        .step(
            "lru_crawler sleep 1000\r\nlru_crawler tocrawl 1\r\nlru_crawler tocrawl 0\r\n",
            "OK\r\n".repeat(3),
        )
        .step("lru_crawler sleep 1000001\r\n", "CLIENT_ERROR sleep must be one second or less\r\n")
        .step("lru_crawler\r\nlru_crawler nonsense\r\n", "ERROR\r\nERROR\r\n")
        .step("slabs reassign 1 2\r\n", "NOSPARE source class has no spare pages\r\n")
        .step("slabs reassign 1 1\r\n", "SAME src and dst class are identical\r\n")
        .step("slabs reassign 99 1\r\n", "BADCLASS invalid src or dst class id\r\n")
        .step("slabs automove 2\r\nslabs automove 1\r\nslabs automove 3\r\n", "OK\r\nOK\r\nERROR\r\n")
        .step("slabs automove ratio 0.8\r\n", "OK\r\n")
        .step("lru tune 20 40 0.2 2.0\r\nlru mode segmented\r\nlru temp_ttl -1\r\n", "OK\r\n".repeat(3))
        .step("lru tune 70 20 0.1 2\r\n", "ERROR hot and warm pcts must not exceed 80\r\n")
        .step("lru mode x\r\nlru temp_ttl x\r\n", "ERROR\r\nERROR\r\n")
}

/// `bytes` bytes that tell where they belong.
fn pattern(bytes: usize) -> String {
    (0..)
        .map(|number: u32| format!("{number:07}."))
        .flat_map(String::into_bytes)
        .map(char::from)
        .take(bytes)
        .collect()
}
