//! Commands about the node and the connection: `flush`, `noop`, `version`, `quit`.

use ringcache_engine::Seconds;

use super::header::{Response, Status, push_error, push_value};
use super::{Request, refuse_write};
use crate::config::MEMCACHED_VERSION;
use crate::protocol::exptime::expiry_unsigned;
use crate::protocol::text::admin::{flush_node, may_flush};
use crate::session::{Exchange, Flow};

/// The delay of a flush.
pub const FLUSH_EXTRAS_BYTES: usize = 4;

/// `flush` and `flushq`: every shard forgets what it stored up to now, or up to a later second.
pub fn flush(x: &mut Exchange<'_, '_, '_>, request: &Request<'_>) -> Flow {
    if !x.reach.node.config.flush_enabled {
        push_error(request.asked, Status::Unauthenticated, x.sink());
        return Flow::Taken(request.bytes());
    }
    if !may_flush(x) {
        return Flow::Wait;
    }
    if let Some(refusal) = x.reach.guard.refusal {
        refuse_write(refusal, &request.asked.to_bytes(), x.sink());
        return Flow::Taken(request.bytes());
    }
    x.reach.counters.cmd_flush.add(1);
    let exptime = request.extras.try_into().map_or(0, u32::from_be_bytes);
    let at =
        (exptime > 0).then(|| Seconds(expiry_unsigned(exptime, x.reach.now, x.reach.node.started).to_bits()));
    flush_node(x, at);
    succeed(x, request)
}

/// `noop`: its answer shows that all requests before it have been answered.
pub fn noop(x: &mut Exchange<'_, '_, '_>, request: &Request<'_>) -> Flow {
    succeed(x, request)
}

/// `version`.
pub fn version(x: &mut Exchange<'_, '_, '_>, request: &Request<'_>) -> Flow {
    push_value(request.asked, MEMCACHED_VERSION.as_bytes(), x.sink());
    Flow::Taken(request.bytes())
}

/// `quit` and `quitq`.
pub fn quit(x: &mut Exchange<'_, '_, '_>, request: &Request<'_>) -> Flow {
    succeed(x, request);
    Flow::Close
}

fn succeed(x: &mut Exchange<'_, '_, '_>, request: &Request<'_>) -> Flow {
    if !request.asked.quiet {
        Response::SUCCESS.push(request.asked, x.sink());
    }
    Flow::Taken(request.bytes())
}
