//! How far the events are: what the committer, the publisher, the metrics and the drain tell each other.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::error::KafkaError;

/// The broker's answer to one message, by event number.
pub(crate) type Settled = (u64, Result<(), KafkaError>);

/// Event numbers: `consumed ≤ ready ≤ journaled`.
#[derive(Debug)]
struct State {
    /// Behind the last event that is durable.
    journaled: u64,
    /// Behind the last event whose file is visible: the publisher may send so far.
    ready: u64,
    /// Behind the last event that was delivered.
    consumed: u64,
    oldest_unix_ms: Option<u64>,
    /// Answers that the publisher has not seen; bounded by its window.
    settled: Vec<Settled>,
    stopping: bool,
    /// A committed form waits for its renames, or the journal cannot be trusted: nothing more is accepted.
    stuck: bool,
    /// A thread ended that has work to do as long as the process lives.
    deserted: bool,
    /// The last form found no room in the journal, and nothing was delivered since.
    full: bool,
    /// Threads that wait for a change: without one, to tell of it would be a system call for nobody.
    waiting: usize,
}

#[derive(Debug)]
pub(crate) struct Progress {
    state: Mutex<State>,
    changed: Condvar,
}

/// Dropped, nobody does the work any more.
#[derive(Debug)]
pub(crate) struct OnDuty {
    progress: Arc<Progress>,
}

impl Drop for OnDuty {
    fn drop(&mut self) {
        self.progress.update(|state| state.deserted = true);
    }
}

/// What the publisher wakes up to.
#[derive(Debug)]
pub(crate) struct News {
    pub(crate) ready: u64,
    pub(crate) settled: Vec<Settled>,
    pub(crate) stopping: bool,
}

impl Progress {
    pub(crate) fn new(consumed: u64, journaled: u64) -> Self {
        let state = State {
            journaled,
            ready: journaled,
            consumed,
            oldest_unix_ms: None,
            settled: Vec::new(),
            stopping: false,
            stuck: false,
            deserted: false,
            full: false,
            waiting: 0,
        };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    pub(crate) fn journaled(&self, end: u64) {
        self.update(|state| state.journaled = end);
    }

    pub(crate) fn ready(&self, end: u64) {
        self.update(|state| state.ready = end);
    }

    /// `oldest_unix_ms`: when the oldest file whose event waits was stored.
    pub(crate) fn consumed(&self, end: u64, oldest_unix_ms: Option<u64>) {
        self.update(|state| {
            state.full &= end == state.consumed;
            (state.consumed, state.oldest_unix_ms) = (end, oldest_unix_ms);
        });
    }

    pub(crate) fn settled(&self, answer: Settled) {
        self.update(|state| state.settled.push(answer));
    }

    pub(crate) fn stuck(&self, stuck: bool) {
        self.update(|state| state.stuck = stuck);
    }

    pub(crate) fn full(&self) {
        self.update(|state| state.full = true);
    }

    /// Not where nothing waits: one form was too large, others are not.
    pub(crate) fn is_full(&self) -> bool {
        let state = self.locked();
        state.full && state.journaled > state.consumed
    }

    /// Whether a thread ended that had work to do.
    pub(crate) fn is_deserted(&self) -> bool {
        self.locked().deserted
    }

    pub(crate) fn is_stuck(&self) -> bool {
        self.locked().stuck
    }

    /// To be held by a thread as long as it does its work, a panic included.
    pub(crate) fn on_duty(self: &Arc<Self>) -> OnDuty {
        OnDuty { progress: Arc::clone(self) }
    }

    pub(crate) fn stop(&self) {
        self.update(|state| state.stopping = true);
    }

    pub(crate) fn consumed_to(&self) -> u64 {
        self.locked().consumed
    }

    pub(crate) fn pending(&self) -> u64 {
        let state = self.locked();
        state.journaled.saturating_sub(state.consumed)
    }

    /// Age of the oldest waiting event at `now_unix_ms`.
    pub(crate) fn oldest_ms(&self, now_unix_ms: u64) -> u64 {
        let state = self.locked();
        let waiting = state.oldest_unix_ms.filter(|_| state.journaled > state.consumed);
        waiting.map_or(0, |stored| now_unix_ms.saturating_sub(stored))
    }

    /// Waits for answers, for events from `sent_to` on, or for the end; at most until `until`.
    pub(crate) fn wait_for_news(&self, sent_to: u64, until: Instant) -> News {
        let idle = |state: &State| state.ready <= sent_to && state.settled.is_empty() && !state.stopping;
        let mut state = self.wait_while(idle, until);
        News { ready: state.ready, settled: std::mem::take(&mut state.settled), stopping: state.stopping }
    }

    /// Waits until every event is delivered; how many are not after `timeout`.
    pub(crate) fn wait_until_consumed(&self, timeout: Duration) -> u64 {
        let state = self.wait_while(|state| state.consumed < state.journaled, Instant::now() + timeout);
        state.journaled.saturating_sub(state.consumed)
    }

    fn wait_while(&self, condition: impl Fn(&State) -> bool, until: Instant) -> MutexGuard<'_, State> {
        let timeout = until.saturating_duration_since(Instant::now());
        let mut state = self.locked();
        state.waiting += 1;
        let waited = self.changed.wait_timeout_while(state, timeout, |state| condition(state));
        let mut state = waited.unwrap_or_else(PoisonError::into_inner).0;
        state.waiting -= 1;
        state
    }

    fn update(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.locked();
        change(&mut state);
        if state.waiting > 0 {
            drop(state);
            self.changed.notify_all();
        }
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_ends_is_noticed_and_a_form_that_is_stuck() {
        let progress = Arc::new(Progress::new(0, 0));
        assert!(!progress.is_stuck());
        progress.stuck(true);
        assert!(progress.is_stuck());
        progress.stuck(false);
        assert!(!progress.is_stuck());
        let duty = progress.on_duty();
        assert!(!progress.is_deserted());
        drop(duty);
        assert!(progress.is_deserted());
    }

    /// Or a server whose Kafka came back would refuse uploads for ever, since no form gets as far as the journal.
    #[test]
    fn a_full_outbox_is_tried_again_once_something_was_delivered() {
        let progress = Progress::new(3, 9);
        progress.full();
        progress.consumed(3, None);
        assert!(progress.is_full());
        progress.consumed(4, None);
        assert!(!progress.is_full());
    }
}
