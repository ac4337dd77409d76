//! `POST /upload` and `PUT /files/<filename>`: received, sealed, committed, then answered.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use hyper::Request;
use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use sha2::{Digest, Sha256};
use tokio::task::JoinHandle;

use super::answer::{self, Admitted, Target};
use super::direct::Handover;
use super::{Refusal, Reply, Service, direct};
use crate::admission;
use crate::body::{Arrival, Intake};
use crate::connection::ReadBuffer;
use crate::digest::{self, Sha256Value};
use crate::filename::{percent_decoded, stored_name};
use crate::multipart::form::{FilePart, Part};
use crate::multipart::{Boundary, Event, Parser, stored_content_type};
use crate::sink::{DigestPlan, SealError};
use crate::spool::Hold;
use crate::store::{FileMeta, Sealed};
use crate::writer::FileWriter;

/// Files of one form that are made durable at the same time, while the form goes on.
pub(super) const SEALS_IN_FLIGHT_MAX: usize = 8;

/// What a request wants to store, as far as its head says.
pub(super) enum Plan {
    Form { boundary: Boundary, promised: Option<Sha256Value> },
    Raw { meta: FileMeta, promised: Option<Sha256Value> },
}

impl Plan {
    /// What is decided from a request's head. With a name it is a raw file, without one a form.
    pub(super) fn new<B>(service: &Service, request: &Request<B>, name: Option<&str>) -> Result<Self, Refusal> {
        let headers = request.headers();
        let Some(name) = name else {
            let content_type = headers.get(header::CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
            let boundary = Boundary::from_content_type(content_type)?;
            admission::content(headers)?;
            admission::length(headers, service.limits.body_bytes_max)?;
            return Ok(Self::Form { boundary, promised: digest::promised(headers)? });
        };
        let sent = percent_decoded(name).ok_or(Refusal::Filename)?;
        admission::content(headers)?;
        admission::length(headers, service.limits.body_bytes_max)?;
        match admission::length(headers, service.limits.file_bytes_max) {
            Err(Refusal::BodyTooLarge(bytes_max)) => return Err(Refusal::FileTooLarge(bytes_max)),
            other => other?,
        }
        let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| stored_content_type(value.as_bytes()));
        let meta = new_meta(None, stored_name(&sent), content_type);
        Ok(Self::Raw { meta, promised: digest::promised(headers)? })
    }

    /// Whether nothing of a body of this length would be held in memory, nor be needed as a whole.
    pub(super) fn goes_to_disk(&self, body_bytes: u64, threshold_bytes: u64) -> bool {
        match self {
            Self::Form { .. } => threshold_bytes == 0 && !self.checks_the_body(),
            Self::Raw { .. } => body_bytes > threshold_bytes,
        }
    }

    /// Whether a digest of the body, beside those of its files, is asked for.
    fn checks_the_body(&self) -> bool {
        matches!(self, Self::Form { promised: Some(_), .. })
    }
}

/// Receives the body as hyper reads it.
pub(super) async fn receive(
    service: &Arc<Service>,
    request: Request<Incoming>,
    plan: Plan,
    admitted: Admitted,
) -> Result<Reply, Refusal> {
    let in_one_piece = direct::is_small(&request) && !plan.checks_the_body();
    let together = request.extensions().get::<Handover>().map(Handover::together);
    let mut intake = service.intake(request);
    if in_one_piece {
        let mut frames = Vec::new();
        let collected = collect(&mut intake, &mut frames).await;
        match collected {
            Ok(true) => return direct::store_whole(service, together, plan, admitted, frames).await,
            Ok(false) => intake.put_back(frames),
            Err(refusal) => return or_discard(service, intake, Err(refusal)),
        }
    }
    let (target, sealed) = match plan {
        Plan::Form { boundary, promised } => {
            let received = receive_form(service, &mut intake, &boundary, promised).await;
            (Target::Form, or_discard(service, intake, received)?)
        }
        Plan::Raw { meta, promised } => {
            let received = receive_file(service, &mut intake, meta, promised).await;
            (Target::File, vec![or_discard(service, intake, received)?])
        }
    };
    answer::commit(service, admitted, target, sealed).await
}

/// Collects frames up to a lull; `true` where the body is whole.
async fn collect(intake: &mut Intake, frames: &mut Vec<Bytes>) -> Result<bool, Refusal> {
    loop {
        match intake.next().await? {
            Arrival::Frame(frame) => frames.push(frame),
            Arrival::Lull => return Ok(false),
            Arrival::End => return Ok(true),
        }
    }
}

impl Service {
    fn intake(&self, request: Request<Incoming>) -> Intake {
        let read_buffer = request.extensions().get::<ReadBuffer>().cloned().unwrap_or_default();
        let hold = self.threshold.hold(&self.ledger, read_buffer);
        Intake::new(request.into_body(), &self.limits, self.metrics.received_bytes.clone(), hold)
    }

    fn writer(&self, hold: &Hold, promised: Option<Sha256Value>) -> FileWriter {
        FileWriter::new(self.store.clone(), hold.clone(), DigestPlan { keep: self.digest, promised })
    }
}

async fn receive_file(
    service: &Service,
    intake: &mut Intake,
    meta: FileMeta,
    promised: Option<Sha256Value>,
) -> Result<Sealed, Refusal> {
    let mut writer = service.writer(intake.hold(), promised);
    loop {
        match intake.next().await? {
            Arrival::Frame(frame) => push(service, &mut writer, frame).await?,
            Arrival::Lull => writer.settle().await?,
            Arrival::End => return Ok(writer.seal(meta).await?.await??),
        }
    }
}

async fn receive_form(
    service: &Service,
    intake: &mut Intake,
    boundary: &Boundary,
    promised: Option<Sha256Value>,
) -> Result<Vec<Sealed>, Refusal> {
    let mut parser = Parser::new(boundary, service.limits.multipart);
    let mut body_sha256 = promised.map(|_| Sha256::new());
    let mut form = FormFiles::new(service, intake.hold().clone());
    loop {
        match parser.next_event()? {
            Event::PartHead(head) => form.begin(head.into()),
            Event::Data(data) => form.data(data).await?,
            Event::PartEnd => form.end().await?,
            Event::End => break,
            Event::NeedInput => match intake.next().await? {
                Arrival::Frame(frame) => {
                    if let Some(sha256) = &mut body_sha256 {
                        sha256.update(&frame);
                    }
                    parser.feed(frame);
                }
                Arrival::Lull => form.settle().await?,
                Arrival::End => parser.end_of_input()?,
            },
        }
    }
    // The rest is not looked at, but a body that does not arrive whole is no upload.
    loop {
        match (intake.next().await?, &mut body_sha256) {
            (Arrival::Frame(frame), Some(sha256)) => sha256.update(&frame),
            (Arrival::End, _) => break,
            _ => {}
        }
    }
    if body_sha256.is_some_and(|sha256| Some(sha256.finalize().into()) != promised) {
        return Err(Refusal::DigestMismatch);
    }
    form.finish().await
}

/// The files of a form as they come. Dropped, they are gone.
struct FormFiles<'a> {
    service: &'a Service,
    hold: Hold,
    part: Option<OpenPart>,
    sealing: VecDeque<JoinHandle<Result<Sealed, SealError>>>,
    sealed: Vec<Sealed>,
    plain_fields_bytes: u64,
}

enum OpenPart {
    Field,
    File { part: FilePart, writer: Box<FileWriter> },
}

impl<'a> FormFiles<'a> {
    fn new(service: &'a Service, hold: Hold) -> Self {
        Self { service, hold, part: None, sealing: VecDeque::new(), sealed: Vec::new(), plain_fields_bytes: 0 }
    }

    fn begin(&mut self, part: Part) {
        self.part = Some(match part {
            Part::Field => OpenPart::Field,
            Part::File(part) => OpenPart::File { part, writer: Box::new(self.service.writer(&self.hold, None)) },
        });
    }

    async fn data(&mut self, data: Bytes) -> Result<(), Refusal> {
        match &mut self.part {
            Some(OpenPart::File { writer, .. }) => push(self.service, writer, data).await,
            _ => {
                let bytes_max = self.service.limits.multipart.plain_fields_bytes_max;
                self.plain_fields_bytes += data.len() as u64;
                if self.plain_fields_bytes > bytes_max { Err(Refusal::FieldsTooLarge(bytes_max)) } else { Ok(()) }
            }
        }
    }

    async fn settle(&mut self) -> Result<(), Refusal> {
        if let Some(OpenPart::File { writer, .. }) = &mut self.part {
            writer.settle().await?;
        }
        Ok(())
    }

    async fn end(&mut self) -> Result<(), Refusal> {
        let Some(OpenPart::File { part, writer }) = self.part.take() else {
            return Ok(());
        };
        if part.unnamed && writer.bytes() == 0 {
            return Ok(());
        }
        if self.sealing.len() == SEALS_IN_FLIGHT_MAX {
            self.await_oldest().await?;
        }
        let meta = new_meta(Some(part.field), part.filename, part.content_type);
        self.sealing.push_back(writer.seal(meta).await?);
        Ok(())
    }

    async fn finish(mut self) -> Result<Vec<Sealed>, Refusal> {
        while !self.sealing.is_empty() {
            self.await_oldest().await?;
        }
        if self.sealed.is_empty() { Err(Refusal::NoFile) } else { Ok(self.sealed) }
    }

    async fn await_oldest(&mut self) -> Result<(), Refusal> {
        if let Some(oldest) = self.sealing.pop_front() {
            self.sealed.push(oldest.await??);
        }
        Ok(())
    }
}

async fn push(service: &Service, writer: &mut FileWriter, data: Bytes) -> Result<(), Refusal> {
    let bytes_max = service.limits.file_bytes_max;
    if writer.bytes() + data.len() as u64 > bytes_max {
        return Err(Refusal::FileTooLarge(bytes_max));
    }
    Ok(writer.push(data).await?)
}

/// Size and digest are filled in by the writer.
pub(super) fn new_meta(field: Option<String>, filename: String, content_type: Option<String>) -> FileMeta {
    let stored_unix_ms = answer::unix_ms();
    FileMeta { field, filename, bytes: 0, sha256: None, content_type, stored_unix_ms }
}

/// A body that was refused halfway is read on for a while, but not one that is cut, broken or too slow.
fn or_discard<T>(service: &Service, intake: Intake, received: Result<T, Refusal>) -> Result<T, Refusal> {
    if !matches!(received, Ok(_) | Err(Refusal::Cut | Refusal::Coding | Refusal::TooSlow)) {
        intake.discard(&service.limits);
    }
    received
}
