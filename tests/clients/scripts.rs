//! Clients of other languages. Each has a script, `<language>/<name>_client.<extension>`, that is told a port, a
//! protocol and who to log in as, uses the client, and prints `ok` at its end.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::certificates::Authority;
use crate::server::{Directory, Server, run, skip};
use crate::{PASSWORD, USER, peers, script, users};

/// What a server asks of who connects.
#[derive(Clone, Copy, Debug)]
enum Login {
    Nothing,
    /// `-S`: a SASL login, binary protocol.
    Sasl,
    /// `-Y`: a first set, text protocol.
    File,
    /// `-Z`: TLS. The client trusts the authority that RINGCACHE_TEST_CA names, and expects `localhost`.
    Tls,
}

use Login::{File, Nothing, Sasl, Tls};

#[test]
fn pymemcache() {
    python("pymemcache", &[("text", Nothing), ("text", Tls)]);
}

#[test]
fn pylibmc() {
    python("pylibmc", &[("text", Nothing), ("binary", Nothing), ("binary", Sasl)]);
}

#[test]
fn python_memcached() {
    python("memcache", &[("text", Nothing)]);
}

#[test]
fn python_binary_memcached() {
    python("bmemcached", &[("binary", Nothing), ("binary", Sasl), ("binary", Tls)]);
}

#[test]
fn meta_memcache() {
    python("meta_memcache", &[("meta", Nothing)]);
}

#[test]
fn django() {
    python("django", &[("text", Nothing)]);
}

#[test]
fn aiomcache() {
    python("aiomcache", &[("text", Nothing), ("text", Tls)]);
}

#[test]
fn emcache() {
    python("emcache", &[("text", Nothing), ("text", File), ("text", Tls)]);
}

#[test]
fn node_memjs() {
    node("memjs", &[("binary", Nothing), ("binary", Sasl)]);
}

#[test]
fn node_memcached() {
    node("memcached", &[("text", Nothing)]);
}

#[test]
fn node_memcache() {
    node("memcache", &[("text", Nothing), ("binary", Sasl)]);
}

#[test]
fn node_memcache_client() {
    node("memcache-client", &[("text", Nothing)]);
}

#[test]
fn node_memcache_plus() {
    node("memcache-plus", &[("text", Nothing)]);
}

#[test]
fn php_memcached() {
    php("memcached", &[("text", Nothing), ("binary", Nothing), ("binary", Sasl)]);
}

#[test]
fn php_memcache() {
    php("memcache", &[("text", Nothing)]);
}

#[test]
fn ruby_dalli() {
    let probe = ["-e", "require 'dalli'"];
    let runs = [("binary", Nothing), ("binary", Sasl), ("binary", Tls)];
    run_script("ruby", &probe, "ruby/dalli_client.rb", &runs);
}

#[test]
fn perl_cache_memcached() {
    let probe = ["-MCache::Memcached", "-MCache::Memcached::Fast", "-e1"];
    run_script("perl", &probe, "perl/cache_memcached_client.pl", &[("text", Nothing)]);
}

#[test]
fn perl_libmemcached() {
    let probe = ["-MMemcached::libmemcached", "-e1"];
    let runs = [("text", Nothing), ("binary", Nothing)];
    run_script("perl", &probe, "perl/libmemcached_client.pl", &runs);
}

#[test]
fn java_spymemcached() {
    let library = "/usr/share/java/spymemcached.jar";
    if !Path::new(library).is_file() || !succeeds(Command::new("javac").arg("-version")) {
        return skip("no Java with spymemcached");
    }
    let command = || {
        let mut command = Command::new("java");
        command.args(["-cp", library]).arg(script("java/spymemcached_client.java"));
        command
    };
    run_client("spymemcached", command, &[("text", Nothing), ("binary", Nothing)]);
}

#[test]
fn gomemcache() {
    let directory = Directory::create();
    let program = directory.path().join("gomemcache_client");
    let build = go().args(["build", "-o"]).arg(&program).arg(script("go/gomemcache_client.go")).output();
    if !build.is_ok_and(|output| output.status.success()) {
        return skip("no Go with gomemcache");
    }
    run_client("gomemcache", || Command::new(&program), &[("text", Nothing)]);
}

/// Go with the packages of Debian, which know no modules.
pub fn go() -> Command {
    let mut command = Command::new("go");
    command.envs([("GO111MODULE", "off"), ("GOPATH", "/usr/share/gocode"), ("GOFLAGS", "")]);
    command
}

/// The Python of the peers or of the system, whichever has `module`.
pub fn python_with(module: &str) -> Option<PathBuf> {
    let import = format!("import {module}");
    let candidates = [peers().join("bin/python"), PathBuf::from("python3")];
    let found = candidates.into_iter().find(|python| succeeds(Command::new(python).args(["-c", &import])));
    if found.is_none() {
        skip(&format!("no Python with {module}"));
    }
    found
}

fn python(module: &str, runs: &[(&str, Login)]) {
    let Some(python) = python_with(module) else { return };
    let file = script(&format!("python/{module}_client.py"));
    let command = || {
        let mut command = Command::new(&python);
        command.arg(&file);
        command
    };
    run_client(module, command, runs);
}

fn node(package: &str, runs: &[(&str, Login)]) {
    let probe = format!("require.resolve('{package}')");
    run_script("node", &["-e", &probe], &format!("node/{package}_client.js"), runs);
}

fn php(extension: &str, runs: &[(&str, Login)]) {
    let probe = format!("exit(extension_loaded('{extension}') ? 0 : 1);");
    run_script("php", &["-r", &probe], &format!("php/{extension}_client.php"), runs);
}

/// Runs a script with its interpreter, if that succeeds with `probe`: then the client is installed.
fn run_script(interpreter: &str, probe: &[&str], file: &str, runs: &[(&str, Login)]) {
    let command = || {
        let mut command = Command::new(interpreter);
        command.env("NODE_PATH", peers().join("node_modules"));
        command
    };
    if !succeeds(command().args(probe)) {
        return skip(&format!("no client for {file}"));
    }
    let path = script(file);
    let with_script = || {
        let mut command = command();
        command.arg(&path);
        command
    };
    run_client(file, with_script, runs);
}

/// Runs a client once for each protocol and login, each time against a server of its own.
fn run_client(name: &str, command: impl Fn() -> Command, runs: &[(&str, Login)]) {
    for &(protocol, login) in runs {
        let ((_directory, file), authority) = (users(), Authority::new());
        let path = file.to_str().expect("a temporary path is text");
        let server = match login {
            Nothing => Server::ringcached(&["-t", "2"]),
            Sasl => Server::ringcached_with_file("MEMCACHED_SASL_PWDB", &file, &["-S", "-t", "2"]),
            File => Server::ringcached(&["-Y", path, "-t", "2"]),
            Tls => authority.server("", &["-t", "2"]),
        };
        let mut command = command();
        command.args([&server.port().to_string(), protocol]).env("SASL_PATH", sasl_mechanisms());
        match login {
            Nothing => {}
            Sasl | File => _ = command.args([USER, PASSWORD]),
            Tls => _ = command.env("RINGCACHE_TEST_CA", authority.path("ca.pem")),
        }
        let output = run(&mut command);
        let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        let is_ok =
            output.status.success() && String::from_utf8_lossy(&output.stdout).trim_end().ends_with("ok");
        assert!(is_ok, "{name}, {protocol}, {login:?}:\n{text}");
    }
}

/// Where Cyrus SASL, which libmemcached logs in with, keeps its mechanisms: Python's wheels bring it without any.
fn sasl_mechanisms() -> String {
    format!("/usr/lib/{}-linux-gnu/sasl2", std::env::consts::ARCH)
}

fn succeeds(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}
