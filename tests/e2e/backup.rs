//! Backups of a running server: what comes back is what was there, at any number of workers; what is damaged is refused
//! with its place, and nothing of it is loaded; whatever ends a process, no file restores wrongly.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::admin::{Operated, text};
use crate::server::{Connection, Directory, Server, ringcached_path, ringctl_path, run_ringcached};

/// What the server should hold: flags and value by key.
type Model = HashMap<String, (u32, String)>;

/// A directory for backups beside a server.
struct Bed {
    node: Operated,
    directory: Directory,
    model: Model,
}

impl Bed {
    fn start(flags: &[&str]) -> Self {
        let directory = Directory::create();
        Self { node: Operated::start(flags), directory, model: Model::new() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Stores keys of many lengths, one in some hundred of them with memory of its own.
    fn fill(&mut self, keys: std::ops::Range<u32>, salt: u32) {
        let mut connection = self.node.server.connect();
        for key in keys {
            let bytes = if key % 300 == 299 { 200_000 } else { (key * 7 + salt) % 900 };
            let value: String =
                (0..bytes).map(|at| char::from(b'a' + ((at / 8 + key + salt) % 26) as u8)).collect();
            let flags = key % 3;
            connection.send(format!("set key{key} {flags} 0 {} noreply\r\n{value}\r\n", value.len()));
            self.model.insert(format!("key{key}"), (flags, value));
        }
        assert_eq!(connection.ask("mn"), "MN");
    }

    fn backup(&self, name: &str, more: &[&str]) -> serde_json::Value {
        let path = self.path(name);
        let arguments = [&["--json", "backup", path.to_str().expect("plain")], more].concat();
        let output = self.node.ringctl(&arguments);
        assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
        serde_json::from_slice(&output.stdout).expect("JSON")
    }

    fn restore(&self, names: &[&str]) -> Output {
        let paths: Vec<PathBuf> = names.iter().map(|name| self.path(name)).collect();
        let arguments: Vec<&str> =
            ["restore"].into_iter().chain(paths.iter().map(|path| path.to_str().expect("plain"))).collect();
        self.node.ringctl(&arguments)
    }
}

/// Starts a server with these backups.
fn begin_with(files: &[&Path], flags: &[&str]) -> Server {
    let mut all: Vec<&str> = flags.to_vec();
    files.iter().for_each(|file| all.extend(["--restore", file.to_str().expect("plain")]));
    Server::ringcached(&all)
}

/// Compares everything that the model names, and the number of records.
fn check(server: &Server, model: &Model) {
    assert_eq!(server.stat_number("curr_items"), model.len() as u64);
    check_values(server, model);
}

fn check_values(server: &Server, model: &Model) {
    let mut connection = server.connect();
    for (key, expected) in model {
        assert_eq!(fetch(&mut connection, key).as_ref(), Some(expected), "{key}");
    }
}

fn fetch(connection: &mut Connection, key: &str) -> Option<(u32, String)> {
    let head = connection.ask(&format!("get {key}"));
    if head == "END" {
        return None;
    }
    let flags = head.split(' ').nth(2).expect("VALUE key flags bytes").parse().expect("a number");
    let value = connection.receive_line();
    assert_eq!(connection.receive_line(), "END");
    Some((flags, value))
}

#[test]
fn a_backup_comes_back_at_any_number_of_workers() {
    let mut bed = Bed::start(&["-t", "2", "-m", "128"]);
    bed.fill(0..3_000, 1);
    let taken = bed.backup("whole", &[]);
    assert_eq!((taken["records"].as_u64(), taken["kind"].as_str()), (Some(3_000), Some("whole")));
    assert_eq!(fs::metadata(bed.path("whole")).expect("it is there").permissions().mode() & 0o777, 0o600);
    let compressed = bed.backup("compressed", &["--compress"]);
    assert_eq!(compressed["digest"], taken["digest"], "the same records");
    assert!(compressed["file_bytes"].as_u64() < taken["file_bytes"].as_u64());
    for (name, workers) in [("whole", "1"), ("whole", "2"), ("compressed", "3")] {
        check(&begin_with(&[&bed.path(name)], &["-t", workers, "-m", "128"]), &bed.model);
    }
    // Halves of the slots are halves of the keys.
    bed.backup("low", &["--slots", "0-8191"]);
    bed.backup("high", &["--slots", "8192-16383"]);
    let low = begin_with(&[&bed.path("low")], &["-m", "128"]).stat_number("curr_items");
    assert!((1_200..1_800).contains(&low), "{low}");
    check(&begin_with(&[&bed.path("low"), &bed.path("high")], &["-m", "128"]), &bed.model);
    let status = text(&bed.node.ringctl(&["status"]).stdout);
    assert!(status.contains("last_backup.path"), "{status}");
}

#[test]
fn a_running_node_keeps_what_is_newer() {
    let mut bed = Bed::start(&["-t", "2"]);
    bed.fill(0..500, 1);
    bed.backup("whole", &[]);
    let mut connection = bed.node.server.connect();
    assert_eq!(connection.ask("set key1 9 0 5\r\nnewer"), "STORED");
    bed.model.insert("key1".into(), (9, "newer".into()));
    assert_eq!(connection.ask("delete key2"), "DELETED");
    let output = bed.restore(&["whole"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    check(&bed.node.server, &bed.model);
}

#[test]
fn changes_continue_a_backup() {
    let mut bed = Bed::start(&["-t", "2", "--log-changes"]);
    bed.fill(0..1_000, 1);
    bed.backup("whole", &[]);
    bed.fill(900..1_100, 2);
    let mut connection = bed.node.server.connect();
    for key in 0..50 {
        assert_eq!(connection.ask(&format!("delete key{key}")), "DELETED");
        bed.model.remove(&format!("key{key}"));
    }
    assert_eq!(connection.ask("touch key60 0"), "TOUCHED");
    assert_eq!(connection.ask("touch key61 -1"), "TOUCHED");
    bed.model.remove("key61");
    let base = bed.path("whole");
    let since = |path: &Path| ["--since".to_owned(), path.to_str().expect("plain").to_owned()];
    let [flag, path] = since(&base);
    let first = bed.backup("first", &[&flag, &path]);
    let records = first["records"].as_u64().expect("a number");
    assert!((250..400).contains(&records), "{records}: what changed, and no more");
    bed.fill(2_000..2_010, 3);
    let [flag, path] = since(&bed.path("first"));
    bed.backup("second", &[&flag, &path]);
    let files = ["whole", "first", "second"].map(|name| bed.path(name));
    let all: Vec<&Path> = files.iter().map(PathBuf::as_path).collect();
    for workers in ["1", "2", "3"] {
        let server = begin_with(&all, &["-t", workers]);
        check_values(&server, &bed.model);
        let mut connection = server.connect();
        (0..50).for_each(|key| assert_eq!(fetch(&mut connection, &format!("key{key}")), None, "deleted"));
        assert_eq!(fetch(&mut connection, "key61"), None, "its time is over");
    }
    for wrong in [&all[1..], &all[2..], &[all[0], all[2]][..], &[all[1], all[0]][..]] {
        let mut flags = vec!["-p", "0", "-t", "1"];
        wrong.iter().for_each(|file| flags.extend(["--restore", file.to_str().expect("plain")]));
        let output = run_ringcached(&flags);
        assert!(text(&output.stderr).contains("has to be restored before it"), "{}", text(&output.stderr));
    }
    // Another life of the cache, and a node that keeps no log.
    for (flags, reason) in [(&["--log-changes", "-t", "2"][..], "another history"), (&[], "--log-changes")] {
        let other = Operated::start(flags);
        let [flag, path] = since(&base);
        let target = bed.path("other");
        let output = other.ringctl(&["backup", target.to_str().expect("plain"), &flag, &path]);
        assert!(text(&output.stderr).contains(reason), "{}", text(&output.stderr));
        assert!(!target.exists());
    }
}

#[test]
fn a_flush_between_two_backups_is_restored() {
    let mut bed = Bed::start(&["-t", "2", "--log-changes"]);
    bed.fill(0..300, 1);
    bed.backup("whole", &[]);
    assert_eq!(bed.node.server.connect().ask("flush_all"), "OK");
    bed.model.clear();
    bed.fill(100..110, 2);
    let whole = bed.path("whole");
    bed.backup("changes", &["--since", whole.to_str().expect("plain")]);
    let server = begin_with(&[&whole, &bed.path("changes")], &["-t", "3"]);
    let mut connection = server.connect();
    assert_eq!(fetch(&mut connection, "key1"), None);
    assert_eq!(fetch(&mut connection, "key105").as_ref(), bed.model.get("key105"));
}

/// Every kind of damage: the start is refused with file, place and reason; a running node refuses it and is as before.
#[test]
fn damage_is_refused_with_its_place() {
    let mut bed = Bed::start(&["-t", "2"]);
    bed.fill(0..1_200, 1);
    let records = bed.backup("whole", &[])["records"].as_u64().expect("a number");
    let whole = fs::read(bed.path("whole")).expect("it is there");
    let other = Operated::start(&[]);
    let refused = |name: &str, bytes: &[u8], reason: &str| {
        let path = bed.path(name);
        fs::write(&path, bytes).expect("writable");
        let output = run_ringcached(&["-p", "0", "-t", "1", "--restore", path.to_str().expect("plain")]);
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(71), "{name}: {error}");
        assert!(error.contains(reason) && error.contains(name), "{name}: {error}");
        let live = other.ringctl(&["restore", path.to_str().expect("plain")]);
        assert_eq!(live.status.code(), Some(1));
        assert!(text(&live.stderr).contains(reason), "{}", text(&live.stderr));
    };
    refused("foreign", b"a text file that has nothing to do with it", "no backup of Ringcache");
    refused("empty", b"", "no backup of Ringcache");
    let mut newer = whole.clone();
    newer[8] = 9;
    refused("newer", &newer, "written in format 9; this version reads up to 1");
    for (name, cut) in [("cut-header", 60), ("cut-head", 100), ("cut-block", whole.len() / 2), ("cut-end", 1)]
    {
        refused(name, &whole[..if cut == 1 { whole.len() - 1 } else { cut }], "damaged at byte ");
    }
    refused(
        "longer",
        &[&whole[..], b"x"].concat(),
        &format!("damaged at byte {}: bytes follow", whole.len()),
    );
    for place in (0..20).map(|part| whole.len() / 20 * part + 17) {
        let mut flipped = whole.clone();
        flipped[place] ^= 0x10;
        refused("flipped", &flipped, "damaged at byte ");
    }
    assert_eq!(other.server.stat_number("curr_items"), 0, "nothing of any of them was loaded");
    salvage(&bed, &other, &whole, records);
}

/// What is intact comes back, what is not is told.
fn salvage(bed: &Bed, other: &Operated, whole: &[u8], records: u64) {
    let mut damaged = whole.to_vec();
    damaged[whole.len() / 2] ^= 1;
    // And a whole region, heads of blocks included.
    damaged[whole.len() / 4..whole.len() / 4 + 100_000].fill(0);
    let path = bed.path("salvaged");
    fs::write(&path, &damaged).expect("writable");
    let output = other.ringctl(&["--json", "restore", "--salvage", path.to_str().expect("plain")]);
    let result: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let applied = result["applied"].as_u64().expect("a number");
    assert!(applied > records / 2 && applied < records, "{result}");
    assert!(result["damaged_places"].as_u64() >= Some(2), "{result}");
    assert!(result["damage"][0].as_str().expect("a reason").contains("damaged at byte "), "{result}");
    let mut connection = other.server.connect();
    let mut found = 0;
    for (key, expected) in &bed.model {
        if let Some(value) = fetch(&mut connection, key) {
            assert_eq!(&value, expected, "{key}");
            found += 1;
        }
    }
    assert_eq!(found, applied);
    let start = begin_with(&[&path], &["--salvage"]);
    assert_eq!(start.stat_number("curr_items"), applied);
    assert!(start.stderr().contains("damaged at byte"), "{}", start.stderr());
}

#[test]
fn a_full_disk_leaves_the_earlier_backup() {
    let mut bed = Bed::start(&["-t", "1"]);
    bed.fill(0..200, 1);
    bed.backup("file", &[]);
    let before = fs::read(bed.path("file")).expect("it is there");
    bed.fill(200..3_000, 2);
    let pid = bed.node.server.pid().to_string();
    let limited = Command::new("prlimit").args(["--pid", &pid, "--fsize=300000:"]).status();
    assert!(limited.expect("util-linux is everywhere").success());
    let path = bed.path("file");
    let output = bed.node.ringctl(&["backup", path.to_str().expect("plain")]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("File too large"), "{}", text(&output.stderr));
    assert_eq!(fs::read(&path).expect("it is there"), before);
    assert_eq!(fs::read_dir(bed.directory.path()).expect("readable").count(), 1, "nothing is left beside");
    check(&bed.node.server, &bed.model);
    let nowhere = bed.path("no/such/directory");
    let output = bed.node.ringctl(&["backup", nowhere.to_str().expect("plain")]);
    assert!(text(&output.stderr).contains("No such file or directory"), "{}", text(&output.stderr));
}

#[test]
fn what_is_no_backup_is_not_replaced() {
    let bed = Bed::start(&[]);
    let path = bed.path("notes");
    fs::write(&path, "not to be lost").expect("writable");
    for target in [path.as_path(), bed.directory.path(), Path::new("/dev/null")] {
        let output = bed.node.ringctl(&["backup", target.to_str().expect("plain")]);
        assert!(text(&output.stderr).contains("no backup: it is not replaced"), "{}", text(&output.stderr));
    }
    assert_eq!(fs::read_to_string(&path).expect("it is there"), "not to be lost");
}

/// Kills servers at random moments of a backup and of a restore. `RINGCACHE_KILLS` says how often.
#[test]
fn kills_at_any_moment_never_leave_a_file_that_restores_wrongly() {
    let kills: u64 = std::env::var("RINGCACHE_KILLS").map_or(6, |kills| kills.parse().expect("a number"));
    let (mut finished, mut halves) = (0, 0);
    for kill in 0..kills {
        let mut bed = Bed::start(&["-t", "2", "-m", "256"]);
        bed.fill(0..4_000, kill as u32);
        let path = bed.path("file");
        let begun = Instant::now();
        bed.backup("file", &[]);
        let took = begun.elapsed();
        let mut child = Command::new(ringctl_path())
            .arg("--socket")
            .arg(&bed.node.socket)
            .args(["backup", path.to_str().expect("plain")])
            .stderr(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("built");
        std::thread::sleep(took * ((kill * 37 + 11) % 100) as u32 / 80);
        bed.node.server.signal("KILL");
        bed.node.server.wait();
        finished += u32::from(child.wait().expect("it ends").success());
        // The earlier file or the later one: both hold everything.
        check(&begin_with(&[&path], &["-t", "1", "-m", "256"]), &bed.model);
        let beside = fs::read_dir(bed.directory.path())
            .expect("readable")
            .map(|found| found.expect("readable").path());
        for half in beside.filter(|found| *found != path) {
            halves += 1;
            let other = Operated::start(&["-m", "256"]);
            let output = other.ringctl(&["restore", half.to_str().expect("plain")]);
            let error = text(&output.stderr);
            match output.status.success() {
                // It was whole already, and had not its name yet.
                true => check(&other.server, &bed.model),
                false => assert!(error.contains("damaged at byte") || error.contains("no backup"), "{error}"),
            }
        }
        kill_a_restore(&path, &bed.model, Duration::from_millis(kill * 13 % 60));
    }
    eprintln!("{kills} kills: {finished} backups had finished, {halves} files were left beside");
}

fn kill_a_restore(path: &Path, model: &Model, after: Duration) {
    let before = fs::read(path).expect("it is there");
    let mut server = Command::new(ringcached_path())
        .args(["-l", "127.0.0.1", "-p", "-1", "-m", "256", "--admin-socket", "off", "--restore"])
        .arg(path)
        .stderr(Stdio::null())
        .spawn()
        .expect("it was built");
    std::thread::sleep(after);
    server.kill().expect("it runs");
    server.wait().expect("it ends");
    assert_eq!(fs::read(path).expect("it is there"), before, "a restore changes nothing");
    check(&begin_with(&[path], &["-t", "2", "-m", "256"]), model);
}
