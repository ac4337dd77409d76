//! Whose code a function is: the allocator's, the standard library's, a runtime's, a library's, or the program's own.
//!
//! The one list of such names. Profiles are stripped by it, culprits are named by it, flame graphs are coloured by it.

use super::Frame;
use super::names::as_position;

/// Crates that stand between a program and its own code, for binaries that do not say where a function's source is.
const PLUMBING: [&str; 42] = [
    "actix_rt",
    "actix_server",
    "actix_web",
    "async_executor",
    "async_std",
    "async_task",
    "axum",
    "axum_core",
    "backtrace",
    "bytes",
    "crossbeam_channel",
    "crossbeam_deque",
    "crossbeam_utils",
    "dashmap",
    "flume",
    "futures",
    "futures_channel",
    "futures_core",
    "futures_executor",
    "futures_util",
    "h2",
    "hyper",
    "hyper_util",
    "indexmap",
    "mio",
    "moka",
    "once_cell",
    "parking_lot",
    "rayon",
    "rayon_core",
    "rdkafka",
    "rdkafka_sys",
    "serde",
    "serde_core",
    "serde_json",
    "smol",
    "tikv_jemallocator",
    "tokio",
    "tokio_util",
    "tower",
    "tower_service",
    "tracing",
];

/// Where cargo keeps the sources of others.
const LIBRARY_PLACES: [&str; 2] = ["/registry/src/", "/git/checkouts/"];

/// Where rustup and distributions keep the standard library's, and what its paths begin with where they are remapped.
const STANDARD_PLACES: [&str; 5] =
    ["/rustc/", "/rustlib/src/", "/library/std/src/", "/library/core/src/", "/library/alloc/src/"];

/// This crate, wherever its source is.
const AGENT: &str = "heapline";

/// How good a frame is as the name of a call site.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rank {
    /// Allocator, standard library, nothing known: never.
    Nothing,
    /// C and the like, a name without a path.
    Foreign,
    /// A runtime, or a crate as common as one.
    Plumbing,
    /// A crate of somebody else's.
    Library,
    /// The program's own.
    User,
}

/// Whose a frame is, by its function and file.
pub(crate) fn rank(frame: &Frame) -> Rank {
    let (function, file) = (&*frame.function, &*frame.file);
    let is_standard = |file: &str| STANDARD_PLACES.iter().any(|place| file.contains(place));
    // Line tables alone name what was inlined without its path: the file says whose it is.
    if function.is_empty() || is_allocator(function) || is_standard_library(function) || is_standard(file) {
        return Rank::Nothing;
    }
    let is_rust = file.ends_with(".rs") || (file.is_empty() && function.contains("::") && !function.contains('('));
    if !is_rust || is_start(function) {
        return if is_start(function) { Rank::Nothing } else { Rank::Foreign };
    }
    let owner = crate_name(function);
    let is_library = LIBRARY_PLACES.iter().any(|place| file.contains(place)) || is_vendored(file);
    // A program may have a module of such a name, in a file of its own.
    let is_plumbing = (is_library || file.is_empty()) && PLUMBING.contains(&owner);
    if is_plumbing || owner == AGENT || function.starts_with("__rust") {
        Rank::Plumbing
    } else if is_library {
        Rank::Library
    } else {
        Rank::User
    }
}

/// Whether a [readable](super::names::readable) name is an entry point of an allocator: what a program calls for memory.
pub(crate) fn is_allocator(name: &str) -> bool {
    const C: [&str; 13] = [
        "malloc",
        "calloc",
        "realloc",
        "reallocarray",
        "posix_memalign",
        "aligned_alloc",
        "memalign",
        "valloc",
        "pvalloc",
        "mallocx",
        "rallocx",
        "xallocx",
        "smallocx",
    ];
    // What is left of jemalloc on a stack where its entry point called it last, and so gave its own frame up.
    const INNER: [&str; 6] =
        ["prof_backtrace_impl", "prof_backtrace", "prof_tctx_create", "malloc_default", "imalloc", "do_rallocx"];
    const RUST: [&str; 3] = ["__rust_", "__rdl_", "__rg_"];
    let unprefixed = name.strip_prefix("_rjem_").unwrap_or(name);
    let plain = unprefixed.strip_prefix("je_").unwrap_or(unprefixed);
    let shim = name.strip_prefix("__rustc::").unwrap_or(name);
    let is_shim =
        |prefix| shim.strip_prefix(prefix).is_some_and(|rest| rest.starts_with("alloc") || rest.starts_with("realloc"));
    C.contains(&plain)
        || INNER.contains(&plain)
        || RUST.into_iter().any(is_shim)
        || name.contains("GlobalAlloc>::")
        || name.starts_with("operator new")
}

/// Whether a [readable](super::names::readable) name is of Rust's own library: what stands between a program and the allocator when a vector
/// grows, and is no more telling than Go's `runtime.growslice`, which Go hides as well.
pub(crate) fn is_standard_library(name: &str) -> bool {
    let of_library = |path: &str| {
        let path = path.trim_start_matches(['<', '&', '*', '[', '(', ' ']);
        let path = ["mut ", "const ", "dyn "].into_iter().fold(path, |path, word| path.trim_start_matches(word));
        let (head, _) = path.split_once("::")?;
        // Only the library gives slices and the like methods of their own.
        let is_builtin = matches!(head.trim_end_matches(['>', ']', ')']), "_" | "T" | "str" | "u8");
        Some(is_builtin || matches!(head, "alloc" | "core" | "std" | "hashbrown"))
    };
    let implemented = name.strip_prefix('<').and_then(|inner| Some((inner, as_position(inner)?)));
    match implemented {
        // A trait of the library for a type of the program is the program's; for a `u8` or a `T` it is not.
        Some((inner, at)) => of_library(&inner[..at]).or_else(|| of_library(&inner[at + 4..])).unwrap_or(false),
        None => of_library(name).unwrap_or(false),
    }
}

/// What runs a program or a thread before its own code does.
fn is_start(function: &str) -> bool {
    matches!(function, "main" | "_start" | "start_thread" | "clone" | "clone3" | "__clone" | "__clone3")
        || function.starts_with("__libc_start")
        || function.starts_with("__rust_begin_short_backtrace")
}

/// The crate that a path begins with: also of `<tokio::task::Task as core::future::Future>::poll`.
fn crate_name(function: &str) -> &str {
    let path = function.trim_start_matches(['<', '&', '*', '[', '(']);
    let path = path.strip_prefix("mut ").or_else(|| path.strip_prefix("dyn ")).unwrap_or(path);
    path.split("::").next().unwrap_or_default()
}

/// `vendor/tokio-1.38.0/src/…` or `tokio-1.38.0/src/…`, as `cargo vendor` and remapped paths leave them.
fn is_vendored(file: &str) -> bool {
    file.starts_with("vendor/") || file.contains("/vendor/") || {
        let first = file.split('/').next().unwrap_or_default();
        let version = first.rsplit_once('-').map_or("", |(_, version)| version);
        version.split('.').count() >= 3 && version.starts_with(|first: char| first.is_ascii_digit())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_belong_to_somebody() {
        for (function, file, expected) in [
            ("shop::add", "src/shop.rs", Rank::User),
            ("shop::run::{{closure}}", "/srv/shop/src/main.rs", Rank::User),
            ("<shop::Dedup as shop::Stage>::apply", "src/stage.rs", Rank::User),
            ("<shop::Body as core::future::future::Future>::poll", "src/body.rs", Rank::User),
            ("add_from_c", "src/ffi.rs", Rank::User),
            ("shop::add", "", Rank::User),
            ("lru::LruCache::put", "/home/somebody/.cargo/registry/src/index-1/lru-0.12.0/src/lib.rs", Rank::Library),
            ("lru::LruCache::put", "lru-0.12.0/src/lib.rs", Rank::Library),
            ("lru::LruCache::put", "/srv/shop/vendor/lru/src/lib.rs", Rank::Library),
            ("<tokio::task::Task as core::future::Future>::poll", "/x/registry/src/i/tokio-1/src/a.rs", Rank::Plumbing),
            ("tokio::task::spawn", "", Rank::Plumbing),
            ("rd_kafka_new", "rdkafka.c", Rank::Foreign),
            ("rd_kafka_new", "", Rank::Foreign),
            ("leveldb::DB::Open(leveldb::Options const&)", "", Rank::Foreign),
            ("alloc::vec::Vec::push", "/rustc/abc/library/alloc/src/vec/mod.rs", Rank::Nothing),
            ("__rustc::__rust_alloc", "src/main.rs", Rank::Nothing),
            ("grow_one<u8>", "/rustc/abc/library/alloc/src/raw_vec.rs", Rank::Nothing),
            ("bytes::of", "src/bytes.rs", Rank::User),
            ("moka::sync::Cache::insert", "", Rank::Plumbing),
            ("heapline::sampler::run", "/srv/heapline/crates/agent/src/sampler.rs", Rank::Plumbing),
            ("main", "", Rank::Nothing),
            ("", "src/main.rs", Rank::Nothing),
        ] {
            let frame = Frame { function: function.into(), file: file.into(), line: 1 };
            assert_eq!(rank(&frame), expected, "{function} {file}");
        }
    }

    #[test]
    fn allocators_are_known_by_their_symbol() {
        for name in [
            "malloc",
            "_rjem_je_malloc_default",
            "_rjem_calloc",
            "do_rallocx",
            "__rustc::__rust_alloc_zeroed",
            "__rust_realloc",
            "__rustc::__rg_alloc",
            "__rdl_alloc",
            "operator new(unsigned long)",
            "<tikv_jemallocator::Jemalloc as core::alloc::global::GlobalAlloc>::realloc",
        ] {
            assert!(is_allocator(name), "{name}");
        }
        for name in ["", "strdup", "shop::malloc", "rd_malloc", "__rust_begin_short_backtrace", "je_things"] {
            assert!(!is_allocator(name), "{name}");
        }
    }

    #[test]
    fn the_standard_library_is_told_from_the_program() {
        for name in [
            "alloc::vec::from_elem",
            "hashbrown::raw::RawTable::reserve_rehash",
            "<alloc::vec::Vec<T> as alloc::vec::spec_extend::SpecExtend<shop::Basket>>::spec_extend",
            "<u8 as alloc::vec::spec_from_elem::SpecFromElem>::from_elem",
            "<&mut alloc::string::String as core::fmt::Write>::write_str",
            "<[T] as alloc::slice::Concat<Item>>::concat",
            "<u8 as <[_]>::to_vec_in::ConvertVec>::to_vec",
        ] {
            assert!(is_standard_library(name), "{name}");
        }
        for name in [
            "",
            "main",
            "strdup",
            "shop::alloc::grow",
            "allocate::now",
            "<shop::Basket as core::clone::Clone>::clone",
            "<str as shop::Stage>::apply",
            "{{closure}}",
        ] {
            assert!(!is_standard_library(name), "{name}");
        }
    }
}
