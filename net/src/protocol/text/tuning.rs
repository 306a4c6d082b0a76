//! `slabs` and `lru`: tune what memcached has and this node has not. They are checked and answered as memcached does
//! whose pages are all in use; what they set is shown by `stats settings` and changes nothing else.

use std::sync::MutexGuard;

use crate::config::Tuning;
use crate::limits::CLASSES;
use crate::protocol::line::{Command, Tokens, is_noreply};
use crate::protocol::number::{parse_i32, parse_u32};
use crate::protocol::text::admin::OK;
use crate::protocol::{BAD_FORMAT, UNKNOWN};
use crate::session::{Exchange, Flow};

const NO_REASSIGN: &[u8] = b"CLIENT_ERROR slab reassignment disabled\r\n";
const BAD_CLASS: &[u8] = b"BADCLASS invalid src or dst class id\r\n";
const NO_SPARE: &[u8] = b"NOSPARE source class has no spare pages\r\n";
const SAME_CLASS: &[u8] = b"SAME src and dst class are identical\r\n";
const BAD_WINDOW: &[u8] = b"CLIENT_ERROR automove window too low or too high\r\n";
const TOO_MANY_PERCENT: &[u8] = b"ERROR hot and warm pcts must not exceed 80\r\n";
const BAD_FACTORS: &[u8] = b"ERROR hot/warm age factors must be greater than 0\r\n";
/// Hot and warm queues together.
const PERCENT_MAX: u64 = 80;

/// `slabs reassign <from> <to>`, `slabs automove ...`.
pub fn slabs(x: &mut Exchange<'_, '_, '_>, command: Command<'_>) -> Flow {
    let words: Vec<&[u8]> = Tokens::of(command.args).take(4).collect();
    let line = match words[..] {
        [b"reassign", from, to] => reassign(&tuning(x), from, to),
        [b"automove", b"ratio", ratio, ..] => set_ratio(&mut tuning(x), "slab_automove_ratio", ratio, 2),
        [b"automove", b"freeratio", ratio, ..] => {
            set_ratio(&mut tuning(x), "slab_automove_freeratio", ratio, 3)
        }
        [b"automove", b"window", window, ..] => set_window(&mut tuning(x), window),
        [b"automove", b"window"] => BAD_FORMAT,
        [b"automove", b"ratio" | b"freeratio"] => UNKNOWN,
        [b"automove", level, ..] => set_automove(&mut tuning(x), level),
        _ => UNKNOWN,
    };
    x.answer_unless(is_noreply(command.args), line, command.line_bytes)
}

/// `lru tune <hot> <warm> <hot factor> <warm factor>`, `lru mode flat|segmented`, `lru temp_ttl <seconds>`.
pub fn lru(x: &mut Exchange<'_, '_, '_>, command: Command<'_>) -> Flow {
    let words: Vec<&[u8]> = Tokens::of(command.args).take(5).collect();
    let line = match words[..] {
        [b"tune", hot, warm, hot_factor, warm_factor] => {
            tune(&mut tuning(x), [hot, warm], [hot_factor, warm_factor])
        }
        [b"mode", mode, ..] => set_mode(&mut tuning(x), mode),
        [b"temp_ttl", seconds, ..] => set_temporary(&mut tuning(x), seconds),
        _ => UNKNOWN,
    };
    x.answer_unless(is_noreply(command.args), line, command.line_bytes)
}

fn tuning<'n>(x: &Exchange<'_, '_, 'n>) -> MutexGuard<'n, Tuning> {
    x.reach.node.tuning.lock().expect("nothing panics while holding it")
}

fn reassign(tuning: &Tuning, from: &[u8], to: &[u8]) -> &'static [u8] {
    if !tuning.is_on("slab_reassign") {
        return NO_REASSIGN;
    }
    let (Some(from), Some(to)) = (parse_i32(from), parse_i32(to)) else { return BAD_FORMAT };
    let is_class = |class: i32| (0..CLASSES as i32).contains(&class);
    match (from, to) {
        _ if from == to => SAME_CLASS,
        (from, to) if is_class(from) && is_class(to) => NO_SPARE,
        // -1 is any class that has a page to spare: none has.
        _ => BAD_CLASS,
    }
}

fn set_automove(tuning: &mut Tuning, level: &[u8]) -> &'static [u8] {
    match parse_u32(level) {
        Some(level @ 0..=2) => {
            tuning.set("slab_automove", level);
            OK
        }
        Some(_) => UNKNOWN,
        None => BAD_FORMAT,
    }
}

fn set_ratio(tuning: &mut Tuning, name: &'static str, ratio: &[u8], digits: usize) -> &'static [u8] {
    let Some(ratio) = parse_fraction(ratio) else { return UNKNOWN };
    tuning.set(name, format!("{ratio:.digits$}"));
    OK
}

fn set_window(tuning: &mut Tuning, window: &[u8]) -> &'static [u8] {
    match parse_u32(window) {
        Some(window @ 3..=1800) => {
            tuning.set("slab_automove_window", window);
            OK
        }
        Some(_) => BAD_WINDOW,
        None => BAD_FORMAT,
    }
}

fn tune(tuning: &mut Tuning, percents: [&[u8]; 2], factors: [&[u8]; 2]) -> &'static [u8] {
    let ([Some(hot), Some(warm)], [Some(hot_factor), Some(warm_factor)]) =
        (percents.map(parse_u32), factors.map(parse_fraction))
    else {
        return UNKNOWN;
    };
    if u64::from(hot) + u64::from(warm) > PERCENT_MAX {
        return TOO_MANY_PERCENT;
    }
    if hot_factor <= 0.0 || warm_factor <= 0.0 {
        return BAD_FACTORS;
    }
    tuning.set("hot_lru_pct", hot);
    tuning.set("warm_lru_pct", warm);
    tuning.set("hot_max_factor", format!("{hot_factor:.2}"));
    tuning.set("warm_max_factor", format!("{warm_factor:.2}"));
    OK
}

fn set_mode(tuning: &mut Tuning, mode: &[u8]) -> &'static [u8] {
    let is_segmented = mode == b"segmented";
    if !tuning.is_on("lru_maintainer_thread") || !(is_segmented || mode == b"flat") {
        return UNKNOWN;
    }
    tuning.switch("lru_segmented", is_segmented);
    OK
}

fn set_temporary(tuning: &mut Tuning, seconds: &[u8]) -> &'static [u8] {
    let Some(seconds) = parse_i32(seconds).filter(|_| tuning.is_on("lru_maintainer_thread")) else {
        return UNKNOWN;
    };
    tuning.switch("temp_lru", seconds >= 0);
    if seconds >= 0 {
        tuning.set("temporary_ttl", seconds);
    }
    OK
}

fn parse_fraction(text: &[u8]) -> Option<f64> {
    std::str::from_utf8(text).ok()?.parse().ok().filter(|number: &f64| number.is_finite())
}
