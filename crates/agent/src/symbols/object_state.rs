//! What an executable file offers for names, and what it lacks.

use std::fs::File;

use object::read::ReadCache;
use object::{Object, ObjectSection};
use serde::Serialize;

use super::resolve::PROGRAM;

/// Of the program's own file.
#[derive(Debug, Default, PartialEq, Serialize)]
pub(crate) struct ObjectState {
    /// Lower-case hex; empty where the file has none.
    pub(crate) build_id: String,
    /// Functions, inlined calls.
    pub(crate) debug_info: bool,
    /// Files and lines.
    pub(crate) line_tables: bool,
    /// Names of functions without debug information.
    pub(crate) symbol_table: bool,
    /// Debug information is in files beside this one (`.dwo`, `.dwp`).
    pub(crate) split: bool,
    /// The file that debug information was moved to (`.gnu_debuglink`).
    pub(crate) debug_link: Option<String>,
    /// What to do about what is not there.
    pub(crate) missing: Vec<&'static str>,
}

pub(crate) fn of_program() -> ObjectState {
    let Ok(file) = File::open(PROGRAM) else {
        return ObjectState { missing: vec!["the program's own file cannot be read"], ..ObjectState::default() };
    };
    let cache = ReadCache::new(file);
    let Ok(object) = object::File::parse(&cache) else {
        return ObjectState {
            missing: vec!["the program is not in a format that is understood"],
            ..ObjectState::default()
        };
    };
    let has = |name: &str| object.section_by_name(name).is_some_and(|section| section.size() > 0);
    let build_id = object.build_id().ok().flatten().unwrap_or_default();
    let link = object.gnu_debuglink().ok().flatten().map(|(name, _)| String::from_utf8_lossy(name).into_owned());
    let mut state = ObjectState {
        build_id: build_id.iter().take(64).map(|byte| format!("{byte:02x}")).collect(),
        debug_info: has(".debug_info"),
        line_tables: has(".debug_line"),
        symbol_table: has(".symtab"),
        split: has(".debug_addr") && has(".debug_info") && !has(".debug_str"),
        debug_link: link,
        missing: Vec::new(),
    };
    state.missing = missing(&state);
    state
}

fn missing(state: &ObjectState) -> Vec<&'static str> {
    let mut missing = Vec::new();
    if !state.debug_info && !state.symbol_table {
        missing.push("the binary is stripped: names are those of exported functions only; build with strip = \"none\"");
    } else if !state.debug_info {
        missing.push("no debug information: no lines, no inlined calls; build with debug = 1 or \"line-tables-only\"");
    } else if !state.line_tables {
        missing.push("no line tables: functions have no file and line; build with debug = 1");
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
        let stripped = missing(&ObjectState::default());
        assert!(stripped.len() == 1 && stripped[0].contains("strip"), "{stripped:?}");
        let bare = missing(&ObjectState { symbol_table: true, ..ObjectState::default() });
        assert!(bare[0].contains("debug = 1"), "{bare:?}");
    }
}
