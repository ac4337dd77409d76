//! `/doctor`: a page, or JSON for those who ask for it.

use std::fmt::Write as _;

use hyper::StatusCode;
use hyper::header::{ACCEPT, CONTENT_SECURITY_POLICY, HeaderMap, HeaderValue};

use super::answer::{Answer, error, refusal, text, typed};
use super::query::parameter;
use super::style::{STYLE, escape};
use crate::doctor::{self, Diagnosis, Table};
use crate::profile::profiler::Profiler;
use crate::quantity::format_bytes;
use crate::state::State;

pub(super) async fn doctor(state: &State, profiler: &Profiler, headers: &HeaderMap, query: &str) -> Answer {
    let as_json = match parameter(query, "format") {
        None => wants_json(headers),
        Some("json") => true,
        Some("html") => false,
        Some(_) => return error(StatusCode::BAD_REQUEST, "format must be html or json"),
    };
    let self_test = match parameter(query, "self_test") {
        None | Some("1") => true,
        Some("0") => false,
        Some(_) => return error(StatusCode::BAD_REQUEST, "self_test must be 0 or 1"),
    };
    let diagnosis = match doctor::examine(state, profiler, self_test).await {
        Ok(diagnosis) => diagnosis,
        Err(refused) => return refusal(&refused),
    };
    if as_json {
        return match serde_json::to_vec_pretty(&diagnosis) {
            Ok(json) => typed("application/json", json),
            Err(error) => {
                tracing::warn!(%error, "no JSON of the diagnosis");
                text(StatusCode::INTERNAL_SERVER_ERROR, "the diagnosis could not be written\n")
            }
        };
    }
    let mut answer = typed("text/html; charset=utf-8", page(&diagnosis));
    let policy = HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'");
    answer.headers_mut().insert(CONTENT_SECURITY_POLICY, policy);
    answer
}

fn wants_json(headers: &HeaderMap) -> bool {
    let accept = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let place = |media_type| accept.find(media_type).unwrap_or(usize::MAX);
    place("application/json") < place("text/html")
}

fn page(diagnosis: &Diagnosis) -> String {
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Heapline: doctor</title><style>{STYLE}</style>\
         </head><body>\n<h1>Doctor: <span class=\"{}\">{}</span></h1>\n",
        if diagnosis.healthy { "ok" } else { "bad" },
        if diagnosis.healthy { "nothing is wrong" } else { "something is wrong" },
    );
    if !diagnosis.problems.is_empty() {
        let items = diagnosis.problems.iter().map(|problem| format!("<li>{}</li>", escape(problem)));
        page.push_str(&format!("<ul>{}</ul>\n", items.collect::<String>()));
    }
    table(&mut page, "Sampling", &sampling(diagnosis));
    table(&mut page, "Self-test", &self_test(diagnosis));
    table(&mut page, "Symbols", &symbols(diagnosis));
    settings(&mut page, diagnosis);
    let limits = diagnosis.limits.iter().map(|limit| {
        let value =
            if limit.name.ends_with("_bytes") { format_bytes(limit.value as f64) } else { limit.value.to_string() };
        (limit.name, Some(true), format!("{value} ({})", limit.source))
    });
    table(&mut page, "Limits", &limits.collect::<Vec<_>>());
    page.push_str("<p><a href=\"doctor?format=json\">JSON</a></p>\n</body></html>\n");
    page
}

/// What, whether it is as it should be (nobody knows: `None`), and in words.
type Row = (&'static str, Option<bool>, String);

fn sampling(diagnosis: &Diagnosis) -> Vec<Row> {
    let sampling = &diagnosis.sampling;
    let interval = sampling.interval_bytes.map_or("–".to_owned(), |bytes| format_bytes(bytes as f64));
    let bound = match sampling.samples_per_second_max {
        Some(max) => format!("; further apart where they would be more than {max} a second"),
        None => String::new(),
    };
    let depth = diagnosis.unwinder.depth_max.map_or(String::new(), |depth| format!(", {depth} frames at most"));
    vec![
        ("available in jemalloc", Some(sampling.available), yes_no(sampling.available)),
        ("active", Some(sampling.active || !sampling.wanted), active_words(sampling.active, sampling.wanted)),
        ("one sample each", Some(true), format!("{interval}{bound}")),
        (
            "profiles come from",
            Some(sampling.table.is_some() || !sampling.wanted),
            sampling.source.unwrap_or("nowhere").to_owned(),
        ),
        (
            "live table",
            sampling.table.as_ref().map(|table| table.lost_samples == 0 && table.path.is_some()),
            table_words(sampling.table.as_ref()),
        ),
        ("unwinder", Some(true), format!("{}{depth}", diagnosis.unwinder.name)),
    ]
}

fn active_words(active: bool, wanted: bool) -> String {
    match (active, wanted) {
        (false, false) => "no: switched off (PPROF)".to_owned(),
        _ => yes_no(active),
    }
}

fn table_words(table: Option<&Table>) -> String {
    let Some(table) = table else { return "not in use".to_owned() };
    let fill = |(used, room): (u64, u64)| format!("{used} of {room}");
    let place = table.path.as_ref().map_or("memory only".to_owned(), |path| path.display().to_string());
    format!(
        "{} stacks, {} frames, {} live samples, {} lost, {} stacks reused; in {place}",
        fill(table.stacks),
        fill(table.frames),
        fill(table.samples),
        table.lost_samples,
        table.reused_stacks
    )
}

fn self_test(diagnosis: &Diagnosis) -> Vec<Row> {
    let c = diagnosis.c_allocations_seen;
    let mut rows = Vec::new();
    match &diagnosis.self_test {
        None => rows.push(("leak on purpose", None, "not run".to_owned())),
        Some(test) => {
            let (leaked, profiled) = (format_bytes(test.leaked_bytes as f64), format_bytes(test.profiled_bytes as f64));
            let words = format!("{leaked} leaked for {:.0} ms, {profiled} profiled", test.duration_seconds * 1e3);
            rows.push(("leak on purpose is seen", Some(test.seen), words));
            rows.push(("under its function's name", Some(test.named), yes_no(test.named)));
        }
    }
    rows.push(("allocations of C libraries are seen", c, c.map_or("nobody knows".to_owned(), yes_no)));
    rows
}

fn symbols(diagnosis: &Diagnosis) -> Vec<Row> {
    let symbols = &diagnosis.symbols;
    let mut rows = vec![
        ("functions and inlined calls", Some(symbols.debug_info), yes_no(symbols.debug_info)),
        ("files and lines", Some(symbols.line_tables), yes_no(symbols.line_tables)),
        ("symbol table", Some(symbols.symbol_table), yes_no(symbols.symbol_table)),
        ("build id", Some(true), if symbols.build_id.is_empty() { "none".into() } else { symbols.build_id.clone() }),
    ];
    if let Some(coverage) = &diagnosis.coverage {
        let words = format!(
            "{} of {} addresses of the program in a profile, {} with lines",
            coverage.with_function, coverage.addresses, coverage.with_line
        );
        rows.push(("named", Some(!coverage.lacks_lines()), words));
    }
    if let Some(link) = &symbols.debug_link {
        rows.push(("debug information is in", Some(true), link.clone()));
    }
    rows
}

fn settings(page: &mut String, diagnosis: &Diagnosis) {
    page.push_str(
        "<h2>jemalloc's settings</h2>\n<table><tr><th>key</th><th>in effect</th><th>decided by</th><th>malloc_conf</th>\
         <th>MALLOC_CONF</th></tr>\n",
    );
    for setting in &diagnosis.settings {
        let shown = |value: &Option<String>| value.as_deref().map_or("–".to_owned(), escape);
        let decided_by = serde_json::to_value(setting.decided_by).unwrap_or_default();
        // Writing to a String does not fail.
        let _ = writeln!(
            page,
            "<tr><td><code>{}</code></td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            setting.key,
            shown(&setting.effective),
            decided_by.as_str().unwrap_or_default(),
            shown(&setting.in_symbol),
            shown(&setting.in_variable),
        );
    }
    page.push_str("</table>\n");
}

fn table(page: &mut String, title: &str, rows: &[Row]) {
    let _ = writeln!(page, "<h2>{title}</h2>\n<table>");
    for (what, is_right, words) in rows {
        let class = if *is_right == Some(false) { " class=\"bad\"" } else { "" };
        let _ = writeln!(page, "<tr><td>{what}</td><td{class}><code>{}</code></td></tr>", escape(words));
    }
    page.push_str("</table>\n");
}

fn yes_no(yes: bool) -> String {
    if yes { "yes" } else { "no" }.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_for_those_who_ask_for_it() {
        for (accept, expected) in [
            ("application/json", true),
            ("text/html,application/xhtml+xml,*/*;q=0.8", false),
            ("*/*", false),
            ("", false),
            ("application/json, text/html", true),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, HeaderValue::from_static(accept));
            assert_eq!(wants_json(&headers), expected, "{accept}");
        }
    }
}
