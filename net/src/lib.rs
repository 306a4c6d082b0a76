//! What a Ringcache node says: rings, protocol, sessions, workers.
//!
//! Data flows one way: socket -> session -> shard -> session -> socket. `docs/ARCHITECTURE.md` tells where to
//! start reading.

pub mod admin;
pub mod allowance;
pub mod auth;
pub mod backup;
pub mod clock;
pub mod config;
pub mod driver;
pub mod dump;
pub mod errand;
pub mod identity;
pub mod limits;
pub mod log;
pub mod mesh;
pub mod node;
pub mod observe;
pub mod output;
pub mod protocol;
pub mod reach;
pub mod replication;
pub mod server;
pub mod session;
pub mod stats;
pub mod sys;
pub mod tls;
pub mod warming;
pub mod worker;
