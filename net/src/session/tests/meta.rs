//! The meta commands, with every flag.

use super::{Conversation, SHARDS, World};

#[test]
fn mg_return_flags_in_their_order() {
    Conversation::new()
        .step("mg k\r\n", "EN\r\n")
        .step("mg k v q\r\n", "")
        .step("mg k Oabc k v\r\n", "EN Oabc kk\r\n")
        .step("set k 7 0 5\r\nhello\r\n", "STORED\r\n")
        .step("mg k\r\n", "HD\r\n")
        .step("mg k v\r\n", "VA 5\r\nhello\r\n")
        .step("mg k v q\r\n", "VA 5\r\nhello\r\n")
        .step("mg k s t f k Oxyz v\r\n", "VA 5 s5 t-1 f7 kk Oxyz\r\nhello\r\n")
        .step("mg k Oxyz k f t s\r\n", "HD Oxyz kk f7 t-1 s5\r\n")
        .step("mg k c\r\n", "HD c{a}\r\n")
        .step("mg k C{a} v c\r\n", "HD c{a}\r\n")
        .step("mg k C1 v\r\n", "VA 5\r\nhello\r\n")
        .step("mg k P1 L2 I F3 D4 J5 MX x E7 v\r\n", "VA 5\r\nhello\r\n")
        .play();
}

#[test]
fn mg_access_before_this_one() {
    for shards in SHARDS {
        let mut world = World::new(shards);
        assert_eq!(world.ask("set k 0 0 1\r\na\r\nmg k h l t u\r\n"), b"STORED\r\nHD h0 l0 t-1\r\n");
        world.advance(3);
        assert_eq!(world.ask("mg k h l u\r\n"), b"HD h0 l3\r\n");
        assert_eq!(world.ask("mg k h l\r\n"), b"HD h0 l3\r\n");
        assert_eq!(world.ask("mg k h l\r\n"), b"HD h1 l0\r\n");
    }
}

#[test]
fn mg_touch() {
    Conversation::new()
        .step("mg k T30\r\n", "EN\r\n")
        .step("set k 0 0 1\r\na\r\n", "STORED\r\n")
        .step("mg k t T30 v\r\n", "VA 1 t-1\r\na\r\n")
        .step("mg k T90 t Oq k\r\n", "HD t90 Oq kk\r\n")
        .step("mg k t\r\n", "HD t90\r\n")
        .step("mg k T-1 v\r\n", "VA 1\r\na\r\n")
        .step("mg k T30 v\r\n", "EN\r\n")
        .step("mg k T-1 v k\r\n", "EN kk\r\n")
        .step("set f 0 0 1\r\na\r\nmg f h u T9\r\nmg f h u\r\n", "STORED\r\nHD h0\r\nHD h0\r\n")
        .step("touch f 9\r\nmg f h u\r\n", "TOUCHED\r\nHD h1\r\n")
        .play();
}

#[test]
fn mg_vivify() {
    Conversation::new()
        .step("mg k N30 s t v\r\n", "VA 0 s0 t30 W\r\n\r\n")
        .step("mg k N30 s t v\r\n", "VA 0 s0 t30 Z\r\n\r\n")
        .step("mg k s\r\n", "HD s0 Z\r\n")
        .step("ms k 2\r\nhi\r\n", "HD\r\n")
        .step("mg k N30 v\r\n", "VA 2\r\nhi\r\n")
        .step("mg l N30 E77 c k\r\n", "HD c77 kl W\r\n")
        .step("mg l c\r\n", "HD c77 Z\r\n")
        .step("mg m N30 T60 t\r\n", "HD t60 W\r\n")
        .step("mg n T60 N30 t\r\n", "HD t30 W\r\n")
        .step("mg n N30 T50 t\r\n", "HD t50 Z\r\n")
        .play();
}

#[test]
fn mg_recache() {
    Conversation::new()
        .step("set k 0 100 1\r\na\r\n", "STORED\r\n")
        .step("mg k R30 t\r\n", "HD t100\r\n")
        .step("mg k T20 R30 t\r\n", "HD t20 W\r\n")
        .step("mg k R30 t\r\n", "HD t20 Z\r\n")
        .step("set k 0 0 1\r\na\r\n", "STORED\r\n")
        .step("mg k R30 t\r\n", "HD t-1\r\n")
        .play();
}

#[test]
fn stale_records_are_won_once() {
    Conversation::new()
        .step("ms k 1 T100\r\na\r\n", "HD\r\n")
        .step("mg k c\r\n", "HD c{a}\r\n")
        .step("md k I T30\r\n", "HD\r\n")
        .step("mg k t v\r\n", "VA 1 t30 X W\r\na\r\n")
        .step("mg k v\r\n", "VA 1 Z X\r\na\r\n")
        .step("mg k c\r\n", "HD c{b} Z X\r\n")
        .step("ms k 1 C{b}\r\nb\r\n", "HD\r\n")
        .step("mg k v\r\n", "VA 1\r\nb\r\n")
        .play();
}

#[test]
fn ms_modes() {
    Conversation::new()
        .step("ms k 1 MR\r\na\r\n", "NS\r\n")
        .step("ms k 1 MA\r\na\r\n", "NS\r\n")
        .step("ms k 1 MP\r\na\r\n", "NS\r\n")
        .step("ms k 1 ME F5\r\na\r\n", "HD\r\n")
        .step("ms k 1 ME k Oab s c\r\nb\r\n", "NS kk Oab s1 c0\r\n")
        .step("ms k 1 MA s\r\nb\r\n", "HD s2\r\n")
        .step("ms k 1 MP s\r\nc\r\n", "HD s3\r\n")
        .step("mg k v f\r\n", "VA 3 f5\r\ncab\r\n")
        .step("ms k 2 MR T50 s\r\nxy\r\n", "HD s2\r\n")
        .step("mg k v f t\r\n", "VA 2 f0 t50\r\nxy\r\n")
        .step("ms k 2 MS q\r\nxy\r\n", "")
        .step("ms k 2 ME q\r\nxy\r\n", "NS\r\n")
        .step("ms n 2 MA N30\r\nxy\r\n", "HD\r\n")
        .step("mg n v t\r\n", "VA 2 t30\r\nxy\r\n")
        .step("ms k 2 MX\r\nxy\r\n", "CLIENT_ERROR invalid mode for ms M token\r\n")
        .step("ms k 2 M\r\nxy\r\n", "CLIENT_ERROR invalid mode for ms M token\r\n")
        .play();
}

#[test]
fn ms_compares() {
    Conversation::new()
        .step("ms k 1 C5\r\na\r\n", "NF\r\n")
        .step("ms k 1 MA C5\r\na\r\n", "NS\r\n")
        .step("ms k 1 E100 c\r\na\r\n", "HD c100\r\n")
        .step("ms k 1 C99 c k\r\nb\r\n", "EX c0 kk\r\n")
        .step("ms k 1 C0\r\nb\r\n", "EX\r\n")
        .step("ms k 1 MA C99\r\nb\r\n", "EX\r\n")
        .step("ms k 1 MA C100 E101\r\nb\r\n", "HD\r\n")
        .step("ms k 1 MR C101 E102\r\nc\r\n", "HD\r\n")
        .step("ms k 1 ME C102\r\nc\r\n", "NS\r\n")
        .step("ms k 1 I C50 E200 T900\r\nd\r\n", "HD\r\n")
        .step("mg k v c t\r\n", "VA 1 c200 t-1 X W\r\nd\r\n")
        .step("ms k 1 I C300\r\nd\r\n", "EX\r\n")
        .step("ms k 1 C200 E201\r\ne\r\n", "HD\r\n")
        .step("mg k v c\r\n", "VA 1 c201\r\ne\r\n")
        .play();
}

#[test]
fn md_flags() {
    Conversation::new()
        .step("md k\r\n", "NF\r\n")
        .step("md k q k Oa\r\n", "NF kk Oa\r\n")
        .step("ms k 3 E10 F9 T100\r\nabc\r\n", "HD\r\n")
        .step("md k C9 q k\r\n", "EX kk\r\n")
        .step("md k C10 q\r\n", "")
        .step("mg k\r\n", "EN\r\n")
        .step("ms k 3 E10 F9 T100\r\nabc\r\n", "HD\r\n")
        .step("md k x Ob\r\n", "HD Ob\r\n")
        .step("mg k v f t c\r\n", "VA 0 f0 t-1 c10\r\n\r\n")
        .step("ms k 3 E10\r\nabc\r\n", "HD\r\n")
        .step("md k x I E20 F3 T60\r\n", "HD\r\n")
        .step("mg k v f t c\r\n", "VA 0 f3 t60 c20 X W\r\n\r\n")
        .step("md k\r\n", "HD\r\n")
        .play();
}

#[test]
fn ma_flags() {
    Conversation::new()
        .step("ma n\r\n", "NF\r\n")
        .step("ma n k Oa q\r\n", "NF kk Oa\r\n".replace("kk", "kn"))
        .step("ma n N90 J13 v t\r\n", "VA 2 t90\r\n13\r\n")
        .step("ma n N90 J13 v\r\n", "VA 2\r\n14\r\n")
        .step("ma n D6 v\r\n", "VA 2\r\n20\r\n")
        .step("ma n MD D3 v\r\n", "VA 2\r\n17\r\n")
        .step("ma n M- v\r\n", "VA 2\r\n16\r\n")
        .step("ma n M+\r\n", "HD\r\n")
        .step("ma n T30 t k Ob\r\n", "HD t30 kn Ob\r\n")
        .step("ma n E55 c\r\n", "HD c55\r\n")
        .step("ma n C54\r\n", "EX\r\n")
        .step("ma n C55 E56 v q\r\n", "")
        .step("mg n v c\r\n", "VA 2 c56\r\n20\r\n")
        .step("ma n MX\r\n", "CLIENT_ERROR invalid mode for ma M token\r\n")
        .step("ma n D-1\r\n", "CLIENT_ERROR invalid or duplicate flag\r\n")
        .step("ma n v v\r\n", "CLIENT_ERROR invalid or duplicate flag\r\n")
        .step("set t 0 0 1\r\nx\r\n", "STORED\r\n")
        .step("ma t q\r\n", "CLIENT_ERROR cannot increment or decrement non-numeric value\r\n")
        .play();
}

#[test]
fn binary_keys() {
    Conversation::new()
        .step("ms Zm9v 2 b k\r\nhi\r\n", "HD kZm9v b\r\n")
        .step("mg foo v k\r\n", "VA 2 kfoo\r\nhi\r\n")
        .step("mg Zm9v b v k\r\n", "VA 2 kZm9v b\r\nhi\r\n")
        .step("mg AP8g b v k\r\n", "EN kAP8g b\r\n")
        .step("mg AP8g b N30 k\r\n", "HD kAP8g b W\r\n")
        .step("mg AP8g b T60 t\r\n", "HD t60 Z\r\n")
        .step("ma MQ== b N0 J5 v k\r\n", "VA 1 kMQ== b\r\n5\r\n")
        .step("me Zm9v b\r\n", "ME Zm9v exp=-1 la=0 cas={c} fetch=yes cls=1 size={s}\r\n")
        .step("md Zm9v b k\r\n", "HD kZm9v b\r\n")
        .step("mg foo\r\n", "EN\r\n")
        .step("mg ??? b\r\n", "CLIENT_ERROR error decoding key\r\n")
        .step("me ??? b\r\n", "CLIENT_ERROR bad command line format\r\n")
        .play();
}

#[test]
fn me_shows_without_touching() {
    Conversation::new()
        .step("me k\r\n", "EN\r\n")
        .step("ms k 1 T60 E5\r\na\r\n", "HD\r\n")
        .step("me k\r\n", "ME k exp=60 la=0 cas=5 fetch=no cls=1 size={s}\r\n")
        .step("me k\r\n", "ME k exp=60 la=0 cas=5 fetch=no cls=1 size={s}\r\n")
        .step("me\r\n", "CLIENT_ERROR bad command line format\r\n")
        .play();
}

#[test]
fn meta_errors() {
    let long = "k".repeat(251);
    let opaque = "O".to_owned() + &"x".repeat(31);
    Conversation::new()
        .step("mg\r\n", "CLIENT_ERROR bad command line format\r\n")
        .step("mg k S1\r\n", "CLIENT_ERROR invalid flag\r\n")
        .step("mg k v s v\r\n", "CLIENT_ERROR duplicate flag\r\n")
        .step("mg k Tx q\r\n", "CLIENT_ERROR bad token in command line format\r\n")
        .step(format!("mg {long} q\r\n"), "CLIENT_ERROR bad command line format\r\n")
        .step(format!("mg k {opaque}\r\n"), format!("EN {opaque}\r\n"))
        .step(format!("mg k {opaque}x\r\n"), "CLIENT_ERROR opaque token too long\r\n")
        .step(
            "mg k s v t c f k Oa q h l u I P1 L1 b x F1 C1 E1\r\n",
            "CLIENT_ERROR options flags are too long\r\n",
        )
        .step("ms k\r\n", "CLIENT_ERROR bad command line format\r\n")
        .step("ms k x\r\n", "CLIENT_ERROR bad command line format\r\n")
        .step("ms k -1\r\n", "CLIENT_ERROR bad command line format\r\n")
        .step("ms k 2 S2\r\nab\r\n", "CLIENT_ERROR invalid flag\r\n")
        .step(format!("ms {long} 2 q\r\nab\r\n"), "CLIENT_ERROR bad command line format\r\n")
        .step("ms k 2 q\r\nabcd", "CLIENT_ERROR bad data chunk\r\n")
        .step("md k v S\r\n", "CLIENT_ERROR invalid flag\r\n")
        .play();
}
