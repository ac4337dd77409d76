//! Whose frame it is.

use crate::symbols::{Frame, names};

/// Crates that stand between a program and its own code, for binaries that do not say where a function's source is.
const PLUMBING: [&str; 36] = [
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
    "flume",
    "futures",
    "futures_channel",
    "futures_core",
    "futures_executor",
    "futures_util",
    "h2",
    "hyper",
    "hyper_util",
    "mio",
    "once_cell",
    "parking_lot",
    "rayon",
    "rayon_core",
    "serde",
    "serde_json",
    "smol",
    "tikv_jemallocator",
    "tokio",
    "tokio_util",
    "tower",
    "tower_service",
    "tracing",
];

/// Where cargo and rustup keep the sources of others.
const LIBRARY_PLACES: [&str; 6] =
    ["/registry/src/", "/git/checkouts/", "/rustc/", "/rustlib/src/", "/library/std/src/", "/library/core/src/"];

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

pub(crate) fn rank(frame: &Frame) -> Rank {
    let (function, file) = (&*frame.function, &*frame.file);
    if function.is_empty() || names::is_allocator(function) || names::is_standard_library(function) {
        return Rank::Nothing;
    }
    let is_rust = file.ends_with(".rs") || (file.is_empty() && function.contains("::") && !function.contains('('));
    if !is_rust || is_start(function) {
        return if is_start(function) { Rank::Nothing } else { Rank::Foreign };
    }
    if PLUMBING.contains(&crate_name(function)) || function.starts_with("__rust") {
        return Rank::Plumbing;
    }
    let is_library = LIBRARY_PLACES.iter().any(|place| file.contains(place)) || is_vendored(file);
    if is_library { Rank::Library } else { Rank::User }
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
            ("main", "", Rank::Nothing),
            ("", "src/main.rs", Rank::Nothing),
        ] {
            let frame = Frame { function: function.into(), file: file.into(), line: 1 };
            assert_eq!(rank(&frame), expected, "{function} {file}");
        }
    }
}
