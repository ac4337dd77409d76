//! `POST /upload` and `PUT /files/<filename>`: received, sealed, committed, then answered.

use std::collections::VecDeque;

use bytes::Bytes;
use hyper::Request;
use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use sha2::{Digest, Sha256};
use tokio::task::JoinHandle;

use super::answer::{self, Target};
use super::{Refusal, Reply, Service};
use crate::admission;
use crate::body::{Arrival, Intake};
use crate::connection::ReadBuffer;
use crate::digest::{self, Sha256Value};
use crate::filename::{percent_decoded, stored_name};
use crate::multipart::form::{FilePart, Part};
use crate::multipart::{Boundary, Event, Parser, stored_content_type};
use crate::spool::Hold;
use crate::store::{FileMeta, Sealed};
use crate::writer::{DigestPlan, FileWriter, SealError};

/// Files of one form that are made durable at the same time, while the form goes on.
const SEALS_IN_FLIGHT_MAX: usize = 8;

pub(super) async fn form(service: &Service, request: Request<Incoming>) -> Result<Reply, Refusal> {
    let checked = || {
        let headers = request.headers();
        let content_type = headers.get(header::CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
        let boundary = Boundary::from_content_type(content_type)?;
        admission::content(headers)?;
        admission::length(headers, service.limits.body_bytes_max)?;
        Ok((boundary, digest::promised(headers)?))
    };
    let (boundary, promised) = match checked() {
        Ok(checked) => checked,
        Err(refusal) => return Err(refused_unpolled(service, request, refusal)),
    };
    let admitted = match answer::admit(service, request.headers()).await {
        Ok(admitted) => admitted,
        Err(refusal) => return Err(refused_unpolled(service, request, refusal)),
    };
    let mut intake = service.intake(request);
    let received = receive_form(service, &mut intake, &boundary, promised).await;
    let sealed = or_discard(service, intake, received)?;
    answer::commit(service, admitted, Target::Form, sealed).await
}

pub(super) async fn raw(service: &Service, request: Request<Incoming>, name: &str) -> Result<Reply, Refusal> {
    let checked = || {
        let headers = request.headers();
        let sent = percent_decoded(name).ok_or(Refusal::Filename)?;
        admission::content(headers)?;
        admission::length(headers, service.limits.body_bytes_max)?;
        match admission::length(headers, service.limits.file_bytes_max) {
            Err(Refusal::BodyTooLarge(bytes_max)) => return Err(Refusal::FileTooLarge(bytes_max)),
            other => other?,
        }
        let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| stored_content_type(value.as_bytes()));
        let meta = new_meta(None, stored_name(&sent), content_type);
        Ok((meta, digest::promised(headers)?))
    };
    let (meta, promised) = match checked() {
        Ok(checked) => checked,
        Err(refusal) => return Err(refused_unpolled(service, request, refusal)),
    };
    let admitted = match answer::admit(service, request.headers()).await {
        Ok(admitted) => admitted,
        Err(refusal) => return Err(refused_unpolled(service, request, refusal)),
    };
    let mut intake = service.intake(request);
    let received = receive_file(service, &mut intake, meta, promised).await;
    let sealed = vec![or_discard(service, intake, received)?];
    answer::commit(service, admitted, Target::File, sealed).await
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
fn new_meta(field: Option<String>, filename: String, content_type: Option<String>) -> FileMeta {
    let stored_unix_ms = answer::unix_ms();
    FileMeta { field, filename, bytes: 0, sha256: None, content_type, stored_unix_ms }
}

fn refused_unpolled(service: &Service, request: Request<Incoming>, refusal: Refusal) -> Refusal {
    service.discard_unpolled(request);
    refusal
}

/// A body that was refused halfway is read on for a while, but not one that is cut, broken or too slow.
fn or_discard<T>(service: &Service, intake: Intake, received: Result<T, Refusal>) -> Result<T, Refusal> {
    if !matches!(received, Ok(_) | Err(Refusal::Cut | Refusal::Coding | Refusal::TooSlow)) {
        intake.discard(&service.limits);
    }
    received
}
