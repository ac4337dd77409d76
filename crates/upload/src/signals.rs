//! SIGTERM and SIGINT: the first one drains, a second one leaves at once.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{info, warn};

/// Exit status where the process was told twice.
pub const EXIT_AT_ONCE: i32 = 130;

/// Both signals, caught from the moment this is made.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Must be called in a runtime.
    ///
    /// # Errors
    /// Where a handler cannot be installed.
    pub fn new() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Completes at the first signal. From then on a second one ends the process, whatever it is doing.
    pub async fn first(mut self) {
        let name = self.next().await;
        info!(signal = name, "draining; a second signal leaves at once");
        tokio::spawn(async move {
            let name = self.next().await;
            warn!(signal = name, "left without draining");
            std::process::exit(EXIT_AT_ONCE);
        });
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
