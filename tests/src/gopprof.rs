//! Go's own pprof, `go tool pprof`.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::part::{self, Missing};
use crate::process::{self, LaunchError, Process};
use crate::{http, port};

/// The first call may build the tool.
const SERVE_LIMIT: Duration = Duration::from_secs(60);

/// The program `go`, and a directory in which its pprof keeps what it fetches.
#[derive(Debug)]
pub struct GoPprof {
    go: PathBuf,
    saved: TempDir,
}

/// One line of `-top`.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Bytes allocated by this frame itself, and with what it calls.
    pub flat_bytes: f64,
    pub cumulative_bytes: f64,
    pub function: String,
}

impl GoPprof {
    pub fn find() -> Result<Self, Missing> {
        // Beside the usual place: a login shell's PATH may lack it.
        let usual = PathBuf::from("/usr/local/go/bin/go");
        let go = part::program("go").or_else(|missing| if usual.is_file() { Ok(usual) } else { Err(missing) })?;
        let saved = TempDir::with_prefix("heapline-pprof-");
        let saved = saved.map_err(|error| Missing { part: "go tool pprof".to_owned(), why: error.to_string() })?;
        Ok(Self { go, saved })
    }

    /// The rows of `-top` with further options, the first the largest.
    pub fn top(&self, options: &[&str], url: &str) -> io::Result<Vec<Row>> {
        let text = self.run(&[&["-top", "-unit=B"], options].concat(), url)?;
        Ok(text.lines().filter_map(row).collect())
    }

    /// The report that `options` ask for, as text. The first call may build the tool, which takes some 15 seconds.
    pub fn run(&self, options: &[&str], url: &str) -> io::Result<String> {
        let mut command = Command::new(&self.go);
        command.args(["tool", "pprof"]).args(options).arg(url).env("PPROF_TMPDIR", self.saved.path());
        let output = command.output()?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        Err(io::Error::other(format!("go tool pprof {url}: {}", String::from_utf8_lossy(&output.stderr))))
    }

    /// Its web pages for a profile, on a free port.
    pub fn serve(&self, profile: &Path) -> Result<(Process, SocketAddr), LaunchError> {
        process::retried(|| {
            let preparing = |source| LaunchError::Prepare { name: "go tool pprof".to_owned(), source };
            let address = port::free().map_err(preparing)?;
            let mut command = Command::new(&self.go);
            command.args(["tool", "pprof", "-no_browser", &format!("-http={address}")]).arg(profile);
            command.env("PPROF_TMPDIR", self.saved.path());
            let mut process = Process::spawn("go tool pprof -http", command, &self.saved.path().join("log"))?;
            process.wait_ready(SERVE_LIMIT, |_| http::get(address, "/ui/").is_ok())?;
            Ok((process, address))
        })
    }

    /// What google/pprof's own library says of files and of their merger, a line each: see e2e/pprofcheck.
    ///
    /// # Errors
    ///
    /// `Missing` where the library cannot be had; a file that is not valid.
    pub fn check(&self, files: &[&Path]) -> Result<io::Result<String>, Missing> {
        let missing = |why: String| Missing { part: "google/pprof's library".to_owned(), why };
        let checker = self.saved.path().join("pprofcheck");
        let source = part::repository().join("tests/e2e/pprofcheck");
        let built = Command::new(&self.go).args(["build", "-o"]).arg(&checker).arg(".").current_dir(source).output();
        let built = built.map_err(|error| missing(error.to_string()))?;
        if !built.status.success() {
            return Err(missing(String::from_utf8_lossy(&built.stderr).trim().to_owned()));
        }
        Ok(Command::new(&checker).args(files).output().and_then(|output| match output.status.success() {
            true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
            false => Err(io::Error::other(String::from_utf8_lossy(&output.stderr).into_owned())),
        }))
    }
}

/// `  524288B 50.00% 50.00%  524288B 50.00%  leaky::form::remember (inline)`
fn row(line: &str) -> Option<Row> {
    let mut rest = line;
    let mut columns = [""; 5];
    for column in &mut columns {
        rest = rest.trim_start();
        let end = rest.find(' ')?;
        (*column, rest) = rest.split_at(end);
    }
    let bytes = |text: &str| text.strip_suffix('B').unwrap_or(text).parse().ok();
    let percent = |text: &str| text.ends_with('%');
    let [flat, flat_share, sum, cumulative, cumulative_share] = columns;
    if !(percent(flat_share) && percent(sum) && percent(cumulative_share)) {
        return None;
    }
    Some(Row {
        flat_bytes: bytes(flat)?,
        cumulative_bytes: bytes(cumulative)?,
        function: rest.trim().trim_end_matches(" (inline)").to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_top_are_read_and_other_lines_are_not() {
        let read = row("    524288B 50.00% 50.00%   1048576B   100%  leaky::form::remember (inline)");
        let expected =
            Row { flat_bytes: 524_288.0, cumulative_bytes: 1_048_576.0, function: "leaky::form::remember".to_owned() };
        assert_eq!(read, Some(expected));
        let generic =
            row("0     0% 50.00%   1048576B   100%  <leaky::App as core::ops::Fn>::call").map(|row| row.function);
        assert_eq!(generic.as_deref(), Some("<leaky::App as core::ops::Fn>::call"));
        for other in [
            "Type: inuse_space",
            "Showing nodes accounting for 5B, 99% of 6B total",
            "      flat  flat%   sum%        cum   cum%",
            "",
        ] {
            assert_eq!(row(other), None, "{other}");
        }
    }
}
