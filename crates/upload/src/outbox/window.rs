//! The events between the journal and the broker's answer, in a bounded window. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::store::FileId;

/// Events held at once, and their bytes; one form more may be held, as forms are read whole. While Kafka is away this
/// is what waits in memory, twice (here and in librdkafka's queue); the rest waits in the journal.
const WINDOW_EVENTS: usize = 2_048;
const WINDOW_BYTES: usize = 2 * 1024 * 1024;

/// One message to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) id: FileId,
    pub(crate) time: String,
    pub(crate) stored_unix_ms: u64,
    pub(crate) value: Vec<u8>,
}

#[derive(Debug, Default)]
pub(crate) struct Window {
    /// Undelivered events by number.
    messages: BTreeMap<u64, Message>,
    /// Those to send, or to send again.
    waiting: BTreeSet<u64>,
    /// Those refused as too large in a batch: sent once more, each alone, before they are given up.
    suspects: BTreeSet<u64>,
    bytes: usize,
    in_flight: usize,
    /// Behind the last event that was read from the journal.
    end: u64,
}

impl Window {
    pub(crate) fn starting_at(seq: u64) -> Self {
        Self { end: seq, ..Self::default() }
    }

    pub(crate) fn has_room(&self) -> bool {
        self.messages.len() < WINDOW_EVENTS && self.bytes < WINDOW_BYTES
    }

    /// Behind the last event that was read from the journal.
    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    /// Takes event `seq`, unless it is behind the window already.
    pub(crate) fn push(&mut self, seq: u64, message: Message) {
        if seq < self.end {
            return;
        }
        self.bytes += message.value.len();
        self.messages.insert(seq, message);
        self.waiting.insert(seq);
        self.end = seq + 1;
    }

    /// Nothing is to be read before `seq`: the journal is damaged there.
    pub(crate) fn skip_to(&mut self, seq: u64) {
        self.end = self.end.max(seq);
    }

    /// The next event to send; a suspect goes alone.
    pub(crate) fn next(&self) -> Option<(u64, &Message)> {
        let seq = match self.suspects.first() {
            Some(_) if self.in_flight > 0 => return None,
            Some(suspect) => suspect,
            None => self.waiting.first()?,
        };
        Some((*seq, self.messages.get(seq)?))
    }

    pub(crate) fn sent(&mut self, seq: u64) {
        self.in_flight += 1;
        self.waiting.remove(&seq);
    }

    /// The event is delivered, or given up.
    pub(crate) fn done(&mut self, seq: u64) -> Option<Message> {
        self.answered(seq);
        self.waiting.remove(&seq);
        self.suspects.remove(&seq);
        let message = self.messages.remove(&seq)?;
        self.bytes -= message.value.len();
        Some(message)
    }

    /// The event is to be sent again.
    pub(crate) fn failed(&mut self, seq: u64) {
        self.answered(seq);
        if self.messages.contains_key(&seq) {
            self.waiting.insert(seq);
        }
    }

    /// The event was refused as too large, perhaps for its neighbours in a batch; `true` where it was sent alone.
    pub(crate) fn too_large(&mut self, seq: u64) -> bool {
        self.failed(seq);
        !self.suspects.insert(seq)
    }

    /// What is in flight will not be answered any more.
    pub(crate) fn all_failed(&mut self) {
        self.waiting.extend(self.messages.keys());
        self.in_flight = 0;
    }

    /// Everything before this event is delivered.
    pub(crate) fn consumed(&self) -> u64 {
        self.messages.keys().next().copied().unwrap_or(self.end)
    }

    pub(crate) fn oldest_unix_ms(&self) -> Option<u64> {
        self.messages.values().next().map(|message| message.stored_unix_ms)
    }

    fn answered(&mut self, seq: u64) {
        let was_sent = self.messages.contains_key(&seq) && !self.waiting.contains(&seq);
        self.in_flight -= usize::from(was_sent && self.in_flight > 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn message(bytes: usize) -> Message {
        let id = FileId::from_parts(0, [0; 10]);
        Message { id, time: String::new(), stored_unix_ms: 0, value: vec![0; bytes] }
    }

    fn send_all(window: &mut Window) -> Vec<u64> {
        std::iter::from_fn(|| {
            let seq = window.next()?.0;
            window.sent(seq);
            Some(seq)
        })
        .collect()
    }

    #[test]
    fn the_consumed_prefix_waits_for_the_slowest() {
        let mut window = Window::starting_at(5);
        (5..9).for_each(|seq| window.push(seq, message(1)));
        assert_eq!(send_all(&mut window), [5, 6, 7, 8]);
        window.done(6);
        window.done(7);
        assert_eq!(window.consumed(), 5);
        window.failed(5);
        assert_eq!(send_all(&mut window), [5]);
        window.done(5);
        assert_eq!(window.consumed(), 8);
        window.done(8);
        assert_eq!((window.consumed(), window.in_flight), (9, 0));
    }

    #[test]
    fn a_suspect_is_sent_alone_and_its_neighbours_survive() {
        let mut window = Window::starting_at(0);
        (0..3).for_each(|seq| window.push(seq, message(1)));
        send_all(&mut window);
        assert!((0..3).all(|seq| !window.too_large(seq)), "in a batch nobody is guilty yet");
        assert_eq!(send_all(&mut window), [0]);
        window.done(0);
        assert_eq!(send_all(&mut window), [1]);
        assert!(window.too_large(1), "alone and too large still");
        window.done(1);
        assert_eq!(send_all(&mut window), [2]);
        window.done(2);
        assert_eq!(window.consumed(), 3);
    }

    #[test]
    fn the_window_is_bounded_in_events_and_bytes() {
        let mut window = Window::starting_at(0);
        (0..WINDOW_EVENTS as u64).for_each(|seq| window.push(seq, message(1)));
        assert!(!window.has_room());
        let mut window = Window::starting_at(0);
        window.push(0, message(WINDOW_BYTES));
        assert!(!window.has_room());
        window.done(0);
        assert!(window.has_room());
    }

    proptest! {
        /// Whatever the broker answers in whatever order, the cursor never passes an event that was not delivered.
        #[test]
        fn the_cursor_never_leads(answers in proptest::collection::vec((0..20_u64, 0..4_u8), 0..200)) {
            let mut window = Window::starting_at(0);
            (0..20).for_each(|seq| window.push(seq, message(1)));
            let mut delivered = BTreeSet::new();
            for (seq, answer) in answers {
                send_all(&mut window);
                match answer {
                    0 => { window.done(seq); delivered.insert(seq); }
                    1 => window.failed(seq),
                    2 => { window.too_large(seq); }
                    _ => window.all_failed(),
                }
                let undelivered = (0..20).find(|seq| !delivered.contains(seq)).unwrap_or(20);
                prop_assert_eq!(window.consumed(), undelivered);
                prop_assert!(window.in_flight <= 20 - delivered.len());
            }
        }
    }
}
