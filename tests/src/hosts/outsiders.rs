//! The programs of `outsiders`.

use super::Host;

const fn leak(name: &'static str, culprits: &'static [(&'static str, &'static str)]) -> Host {
    Host { binary: "outsiders", ..super::leak(name, culprits) }
}

/// Of a container that doubles: what it allocates ahead is no part of what the program counts.
const fn doubling(name: &'static str, culprits: &'static [(&'static str, &'static str)]) -> Host {
    Host { has_growth: false, ..leak(name, culprits) }
}

const fn level(name: &'static str) -> Host {
    leak(name, &[])
}

/// Written without a look at how culprits are told.
pub const OUTSIDERS: [Host; 39] = [
    leak("session_store", &[("outsiders::store::Session::new", "store.rs")]),
    doubling("text_journal", &[("outsiders::store::log_line", "store.rs")]),
    doubling("event_deque", &[("outsiders::store::Timeline::append", "store.rs")]),
    leak("sharded_map", &[("outsiders::store::put_block", "store.rs")]),
    leak("typed_store", &[("outsiders::store::Store::insert_row", "store.rs")]),
    leak("interned_names", &[("outsiders::store::intern", "store.rs")]),
    leak("linked_list", &[("outsiders::store::push_front", "store.rs")]),
    leak("arena_of_chunks", &[("outsiders::store::Arena::add_chunk", "store.rs")]),
    leak("strings_by_char", &[("outsiders::store::normalize", "store.rs")]),
    Host {
        bytes_per_second: 100_000.0,
        ..leak(
            "collected_reports",
            &[
                ("outsiders::store::build_report::{{closure}}", "store.rs"),
                ("outsiders::store::build_report", "store.rs"),
            ],
        )
    },
    leak("join_handles", &[("outsiders::service::watch_client", "service.rs")]),
    leak("slow_reader", &[("outsiders::service::ingest", "service.rs")]),
    leak("frame_slices", &[("outsiders::service::Connection::read_frame", "service.rs")]),
    leak("six_deep", &[("outsiders::service::record_query::{{closure}}", "service.rs")]),
    leak(
        "boxed_handlers",
        &[("<outsiders::service::Recent as outsiders::service::Handler>::call::{{closure}}", "service.rs")],
    ),
    leak("timers", &[("outsiders::service::receive_body", "service.rs")]),
    leak("node_cycles", &[("outsiders::graph::Node::with_data", "graph.rs")]),
    leak("rc_on_a_thread", &[("outsiders::graph::assemble", "graph.rs")]),
    leak("thread_histories", &[("outsiders::graph::remember_note", "graph.rs")]),
    leak("unjoined_threads", &[("outsiders::graph::start_job", "graph.rs")]),
    leak("plugins", &[("<outsiders::graph::Statistics as outsiders::graph::Plugin>::on_request", "graph.rs")]),
    leak("kept_values", &[("outsiders::libraries::parse", "libraries.rs")]),
    Host { has_growth: false, ..leak("open_compressors", &[("outsiders::libraries::open_stream", "libraries.rs")]) },
    leak("rendered_answers", &[("outsiders::libraries::render", "libraries.rs")]),
    leak("bursts", &[("outsiders::timing::import_row", "timing.rs")]),
    Host { onset_seconds: 120.0, ..leak("after_two_minutes", &[("outsiders::timing::keep_cookie", "timing.rs")]) },
    Host {
        bytes_per_second: 100_000.0,
        ..leak(
            "three_to_one",
            &[("outsiders::timing::large_leak", "timing.rs"), ("outsiders::timing::small_leak", "timing.rs")],
        )
    },
    leak("cold_start", &[("outsiders::timing::keep_request", "timing.rs")]),
    Host { onset_seconds: 60.0, ..leak("warmed_by_the_leaker", &[("outsiders::timing::cache_page", "timing.rs")]) },
    leak("shared_helper", &[("outsiders::timing::new_buffer", "timing.rs")]),
    level("lru_at_its_cap"),
    level("plateau"),
    level("flushed_each_minute"),
    level("swinging_queue"),
    level("log_ring"),
    level("growing_pool"),
    level("reloaded_configuration"),
    level("slow_uploads"),
    level("lagging_broadcast"),
];
