//! `lru_crawler`: dumps of all records; and the switches of a crawler that has nothing else to do here, because
//! expired records go without one.

use crate::dump::Form;
use crate::limits::CLASSES;
use crate::protocol::line::{Command, Tokens, is_noreply};
use crate::protocol::number::parse_u32;
use crate::protocol::text::admin::OK;
use crate::protocol::{BAD_FORMAT, UNKNOWN};
use crate::session::{Exchange, Flow};

const DISABLED: &[u8] = b"CLIENT_ERROR lru crawler disabled\r\n";
const BUSY: &[u8] = b"BUSY currently processing crawler request\r\n";
const BAD_CLASS: &[u8] = b"BADCLASS invalid class id\r\n";
const NO_METADUMP: &[u8] = b"ERROR metadump not allowed\r\n";
const NO_MGDUMP: &[u8] = b"ERROR key dump not allowed\r\n";
const RUNS_ALREADY: &[u8] = b"ERROR failed to start lru crawler thread\r\n";
const SLEEPS_TOO_LONG: &[u8] = b"CLIENT_ERROR sleep must be one second or less\r\n";
const SLEEP_MICROS_MAX: u32 = 1_000_000;
/// The one size class.
const THE_CLASS: u32 = 1;

/// Parses and executes the command.
pub fn lru_crawler(x: &mut Exchange<'_, '_, '_>, command: Command<'_>) -> Flow {
    let mut words = Tokens::of(command.args);
    let line = match (words.next(), words.next(), words.next()) {
        (Some(b"metadump"), Some(classes), None) => return dump(x, command, Form::Metadata, classes),
        (Some(b"mgdump"), Some(classes), None) => return dump(x, command, Form::MetaGet, classes),
        (Some(b"crawl"), Some(classes), None) => crawl(x, classes),
        (Some(b"sleep"), Some(micros), None) => sleep(x, micros),
        (Some(b"tocrawl"), Some(records), None) => limit(x, records),
        (Some(b"enable"), None, None) => enable(x),
        (Some(b"disable"), None, None) => {
            tuning(x, |tuning| tuning.switch("lru_crawler", false));
            OK
        }
        _ => UNKNOWN,
    };
    x.answer_unless(is_noreply(command.args), line, command.line_bytes)
}

fn dump(x: &mut Exchange<'_, '_, '_>, command: Command<'_>, form: Form, classes: &[u8]) -> Flow {
    if !x.may_take_over() {
        return Flow::Wait;
    }
    let forbidden = if form == Form::Metadata { NO_METADUMP } else { NO_MGDUMP };
    let refusal = match selects_the_class(classes) {
        _ if !is_enabled(x) => DISABLED,
        _ if !x.reach.node.config.dump_enabled || x.is_datagram => forbidden,
        None => BAD_CLASS,
        Some(is_selected) => match x.reach.node.crawls.begin() {
            None => BUSY,
            Some(crawl) if is_selected => return x.dump(form, Some(crawl), command.line_bytes),
            Some(_) => form.empty(),
        },
    };
    x.answer_unless(is_noreply(command.args), refusal, command.line_bytes)
}

/// memcached looks for expired items; here each shard does that all the time.
fn crawl(x: &mut Exchange<'_, '_, '_>, classes: &[u8]) -> &'static [u8] {
    if !is_enabled(x) {
        return DISABLED;
    }
    if selects_the_class(classes).is_none() {
        return BAD_CLASS;
    }
    if x.reach.node.crawls.begin().is_some() { OK } else { BUSY }
}

fn enable(x: &mut Exchange<'_, '_, '_>) -> &'static [u8] {
    if is_enabled(x) {
        return RUNS_ALREADY;
    }
    tuning(x, |tuning| tuning.switch("lru_crawler", true));
    OK
}

fn sleep(x: &mut Exchange<'_, '_, '_>, micros: &[u8]) -> &'static [u8] {
    match parse_u32(micros) {
        None => BAD_FORMAT,
        Some(micros) if micros > SLEEP_MICROS_MAX => SLEEPS_TOO_LONG,
        Some(micros) => {
            tuning(x, |tuning| tuning.set("lru_crawler_sleep", micros));
            OK
        }
    }
}

fn limit(x: &mut Exchange<'_, '_, '_>, records: &[u8]) -> &'static [u8] {
    let Some(records) = parse_u32(records) else { return BAD_FORMAT };
    tuning(x, |tuning| tuning.set("lru_crawler_tocrawl", records));
    OK
}

fn is_enabled(x: &Exchange<'_, '_, '_>) -> bool {
    let mut is_on = false;
    tuning(x, |tuning| is_on = tuning.is_on("lru_crawler"));
    is_on
}

fn tuning(x: &Exchange<'_, '_, '_>, access: impl FnOnce(&mut crate::config::Tuning)) {
    access(&mut x.reach.node.tuning.lock().expect("nothing panics while holding it"));
}

/// Whether `all`, `hash` or a list of classes has the one class that there is; `None` when it is no such list.
fn selects_the_class(classes: &[u8]) -> Option<bool> {
    if matches!(classes, b"all" | b"hash") {
        return Some(true);
    }
    let numbers = classes.split(|byte| *byte == b',').filter(|word| !word.is_empty());
    let numbers = numbers.map(|word| parse_u32(word).filter(|class| (1..CLASSES).contains(class)));
    numbers.collect::<Option<Vec<u32>>>().map(|classes| classes.contains(&THE_CLASS))
}
