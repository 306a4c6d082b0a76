//! Replication: the slab log of one node, followed by others.
//!
//! ```text
//!   primary                                              replica
//!   worker i: shard i --> Feed ===== link i =====> Follow --> install --> shards
//!                          ^                          |
//!                          +------ Ack, position -----+
//!   sessions <-- Held <----'
//! ```
//!
//! One link for each shard of the primary, on the ring of that shard's owner. [`feed`] and [`follow`] are its two ends,
//! [`frame`] and [`message`] what is on it, [`greeting`] how it begins. [`coordinator`] decides when links are made and
//! what role the node has, [`followers`] what replicas mean for a shard, [`held`] which answers wait for them. All of these take bytes, events and the time and
//! return values; sockets are the business of `worker/links.rs` and `server/replication.rs`. [`verify`] compares two nodes,
//! on threads of its own.

mod batch;
pub mod coordinator;
mod ending;
pub mod feed;
pub mod follow;
pub mod followers;
pub mod frame;
pub mod greeting;
pub mod held;
pub mod history;
pub mod liveness;
pub mod message;
pub mod node;
pub mod operator;
pub mod order;
pub mod parked;
mod squeeze;
pub mod tally;
pub mod verify;
