//! Dialects of the memcached protocol: each file holds a dialect's parsing, execution and encoding together.

pub mod number;
