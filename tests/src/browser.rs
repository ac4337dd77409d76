//! A real browser without a window.

use std::io;
use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

use crate::part::{self, Missing};
use crate::process::{LaunchError, Process};

/// Chromium from Debian's packages.
#[derive(Debug)]
pub struct Browser(PathBuf);

/// A browser that shows a page; it ends when dropped.
#[derive(Debug)]
pub struct Session {
    // Ends before its files go.
    _process: Process,
    _profile: TempDir,
}

impl Browser {
    pub fn find() -> Result<Self, Missing> {
        part::program("chromium").map(Self)
    }

    /// Opens a page; what it does there, its scripts say.
    pub fn open(&self, url: &str) -> Result<Session, LaunchError> {
        let preparing = |source: io::Error| LaunchError::Prepare { name: "chromium".to_owned(), source };
        let profile = TempDir::with_prefix("chromium-").map_err(preparing)?;
        let mut command = Command::new(&self.0);
        command.args(["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]);
        command.args(["--disable-background-networking", "--disable-component-update", "--disable-sync"]);
        // Without this port the browser would print the page and end before a form is answered.
        command.arg("--remote-debugging-port=0");
        command.arg(format!("--user-data-dir={}", profile.path().display())).arg(url);
        let process = Process::spawn("chromium", command, &profile.path().join("log"))?;
        Ok(Session { _process: process, _profile: profile })
    }
}
