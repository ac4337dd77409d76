//! Deletes the commit records whose events Kafka has.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use object_store::ObjectStore;
use object_store::path::Path;
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tracing::debug;

use super::Bucket;
use crate::outbox::{Progress, Reader, Record, Segments};

/// How long a record outlives its events.
const INTERVAL: Duration = Duration::from_secs(1);
/// S3 deletes as many in one request.
const RECORDS_AT_ONCE: usize = 1_000;

pub(in crate::store) struct Reaper {
    bucket: Arc<Bucket>,
    progress: Arc<Progress>,
    segments: Arc<Segments>,
    place: Option<Place>,
    doomed: Vec<Path>,
}

/// How far the journal was read.
struct Place {
    reader: Reader,
    next: Option<Record>,
    seq: u64,
}

impl Reaper {
    /// From event `seq` on: earlier ones are delivered and their records gone.
    pub(in crate::store) fn new(
        bucket: &Arc<Bucket>,
        progress: &Arc<Progress>,
        segments: &Arc<Segments>,
        seq: u64,
    ) -> Self {
        let (bucket, progress, segments) = (Arc::clone(bucket), Arc::clone(progress), Arc::clone(segments));
        segments.hold_from(seq);
        let reader = Reader::new(Arc::clone(&segments), seq);
        Self { bucket, progress, segments, place: Some(Place { reader, next: None, seq }), doomed: Vec::new() }
    }

    /// Until `stop` changes, and once more after that.
    pub(in crate::store) async fn run(mut self, mut stop: watch::Receiver<bool>) {
        loop {
            let stopping = tokio::select! {
                _ = stop.wait_for(|stop| *stop) => true,
                () = tokio::time::sleep(INTERVAL) => false,
            };
            while self.pass().await {}
            if stopping {
                return;
            }
        }
    }

    /// `true` where there is more to do.
    async fn pass(&mut self) -> bool {
        if self.doomed.is_empty() {
            let Some(mut place) = self.place.take() else { return false };
            let consumed = self.progress.consumed_to();
            let read = spawn_blocking(move || {
                let keys = place.delivered(consumed);
                (place, keys)
            });
            let Ok((place, keys)) = read.await else { return false };
            self.place = Some(place);
            match keys {
                Ok(keys) => self.doomed = keys,
                Err(error) => {
                    debug!(%error, "the journal cannot be read");
                    return false;
                }
            }
        }
        let full = self.doomed.len() >= RECORDS_AT_ONCE;
        let deleted = self.delete().await;
        if deleted && let Some(place) = &self.place {
            self.segments.hold_from(place.seq);
        }
        deleted && full
    }

    async fn delete(&mut self) -> bool {
        let keys: Vec<_> = self.doomed.iter().cloned().map(Ok).collect();
        if keys.is_empty() {
            return true;
        }
        let mut answers = self.bucket.s3.delete_stream(stream::iter(keys).boxed());
        while let Some(answer) = answers.next().await {
            if let Err(error) = self.bucket.optional("delete delivered records", answer) {
                debug!(%error, "delivered records stay for now");
                return false;
            }
        }
        self.doomed.clear();
        true
    }
}

impl Place {
    /// Keys of the next records of which everything is delivered.
    fn delivered(&mut self, consumed: u64) -> io::Result<Vec<Path>> {
        let mut keys = Vec::new();
        while keys.len() < RECORDS_AT_ONCE {
            if self.next.is_none() {
                self.next = self.reader.next()?;
            }
            let Some(record) = self.next.take_if(|record| record.end() <= consumed) else { break };
            self.seq = self.seq.max(record.end());
            keys.extend(record.origin.and_then(|origin| Path::parse(origin).ok()));
        }
        Ok(keys)
    }
}
