//! The test suites that clients bring, unchanged, as far as they talk to a server.
//!
//! They take for granted that a memcached listens on port 11211. So each runs in a network of its own, where that port
//! is free on every machine (`suites/alone.sh`). `.ci/run peers` unpacks the suites of Python's source distributions.

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::scripts::{go, python_with};
use crate::server::{Directory, peer_program, ringcached_path, run_within, skip};
use crate::{peers, script};

/// The longest takes 10 seconds on an idle machine.
const SUITE_TIMEOUT: Duration = Duration::from_secs(180);
/// Sockets whose paths are written in the suites of python-binary-memcached and gomemcache; the latter's has the number
/// of its process, which is always the first of its namespace.
const SOCKETS: [&str; 2] = ["/tmp/memcached.sock", "/tmp/test-gomemcache-1.sock"];

#[test]
fn suites_of_clients_pass() {
    // One after the other: they share the sockets.
    if !can_be_alone() {
        return;
    }
    let _sockets = Sockets::claim();
    pymemcache();
    pylibmc();
    python_memcached();
    python_binary_memcached();
    gomemcache();
}

fn pymemcache() {
    let Some(python) = python_with("pymemcache.test, faker, zstd, pytest") else { return };
    let arguments = ["-m", "integration", "--pyargs", "pymemcache.test"];
    assert!(passed(pytest(&python).args(arguments)) >= 100);
}

fn pylibmc() {
    let (Some(python), Some(suite)) = (python_with("pylibmc, pytest"), suite("pylibmc-1.6.3")) else {
        return;
    };
    assert!(passed(pytest(&python).arg(suite.join("tests"))) >= 41);
}

fn python_memcached() {
    let suite = suite("python-memcached-1.62");
    let (Some(python), Some(suite)) = (python_with("memcache, pytest"), suite) else { return };
    // A package, because its files import their neighbours.
    let directory = Directory::create();
    let package = directory.path().join("tests");
    fs::create_dir(&package).expect("the directory is empty");
    fs::write(package.join("__init__.py"), "").expect("the directory was just made");
    for file in ["test_memcache.py", "test_setmulti.py"] {
        fs::copy(suite.join("tests").join(file), package.join(file)).expect("the suite has it");
    }
    fs::copy(script("suites/memcache/utils.py"), package.join("utils.py")).expect("it is beside this file");
    assert!(passed(pytest(&python).arg(&package)) >= 26);
}

fn python_binary_memcached() {
    let suite = suite("python_binary_memcached-0.33.0");
    let (Some(python), Some(suite)) = (python_with("bmemcached, trustme, pytest"), suite) else { return };
    let mut command = pytest(&python);
    command.env("PYTHONPATH", script("suites/bmemcached")).env("MEMCACHED_HOST", "127.0.0.1");
    assert!(passed(command.args(["-p", "conftest"]).arg(suite.join("test"))) >= 299);
}

fn gomemcache() {
    let directory = Directory::create();
    let program = directory.path().join("gomemcache_suite");
    let package = "github.com/bradfitz/gomemcache/memcache";
    let build = go().args(["test", "-c", "-o"]).arg(&program).arg(package).output();
    if !build.is_ok_and(|output| output.status.success()) {
        return skip("no Go with gomemcache");
    }
    let text = run_alone(Command::new(&program).arg("-test.v"));
    assert_eq!(text.matches("--- PASS").count(), 2, "{text}");
}

fn pytest(python: &Path) -> Command {
    let mut command = Command::new(python);
    command.args(["-m", "pytest", "-q", "-W", "ignore", "-p", "no:cacheprovider"]);
    command
}

/// How many tests a run of pytest says that it passed. None may fail.
fn passed(command: &mut Command) -> usize {
    let text = run_alone(command);
    let summary = text.lines().last().unwrap_or_default();
    let count =
        summary.split(" passed").next().and_then(|before| before.split_whitespace().last()?.parse().ok());
    count.unwrap_or_else(|| panic!("nothing passed:\n{text}"))
}

/// Runs a suite in a network of its own, with a server in it, and returns what it printed.
fn run_alone(suite: &mut Command) -> String {
    let directory = Directory::create();
    let mut command = unshare();
    command.arg(script("suites/alone.sh")).arg(directory.path()).arg(ringcached_path());
    command.arg(suite.get_program()).args(suite.get_args());
    command.envs(suite.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let output = run_within(SUITE_TIMEOUT, &mut command);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{suite:?}:\n{text}\n{}", String::from_utf8_lossy(&output.stderr));
    text
}

/// Namespaces that end with their first process, and everything in them.
fn unshare() -> Command {
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--net", "--pid", "--fork", "--kill-child"]);
    command
}

fn can_be_alone() -> bool {
    if peer_program("ip").is_none() {
        return false;
    }
    let can = unshare().args(["ip", "link", "set", "lo", "up"]).output();
    let can = can.is_ok_and(|output| output.status.success());
    if !can {
        skip("no right to a network of one's own");
    }
    can
}

/// The paths of [`SOCKETS`], which nobody else uses while this lives.
struct Sockets;

impl Sockets {
    /// Files that a killed run left are removed; a server that answers is somebody else's.
    fn claim() -> Sockets {
        for path in SOCKETS {
            assert!(UnixStream::connect(path).is_err(), "{path} is somebody else's");
        }
        let sockets = Sockets;
        sockets.remove();
        sockets
    }

    fn remove(&self) {
        for path in SOCKETS {
            // It fails where there is none.
            let _ = fs::remove_file(path);
        }
    }
}

impl Drop for Sockets {
    fn drop(&mut self) {
        self.remove();
    }
}

fn suite(name: &str) -> Option<PathBuf> {
    let path = peers().join("suites").join(name);
    if !path.is_dir() {
        skip(&format!("no suite {name}"));
        return None;
    }
    Some(path)
}
