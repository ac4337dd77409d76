//! Forms as the HTTP side hands them to the store, and what the store then shows.
#![allow(clippy::unwrap_used, dead_code)]

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use heapline_upload::store::{CommitError, Durability, FileId, FileMeta, Opened, Options, Sealed, Store, open};
use serde_json::Value;

pub(crate) const STORED_UNIX_MS: u64 = 1_700_000_000_123;

pub(crate) fn options(dir: &Path) -> Options {
    Options { dir: dir.to_owned(), durability: Durability::Fsync, kafka: None }
}

pub(crate) fn opened(dir: &Path) -> Opened {
    open(options(dir)).unwrap()
}

pub(crate) fn meta(filename: &str, content: &[u8]) -> FileMeta {
    FileMeta {
        field: Some("file".into()),
        filename: filename.into(),
        bytes: content.len() as u64,
        sha256: Some([0xab; 32]),
        content_type: Some("text/plain".into()),
        stored_unix_ms: STORED_UNIX_MS,
    }
}

pub(crate) fn seal(store: &Store, filename: &str, content: &[u8]) -> Sealed {
    let spool = store.create().unwrap();
    spool.file().write_all(content).unwrap();
    spool.seal(meta(filename, content)).unwrap()
}

/// Commits one form of files `name`, content as the name.
pub(crate) fn commit(opened: &Opened, names: &[&str]) -> Result<Vec<FileId>, CommitError> {
    let files: Vec<Sealed> = names.iter().map(|name| seal(&opened.store, name, name.as_bytes())).collect();
    let ids = files.iter().map(|file| *file.id()).collect();
    block_on(opened.committer.commit(files)).map(|()| ids)
}

pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

pub(crate) fn content(store: &Store, id: &FileId) -> Option<(String, FileMeta)> {
    let (mut file, meta) = store.open(id).unwrap()?;
    let mut text = String::new();
    file.read_to_string(&mut text).unwrap();
    Some((text, meta))
}

/// How often each event stands in `events.jsonl`, every line being whole.
pub(crate) fn events(dir: &Path) -> BTreeMap<String, usize> {
    let mut ids = BTreeMap::new();
    let text = std::fs::read_to_string(dir.join("events.jsonl")).unwrap_or_default();
    assert!(text.is_empty() || text.ends_with('\n'));
    for line in text.lines() {
        let event: Value = serde_json::from_str(line).unwrap();
        assert_eq!(event["id"], event["data"]["id"]);
        *ids.entry(event["id"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    ids
}

pub(crate) fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).unwrap();
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

pub(crate) fn eventually(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !condition() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::park_timeout(Duration::from_millis(10));
    }
}
