//! Clients that no one here wrote, used as their own users use them: whatever they take for granted must hold.
//!
//! Crates are dev-dependencies. The others are used where they are installed: `.ci/run peers` installs them, those of
//! Python and Node below the folder that `RINGCACHE_PEERS` names, `target/peers` unless it is given. A missing one is
//! said, and fails in CI. `docs/clients.md` is the table of what ran.

/// Starts and stops servers, and talks to them.
#[path = "../e2e/server.rs"]
mod server;

/// Certificates made for a test.
#[path = "../e2e/certificates.rs"]
#[allow(dead_code, reason = "each test binary that includes this file uses its own part of it")]
mod certificates;
/// Rust crates.
mod crates;
/// Clients in other languages, each with a script that uses it.
mod scripts;
/// The test suites that clients bring, unchanged.
mod suites;

use std::path::PathBuf;

use server::Directory;

/// Who logs in where that is asked for.
const USER: &str = "ann";
const PASSWORD: &str = "secret";

/// A file with one user.
fn users() -> (Directory, PathBuf) {
    let directory = Directory::create();
    let path = directory.path().join("users");
    std::fs::write(&path, format!("{USER}:{PASSWORD}\n")).expect("the directory was just made");
    (directory, path)
}

/// Where the clients of Python and Node are installed, and the suites unpacked.
fn peers() -> PathBuf {
    let built = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/peers");
    std::env::var_os("RINGCACHE_PEERS").map_or(built, PathBuf::from)
}

/// A file beside this one.
fn script(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/clients").join(name)
}
