//! The meta commands (memcached's protocol.txt, "Meta Commands").

use crate::transcript::{Transcript, play_everywhere, play_on_memcached};

#[test]
fn meta_commands_answer_as_memcached_does() {
    play_everywhere(&transcripts());
    play_everywhere(&since_1_6_45());
}

#[test]
fn memcached_answers_the_meta_transcripts() {
    play_on_memcached(&transcripts());
}

fn transcripts() -> Vec<Transcript> {
    vec![
        fetching(),
        setting(),
        modes(),
        deleting(),
        counting(),
        showing(),
        binary_keys(),
        quiet(),
        winning_and_stale(),
        recaching(),
        vivifying(),
        comparing(),
        touching(),
        flags_that_are_wrong(),
    ]
}

/// Flags that the memcached of Debian 12 (1.6.18) does not know.
fn since_1_6_45() -> Vec<Transcript> {
    vec![explicit_cas(), clearing(), vivifying_by_append(), skipping_the_same_value()]
}

fn fetching() -> Transcript {
    Transcript::new("mg")
        .step("mg a\r\n", "EN\r\n")
        .step("mg a v k Oabc\r\n", "EN ka Oabc\r\n")
        .step("set a 5 0 2\r\nhi\r\n", "STORED\r\n")
        .step("mg a\r\n", "HD\r\n")
        .step("mg a v\r\n", "VA 2\r\nhi\r\n")
        .step("mg a s v f t k Oabc\r\n", "VA 2 s2 f5 t-1 ka Oabc\r\nhi\r\n")
        .step("mg a k f s\r\n", "HD ka f5 s2\r\n")
        .step("mg a c\r\n", "HD c{cas}\r\n")
        .step("gets a\r\n", "VALUE a 5 2 {cas}\r\nhi\r\nEND\r\n")
        .step("set fresh 0 0 1\r\na\r\n", "STORED\r\n")
        .step("mg fresh u h l\r\n", "HD h0 l0\r\n")
        .step("mg fresh h l\r\n", "HD h0 l0\r\n")
        .step("mg fresh h l\r\n", "HD h1 l0\r\n")
        .step("mg a P1 Lx v\r\n", "VA 2\r\nhi\r\n")
        .step("mg  a   v\r\n", "VA 2\r\nhi\r\n")
}

fn setting() -> Transcript {
    Transcript::new("ms")
        .step("ms a 2\r\nhi\r\n", "HD\r\n")
        .step("ms a 2 F9 T1000 k Oxyz\r\nho\r\n", "HD ka Oxyz\r\n")
        .step("mg a v f\r\n", "VA 2 f9\r\nho\r\n")
        .step("ms a 0\r\n\r\nmg a v f t\r\n", "HD\r\nVA 0 f0 t-1\r\n\r\n")
        .step("ms a 2 c\r\nab\r\n", "HD c{cas}\r\n")
        .step("mg a c\r\n", "HD c{cas}\r\n")
        .step("ms a 2 T-1\r\nhi\r\nmg a v\r\n", "HD\r\nEN\r\n")
        .step("ms a 2\r\nabcdefgh\r\n", "CLIENT_ERROR bad data chunk\r\nERROR\r\n")
}

fn modes() -> Transcript {
    Transcript::new("ms M")
        .step("ms m 1 MR\r\na\r\nms m 1 MA\r\na\r\nms m 1 MP\r\na\r\n", "NS\r\nNS\r\nNS\r\n")
        .step("ms m 1 ME k Oq\r\nb\r\n", "HD km Oq\r\n")
        .step("ms m 1 ME k Oq\r\nc\r\n", "NS km Oq\r\n")
        .step("ms m 1 MR F3\r\nd\r\nms m 1 MA F4\r\ne\r\nms m 1 MP\r\nf\r\n", "HD\r\nHD\r\nHD\r\n")
        .step("mg m v f\r\n", "VA 3 f3\r\nfde\r\n")
        .step("ms m 1 MS\r\ng\r\nmg m v\r\n", "HD\r\nVA 1\r\ng\r\n")
        .step("ms m 1 MX\r\nn\r\n", "CLIENT_ERROR invalid mode for ms M token\r\n")
}

fn deleting() -> Transcript {
    Transcript::new("md")
        .step("md d\r\n", "NF\r\n")
        .step("md d k Oq\r\n", "NF kd Oq\r\n")
        .step("ms d 1\r\na\r\nmd d k Oq\r\nmg d\r\n", "HD\r\nHD kd Oq\r\nEN\r\n")
        .step("ms d 1\r\na\r\nmd d C0 k Oq\r\n", "HD\r\nEX kd Oq\r\n")
        .step("ms d 1 c\r\na\r\n", "HD c{cas}\r\n")
        .step("md d C{cas}\r\nmg d\r\n", "HD\r\nEN\r\n")
}

fn counting() -> Transcript {
    Transcript::new("ma")
        .step("ma n\r\nma n k Oq\r\n", "NF\r\nNF kn Oq\r\n")
        .step("ma n N0 J13 v\r\n", "VA 2\r\n13\r\n")
        .step("ma n N0 J13 v\r\n", "VA 2\r\n14\r\n")
        .step("ma n\r\n", "HD\r\n")
        .step("ma n D10 v t k Oq\r\n", "VA 2 t-1 kn Oq\r\n25\r\n")
        .step("ma n MD D5 v\r\nma n M- D5 v\r\n", "VA 2\r\n20\r\nVA 2\r\n15\r\n")
        .step("ma n MI v\r\nma n M+ v\r\n", "VA 2\r\n16\r\nVA 2\r\n17\r\n")
        .step("ma n MD D100 v\r\n", "VA 1\r\n0\r\n")
        .step("mg n v\r\n", "VA 2\r\n0 \r\n")
        .step("ma n D18446744073709551615 v\r\n", "VA 20\r\n18446744073709551615\r\n")
        .step("ma n v T1000\r\n", "VA 1\r\n0\r\n")
        .step("ma n c\r\n", "HD c{cas}\r\n")
        .step("ma n C{cas} v\r\nma n C{cas} v k Oq\r\n", "VA 1\r\n2\r\nEX kn Oq\r\n")
        .step("ma n MX\r\n", "CLIENT_ERROR invalid mode for ma M token\r\n")
        .step(
            "ms n 1\r\nx\r\nma n v\r\n",
            "HD\r\nCLIENT_ERROR cannot increment or decrement non-numeric value\r\n",
        )
        .step("ma new N-1 v\r\nmg new\r\n", "VA 1\r\n0\r\nEN\r\n")
}

fn showing() -> Transcript {
    Transcript::new("me").step("me none\r\n", "EN\r\n")
}

fn binary_keys() -> Transcript {
    Transcript::new("base64 keys")
        .step("ms Zm9v 3 b k\r\nbar\r\n", "HD kZm9v b\r\n")
        .step("get foo\r\n", "VALUE foo 0 3\r\nbar\r\nEND\r\n")
        .step("mg Zm9v b v k\r\n", "VA 3 kZm9v b\r\nbar\r\n")
        .step("mg AP8KDQ== b v k Oq\r\n", "EN kAP8KDQ== b Oq\r\n")
        .step("ms AP8KDQ== 2 b\r\nhi\r\n", "HD\r\n")
        .step("mg AP8KDQ== b v k\r\n", "VA 2 kAP8KDQ== b\r\nhi\r\n")
        .step("md AP8KDQ== b k\r\nmd AP8KDQ== b k\r\n", "HD kAP8KDQ== b\r\nNF kAP8KDQ== b\r\n")
        .step("mg a@@ b\r\n", "CLIENT_ERROR error decoding key\r\n")
        .step("ms a@@ 2 b\r\nhi\r\n", "CLIENT_ERROR error decoding key\r\n")
}

fn quiet() -> Transcript {
    Transcript::new("q")
        .step("mg none v q\r\nmg none v k q\r\nmn\r\n", "MN\r\n")
        .step("ms a 1 q\r\na\r\nmg a v q\r\n", "VA 1\r\na\r\n")
        .step("ms a 1 q ME\r\na\r\nms a 1 q C0\r\na\r\nms none 1 q MR\r\na\r\n", "NS\r\nEX\r\nNS\r\n")
        .step("ma a q\r\n", "CLIENT_ERROR cannot increment or decrement non-numeric value\r\n")
        .step("md a q\r\nmd a q\r\n", "NF\r\n")
        .step_since("quiet ma that creates", "ma n N0 q\r\n", "", "HD\r\n")
        .step("ma n q v\r\nma none q\r\n", "NF\r\n")
        .step("ms a 1 q\r\nabcdefgh\r\n", "CLIENT_ERROR bad data chunk\r\nERROR\r\n")
}

fn winning_and_stale() -> Transcript {
    Transcript::new("stale and win")
        .step("ms w 1\r\na\r\n", "HD\r\n")
        .step("md w I T1000 k Oq\r\n", "HD kw Oq\r\n")
        .step("mg w v\r\n", "VA 1 X W\r\na\r\n")
        .step("mg w v\r\n", "VA 1 Z X\r\na\r\n")
        .step("mg w v s k Oq\r\n", "VA 1 s1 kw Oq Z X\r\na\r\n")
        .step("ms w 1\r\nb\r\nmg w v\r\n", "HD\r\nVA 1\r\nb\r\n")
        .step("ms w 1 c\r\nc\r\n", "HD c{old}\r\n")
        .step("ms w 1\r\nd\r\n", "HD\r\n")
        .step("ms w 1 C{old}\r\ne\r\n", "EX\r\n")
        .step("ms w 1 C{old} I\r\ne\r\n", "HD\r\n")
        .step("mg w v\r\nmg w v\r\n", "VA 1 X W\r\ne\r\nVA 1 Z X\r\ne\r\n")
}

fn recaching() -> Transcript {
    Transcript::new("recache")
        .step("ms r 1 T100\r\na\r\n", "HD\r\n")
        .step("mg r v R30\r\n", "VA 1\r\na\r\n")
        .step("mg r v R1000\r\nmg r v R1000\r\nmg r v\r\n", "VA 1 W\r\na\r\nVA 1 Z\r\na\r\nVA 1 Z\r\na\r\n")
        .step("ms r 1\r\nb\r\nmg r v R1000\r\n", "HD\r\nVA 1\r\nb\r\n")
}

fn vivifying() -> Transcript {
    Transcript::new("vivify")
        .step("mg v1 N1000 v s k Oq\r\n", "VA 0 s0 kv1 Oq W\r\n\r\n")
        .step("mg v1 N1000 v\r\nmg v1 v\r\n", "VA 0 Z\r\n\r\nVA 0 Z\r\n\r\n")
        .step("add v1 0 0 1\r\na\r\n", "NOT_STORED\r\n")
        .step("ms v1 1\r\nb\r\nmg v1 N1000 v\r\n", "HD\r\nVA 1\r\nb\r\n")
        .step("mg v2 N1000 c\r\n", "HD c{cas} W\r\n")
        .step("ms v2 1 C{cas}\r\nc\r\nmg v2 v\r\n", "HD\r\nVA 1\r\nc\r\n")
        .step("mg v3 N1000 q v\r\n", "VA 0 W\r\n\r\n")
}

fn comparing() -> Transcript {
    Transcript::new("ms C")
        .step("ms c 1 C1 k c Oq\r\na\r\n", "NF kc c0 Oq\r\n")
        .step("ms c 1 c\r\na\r\n", "HD c{first}\r\n")
        .step("ms c 1 C{first} c\r\nb\r\n", "HD c{second}\r\n")
        .step("ms c 1 C{first} k c Oq\r\nc\r\n", "EX kc c0 Oq\r\n")
        .step("ms c 1 C{second} MA\r\nd\r\nmg c v\r\n", "HD\r\nVA 2\r\nbd\r\n")
        .step("ms c 1 C{second} MA\r\ne\r\n", "EX\r\n")
}

fn touching() -> Transcript {
    Transcript::new("mg T")
        .step("ms t 1 T100000\r\na\r\n", "HD\r\n")
        .step("mg t T0 t\r\nmg t t\r\n", "HD t-1\r\nHD t-1\r\n")
        .step("mg t t T100000\r\n", "HD t-1\r\n")
        .step("mg t v T-1\r\nmg t\r\n", "VA 1\r\na\r\nEN\r\n")
        .step("mg none T100\r\n", "EN\r\n")
        .step("set f 0 0 1\r\na\r\nmg f h u\r\n", "STORED\r\nHD h0\r\n")
        .step("mg f h T100 u\r\nmg f h u\r\n", "HD h0\r\nHD h0\r\n")
        .step("touch f 100\r\nmg f h u\r\n", "TOUCHED\r\nHD h1\r\n")
}

fn flags_that_are_wrong() -> Transcript {
    let many: String = (b'a'..=b'w').map(|letter| format!(" {}", char::from(letter))).collect();
    let long = "k".repeat(251);
    let changed = "flag errors of md";
    Transcript::new("wrong flags")
        .step_since("md's x is known to mg", "mg a x\r\n", "EN\r\n", "CLIENT_ERROR invalid flag\r\n")
        .step_since(
            "a flag that is no letter",
            "mg a !\r\n",
            "CLIENT_ERROR bad command line format\r\n",
            "CLIENT_ERROR invalid flag\r\n",
        )
        .step("mg a 5\r\n", "CLIENT_ERROR invalid flag\r\n")
        .step("mg a v v\r\n", "CLIENT_ERROR duplicate flag\r\n")
        .step("ms a 1 c c\r\na\r\n", "CLIENT_ERROR duplicate flag\r\n")
        .step(format!("mg a{many}\r\n"), "CLIENT_ERROR options flags are too long\r\n")
        .step(format!("mg a O{}\r\n", "1".repeat(32)), "CLIENT_ERROR opaque token too long\r\n")
        .step(format!("mg a O{}\r\n", "1".repeat(31)), format!("EN O{}\r\n", "1".repeat(31)))
        .step(format!("mg {long}\r\n"), "CLIENT_ERROR bad command line format\r\n")
        .step("ms a\r\n", "CLIENT_ERROR bad command line format\r\n")
        .step("ms a x\r\n", "CLIENT_ERROR bad command line format\r\n")
        .step("ms a -1\r\n", "CLIENT_ERROR bad command line format\r\n")
        .step("ms a 1 Fx\r\na\r\n", "CLIENT_ERROR bad command line format\r\n")
        .step("ms a 1 Tx\r\na\r\n", "CLIENT_ERROR bad token in command line format\r\n")
        .step("ms a 1 Cx\r\na\r\n", "CLIENT_ERROR bad token in command line format\r\n")
        .step("ms a 1 S1\r\na\r\n", "CLIENT_ERROR invalid flag\r\n")
        .step("ma a Dx\r\nma a v v\r\n", "CLIENT_ERROR invalid or duplicate flag\r\n".repeat(2))
        .step_since(
            changed,
            "md a q q\r\n",
            "CLIENT_ERROR duplicate flag\r\n",
            "CLIENT_ERROR invalid or duplicate flag\r\n",
        )
        .step_since(
            changed,
            "md a !\r\n",
            "CLIENT_ERROR bad command line format\r\n",
            "CLIENT_ERROR invalid or duplicate flag\r\n",
        )
}

fn explicit_cas() -> Transcript {
    Transcript::new("E")
        .step("ms e 1 E77 c\r\na\r\n", "HD c77\r\n")
        .step("mg e c\r\ngets e\r\n", "HD c77\r\nVALUE e 0 1 77\r\na\r\nEND\r\n")
        .step("ms e 1 C77 E99\r\nb\r\nmg e c v\r\n", "HD\r\nVA 1 c99\r\nb\r\n")
        .step("md e C99 E100 I\r\nmg e c\r\n", "HD\r\nHD c100 X W\r\n")
        .step("ma e2 N0 E5 c\r\nma e2 E6 c v\r\n", "HD c5\r\nVA 1 c6\r\n1\r\n")
        .step("mg e3 N0 E9 c\r\n", "HD c9 W\r\n")
}

fn clearing() -> Transcript {
    Transcript::new("md x")
        .step("ms x 2 F5 T1000\r\nhi\r\n", "HD\r\n")
        .step("md x x\r\nmg x v f t\r\n", "HD\r\nVA 0 f0 t-1\r\n\r\n")
        .step("ms x 2\r\nho\r\nmd x x I\r\n", "HD\r\nHD\r\n")
        .step("mg x v\r\nmg x v\r\n", "VA 0 X W\r\n\r\nVA 0 Z X\r\n\r\n")
        .step("md nothing x\r\n", "NF\r\n")
}

fn vivifying_by_append() -> Transcript {
    Transcript::new("ms N and s")
        .step("ms a 2 MA N0 s\r\nhi\r\n", "HD s2\r\n")
        .step("ms a 2 MA N0 s\r\nho\r\n", "HD s4\r\n")
        .step("ms a 2 MP s\r\nha\r\n", "HD s6\r\n")
        .step("mg a v t\r\n", "VA 6 t-1\r\nhahiho\r\n")
        .step("ms b 2 MP N0\r\nhi\r\nmg b v\r\n", "HD\r\nVA 2\r\nhi\r\n")
        .step("ms c 3 s\r\nabc\r\n", "HD s3\r\n")
}

fn skipping_the_same_value() -> Transcript {
    Transcript::new("mg C")
        .step("ms a 2 c\r\nhi\r\n", "HD c{cas}\r\n")
        .step("mg a v C1 s\r\n", "VA 2 s2\r\nhi\r\n")
        .step("mg a v C{cas} s\r\n", "HD s2\r\n")
        .step("mg a v Cx\r\n", "CLIENT_ERROR bad token in command line format\r\n")
}
