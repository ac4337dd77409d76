//! Parts that may be absent: how each is found, and how a test says that it was skipped for want of one.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

/// A part that this machine does not have.
#[derive(Debug, thiserror::Error)]
#[error("{part} not available: {why}")]
pub struct Missing {
    pub part: String,
    pub why: String,
}

/// The part, or `None` after one line `SKIPPED <test>: …` on standard error and in the list of skipped tests.
///
/// The list is the file that `HEAPLINE_SKIPPED` names (default: `target/skipped.txt`); `make test` ends with it.
pub fn available<T>(test: &str, part: Result<T, Missing>) -> Option<T> {
    match part {
        Ok(part) => Some(part),
        Err(missing) => {
            let line = format!("SKIPPED {test}: {missing}\n");
            // Not eprint!, which the test harness keeps from view when a test passes.
            let _ = io::stderr().write_all(line.as_bytes());
            note(&line).expect("the list of skipped tests can be written");
            None
        }
    }
}

/// The path of a program in `PATH`.
pub fn program(name: &str) -> Result<PathBuf, Missing> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .map(|directory| directory.join(name))
        .find(|candidate| candidate.is_file())
        .ok_or_else(|| Missing { part: name.to_owned(), why: "not in PATH (tests/parts/install gets it)".to_owned() })
}

/// A file or directory that `tests/parts/install` makes, relative to `HEAPLINE_PARTS` (default: `target/parts`).
pub fn installed(part: &str, relative: &str) -> Result<PathBuf, Missing> {
    let parts = env::var_os("HEAPLINE_PARTS").map_or_else(|| repository().join("target/parts"), PathBuf::from);
    let path = parts.join(relative);
    if path.exists() {
        return Ok(path);
    }
    let why = format!("{} is not there (tests/parts/install makes it)", path.display());
    Err(Missing { part: part.to_owned(), why })
}

/// The root of the repository.
pub fn repository() -> &'static Path {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().unwrap_or(tests)
}

fn note(line: &str) -> io::Result<()> {
    let path = env::var_os("HEAPLINE_SKIPPED").map_or_else(|| repository().join("target/skipped.txt"), PathBuf::from);
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    OpenOptions::new().create(true).append(true).open(path)?.write_all(line.as_bytes())
}
