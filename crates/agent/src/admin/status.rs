//! The page at `/`: what memory does, for a person who has just been told to look.

use std::fmt::Write as _;

use hyper::header::{CONTENT_SECURITY_POLICY, HeaderValue};

use super::answer::{Answer, typed};
use super::culprits;
use super::report::{self, Memory, Previous, WindowSlope};
use super::routes::Routes;
use super::style::{STYLE, escape};
use crate::config;
use crate::culprit::{Culprit, Report};
use crate::quantity::{format_bytes, format_seconds};

/// Call sites shown; the rest is behind a link.
const CULPRITS_MAX: usize = 5;
/// Windows shown, spread over all that there are: neighbours say nearly the same.
const SLOPES_MAX: usize = 6;

pub(super) async fn status(routes: &Routes) -> Answer {
    let memory = report::memory(&routes.state, &routes.recorder);
    let culprits = if routes.state.pprof { culprits::usual(&routes.profiler).await.ok() } else { None };
    let page = page(memory.as_ref().ok(), culprits.as_ref(), routes.state.pprof);
    let mut answer = typed("text/html; charset=utf-8", page);
    let policy = HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'");
    answer.headers_mut().insert(CONTENT_SECURITY_POLICY, policy);
    answer
}

fn page(memory: Option<&Memory>, culprits: Option<&Report>, has_profiles: bool) -> String {
    let program = config::program().to_string_lossy().into_owned();
    let program = escape(&program);
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\"><title>{program}: memory</title>\
         <style>{STYLE}</style></head><body>\n<h1>{program}</h1>\n"
    );
    match memory {
        None => page.push_str("<p class=\"bad\">Memory could not be read; the log says why.</p>\n"),
        Some(memory) => {
            verdict(&mut page, memory);
            resident(&mut page, memory);
            if let Some(report) = culprits {
                call_sites(&mut page, report);
            }
            slopes(&mut page, &memory.slopes);
            if let Some(previous) = &memory.previous {
                before(&mut page, previous);
            }
        }
    }
    links(&mut page, has_profiles);
    let _ = writeln!(
        page,
        "<footer>Heapline {}, process {}</footer>\n</body></html>",
        env!("CARGO_PKG_VERSION"),
        std::process::id()
    );
    page
}

fn verdict(page: &mut String, memory: &Memory) {
    let tone = match memory.verdict {
        "flat" => "ok",
        "warming_up" | "retaining" => "dim",
        _ => "bad",
    };
    let _ = write!(
        page,
        "<p class=\"verdict\"><strong class=\"{tone}\">{}</strong> for {}, up for {}</p>\n<p>{}</p>\n",
        memory.verdict.replace('_', " "),
        format_seconds(memory.since_seconds),
        format_seconds(memory.uptime_seconds),
        escape(&sentence(&memory.evidence)),
    );
}

/// As a sentence: evidence is written to be part of one.
fn sentence(words: &str) -> String {
    let mut letters = words.chars();
    let first = letters.next().map(|letter| letter.to_uppercase().to_string()).unwrap_or_default();
    format!("{first}{}.", letters.as_str())
}

/// The memory equation: a bar as long as RSS, and its terms in numbers.
fn resident(page: &mut String, memory: &Memory) {
    let share = 100.0 * memory.rss_bytes as f64 / (memory.limit_bytes as f64).max(1.0);
    let _ = write!(
        page,
        "<h2>Resident memory</h2>\n<p>{}, {share:.1}% of the limit of {} ({})</p>\n",
        format_bytes(memory.rss_bytes as f64),
        format_bytes(memory.limit_bytes as f64),
        match memory.limit_source {
            "cgroup" => "the cgroup's",
            "configured" => "as configured",
            _ => "the memory of this machine",
        },
    );
    let terms = [
        ("live heap", memory.equation.live_heap_bytes, "allocated by the program and not freed"),
        (
            "allocator overhead",
            memory.equation.allocator_overhead_bytes,
            "the rest of pages in use, jemalloc's own tables",
        ),
        ("retained", memory.equation.retained_dirty_bytes, "free pages that go back to the kernel in time"),
        ("outside the allocator", memory.equation.outside_allocator_bytes, "code, stacks, mapped files"),
    ];
    let seen: i64 = terms.iter().map(|(_, bytes, _)| (*bytes).max(0)).sum();
    page.push_str("<div class=\"bar\">");
    for (place, (_, bytes, _)) in terms.iter().enumerate() {
        let width = 100.0 * (*bytes).max(0) as f64 / seen.max(1) as f64;
        let _ = write!(page, "<i class=\"term{place}\" style=\"width:{width:.2}%\"></i>");
    }
    page.push_str("</div>\n<table>\n");
    for (place, (name, bytes, meaning)) in terms.iter().enumerate() {
        let _ = writeln!(
            page,
            "<tr><td><i class=\"key term{place}\"></i>{name}</td><td class=\"number\">{}</td><td class=\"dim\">{meaning}</td></tr>",
            format_bytes(*bytes as f64),
        );
    }
    page.push_str("</table>\n");
}

fn call_sites(page: &mut String, report: &Report) {
    page.push_str("<h2>Call sites that grow</h2>\n");
    let window = format_seconds(report.window_seconds);
    if report.culprits.is_empty() {
        let words = match report.state {
            "flat" => format!("None, as a leak does: {window} looked at."),
            _ => format!("Not enough evidence yet: {window} looked at."),
        };
        let _ = writeln!(page, "<p>{words}</p>");
        return;
    }
    let _ = writeln!(
        page,
        "<p>Over {window}, beyond doubt, the surest first (<a href=\"culprits?format=text\">with stacks</a>):</p>\n<table class=\"wide\">"
    );
    for culprit in report.culprits.iter().take(CULPRITS_MAX) {
        call_site(page, culprit);
    }
    page.push_str("</table>\n");
}

fn call_site(page: &mut String, culprit: &Culprit) {
    let place = match culprit.line {
        0 => escape(&culprit.file),
        line => format!("{}:{line}", escape(&culprit.file)),
    };
    let _ = writeln!(
        page,
        "<tr><td><code>{}</code><br><span class=\"dim\">{place}</span></td><td class=\"number\">+{}<br>\
         <span class=\"dim\">{} to {}</span></td><td class=\"number\">{}/s</td></tr>",
        escape(&culprit.function),
        format_bytes(culprit.growth_bytes as f64),
        format_bytes(culprit.growth_low as f64),
        format_bytes(culprit.growth_high as f64),
        format_bytes(culprit.growth_bytes_per_second),
    );
}

fn slopes(page: &mut String, slopes: &[WindowSlope]) {
    if slopes.is_empty() {
        return;
    }
    page.push_str("<h2>Slopes</h2>\n<table>\n");
    let shown = slopes.len().min(SLOPES_MAX);
    for place in 0..shown {
        let slope = &slopes[if shown > 1 { place * (slopes.len() - 1) / (shown - 1) } else { 0 }];
        let hourly = |bytes_per_second: f64| format_bytes(bytes_per_second * 3_600.0);
        let _ = writeln!(
            page,
            "<tr><td>over {}</td><td class=\"number\">{} an hour</td><td class=\"dim\">{} to {}, with 95%</td></tr>",
            format_seconds(f64::from(slope.window_seconds)),
            hourly(slope.bytes_per_second),
            hourly(slope.low),
            hourly(slope.high),
        );
    }
    page.push_str("</table>\n");
}

fn before(page: &mut String, previous: &Previous) {
    let end = match previous.end {
        "clean" => "ended by itself",
        "oom" => "was killed by the kernel for want of memory",
        "signal" => "was killed by a signal, or aborted",
        _ => "ended, nobody knows how",
    };
    let _ = write!(page, "<h2>The process before</h2>\n<p>After {} it {end}", format_seconds(previous.uptime_seconds));
    if let Some(verdict) = &previous.verdict {
        let _ = write!(page, "; its memory was {}: {}", escape(&verdict.replace('_', " ")), escape(&previous.evidence));
    }
    page.push_str(".</p>\n");
    let mut links = Vec::new();
    if let Some(culprits) = previous.culprits {
        links.push(format!(
            "<a href=\"{}&amp;format=text\">its call sites that grew</a>",
            escape(culprits.trim_start_matches('/'))
        ));
    }
    if let Some(profile) = &previous.last_profile {
        links.push(format!("<a href=\"{}\">its last profile</a>", escape(profile.trim_start_matches('/'))));
    }
    if !links.is_empty() {
        let _ = writeln!(page, "<p>{}</p>", links.join(", "));
    }
}

/// Relative, so that they work behind a prefix.
fn links(page: &mut String, has_profiles: bool) {
    let pprof = if has_profiles {
        "<tr><td><a href=\"debug/pprof/flamegraph\">flame graph</a></td><td>of live memory</td></tr>\n\
         <tr><td><a href=\"debug/pprof/\">debug/pprof/</a></td><td>heap profiles for <code>go tool pprof</code> and scrapers</td></tr>\n"
    } else {
        "<tr><td>heap profiles</td><td>are off (PPROF)</td></tr>\n"
    };
    let _ = write!(
        page,
        "<h2>More</h2>\n<table>\n{pprof}\
         <tr><td><a href=\"culprits?format=text\">culprits</a></td><td>which call sites grow, as text</td></tr>\n\
         <tr><td><a href=\"profiles\">profiles</a></td><td>what the flight recorder has, of earlier processes, too</td></tr>\n\
         <tr><td><a href=\"doctor\">doctor</a></td><td>whether profiles show what they should</td></tr>\n\
         <tr><td><a href=\"memory\">memory</a></td><td>this page's numbers as JSON</td></tr>\n\
         <tr><td><a href=\"metrics\">metrics</a></td><td>for Prometheus</td></tr>\n\
         <tr><td><a href=\"livez\">livez</a>, <a href=\"readyz\">readyz</a></td><td>for probes</td></tr>\n</table>\n"
    );
}
