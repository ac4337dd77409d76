//! The workspace's own binaries, as cargo left them.

use std::path::PathBuf;
use std::{env, io};

/// The path of a binary of this workspace, beside the running program (`target/release/NAME`).
///
/// # Errors
///
/// `NotFound`, with the command that builds it.
pub fn path(name: &str) -> io::Result<PathBuf> {
    let exe = env::current_exe()?;
    // A test runs in target/release/deps, the drill in target/release.
    let path = exe.ancestors().skip(1).take(2).map(|directory| directory.join(name)).find(|path| path.is_file());
    path.ok_or_else(|| {
        let text = format!("{name} is not built beside {}: cargo build --release --workspace", exe.display());
        io::Error::new(io::ErrorKind::NotFound, text)
    })
}
