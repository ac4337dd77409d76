//! Pages for people.

use crate::quantity::format_seconds;
use crate::state::State;

/// What `/debug/pprof/` offers, by relative links so that it works behind a prefix.
pub(super) const PPROF_INDEX: &str = r#"<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>/debug/pprof/</title></head><body>
<h1>/debug/pprof/</h1>
<ul>
<li><a href="heap?debug=1">heap</a>: live memory by call stack. <code>go tool pprof URL/heap</code>; <code>seconds=N</code> for growth, <code>gc=1</code> to return unused pages first</li>
<li><a href="allocs?debug=1">allocs</a>: the same, seen by allocations</li>
<li><a href="flamegraph">flamegraph</a>: live memory as a picture to explore; <code>type=inuse_objects</code>, <code>seconds=N</code> for growth, <code>format=svg</code> or <code>format=folded</code> to keep</li>
<li><a href="cmdline">cmdline</a>: the program's arguments</li>
<li><a href="symbol">symbol</a>: names of addresses</li>
</ul>
</body></html>
"#;

/// The page at `/`. Everything in it is the agent's own text.
pub(super) fn page(state: &State) -> String {
    let judgement = state.report().outlook.judgement;
    let held = format_seconds(state.uptime_seconds() - judgement.since_seconds);
    let pprof = if state.pprof {
        "<li><a href=\"debug/pprof/\">debug/pprof/</a>: heap profiles, <a href=\"debug/pprof/flamegraph\">flame graph</a></li>"
    } else {
        "<li>heap profiles are off (PPROF)</li>"
    };
    format!(
        r#"<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Heapline</title></head><body>
<h1>Heapline {version}</h1>
<p>Memory is <strong>{verdict}</strong> for {held}: {evidence}.</p>
<ul>
<li><a href="memory">memory</a>: where the resident bytes are, slopes and verdict</li>
<li><a href="culprits?format=text">culprits</a>: which call sites grow</li>
<li><a href="profiles">profiles</a>: what the flight recorder has, of earlier processes, too</li>
<li><a href="doctor">doctor</a>: whether profiles show what they should</li>
<li><a href="metrics">metrics</a>: for Prometheus</li>
{pprof}
<li><a href="livez">livez</a>, <a href="readyz">readyz</a></li>
</ul>
</body></html>
"#,
        version = env!("CARGO_PKG_VERSION"),
        verdict = judgement.verdict.name(),
        evidence = judgement.evidence,
    )
}
