//! The store from outside: what a commit shows, what a failure leaves, who may hold it.
#![allow(clippy::unwrap_used)]

mod store_form;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use heapline_upload::store::{CommitError, FileId, OpenError, open};
use rustix::fs::XattrFlags;
use serde_json::{Value, json};
use store_form::{STORED_UNIX_MS, block_on, commit, content, events, eventually, meta, names, opened, options, seal};

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn a_committed_form_is_visible_whole_with_metadata_and_events() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("new/store");
    let store = opened(&dir);
    let ids = commit(&store, &["a", "größe"]).unwrap();
    for (id, name) in ids.iter().zip(["a", "größe"]) {
        assert_eq!(content(&store.store, id), Some((name.to_owned(), meta(name, name.as_bytes()))));
        assert_eq!(fs::read_to_string(dir.join(format!("files/{id}"))).unwrap(), name);
        assert_eq!(mode(&dir.join(format!("files/{id}"))), 0o600);
    }
    assert_eq!(names(&dir), ["events.jsonl", "files", "outbox", "spool"]);
    assert_eq!(names(&dir.join("spool")), [""; 0]);
    assert_eq!(names(&dir.join("files")).len(), 2);
    for path in [&dir, &dir.join("files"), &dir.join("spool"), &dir.join("outbox")] {
        assert_eq!(mode(path), 0o700, "{}", path.display());
    }
    assert_eq!(mode(&dir.join("events.jsonl")), 0o600);

    let lines = fs::read_to_string(dir.join("events.jsonl")).unwrap();
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2);
    let id = ids[1].to_string();
    assert_eq!(
        lines[1]["data"],
        json!({"id": id, "field": "file", "filename": "größe", "bytes": 7, "sha256": "ab".repeat(32),
               "url": format!("/files/{id}"), "time": "2023-11-14T22:13:20.123Z", "status": "stored"})
    );
    assert_eq!(store.outbox.pending_events(), 0);
}

#[test]
fn what_is_not_committed_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    let store = opened(dir.path());
    drop(store.store.create().unwrap());
    drop(seal(&store.store, "a", b"a"));
    assert_eq!(names(&dir.path().join("spool")), [""; 0]);
    // On a runtime the removal is handed to a blocking thread.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    let sealed = seal(&store.store, "a", b"a");
    runtime.block_on(async { drop(sealed) });
    eventually("the spool is empty", || names(&dir.path().join("spool")).is_empty());
    assert!(events(dir.path()).is_empty());
}

#[test]
fn deleted_files_stay_deleted_and_open_ones_can_be_read_on() {
    let dir = tempfile::tempdir().unwrap();
    let store = opened(dir.path());
    let id = commit(&store, &["a"]).unwrap()[0];
    let (file, _) = store.store.open(&id).unwrap().unwrap();
    assert!(store.store.delete(&id).unwrap());
    assert!(!store.store.delete(&id).unwrap());
    assert_eq!(content(&store.store, &id), None);
    assert_eq!(std::io::read_to_string(file).unwrap(), "a");
    store.outbox.shutdown();
    drop((store.store, store.committer));
    let store = opened(dir.path());
    assert_eq!(content(&store.store, &id), None);
    assert_eq!(events(dir.path()).len(), 1, "it was stored, and the event said so");
}

#[test]
fn one_process_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let first = opened(dir.path());
    let second = open(options(dir.path())).unwrap_err();
    assert!(matches!(second, OpenError::InUse { .. }));
    assert_eq!(second.to_string(), format!("store {} is in use by another process", dir.path().display()));
    first.outbox.shutdown();
    drop((first.store, first.committer));
    open(options(dir.path())).unwrap();
}

#[test]
fn a_file_that_lost_its_metadata_is_still_served() {
    let dir = tempfile::tempdir().unwrap();
    let store = opened(dir.path());
    let id = commit(&store, &["a"]).unwrap()[0];
    let path = dir.path().join(format!("files/{id}"));
    let _ = rustix::fs::removexattr(&path, "user.heapline");
    let _ = fs::remove_file(dir.path().join(format!("files/.{id}.json")));
    let (text, meta) = content(&store.store, &id).unwrap();
    assert_eq!((text.as_str(), meta.filename, meta.sha256, meta.bytes), ("a", id.to_string(), None, 1));

    // Bytes that somebody appended are not what the digest was of.
    let id = commit(&store, &["b"]).unwrap()[0];
    fs::write(dir.path().join(format!("files/{id}")), "bbb").unwrap();
    let (_, meta) = content(&store.store, &id).unwrap();
    assert_eq!((meta.filename.as_str(), meta.sha256, meta.bytes), ("b", None, 3));
    // Nor is metadata that is not ours.
    let path = dir.path().join(format!("files/{id}"));
    let _ = rustix::fs::setxattr(&path, "user.heapline", b"{not json", XattrFlags::empty());
    assert_eq!(content(&store.store, &id).unwrap().1.bytes, 3);
}

#[test]
fn metadata_too_long_for_an_attribute_goes_to_a_sidecar_that_lives_and_dies_with_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let store = opened(dir.path());
    let spool = store.store.create().unwrap();
    let mut long = meta("a", b"");
    long.field = Some("\"".repeat(16_000));
    let sealed = spool.seal(long.clone()).unwrap();
    let id = *sealed.id();
    block_on(store.committer.commit(vec![sealed])).unwrap();
    assert_eq!(content(&store.store, &id).unwrap().1, long);
    assert_eq!(names(&dir.path().join("files")), [format!(".{id}.json"), id.to_string()]);
    assert!(store.store.delete(&id).unwrap());
    assert_eq!(names(&dir.path().join("files")), [""; 0]);
    assert_eq!(names(&dir.path().join("spool")), [""; 0]);
}

#[test]
fn a_caller_that_goes_away_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = opened(dir.path());
    let files = ["a", "b"].map(|name| seal(&store.store, name, name.as_bytes()));
    let ids = [*files[0].id(), *files[1].id()];
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let mut commit = std::pin::pin!(store.committer.commit(files.into()));
        // Polled once, so that the form is handed over, then dropped.
        let first = std::future::poll_fn(|context| std::task::Poll::Ready(commit.as_mut().poll(context))).await;
        assert!(first.is_pending());
    });
    eventually("both are visible", || ids.iter().all(|id| content(&store.store, id).is_some()));
    eventually("both have events", || events(dir.path()).len() == 2);
}

#[test]
fn forms_committed_at_once_are_all_there_once() {
    const FORMS: usize = 300;
    let dir = tempfile::tempdir().unwrap();
    let store = opened(dir.path());
    let sealed: Vec<_> = (0..FORMS).map(|n| seal(&store.store, &n.to_string(), b"x")).collect();
    let ids: Vec<FileId> = sealed.iter().map(|file| *file.id()).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    let commits: Vec<_> = sealed
        .into_iter()
        .map(|file| {
            let committer = store.committer.clone();
            runtime.spawn(async move { committer.commit(vec![file]).await })
        })
        .collect();
    for commit in commits {
        runtime.block_on(commit).unwrap().unwrap();
    }
    let events = events(dir.path());
    assert!(ids.iter().all(|id| content(&store.store, id).is_some() && events[&id.to_string()] == 1));
    assert_eq!((events.len(), names(&dir.path().join("spool")).len()), (FORMS, 0));
}

#[test]
fn an_error_before_the_commit_point_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = opened(dir.path());
    let segment = dir.path().join("outbox/00000000000000000000.log");
    fs::create_dir(&segment).unwrap();
    let error = commit(&store, &["a", "b"]).unwrap_err();
    assert!(matches!(error, CommitError::Io { .. }), "{error}");
    assert!(names(&dir.path().join("spool")).is_empty() && names(&dir.path().join("files")).is_empty());
    assert!(store.outbox.health().is_good());
    fs::remove_dir(segment).unwrap();
    let ids = commit(&store, &["a", "b"]).unwrap();
    assert_eq!(events(dir.path()).len(), ids.len());
}

/// A form that is committed but cannot be made visible is answered as failed, finished as soon as it can be, and holds
/// up those behind it meanwhile, so that one batch at most is ever half-way.
#[test]
fn an_error_behind_the_commit_point_is_told_and_healed() {
    let dir = tempfile::tempdir().unwrap();
    let store = opened(dir.path());
    let (first, second) = (seal(&store.store, "a", b"a"), seal(&store.store, "b", b"b"));
    let (first_id, second_id) = (*first.id(), *second.id());
    let in_the_way = dir.path().join(format!("files/{second_id}"));
    fs::create_dir(&in_the_way).unwrap();
    block_on(store.committer.commit(vec![first, second])).unwrap_err();
    assert!(!store.outbox.health().is_good());
    commit(&store, &["c"]).unwrap_err();
    assert_eq!(events(dir.path()).len(), 0);
    fs::remove_dir(in_the_way).unwrap();
    eventually("healthy again", || store.outbox.health().is_good());
    assert_eq!(content(&store.store, &first_id).unwrap().0, "a");
    assert_eq!(content(&store.store, &second_id).unwrap().0, "b");
    assert_eq!(events(dir.path()).into_values().collect::<Vec<_>>(), [1, 1]);
    commit(&store, &["c"]).unwrap();
}

/// The store was removed, or swept by somebody, under a running process: no 201 for a file that is not there.
#[test]
fn a_form_whose_spool_file_was_taken_away_is_not_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let store = opened(dir.path());
    let files = ["a", "b"].map(|name| seal(&store.store, name, name.as_bytes()));
    fs::remove_file(dir.path().join(format!("spool/{}", files[1].id()))).unwrap();
    block_on(store.committer.commit(files.into())).unwrap_err();
    assert!(store.outbox.health().is_good());
    commit(&store, &["c"]).unwrap();
    let late = seal(&store.store, "late", b"late");
    fs::remove_dir_all(dir.path()).unwrap();
    block_on(store.committer.commit(vec![late])).unwrap_err();
    assert!(store.store.create().is_err());
}

#[test]
fn an_event_log_that_cannot_be_opened_undoes_forms_and_leaves_no_doubles() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("events.jsonl");
    let store = opened(dir.path());
    fs::create_dir(&log).unwrap();
    commit(&store, &["a", "b"]).unwrap_err();
    commit(&store, &["c"]).unwrap_err();
    fs::remove_dir(&log).unwrap();
    eventually("healthy again", || store.outbox.health().is_good());
    let id = commit(&store, &["d"]).unwrap()[0].to_string();
    let events = events(dir.path());
    assert_eq!((events.len(), events[&id]), (1, 1), "the others were refused before their commit point");
    assert_eq!(names(&dir.path().join("files")), [id]);
    assert!(events.values().all(|&times| times == 1));
}

#[test]
fn shutdown_finishes_refuses_and_sweeps() {
    let dir = tempfile::tempdir().unwrap();
    let store = opened(dir.path());
    let cut_off = store.store.create().unwrap();
    let late = seal(&store.store, "late", b"late");
    assert_eq!(store.outbox.flush(std::time::Duration::ZERO), 0);
    store.outbox.shutdown();
    assert_eq!(names(&dir.path().join("spool")), [""; 0]);
    block_on(store.committer.commit(vec![late])).unwrap_err();
    drop(cut_off);
    assert_eq!(names(&dir.path().join("files")), [""; 0]);
}

#[test]
fn ids_do_not_collide_and_times_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(opened(dir.path()));
    let ids: std::collections::HashSet<FileId> = (0..1_000).map(|_| *store.store.create().unwrap().id()).collect();
    assert_eq!(ids.len(), 1_000);
    let id = commit(&store, &["a"]).unwrap()[0];
    assert_eq!(content(&store.store, &id).unwrap().1.stored_unix_ms, STORED_UNIX_MS);
}
