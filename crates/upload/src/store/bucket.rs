//! Files in an S3-compatible bucket, which any number of servers share.
//!
//! A file's bytes go to `spool/` on this machine first, as with a directory, so that its length and SHA-256 are known.
//! Then its form is committed:
//!
//! 1. each file becomes a multipart upload under its final key, all parts sent and **not completed**: invisible;
//! 2. one object, the form's record, lists them: **the commit point**;
//! 3. the uploads are completed: the files are visible; 4. the events are on their way; 5. the answer.
//!
//! Before the record nothing of the form is visible, and its uploads are aborted: by the request, by the next start of
//! this server, which knows them by their names in `spool/`, or as abandoned by any server after two days. Behind the
//! record any server can do the rest: this one, or, when its sign of life stops, another. The record stays until Kafka has
//! the events, so a machine that is lost takes nothing along.

mod body;
mod claims;
mod commit;
mod conditional;
mod connector;
mod failure;
mod keeper;
mod keys;
mod left;
mod reaper;
mod record;
mod server;
mod uploads;

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use object_store::aws::{AmazonS3, AmazonS3Builder, Checksum};
use object_store::client::{HttpClient, HttpConnector};
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path;
use object_store::{
    Attribute, Attributes, BackoffConfig, ClientOptions, GetOptions, ObjectStore, ObjectStoreExt, PutMultipartOptions,
    RetryConfig,
};
use tokio::runtime::Handle;
use tokio::task::spawn_blocking;

use super::{FileId, FileMeta, StoreError};
use crate::digest;
use crate::ledger::Ledger;
use crate::outbox::StoredFile;
use connector::Connector;
use failure::Kind;
use keys::Keys;
use record::Staged;

pub use body::ObjectBody;
pub(in crate::store) use claims::{Claimed, Claims, Hold, Promise};
pub(crate) use commit::BucketCommitter;
pub(super) use commit::Events;
pub use failure::BucketError;
pub(super) use keeper::{Keeper, Left};
pub(super) use left::remember as remember_left;
pub(super) use reaper::Reaper;
pub(super) use server::server_id;

/// Parts of an upload but its last: S3's smallest. As many bytes of memory are taken from the ledger for each in flight.
pub const PART_BYTES: u64 = 5 << 20;
/// S3's bound.
const PARTS_MAX: u64 = 10_000;
/// The largest file that a bucket can take here.
pub const BUCKET_FILE_BYTES_MAX: u64 = PARTS_MAX * PART_BYTES;

/// A request is tried five times, within ten seconds and the time-out of the last try.
const RETRIES_MAX: usize = 4;
const RETRY_TIME_MAX: Duration = Duration::from_secs(10);
const BACKOFF_MIN: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(2);
const BACKOFF_BASE: f64 = 3.0;
/// A write that the store refuses for a conflict is tried five times, within half a second.
const CONFLICT_TRIES_MAX: u32 = 5;
const CONFLICT_BACKOFF_MIN: Duration = Duration::from_millis(30);

/// S3 takes 2 KiB of metadata for an object; as base 64 this stays below it with the digest beside it.
const META_JSON_BYTES_MAX: usize = 1_300;
const META_NAME: &str = "heapline";
const DIGEST_NAME: &str = "repr-digest";
/// A commit record of the longest form; a longer object is none.
const RECORD_BYTES_MAX: u64 = 64 << 20;

/// Which bucket, and how to get there. Credentials come from `AWS_*` in the environment, or from the machine's role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BucketOptions {
    pub name: String,
    pub prefix: String,
    /// `None`: AWS.
    pub endpoint: Option<String>,
    pub region: String,
    /// `endpoint/bucket/key` rather than `bucket.endpoint/key`.
    pub path_style: bool,
}

impl BucketOptions {
    fn endpoint(&self) -> String {
        self.endpoint.clone().unwrap_or_else(|| format!("https://s3.{}.amazonaws.com", self.region))
    }

    /// The bucket's own address, without a slash at its end.
    fn url(&self) -> String {
        let endpoint = self.endpoint();
        let endpoint = endpoint.trim_end_matches('/');
        match endpoint.split_once("://") {
            Some((scheme, host)) if !self.path_style => format!("{scheme}://{}.{host}", self.name),
            _ => format!("{endpoint}/{}", self.name),
        }
    }
}

/// An open bucket. Shared by requests and by the keeper.
#[derive(Debug)]
pub(crate) struct Bucket {
    s3: AmazonS3,
    http: HttpClient,
    options: BucketOptions,
    keys: Keys,
    ledger: Ledger,
    /// Threads of its own: `object_store` hashes what it sends.
    runtime: Handle,
    reachable: AtomicBool,
}

/// What is known of a stored object.
#[derive(Debug)]
pub(crate) struct Object {
    bucket: Arc<Bucket>,
    id: FileId,
    meta: FileMeta,
}

impl Bucket {
    pub(super) fn new(options: BucketOptions, ledger: Ledger, runtime: Handle) -> Result<Self, object_store::Error> {
        let connector = Connector { tls: options.endpoint().starts_with("https://") };
        let retry = RetryConfig {
            backoff: BackoffConfig { init_backoff: BACKOFF_MIN, max_backoff: BACKOFF_MAX, base: BACKOFF_BASE },
            max_retries: RETRIES_MAX,
            retry_timeout: RETRY_TIME_MAX,
        };
        let endpoint = if options.path_style { options.endpoint() } else { options.url() };
        let s3 = AmazonS3Builder::from_env()
            .with_bucket_name(&options.name)
            .with_region(&options.region)
            .with_endpoint(endpoint)
            .with_virtual_hosted_style_request(!options.path_style)
            .with_allow_http(!connector.tls)
            .with_checksum_algorithm(Checksum::SHA256)
            .with_retry(retry)
            .with_http_connector(connector)
            .build()?;
        let http = connector.connect(&ClientOptions::new())?;
        let keys = Keys::new(&options.prefix);
        Ok(Self { s3, http, options, keys, ledger, runtime, reachable: AtomicBool::new(true) })
    }

    /// Whether the last request that said something of it found the store there.
    pub(crate) fn is_reachable(&self) -> bool {
        self.reachable.load(Ordering::Relaxed)
    }

    /// It takes nothing from this server.
    fn refuses_us(&self) {
        self.reachable.store(false, Ordering::Relaxed);
    }

    fn heard<T>(&self, doing: &'static str, result: object_store::Result<T>) -> Result<T, StoreError> {
        match result.as_ref().err().map(failure::kind) {
            Some(Kind::Away) => self.reachable.store(false, Ordering::Relaxed),
            // Of one key, perhaps: the sign of life tells.
            Some(Kind::Forbidden) => {}
            _ => self.reachable.store(true, Ordering::Relaxed),
        }
        result.map_err(|error| StoreError::of_bucket(doing, error))
    }

    /// The metadata of a visible file.
    pub(crate) async fn find(self: &Arc<Self>, id: &FileId) -> Result<Option<Object>, StoreError> {
        let options = GetOptions { head: true, ..GetOptions::default() };
        let found = self.optional("look for a stored file", self.s3.get_opts(&self.keys.file(id), options).await)?;
        Ok(found.map(|found| {
            let meta = read_meta(id, found.meta.size, found.meta.last_modified.timestamp_millis(), &found.attributes);
            Object { bucket: Arc::clone(self), id: *id, meta }
        }))
    }

    /// Deletes a visible file; `false` where there is none.
    pub(crate) async fn delete(self: &Arc<Self>, id: &FileId) -> Result<bool, StoreError> {
        if self.find(id).await?.is_none() {
            return Ok(false);
        }
        self.remove(&self.keys.file(id)).await?;
        Ok(true)
    }

    /// Sends a spool file's bytes as an upload that is not completed. `begun` hears of it as soon as there is something
    /// to abort.
    async fn stage(&self, spool: File, file: StoredFile, begun: &Mutex<Vec<Staged>>) -> Result<Staged, StoreError> {
        const DOING: &str = "send a file to the object store";
        let key = self.keys.file(&file.id);
        let options = PutMultipartOptions { attributes: attributes(&file.meta), ..PutMultipartOptions::default() };
        let upload = self.heard(DOING, self.s3.create_multipart_opts(&key, options).await)?;
        let mut staged = Staged { file, upload, parts: Vec::new() };
        begun.lock().unwrap_or_else(PoisonError::into_inner).push(staged.clone());
        self.send_parts(&key, Arc::new(spool), &mut staged).await?;
        Ok(staged)
    }

    async fn send_parts(&self, key: &Path, spool: Arc<File>, staged: &mut Staged) -> Result<(), StoreError> {
        const DOING: &str = "send a part to the object store";
        let length = staged.file.meta.bytes;
        let mut at = 0;
        // An empty file is one empty part.
        while at < length || staged.parts.is_empty() {
            let bytes = (length - at).min(PART_BYTES);
            let _memory = self.ledger.part(bytes).await;
            let part = read_part(&spool, at, bytes).await?;
            let sent = self.s3.put_part(key, &staged.upload, staged.parts.len(), part.into()).await;
            staged.parts.push(self.heard(DOING, sent)?.content_id);
            at += bytes;
        }
        Ok(())
    }

    /// Completes an upload: the file is visible. Done twice it is done once. `false` where there is neither an upload
    /// nor a file: it was deleted since, or aborted.
    async fn publish(&self, staged: &Staged) -> Result<bool, StoreError> {
        const DOING: &str = "complete an upload";
        let key = self.keys.file(&staged.file.id);
        let parts: Vec<PartId> = staged.parts.iter().map(|part| PartId { content_id: part.clone() }).collect();
        let completed = undisturbed(|| self.s3.complete_multipart(&key, &staged.upload, parts.clone())).await;
        if self.optional(DOING, completed)?.is_some() {
            return Ok(true);
        }
        Ok(self.optional(DOING, self.s3.head(&key).await)?.is_some())
    }

    /// Aborts an upload that no record speaks of.
    async fn abandon(&self, staged: &Staged) -> Result<(), StoreError> {
        let aborted = self.s3.abort_multipart(&self.keys.file(&staged.file.id), &staged.upload).await;
        self.optional("abort an upload", aborted).map(drop)
    }

    async fn put(&self, key: &Path, content: Vec<u8>) -> Result<(), StoreError> {
        let content = Bytes::from(content);
        let put = undisturbed(|| self.s3.put(key, content.clone().into())).await;
        self.heard("write to the object store", put).map(drop)
    }

    async fn remove(&self, key: &Path) -> Result<(), StoreError> {
        let removed = self.s3.delete(key).await;
        self.optional("delete from the object store", removed).map(drop)
    }

    async fn read_small(&self, key: &Path) -> Result<Option<Bytes>, StoreError> {
        const DOING: &str = "read from the object store";
        let Some(found) = self.optional(DOING, self.s3.get(key).await)? else { return Ok(None) };
        if found.meta.size > RECORD_BYTES_MAX {
            return Ok(None);
        }
        self.heard(DOING, found.bytes().await).map(Some)
    }

    /// As [`heard`](Self::heard), where it is fine that something is not there.
    fn optional<T>(&self, doing: &'static str, result: object_store::Result<T>) -> Result<Option<T>, StoreError> {
        match result {
            Err(error) if failure::kind(&error) == Kind::Missing => self.heard(doing, Ok(None)),
            other => self.heard(doing, other).map(Some),
        }
    }
}

impl Object {
    pub(crate) fn meta(&self) -> &FileMeta {
        &self.meta
    }
}

/// A write to a key that nobody else writes. A conflict is then between parts of the store, and passes: S3's
/// `OperationAborted`, or, where the bucket is a file system, a directory that went with its last object meanwhile.
async fn undisturbed<T, A>(attempt: impl Fn() -> A) -> object_store::Result<T>
where
    A: Future<Output = object_store::Result<T>>,
{
    let mut backoff = CONFLICT_BACKOFF_MIN;
    for _ in 1..CONFLICT_TRIES_MAX {
        match attempt().await {
            Err(object_store::Error::AlreadyExists { .. }) => tokio::time::sleep(backoff).await,
            other => return other,
        }
        backoff *= 2;
    }
    attempt().await
}

async fn read_part(spool: &Arc<File>, at: u64, bytes: u64) -> Result<Bytes, StoreError> {
    let spool = Arc::clone(spool);
    let read = spawn_blocking(move || {
        let mut part = vec![0; usize::try_from(bytes).unwrap_or(0)];
        spool.read_exact_at(&mut part, at).map(|()| Bytes::from(part))
    });
    let read = read.await.unwrap_or_else(|panic| Err(std::io::Error::other(panic)));
    read.map_err(|source| StoreError::new("read a spool file", source))
}

/// Metadata as object metadata. What does not fit is what an event needs and a download does not.
fn attributes(meta: &FileMeta) -> Attributes {
    let mut kept = meta.clone();
    let mut json = serde_json::to_vec(&kept).unwrap_or_default();
    if json.len() > META_JSON_BYTES_MAX {
        kept.field = None;
        json = serde_json::to_vec(&kept).unwrap_or_default();
    }
    if json.len() > META_JSON_BYTES_MAX {
        kept.content_type = None;
        json = serde_json::to_vec(&kept).unwrap_or_default();
    }
    let mut attributes = Attributes::new();
    attributes.insert(Attribute::Metadata(META_NAME.into()), STANDARD.encode(json).into());
    if let Some(sha256) = &meta.sha256 {
        attributes.insert(Attribute::Metadata(DIGEST_NAME.into()), digest::field_value(sha256).into());
    }
    attributes
}

/// An object without our metadata, or of another length, is still a file: its name is its id, it has no digest.
fn read_meta(id: &FileId, bytes: u64, modified_unix_ms: i64, attributes: &Attributes) -> FileMeta {
    let text = attributes.get(&Attribute::Metadata(META_NAME.into())).map(AsRef::as_ref);
    let json = text.and_then(|text: &str| STANDARD.decode(text).ok());
    let meta = json.and_then(|json| serde_json::from_slice::<FileMeta>(&json).ok());
    meta.filter(|meta| meta.bytes == bytes).unwrap_or_else(|| FileMeta {
        field: None,
        filename: id.to_string(),
        bytes,
        sha256: None,
        content_type: None,
        stored_unix_ms: u64::try_from(modified_unix_ms).unwrap_or(0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meta(field: &str, content_type: &str) -> FileMeta {
        FileMeta {
            field: Some(field.to_owned()),
            filename: "größe.bin".to_owned(),
            bytes: 3,
            sha256: Some([7; 32]),
            content_type: Some(content_type.to_owned()),
            stored_unix_ms: 5,
        }
    }

    #[test]
    fn metadata_survives_as_far_as_it_fits() {
        let id = FileId::from_parts(1, [0; 10]);
        let short = meta("file", "text/plain");
        assert_eq!(read_meta(&id, 3, 0, &attributes(&short)), short);
        let long = meta(&"f".repeat(16_000), "text/plain");
        assert_eq!(read_meta(&id, 3, 0, &attributes(&long)), FileMeta { field: None, ..long });
        let longer = meta("file", &"t".repeat(16_000));
        assert_eq!(read_meta(&id, 3, 0, &attributes(&longer)).content_type, None);
        let torn = read_meta(&id, 2, 9, &attributes(&short));
        assert_eq!((torn.filename, torn.sha256, torn.bytes, torn.stored_unix_ms), (id.to_string(), None, 2, 9));
    }

    #[test]
    fn a_bucket_has_an_address_of_either_style() {
        let options = |endpoint: Option<&str>, path_style| BucketOptions {
            name: "uploads".into(),
            prefix: String::new(),
            endpoint: endpoint.map(Into::into),
            region: "eu-central-1".into(),
            path_style,
        };
        assert_eq!(options(None, false).url(), "https://uploads.s3.eu-central-1.amazonaws.com");
        assert_eq!(options(Some("http://127.0.0.1:9000/"), true).url(), "http://127.0.0.1:9000/uploads");
    }
}
