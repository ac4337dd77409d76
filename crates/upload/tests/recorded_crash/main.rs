//! What a running server really asks of the kernel, recorded; then every moment of the recording at which the power
//! could have gone, each with what was not synced kept, dropped, torn, and kept in parts; recovery on each; and the
//! promises checked: what was answered with 201 is there whole with its event, what was answered with 204 is gone, forms
//! are whole or not there, nothing torn is visible, nothing is left in `spool/`.
//!
//! `crash.rs` makes the states by hand that a commit can leave; here nobody decides what those are. Only a disk that
//! lies about its syncs is excepted.
#![allow(clippy::unwrap_used)]

mod disk;
mod recording;
mod scenario;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;

use disk::{Disk, Keep};
use heapline_upload::store::{Durability, FileId, Options, open};
use recording::Step;
use sha2::{Digest, Sha256};

/// States with what is kept chosen at random, for each moment.
const RANDOM_STATES: u64 = 4;

#[test]
fn every_moment_at_which_the_power_could_go() {
    let Some(recording) = scenario::recorded() else { return skipped("strace is not to be had") };
    let uploads = recording.answers().filter(|answer| !answer.files.is_empty()).count();
    assert!(uploads >= scenario::UPLOADS, "{uploads} uploads were answered");
    let forms: Vec<Vec<String>> =
        recording.answers().map(|answer| answer.files.iter().map(|(id, _)| id.clone()).collect()).collect();
    let (mut disk, mut promises, mut states) = (Disk::default(), Promises::default(), 0);
    for (moment, step) in recording.steps.iter().enumerate() {
        promises.heed(step);
        let changed = disk.apply(step);
        if !changed && !matches!(step.what, recording::What::Answer(_)) {
            continue;
        }
        let random = (0..RANDOM_STATES).map(|n| Keep::Random(moment as u64 * RANDOM_STATES + n));
        for keep in [Keep::Everything, Keep::Synced, Keep::Names].into_iter().chain(random) {
            let directory = tempfile::tempdir().unwrap();
            disk.write(directory.path(), keep);
            promises.check(directory.path(), &forms, &format!("after step {moment}, {step:?}, {keep:?}"));
            states += 1;
        }
    }
    println!("{} steps, {states} states", recording.steps.len());
    assert!(states > 500, "{states} states");
}

/// What was answered so far.
#[derive(Default)]
struct Promises {
    stored: BTreeMap<String, String>,
    /// Asked to be deleted: from the first step on it may be gone, from the answer on it must.
    doomed: BTreeSet<String>,
    deleted: BTreeSet<String>,
}

impl Promises {
    fn heed(&mut self, step: &Step) {
        match &step.what {
            recording::What::Answer(answer) => {
                self.stored.extend(answer.files.iter().cloned());
                if answer.status == 204 {
                    self.deleted.extend(self.doomed.iter().cloned());
                }
            }
            recording::What::Rename { from, to } if to.ends_with(".deleted") => {
                self.doomed.extend(from.strip_prefix("files/").map(str::to_owned));
            }
            _ => {}
        }
    }

    fn check(&self, dir: &Path, forms: &[Vec<String>], state: &str) {
        let options = Options { dir: dir.to_owned(), durability: Durability::None, kafka: None };
        let store = open(options).unwrap_or_else(|error| panic!("{state}: {error:?}"));
        let names = |of: &str| -> BTreeSet<String> {
            let entries = std::fs::read_dir(dir.join(of)).unwrap();
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
        };
        assert!(names("spool").is_empty(), "{state}: {:?}", names("spool"));
        let visible: BTreeSet<String> = names("files").into_iter().filter(|name| !name.starts_with('.')).collect();
        let events = events(dir, state);
        for id in &visible {
            let (mut file, meta) = store.store.open(&FileId::parse(id).unwrap()).unwrap().unwrap();
            let mut content = Vec::new();
            file.read_to_end(&mut content).unwrap();
            let sha256: [u8; 32] = Sha256::digest(&content).into();
            assert_eq!(meta.sha256, Some(sha256), "{state}: {id} is torn, {} bytes", content.len());
            assert!(events.contains(id), "{state}: {id} is visible and has no event");
        }
        for (id, sha256) in self.stored.iter().filter(|(id, _)| !self.doomed.contains(*id)) {
            assert!(visible.contains(id), "{state}: {id} was acknowledged and is gone");
            let (_, meta) = store.store.open(&FileId::parse(id).unwrap()).unwrap().unwrap();
            let hex: String = meta.sha256.unwrap().iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(&hex, sha256, "{state}: {id} is another");
        }
        assert!(self.deleted.is_disjoint(&visible), "{state}: a deleted file is back");
        for form in forms {
            let there = form.iter().filter(|id| visible.contains(*id)).count();
            let whole = there == 0 || there == form.len() || form.iter().any(|id| self.doomed.contains(id));
            assert!(whole, "{state}: {there} of {} files of a form", form.len());
        }
        store.outbox.shutdown();
    }
}

fn events(dir: &Path, state: &str) -> BTreeSet<String> {
    let text = std::fs::read_to_string(dir.join("events.jsonl")).unwrap_or_default();
    assert!(text.is_empty() || text.ends_with('\n'), "{state}: a torn line");
    let id = |line: &str| {
        let event: serde_json::Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{state}: {error}"));
        event["id"].as_str().unwrap().to_owned()
    };
    text.lines().map(id).collect()
}

fn skipped(why: &str) {
    let line = format!("SKIPPED recorded_crash::every_moment_at_which_the_power_could_go: {why}\n");
    eprint!("{line}");
    if let Some(list) = std::env::var_os("HEAPLINE_SKIPPED") {
        File::options().create(true).append(true).open(list).unwrap().write_all(line.as_bytes()).unwrap();
    }
}
