//! The outbox: a journal of any bytes is read to its end, damage costs no record that stands whole, and a server starts on
//! whatever is in the directory, tells each event that it owes, and is done with it.
#![no_main]

use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::{env, fs, process};

use heapline_upload::fuzzing;
use heapline_upload::store::{self, Durability, FileId, Options};
use libfuzzer_sys::fuzz_target;

/// Pieces of one directory; a start costs a thread.
const PIECES_MAX: usize = 24;

static STORE: LazyLock<PathBuf> = LazyLock::new(|| env::temp_dir().join(format!("heapline-outbox-{}", process::id())));

fuzz_target!(|input: &[u8]| {
    let _ = fuzzing::read_journal(input);
    damaged_journal(input);
    whole_directory(input);
});

/// A journal of ours, damaged by the input somewhere: at least the records that end before it and those that begin behind
/// it are there.
fn damaged_journal(input: &[u8]) {
    let Some((&[position, length, ..], damage)) = input.split_first_chunk::<4>() else { return };
    let mut journal = Vec::new();
    let ends: Vec<usize> = (0..6)
        .map(|seq| {
            fuzzing::append_record(&mut journal, seq, usize::from(length) % 3 + 1);
            journal.len()
        })
        .collect();
    let at = usize::from(position) * journal.len() / 256;
    let damage = &damage[..damage.len().min(journal.len() - at)];
    journal[at..at + damage.len()].copy_from_slice(damage);
    let read = fuzzing::read_journal(&journal);
    let mut begin = 0;
    for end in ends {
        let untouched = end <= at || begin >= at + damage.len();
        assert!(!untouched || read.contains(&(begin, end)), "{begin}..{end} is lost: {read:?}, damaged from {at}");
        begin = end;
    }
}

/// Segments, records, rubbish, torn ends and a cursor, as the input has them, started on as a server does.
fn whole_directory(input: &[u8]) {
    let outbox = STORE.join("outbox");
    let _ = fs::remove_dir_all(&*STORE);
    fs::create_dir_all(&outbox).expect("a directory for the store");
    let owed = write_outbox(&outbox, input);
    let told = start();
    for id in owed {
        assert!(told.contains(&id.to_string()), "{id} is owed and was not told");
    }
    assert_eq!(start(), told, "a second start tells nothing twice");
    assert!(fs::read_dir(&outbox).expect("it is there").count() > 0);
}

/// Writes the directory; the files whose events the next start owes.
fn write_outbox(outbox: &Path, input: &[u8]) -> Vec<FileId> {
    let (mut rest, mut seq, mut delivered) = (input, 0_u64, 0_u64);
    let (mut name, mut segment) = (seq, Vec::new());
    let mut owed = Vec::new();
    for _ in 0..PIECES_MAX {
        let Some((&[what, much], behind)) = rest.split_first_chunk::<2>() else { break };
        rest = behind;
        let much = usize::from(much);
        match what % 8 {
            0..=2 => {
                let files = much % 4 + 1;
                fuzzing::append_record(&mut segment, seq, files);
                owed.extend((0..files).map(|n| (seq + n as u64, fuzzing::file_id(seq, n))));
                seq += files as u64;
            }
            3 => {
                let (rubbish, behind) = rest.split_at(much.min(rest.len()));
                segment.extend_from_slice(rubbish);
                rest = behind;
            }
            4 => {
                let mut torn = Vec::new();
                fuzzing::append_record(&mut torn, seq, much % 3 + 1);
                segment.extend_from_slice(&torn[..torn.len() * much / 256]);
            }
            5 => {
                // A segment is named by its first event, and no two are.
                if seq > name {
                    write_segment(outbox, name, &std::mem::take(&mut segment));
                    name = seq;
                }
            }
            6 => seq += much as u64,
            _ => {
                let whole = much % 2 == 0;
                let text = fuzzing::cursor(seq);
                delivered = if whole { seq } else { 0 };
                let bytes = if whole { text.as_bytes() } else { &text.as_bytes()[..much % text.len()] };
                fs::write(outbox.join("cursor"), bytes).expect("a cursor");
            }
        }
    }
    write_segment(outbox, name, &segment);
    owed.into_iter().filter(|(seq, _)| *seq >= delivered).map(|(_, id)| id).collect()
}

fn write_segment(outbox: &Path, first_seq: u64, bytes: &[u8]) {
    fs::write(outbox.join(format!("{first_seq:020}.log")), bytes).expect("a segment");
}

/// Starts on the directory and ends again; all that was told so far.
fn start() -> String {
    let options = Options { dir: STORE.clone(), durability: Durability::None, kafka: None };
    let opened = store::open(options).expect("a server starts whatever its outbox holds");
    drop((opened.store, opened.committer));
    opened.outbox.shutdown();
    fs::read_to_string(STORE.join("events.jsonl")).unwrap_or_default()
}
