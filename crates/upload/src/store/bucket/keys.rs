//! Where things are in the bucket, below the prefix.
//!
//! ```text
//! files/<xx>/<id>              a stored file          outbox/<server>/<first id>.json   a form's commit record
//! servers/<server>             a sign of life         events/<first id>.jsonl           events, where there is no Kafka
//! ```
//!
//! `xx` is the id's random end: ids begin with the time, and a store that splits its keys by their beginnings would have
//! all writes in one place.

use object_store::path::Path;

use crate::store::FileId;

/// 1,024 places.
const SHARD_CHARS: usize = 2;

#[derive(Debug, Clone)]
pub(super) struct Keys {
    prefix: Path,
}

impl Keys {
    pub(super) fn new(prefix: &str) -> Self {
        Self { prefix: Path::from(prefix) }
    }

    pub(super) fn file(&self, id: &FileId) -> Path {
        let name = id.to_string();
        let shard = name[name.len() - SHARD_CHARS..].to_owned();
        self.files().join(shard).join(name)
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
