//! Names in profiles of programs and libraries that were built, linked, stripped and taken apart in every usual way.
//! One small program (symbols/host.rs) is linked against the agent that is built already, and post-processed; a small
//! library (symbols/plugin.rs) is loaded by it late.

#[path = "symbols/build.rs"]
mod build;
#[path = "symbols/running.rs"]
mod running;

use std::path::Path;

use build::{Toolbox, objcopy};
use heapline_tests::part;
use running::{Run, run};

/// What a profile can say of a program.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Detail {
    /// Paths of functions, inlined calls, files, lines.
    Full,
    /// The same, inlined calls without their path.
    Lines,
    /// Functions.
    Symbols,
    /// Addresses.
    Nothing,
}

use Detail::{Full, Lines, Nothing, Symbols};

#[test]
fn programs() {
    let Some(toolbox) = part::available("symbols::programs", Toolbox::find()) else { return };
    let directory = tempfile::tempdir().expect("a directory");
    let at = |name: &str| directory.path().join(name).join("host");
    let built = [
        ("pie", Full, vec!["debuginfo=1"]),
        ("not-pie", Full, vec!["debuginfo=1", "relocation-model=static"]),
        ("gnu-ld", Full, vec!["debuginfo=1", "link-arg=-fuse-ld=bfd"]),
        ("v0", Full, vec!["debuginfo=2", "symbol-mangling-version=v0"]),
        ("packed", Full, vec!["debuginfo=2", "split-debuginfo=packed"]),
        ("unpacked", Full, vec!["debuginfo=2", "split-debuginfo=unpacked"]),
        ("lines", Lines, vec!["debuginfo=line-tables-only"]),
        ("none", Symbols, vec!["debuginfo=0"]),
        ("nameless", Full, vec!["debuginfo=1", "link-arg=-Wl,--build-id=none"]),
    ];
    for (name, detail, options) in &built {
        toolbox.program(&at(name), options);
        // The libraries in it have lines, its own functions have not.
        let missing: &[&str] = if *detail == Symbols { &["built without debug information"] } else { &[] };
        judge(name, &run(&at(name), &[]), *detail, missing);
    }
    let from_pie = |name: &str, options: &[&str]| objcopy(options, &at("pie"), &at(name));
    from_pie("zlib", &["--compress-debug-sections=zlib"]);
    judge("zlib", &run(&at("zlib"), &[]), Full, &[]);
    from_pie("zstd", &["--compress-debug-sections=zstd"]);
    judge("zstd", &run(&at("zstd"), &[]), Full, &[]);
    from_pie("without-debug", &["--strip-debug"]);
    judge("without-debug", &run(&at("without-debug"), &[]), Symbols, &["no debug information"]);
    from_pie("stripped", &["--strip-all"]);
    judge("stripped", &run(&at("stripped"), &[]), Nothing, &["without its function's name", "the binary is stripped"]);

    // A binary that was moved without what had been split off it.
    let bare = at("bare");
    std::fs::create_dir_all(bare.parent().expect("a parent")).expect("makes");
    std::fs::copy(at("packed"), &bare).expect("copies");
    judge("bare", &run(&bare, &[]), Symbols, &["split debug information was left behind"]);
    std::fs::copy(at("packed").with_extension("dwp"), bare.with_extension("dwp")).expect("copies");
    judge("bare, with its package", &run(&bare, &[]), Full, &[]);

    debug_links(&at("pie"), &at("linked"), &at("v0"));
    debug_links(&at("nameless"), &at("linked-nameless"), &at("v0"));
}

/// Debug information in a file of its own, told by build id or, without one, by checksum; that of another build is
/// refused.
fn debug_links(whole: &Path, stripped: &Path, other: &Path) {
    let debug = stripped.with_file_name("host.debug");
    objcopy(&["--only-keep-debug"], whole, &debug);
    objcopy(&["--strip-all", &format!("--add-gnu-debuglink={}", debug.display())], whole, stripped);
    judge("debug link", &run(stripped, &[]), Full, &[]);
    let below = stripped.with_file_name(".debug").join("host.debug");
    std::fs::create_dir_all(below.parent().expect("a parent")).expect("makes");
    std::fs::rename(&debug, &below).expect("moves");
    judge("debug link, .debug/", &run(stripped, &[]), Full, &[]);
    objcopy(&["--only-keep-debug"], other, &below);
    let missing = ["without its function's name", "the binary is stripped", "is of another build"];
    judge("debug link of another build", &run(stripped, &[]), Nothing, &missing);
}

fn judge(name: &str, run: &Run, detail: Detail, missing: &[&str]) {
    let has = |stack: &[&str]| run.has(stack);
    let context = || format!("{name}: {run:#?}");
    let leaks = [
        "host::forms::leak_inlined",
        "host::forms::leak_in_async::{{closure}}",
        "host::forms::leak_in_a_closure::{{closure}}",
    ];
    match detail {
        Full => {
            assert!(has(&["host::forms::kept_by_an_inlined_call", leaks[0]]), "{}", context());
            assert!(leaks.iter().all(|leak| has(&[leak]) && run.has_line(leak, "host.rs")), "{}", context());
        }
        Lines => {
            assert!(has(&["kept_by_an_inlined_call", leaks[0]]), "{}", context());
            assert!(run.has_line(leaks[0], "host.rs"), "{}", context());
            assert!(run.is_leaf("kept_by_an_inlined_call"), "the library's own frames are left out: {}", context());
        }
        Symbols => {
            assert!(has(&[leaks[0]]) && has(&[leaks[2]]) && !run.has_line(leaks[0], "host.rs"), "{}", context());
        }
        Nothing => assert!(!leaks.iter().any(|leak| has(&[leak])), "{}", context()),
    }
    if detail != Nothing {
        assert!(
            has(&["strdup", "host::forms::leak_through_c"]),
            "a C library's function and its caller: {}",
            context()
        );
        assert!(run.symbol_agrees, "/debug/pprof/symbol says the same: {}", context());
    }
    assert_eq!(run.problems.len(), missing.len(), "{}", context());
    for (problem, expected) in run.problems.iter().zip(missing) {
        assert!(problem.contains(expected), "{expected}: {}", context());
    }
    // What is missing stands in the profile, too.
    let about_names = missing.iter().filter(|missing| !missing.contains("its function's name"));
    let in_profile = about_names
        .filter(|missing| !missing.contains("split") && !missing.contains("built without"))
        .all(|missing| run.profile_strings.iter().any(|text| text.starts_with("names: ") && text.contains(missing)));
    assert!(in_profile, "{}", context());
}

#[test]
fn libraries_that_are_loaded_late() {
    let Some(toolbox) = part::available("symbols::libraries_that_are_loaded_late", Toolbox::find()) else { return };
    let directory = tempfile::tempdir().expect("a directory");
    let at = |name: &str| directory.path().join(name).join("libplugin.so");
    let host = directory.path().join("host/host");
    toolbox.program(&host, &["debuginfo=1"]);
    let built = [
        ("full", Full, vec!["debuginfo=2"]),
        ("lines", Lines, vec!["debuginfo=line-tables-only"]),
        ("none", Symbols, vec!["debuginfo=0"]),
        ("v0", Full, vec!["debuginfo=1", "symbol-mangling-version=v0"]),
        ("lto", Full, vec!["debuginfo=2", "lto=fat"]),
        ("packed", Full, vec!["debuginfo=2", "split-debuginfo=packed"]),
        ("unpacked", Full, vec!["debuginfo=2", "split-debuginfo=unpacked"]),
        ("stripped", Nothing, vec!["debuginfo=0", "strip=symbols"]),
    ];
    for (name, _, options) in &built {
        toolbox.library(&at(name), options);
    }
    objcopy(&["--compress-debug-sections=zstd"], &at("full"), &at("zstd"));
    let all = built.iter().map(|(name, detail, _)| (*name, *detail)).chain([("zstd", Full)]);
    for (name, detail) in all {
        let run = run(&host, &[&at(name)]);
        let has = |stack: &[&str]| run.has(stack);
        let context = || format!("{name}: {run:#?}");
        match detail {
            Full => {
                let leak =
                    ["plugin::shelf::kept_in_a_library", "plugin::shelf::keep", "plugin_leak", "host::call_library"];
                assert!(has(&leak) && run.has_line(leak[0], "plugin.rs"), "{}", context());
            }
            Lines => assert!(has(&["kept_in_a_library", "plugin::shelf::keep", "plugin_leak"]), "{}", context()),
            Symbols => assert!(has(&["plugin::shelf::keep", "plugin_leak", "host::call_library"]), "{}", context()),
            // Nameless in mid-stack, it does not end the walk; what it exports has a name all the same.
            Nothing => assert!(has(&["", "plugin_leak", "host::call_library"]), "{}", context()),
        }
        assert!(has(&["host::forms::called_back", "plugin_call", "host::call_library"]), "{}", context());
    }
}
