//! A start costs what an earlier process left unfinished and not what is stored: counted in what is asked of the kernel
//! about the store, with hardly any files in it and with very many.
#![allow(clippy::unwrap_used)]

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use heapline_upload::store::FileId;
use rustix::process::{Pid, Signal, kill_process};

/// Stored files, unless `HEAPLINE_STORED_FILES` says otherwise (`make soak`: a million).
const STORED_FILES: u64 = 100_000;

#[test]
fn a_start_asks_nothing_about_what_is_stored() {
    let files = std::env::var("HEAPLINE_STORED_FILES").ok().and_then(|text| text.parse().ok()).unwrap_or(STORED_FILES);
    let (few, many) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let Some(first) = calls_of_a_start(few.path()) else { return skipped("strace is not to be had") };
    assert!(first > 10, "{first} calls");
    calls_of_a_start(many.path());
    for n in 0..files {
        let name = FileId::from_parts(n, [7; 10]).to_string();
        File::create(many.path().join("files").join(name)).unwrap();
    }
    // The second start of each, so that directories are there in both.
    let (without, with) = (calls_of_a_start(few.path()).unwrap(), calls_of_a_start(many.path()).unwrap());
    println!("{without} calls without stored files, {with} with {files}");
    assert_eq!(without, with, "calls without and with {files} stored files");
    // And in proportion to what is unfinished.
    for n in 0..50 {
        File::create(many.path().join("spool").join(FileId::from_parts(n, [9; 10]).to_string())).unwrap();
    }
    let unfinished = calls_of_a_start(many.path()).unwrap();
    assert!(
        (with + 50..=with + 200).contains(&unfinished),
        "{unfinished} calls for 50 left in the spool, {with} for none"
    );
}

/// How many calls of the kernel a start makes that speak of the store, until the server listens.
fn calls_of_a_start(store: &Path) -> Option<usize> {
    let outside = tempfile::tempdir().unwrap();
    let trace = outside.path().join("trace");
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-y", "-e", "trace=%file,%desc", "-o"]).arg(&trace);
    command.arg(env!("CARGO_BIN_EXE_heapline-upload")).arg("--store").arg(store);
    command.args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
    command.env("HEAPLINE_TOKEN", "t").env("HEAPLINE_STATE", outside.path().join("state")).env("PPROF", "false");
    let mut strace = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().ok()?;
    let mut line = String::new();
    BufReader::new(strace.stdout.take().unwrap()).read_line(&mut line).unwrap();
    if !line.contains(" on http://") {
        // It may not trace here.
        strace.wait().unwrap();
        return None;
    }
    let id = strace.id();
    let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap();
    for child in children.split_whitespace() {
        kill_process(Pid::from_raw(child.parse().unwrap()).unwrap(), Signal::KILL).unwrap();
    }
    strace.wait().unwrap();
    let trace = std::fs::read_to_string(&trace).unwrap();
    let store = store.to_str().unwrap();
    // The announcement names it too; it is no call about it.
    let calls = trace.lines().filter(|line| line.contains(store) && !line.contains("write(1"));
    // A call that another thread's stands in the middle of takes two lines.
    Some(calls.filter(|line| !line.contains(" resumed>")).count())
}

fn skipped(why: &str) {
    let line = format!("SKIPPED start::a_start_asks_nothing_about_what_is_stored: {why}\n");
    eprint!("{line}");
    if let Some(list) = std::env::var_os("HEAPLINE_SKIPPED") {
        File::options().create(true).append(true).open(list).unwrap().write_all(line.as_bytes()).unwrap();
    }
}
