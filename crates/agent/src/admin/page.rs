//! What `/debug/pprof/` shows to a person.

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
