//! Forms as the story's framework parsed them: parts up to a threshold in memory, larger ones in temporary files.

use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};

use axum::extract::Multipart;
use axum::extract::multipart::MultipartError;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;

/// Nobody called RemoveAll: the first leak.
static NEVER_REMOVED: Mutex<Vec<Form>> = Mutex::new(Vec::new());

/// Why a form could not be taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FormError {
    #[error("the form is malformed")]
    Malformed(#[from] MultipartError),
    #[error("a part could not be written to its temporary file")]
    Spool(#[from] io::Error),
}

pub(crate) struct Form {
    parts: Vec<Part>,
}

struct Part {
    filename: String,
    size_bytes: usize,
    sha256: String,
    content: Content,
}

enum Content {
    Memory(Kept),
    File(NamedTempFile),
}

/// A part as it came, piece by piece: each takes what it is long and no more.
#[derive(Default)]
struct Kept {
    pieces: Vec<Box<[u8]>>,
    size_bytes: usize,
}

impl Form {
    pub(crate) fn describe(&self) -> Value {
        let describe =
            |part: &Part| json!({ "filename": part.filename, "bytes": part.size_bytes, "sha256": part.sha256 });
        self.parts.iter().map(describe).collect()
    }
}

/// Reads a whole form.
pub(crate) async fn parse(mut multipart: Multipart, threshold_bytes: usize) -> Result<Form, FormError> {
    let mut parts = Vec::new();
    while let Some(mut field) = multipart.next_field().await? {
        let filename = field.file_name().unwrap_or_default().to_owned();
        let mut content = Content::Memory(Kept::default());
        let (mut size_bytes, mut hash) = (0, Sha256::new());
        while let Some(chunk) = field.chunk().await? {
            size_bytes += chunk.len();
            hash.update(&chunk);
            content = tokio::task::block_in_place(|| content.with(&chunk, threshold_bytes))?;
        }
        let sha256 = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        parts.push(Part { filename, size_bytes, sha256, content });
    }
    Ok(Form { parts })
}

/// What the story's handler did with a parsed form: it went out of the handler's sight, and stayed. What is in
/// temporary files goes.
pub(crate) fn keep(mut form: Form) {
    form.parts.retain(|part| matches!(part.content, Content::Memory(_)));
    if !form.parts.is_empty() {
        NEVER_REMOVED.lock().unwrap_or_else(PoisonError::into_inner).push(form);
    }
}

impl Content {
    fn with(self, chunk: &[u8], threshold_bytes: usize) -> io::Result<Self> {
        match self {
            Self::Memory(mut memory) if memory.size_bytes + chunk.len() <= threshold_bytes => {
                remember(&mut memory, chunk);
                Ok(Self::Memory(memory))
            }
            Self::Memory(memory) => {
                let mut file = NamedTempFile::new()?;
                for piece in &memory.pieces {
                    file.write_all(piece)?;
                }
                file.write_all(chunk)?;
                Ok(Self::File(file))
            }
            Self::File(mut file) => {
                file.write_all(chunk)?;
                Ok(Self::File(file))
            }
        }
    }
}

/// Where the bytes of the first leak are allocated. Not inlined: a profile should name it.
#[inline(never)]
fn remember(memory: &mut Kept, chunk: &[u8]) {
    memory.size_bytes += chunk.len();
    memory.pieces.push(chunk.into());
}
