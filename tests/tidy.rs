//! The rules of this repository that a program can check, read from its sources.
//!
//! Limits with a list of exceptions are ratchets: an exception may be removed or lowered, and a new one needs a
//! reason beside it.

use std::fs;
use std::path::{Path, PathBuf};

/// Where `unsafe` may stand: the memory of the engine with its views, the ring, the system calls, the mesh's queue, and
/// the model of reclamation, whose cells are what it is about.
const UNSAFE_FILES: [&str; 10] = [
    "engine/src/memory.rs",
    "engine/src/index/bucket.rs",
    "engine/src/record.rs",
    "net/src/driver/uring.rs",
    "net/src/driver/uring/buffers.rs",
    "net/src/driver/uring/datagrams.rs",
    "net/src/sys.rs",
    "net/src/mesh/queue.rs",
    "bench/src/ring.rs",
    "engine/tests/turn_model.rs",
];

const FILE_LINES_MAX: usize = 500;
/// Longer files, each with the reason.
const LONG_FILES: [(&str, usize, &str); 0] = [];

const FUNCTION_LINES_MAX: usize = 70;
/// Longer functions, each with the reason.
const LONG_FUNCTIONS: [(&str, &str, usize, &str); 1] =
    [("engine/tests/model.rs", "step", 103, "a flat match of all operations")];

/// Words that the vocabulary replaces by more exact ones.
const FORBIDDEN_NAMES: [&str; 8] =
    ["partition", "vnode", "utils", "common", "helpers", "manager", "handler", "context"];

/// What would make the engine depend on more than its arguments.
const NOT_IN_ENGINE: [&str; 5] = ["Instant::now", "SystemTime", "thread::spawn", "std::net", "std::fs"];

const README_LINES_MAX: usize = 80;

#[test]
fn every_file_says_what_it_is() {
    report(sources().filter(|source| !source.text.starts_with("//!")).map(|source| source.name.clone()));
}

#[test]
fn unsafe_stays_where_it_may_be() {
    let outside = sources().filter(|source| !UNSAFE_FILES.contains(&source.name.as_str()));
    let offenders = outside.flat_map(|source| {
        let found = source.code_lines().filter(|(_, line)| has_word(line, "unsafe"));
        found.map(|(number, _)| format!("{}:{number}", source.name)).collect::<Vec<_>>()
    });
    report(offenders);
}

#[test]
fn the_engine_has_no_clock_thread_or_socket() {
    let offenders = sources().filter(|source| source.name.starts_with("engine/src/")).flat_map(|source| {
        let before_tests = source.text.split("#[cfg(test)]").next().unwrap_or_default().to_owned();
        NOT_IN_ENGINE
            .iter()
            .filter(|word| code_lines(&before_tests).any(|(_, line)| line.contains(*word)))
            .map(|word| format!("{}: {word}", source.name))
            .collect::<Vec<_>>()
    });
    report(offenders);
}

#[test]
fn nothing_is_left_for_later() {
    // Put together here, so that this file does not find itself.
    let marks = [concat!("FIX", "ME"), concat!("TO", "DO"), concat!("dbg", "!(")];
    let offenders = sources().flat_map(|source| {
        let lines = source.text.lines().enumerate();
        let marked = lines.filter(|(_, line)| marks.iter().any(|mark| line.contains(mark)));
        marked.map(|(at, _)| format!("{}:{}", source.name, at + 1)).collect::<Vec<_>>()
    });
    report(offenders);
}

#[test]
fn files_stay_readable_in_one_sitting() {
    let offenders = sources().filter_map(|source| {
        let lines = source.text.lines().count();
        let allowed =
            LONG_FILES.iter().find(|(name, ..)| *name == source.name).map_or(FILE_LINES_MAX, |long| long.1);
        (lines > allowed).then(|| format!("{}: {lines} lines, {allowed} allowed", source.name))
    });
    report(offenders);
}

#[test]
fn functions_stay_short() {
    let offenders = sources().flat_map(|source| {
        functions(&source.text)
            .filter_map(|(name, lines)| {
                let long = LONG_FUNCTIONS
                    .iter()
                    .find(|(file, function, ..)| *file == source.name && *function == name);
                let allowed = long.map_or(FUNCTION_LINES_MAX, |long| long.2);
                (lines > allowed).then(|| format!("{}: fn {name} has {lines} lines", source.name))
            })
            .collect::<Vec<_>>()
    });
    report(offenders);
}

#[test]
fn names_keep_to_the_vocabulary() {
    let offenders = sources().flat_map(|source| {
        let file =
            Path::new(&source.name).file_stem().and_then(|stem| stem.to_str()).unwrap_or_default().to_owned();
        let mut names = vec![file];
        for (_, line) in source.code_lines() {
            names.extend(declared_name(line).map(str::to_lowercase));
        }
        let offending =
            names.into_iter().filter(|name| FORBIDDEN_NAMES.iter().any(|word| name.contains(word)));
        offending.map(|name| format!("{}: {name}", source.name)).collect::<Vec<_>>()
    });
    report(offenders);
}

#[test]
fn every_module_is_reachable() {
    let names: Vec<String> = sources().map(|source| source.name).collect();
    let offenders = sources().filter_map(|source| {
        let path = Path::new(&source.name);
        let stem = path.file_stem()?.to_str()?;
        let directory = path.parent()?;
        let module = if stem == "mod" { directory.file_name()?.to_str()? } else { stem };
        let is_root = ["main", "lib", "build"].contains(&stem) || is_target(&source.name);
        (!is_root && !is_declared(module, directory, stem == "mod", &names)).then_some(source.name.clone())
    });
    report(offenders);
}

#[test]
fn the_readme_is_short() {
    let readme = fs::read_to_string(root().join("README.md")).expect("there is a README");
    assert!(readme.lines().count() < README_LINES_MAX, "README.md has {} lines", readme.lines().count());
}

/// Goal: the pages of the protocol and of clients keep naming tests that exist. A test is named there as `file::function`.
#[test]
fn the_protocol_page_names_real_tests() {
    let pages = ["docs/protocol.md", "docs/clients.md"].map(|name| fs::read_to_string(root().join(name)));
    let page = pages.map(|page| page.expect("there is such a page")).join("\n");
    let declared: Vec<String> = sources().map(|source| source.text).collect();
    let quoted = page.split('`').skip(1).step_by(2);
    let named: Vec<&str> = quoted
        .filter_map(|code| code.rsplit_once("::"))
        .map(|(_, name)| name)
        .filter(|name| !name.is_empty())
        .collect();
    assert!(named.len() > 90, "only {} tests are named", named.len());
    let is_missing = |name: &&&str| !declared.iter().any(|text| text.contains(&format!("fn {name}(")));
    report(named.iter().filter(is_missing).map(|name| format!("docs: {name}")));
}

#[test]
fn exceptions_are_still_needed() {
    for (name, allowed, reason) in LONG_FILES {
        let lines = fs::read_to_string(root().join(name)).expect("a listed file exists").lines().count();
        assert!(
            lines > FILE_LINES_MAX && lines + 50 > allowed,
            "lower or remove {name} ({reason}): {lines} lines"
        );
    }
    for (file, function, allowed, reason) in LONG_FUNCTIONS {
        let text = fs::read_to_string(root().join(file)).expect("a listed file exists");
        let lines = functions(&text).find(|(name, _)| name == function).map_or(0, |(_, lines)| lines);
        let needed = lines > FUNCTION_LINES_MAX && lines + 20 > allowed;
        assert!(needed, "lower or remove {file} {function} ({reason}): {lines} lines");
    }
}

struct Source {
    /// Path from the root of the repository.
    name: String,
    text: String,
}

impl Source {
    /// Lines with their numbers, without comments and string contents.
    fn code_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        code_lines(&self.text)
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("net/ lies in the root").to_owned()
}

fn sources() -> impl Iterator<Item = Source> {
    let mut names = Vec::new();
    for folder in ["engine", "net", "bench", "tests"] {
        collect(&root().join(folder), &mut names);
    }
    assert!(names.len() > 20, "the sources are not where they should be");
    names.into_iter().map(|path| {
        let text = fs::read_to_string(&path).expect("a source is text");
        let name =
            path.strip_prefix(root()).expect("it lies below the root").to_str().expect("names are plain");
        Source { name: name.to_owned(), text }
    })
}

fn collect(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).expect("a folder of the workspace") {
        let path = entry.expect("it can be read").path();
        let is_build_output = path.file_name().is_some_and(|name| name == "target" || name == "corpus");
        if path.is_dir() && !is_build_output {
            collect(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

fn code_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let numbered = text.lines().enumerate().map(|(at, line)| (at + 1, line));
    numbered.filter(|(_, line)| !line.trim_start().starts_with("//")).map(|(number, line)| {
        let code = line.split(" //").next().unwrap_or(line);
        (number, code.split('"').next().unwrap_or(code))
    })
}

fn has_word(line: &str, word: &str) -> bool {
    line.split(|letter: char| !letter.is_alphanumeric() && letter != '_').any(|part| part == word)
}

/// The module or type that a line declares.
fn declared_name(line: &str) -> Option<&str> {
    let mut words =
        line.split(|letter: char| !letter.is_alphanumeric() && letter != '_').filter(|word| !word.is_empty());
    words.find(|word| ["mod", "struct", "enum", "trait", "type"].contains(word))?;
    words.next()
}

/// Functions of a formatted file with their number of lines: rustfmt ends each with a `}` at the indentation of
/// its first line.
fn functions(text: &str) -> impl Iterator<Item = (String, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    (0..lines.len())
        .filter_map(move |first| {
            let line = lines[first];
            let name = function_name(line)?;
            let indentation = &line[..line.len() - line.trim_start().len()];
            let end = format!("{indentation}}}");
            let last = (first + 1..lines.len())
                .find(|at| lines[*at] == end || lines[*at - 1].ends_with(';') && lines[*at].is_empty())?;
            Some((name.to_owned(), last - first + 1))
        })
        .collect::<Vec<_>>()
        .into_iter()
}

fn function_name(line: &str) -> Option<&str> {
    let code = line.trim_start();
    if code.starts_with("//") || !has_word(code, "fn") || code.ends_with(';') {
        return None;
    }
    let (before, after) = code.split_once("fn ")?;
    let is_declaration = before.split_whitespace().all(|word| {
        word.starts_with("pub")
            || ["const", "unsafe", "async", "extern", "\"C\"", "in", "crate)"].contains(&word)
    });
    let name = after.split(|letter: char| !letter.is_alphanumeric() && letter != '_').next()?;
    (is_declaration && !name.is_empty() && !code.ends_with('}')).then_some(name)
}

/// Whether the file is named by a manifest as the root of a target.
fn is_target(name: &str) -> bool {
    let parts = ["net/Cargo.toml", "engine/Cargo.toml", "bench/Cargo.toml", "tests/fuzz/Cargo.toml"];
    let file = Path::new(name).file_name().and_then(|file| file.to_str()).unwrap_or_default();
    let is_found_by_cargo = ["/benches/", "/tests/", "/examples/", "/bin/"]
        .iter()
        .any(|folder| name.split_once(folder).is_some_and(|(_, rest)| !rest.contains('/')));
    let is_named = parts.iter().any(|manifest| {
        let text = fs::read_to_string(root().join(manifest)).unwrap_or_default();
        text.lines().any(|line| {
            line.starts_with("path = ") && line.trim_end_matches('"').ends_with(&format!("/{file}"))
        })
    });
    is_found_by_cargo || is_named
}

/// Whether a file around declares `module`: the parent's `mod.rs`, `lib.rs`, `main.rs`, or the file of its name.
fn is_declared(module: &str, directory: &Path, is_folder: bool, names: &[String]) -> bool {
    let parent = if is_folder { directory.parent().unwrap_or(directory) } else { directory };
    let beside = parent.with_extension("rs");
    names.iter().filter(|name| Path::new(name).parent() == Some(parent) || Path::new(name) == beside).any(
        |name| {
            let text = fs::read_to_string(root().join(name)).unwrap_or_default();
            text.lines().any(|line| {
                let code = line.trim_start();
                !code.starts_with("//")
                    && code.ends_with(';')
                    && has_word(code, "mod")
                    && has_word(code, module)
            })
        },
    )
}

fn report(offenders: impl Iterator<Item = String>) {
    let offenders: Vec<String> = offenders.collect();
    assert!(offenders.is_empty(), "{} places:\n{}", offenders.len(), offenders.join("\n"));
}
