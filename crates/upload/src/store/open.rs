//! What a store is made of, put together: directory or bucket, committer, outbox.

use std::collections::HashSet;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::runtime::{self, Runtime};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::warn;

use super::bucket::{self, Bucket, BucketCommitter, BucketOptions, Claims, Events, Keeper, Left, Reaper};
use super::commit::{self, Commits, Committer, Sink};
use super::meta::XATTR_BYTES_MAX;
use super::recovery::{self, Recovered};
use super::repeats::Repeats;
use super::room::{Room, RoomLimits};
use super::{Directory, Durability, FileId, OpenError, Opened, Options, Store, StoreError};
use crate::ledger::Ledger;
use crate::outbox::{Journal, KafkaOptions, Metrics, OutboxHandle, Progress, Publisher, Reader};

/// Threads that speak to a bucket, and threads that read files for them.
const BUCKET_THREADS: usize = 2;
const BUCKET_BLOCKING_THREADS_MAX: usize = 32;
/// What the bucket gets at the end of the process for its last answers.
const BUCKET_STOP_TIME_MAX: Duration = Duration::from_secs(3);

/// Opens, recovers and sweeps a store, and starts its committer and publisher threads. Blocking; time is proportional
/// to what an earlier process left unfinished, not to what is stored.
///
/// # Errors
/// Where the directory cannot be used, another process holds it, or the Kafka settings make no sense. A broker that
/// is away is no error.
pub fn open(options: Options) -> Result<Opened, OpenError> {
    open_with(options, XATTR_BYTES_MAX)
}

pub(super) fn open_with(options: Options, xattr_bytes_max: usize) -> Result<Opened, OpenError> {
    let Options { dir, durability, kafka } = options;
    let directory = Arc::new(Directory::open(&dir, durability, xattr_bytes_max)?);
    let failed = |doing| {
        let dir = dir.clone();
        move |source| OpenError::Io { dir, doing, source }
    };
    let recovered = recovery::recover(&directory).map_err(|(doing, source)| failed(doing)(source))?;
    let Recovered { journal, mut cursor } = recovered;
    let journal = bounded(journal, kafka.as_ref());
    let metrics = Metrics::new().map_err(|error| failed("name its metrics")(io::Error::other(error)))?;
    let progress = Arc::new(Progress::new(cursor.seq(), journal.next_seq()));
    let (sink, publisher) = match kafka {
        None => {
            let log = recovery::event_log(&directory, &journal, &mut cursor);
            let log = log.map_err(failed("catch up events.jsonl"))?;
            progress.consumed(cursor.seq(), None);
            (Sink::EventLog(log, cursor), None)
        }
        Some(kafka) => {
            let publisher = Publisher::new(&directory, journal.segments(), cursor, kafka, &progress, &metrics);
            (Sink::Publisher, Some(publisher.map_err(OpenError::Kafka)?))
        }
    };
    let commits = Commits::new(&directory, journal, sink, &progress);
    let (committer, committer_thread) = commit::start(commits).map_err(failed("start the committer"))?;
    let publisher_thread = publisher.map(Publisher::spawn).transpose().map_err(failed("start the publisher"))?;
    let outbox = OutboxHandle {
        directory: Arc::clone(&directory),
        progress,
        metrics,
        committer: committer.clone(),
        committer_thread: Some(committer_thread),
        publisher_thread,
        bucket: None,
    };
    let repeats = Repeats::open(&directory, unix_ms()).map_err(failed("read its keys"))?;
    let room = Room::new(&directory, RoomLimits::default());
    Ok(Opened { store: Store { directory, bucket: None, room, repeats }, committer, outbox })
}

/// As [`open`], with the files in a bucket: `options.dir` holds what is on its way, spool and outbox, and may be lost.
/// Parts on their way are paid for out of what `ledger` has set aside for them. A store that does not answer is no
/// error: it is tried again, and [`Health`](crate::health::Health) says so meanwhile.
///
/// # Errors
/// As [`open`]; and where the bucket refuses the credentials, or does not exist.
pub fn open_bucket(options: Options, bucket: BucketOptions, ledger: &Ledger) -> Result<Opened, OpenError> {
    let Options { dir, kafka, .. } = options;
    let failed = |doing| {
        let dir = dir.clone();
        move |source| OpenError::Io { dir, doing, source }
    };
    let directory = Arc::new(Directory::open(&dir, Durability::None, XATTR_BYTES_MAX)?);
    let server = bucket::server_id(&directory).map_err(failed("name this server"))?;
    let spooled: HashSet<FileId> = directory.spooled().map_err(failed("list its spool"))?.into_iter().collect();
    let spooled = bucket::remember_left(&directory, spooled).map_err(failed("note what was in flight"))?;
    let Recovered { journal, cursor } =
        recovery::recover(&directory).map_err(|(doing, source)| failed(doing)(source))?;
    let journal = bounded(journal, kafka.as_ref());
    let metrics = Metrics::new().map_err(|error| failed("name its metrics")(io::Error::other(error)))?;
    let progress = Arc::new(Progress::new(cursor.seq(), journal.next_seq()));
    // Without Kafka nobody sends what is in the journal: the forms' records speak for them.
    let journaled = match &kafka {
        Some(_) => journaled(&journal, cursor.seq()).map_err(failed("read its outbox"))?,
        None => HashSet::new(),
    };

    let runtime = bucket_runtime().map_err(failed("start the bucket's threads"))?;
    let name = bucket.name.clone();
    let refused = |source: StoreError| OpenError::Bucket { name: name.clone(), source: Box::new(source) };
    let bucket = Bucket::new(bucket, ledger.clone(), runtime.handle().clone());
    let bucket = Arc::new(bucket.map_err(|error| refused(StoreError::of_bucket("set up", error)))?);

    let (events, tasks) = match kafka {
        None => (Events::Objects, None),
        Some(kafka) => {
            let segments = Arc::clone(journal.segments());
            let reaper = Reaper::new(&bucket, &progress, &segments, cursor.seq());
            let publisher = Publisher::new(&directory, &segments, cursor, kafka, &progress, &metrics);
            let publisher = publisher.map_err(OpenError::Kafka)?;
            let (journal, progress) = (Arc::new(Mutex::new(journal)), Arc::clone(&progress));
            (Events::Journal { journal, progress }, Some((reaper, publisher)))
        }
    };
    let committer = BucketCommitter::new(Arc::clone(&bucket), server, Arc::clone(&directory), events);
    let committer = committer.map_err(failed("name this process"))?;
    let claims = Claims::new(committer.shared());
    let keeper = Keeper::new(&committer, &claims, Left { spooled, journaled });
    match runtime.block_on(keeper.beat()) {
        Ok(()) => {}
        Err(error @ StoreError::Away { .. }) => warn!(%error, "the object store does not answer; it is tried again"),
        Err(error) => return Err(refused(error)),
    }
    let (stop, stopped) = watch::channel(false);
    let mut work = JoinSet::new();
    work.spawn_on(keeper.run(stopped.clone()), runtime.handle());
    let publisher_thread = match tasks {
        None => None,
        Some((reaper, publisher)) => {
            work.spawn_on(reaper.run(stopped), runtime.handle());
            Some(publisher.spawn().map_err(failed("start the publisher"))?)
        }
    };
    let repeats = Repeats::open(&directory, unix_ms()).map_err(failed("read its keys"))?.shared(claims);
    let room = Room::new(&directory, RoomLimits::default());
    let committer = Committer::to_bucket(committer);
    let outbox = OutboxHandle {
        directory: Arc::clone(&directory),
        progress,
        metrics,
        committer: committer.clone(),
        committer_thread: None,
        publisher_thread,
        bucket: Some(BucketWork { bucket: Arc::clone(&bucket), runtime, stop, work }),
    };
    Ok(Opened { store: Store { directory, bucket: Some(bucket), room, repeats }, committer, outbox })
}

/// Events wait for Kafka within the bound that was asked for; without Kafka none wait for long.
fn bounded(journal: Journal, kafka: Option<&KafkaOptions>) -> Journal {
    match kafka {
        Some(kafka) => journal.bounded(kafka.outbox_bytes_max),
        None => journal,
    }
}

/// What goes on for a bucket beside the requests.
#[derive(Debug)]
pub(crate) struct BucketWork {
    pub(crate) bucket: Arc<Bucket>,
    runtime: Runtime,
    stop: watch::Sender<bool>,
    work: JoinSet<()>,
}

impl BucketWork {
    /// Ends it, when the records of delivered events are deleted or after a while. Blocking.
    pub(crate) fn shutdown(mut self) {
        self.stop.send_replace(true);
        let ended = self.runtime.block_on(async {
            tokio::time::timeout(BUCKET_STOP_TIME_MAX, async { while self.work.join_next().await.is_some() {} }).await
        });
        if ended.is_err() {
            warn!("records of delivered events may stay in the bucket; the next start sends those events again");
        }
        self.runtime.shutdown_background();
    }
}

fn bucket_runtime() -> io::Result<Runtime> {
    runtime::Builder::new_multi_thread()
        .worker_threads(BUCKET_THREADS)
        .max_blocking_threads(BUCKET_BLOCKING_THREADS_MAX)
        .thread_name("bucket")
        .enable_all()
        .build()
}

fn unix_ms() -> u64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX)
}

/// First files of the forms that wait in the journal.
fn journaled(journal: &Journal, from_seq: u64) -> io::Result<HashSet<FileId>> {
    let mut reader = Reader::new(Arc::clone(journal.segments()), from_seq);
    let mut first = HashSet::new();
    while let Some(record) = reader.next()? {
        if record.end() > from_seq {
            first.extend(record.files.first().map(|file| file.id));
        }
    }
    Ok(first)
}
