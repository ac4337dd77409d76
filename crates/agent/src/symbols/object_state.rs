//! What an executable file offers for names, and what it lacks.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use serde::Serialize;

use super::debug_file::DebugFile;
use super::dwarf::Split;
use super::resolve::PROGRAM;

/// Of the program's own file.
#[derive(Debug, Default, PartialEq, Serialize)]
pub(crate) struct ObjectState {
    /// Lower-case hex; empty where the file has none.
    pub(crate) build_id: String,
    /// Functions, inlined calls; also where they are in a file that was found by build id or link.
    pub(crate) debug_info: bool,
    /// Files and lines.
    pub(crate) line_tables: bool,
    /// Names of functions without debug information.
    pub(crate) symbol_table: bool,
    /// The file that debug information was moved to (`.gnu_debuglink`).
    pub(crate) debug_link: Option<String>,
    /// What to do about what is not there.
    pub(crate) missing: Vec<&'static str>,
}

/// Reads headers; cost: less than a millisecond.
pub(crate) fn of_program() -> ObjectState {
    let Some(file) = DebugFile::open(Path::new(PROGRAM)) else {
        return ObjectState { missing: vec!["the program's own file cannot be read"], ..ObjectState::default() };
    };
    let debug_link = file.debug_link();
    let file = file.with_debug_info(Path::new(PROGRAM));
    let has = |name| file.has(name) && !file.is_beyond_reading();
    let mut state = ObjectState {
        build_id: file.build_id().to_owned(),
        debug_info: has(".debug_info"),
        line_tables: has(".debug_line"),
        symbol_table: file.with_symbols().has(".symtab"),
        debug_link,
        missing: Vec::new(),
    };
    state.missing = missing(&state, file.has(".debug_info"));
    state
}

/// What the program's own file lacks. A running program's file stays what it is: once it lacks nothing, it is not read again.
pub(crate) fn missing_of_program() -> Vec<&'static str> {
    static COMPLETE: AtomicBool = AtomicBool::new(false);
    if COMPLETE.load(Relaxed) {
        return Vec::new();
    }
    let missing = of_program().missing;
    COMPLETE.store(missing.is_empty(), Relaxed);
    missing
}

/// Looks for the parts of debug information that were split off, too. Cost: a pass over all units, some milliseconds.
pub(crate) fn of_program_and_its_parts() -> ObjectState {
    let mut state = of_program();
    let program = Path::new(PROGRAM);
    let file = DebugFile::open(program).map(|file| file.with_debug_info(program));
    if state.debug_info && file.is_some_and(|file| Split::beside(program).is_incomplete(&file)) {
        state.missing.push("split debug information was left behind: put the .dwp or the .dwo files beside the binary");
    }
    state
}

fn missing(state: &ObjectState, has_unread: bool) -> Vec<&'static str> {
    let mut missing = Vec::new();
    if !state.debug_info && has_unread {
        missing
            .push("the debug information is compressed and too large, or in an unknown way: only functions have names");
    } else if !state.debug_info && !state.symbol_table {
        missing.push("the binary is stripped: names are those of exported functions only; build with strip = \"none\"");
    } else if !state.debug_info {
        missing.push("no debug information: no lines, no inlined calls; build with debug = 1 or \"line-tables-only\"");
    } else if !state.line_tables {
        missing.push("no line tables: functions have no file and line; build with debug = 1");
    }
    if !state.debug_info && state.debug_link.is_some() {
        missing.push("the file that debug information was moved to is not there, or is of another build");
    }
    missing
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_test_has_what_the_profile_says() {
        let state = of_program();
        assert!(state.debug_info && state.line_tables && state.symbol_table && state.missing.is_empty(), "{state:?}");
    }

    #[test]
    fn what_is_missing_comes_with_its_cure() {
        let stripped = missing(&ObjectState::default(), false);
        assert!(stripped.len() == 1 && stripped[0].contains("strip"), "{stripped:?}");
        let bare = missing(&ObjectState { symbol_table: true, ..ObjectState::default() }, false);
        assert!(bare[0].contains("debug = 1"), "{bare:?}");
        let unread = missing(&ObjectState { symbol_table: true, ..ObjectState::default() }, true);
        assert!(unread.len() == 1 && unread[0].contains("compressed"), "{unread:?}");
        let moved = ObjectState { debug_link: Some("shop.debug".to_owned()), ..ObjectState::default() };
        assert_eq!(missing(&moved, false).len(), 2);
    }
}
