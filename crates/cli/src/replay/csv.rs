//! Comma-separated rows under a header, read line by line.

use std::io::BufRead;

use super::row::{self, COLUMNS, Error, Row};

/// A line longer than this is no row of a trace.
const LINE_BYTES_MAX: usize = 64 << 10;

/// The rows of a CSV.
pub(super) struct Lines<R> {
    input: R,
    /// For each field of a line its place in [`COLUMNS`]; fields with other names are passed over.
    fields: Vec<Option<usize>>,
    line: Vec<u8>,
    number: u64,
}

impl<R: BufRead> Lines<R> {
    /// Reads the header.
    pub(super) fn open(input: R) -> Result<Self, Error> {
        let mut lines = Self { input, fields: Vec::new(), line: Vec::new(), number: 0 };
        if !lines.advance()? {
            return Err(Error::Malformed(
                "the trace is empty: a header such as seconds,rss_bytes is needed".to_owned(),
            ));
        }
        let header = String::from_utf8_lossy(&lines.line).into_owned();
        let names = header.trim_start_matches('\u{feff}').split(',');
        lines.fields =
            names.map(|name| COLUMNS.iter().position(|column| *column == name.trim().trim_matches('"'))).collect();
        let has = |column| lines.fields.contains(&Some(column));
        if COLUMNS.iter().enumerate().any(|(column, _)| lines.fields.iter().filter(|f| **f == Some(column)).count() > 1)
        {
            return Err(Error::Malformed("the header names a column twice".to_owned()));
        }
        if !has(0) || !(has(1) || has(4)) {
            let reason = "the header must name seconds, and allocated_bytes or rss_bytes";
            return Err(Error::Malformed(reason.to_owned()));
        }
        Ok(lines)
    }

    /// The next row; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<Row>, Error> {
        loop {
            if !self.advance()? {
                return Ok(None);
            }
            if !self.line.is_empty() {
                return self.row().map(Some).map_err(|error| match error {
                    Error::Malformed(reason) => Error::Malformed(format!("line {}: {reason}", self.number)),
                    other => other,
                });
            }
        }
    }

    fn row(&self) -> Result<Row, Error> {
        let mut row = Row::default();
        let mut rest = self.line.as_slice();
        let last = self.fields.len() - 1;
        for (place, column) in self.fields.iter().enumerate() {
            let end = memchr::memchr(b',', rest);
            if end.is_none() != (place == last) {
                let reason = format!("there are not the {} fields of the header", self.fields.len());
                return Err(Error::Malformed(reason));
            }
            let (field, after) = rest.split_at(end.unwrap_or(rest.len()));
            rest = after.get(1..).unwrap_or_default();
            let Some(column) = *column else { continue };
            match number(field) {
                Some(value) => row::set(&mut row, column, value)?,
                None if field.trim_ascii().is_empty() && column > 0 => {}
                None => {
                    let shown: String = String::from_utf8_lossy(field).chars().take(40).collect();
                    return Err(Error::Malformed(format!("{shown:?} is not a number for {}", COLUMNS[column])));
                }
            }
        }
        Ok(row)
    }

    /// Reads a line without its end. `false` where there is none.
    fn advance(&mut self) -> Result<bool, Error> {
        self.line.clear();
        self.number += 1;
        loop {
            let buffer = self.input.fill_buf().map_err(Error::Read)?;
            if buffer.is_empty() {
                return Ok(!self.line.is_empty());
            }
            let end = memchr::memchr(b'\n', buffer);
            self.line.extend_from_slice(&buffer[..end.unwrap_or(buffer.len())]);
            let used = end.map_or(buffer.len(), |end| end + 1);
            self.input.consume(used);
            if self.line.len() > LINE_BYTES_MAX {
                return Err(Error::Malformed(format!("line {} is longer than {LINE_BYTES_MAX} bytes", self.number)));
            }
            if end.is_some() {
                if self.line.last() == Some(&b'\r') {
                    self.line.pop();
                }
                return Ok(true);
            }
        }
    }
}

/// A number: the usual digits quickly, everything else as Rust reads it.
fn number(field: &[u8]) -> Option<f64> {
    /// Powers of ten that a double holds exactly.
    const SCALES: [f64; 10] = [1.0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9];
    let mut digits = 0_u64;
    let mut decimals = None;
    if field.is_empty() || field.len() > 17 {
        return slow_number(field);
    }
    for byte in field {
        match byte {
            b'0'..=b'9' => {
                digits = digits * 10 + u64::from(byte - b'0');
                decimals = decimals.map(|count| count + 1);
            }
            b'.' if decimals.is_none() => decimals = Some(0),
            _ => return slow_number(field),
        }
    }
    let decimals: usize = decimals.unwrap_or(0);
    // Both exact, so that the quotient is what Rust would read.
    if digits >= 1 << 53 || decimals >= SCALES.len() || field == b"." {
        return slow_number(field);
    }
    Some(digits as f64 / SCALES[decimals])
}

fn slow_number(field: &[u8]) -> Option<f64> {
    std::str::from_utf8(field).ok()?.trim().trim_matches('"').parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(text: &str) -> Result<Vec<Row>, String> {
        let reason = |error| match error {
            Error::Malformed(reason) => reason,
            Error::Read(error) => error.to_string(),
        };
        // A buffer smaller than any line: pieces do not matter.
        let mut lines = Lines::open(std::io::BufReader::with_capacity(3, text.as_bytes())).map_err(reason)?;
        let mut rows = Vec::new();
        while let Some(row) = lines.next().map_err(reason)? {
            rows.push(row);
        }
        Ok(rows)
    }

    #[test]
    fn columns_come_in_any_order_and_others_are_passed_over() {
        let rows = rows("host,rss_bytes,seconds,in_flight\r\na,100,1.25,7\r\n\r\nb,,2,\r\n").expect("well formed");
        assert_eq!(rows.len(), 2);
        assert_eq!((rows[0].reading.seconds, rows[0].reading.rss_bytes), (1.25, Some(100)));
        assert_eq!(rows[0].reading.in_flight, Some(7));
        assert_eq!((rows[1].reading.seconds, rows[1].reading.rss_bytes), (2.0, None));
        assert_eq!(rows[1].reading.allocated_bytes, None);
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        for (text, expected) in [
            ("", "empty"),
            ("time,rss\n1,2\n", "must name seconds"),
            ("seconds,limit_bytes\n1,2\n", "allocated_bytes or rss_bytes"),
            ("seconds,rss_bytes,seconds\n1,2,3\n", "twice"),
            ("seconds,rss_bytes\n1,2\n3,x\n", "line 3: \"x\" is not a number for rss_bytes"),
            ("seconds,rss_bytes\n1\n", "line 2: there are not the 2 fields"),
            ("seconds,rss_bytes\n1,2,3\n", "line 2: there are not the 2 fields"),
            ("seconds,rss_bytes\n,2\n", "line 2"),
            ("seconds,rss_bytes\n1,-2\n", "line 2: rss_bytes must be between"),
            ("seconds,rss_bytes\ninf,2\n", "line 2: seconds must be"),
        ] {
            let reason = rows(text).expect_err(text);
            assert!(reason.contains(expected), "{text:?}: {reason}");
        }
    }

    #[test]
    fn numbers_are_read_as_rust_reads_them() {
        for text in ["0", "12", "0.5", "1700000000.123", "123456789012345", "1e9", "-3", "9007199254740993", ".5", "5."]
        {
            assert_eq!(number(text.as_bytes()), text.parse().ok(), "{text}");
        }
        for text in ["", ".", "1.2.3", "abc", "1,5"] {
            assert_eq!(number(text.as_bytes()), None, "{text}");
        }
    }
}
