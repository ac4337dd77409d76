//! The event that tells the world of a stored file: CloudEvents 1.0, made of the file's id and metadata alone, so that
//! an event that is sent again is the same event, byte for byte.

use std::fmt::Write;

use serde::Serialize;

use crate::store::{FILE_ID_CHARS, FileId, FileMeta, hex};

/// CloudEvents `source` of every event.
pub const SOURCE: &str = "/heapline-upload";
/// CloudEvents `type` of every event.
pub const TYPE: &str = "heapline.file.stored";
/// CloudEvents `specversion`.
pub const SPEC_VERSION: &str = "1.0";
/// CloudEvents `datacontenttype`.
pub const CONTENT_TYPE: &str = "application/json";

const STATUS_STORED: &str = "stored";

/// The file as clients see it, in a 201 and in an event.
#[derive(Debug, Clone, Serialize)]
pub struct FileObject<'a> {
    pub id: FileId,
    pub field: Option<&'a str>,
    pub filename: &'a str,
    pub bytes: u64,
    /// Hexadecimal, lower case.
    pub sha256: Option<String>,
    pub url: String,
}

impl<'a> FileObject<'a> {
    #[must_use]
    pub fn new(id: &FileId, meta: &'a FileMeta) -> Self {
        Self {
            id: *id,
            field: meta.field.as_deref(),
            filename: &meta.filename,
            bytes: meta.bytes,
            sha256: meta.sha256.map(|digest| hex(&digest)),
            url: path_of(id),
        }
    }
}

/// Where a file is found.
pub(crate) fn path_of(id: &FileId) -> String {
    const FILES: &str = "/files/";
    let mut path = String::with_capacity(FILES.len() + FILE_ID_CHARS);
    path.push_str(FILES);
    // To a string, this cannot fail.
    let _ = write!(path, "{id}");
    path
}

/// What happened: one file was stored. The event's id is the file's.
#[derive(Debug, Clone)]
pub struct Event<'a> {
    pub id: FileId,
    /// RFC 3339, UTC.
    pub time: String,
    file: FileObject<'a>,
}

/// A [`FileObject`] and what became of it, in one object. Its fields one by one: to flatten them takes twice the time.
#[derive(Serialize)]
struct Data<'a> {
    id: FileId,
    field: Option<&'a str>,
    filename: &'a str,
    bytes: u64,
    sha256: Option<&'a str>,
    url: &'a str,
    time: &'a str,
    status: &'static str,
}

#[derive(Serialize)]
struct Line<'a> {
    specversion: &'static str,
    id: FileId,
    source: &'static str,
    r#type: &'static str,
    time: &'a str,
    datacontenttype: &'static str,
    data: Data<'a>,
}

impl<'a> Event<'a> {
    #[must_use]
    pub fn new(id: &FileId, meta: &'a FileMeta) -> Self {
        Self { id: *id, time: rfc3339_utc(meta.stored_unix_ms), file: FileObject::new(id, meta) }
    }

    /// The data alone, JSON: the value of a Kafka message.
    ///
    /// # Errors
    /// None in practice: strings and numbers always have a JSON form.
    pub fn data_json(&self) -> serde_json::Result<Vec<u8>> {
        serde_json::to_vec(&self.data())
    }

    /// Appends the whole event to `lines`, one JSON object and a line feed.
    ///
    /// # Errors
    /// As [`data_json`](Self::data_json).
    pub fn write_line(&self, lines: &mut Vec<u8>) -> serde_json::Result<()> {
        let line = Line {
            specversion: SPEC_VERSION,
            id: self.id,
            source: SOURCE,
            r#type: TYPE,
            time: &self.time,
            datacontenttype: CONTENT_TYPE,
            data: self.data(),
        };
        serde_json::to_writer(&mut *lines, &line)?;
        lines.push(b'\n');
        Ok(())
    }

    fn data(&self) -> Data<'_> {
        let FileObject { id, field, filename, bytes, sha256, url } = &self.file;
        let (sha256, time, status) = (sha256.as_deref(), self.time.as_str(), STATUS_STORED);
        Data { id: *id, field: *field, filename, bytes: *bytes, sha256, url, time, status }
    }
}

/// `2026-02-28T23:59:59.123Z`; days to a date after Howard Hinnant's `civil_from_days`.
#[must_use]
pub fn rfc3339_utc(unix_ms: u64) -> String {
    const MS_A_DAY: u64 = 86_400_000;
    const DAYS_0000_03_01_TO_1970: u64 = 719_468;
    const DAYS_400_YEARS: u64 = 146_097;
    let (days, ms) = (unix_ms / MS_A_DAY + DAYS_0000_03_01_TO_1970, unix_ms % MS_A_DAY);
    let (era, day_of_era) = (days / DAYS_400_YEARS, days % DAYS_400_YEARS);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = 400 * era + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1_000 % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", ms % 1_000)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::{Value, json};

    fn meta() -> FileMeta {
        FileMeta {
            field: Some("file".into()),
            filename: "größe \"1\".bin".into(),
            bytes: 3,
            sha256: Some([0xab; 32]),
            content_type: Some("text/plain".into()),
            stored_unix_ms: 1_709_164_799_999,
        }
    }

    #[test]
    fn times_are_civil_utc() {
        for (unix_ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_709_164_799_999, "2024-02-28T23:59:59.999Z"),
            (1_709_251_200_000, "2024-03-01T00:00:00.000Z"),
            (1_767_225_599_000, "2025-12-31T23:59:59.000Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(rfc3339_utc(unix_ms), text);
        }
    }

    #[test]
    fn every_day_of_four_centuries_agrees_with_httpdate() {
        for day in 0..146_097 {
            let unix_seconds = day * 86_400;
            let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(unix_seconds);
            let http = httpdate::fmt_http_date(time); // `Thu, 01 Jan 1970 00:00:00 GMT`
            let ours = rfc3339_utc(unix_seconds * 1_000);
            assert_eq!((&ours[..4], &ours[8..10]), (&http[12..16], &http[5..7]), "{ours} {http}");
        }
    }

    #[test]
    fn a_line_is_a_cloud_event_around_the_kafka_value() {
        let (id, meta) = (FileId::from_parts(1, [2; 10]), meta());
        let event = Event::new(&id, &meta);
        let mut line = Vec::new();
        event.write_line(&mut line).unwrap();
        assert_eq!(line.iter().filter(|&&byte| byte == b'\n').count(), 1);
        let line: Value = serde_json::from_slice(&line).unwrap();
        let data: Value = serde_json::from_slice(&event.data_json().unwrap()).unwrap();
        let id = id.to_string();
        assert_eq!(
            data,
            json!({"id": id, "field": "file", "filename": "größe \"1\".bin", "bytes": 3, "sha256": "ab".repeat(32),
                   "url": format!("/files/{id}"), "time": "2024-02-28T23:59:59.999Z", "status": "stored"})
        );
        assert_eq!(
            line,
            json!({"specversion": "1.0", "id": id, "source": "/heapline-upload", "type": "heapline.file.stored",
                   "time": "2024-02-28T23:59:59.999Z", "datacontenttype": "application/json", "data": data})
        );
    }
}
