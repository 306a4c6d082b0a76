//! Random pipelined commands against a model of a few lines.

use std::collections::BTreeMap;

use super::{FRAGMENTS, Random, SHARDS, World};

#[derive(Clone)]
struct Record {
    value: String,
    flags: usize,
    /// Zero: given by the server, unknown here.
    cas: usize,
    ttl: usize,
}

/// What a cache of one client answers; CAS uniques are known only where `E` gave them.
#[derive(Default)]
struct Model {
    records: BTreeMap<String, Record>,
    cas: usize,
}

impl Model {
    /// A random command and its answer.
    fn command(&mut self, random: &mut Random) -> (String, String) {
        let key = format!("key{}", random.below(12));
        match random.below(14) {
            0 | 1 => self.get(random),
            2 => self.set(&key, random, "set"),
            3 => self.set(&key, random, "add"),
            4 => self.set(&key, random, "replace"),
            5 => self.join(&key, random),
            6 => match self.records.remove(&key) {
                Some(_) => (format!("delete {key}\r\n"), "DELETED\r\n".into()),
                None => (format!("delete {key}\r\n"), "NOT_FOUND\r\n".into()),
            },
            7 => self.arithmetic(&key, random),
            8 => self.get_and_touch(&key, random),
            9 | 10 => self.meta_get(&key, random),
            11 => self.meta_set(&key, random),
            12 => self.meta_delete(&key, random),
            _ if random.below(20) == 0 => {
                self.records.clear();
                ("flush_all\r\n".into(), "OK\r\n".into())
            }
            _ => ("mn\r\n".into(), "MN\r\n".into()),
        }
    }

    fn get(&self, random: &mut Random) -> (String, String) {
        let (mut send, mut expect) = ("get".to_owned(), String::new());
        for _ in 0..=random.below(6) {
            let key = format!("key{}", random.below(12));
            send += &format!(" {key}");
            if let Some(record) = self.records.get(&key) {
                expect +=
                    &format!("VALUE {key} {} {}\r\n{}\r\n", record.flags, record.value.len(), record.value);
            }
        }
        (send + "\r\n", expect + "END\r\n")
    }

    fn value(random: &mut Random) -> String {
        match random.below(3) {
            0 => random.below(1000).to_string(),
            1 => "x".repeat(random.below(40)),
            _ => "v".repeat(random.below(3000)),
        }
    }

    fn put(&mut self, key: &str, value: &str, flags: usize, cas: usize, ttl: usize) {
        self.records.insert(key.to_owned(), Record { value: value.to_owned(), flags, cas, ttl });
    }

    fn set(&mut self, key: &str, random: &mut Random, verb: &str) -> (String, String) {
        let (value, flags) = (Self::value(random), random.below(3));
        let silent = random.below(4) == 0;
        let send = format!(
            "{verb} {key} {flags} 0 {}{}\r\n{value}\r\n",
            value.len(),
            if silent { " noreply" } else { "" }
        );
        let is_there = self.records.contains_key(key);
        let is_stored = verb == "set" || (verb == "add") != is_there;
        if is_stored {
            self.put(key, &value, flags, 0, 0);
        }
        let answer = if is_stored { "STORED\r\n" } else { "NOT_STORED\r\n" };
        (send, if silent { String::new() } else { answer.into() })
    }

    fn join(&mut self, key: &str, random: &mut Random) -> (String, String) {
        let value = Self::value(random);
        let is_append = random.below(2) == 0;
        let verb = if is_append { "append" } else { "prepend" };
        let send = format!("{verb} {key} 9 9 {}\r\n{value}\r\n", value.len());
        let Some(record) = self.records.get_mut(key) else { return (send, "NOT_STORED\r\n".into()) };
        record.value = if is_append { record.value.clone() + &value } else { value + &record.value };
        record.cas = 0;
        (send, "STORED\r\n".into())
    }

    fn arithmetic(&mut self, key: &str, random: &mut Random) -> (String, String) {
        let delta = random.below(50);
        let is_up = random.below(2) == 0;
        let send = format!("{} {key} {delta}\r\n", if is_up { "incr" } else { "decr" });
        let Some(record) = self.records.get_mut(key) else { return (send, "NOT_FOUND\r\n".into()) };
        let digits = record.value.trim_end_matches(' ');
        let Some(number) = digits.parse::<usize>().ok().filter(|_| record.value.len() <= 20) else {
            return (send, "CLIENT_ERROR cannot increment or decrement non-numeric value\r\n".into());
        };
        let number = if is_up { number + delta } else { number.saturating_sub(delta) };
        record.value = format!("{number:<width$}", width = record.value.len());
        record.cas = 0;
        (send, format!("{number}\r\n"))
    }

    fn get_and_touch(&mut self, key: &str, random: &mut Random) -> (String, String) {
        let ttl = 100 + random.below(100);
        let Some(record) = self.records.get_mut(key) else {
            return (format!("gat {ttl} {key}\r\n"), "END\r\n".into());
        };
        record.ttl = ttl;
        let (flags, bytes, value) = (record.flags, record.value.len(), &record.value);
        (format!("gat {ttl} {key}\r\n"), format!("VALUE {key} {flags} {bytes}\r\n{value}\r\nEND\r\n"))
    }

    fn meta_get(&mut self, key: &str, random: &mut Random) -> (String, String) {
        let ttl = 100 + random.below(100);
        let touches = random.below(3) == 0;
        let touch = if touches { format!(" T{ttl}") } else { String::new() };
        let send = format!("mg {key} s f k Oid t{touch} v\r\n");
        let Some(record) = self.records.get_mut(key) else { return (send, format!("EN k{key} Oid\r\n")) };
        let left = if record.ttl == 0 { "-1".into() } else { record.ttl.to_string() };
        let (flags, bytes, value) = (record.flags, record.value.len(), &record.value);
        let expect = format!("VA {bytes} s{bytes} f{flags} k{key} Oid t{left}\r\n{value}\r\n");
        if touches {
            record.ttl = ttl;
        }
        (send, expect)
    }

    fn meta_set(&mut self, key: &str, random: &mut Random) -> (String, String) {
        let value = Self::value(random);
        let known = self.records.get(key).map(|record| record.cas);
        let compare = if random.below(2) == 0 { known.filter(|&cas| cas > 0) } else { Some(1_000_000) };
        let token = compare.map_or(String::new(), |cas| format!(" C{cas}"));
        let next = self.cas + 1;
        let send = format!("ms {key} {} T500 E{next} c k{token}\r\n{value}\r\n", value.len());
        match (known, compare) {
            (None, Some(_)) => (send, format!("NF c0 k{key}\r\n")),
            (Some(known), Some(cas)) if known != cas => (send, format!("EX c0 k{key}\r\n")),
            _ => {
                self.cas = next;
                self.put(key, &value, 0, next, 500);
                (send, format!("HD c{next} k{key}\r\n"))
            }
        }
    }

    fn meta_delete(&mut self, key: &str, random: &mut Random) -> (String, String) {
        let quiet = random.below(2) == 0;
        let send = format!("md {key} k{}\r\n", if quiet { " q" } else { "" });
        match self.records.remove(key) {
            Some(_) if quiet => (send, String::new()),
            Some(_) => (send, format!("HD k{key}\r\n")),
            None => (send, format!("NF k{key}\r\n")),
        }
    }
}

#[test]
fn random_pipelines_answer_as_the_model_does() {
    for seed in 0..150 {
        let mut random = Random::new(seed);
        let shards = SHARDS[random.below(SHARDS.len())];
        let fragment = FRAGMENTS[random.below(FRAGMENTS.len())];
        let mut world = World::new(shards);
        let mut model = Model::default();
        for _ in 0..8 {
            let (mut send, mut expect) = (String::new(), String::new());
            for _ in 0..random.below(60) {
                let (command, answer) = model.command(&mut random);
                send += &command;
                expect += &answer;
            }
            world.send(send.as_bytes(), fragment);
            world.settle();
            let received = String::from_utf8(std::mem::take(&mut world.received)).unwrap();
            assert_eq!(received, expect, "seed {seed}, {shards} shards, fragments of {fragment}: {send}");
        }
    }
}
