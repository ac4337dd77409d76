//! Flame graphs: a page to explore, a picture without scripts, and collapsed text for other tools.
//!
//! Pure. The root is at the top; equal functions called from equal stacks are one box.

mod build;
mod change;
mod picture;

use std::fmt::Write as _;

use serde::Serialize;

use super::model::{Profile, Sample};
use crate::quantity::{format_bytes, format_seconds};
use crate::symbols::owner::{self, Rank};
use crate::symbols::{Frame, Symbols};
use build::Builder;

const PAGE: &str = include_str!("flamegraph/page.html");

/// Boxes narrower than this share of the whole cannot be seen at any zoom that matters, and are left out.
const BOX_SHARE_MIN: f64 = 1.0 / 50_000.0;
/// Calls of one stack that are drawn; deeper ones are left out at the leaf.
const DEPTH_MAX: usize = 256;

/// What the width of a box stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Measure {
    InuseSpace,
    InuseObjects,
    AllocSpace,
    AllocObjects,
}

impl Measure {
    pub(crate) const ALL: [Measure; 4] =
        [Measure::InuseSpace, Measure::InuseObjects, Measure::AllocSpace, Measure::AllocObjects];

    /// The name of the sample type, as pprof has it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::InuseSpace => "inuse_space",
            Self::InuseObjects => "inuse_objects",
            Self::AllocSpace => "alloc_space",
            Self::AllocObjects => "alloc_objects",
        }
    }

    pub(crate) fn is_allocated(self) -> bool {
        matches!(self, Self::AllocSpace | Self::AllocObjects)
    }

    fn is_bytes(self) -> bool {
        matches!(self, Self::InuseSpace | Self::AllocSpace)
    }

    fn of(self, sample: &Sample) -> f64 {
        let alloc = sample.alloc.unwrap_or_default();
        match self {
            Self::InuseSpace => sample.inuse.bytes,
            Self::InuseObjects => sample.inuse.objects,
            Self::AllocSpace => alloc.bytes,
            Self::AllocObjects => alloc.objects,
        }
    }

    fn words(self, value: f64) -> String {
        if self.is_bytes() { format_bytes(value) } else { format!("{value:.0} objects") }
    }
}

/// A profile as a tree of calls.
#[derive(Debug)]
pub(crate) struct Flamegraph {
    measure: Measure,
    taken_unix_nanos: i64,
    duration_nanos: i64,
    /// The root is number 0.
    nodes: Vec<Node>,
    labels: Vec<Label>,
    /// What stacks that shrank lost together; only in a difference.
    shrunk: f64,
    /// Between two profiles: boxes are as wide as what changed in them, and red or blue.
    is_comparison: bool,
}

#[derive(Debug, Default)]
struct Node {
    label: usize,
    value: f64,
    /// Before and after, of a stack that ends here.
    own: (f64, f64),
    /// By how much the box grew; negative where it shrank.
    change: f64,
    children: Vec<usize>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Label {
    function: String,
    file: String,
    line: u32,
    kind: Kind,
}

/// Whose code a box is, which decides its colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    Root,
    User,
    Library,
    Foreign,
    Standard,
}

/// What the page's script draws from.
#[derive(Serialize)]
struct Data<'a> {
    measure: &'static str,
    bytes: bool,
    seconds: f64,
    taken_unix_seconds: f64,
    shrunk: f64,
    /// Function, place in the source, kind.
    labels: Vec<(&'a str, String, usize)>,
    /// Label, value, number of the parent; parents come first.
    nodes: Vec<(usize, f64, usize)>,
    /// By how much each node grew; only between two profiles.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    changes: Vec<f64>,
}

impl Flamegraph {
    /// Of a difference, what grew.
    pub(crate) fn new(profile: &Profile, symbols: &Symbols, measure: Measure) -> Flamegraph {
        let mut builder = Builder::new(profile, measure);
        for sample in &profile.samples {
            let value = measure.of(sample);
            if value <= 0.0 {
                builder.graph.shrunk -= value;
            } else {
                builder.add(root_first(sample, symbols, profile), value);
            }
        }
        builder.graph.sort();
        builder.graph
    }

    /// Brendan Gregg's collapsed form: `root;caller;callee value`, a line a stack; `… before after` between two profiles.
    pub(crate) fn folded(&self) -> String {
        let mut text = String::new();
        let mut path: Vec<&str> = Vec::new();
        self.fold(0, &mut path, &mut text);
        text
    }

    /// A picture without scripts.
    pub(crate) fn svg(&self) -> String {
        picture::svg(self)
    }

    /// A page that asks nobody for anything. Its script runs where the policy of the answer allows `nonce`.
    pub(crate) fn page(&self, nonce: &str) -> String {
        // A name may hold `</script>`.
        let data = serde_json::to_string(&self.data()).unwrap_or_default().replace('<', "\\u003c");
        let mut page = String::with_capacity(PAGE.len() + data.len());
        for part in PAGE.split_inclusive("@@") {
            match part.strip_suffix("@@") {
                None => page.push_str(part),
                Some("nonce") => page.push_str(nonce),
                Some("data") => page.push_str(&data),
                Some(text) => page.push_str(text),
            }
        }
        page
    }

    fn data(&self) -> Data<'_> {
        let place = |label: &Label| match (&*label.file, label.line) {
            ("", _) => String::new(),
            (file, 0) => file.to_owned(),
            (file, line) => format!("{file}:{line}"),
        };
        let label = |label| {
            let Label { function, kind, .. }: &Label = label;
            (function.as_str(), place(label), *kind as usize)
        };
        let (mut nodes, mut changes) = (Vec::new(), Vec::new());
        let mut open = vec![(0, 0)];
        while let Some((node, parent)) = open.pop() {
            let number = nodes.len();
            if self.is_comparison {
                changes.push(self.nodes[node].change.round());
            }
            nodes.push((self.nodes[node].label, self.nodes[node].value.round(), parent));
            // Popped in order of size, the largest first.
            open.extend(self.visible_children(node).rev().map(|child| (child, number)));
        }
        Data {
            measure: self.measure.name(),
            bytes: self.measure.is_bytes(),
            seconds: self.duration_nanos as f64 / 1e9,
            taken_unix_seconds: self.taken_unix_nanos as f64 / 1e9,
            shrunk: self.shrunk.round(),
            labels: self.labels.iter().map(label).collect(),
            nodes,
            changes,
        }
    }

    fn visible_children(&self, node: usize) -> impl DoubleEndedIterator<Item = usize> {
        let least = self.nodes[0].value * BOX_SHARE_MIN;
        self.nodes[node].children.iter().copied().filter(move |&child| self.nodes[child].value >= least)
    }

    /// The largest child first.
    fn sort(&mut self) {
        let values: Vec<f64> = self.nodes.iter().map(|node| node.value).collect();
        for node in &mut self.nodes {
            node.children.sort_by(|&one, &other| values[other].total_cmp(&values[one]).then(one.cmp(&other)));
        }
    }

    fn fold<'a>(&'a self, node: usize, path: &mut Vec<&'a str>, text: &mut String) {
        let node = &self.nodes[node];
        let of_children: f64 = node.children.iter().map(|&child| self.nodes[child].value).sum();
        let own = (node.value - of_children).round();
        let (before, after) = (node.own.0.round(), node.own.1.round());
        if (own >= 1.0 || before.max(after) >= 1.0) && !path.is_empty() {
            for (depth, function) in path.iter().enumerate() {
                text.push_str(if depth == 0 { "" } else { ";" });
                // The form's own separators.
                text.extend(function.chars().map(|c| if c == ';' || c.is_control() { ':' } else { c }));
            }
            // Writing to a String does not fail.
            let _ = match self.is_comparison {
                true => writeln!(text, " {before:.0} {after:.0}"),
                false => writeln!(text, " {own:.0}"),
            };
        }
        for &child in &node.children {
            path.push(&self.labels[self.nodes[child].label].function);
            self.fold(child, path, text);
            path.pop();
        }
    }

    fn title(&self) -> String {
        let (measure, value) = (self.measure.name(), self.measure.words(self.nodes[0].value));
        if self.is_comparison {
            let (change, shrunk) = (self.signed(self.nodes[0].change), self.measure.words(self.shrunk));
            let seconds = self.duration_nanos as f64 / 1e9;
            return format!("{measure}: {change} in {} ({shrunk} shrank)", format_seconds(seconds));
        }
        match self.duration_nanos {
            0 => format!("{measure}: {value}"),
            nanos => format!("{measure}: {value} grown in {:.0} s", nanos as f64 / 1e9),
        }
    }
}

fn root_first(sample: &Sample, symbols: &Symbols, profile: &Profile) -> Vec<Label> {
    let mut labels: Vec<Label> = Vec::with_capacity(sample.stack.len());
    for (depth, &return_address) in sample.stack.iter().enumerate().rev() {
        let address = return_address.saturating_sub(1);
        let frames = if depth == 0 { symbols.leaf_frames(address) } else { symbols.frames(address) };
        labels.extend(frames.iter().rev().map(label));
        if frames.is_empty() {
            let mapping = profile.mappings.iter().find(|mapping| mapping.contains(address));
            let object = mapping.and_then(|mapping| mapping.filename.rsplit('/').next());
            let function = object.map_or_else(|| format!("{address:#x}"), |object| format!("[{object}]"));
            labels.push(Label { function, file: String::new(), line: 0, kind: Kind::Foreign });
        }
    }
    labels.truncate(DEPTH_MAX);
    labels
}

fn label(frame: &Frame) -> Label {
    let kind = match owner::rank(frame) {
        Rank::User => Kind::User,
        Rank::Library | Rank::Plumbing => Kind::Library,
        Rank::Foreign => Kind::Foreign,
        Rank::Nothing => Kind::Standard,
    };
    let function = if frame.function.is_empty() { "?" } else { &frame.function };
    Label { function: function.to_owned(), file: frame.file.to_string(), line: frame.line, kind }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::profile::model::Count;
    use crate::symbols::Location;

    fn graph(delta: bool) -> Flamegraph {
        let mut symbols = Symbols::default();
        for (address, function, file) in [
            (1, "shop::main", "src/main.rs"),
            (2, "shop::</script><b>\"&;", "src/x.rs"),
            (3, "strdup", ""),
            (4, "alloc::vec::Vec::push", "/rustc/1/library/alloc/src/vec.rs"),
        ] {
            let frame = Frame { function: function.into(), file: file.into(), line: 7 };
            symbols.insert(address, Location { frames: [frame].into(), function_start: None });
        }
        let sample = |stack: &[u64], bytes: f64| Sample {
            stack: stack.iter().map(|address| address + 1).collect(),
            inuse: Count { objects: 2.0, bytes, ..Count::default() },
            alloc: None,
        };
        let mut samples = vec![sample(&[2, 1], 100.0), sample(&[3, 2, 1], 50.0), sample(&[9, 1], 25.0)];
        if delta {
            samples.push(sample(&[4, 1], -40.0));
        }
        let duration_nanos = if delta { 3_000_000_000 } else { 0 };
        Flamegraph::new(&Profile { samples, duration_nanos, ..Profile::default() }, &symbols, Measure::InuseSpace)
    }

    #[test]
    fn the_collapsed_form_has_a_line_a_stack() {
        assert_eq!(
            graph(false).folded(),
            "shop::main;shop::</script><b>\"&: 100\nshop::main;shop::</script><b>\"&:;strdup 50\nshop::main;0x9 25\n"
        );
    }

    #[test]
    fn names_cannot_break_out_of_page_or_picture() {
        let page = graph(false).page("abc");
        assert_eq!(page.matches("</script>").count(), 2, "the page's own");
        assert!(page.contains("nonce=\"abc\"") && !page.contains("@@"));
        let svg = graph(false).svg();
        assert!(svg.contains("shop::&lt;/script&gt;&lt;b&gt;&quot;&amp;;"), "{svg}");
        assert!(!svg.contains("<script") && !svg.contains("<b>"));
    }

    #[test]
    fn a_difference_shows_growth_and_says_what_shrank() {
        let graph = graph(true);
        assert_eq!((graph.nodes[0].value, graph.shrunk), (175.0, 40.0));
        assert!(graph.title().contains("grown in 3 s"));
        let data = serde_json::to_value(graph.data()).unwrap();
        assert_eq!(data["nodes"][0], serde_json::json!([0, 175.0, 0]));
        assert_eq!(data["nodes"][1], serde_json::json!([1, 175.0, 0]));
        assert_eq!(data["nodes"][2], serde_json::json!([2, 150.0, 1]));
        assert_eq!(data["labels"][1], serde_json::json!(["shop::main", "src/main.rs:7", 1]));
    }

    #[test]
    fn an_empty_heap_has_a_graph() {
        let graph = Flamegraph::new(&Profile::default(), &Symbols::default(), Measure::AllocObjects);
        assert!(graph.folded().is_empty() && graph.svg().contains("alloc_objects: 0 objects"));
        assert!(graph.page("n").contains("\"nodes\":[[0,0.0,0]]"));
    }
}
