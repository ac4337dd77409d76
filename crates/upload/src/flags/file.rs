use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use tokio::task::spawn_blocking;

use super::{FEATURES_BYTES_MAX, PollError};

/// A file that is read when it has changed: written again, or replaced.
#[derive(Debug)]
pub(super) struct WatchedFile {
    path: PathBuf,
    /// Of the last version that was read, and of the last good one.
    read: Option<Version>,
    good: Option<Version>,
}

/// Device, inode, size, time of change.
type Version = (u64, u64, u64, i64, i64);

impl WatchedFile {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, read: None, good: None }
    }

    /// Its content; `None` where it is the last good one still.
    pub(super) async fn read(&mut self) -> Result<Option<Bytes>, PollError> {
        let (path, good) = (self.path.clone(), self.good);
        let read = spawn_blocking(move || read_if_changed(&path, good)).await;
        let read = read.unwrap_or_else(|panic| Err(io::Error::other(panic))).map_err(PollError::File)?;
        Ok(read.map(|(version, content)| {
            self.read = Some(version);
            content
        }))
    }

    pub(super) fn was_good(&mut self) {
        self.good = self.read;
    }
}

fn read_if_changed(path: &Path, good: Option<Version>) -> io::Result<Option<(Version, Bytes)>> {
    // Asked first: to open a named pipe would wait for its writer.
    let metadata = std::fs::metadata(path)?;
    if !metadata.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a file"));
    }
    if good == Some(version(&metadata)) {
        return Ok(None);
    }
    let file = File::open(path)?;
    let version = version(&file.metadata()?);
    let mut content = Vec::new();
    file.take(FEATURES_BYTES_MAX as u64 + 1).read_to_end(&mut content)?;
    if content.len() > FEATURES_BYTES_MAX {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(Some((version, content.into())))
}

fn version(metadata: &Metadata) -> Version {
    (metadata.dev(), metadata.ino(), metadata.size(), metadata.ctime(), metadata.ctime_nsec())
}
