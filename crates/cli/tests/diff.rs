//! `heapline diff` as it is run.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

fn heapline(arguments: &[&str], files: &[&Path]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_heapline")).args(arguments).args(files).output().expect("runs")
}

/// jemalloc's text: one site holds so many MiB, another holds one.
fn dump(directory: &TempDir, name: &str, mib: usize) -> PathBuf {
    let path = directory.path().join(name);
    let (objects, bytes) = (mib * 64, mib << 20);
    let text = format!(
        "heap_v2/524288\n  t*: 9: 9 [0: 0]\n@ 0x1001 0x2001\n  t*: {objects}: {bytes} [0: 0]\n@ 0x3001 0x2001\n  \
         t*: 64: 1048576 [0: 0]\n\nMAPPED_LIBRARIES:\n1000-4000 r-xp 0 00:00 1 /srv/shop\n"
    );
    fs::write(&path, text).expect("written");
    path
}

#[test]
fn what_grew_is_told_as_json_and_as_text() {
    let directory = TempDir::new().expect("a directory");
    let files = [dump(&directory, "before", 1), dump(&directory, "after", 9)];
    let files = [files[0].as_path(), files[1].as_path()];
    let json = heapline(&["diff"], &files);
    assert!(json.status.success(), "{}", String::from_utf8_lossy(&json.stderr));
    let report: serde_json::Value = serde_json::from_slice(&json.stdout).expect("JSON");
    assert_eq!((&report["state"], &report["culprits"][0]["rank"]), (&"ok".into(), &1.into()), "{report:#}");
    assert_eq!(report["culprits"][0]["function"], "0x1000");
    let text = heapline(&["diff", "--format", "text"], &files);
    let text = String::from_utf8(text.stdout).expect("UTF-8");
    assert!(text.contains("1. 0x1000 (/srv/shop)\n"), "{text}");
    let same = heapline(&["diff"], &[files[0], files[0]]);
    let report: serde_json::Value = serde_json::from_slice(&same.stdout).expect("JSON");
    assert_eq!((&report["state"], &report["culprits"]), (&"flat".into(), &serde_json::json!([])), "{report:#}");
}

#[test]
fn what_is_wrong_is_said_in_one_line() {
    let directory = TempDir::new().expect("a directory");
    let good = dump(&directory, "good", 1);
    let bad = directory.path().join("bad");
    fs::write(&bad, "not a profile").expect("written");
    let missing = directory.path().join("missing");
    for (files, code, words) in [
        (&[&*good, &*bad][..], 65, "bad: it is neither"),
        (&[&*missing, &*good], 64, "missing: No such file"),
        (&[&*good], 64, "<AFTER>"),
    ] {
        let output = heapline(&["diff"], files);
        let error = String::from_utf8(output.stderr).expect("UTF-8");
        assert_eq!(output.status.code(), Some(code), "{error}");
        assert!(error.lines().count() == 1 && error.contains(words), "{error}");
        assert!(output.stdout.is_empty());
    }
}
