//! Reads of what is not here: the upstream is asked, and the answer keeps its place meanwhile.

use ringcache_engine::{Expiry, KeyHash, Lookup as Found};

use super::answers::{Keys, Verb};
use super::exchange::Exchange;
use super::lookups::Lookup;
use crate::protocol::binary::header::ASKED_BYTES;
use crate::warming::Ask;

/// What became of a read that touches.
pub enum Asked {
    /// It is here, or nobody is to be asked.
    Unneeded,
    /// The upstream is asked, and the touch is behind its answer.
    Away,
    /// It could not be asked yet.
    Wait,
}

impl<'i> Exchange<'_, 'i, '_> {
    /// Asks for the key of a lookup that found nothing. False when it has to wait, with nothing done.
    pub(super) fn ask_for(&mut self, lookup: &Lookup<'i>) -> bool {
        if !self.answers.may_ask() {
            return false;
        }
        let mut room = [0; ASKED_BYTES];
        let (verb, text) = lookup.reply.kept(lookup.key, &mut room);
        self.ask(lookup.hash, lookup.key, None, verb, text);
        true
    }

    /// Asks for the key of a read that touches, where it is not here. `verb` and `text` make the answer. The batch of lookups must be
    /// settled.
    pub fn ask_and_touch(&mut self, key: &[u8], expiry: Expiry, verb: Verb, text: &[u8]) -> Asked {
        let hash = KeyHash::of(key);
        let sight = self.sight();
        // After a touch into the past nobody sees what it touched.
        let is_wanted =
            sight.asks_for(hash, key) && !expiry.is_past(sight.now.seconds) && self.may_read(hash);
        if !is_wanted || matches!(sight.reader.get(hash, key, sight.now), Found::Hit(_)) {
            return Asked::Unneeded;
        }
        if !self.answers.may_ask() || !self.answers.may_write(self.shard_of(hash), Keys::One(hash)) {
            return Asked::Wait;
        }
        self.ask(hash, key, Some(expiry), verb, [text, b"", b""]);
        Asked::Away
    }

    fn ask(&mut self, hash: KeyHash, key: &[u8], touch: Option<Expiry>, verb: Verb, text: [&[u8]; 3]) {
        let shards = self.reach.reader.shards();
        let number = self.answers.ask(self.shard_of(hash), hash, shards, verb, text);
        let warming = self.reach.warming.as_mut().expect("a node with an upstream lends it to its sessions");
        warming.asks.push(Ask::new(self.reach.ticket, number, hash, key, touch));
    }
}
