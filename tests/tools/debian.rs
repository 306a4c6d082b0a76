//! Debian's package starts memcached by a script that reads `/etc/memcached.conf`. With `ringcached` in the place of
//! `/usr/bin/memcached`, the same script and the same file start it.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::server::{Directory, peer_program, ringcached_path, run, skip};

const WRAPPER: &str = "/usr/share/memcached/scripts/systemd-memcached-wrapper";
const CONFIGURATION: &str = "/etc/memcached.conf";

/// In namespaces of its own: puts the server in memcached's place, starts it as the unit does, and asks it.
const SCRIPT: &str = r#"
    ip link set lo up && mount --bind "$1" /usr/bin/memcached || exit 99
    "$2" "$3" &
    until [ -s "$4" ]; do sleep 0.02; done
    memcstat --servers=127.0.0.1:11211
"#;

#[test]
fn the_configuration_of_memcached_starts_it() {
    let has_package =
        [WRAPPER, CONFIGURATION, "/usr/bin/memcached"].iter().all(|file| Path::new(file).is_file());
    if !has_package {
        return skip("no Debian package of memcached");
    }
    if peer_program("ip").is_none() || peer_program("memcstat").is_none() {
        return;
    }
    let directory = Directory::create();
    let (file, pid) = (directory.path().join("memcached.conf"), directory.path().join("pid"));
    fs::write(&file, configuration(&pid)).expect("the directory was just made");
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--net", "--mount", "--pid", "--fork", "--kill-child"]);
    command.args(["sh", "-c", SCRIPT, "sh"]).arg(ringcached_path()).args([WRAPPER]).arg(&file).arg(&pid);
    let output = run(&mut command);
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    if errors.contains("Operation not permitted") {
        return skip("no right to namespaces of one's own");
    }
    assert!(output.status.success(), "{text}\n{errors}");
    assert!(text.contains("ringcache_version: "), "{text}");
    assert!(text.contains("limit_maxbytes: 67108864"), "{text}");
}

/// Debian's, except for what a namespace without root lacks: another user, and the folder of the pid file.
fn configuration(pid: &Path) -> String {
    let original = fs::read_to_string(CONFIGURATION).expect("everybody may read it");
    let lines =
        original.lines().filter(|line| !line.starts_with("-u ")).map(|line| match line.split_once(' ') {
            Some(("-P", _)) => format!("-P {}\n", pid.display()),
            _ => format!("{line}\n"),
        });
    lines.collect()
}
