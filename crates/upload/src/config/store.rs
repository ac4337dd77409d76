//! Whether a store could be opened, found out without touching anything.

use std::path::Path;

use rustix::fs::Access;

use super::Stop;

/// Refuses a path that is no directory, or one in which nothing can be made. One that is missing is fine where it can
/// be made.
pub(super) fn check(flag: &str, store: &Path) -> Result<(), Stop> {
    let refused = |what: String| Stop::Refused(format!("{flag} {}: {what}", store.display()));
    // An empty last component stands for the working directory.
    let paths = store.ancestors().map(|path| if path.as_os_str().is_empty() { Path::new(".") } else { path });
    for path in paths {
        let of = if path == store { "it".to_owned() } else { path.display().to_string() };
        match std::fs::metadata(path) {
            Ok(metadata) if !metadata.is_dir() => return Err(refused(format!("{of} is no directory"))),
            Ok(_) => {
                let writable = rustix::fs::access(path, Access::WRITE_OK | Access::EXEC_OK);
                return writable.map_err(|errno| refused(format!("{of} cannot be written: {errno}")));
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotADirectory => {}
            Err(error) => return Err(refused(error.to_string())),
        }
    }
    Ok(())
}
