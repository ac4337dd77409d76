//! Records of processes that are gone, in directories of their own. A record's lock ends with its file's last close.

use super::super::run::{Pulse, RunFile};
use super::*;

const BOOT: &str = "this boot";

fn run(token: &str, started: f64) -> Run {
    Run {
        version: run::VERSION,
        token: token.to_owned(),
        started_unix_seconds: started,
        boot_id: BOOT.to_owned(),
        ..Run::default()
    }
}

fn look(directory: &Path, counted: Counted) -> Found {
    adopt_here(directory, "0", &Here { boot_id: BOOT, oom: &|_| counted }).expect("looks")
}

fn left(directory: &Path, run: Run) {
    drop(RunFile::create(directory, run).expect("written"));
}

fn totals(journal: &Journal) -> [u64; 4] {
    super::super::ENDS.map(|end| journal.totals.of(end))
}

#[test]
fn each_process_is_counted_once() {
    let directory = tempfile::tempdir().expect("a directory");
    let directory = directory.path();
    left(directory, run("a1", 10.0));
    left(directory, Run { has_ended: true, ..run("a2", 20.0) });
    let first = look(directory, Counted::Killed).journal;
    assert_eq!(totals(&first), [1, 1, 0, 0]);
    let order: Vec<_> = first.ended.iter().map(|ended| (ended.run.token.as_str(), ended.end)).collect();
    assert_eq!(order, [("a2", End::Clean), ("a1", End::Oom)]);
    assert_eq!(look(directory, Counted::Killed).journal, first);
    // A record that was to be removed when the power went.
    left(directory, run("a1", 10.0));
    assert_eq!(look(directory, Counted::NotKilled).journal, first);
    left(directory, run("a3", 30.0));
    assert_eq!(totals(&look(directory, Counted::NotKilled).journal), [1, 1, 1, 0]);
}

#[test]
fn how_processes_end() {
    let near = Pulse { rss_bytes: 96, limit_bytes: 100, limit_source: "cgroup".to_owned(), ..Pulse::default() };
    let level = oom_kills::Level { file: "/g/memory.events".into(), inode: 1, kills: 0 };
    let counting = || Run { oom_kills: vec![level.clone()], ..run("1", 0.0) };
    let at_limit = || Run { pulse: near.clone(), ..counting() };
    let earlier_boot = Run { boot_id: "another".to_owned(), ..at_limit() };
    for (run, counted, expected) in [
        (Run { has_ended: true, ..at_limit() }, Counted::Killed, End::Clean),
        (counting(), Counted::Killed, End::Oom),
        (counting(), Counted::NotKilled, End::Signal),
        (counting(), Counted::Unknown, End::Unknown),
        (at_limit(), Counted::Unknown, End::Oom),
        (at_limit(), Counted::NotKilled, End::Signal),
        (earlier_boot, Counted::Killed, End::Unknown),
        (run("1", 0.0), Counted::Unknown, End::Signal),
    ] {
        let here = Here { boot_id: BOOT, oom: &|_| counted };
        assert_eq!(end_of(&run, &here), expected, "{counted:?} {run:?}");
    }
}

#[test]
fn the_journal_is_bounded_and_its_totals_are_not() {
    let directory = tempfile::tempdir().expect("a directory");
    for process in 0..ENDED_MAX as u32 + 5 {
        left(directory.path(), run(&format!("{process:x}f"), f64::from(process)));
    }
    let journal = look(directory.path(), Counted::NotKilled).journal;
    assert_eq!((journal.ended.len(), journal.totals.of(End::Signal)), (ENDED_MAX, ENDED_MAX as u64 + 5));
    assert_eq!(journal.ended[0].run.started_unix_seconds, ENDED_MAX as f64 + 4.0);
}

#[test]
fn damage_is_passed_over() {
    let directory = tempfile::tempdir().expect("a directory");
    let directory = directory.path();
    left(directory, run("b1", 1.0));
    fs::write(directory.join("run-b2.json"), "{\"version\":1,").expect("written");
    fs::write(directory.join("run-b3.json"), []).expect("written");
    fs::create_dir(directory.join("run-b4.json")).expect("made");
    fs::write(directory.join(JOURNAL), "no JSON").expect("written");
    let found = look(directory, Counted::NotKilled);
    assert_eq!(totals(&found.journal), [0, 0, 1, 0]);
    assert!(!directory.join("run-b2.json").exists() && !directory.join("run-b3.json").exists());
    // Another process's record cannot bring its own name into it.
    fs::copy(directory.join(JOURNAL), directory.join("run-b5.json")).expect("copied");
    assert_eq!(totals(&look(directory, Counted::NotKilled).journal), [0, 0, 1, 0]);
}
