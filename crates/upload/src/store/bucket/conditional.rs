//! Small objects that are written on a condition, so that of several servers one is first.

use bytes::Bytes;
use object_store::path::Path;
use object_store::{Error, ObjectStore, PutMode, PutOptions, PutResult, UpdateVersion};

use super::Bucket;
use super::failure::{Kind, kind};
use crate::store::StoreError;

const DOING: &str = "write to the object store on a condition";

/// An object as it was read.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) content: Bytes,
    pub(super) version: UpdateVersion,
}

/// What became of a conditional write.
#[derive(Debug)]
pub(super) enum Put {
    Written(UpdateVersion),
    /// The condition does not hold; what is there, if anything is.
    Other(Option<Found>),
}

impl Bucket {
    /// Writes an object that must not exist, or with a version must still be at it.
    pub(super) async fn put_if(
        &self,
        key: &Path,
        content: Vec<u8>,
        version: Option<UpdateVersion>,
    ) -> Result<Put, StoreError> {
        let content = Bytes::from(content);
        let mode = version.map_or(PutMode::Create, PutMode::Update);
        match self.put_mode(key, content.clone(), mode).await {
            Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => {}
            written => return Ok(Put::Written(version_of(self.heard(DOING, written)?))),
        }
        // The answer to a write that arrived may have been lost, and the write tried again.
        Ok(match self.read_version(key).await? {
            Some(found) if found.content == content => Put::Written(found.version),
            found => Put::Other(found),
        })
    }

    /// Writes an object whatever is there.
    pub(super) async fn put_over(&self, key: &Path, content: Vec<u8>) -> Result<UpdateVersion, StoreError> {
        let written = self.put_mode(key, content.into(), PutMode::Overwrite).await;
        self.heard("write to the object store", written).map(version_of)
    }

    pub(super) async fn read_version(&self, key: &Path) -> Result<Option<Found>, StoreError> {
        const DOING: &str = "read from the object store";
        let Some(found) = self.optional(DOING, self.s3.get_opts(key, Default::default()).await)? else {
            return Ok(None);
        };
        let version = UpdateVersion { e_tag: found.meta.e_tag.clone(), version: found.meta.version.clone() };
        Ok(Some(Found { content: self.heard(DOING, found.bytes().await)?, version }))
    }

    /// Whether the store keeps to conditions: asked of an object that is there from then on.
    pub(super) async fn keeps_conditions(&self) -> Result<bool, StoreError> {
        let key = self.keys.condition_probe();
        for _ in 0..2 {
            match self.put_mode(&key, Bytes::from_static(b"{}\n"), PutMode::Create).await {
                Ok(_) => {}
                Err(Error::AlreadyExists { .. }) => return Ok(true),
                Err(error) if kind(&error) != Kind::Away || error.to_string().contains("NotImplemented") => {
                    return Ok(false);
                }
                Err(error) => return self.heard(DOING, Err(error)),
            }
        }
        Ok(false)
    }

    async fn put_mode(&self, key: &Path, content: Bytes, mode: PutMode) -> object_store::Result<PutResult> {
        self.s3.put_opts(key, content.into(), PutOptions::from(mode)).await
    }
}

fn version_of(result: PutResult) -> UpdateVersion {
    UpdateVersion { e_tag: result.e_tag, version: result.version }
}
