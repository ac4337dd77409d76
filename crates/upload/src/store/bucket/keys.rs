//! Where things are in the bucket, below the prefix.
//!
//! ```text
//! files/<id>                   a stored file          outbox/<server>/<first id>.json   a form's commit record
//! servers/<server>             a sign of life         events/<first id>.jsonl           events, where there is no Kafka
//! ```

use object_store::path::Path;

use crate::store::FileId;

#[derive(Debug, Clone)]
pub(super) struct Keys {
    prefix: Path,
}

impl Keys {
    pub(super) fn new(prefix: &str) -> Self {
        Self { prefix: Path::from(prefix) }
    }

    pub(super) fn file(&self, id: &FileId) -> Path {
        self.files().join(id.to_string())
    }

    pub(super) fn files(&self) -> Path {
        self.below("files")
    }

    pub(super) fn server(&self, server: &FileId) -> Path {
        self.servers().join(server.to_string())
    }

    pub(super) fn servers(&self) -> Path {
        self.below("servers")
    }

    pub(super) fn outbox(&self) -> Path {
        self.below("outbox")
    }

    pub(super) fn outbox_of(&self, server: &FileId) -> Path {
        self.outbox().join(server.to_string())
    }

    pub(super) fn record(&self, server: &FileId, first: &FileId) -> Path {
        self.outbox_of(server).join(format!("{first}.json"))
    }

    pub(super) fn events(&self, first: &FileId) -> Path {
        self.below("events").join(format!("{first}.jsonl"))
    }

    fn below(&self, name: &'static str) -> Path {
        self.prefix.clone().join(name)
    }
}

/// The id in a key's last component, whatever follows it after a dot.
pub(super) fn id_of(path: &Path) -> Option<FileId> {
    FileId::parse(path.filename()?.split('.').next()?)
}
