//! Bounds and counts of watchers, without a worker.

use ringcache_engine::{Now, Seconds};

use super::{TooMany, Watch, Watchers};
use crate::limits::WATCHERS_MAX;
use crate::observe::Streams;
use crate::observe::events::{Event, Events, Got};
use crate::output::Output;

const NOW: Now = Now { seconds: Seconds(7), unix_millis: 7_004 };

fn fetch(key: &[u8]) -> Event<'_> {
    Event::Fetch { key, got: Got::Found { value_bytes: 3 }, socket: 9 }
}

fn take(watchers: &Watchers, keys: &[&str]) -> Streams {
    let mut noted = Events::new(10_000);
    keys.iter().for_each(|key| noted.push(&fetch(key.as_bytes())));
    let mut wanted = Streams(0);
    watchers.take(&mut noted, NOW, |all| wanted = all);
    wanted
}

fn watch(watchers: &Watchers, streams: Streams) -> Result<Watch, TooMany> {
    watchers.add(streams, |_| ())
}

fn sent(watch: &Watch) -> String {
    let mut output = Output::default();
    watch.send(&mut output);
    String::from_utf8(output.bytes).unwrap()
}

#[test]
fn each_watcher_gets_the_streams_it_asked_for() {
    let watchers = Watchers::new(10_000);
    let fetchers = watch(&watchers, Streams::FETCHERS).ok().unwrap();
    let evictions = watch(&watchers, Streams::EVICTIONS).ok().unwrap();
    assert_eq!(take(&watchers, &["a b", "c"]), Streams(Streams::FETCHERS.0 | Streams::EVICTIONS.0));
    let line = |number: u32, key: &str| {
        format!("ts=7.004000 gid={number} type=item_get key={key} status=found clsid=1 cfd=9 size=3\n")
    };
    assert_eq!(sent(&fetchers), line(1, "a%20b") + &line(2, "c"));
    assert_eq!(sent(&fetchers), "");
    assert_eq!(sent(&evictions), "");
    drop(fetchers);
    assert_eq!(take(&watchers, &[]), Streams::EVICTIONS);
    let counts = watchers.counts();
    assert_eq!((counts.written, counts.sent, counts.watchers), (2, 2, 1));
}

#[test]
fn a_slow_watcher_is_told_how_much_it_missed() {
    let watchers = Watchers::new(300);
    let slow = watch(&watchers, Streams::FETCHERS).ok().unwrap();
    take(&watchers, &["key"; 10]);
    let first = sent(&slow);
    let shown = first.lines().count();
    assert!((1..10).contains(&shown) && !first.contains("skipped") && first.len() <= 300, "{first}");
    take(&watchers, &["late"]);
    let second = sent(&slow);
    assert!(second.starts_with(&format!("skipped={}\nts=", 10 - shown)), "{second}");
    assert!(second.contains("key=late"), "{second}");
    let counts = watchers.counts();
    assert_eq!((counts.sent, counts.skipped), (shown as u64 + 1, 10 - shown as u64));
}

#[test]
fn a_worker_notes_no_more_than_its_bound() {
    let watchers = Watchers::new(10_000);
    let watching = watch(&watchers, Streams::FETCHERS).ok().unwrap();
    let mut events = Events::new(200);
    (0..10).for_each(|_| events.push(&fetch(b"key")));
    watchers.take(&mut events, NOW, |_| ());
    let shown = sent(&watching).lines().count() as u64;
    assert!((1..10).contains(&shown));
    assert_eq!(watchers.counts().dropped, 10 - shown);
    assert_eq!(events.iter().count(), 0);
}

#[test]
fn there_are_only_so_many_watchers() {
    let watchers = Watchers::new(10_000);
    let mut watching: Vec<_> =
        (0..WATCHERS_MAX).map(|_| watch(&watchers, Streams::FETCHERS).ok().unwrap()).collect();
    assert!(watch(&watchers, Streams::FETCHERS).is_err());
    watching.pop();
    assert!(watch(&watchers, Streams::FETCHERS).is_ok());
}
