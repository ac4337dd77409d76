//! A flame graph as a picture: SVG without scripts, with the exact numbers as tooltips.

use std::fmt::Write as _;

use super::{Flamegraph, Kind};

const WIDTH: f64 = 1_200.0;
const ROW: f64 = 19.0;
const MARGIN: f64 = 12.0;
const HEADER: f64 = 46.0;
/// A character of the font used, about.
const CHARACTER: f64 = 6.7;
/// Narrower boxes are left out.
const BOX_MIN: f64 = 0.4;

pub(super) fn svg(graph: &Flamegraph) -> String {
    let mut boxes = String::new();
    let total = graph.nodes[0].value;
    let mut depth_max = 0;
    let mut open = vec![(0, 0, MARGIN)];
    while let Some((node, depth, left)) = open.pop() {
        let scale = if total > 0.0 { (WIDTH - 2.0 * MARGIN) / total } else { 0.0 };
        let width = graph.nodes[node].value * scale;
        if width < BOX_MIN {
            continue;
        }
        depth_max = depth_max.max(depth);
        draw(&mut boxes, graph, node, (left, HEADER + depth as f64 * ROW, width));
        let mut right = left;
        for child in graph.visible_children(node) {
            open.push((child, depth + 1, right));
            right += graph.nodes[child].value * scale;
        }
    }
    let height = HEADER + (depth_max + 1) as f64 * ROW + MARGIN;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" \
         height=\"{height}\" font-family=\"ui-monospace, Menlo, Consolas, monospace\" font-size=\"11\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fbfaf8\"/>\n\
         <text x=\"{MARGIN}\" y=\"28\" font-size=\"16\" font-family=\"system-ui, sans-serif\" fill=\"#1d1b19\">{}</text>\n\
         {boxes}</svg>\n",
        escape(&graph.title())
    )
}

fn draw(out: &mut String, graph: &Flamegraph, node: usize, (left, top, width): (f64, f64, f64)) {
    let value = graph.nodes[node].value;
    let label = &graph.labels[graph.nodes[node].label];
    let share = 100.0 * value / graph.nodes[0].value.max(1.0);
    let words = match graph.is_comparison {
        true => graph.signed(graph.nodes[node].change),
        false => graph.measure.words(value),
    };
    let colour = if graph.is_comparison { graph.change_colour(node) } else { colour(label.kind).to_owned() };
    // Writing to a String does not fail.
    let _ = writeln!(
        out,
        "<g><title>{} {}:{} – {words}, {share:.2}%</title><rect x=\"{left:.2}\" y=\"{top}\" width=\"{:.2}\" height=\"{}\" \
         rx=\"2\" fill=\"{}\"/>{}</g>",
        escape(&label.function),
        escape(&label.file),
        label.line,
        (width - 0.6).max(0.3),
        ROW - 1.0,
        colour,
        caption(&label.function, left, top, width),
    );
}

fn caption(function: &str, left: f64, top: f64, width: f64) -> String {
    let room = ((width - 8.0) / CHARACTER) as usize;
    if room < 3 {
        return String::new();
    }
    let mut shown: String = function.chars().take(room).collect();
    if function.chars().nth(room).is_some() {
        shown.pop();
        shown.push('…');
    }
    format!("<text x=\"{:.2}\" y=\"{:.2}\" fill=\"#1d1b19\">{}</text>", left + 4.0, top + 13.0, escape(&shown))
}

fn colour(kind: Kind) -> &'static str {
    match kind {
        Kind::Root => "#d9d4cc",
        Kind::User => "#f4a261",
        Kind::Library => "#a9c6d9",
        Kind::Foreign => "#b7d3b0",
        Kind::Standard => "#e3dfd8",
    }
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '"' => escaped.push_str("&quot;"),
            // XML has no way to write them.
            c if c.is_control() => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}
