//! From a request's head to its room and its key, and from sealed files to their 201.

use std::time::{SystemTime, UNIX_EPOCH};

use hyper::StatusCode;
use hyper::header::{self, HeaderMap};
use serde::Serialize;
use tracing::warn;

use super::{Refusal, Reply, Service, reply};
use crate::digest::{self, REPR_DIGEST};
use crate::event::{FileObject, path_of};
use crate::store::repeats::{Answer, Claim, Turn, fingerprint};
use crate::store::{Committer, Promised, Sealed, Store};

/// What a file takes of an answer, but for names of unusual length.
const ANSWER_BYTES_OF_A_FILE: usize = 384;

/// What a request holds until it is answered.
pub(super) struct Admitted {
    claim: Option<Claim>,
    _room: Promised,
}

impl Admitted {
    /// Whether the request may be one that was sent before.
    pub(super) fn has_key(&self) -> bool {
        self.claim.is_some()
    }
}

/// Where the files of a request go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    Form,
    File,
}

/// The body of a 201.
#[derive(Serialize)]
struct Stored<'a> {
    files: Vec<FileObject<'a>>,
}

/// Takes the request's key, and room for its body, before anything of that is polled.
pub(super) async fn admit(service: &Service, headers: &HeaderMap) -> Result<Admitted, Refusal> {
    let claim = service.store.repeats().claim(headers, unix_ms()).await?;
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    let room = service.store.room().promise(announced.unwrap_or(0)).await?;
    Ok(Admitted { claim, _room: room })
}

/// Commits the files, unless they are those of an earlier request with the same key.
pub(super) async fn commit(
    service: &Service,
    admitted: Admitted,
    target: Target,
    sealed: Vec<Sealed>,
) -> Result<Reply, Refusal> {
    let Some(answer) = answer(target, &sealed) else { return Err(Refusal::NoFile) };
    let (store, committer) = (service.store.clone(), service.committer.clone());
    let Some(mut claim) = admitted.claim else {
        commit_all(&store, &committer, sealed).await?;
        return Ok(created(answer));
    };
    // On a task of its own: a client that goes away and comes again finds the key taken until this is done.
    let task = tokio::spawn(async move { commit_once(&store, &committer, &mut claim, target, sealed, answer).await });
    Ok(created(task.await??))
}

async fn commit_once(
    store: &Store,
    committer: &Committer,
    claim: &mut Claim,
    target: Target,
    sealed: Vec<Sealed>,
    answer: Answer,
) -> Result<Answer, Refusal> {
    let fingerprint = fingerprint(if target == Target::Form { "form" } else { "file" }, &sealed);
    if let Turn::Used { answer, same, committed } = claim.turn(&fingerprint)
        && (committed || store.find(answer.first).await?.is_some())
    {
        return if same { Ok(answer) } else { Err(Refusal::KeyReused) };
    }
    if !claim.promise(fingerprint, answer.clone(), unix_ms()).await? {
        return Err(Refusal::KeyRunning);
    }
    commit_all(store, committer, sealed).await?;
    if let Err(error) = claim.keep().await {
        warn!(%error, "a key is not known to be done; the store knows");
    }
    Ok(answer)
}

/// Commits files each of which is a request's, all in the calling thread: for requests without a key, where nothing is synced.
/// Blocking.
pub(super) fn commit_here(service: &Service, uploads: Vec<(Target, Vec<Sealed>)>) -> Vec<Result<Answer, Refusal>> {
    let room = service.store.room();
    let mut results = Vec::with_capacity(uploads.len());
    let (mut forms, mut answers) = (Vec::with_capacity(uploads.len()), Vec::with_capacity(uploads.len()));
    for (place, (target, sealed)) in uploads.into_iter().enumerate() {
        let bytes = bytes_of(&sealed);
        let refusal = match answer(target, &sealed) {
            Some(answer) if room.quota_has(bytes) => {
                forms.push(sealed);
                answers.push((place, bytes, answer));
                // Unless it is said that it was committed.
                Refusal::Internal
            }
            Some(_) => Refusal::QuotaFull,
            None => Refusal::NoFile,
        };
        results.push(Err(refusal));
    }
    for (result, (place, bytes, answer)) in service.committer.commit_here(forms).into_iter().zip(answers) {
        results[place] = result.map_err(Refusal::from).map(|()| {
            room.stored(bytes);
            answer
        });
    }
    results
}

fn bytes_of(sealed: &[Sealed]) -> u64 {
    sealed.iter().map(|file| file.meta().bytes).sum()
}

async fn commit_all(store: &Store, committer: &Committer, sealed: Vec<Sealed>) -> Result<(), Refusal> {
    let bytes = bytes_of(&sealed);
    if !store.room().quota_has(bytes) {
        return Err(Refusal::QuotaFull);
    }
    committer.commit(sealed).await?;
    store.room().stored(bytes);
    Ok(())
}

/// What a 201 will say, made before the commit takes the files.
fn answer(target: Target, sealed: &[Sealed]) -> Option<Answer> {
    let first = sealed.first()?;
    let files: Vec<_> = sealed.iter().map(|file| FileObject::new(file.id(), file.meta())).collect();
    let sha256 = first.meta().sha256.as_ref().filter(|_| target == Target::File);
    let mut body = Vec::with_capacity(files.len() * ANSWER_BYTES_OF_A_FILE);
    serde_json::to_writer(&mut body, &Stored { files }).ok()?;
    let body = String::from_utf8(body).ok()?;
    Some(Answer { first: *first.id(), body, repr_digest: sha256.map(digest::field_value) })
}

pub(super) fn created(answer: Answer) -> Reply {
    let mut reply = reply::json_text(StatusCode::CREATED, "application/json", answer.body);
    let headers = reply.headers_mut();
    if let Ok(location) = path_of(&answer.first).try_into() {
        headers.insert(header::LOCATION, location);
    }
    if let Some(Ok(value)) = answer.repr_digest.map(TryInto::try_into) {
        headers.insert(REPR_DIGEST, value);
    }
    reply
}

pub(super) fn unix_ms() -> u64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX)
}
