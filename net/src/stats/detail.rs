//! `stats detail on|off|dump`: what was done with the keys of each prefix.

use std::io::Write;

use crate::config::Config;
use crate::node::Node;
use crate::observe::PrefixCounts;
use crate::protocol::text::admin::OK;

const FORBIDDEN: &[u8] = b"CLIENT_ERROR stats detail not allowed\r\n";
const USAGE: &[u8] = b"CLIENT_ERROR usage: stats detail on|off|dump\r\n";

/// Appends the answer to `stats detail` with the words behind it.
pub(super) fn write<'w>(node: &Node, mut words: impl Iterator<Item = &'w [u8]>, out: &mut Vec<u8>) {
    let line = match words.next() {
        _ if !node.config.dump_enabled => FORBIDDEN,
        Some(b"on") => {
            node.observers.count_prefixes(true);
            OK
        }
        Some(b"off") => {
            node.observers.count_prefixes(false);
            OK
        }
        Some(b"dump") => {
            let mut dump = PrefixDump::default();
            while !dump.advance(node, out) {}
            return;
        }
        _ => USAGE,
    };
    out.extend_from_slice(line);
}

/// Whether what stands behind `stats` asks for the counts, and may have them.
pub fn asks_for_prefixes(config: &Config, what: &[u8]) -> bool {
    let mut words = what.split(|byte| *byte == b' ').filter(|word| !word.is_empty());
    config.dump_enabled && words.next() == Some(b"detail") && words.next() == Some(b"dump")
}

/// `stats detail dump` under way: some prefixes in each step, in their order. One that comes up meanwhile may be missed.
#[derive(Default)]
pub struct PrefixDump {
    last: Option<Box<[u8]>>,
}

impl PrefixDump {
    /// Appends some more lines, and behind the last ones the end. True when that was all.
    pub fn advance(&mut self, node: &Node, out: &mut Vec<u8>) -> bool {
        let counted = node.observers.prefixes_after(self.last.as_deref());
        for (prefix, PrefixCounts { gets, hits, sets, deletes }) in &counted {
            out.extend_from_slice(b"PREFIX ");
            out.extend_from_slice(prefix);
            write!(out, " get {gets} hit {hits} set {sets} del {deletes}\r\n")
                .expect("a Vec takes every write");
        }
        let Some((last, _)) = counted.into_iter().next_back() else {
            out.extend_from_slice(b"END\r\n");
            return true;
        };
        self.last = Some(last);
        false
    }
}
