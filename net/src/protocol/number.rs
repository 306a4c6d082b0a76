//! Decimal numbers as memcached reads and writes them.
