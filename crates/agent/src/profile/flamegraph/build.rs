//! A flame graph's tree, made of stacks.

use std::collections::HashMap;

use super::{Flamegraph, Kind, Label, Measure, Node};
use crate::profile::model::Profile;

/// A tree that grows stack by stack.
pub(super) struct Builder {
    pub(super) graph: Flamegraph,
    /// Nodes by their parent and label.
    places: HashMap<(usize, usize), usize>,
    labels: HashMap<(String, String), usize>,
}

impl Builder {
    pub(super) fn new(profile: &Profile, measure: Measure) -> Builder {
        let graph = Flamegraph {
            measure,
            taken_unix_nanos: profile.taken_unix_nanos,
            duration_nanos: profile.duration_nanos,
            nodes: vec![Node::default()],
            labels: vec![Label { function: "all".into(), file: String::new(), line: 0, kind: Kind::Root }],
            shrunk: 0.0,
            is_comparison: false,
        };
        Builder { graph, places: HashMap::new(), labels: HashMap::new() }
    }

    /// Adds a value to each node of a stack; the last of them.
    pub(super) fn add(&mut self, stack: Vec<Label>, value: f64) -> usize {
        let graph = &mut self.graph;
        let mut at = 0;
        graph.nodes[0].value += value;
        for label in stack {
            let next = graph.labels.len();
            let number = *self.labels.entry((label.function.clone(), label.file.clone())).or_insert(next);
            if number == next {
                graph.labels.push(label);
            }
            let next = graph.nodes.len();
            let child = *self.places.entry((at, number)).or_insert(next);
            if child == next {
                graph.nodes.push(Node { label: number, ..Node::default() });
                graph.nodes[at].children.push(child);
            }
            graph.nodes[child].value += value;
            at = child;
        }
        at
    }
}
