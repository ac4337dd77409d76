//! The files of a form, on a blocking thread.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::task::{JoinHandle, spawn_blocking};

use crate::http::uploads::{SEALS_IN_FLIGHT_MAX, new_meta};
use crate::http::{Refusal, Service};
use crate::multipart::form::{FilePart, Part};
use crate::multipart::{Boundary, Event, Parser};
use crate::sink::{DigestPlan, SealError, Sink};
use crate::store::{FileMeta, Sealed};

/// The files of a form as they come. Dropped, they are gone.
pub(super) struct FormFiles {
    service: Arc<Service>,
    parser: Parser,
    part: Option<OpenPart>,
    /// The last whole file: sealed in the background if another follows, and else by who is at it.
    whole: Option<(Sink, FileMeta)>,
    sealing: VecDeque<JoinHandle<Result<Sealed, SealError>>>,
    sealed: Vec<Sealed>,
    plain_fields_bytes: u64,
    ended: bool,
}

enum OpenPart {
    Field,
    File { part: Box<FilePart>, sink: Box<Option<Sink>> },
}

impl FormFiles {
    pub(super) fn new(service: Arc<Service>, boundary: &Boundary) -> Self {
        let parser = Parser::new(boundary, service.limits.multipart);
        let (part, whole, sealing, sealed) = (None, None, VecDeque::new(), Vec::new());
        Self { service, parser, part, whole, sealing, sealed, plain_fields_bytes: 0, ended: false }
    }

    /// Takes a frame and keeps nothing of it.
    pub(super) fn feed(&mut self, frame: Bytes) -> Result<(), Refusal> {
        if self.ended {
            return Ok(());
        }
        self.parser.feed(frame);
        loop {
            match self.parser.next_event()? {
                Event::PartHead(head) => {
                    self.part = Some(match head.into() {
                        Part::Field => OpenPart::Field,
                        Part::File(part) => OpenPart::File { part: Box::new(part), sink: Box::new(None) },
                    });
                }
                Event::Data(data) => self.data(data)?,
                Event::PartEnd => self.end_part()?,
                Event::NeedInput => break,
                Event::End => {
                    self.ended = true;
                    break;
                }
            }
        }
        self.parser.feed(Bytes::new());
        Ok(())
    }

    /// Written of the file that is open.
    pub(super) fn file_bytes(&self) -> u64 {
        match &self.part {
            Some(OpenPart::File { sink, .. }) => sink.as_ref().as_ref().map_or(0, Sink::bytes),
            _ => 0,
        }
    }

    /// Seals what there is. For when the body is whole.
    pub(super) fn finish(mut self) -> Result<Vec<Sealed>, Refusal> {
        self.parser.end_of_input()?;
        let last = self.whole.take().map(|(sink, meta)| sink.seal(meta)).transpose()?;
        while !self.sealing.is_empty() {
            self.await_oldest()?;
        }
        self.sealed.extend(last);
        if self.sealed.is_empty() { Err(Refusal::NoFile) } else { Ok(self.sealed) }
    }

    fn data(&mut self, data: Bytes) -> Result<(), Refusal> {
        match &mut self.part {
            Some(OpenPart::File { sink, .. }) => {
                let sink = opened(&self.service, sink)?;
                let bytes_max = self.service.limits.file_bytes_max;
                if sink.bytes() + data.len() as u64 > bytes_max {
                    return Err(Refusal::FileTooLarge(bytes_max));
                }
                Ok(sink.write(&[data])?)
            }
            _ => {
                let bytes_max = self.service.limits.multipart.plain_fields_bytes_max;
                self.plain_fields_bytes += data.len() as u64;
                if self.plain_fields_bytes > bytes_max { Err(Refusal::FieldsTooLarge(bytes_max)) } else { Ok(()) }
            }
        }
    }

    fn end_part(&mut self) -> Result<(), Refusal> {
        let Some(OpenPart::File { part, mut sink }) = self.part.take() else { return Ok(()) };
        if part.unnamed && sink.is_none() {
            return Ok(());
        }
        opened(&self.service, &mut sink)?;
        if let Some((sink, meta)) = self.whole.take() {
            if self.sealing.len() == SEALS_IN_FLIGHT_MAX {
                self.await_oldest()?;
            }
            self.sealing.push_back(spawn_blocking(move || sink.seal(meta)));
        }
        let meta = new_meta(Some(part.field), part.filename, part.content_type);
        self.whole = sink.map(|sink| (sink, meta));
        Ok(())
    }

    fn await_oldest(&mut self) -> Result<(), Refusal> {
        if let Some(oldest) = self.sealing.pop_front() {
            self.sealed.push(Handle::current().block_on(oldest)??);
        }
        Ok(())
    }
}

/// The file, made with its first bytes.
fn opened<'a>(service: &Service, sink: &'a mut Option<Sink>) -> Result<&'a mut Sink, Refusal> {
    Ok(match sink {
        Some(sink) => sink,
        none => none.insert(Sink::create(&service.store, DigestPlan { keep: service.digest, promised: None })?),
    })
}
