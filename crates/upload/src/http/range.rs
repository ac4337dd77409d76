/// What a Range header asks of a representation of known length.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Range {
    /// No range, a malformed one, several, or another unit: the whole.
    Whole,
    /// `first` to `last`, both included and both inside.
    Part { first: u64, last: u64 },
    /// A well-formed range with nothing in it: 416.
    Unsatisfiable,
}

impl Range {
    /// Reads `bytes=first-last`, `bytes=first-` or `bytes=-suffix` (RFC 9110, 14.1.2).
    ///
    /// Several ranges at once get the whole, which the RFC allows and which no client can use to make work.
    pub(crate) fn parse(header: &[u8], length_bytes: u64) -> Self {
        Self::read(header, length_bytes).unwrap_or(Range::Whole)
    }

    fn read(header: &[u8], length_bytes: u64) -> Option<Self> {
        let text = std::str::from_utf8(header).ok()?;
        let (unit, range) = text.split_once('=')?;
        if !unit.trim().eq_ignore_ascii_case("bytes") {
            return None;
        }
        let (first, last) = range.trim().split_once('-')?;
        let end = length_bytes.checked_sub(1);
        Some(match (number(first)?, number(last)?) {
            (None, None) => return None,
            (None, Some(suffix)) => match end {
                Some(end) if suffix > 0 => Range::Part { first: length_bytes.saturating_sub(suffix), last: end },
                _ => Range::Unsatisfiable,
            },
            (Some(first), Some(last)) if last < first => return None,
            (Some(first), last) => match end {
                Some(end) if first <= end => Range::Part { first, last: last.unwrap_or(end).min(end) },
                _ => Range::Unsatisfiable,
            },
        })
    }
}

/// Digits, or nothing. A number too large for any file counts as the largest.
fn number(text: &str) -> Option<Option<u64>> {
    if text.is_empty() {
        return Some(None);
    }
    text.bytes().all(|b| b.is_ascii_digit()).then(|| Some(text.parse().unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        let part = |first, last| Range::Part { first, last };
        for (header, length_bytes, expected) in [
            ("bytes=0-0", 10, part(0, 0)),
            ("bytes=2-5", 10, part(2, 5)),
            ("Bytes = 2-5 ", 10, part(2, 5)),
            ("bytes=2-", 10, part(2, 9)),
            ("bytes=2-99", 10, part(2, 9)),
            ("bytes=-3", 10, part(7, 9)),
            ("bytes=-30", 10, part(0, 9)),
            ("bytes=0-99999999999999999999999", 10, part(0, 9)),
            ("bytes=10-", 10, Range::Unsatisfiable),
            ("bytes=99999999999999999999999-", 10, Range::Unsatisfiable),
            ("bytes=-0", 10, Range::Unsatisfiable),
            ("bytes=0-", 0, Range::Unsatisfiable),
            ("bytes=-1", 0, Range::Unsatisfiable),
            ("bytes=5-2", 10, Range::Whole),
            ("bytes=-", 10, Range::Whole),
            ("bytes=", 10, Range::Whole),
            ("bytes=a-b", 10, Range::Whole),
            ("bytes=+1-2", 10, Range::Whole),
            ("bytes=0-1,3-4", 10, Range::Whole),
            ("items=0-1", 10, Range::Whole),
            ("", 10, Range::Whole),
            ("\u{fe}", 10, Range::Whole),
        ] {
            assert_eq!(Range::parse(header.as_bytes(), length_bytes), expected, "{header} of {length_bytes}");
        }
    }
}
