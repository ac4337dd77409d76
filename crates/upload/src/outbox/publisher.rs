//! From the journal to Kafka, on a thread of its own: at least once, in order, as long as it takes.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rdkafka::error::{KafkaError, KafkaResult};
use tracing::{error, info, warn};

use super::KafkaOptions;
use super::cursor::Cursor;
use super::journal::Segments;
use super::metrics::Metrics;
use super::poison;
use super::producer::{Producer, Refusal, judge};
use super::progress::Progress;
use super::reader::Reader;
use super::window::{Message, Window};
use crate::event::Event;
use crate::store::Directory;

/// After a failure sending pauses, twice as long each time, until something is delivered.
const BACKOFF_MIN: Duration = Duration::from_millis(250);
const BACKOFF_MAX: Duration = Duration::from_secs(15);
/// How long the thread sleeps at most; a fatal error of the producer is noticed within this.
const TICK: Duration = Duration::from_secs(1);

pub(crate) struct Publisher {
    directory: Arc<Directory>,
    options: KafkaOptions,
    progress: Arc<Progress>,
    metrics: Metrics,
    cursor: Cursor,
    reader: Reader,
    window: Window,
    producer: Option<Producer>,
    paused_until: Instant,
    backoff: Duration,
}

impl Publisher {
    /// Goes on at the cursor.
    pub(crate) fn new(
        directory: &Arc<Directory>,
        segments: &Arc<Segments>,
        cursor: Cursor,
        options: KafkaOptions,
        progress: &Arc<Progress>,
        metrics: &Metrics,
    ) -> KafkaResult<Self> {
        let producer = Producer::new(&options, progress, metrics)?;
        Ok(Self {
            directory: Arc::clone(directory),
            options,
            progress: Arc::clone(progress),
            metrics: metrics.clone(),
            reader: Reader::new(Arc::clone(segments), cursor.seq()),
            window: Window::starting_at(cursor.seq()),
            cursor,
            producer: Some(producer),
            paused_until: Instant::now(),
            backoff: BACKOFF_MIN,
        })
    }

    pub(crate) fn spawn(self) -> io::Result<JoinHandle<()>> {
        std::thread::Builder::new().name("outbox-publish".into()).spawn(move || self.run())
    }

    fn run(mut self) {
        let _duty = self.progress.on_duty();
        loop {
            let now = Instant::now();
            let until = if now < self.paused_until { self.paused_until.min(now + TICK) } else { now + TICK };
            // With a full window, or in a pause, new events are no news.
            let waiting_for =
                if self.window.has_room() && now >= self.paused_until { self.window.end() } else { u64::MAX };
            let news = self.progress.wait_for_news(waiting_for, until);
            for (seq, answer) in news.settled {
                self.settle(seq, answer);
            }
            self.note_consumed();
            if news.stopping {
                return self.stop();
            }
            self.replace_producer_if_dead();
            if let Err(error) = self.read_journal(news.ready) {
                error!(%error, "the outbox cannot be read");
                self.pause();
            }
            self.send();
            self.note_consumed();
        }
    }

    /// What was answered last is noted; the rest waits for the next start.
    fn stop(mut self) {
        self.drop_producer();
        self.note_consumed();
    }

    fn settle(&mut self, seq: u64, answer: Result<(), KafkaError>) {
        let Err(error) = answer else {
            self.window.done(seq);
            self.backoff = BACKOFF_MIN;
            return;
        };
        let poisoned = match judge(&error) {
            Refusal::Poison => true,
            Refusal::TooLarge => self.window.too_large(seq),
            Refusal::Passing => {
                self.window.failed(seq);
                self.pause();
                false
            }
        };
        if poisoned {
            self.give_up(seq, &error);
        }
    }

    fn give_up(&mut self, seq: u64, reason: &KafkaError) {
        let Some(message) = self.window.done(seq) else { return };
        self.metrics.poisoned.inc();
        match poison::set_aside(&self.directory, &message, &reason.to_string()) {
            Ok(()) => warn!(id = %message.id, %reason, "an event is set aside in outbox/poison.jsonl"),
            Err(error) => error!(id = %message.id, %reason, %error, "an event is dropped: it cannot be set aside"),
        }
    }

    fn note_consumed(&mut self) {
        let consumed = self.window.consumed();
        if consumed != self.cursor.seq() {
            self.cursor.advance(consumed);
        }
        self.progress.consumed(consumed, self.window.oldest_unix_ms());
    }

    fn read_journal(&mut self, ready: u64) -> io::Result<()> {
        while self.window.end() < ready && self.window.has_room() {
            let Some(record) = self.reader.next()? else {
                self.window.skip_to(ready);
                break;
            };
            for (seq, file) in (record.seq..).zip(&record.files) {
                let event = Event::new(&file.id, &file.meta);
                let value = event.data_json()?;
                let stored_unix_ms = file.meta.stored_unix_ms;
                self.window.push(seq, Message { id: file.id, time: event.time, stored_unix_ms, value });
            }
        }
        Ok(())
    }

    fn send(&mut self) {
        while Instant::now() >= self.paused_until
            && let Some(producer) = &self.producer
            && let Some((seq, message)) = self.window.next()
        {
            match producer.send(seq, message) {
                Ok(()) => self.window.sent(seq),
                Err(error) => {
                    self.window.sent(seq);
                    self.metrics.delivery_failures.inc();
                    self.settle(seq, Err(error));
                }
            }
        }
    }

    fn replace_producer_if_dead(&mut self) {
        if let Some((code, reason)) = self.producer.as_ref().and_then(Producer::fatal_error) {
            warn!(%code, reason, "the Kafka producer is replaced");
            self.drop_producer();
            self.metrics.producers_replaced.inc();
            self.pause();
        }
        if self.producer.is_none() && Instant::now() >= self.paused_until {
            match Producer::new(&self.options, &self.progress, &self.metrics) {
                Ok(producer) => {
                    info!("a new Kafka producer");
                    self.producer = Some(producer);
                }
                Err(error) => {
                    error!(%error, "no Kafka producer");
                    self.pause();
                }
            }
        }
    }

    /// Waits for its last answers, half a second at most: a new one is the only one.
    fn drop_producer(&mut self) {
        self.producer = None;
        let last = self.progress.wait_for_news(u64::MAX, Instant::now());
        last.settled.into_iter().for_each(|(seq, answer)| self.settle(seq, answer));
        self.window.all_failed();
    }

    fn pause(&mut self) {
        let now = Instant::now();
        if now >= self.paused_until {
            self.paused_until = now + self.backoff;
            self.backoff = (2 * self.backoff).min(BACKOFF_MAX);
        }
    }
}
