//! The JSON of Prometheus' `query_range`: a matrix of one process's series.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;

use serde::Deserialize;

use super::row::{self, Error, Row};

/// A matrix larger than this is not read: Prometheus answers with at most 11,000 points a series.
const JSON_BYTES_MAX: u64 = 512 << 20;

/// Metrics by their column, an index into [`row::COLUMNS`].
const METRICS: [(&str, usize); 8] = [
    ("jemalloc_allocated_bytes", 1),
    ("jemalloc_active_bytes", 2),
    ("jemalloc_resident_bytes", 3),
    ("process_resident_memory_bytes", 4),
    ("container_memory_rss", 4),
    ("memory_limit_bytes", 5),
    ("container_spec_memory_limit_bytes", 5),
    ("upload_in_flight", 6),
];

const RSS_COLUMN: usize = 4;

#[derive(Deserialize)]
struct Answer {
    status: String,
    error: Option<String>,
    data: Option<Data>,
}

#[derive(Deserialize)]
struct Data {
    #[serde(rename = "resultType")]
    result_type: String,
    result: Vec<SeriesOfAnswer>,
}

#[derive(Deserialize)]
struct SeriesOfAnswer {
    metric: BTreeMap<String, String>,
    #[serde(default)]
    values: Vec<(f64, String)>,
}

/// The rows by time. A single series of another name is taken as resident memory.
pub(super) fn rows(input: impl Read) -> Result<Vec<Row>, Error> {
    let malformed = |reason: &str| Error::Malformed(reason.to_owned());
    let answer: Answer = serde_json::from_reader(input.take(JSON_BYTES_MAX)).map_err(|error| {
        if error.is_io() {
            Error::Read(error.into())
        } else {
            Error::Malformed(format!("not Prometheus' JSON: {error}"))
        }
    })?;
    let data = answer.data.filter(|_| answer.status == "success").ok_or_else(|| {
        Error::Malformed(format!("Prometheus answered {}: {}", answer.status, answer.error.unwrap_or_default()))
    })?;
    if data.result_type != "matrix" {
        return Err(malformed("not a matrix: ask query_range, not query"));
    }
    let alone = data.result.len() == 1;
    let mut columns = BTreeSet::new();
    // Keyed by milliseconds, Prometheus' own resolution.
    let mut rows: BTreeMap<i64, Row> = BTreeMap::new();
    for series in data.result {
        let name = series.metric.get("__name__").map_or("", String::as_str);
        let known = METRICS.iter().find(|(metric, _)| *metric == name).map(|(_, column)| *column);
        let Some(column) = known.or(alone.then_some(RSS_COLUMN)) else { continue };
        if !columns.insert(column) {
            return Err(malformed("series of several processes: narrow the query to one"));
        }
        for (seconds, text) in series.values {
            let value: f64 = text.parse().map_err(|_| Error::Malformed(format!("{text:?} is not a number")))?;
            let row = rows.entry((seconds * 1_000.0) as i64).or_default();
            row::set(row, 0, seconds)?;
            row::set(row, column, value)?;
        }
    }
    if !columns.contains(&1) && !columns.contains(&RSS_COLUMN) {
        return Err(malformed("no series of jemalloc_allocated_bytes or process_resident_memory_bytes"));
    }
    Ok(rows.into_values().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(text: &str) -> String {
        match rows(text.as_bytes()) {
            Err(Error::Malformed(reason)) => reason,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn series_are_joined_by_time() {
        let text = r#"{"status":"success","data":{"resultType":"matrix","result":[
            {"metric":{"__name__":"process_resident_memory_bytes"},"values":[[10,"100"],[20.5,"200"]]},
            {"metric":{"__name__":"jemalloc_allocated_bytes"},"values":[[20.5,"150"],[30,"160"]]}]}}"#;
        let rows = rows(text.as_bytes()).expect("well formed");
        let seen: Vec<_> = rows.iter().map(|row| (row.reading.seconds, row.reading.rss_bytes)).collect();
        assert_eq!(seen, [(10.0, Some(100)), (20.5, Some(200)), (30.0, None)]);
        assert_eq!(rows[1].reading.allocated_bytes, Some(150));
    }

    #[test]
    fn a_single_series_of_any_name_is_resident_memory() {
        let text = r#"{"status":"success","data":{"resultType":"matrix","result":[
            {"metric":{"pod":"a"},"values":[[1,"5e8"]]}]}}"#;
        assert_eq!(rows(text.as_bytes()).expect("well formed")[0].reading.rss_bytes, Some(500_000_000));
    }

    #[test]
    fn what_is_wrong_is_said() {
        assert!(reason("{").contains("not Prometheus' JSON"));
        assert!(reason(r#"{"status":"error","error":"bad query"}"#).contains("bad query"));
        assert!(reason(r#"{"status":"success","data":{"resultType":"vector","result":[]}}"#).contains("query_range"));
        assert!(reason(r#"{"status":"success","data":{"resultType":"matrix","result":[]}}"#).contains("no series"));
        let twice = r#"{"metric":{"__name__":"process_resident_memory_bytes"},"values":[]}"#;
        let text = format!(r#"{{"status":"success","data":{{"resultType":"matrix","result":[{twice},{twice}]}}}}"#);
        assert!(reason(&text).contains("several processes"));
    }
}
