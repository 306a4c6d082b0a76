//! Load generator; see `docs/benchmarks.md`.
fn main() {}
