//! Programs as other people write them, each with two lines of the agent: `outsiders NAME`.
//!
//! They were written without looking at how culprits are told, and none is there because it is told well. What each is
//! expected to be told is in `heapline_tests::hosts`.

mod calm;
mod graph;
#[path = "../hosts/ground.rs"]
mod ground;
mod libraries;
mod service;
mod store;
mod timing;
mod traffic;

use std::error::Error;

use ground::Ground;

heapline::use_jemalloc!();

type Program = fn(&'static Ground);

const PROGRAMS: [(&str, Program); 39] = [
    ("session_store", store::sessions),
    ("text_journal", store::journal),
    ("event_deque", store::events),
    ("sharded_map", store::shards),
    ("typed_store", store::typed),
    ("interned_names", store::interned),
    ("linked_list", store::list),
    ("arena_of_chunks", store::arena),
    ("strings_by_char", store::strings_by_char),
    ("collected_reports", store::reports),
    ("join_handles", service::join_handles),
    ("slow_reader", service::slow_reader),
    ("frame_slices", service::frame_slices),
    ("six_deep", service::six_deep),
    ("boxed_handlers", service::boxed_handlers),
    ("timers", service::timers),
    ("node_cycles", graph::node_cycles),
    ("rc_on_a_thread", graph::rc_on_a_thread),
    ("thread_histories", graph::thread_histories),
    ("unjoined_threads", graph::unjoined_threads),
    ("plugins", graph::plugins),
    ("kept_values", libraries::kept_values),
    ("open_compressors", libraries::open_compressors),
    ("rendered_answers", libraries::rendered_answers),
    ("bursts", timing::bursts),
    ("after_two_minutes", timing::after_two_minutes),
    ("three_to_one", timing::three_to_one),
    ("cold_start", timing::cold_start),
    ("warmed_by_the_leaker", timing::warmed_by_the_leaker),
    ("shared_helper", timing::shared_helper),
    ("lru_at_its_cap", calm::lru),
    ("plateau", calm::plateau),
    ("flushed_each_minute", calm::flushed),
    ("swinging_queue", calm::swinging_queue),
    ("log_ring", calm::log_ring),
    ("growing_pool", calm::pool),
    ("reloaded_configuration", calm::reloads),
    ("slow_uploads", calm::uploads),
    ("lagging_broadcast", calm::broadcast),
];

fn main() -> Result<(), Box<dyn Error>> {
    let agent = heapline::Agent::start(heapline::Config::default())?;
    let name = std::env::args().nth(1).unwrap_or_default();
    let Some((_, program)) = PROGRAMS.iter().find(|(known, _)| *known == name) else {
        let names: Vec<_> = PROGRAMS.iter().map(|(name, _)| *name).collect();
        return Err(format!("outsiders NAME, one of: {}", names.join(" ")).into());
    };
    let ground: &'static Ground = Box::leak(Box::new(Ground::new(agent.registry())?));
    traffic::start()?;
    program(ground);
    Ok(())
}
