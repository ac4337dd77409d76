//! Runs the small program of the test of symbols, and reads what its agent says.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use flate2::read::GzDecoder;
use heapline_tests::http;

/// What one run showed.
#[derive(Debug)]
pub(crate) struct Run {
    /// Frames of each stack, the innermost first: function (empty where nobody knows) and place.
    stacks: Vec<Vec<(String, String)>>,
    /// Of `/doctor`.
    pub(crate) problems: Vec<String>,
    /// Runs of printable characters in the binary profile: its table of strings.
    pub(crate) profile_strings: Vec<String>,
    /// The symbol route names the innermost machine frame of each stack that the profile names.
    pub(crate) symbol_agrees: bool,
}

impl Run {
    /// Whether these functions follow one another somewhere in a stack, the library's frames left out.
    pub(crate) fn has(&self, functions: &[&str]) -> bool {
        self.stacks.iter().any(|stack| {
            let own: Vec<&str> =
                stack.iter().map(|(function, _)| function.as_str()).filter(|name| !is_library(name)).collect();
            own.windows(functions.len()).any(|part| part == functions)
        })
    }

    /// Whether a function has a line of a file.
    pub(crate) fn has_line(&self, function: &str, file: &str) -> bool {
        let mut frames = self.stacks.iter().flatten().filter(|(name, _)| name == function);
        frames.any(|(_, place)| place.rsplit_once(':').is_some_and(|(path, line)| path.ends_with(file) && line != "0"))
    }

    /// Whether a stack begins with a function.
    pub(crate) fn is_leaf(&self, function: &str) -> bool {
        self.stacks.iter().any(|stack| stack.first().is_some_and(|(name, _)| name == function))
    }
}

fn is_library(function: &str) -> bool {
    let path = function.trim_start_matches(['<', '&']).trim_start_matches("dyn ");
    ["core::", "alloc::", "std::"].iter().any(|library| path.starts_with(library))
}

/// Ends when it is dropped, and its input with it.
struct Host(Child);

impl Drop for Host {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(crate) fn run(program: &Path, libraries: &[&Path]) -> Run {
    let state = tempfile::tempdir().expect("a directory");
    let mut command = Command::new(program);
    command.arg(state.path()).args(libraries).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut host = Host(command.spawn().expect("starts"));
    let mut line = String::new();
    BufReader::new(host.0.stdout.take().expect("piped")).read_line(&mut line).expect("tells");
    let admin: SocketAddr = line.trim().strip_prefix("admin ").expect("its address").parse().expect("an address");
    let get = |target: &str| {
        let answer = http::get(admin, target).expect("answered");
        assert_eq!(answer.status, 200, "{target}: {}", answer.text());
        answer
    };
    let text = get("/debug/pprof/heap?debug=1").text();
    let doctor = get("/doctor?format=json").json().expect("JSON");
    let problems = doctor["problems"].as_array().expect("a list");
    let mut profile = Vec::new();
    GzDecoder::new(&*get("/debug/pprof/heap").body).read_to_end(&mut profile).expect("gzip");
    Run {
        stacks: text.split("\n\n").map(frames).filter(|stack| !stack.is_empty()).collect(),
        problems: problems.iter().filter_map(|problem| problem.as_str().map(str::to_owned)).collect(),
        profile_strings: printable(&profile),
        symbol_agrees: symbols_agree(admin, &text),
    }
}

/// Lines such as `#  0x55a3f27ac8e9  leaky::form::remember+0x29  /srv/leaky/form.rs:109`, parted by tabs, or of an
/// address alone.
fn frames(record: &str) -> Vec<(String, String)> {
    let lines = record.lines().filter_map(|line| line.strip_prefix("#\t"));
    let frame = |line: &str| {
        let mut columns = line.split('\t').skip(1);
        let function = columns.next().and_then(|column| column.rsplit_once('+')).map_or("", |(name, _)| name);
        (function.to_owned(), columns.next().unwrap_or_default().to_owned())
    };
    lines.map(frame).collect()
}

fn printable(bytes: &[u8]) -> Vec<String> {
    // A length stands before each string, as a byte that may be printable itself.
    let of_names = |text: &str| text.find("names: ").map(|at| text[at..].to_owned());
    let runs = bytes.split(|byte| !(b' '..=b'~').contains(byte)).filter_map(|run| str::from_utf8(run).ok());
    runs.filter_map(of_names).collect()
}

/// The last of the frames at an address is the function that the machine knows, and what the route answers.
fn symbols_agree(admin: SocketAddr, text: &str) -> bool {
    let mut asked = 0;
    for record in text.split("\n\n") {
        let lines: Vec<&str> = record.lines().filter_map(|line| line.strip_prefix("#\t")).collect();
        let Some(address) = lines.first().and_then(|line| line.split('\t').next()) else { continue };
        let mut at_address = lines.iter().filter(|line| line.split('\t').next() == Some(address));
        let Some(function) = at_address.next_back().and_then(|line| line.split('\t').nth(1)) else { continue };
        let (function, _) = function.rsplit_once('+').expect("an offset");
        let call = u64::from_str_radix(address.trim_start_matches("0x"), 16).expect("an address") - 1;
        let answer = http::get(admin, &format!("/debug/pprof/symbol?{call:#x}")).expect("answered").text();
        if answer != format!("num_symbols: 1\n{call:#x} {function}\n") {
            return false;
        }
        asked += 1;
    }
    asked > 3
}
