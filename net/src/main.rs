//! `ringcached`, the server.
fn main() {}
