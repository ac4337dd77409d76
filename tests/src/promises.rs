//! What a server acknowledged, and whether it keeps it: whatever happened in between, each file is there whole with its
//! event, nothing torn is visible, and nothing is left of what came to nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fs;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::digest::sha256_hex;
use crate::service::Service;
use crate::{deadline, exposition, http, process};

type Outcome = Result<(), Box<dyn Error>>;

/// `RSS ≤ base + budget + connections × small`, as docs/operations.md has it for the default budget.
const BASE_BYTES: u64 = 32 << 20;
const BUDGET_BYTES: u64 = 64 << 20;
const CONNECTION_BYTES: u64 = 32 << 10;

/// How long a server may take to tidy up behind uploads that failed.
const TIDY_LIMIT: Duration = Duration::from_secs(20);
/// How long a server is watched for work that nobody asked it for, and what the agent's own work may take of that.
const QUIET: Duration = Duration::from_secs(1);
const QUIET_PROCESSOR_SHARE_MAX: f64 = 0.3;

/// Acknowledged files by id, with the SHA-256 of what was sent.
#[derive(Debug, Default)]
pub struct Promises(Mutex<BTreeMap<String, String>>);

impl Promises {
    /// Takes a note of a 201's files, whose contents were `contents`; any other answer promises nothing.
    pub fn note<'a>(&self, answer: &http::Response, contents: impl IntoIterator<Item = &'a [u8]>) -> bool {
        let (201, Ok(body)) = (answer.status, answer.json()) else { return false };
        let mut noted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (file, content) in body["files"].as_array().into_iter().flatten().zip(contents) {
            noted.insert(file["id"].as_str().unwrap_or_default().to_owned(), sha256_hex(content));
        }
        true
    }

    /// Uploads a file and takes note; the status of the answer.
    pub fn put(&self, service: &Service, content: &[u8]) -> Result<u16, Box<dyn Error>> {
        let answer = service.put("file.bin", content)?;
        self.note(&answer, [content]);
        Ok(answer.status)
    }

    /// The file was deleted, or was on a disk that is gone.
    pub fn forget(&self, id: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
    }

    pub fn forget_all(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    pub fn ids(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }

    pub fn len(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Every file is there, its event is in `events.jsonl`, and nothing else is visible that is not whole.
    pub fn check(&self, service: &Service) -> Outcome {
        let events = events(&fs::read_to_string(service.store().join("events.jsonl")).unwrap_or_default())?;
        self.check_files(service, |id| events.contains(id))
    }

    /// The same, with events that are elsewhere.
    pub fn check_files(&self, service: &Service, has_event: impl Fn(&str) -> bool) -> Outcome {
        let noted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (id, sha256) in &*noted {
            assert!(has_event(id), "{id} was acknowledged and has no event");
            let answer = service.ask("GET", &format!("/files/{id}"), &[])?;
            assert_eq!(answer.status, 200, "{id} was acknowledged and is gone");
            assert_eq!(&sha256_hex(&answer.body), sha256, "{id} came back different");
        }
        for entry in fs::read_dir(service.store().join("files"))? {
            let id = entry?.file_name().to_string_lossy().into_owned();
            if id.starts_with('.') || noted.contains_key(&id) {
                continue;
            }
            let answer = service.ask("GET", &format!("/files/{id}"), &[])?;
            assert_eq!(answer.status, 200, "{id} is in the store and not to be had");
            let tag = answer.header("etag").unwrap_or_default().trim_matches('"').to_owned();
            assert!(tag.contains(&sha256_hex(&answer.body)), "{id} is torn: {tag}");
            assert!(has_event(&id), "{id} is visible and has no event");
        }
        Ok(())
    }
}

/// The server has come to rest: nothing in `spool/`, nothing in the ledger, its memory within the bound that is
/// published for so many connections at once, and no processor time used for nothing.
pub fn assert_at_rest(service: &Service, connections: u64) -> Outcome {
    deadline::eventually("the spool is empty and the memory given back", TIDY_LIMIT, || {
        let spool = fs::read_dir(service.store().join("spool")).map_or(0, Iterator::count);
        let metrics = http::get(service.admin(), "/metrics").ok()?.text();
        let taken = ["upload_ledger_bytes", "upload_in_flight"].map(|name| exposition::value(&metrics, name));
        (spool == 0 && taken == [Some(0.0), Some(0.0)]).then_some(())
    });
    let (id, bound) = (service.id()?, BASE_BYTES + BUDGET_BYTES + connections * CONNECTION_BYTES);
    let peak = process::peak_resident_bytes(id)?;
    assert!(peak <= bound, "peak RSS {peak}, bound {bound}");
    assert_not_spinning(id)
}

/// Little processor time in a quiet second.
pub fn assert_not_spinning(id: u32) -> Outcome {
    let (start, before) = (Instant::now(), process::processor_time(id)?);
    deadline::pace(start + QUIET, || false);
    let used = process::processor_time(id)?.saturating_sub(before);
    let share = used.as_secs_f64() / start.elapsed().as_secs_f64();
    assert!(share <= QUIET_PROCESSOR_SHARE_MAX, "{used:?} of processor time with nothing to do");
    Ok(())
}

/// The ids in `events.jsonl`, every line being whole.
pub fn events(lines: &str) -> Result<BTreeSet<String>, Box<dyn Error>> {
    let mut ids = BTreeSet::new();
    for line in lines.lines() {
        let event: Value = serde_json::from_str(line).map_err(|error| format!("{error}: {line}"))?;
        ids.insert(event["data"]["id"].as_str().ok_or("an event without id")?.to_owned());
    }
    Ok(ids)
}

/// Bytes that are another file's for each seed.
pub fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    std::iter::repeat_with(next).flatten().take(bytes).collect()
}
