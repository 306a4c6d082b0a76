//! `stat`: the statistics of the text protocol, one frame for each line.
//!
//! ```text
//! request   key: what to show; empty: the general statistics
//! response  key: name · value: value     once for each
//!           nothing                      at the end
//! ```

use super::Request;
use super::header::{Asked, Response, Status, push_error};
use crate::output::Output;
use crate::session::{Exchange, Flow};
use crate::stats;

/// Name of the one statistic that `detail dump` answers with.
const DETAILED: &[u8] = b"detailed";

/// Executes the command. A value behind the key is not looked at: what follows is the next request.
///
/// Cost: as the `stats` command of the text protocol, and a copy of its reply.
pub fn stat(x: &mut Exchange<'_, '_, '_>, request: &Request<'_>) -> Flow {
    // As in the text protocol: writes to other workers are counted by prefix when their outcomes are back.
    let is_detail = request.key.starts_with(b"detail");
    if is_detail && !x.may_take_over() {
        return Flow::Wait;
    }
    let mut text = Vec::new();
    let is_known = is_offered(request.key) && {
        let (node, now) = (x.reach.node, x.reach.now);
        stats::report(node, now, request.key, &mut text)
    };
    // `detail on` holds for the requests behind it.
    x.sight.observer = x.reach.observer();
    let output = x.sink();
    if !is_known || text.starts_with(b"CLIENT_ERROR") {
        push_error(request.asked, Status::NotFound, output);
        return Flow::Taken(request.head_bytes);
    }
    if request.key == b"detail dump" {
        push_stat(request.asked, DETAILED, &text, output);
    } else {
        push_lines(request.asked, &text, output);
    }
    push_stat(request.asked, b"", b"", output);
    Flow::Taken(request.head_bytes)
}

/// The reports that exist in this protocol.
fn is_offered(key: &[u8]) -> bool {
    matches!(
        key,
        b"" | b"reset"
            | b"settings"
            | b"items"
            | b"slabs"
            | b"sizes"
            | b"detail on"
            | b"detail off"
            | b"detail dump"
    )
}

/// A frame for every `STAT <name> <value>` in `text`; the other lines only say that it is done.
fn push_lines(asked: Asked, text: &[u8], output: &mut Output) {
    for line in text.split(|&byte| byte == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let Some(stat) = line.strip_prefix(b"STAT ") else { continue };
        let end = stat.iter().position(|&byte| byte == b' ').unwrap_or(stat.len());
        push_stat(asked, &stat[..end], stat.get(end + 1..).unwrap_or_default(), output);
    }
}

fn push_stat(asked: Asked, name: &[u8], value: &[u8], output: &mut Output) {
    Response { key: name, value_bytes: value.len(), ..Response::SUCCESS }.push(asked, output);
    output.push(value);
}
