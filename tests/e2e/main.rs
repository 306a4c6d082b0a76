//! End to end: the binary just built, over real sockets, against bytes that are written down here.
//!
//! One test binary, so that it links once and its tests run side by side. Expected bytes follow memcached 1.6.45;
//! where the stock memcached is installed, every transcript is also played on it.

/// Starts and stops servers, and talks to them.
mod server;
/// What is sent and what comes back, over every transport, number of workers and fragment size.
mod transcript;

/// Frames of the binary protocol.
mod frames;

/// Certificates made for a test, and clients that speak TLS.
mod certificates;

/// Operators: their socket and `ringctl`.
mod admin;
/// SASL, users of the text protocol, and their files.
mod auth;
/// Backups: taken while a node serves, restored as a whole or not at all.
mod backup;
/// The binary protocol.
mod binary;
/// Two nodes compared while they serve.
mod comparison;
/// Dumps of all records: complete, in order of nobody, and never in the way.
mod dumps;
/// Bad input: memcached's errors, and nothing worse.
mod errors;
/// A proxy that cuts links and damages what goes over them.
mod interference;
/// Connections: many, too many, idle ones, ones that never read.
mod limits;
/// Requests made from good ones by small changes.
mod malformed;
/// Nothing alive is lost below three quarters of the memory; what expired gives its memory back.
mod memory;
/// The meta commands and their flags.
mod meta;
/// A connection reads its own writes, whichever worker owns the key.
mod ordering;
/// A panic in one worker ends the process.
mod panic;
/// Nodes that follow each other: equal copies, changing roles, waiting answers, bad company.
mod replication;
/// SIGTERM, SIGINT and `shutdown`: answers in flight are sent, the exit code is 0.
mod shutdown;
/// Flags, exit codes, pid file, port file, socket mode.
mod startup;
/// The classic text commands.
mod text;
/// Encrypted connections.
mod tls;
/// Requests as datagrams.
mod udp;
/// `-e`: records that outlive the process.
mod warm;
/// `--warm-from`: another server is asked for what is not here.
mod warming;
/// Streams of events, and counts per prefix of keys.
mod watch;
