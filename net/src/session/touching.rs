//! A read that gives its record a new expiry: a touch at the key's owner, then a read.

use ringcache_engine::{Expiry, KeyHash, Lookup as Found, Miss, Op, Outcome, Status, Write};

use super::answers::{Form, Verb};
use super::asking::Asked;
use super::exchange::{Delivery, Exchange};
use super::lookups::Sight;

/// What became of it.
pub enum Touched<'r> {
    /// It was done, and found this.
    Found(Found<'r>),
    /// The touch is with another worker; [`found`] tells the rest when its outcome comes.
    Away,
    /// It could not be sent yet.
    Wait,
}

impl<'r> Exchange<'_, '_, 'r> {
    /// Touches and reads `key`. `form` and `text` make the answer when the outcome comes later. The batch of lookups
    /// must be settled.
    pub fn read_and_touch(&mut self, key: &[u8], expiry: Expiry, form: Form, text: &[u8]) -> Touched<'r> {
        let hash = KeyHash::of(key);
        let write = Write { hash, key, op: Op::Touch { expiry, fetches: false } };
        let sight = self.sight();
        match self.ask_and_touch(key, expiry, form.verb, text) {
            Asked::Unneeded => {}
            Asked::Away => return Touched::Away,
            Asked::Wait => return Touched::Wait,
        }
        if !expiry.is_past(sight.now.seconds) {
            return match self.send(&write, form, text) {
                Delivery::Wait => Touched::Wait,
                Delivery::Away => Touched::Away,
                Delivery::Done(outcome) => Touched::Found(found(key, &outcome, sight)),
            };
        }
        // After such a touch nobody sees the record, and yet it is the answer: it is read before.
        if !self.may_read(hash) {
            return Touched::Wait;
        }
        let record = sight.reader.get(hash, key, sight.now);
        match self.send(&write, Form { verb: Verb::Unasked, silent: true }, &[]) {
            Delivery::Wait => Touched::Wait,
            Delivery::Away | Delivery::Done(_) => {
                sight.note_fetch(key, &record);
                Touched::Found(record)
            }
        }
    }
}

/// What is found after the touch of `key` ended so.
pub fn found<'r>(key: &[u8], outcome: &Outcome, sight: Sight<'r>) -> Found<'r> {
    match outcome.status {
        Status::Touched => sight.reader.get(KeyHash::of(key), key, sight.now),
        _ => Found::Miss(Miss::Absent),
    }
}
