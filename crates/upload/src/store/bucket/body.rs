//! A stored object as the body of an answer.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use object_store::{GetOptions, GetRange, ObjectStore};
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::failure::Refused;
use super::{Bucket, Object};
use crate::ledger::Permit;
use crate::store::{FileId, StoreError};

/// Between two pieces of an object.
const PIECE_TIME_MAX: Duration = Duration::from_secs(30);
/// What an answer has in memory: a piece that is sent, one that waits, one that is read.
const MEMORY_BYTES: usize = 256 << 10;

/// A piece of an object, asked for when it is first polled.
#[derive(Debug)]
pub struct ObjectBody {
    object: Object,
    start: u64,
    end: u64,
    pieces: Option<mpsc::Receiver<io::Result<Bytes>>>,
    sent_bytes: u64,
    _memory: Option<Permit>,
}

impl Object {
    /// The bytes from `start` up to `end`.
    pub(crate) fn body(self, start: u64, end: u64) -> ObjectBody {
        let memory = self.bucket.ledger.spare(MEMORY_BYTES);
        ObjectBody { object: self, start, end, pieces: None, sent_bytes: 0, _memory: memory }
    }
}

impl ObjectBody {
    pub(crate) fn left_bytes(&self) -> u64 {
        (self.end - self.start).saturating_sub(self.sent_bytes)
    }

    pub(crate) fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        if self.left_bytes() == 0 {
            return Poll::Ready(None);
        }
        let pieces = match &mut self.pieces {
            Some(pieces) => pieces,
            None => self.pieces.insert(ask(&self.object, self.start, self.end)),
        };
        let piece = std::task::ready!(Pin::new(pieces).poll_recv(cx));
        let piece = piece.unwrap_or_else(|| Err(io::ErrorKind::UnexpectedEof.into()));
        if let Ok(bytes) = &piece {
            self.sent_bytes += bytes.len() as u64;
        }
        Poll::Ready(Some(piece))
    }
}

/// Reads on the bucket's own threads, one piece ahead.
fn ask(object: &Object, start: u64, end: u64) -> mpsc::Receiver<io::Result<Bytes>> {
    let (send, pieces) = mpsc::channel(1);
    let bucket = Arc::clone(&object.bucket);
    let whole = start == 0 && end == object.meta.bytes;
    let check = object.meta.sha256.filter(|_| whole).map(|sha256| Check { hash: Sha256::new(), sha256 });
    let id = object.id;
    let runtime = object.bucket.runtime.clone();
    drop(runtime.spawn(async move {
        if let Err(error) = send_pieces(&bucket, &id, start, end, check, &send).await {
            tracing::error!(%id, %error, "an answer is cut: the object cannot be read");
            // The client may be gone.
            let _ = send.send(Err(error)).await;
        }
    }));
    pieces
}

/// What a whole object's bytes are to be.
struct Check {
    hash: Sha256,
    sha256: [u8; 32],
}

/// The last piece is held back until the digest is known: a client never gets all of a damaged file.
async fn send_pieces(
    bucket: &Bucket,
    id: &FileId,
    start: u64,
    end: u64,
    mut check: Option<Check>,
    send: &mpsc::Sender<io::Result<Bytes>>,
) -> io::Result<()> {
    let options = GetOptions { range: Some(GetRange::Bounded(start..end)), ..GetOptions::default() };
    let asked = bucket.s3.get_opts(&bucket.keys.file(id), options).await;
    let found = bucket.heard("read a stored file", asked).map_err(broken)?;
    let mut stream = found.into_stream();
    let mut left = end - start;
    while left > 0 {
        let next = timeout(PIECE_TIME_MAX, stream.next()).await.map_err(|_| io::ErrorKind::TimedOut)?;
        let Some(piece) = next else { return Err(io::ErrorKind::UnexpectedEof.into()) };
        let piece = bucket.heard("read a stored file", piece).map_err(broken)?;
        left = left.checked_sub(piece.len() as u64).ok_or_else(|| io::Error::other(Refused::Content))?;
        if let Some(check) = &mut check {
            check.hash.update(&piece);
        }
        if left == 0
            && let Some(Check { hash, sha256 }) = check.take()
            && hash.finalize()[..] != sha256
        {
            return Err(io::Error::other(Refused::Content));
        }
        if send.send(Ok(piece)).await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}

fn broken(error: StoreError) -> io::Error {
    io::Error::other(error)
}
