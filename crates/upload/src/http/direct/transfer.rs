//! A blocking thread's turns with one upload: from the socket through one buffer into the files.

use std::io::Write;
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;

use super::buffers::{BUFFER_BYTES, Buffer};
use super::form::FormFiles;
use super::intake::{Came, Intake};
use super::{Draining, Lanes, answer, goes_on};
use crate::http::answer::{self as stored, Target};
use crate::http::uploads::Plan;
use crate::http::{Refusal, Service};
use crate::metrics::{InFlight, Outcome};
use crate::sink::{DigestPlan, Sink};
use crate::store::{FileMeta, Sealed};

/// What a turn may bring at most, before others get theirs.
const TURN_BYTES: u64 = 32 << 20;

/// A turn that brought less does not wait for more.
const LINGER_WORTH_BYTES: u64 = 64 << 10;

/// The right to read an upload on a thread.
pub(super) struct Lane {
    all: Lanes,
    _permit: OwnedSemaphorePermit,
}

impl Lane {
    pub(super) fn new(all: &Lanes, permit: OwnedSemaphorePermit) -> Self {
        Self { all: all.clone(), _permit: permit }
    }

    fn is_wanted(&self) -> bool {
        self.all.permits.available_permits() == 0
    }
}

/// How a turn ended.
pub(super) enum End {
    /// The upload had its share, and there is more.
    Share,
    /// Nothing is there to be read.
    Dry,
    /// All was received.
    Whole(Whole),
    /// All was received, committed and answered.
    Answered(Answered),
}

/// An answer that the thread gave.
pub(super) struct Answered {
    /// What the socket had no room for.
    pub(super) unsent: Vec<u8>,
    /// Whether it let the connection go on.
    pub(super) goes_on: bool,
}

/// The sealed files of an upload.
pub(super) type Whole = (Target, Vec<Sealed>);

/// What a turn gives back.
pub(super) struct Turn {
    pub(super) transfer: Transfer,
    pub(super) socket: TcpStream,
    pub(super) end: Result<End, Refusal>,
}

/// An upload between turns: it has no buffer then.
pub(super) struct Transfer {
    service: Arc<Service>,
    files: Option<Files>,
    early: Vec<Bytes>,
    intake: Intake,
    is_first_turn: bool,
    /// Where the thread is to commit and to answer, too: whether the connection is about to close.
    answers: Option<(InFlight, Draining)>,
}

/// What becomes of the body.
enum Files {
    Raw(Box<RawFile>),
    Form(Box<FormFiles>),
}

struct RawFile {
    meta: FileMeta,
    digest: DigestPlan,
    sink: Option<Sink>,
}

impl Transfer {
    /// `early`: what of the body was read already; `left`: how much was not.
    pub(super) fn new(service: Arc<Service>, plan: Plan, early: Vec<Bytes>, left: u64) -> Self {
        let keep = service.digest;
        let files = match plan {
            Plan::Raw { meta, promised } => {
                Files::Raw(Box::new(RawFile { meta, digest: DigestPlan { keep, promised }, sink: None }))
            }
            Plan::Form { boundary, .. } => Files::Form(Box::new(FormFiles::new(Arc::clone(&service), &boundary))),
        };
        let intake = Intake::new(&service, left);
        Self { service, files: Some(files), early, intake, is_first_turn: true, answers: None }
    }

    /// Has the thread that receives the last of the body commit and answer, too: for an upload without a key, where
    /// nothing is synced. What it waits for is then no more than what it does.
    pub(super) fn answered_by_its_thread(self, in_flight: InFlight, draining: Draining) -> Self {
        Self { answers: Some((in_flight, draining)), ..self }
    }

    /// How long the client may be silent from now on.
    pub(super) fn patience(&self) -> Duration {
        self.intake.patience()
    }

    /// What was read of the next request, and what was to be ended with an answer that was not given.
    pub(super) fn into_parts(self) -> (Bytes, Option<InFlight>) {
        (self.intake.into_beyond(), self.answers.map(|(in_flight, _)| in_flight))
    }

    pub(super) fn waited(&mut self, time: Duration) {
        self.intake.waited(time);
    }

    /// Stores a body of which nothing is left to be received. Blocking.
    pub(super) fn store(mut self) -> Result<Whole, Refusal> {
        self.feed_early()?;
        self.finish()
    }

    /// Receives what comes until there is nothing for a while. Blocking.
    pub(super) fn run(mut self, socket: TcpStream, lane: Lane) -> Turn {
        let end = self.receive(&socket, lane);
        Turn { transfer: self, socket, end }
    }

    fn receive(&mut self, socket: &TcpStream, lane: Lane) -> Result<End, Refusal> {
        let lingers_from = if std::mem::take(&mut self.is_first_turn) { 0 } else { LINGER_WORTH_BYTES };
        let mut buffer = lane.all.buffers.take(&self.service.ledger);
        let mut skipped = self.begin(&mut buffer)?;
        let mut brought = 0;
        while self.intake.left() > 0 {
            let (bytes, dry) = self.carry(socket, &mut buffer, &mut skipped)?;
            brought += bytes;
            if self.intake.left() == 0 {
                break;
            }
            if dry && (brought < lingers_from || !self.intake.comes_more(socket, || lane.is_wanted())?) {
                lane.all.buffers.give(buffer, &self.service.ledger);
                return if self.intake.patience().is_zero() { Err(Refusal::TooSlow) } else { Ok(End::Dry) };
            }
            if brought >= TURN_BYTES {
                lane.all.buffers.give(buffer, &self.service.ledger);
                return Ok(End::Share);
            }
        }
        // What follows waits for the disk.
        lane.all.buffers.give(buffer, &self.service.ledger);
        drop(lane);
        let whole = self.finish()?;
        if self.answers.is_none() {
            return Ok(End::Whole(whole));
        }
        let committed = stored::commit_here(&self.service, vec![whole]).pop();
        let reply = stored::created(committed.unwrap_or(Err(Refusal::Internal))?);
        let Some((in_flight, draining)) = self.answers.take() else { return Err(Refusal::Internal) };
        in_flight.end(Outcome::Stored);
        let goes_on = goes_on(&draining);
        let mut answer = answer::bytes(reply, goes_on);
        let sent = (&*socket).write(&answer).unwrap_or(0);
        answer.drain(..sent);
        Ok(End::Answered(Answered { unsent: answer, goes_on }))
    }

    fn feed_early(&mut self) -> Result<(), Refusal> {
        std::mem::take(&mut self.early).into_iter().try_for_each(|frame| self.feed(frame))
    }

    /// Begins with what was read already, so that whole buffers are whole pages of the file: returns how many bytes of
    /// the first are none of the body's.
    fn begin(&mut self, buffer: &mut Buffer) -> Result<usize, Refusal> {
        let early_bytes: usize = self.early.iter().map(Bytes::len).sum();
        if self.intake.left() > 0 && matches!(self.files, Some(Files::Raw(_))) && early_bytes < buffer.bytes.capacity()
        {
            std::mem::take(&mut self.early).iter().for_each(|frame| buffer.bytes.extend_from_slice(frame));
            return Ok(0);
        }
        self.feed_early()?;
        let skipped = usize::try_from(self.file_bytes() % BUFFER_BYTES as u64).unwrap_or(0);
        let skipped = if buffer.bytes.capacity() < BUFFER_BYTES { 0 } else { skipped };
        buffer.bytes.resize(skipped, 0);
        Ok(skipped)
    }

    /// Written of the file that is open.
    fn file_bytes(&self) -> u64 {
        match &self.files {
            Some(Files::Raw(file)) => file.sink.as_ref().map_or(0, Sink::bytes),
            Some(Files::Form(form)) => form.file_bytes(),
            None => 0,
        }
    }

    /// A buffer full of the body into its files.
    fn carry(&mut self, socket: &TcpStream, buffer: &mut Buffer, skipped: &mut usize) -> Result<Came, Refusal> {
        let came = self.intake.fill(socket, &mut buffer.bytes)?;
        if buffer.bytes.len() > *skipped {
            let frame = buffer.frame();
            self.feed(frame.slice(std::mem::take(skipped)..))?;
            buffer.reclaim(frame);
        }
        Ok(came)
    }

    fn feed(&mut self, frame: Bytes) -> Result<(), Refusal> {
        match &mut self.files {
            Some(Files::Raw(file)) => file.write(&self.service, frame),
            Some(Files::Form(form)) => form.feed(frame),
            None => Ok(()),
        }
    }

    fn finish(&mut self) -> Result<Whole, Refusal> {
        match self.files.take() {
            Some(Files::Raw(file)) => Ok((Target::File, vec![file.seal(&self.service)?])),
            Some(Files::Form(form)) => Ok((Target::Form, form.finish()?)),
            None => Err(Refusal::Internal),
        }
    }
}

impl RawFile {
    fn write(&mut self, service: &Service, frame: Bytes) -> Result<(), Refusal> {
        Ok(self.sink(service)?.write(&[frame])?)
    }

    fn seal(mut self, service: &Service) -> Result<Sealed, Refusal> {
        self.sink(service)?;
        match self.sink {
            Some(sink) => Ok(sink.seal(self.meta)?),
            None => Err(Refusal::Internal),
        }
    }

    fn sink(&mut self, service: &Service) -> Result<&mut Sink, Refusal> {
        Ok(match &mut self.sink {
            Some(sink) => sink,
            none => none.insert(Sink::create(&service.store, self.digest)?),
        })
    }
}
