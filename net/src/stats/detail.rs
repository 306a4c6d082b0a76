//! `stats detail on|off|dump`: what was done with the keys of each prefix.

use std::io::Write;

use crate::node::Node;
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
            write_prefixes(node, out);
            b"END\r\n"
        }
        _ => USAGE,
    };
    out.extend_from_slice(line);
}

fn write_prefixes(node: &Node, out: &mut Vec<u8>) {
    for (prefix, counts) in node.observers.prefixes() {
        out.extend_from_slice(b"PREFIX ");
        out.extend_from_slice(&prefix);
        let (gets, hits, sets, deletes) = (counts.gets, counts.hits, counts.sets, counts.deletes);
        write!(out, " get {gets} hit {hits} set {sets} del {deletes}\r\n").expect("a Vec takes every write");
    }
}
