//! What `status` answers: the node in a few numbers, and what replication says of itself.

use std::sync::atomic::Ordering;

use ringcache_engine::ShardId;
use serde_json::{Value, json};

use crate::config::MEMCACHED_VERSION;
use crate::node::Node;

/// The status of a node. Cost: some loads per worker.
pub fn report(node: &Node) -> Value {
    let shards: Vec<_> = (0..node.config.workers).map(|shard| node.engine.stats(ShardId(shard))).collect();
    let sum = |of: fn(&ringcache_engine::ShardStats) -> u64| shards.iter().map(of).sum::<u64>();
    let connections: u64 = node.workers.iter().map(|worker| worker.curr_connections.value()).sum();
    let replication = node.replication.get().map(|replication| replication.status());
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "memcached_version": MEMCACHED_VERSION,
        "pid": std::process::id(),
        "uptime_seconds": (node.clock.unix_millis() / 1000).saturating_sub(u64::from(node.started.0)),
        "workers": node.config.workers,
        "connections": connections,
        "records": sum(|shard| shard.items),
        "record_bytes": sum(|shard| shard.bytes),
        "evictions": sum(|shard| shard.evictions),
        "memory_used_bytes": node.engine.memory_used(),
        "memory_limit_bytes": node.engine.memory_limit(),
        "last_backup": node.backups.last(),
        "logs_changes": node.config.logs_changes(),
        "stopping": node.stopping.load(Ordering::Relaxed),
        "role": if replication.is_some() { "replicating" } else { "standalone" },
        "replication": replication,
    })
}
