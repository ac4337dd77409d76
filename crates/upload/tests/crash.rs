//! A crash can fall between any two writes of a commit. Each state that one can leave is made here, file by file, and
//! recovered: a form that was acknowledged, or whose record is whole, is visible whole with each event exactly once; a
//! form whose record is not whole has left no trace; recovering twice changes nothing more.
//!
//! The states follow from the order of a commit: record appended (any prefix of its bytes) → files renamed (any number
//! of them) → lines of `events.jsonl` (any prefix) → cursor. Real kills are in the end-to-end tests.
#![allow(clippy::unwrap_used)]

mod store_form;

use std::fs;
use std::path::{Path, PathBuf};

use heapline_upload::store::{Durability, FileId, Opened, Options, open};
use rustix::fs::XattrFlags;
use store_form::{commit, content, events, names, options};

const XATTR: &str = "user.heapline";

/// A store with two acknowledged forms, then taken back to how it was before the second one's renames.
struct Scene {
    dir: tempfile::TempDir,
    acknowledged: Vec<FileId>,
    last: Vec<FileId>,
    /// The journal before and after the last form.
    journal: (u64, u64),
    log: (u64, u64),
    cursors: [Vec<u8>; 2],
}

/// Without syncs: they are what makes these states the only ones, and nothing here cuts the power.
fn opened(dir: &Path) -> Opened {
    open(Options { durability: Durability::None, ..options(dir) }).unwrap()
}

fn segment(dir: &Path) -> PathBuf {
    dir.join("outbox/00000000000000000000.log")
}

fn bytes(path: PathBuf) -> u64 {
    fs::metadata(path).unwrap().len()
}

impl Scene {
    fn new(files: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = opened(dir.path());
        let acknowledged = commit(&store, &["first", "of two"]).unwrap();
        let sizes = || (bytes(segment(dir.path())), bytes(dir.path().join("events.jsonl")));
        let cursor = || fs::read(dir.path().join("outbox/cursor")).unwrap();
        let (before, cursor_before) = (sizes(), cursor());
        let last = commit(&store, files).unwrap();
        let (after, cursor_after) = (sizes(), cursor());
        store.outbox.shutdown();
        let (journal, log) = ((before.0, after.0), (before.1, after.1));
        Self { dir, acknowledged, last, journal, log, cursors: [cursor_before, cursor_after] }
    }

    /// A copy of the store with the last form's first `renamed` files renamed and the others in the spool.
    fn copy(&self, renamed: usize) -> tempfile::TempDir {
        let copy = tempfile::tempdir().unwrap();
        for name in ["files", "spool", "outbox"] {
            fs::create_dir(copy.path().join(name)).unwrap();
            for file in names(&self.dir.path().join(name)) {
                copy_file(&self.dir.path().join(name).join(&file), &copy.path().join(name).join(&file));
            }
        }
        copy_file(&self.dir.path().join("events.jsonl"), &copy.path().join("events.jsonl"));
        for id in &self.last[renamed..] {
            let name = id.to_string();
            fs::rename(copy.path().join("files").join(&name), copy.path().join("spool").join(&name)).unwrap();
        }
        copy
    }

    /// Recovers twice: the first time finishes, the second changes nothing.
    fn check(&self, dir: &Path, last_is_committed: bool, state: &str) {
        for _ in 0..2 {
            let store = opened(dir);
            let shown: Vec<bool> = self.last.iter().map(|id| content(&store.store, id).is_some()).collect();
            assert!(shown.iter().all(|&shown| shown == last_is_committed), "{state}: {shown:?}");
            assert!(self.acknowledged.iter().all(|id| content(&store.store, id).is_some()), "{state}");
            let expected = self.acknowledged.iter().chain(self.last.iter().filter(|_| last_is_committed));
            let expected = expected.map(|id| (id.to_string(), 1)).collect();
            assert_eq!(events(dir), expected, "{state}");
            assert_eq!(names(&dir.join("spool")), [""; 0], "{state}");
            assert_eq!(store.outbox.pending_events(), 0, "{state}");
            let id = commit(&store, &["one more"]).unwrap()[0];
            assert_eq!(events(dir)[&id.to_string()], 1, "{state}");
            assert!(store.store.delete(&id).unwrap());
            store.outbox.shutdown();
            forget_event(dir, &id);
        }
    }
}

fn copy_file(from: &Path, to: &Path) {
    fs::copy(from, to).unwrap();
    let mut value = [0; 4096];
    if let Ok(bytes) = rustix::fs::getxattr(from, XATTR, &mut value[..]) {
        rustix::fs::setxattr(to, XATTR, &value[..bytes], XattrFlags::empty()).unwrap();
    }
}

fn truncate(path: PathBuf, bytes: u64) {
    fs::OpenOptions::new().write(true).open(path).unwrap().set_len(bytes).unwrap();
}

/// Takes the probe's line out again, so that the second recovery is compared with the same expectation.
fn forget_event(dir: &Path, id: &FileId) {
    let path = dir.join("events.jsonl");
    let text = fs::read_to_string(&path).unwrap();
    let kept: String = text.split_inclusive('\n').filter(|line| !line.contains(&id.to_string())).collect();
    fs::write(path, kept).unwrap();
}

#[test]
fn every_prefix_of_the_record() {
    let scene = Scene::new(&["a", "b", "c"]);
    let (before, after) = scene.journal;
    for bytes in before..=after {
        let copy = scene.copy(0);
        truncate(segment(copy.path()), bytes);
        truncate(copy.path().join("events.jsonl"), scene.log.0);
        fs::write(copy.path().join("outbox/cursor"), &scene.cursors[0]).unwrap();
        scene.check(copy.path(), bytes == after, &format!("journal cut at {bytes} of {before}..{after}"));
    }
}

#[test]
fn every_number_of_renames() {
    let scene = Scene::new(&["a", "b", "c", "d"]);
    for renamed in 0..=scene.last.len() {
        let copy = scene.copy(renamed);
        truncate(copy.path().join("events.jsonl"), scene.log.0);
        fs::write(copy.path().join("outbox/cursor"), &scene.cursors[0]).unwrap();
        scene.check(copy.path(), true, &format!("{renamed} renames"));
    }
}

#[test]
fn every_prefix_of_the_lines_with_each_cursor_that_can_be_there() {
    let scene = Scene::new(&["a", "b"]);
    let none = Vec::new();
    for bytes in scene.log.0..=scene.log.1 {
        // The cursor follows the lines; it may be lost, torn, or from before.
        let mut cursors = vec![&scene.cursors[0]];
        if bytes % 8 == 0 || bytes == scene.log.1 {
            cursors.push(&none);
        }
        if bytes == scene.log.1 {
            cursors.push(&scene.cursors[1]);
        }
        for cursor in cursors {
            let copy = scene.copy(scene.last.len());
            truncate(copy.path().join("events.jsonl"), bytes);
            fs::write(copy.path().join("outbox/cursor"), cursor).unwrap();
            scene.check(copy.path(), true, &format!("lines cut at {bytes} of {:?}, cursor {cursor:?}", scene.log));
        }
    }
}

#[test]
fn every_prefix_of_the_cursor_and_garbage_in_it() {
    let scene = Scene::new(&["a"]);
    let whole = &scene.cursors[1];
    let prefixes = (0..whole.len()).map(|length| whole[..length].to_vec());
    let garbage = [b"99999999999999999999 00000000\n".to_vec(), vec![0xff; 30], vec![0; 4096]];
    for cursor in prefixes.chain(garbage) {
        let copy = scene.copy(1);
        fs::write(copy.path().join("outbox/cursor"), &cursor).unwrap();
        scene.check(copy.path(), true, &format!("cursor {cursor:?}"));
    }
}

/// `--durability none` and a power cut: the journal's end is gone, the cursor is not.
#[test]
fn a_cursor_ahead_of_the_journal() {
    let scene = Scene::new(&["a", "b"]);
    for bytes in [0, scene.journal.0] {
        let copy = scene.copy(2);
        truncate(segment(copy.path()), bytes);
        scene.check(copy.path(), true, &format!("journal cut at {bytes}"));
    }
    let copy = scene.copy(2);
    fs::remove_file(segment(copy.path())).unwrap();
    scene.check(copy.path(), true, "journal gone");
}

#[test]
fn a_crash_in_the_middle_of_a_delete_or_a_sweep() {
    let scene = Scene::new(&["a"]);
    let copy = scene.copy(1);
    let (spool, files) = (copy.path().join("spool"), copy.path().join("files"));
    let gone = FileId::from_parts(1, [1; 10]);
    fs::write(spool.join(format!("{gone}.deleted")), "half deleted").unwrap();
    fs::write(files.join(format!(".{gone}.json")), "{}").unwrap();
    fs::write(spool.join(FileId::from_parts(2, [2; 10]).to_string()), "in flight").unwrap();
    fs::write(spool.join(format!(".{}.json", FileId::from_parts(2, [2; 10]))), "{}").unwrap();
    scene.check(copy.path(), true, "half deleted");
    assert_eq!(names(&files).len(), 3, "the orphaned sidecar is gone");
}

#[test]
fn a_file_deleted_after_its_commit_does_not_come_back() {
    let scene = Scene::new(&["a"]);
    let copy = scene.copy(1);
    fs::remove_file(copy.path().join("files").join(scene.last[0].to_string())).unwrap();
    fs::write(copy.path().join("outbox/cursor"), &scene.cursors[0]).unwrap();
    let store = opened(copy.path());
    assert_eq!(content(&store.store, &scene.last[0]), None);
    assert_eq!(events(copy.path()).len(), 3, "its event is still told");
}
