//! Sizes and durations as people write them: `64MiB`, `1MB`, `1048576`; `30s`, `500ms`, `10m`.

use std::time::Duration;

/// Why a text is not a size or a duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    /// Not a whole number followed by a unit.
    #[error("{text:?} is not a {expected}")]
    Malformed {
        /// The text as given.
        text: String,
        /// What would have been understood.
        expected: &'static str,
    },
    /// More than 64 bits hold.
    #[error("{text:?} is too large")]
    TooLarge {
        /// The text as given.
        text: String,
    },
}

/// Bytes of a size: a whole number, then nothing or `B`, a power of 1024 (`KiB`, `MiB`, `GiB`, `TiB`, or Kubernetes'
/// `Ki`, `Mi`, `Gi`, `Ti`) or of 1000 (`kB`, `MB`, `GB`, `TB`). Case does not matter; a space before the unit may be.
///
/// # Errors
///
/// [`QuantityError`] for anything else.
///
/// ```
/// assert_eq!(heapline::quantity::parse_size("64MiB"), Ok(64 << 20));
/// assert_eq!(heapline::quantity::parse_size("1MB"), Ok(1_000_000));
/// ```
pub fn parse_size(text: &str) -> Result<u64, QuantityError> {
    const EXPECTED: &str = "size such as 64MiB, 5GiB or 1048576";
    let (number, unit) = split(text, EXPECTED)?;
    let scale = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kib" | "ki" => 1 << 10,
        "mib" | "mi" => 1 << 20,
        "gib" | "gi" => 1 << 30,
        "tib" | "ti" => 1 << 40,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "tb" => 1_000_000_000_000,
        _ => return Err(malformed(text, EXPECTED)),
    };
    number.checked_mul(scale).ok_or_else(|| too_large(text))
}

/// A duration: a whole number and one of `ms`, `s`, `m`, `h`, `d`; `0` needs no unit.
///
/// # Errors
///
/// [`QuantityError`] for anything else.
///
/// ```
/// # use std::time::Duration;
/// assert_eq!(heapline::quantity::parse_duration("10m"), Ok(Duration::from_secs(600)));
/// ```
pub fn parse_duration(text: &str) -> Result<Duration, QuantityError> {
    const EXPECTED: &str = "duration such as 500ms, 30s or 10m";
    let (number, unit) = split(text, EXPECTED)?;
    let milliseconds = match unit.to_ascii_lowercase().as_str() {
        "" if number == 0 => 0,
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(malformed(text, EXPECTED)),
    };
    let milliseconds = number.checked_mul(milliseconds).ok_or_else(|| too_large(text))?;
    Ok(Duration::from_millis(milliseconds))
}

/// Bytes for people: three significant digits and a binary unit, `41.0 MiB`.
pub fn format_bytes(bytes: f64) -> String {
    let mut value = bytes;
    let mut unit = "B";
    for larger in ["KiB", "MiB", "GiB", "TiB"] {
        if value.abs() < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = larger;
    }
    let digits = match value.abs() {
        _ if unit == "B" => 0,
        v if v < 10.0 => 2,
        v if v < 100.0 => 1,
        _ => 0,
    };
    format!("{value:.digits$} {unit}")
}

/// A duration for people: its two leading units, `9 h 40 min`.
pub fn format_seconds(seconds: f64) -> String {
    // More than the text can say anything useful about; also keeps the cast below in range.
    const FOREVER_SECONDS: f64 = 100.0 * 365.0 * 86_400.0;
    if seconds.is_nan() || seconds >= FOREVER_SECONDS {
        return "over 100 years".to_owned();
    }
    let whole = seconds.max(0.0).round() as u64;
    let (days, hours, minutes, seconds) = (whole / 86_400, whole / 3_600 % 24, whole / 60 % 60, whole % 60);
    let parts = [(days, "d"), (hours, "h"), (minutes, "min"), (seconds, "s")];
    let first = parts.iter().position(|(count, _)| *count > 0).unwrap_or(parts.len() - 1);
    parts[first..]
        .iter()
        .take(2)
        .enumerate()
        .filter(|(place, (count, _))| *place == 0 || *count > 0)
        .map(|(_, (count, unit))| format!("{count} {unit}"))
        .collect::<Vec<_>>()
        .join(" ")
}

fn split<'a>(text: &'a str, expected: &'static str) -> Result<(u64, &'a str), QuantityError> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    if digits == 0 {
        return Err(malformed(text, expected));
    }
    let number = text[..digits].parse().map_err(|_| too_large(text))?;
    Ok((number, text[digits..].trim_start()))
}

fn malformed(text: &str, expected: &'static str) -> QuantityError {
    QuantityError::Malformed { text: text.to_owned(), expected }
}

fn too_large(text: &str) -> QuantityError {
    QuantityError::TooLarge { text: text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("0", 0),
            ("1048576", 1 << 20),
            ("64MiB", 64 << 20),
            ("64 mib", 64 << 20),
            ("512Mi", 512 << 20),
            ("5GiB", 5 << 30),
            ("1MB", 1_000_000),
            ("2kB", 2_000),
            (" 7B ", 7),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for text in ["", "MiB", "-1", "1.5GiB", "64M", "10 MiB/s", "0x10", "1e3"] {
            assert!(matches!(parse_size(text), Err(QuantityError::Malformed { .. })), "{text}");
        }
        for text in ["99999999999999999999", "18446744073709551615KiB"] {
            assert!(matches!(parse_size(text), Err(QuantityError::TooLarge { .. })), "{text}");
        }
    }

    #[test]
    fn durations() {
        for (text, milliseconds) in
            [("0", 0), ("500ms", 500), ("30s", 30_000), ("10m", 600_000), ("2h", 7_200_000), ("1d", 86_400_000)]
        {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
        for text in ["30", "s", "1h30m", "-5s", "5 weeks"] {
            assert!(matches!(parse_duration(text), Err(QuantityError::Malformed { .. })), "{text}");
        }
    }

    #[test]
    fn texts_for_people() {
        assert_eq!(format_bytes(0.0), "0 B");
        assert_eq!(format_bytes(41.0 * 1_048_576.0), "41.0 MiB");
        assert_eq!(format_bytes(-1536.0), "-1.50 KiB");
        assert_eq!(format_seconds(34_800.0), "9 h 40 min");
        assert_eq!(format_seconds(7_200.0), "2 h");
        assert_eq!(format_seconds(0.2), "0 s");
        assert_eq!(format_seconds(f64::INFINITY), "over 100 years");
    }
}
