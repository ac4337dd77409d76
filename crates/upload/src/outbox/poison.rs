//! `outbox/poison.jsonl`: events that Kafka will never take, kept for a person to look at.

use std::fs::File;
use std::io::{self, Write};

use rustix::fs::{Mode, OFlags};
use serde::Serialize;
use serde_json::Value;

use super::window::Message;
use crate::store::{Directory, FileId};

const POISON_NAME: &str = "poison.jsonl";
/// Beyond it an event is counted and logged only.
const POISON_BYTES_MAX: u64 = 16 * 1024 * 1024;

#[derive(Serialize)]
struct Line<'a> {
    id: FileId,
    time: &'a str,
    reason: &'a str,
    data: Value,
}

/// Sets a message aside, durably.
pub(crate) fn set_aside(directory: &Directory, message: &Message, reason: &str) -> io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::APPEND | OFlags::CLOEXEC;
    let mode = Mode::RUSR | Mode::WUSR;
    let mut file = File::from(rustix::fs::openat(directory.outbox(), POISON_NAME, flags, mode)?);
    let data = serde_json::from_slice(&message.value)?;
    let mut line = serde_json::to_vec(&Line { id: message.id, time: &message.time, reason, data })?;
    line.push(b'\n');
    if file.metadata()?.len() + line.len() as u64 > POISON_BYTES_MAX {
        return Err(io::Error::other("poison.jsonl is full"));
    }
    file.write_all(&line)?;
    directory.sync_data(&file)
}
