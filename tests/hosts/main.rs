//! Programs that leak in one way each, or do not leak at all: `hosts NAME`.
//!
//! What a program is expected to be told is in `heapline_tests::hosts`. Each runs amid [`churn`]; a leak's bytes are
//! counted on the way, in `host_leaked_bytes_total` of the agent's own `/metrics`.

mod churn;
mod foreign;
mod ground;
mod kept;
mod later;
mod level;
mod outside;
mod shapes;
mod shared;
mod tasks;
mod threads;

use std::error::Error;

use ground::Ground;

heapline::use_jemalloc!();

/// A program runs until it is killed.
type Program = fn(&'static Ground);

const PROGRAMS: [(&str, Program); 47] = [
    ("static_vector", kept::static_vector),
    ("cache", kept::cache),
    ("ordered_map", kept::ordered_map),
    ("tiny_objects", kept::tiny_objects),
    ("huge_objects", kept::huge_objects),
    ("odd_large_objects", kept::odd_large_objects),
    ("one_buffer_that_doubles", kept::one_buffer),
    ("small_entries", kept::small_entries),
    ("formatted_strings", kept::formatted_strings),
    ("arc_cycles", shared::arc_cycles),
    ("channel", shared::channel),
    ("async_channel", shared::async_channel),
    ("slices_of_buffers", shared::slices_of_buffers),
    ("callbacks", shared::callbacks),
    ("tasks_without_end", tasks::without_end),
    ("task_closure_of_main", tasks::closure_of_main),
    ("deep_async", tasks::deep),
    ("boxed_futures", tasks::boxed_futures),
    ("generics", shapes::generics),
    ("closure", shapes::closure),
    ("trait_objects", shapes::trait_objects),
    ("inlined_helper", shapes::inlined_helper),
    ("many_callers", shapes::many_callers),
    ("leak_within_churn", shapes::leak_within_churn),
    ("json", foreign::json),
    ("header_maps", foreign::header_maps),
    ("c_configurations", foreign::c_configurations),
    ("kafka_producers", foreign::kafka_producers),
    ("threads_with_buffers", threads::with_buffers),
    ("thread_locals", threads::locals),
    ("later", later::later),
    ("after_warm_up", later::after_warm_up),
    ("two_at_once", later::two_at_once),
    ("one_after_the_other", later::one_after_the_other),
    ("under_a_wave", later::under_a_wave),
    ("thread_stacks", outside::thread_stacks),
    ("mapped_memory", outside::mapped_memory),
    ("churn_only", level::churn_only),
    ("cache_that_fills", level::cache_that_fills),
    ("cache_of_random_keys", level::cache_of_random_keys),
    ("warm_up", level::warm_up),
    ("bytes_that_move", level::bytes_that_move),
    ("load_up_and_down", level::load_up_and_down),
    ("long_wave", level::long_wave),
    ("sessions_that_end", level::sessions_that_end),
    ("batches", level::batches),
    ("step", level::step),
];

fn main() -> Result<(), Box<dyn Error>> {
    let agent = heapline::Agent::start(heapline::Config::default())?;
    let name = std::env::args().nth(1).unwrap_or_default();
    let Some((_, program)) = PROGRAMS.iter().find(|(known, _)| *known == name) else {
        let names: Vec<_> = PROGRAMS.iter().map(|(name, _)| *name).collect();
        return Err(format!("hosts NAME, one of: {}", names.join(" ")).into());
    };
    let ground: &'static Ground = Box::leak(Box::new(Ground::new(agent.registry())?));
    churn::start(ground)?;
    program(ground);
    Ok(())
}
