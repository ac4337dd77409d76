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

    /// What an `Idempotency-Key` stands for, by its digest in hexadecimal.
    pub(super) fn claim(&self, digest: &str) -> Path {
        let shard = digest.get(..SHARD_CHARS).unwrap_or_default().to_owned();
        self.claims().join(shard).join(format!("{digest}.json"))
    }

    /// One of 256 places of claims.
    pub(super) fn claim_shard(&self, shard: u64) -> Path {
        self.claims().join(format!("{shard:02x}"))
    }

    /// An object that is there once somebody asked whether the store keeps to conditions.
    pub(super) fn condition_probe(&self) -> Path {
        self.claims().join("probe")
    }

    fn claims(&self) -> Path {
        self.below("keys")
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
