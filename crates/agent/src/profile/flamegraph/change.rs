//! A flame graph between two profiles, compared by names: red grew, blue shrank.

use super::build::Builder;
use super::{Flamegraph, Measure, root_first};
use crate::profile::model::Profile;
use crate::symbols::Symbols;

/// What a box that grew, and one that shrank, is coloured with, in full.
const GREW: (f64, f64, f64) = (214.0, 69.0, 65.0);
const SHRANK: (f64, f64, f64) = (62.0, 121.0, 191.0);
/// Of a box whose growth and shrinking even out.
const EVEN: (f64, f64, f64) = (230.0, 226.0, 219.0);

impl Flamegraph {
    /// What changed from one profile to the other. A box is as wide as the stacks in it changed, up or down.
    pub(crate) fn between(before: (&Profile, &Symbols), after: (&Profile, &Symbols), measure: Measure) -> Flamegraph {
        let mut builder = Builder::new(after.0, measure);
        for ((profile, symbols), is_after) in [(before, false), (after, true)] {
            for sample in &profile.samples {
                let node = builder.add(root_first(sample, symbols, profile), 0.0);
                let own = &mut builder.graph.nodes[node].own;
                if is_after { own.1 += measure.of(sample) } else { own.0 += measure.of(sample) }
            }
        }
        let mut graph = builder.graph;
        graph.is_comparison = true;
        graph.duration_nanos = after.0.taken_unix_nanos.saturating_sub(before.0.taken_unix_nanos).max(0);
        // Parents come before their children.
        for place in (0..graph.nodes.len()).rev() {
            let own = graph.nodes[place].own.1 - graph.nodes[place].own.0;
            let children = graph.nodes[place].children.iter().map(|&child| &graph.nodes[child]);
            let (value, change) =
                children.fold((own.abs(), own), |sum, child| (sum.0 + child.value, sum.1 + child.change));
            (graph.nodes[place].value, graph.nodes[place].change) = (value, change);
            graph.shrunk += (-own).max(0.0);
        }
        graph.sort();
        graph
    }

    /// With its sign: `+12.3 MiB`.
    pub(super) fn signed(&self, value: f64) -> String {
        let sign = if value > 0.0 { "+" } else { "" };
        format!("{sign}{}", self.measure.words(value))
    }

    /// The colour of a box: how much of what changed in it grew, or shrank.
    pub(super) fn change_colour(&self, node: usize) -> String {
        let node = &self.nodes[node];
        let share = if node.value > 0.0 { (node.change / node.value).clamp(-1.0, 1.0) } else { 0.0 };
        let full = if share >= 0.0 { GREW } else { SHRANK };
        let mixed = |even: f64, full: f64| (even + (full - even) * share.abs()).round() as u8;
        format!("#{:02x}{:02x}{:02x}", mixed(EVEN.0, full.0), mixed(EVEN.1, full.1), mixed(EVEN.2, full.2))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::model::{Count, Sample};
    use crate::symbols::{Frame, Location};

    /// Two processes: their addresses differ by `base`.
    fn heap(base: u64, values: &[(&[u64], f64)]) -> (Profile, Symbols) {
        let mut symbols = Symbols::default();
        for (address, function) in [(1, "shop::main"), (2, "shop::leak"), (3, "shop::cache"), (4, "shop::steady")] {
            let frame = Frame { function: function.into(), file: "src/main.rs".into(), line: 7 };
            symbols.insert(base + address, Location { frames: [frame].into(), function_start: None });
        }
        let sample = |&(stack, bytes): &(&[u64], f64)| Sample {
            stack: stack.iter().map(|address| base + address + 1).collect(),
            inuse: Count { objects: 1.0, bytes, ..Count::default() },
            alloc: None,
        };
        let samples = values.iter().map(sample).collect();
        (Profile { samples, taken_unix_nanos: base as i64 * 1_000_000_000, ..Profile::default() }, symbols)
    }

    fn graph() -> Flamegraph {
        let before = heap(0, &[(&[2, 1], 100.0), (&[3, 1], 500.0), (&[4, 1], 70.0)]);
        let after = heap(60, &[(&[2, 1], 900.0), (&[3, 1], 300.0), (&[4, 1], 70.0)]);
        Flamegraph::between((&before.0, &before.1), (&after.0, &after.1), Measure::InuseSpace)
    }

    #[test]
    fn boxes_are_as_wide_as_what_changed_and_coloured_by_the_direction() {
        let graph = graph();
        let data = serde_json::to_value(graph.data()).expect("JSON");
        assert_eq!(data["nodes"], serde_json::json!([[0, 1000.0, 0], [1, 1000.0, 0], [2, 800.0, 1], [3, 200.0, 1]]));
        assert_eq!(data["changes"], serde_json::json!([600.0, 600.0, 800.0, -200.0]));
        assert_eq!(graph.title(), "inuse_space: +600 B in 1 min (200 B shrank)");
        let leak = graph.nodes.iter().position(|node| graph.labels[node.label].function == "shop::leak");
        let cache = graph.nodes.iter().position(|node| graph.labels[node.label].function == "shop::cache");
        assert_eq!(graph.change_colour(leak.expect("there")), "#d64541");
        assert_eq!(graph.change_colour(cache.expect("there")), "#3e79bf");
        let svg = graph.svg();
        assert!(svg.contains("#d64541") && svg.contains("#3e79bf") && !svg.contains("<script"), "{svg}");
    }

    #[test]
    fn the_collapsed_form_has_both_sides() {
        let folded = graph().folded();
        let mut lines: Vec<_> = folded.lines().collect();
        lines.sort_unstable();
        assert_eq!(
            lines,
            ["shop::main;shop::cache 500 300", "shop::main;shop::leak 100 900", "shop::main;shop::steady 70 70"]
        );
    }
}
