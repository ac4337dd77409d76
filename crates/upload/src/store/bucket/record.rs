//! The commit record of a form: an object that says which uploads make the form, and how to finish them.

use serde::{Deserialize, Serialize};

use crate::event::Event;
use crate::outbox::StoredFile;

/// A file whose bytes are in the bucket and not visible yet: a multipart upload that waits to be completed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Staged {
    #[serde(flatten)]
    pub(super) file: StoredFile,
    pub(super) upload: String,
    pub(super) parts: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FormRecord {
    pub(super) files: Vec<Staged>,
}

impl FormRecord {
    pub(super) fn stored(&self) -> Vec<StoredFile> {
        self.files.iter().map(|staged| staged.file.clone()).collect()
    }

    /// The form's events, a line each.
    pub(super) fn event_lines(&self) -> serde_json::Result<Vec<u8>> {
        let mut lines = Vec::new();
        for Staged { file, .. } in &self.files {
            Event::new(&file.id, &file.meta).write_line(&mut lines)?;
        }
        Ok(lines)
    }
}
