//! How much of a file stays in memory before it goes to the disk: a threshold that can change under uploads in flight.

use std::sync::Arc;

use tokio::sync::watch;

use crate::connection::ReadBuffer;
use crate::ledger::{Ledger, Permit, Pressure};

/// Where a threshold comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// GrowthBook answered.
    GrowthBook,
    /// The flags file.
    File,
    /// `--spool-threshold`.
    Config,
    /// Nobody said anything.
    Default,
}

impl Source {
    pub(crate) const ALL: [Self; 4] = [Self::GrowthBook, Self::File, Self::Config, Self::Default];

    /// As the metric's label has it.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::GrowthBook => "growthbook",
            Self::File => "file",
            Self::Config => "config",
            Self::Default => "default",
        }
    }
}

/// A threshold and who set it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Files up to this size stay in memory until they are whole; 0: straight to the disk.
    pub bytes: u64,
    pub source: Source,
}

/// The threshold, live. Cheap to clone; every clone is the same threshold.
#[derive(Clone, Debug)]
pub struct Threshold {
    setting: Arc<watch::Sender<Setting>>,
}

impl Threshold {
    #[must_use]
    pub fn new(setting: Setting) -> Self {
        Self { setting: Arc::new(watch::channel(setting).0) }
    }

    /// Changes it, for uploads in flight too. The same again changes nothing.
    pub fn set(&self, setting: Setting) {
        self.setting.send_if_modified(|now| std::mem::replace(now, setting) != setting);
    }

    #[must_use]
    pub fn get(&self) -> Setting {
        *self.setting.borrow()
    }

    /// For one upload, whose frames are slices of `read_buffer`.
    pub(crate) fn hold(&self, ledger: &Ledger, read_buffer: ReadBuffer) -> Hold {
        let (setting, pressure) = (self.setting.subscribe(), ledger.pressure());
        Hold { setting, pressure, ledger: ledger.clone(), read_buffer }
    }
}

/// What one upload may hold in memory, now and whenever that changes.
#[derive(Clone, Debug)]
pub(crate) struct Hold {
    setting: watch::Receiver<Setting>,
    pressure: Pressure,
    ledger: Ledger,
    read_buffer: ReadBuffer,
}

impl Hold {
    /// Bytes of a file that may stay in memory. None while the memory budget is spent.
    pub(crate) fn bytes_max(&self) -> u64 {
        if *self.pressure.borrow() { 0 } else { self.setting.borrow().bytes }
    }

    /// What a frame keeps in memory as long as it lives: the read buffer that it is a slice of.
    pub(crate) fn frame_bytes_kept(&self) -> usize {
        self.read_buffer.bytes()
    }

    pub(crate) fn keep(&self, bytes: usize) -> Option<Permit> {
        self.ledger.keep(bytes)
    }

    /// Completes when [`bytes_max`](Self::bytes_max) may have changed since this was last asked. May be dropped.
    pub(crate) async fn changed(&mut self) {
        let changed = tokio::select! {
            changed = self.setting.changed() => changed,
            changed = self.pressure.changed() => changed,
        };
        if changed.is_err() {
            // Nobody is left to change anything.
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(bytes: u64) -> Setting {
        Setting { bytes, source: Source::Config }
    }

    #[test]
    fn a_change_and_pressure_reach_an_upload_in_flight() {
        let (threshold, ledger) = (Threshold::new(held(1 << 20)), Ledger::new(4 << 20));
        let mut hold = threshold.hold(&ledger, ReadBuffer::default());
        assert_eq!(hold.bytes_max(), 1 << 20);
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(async {
            threshold.set(held(1 << 20));
            threshold.set(Setting { bytes: 7, source: Source::File });
            hold.changed().await;
            assert_eq!(hold.bytes_max(), 7);
            let all = ledger.keep(3 << 20).expect("room");
            assert!(ledger.keep(1).is_none());
            hold.changed().await;
            assert_eq!(hold.bytes_max(), 0);
            drop(all);
            hold.changed().await;
            assert_eq!(hold.bytes_max(), 7);
        });
        assert_eq!(threshold.get().source.label(), "file");
    }
}
